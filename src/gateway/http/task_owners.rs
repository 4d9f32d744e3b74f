//! Whose the tasks are that upstreams run, as this process and the one before or after it know.

use std::sync::Arc;

use crate::gateway::catalog::RoutingHandle;
use crate::gateway::client::ClientName;
use crate::gateway::person::Person;
use crate::gateway::session::{PeerLink, Session, SessionStore};
use crate::gateway::upstream::{Caller, Upstream};
use crate::handover::{self, Message, Round};

/// Notes whose tasks are whose.
#[derive(Debug)]
pub(crate) struct TaskOwners {
    /// The upstreams, which know those of modern clients.
    routing: Arc<RoutingHandle>,
    /// The sessions, which know theirs.
    sessions: Arc<SessionStore>,
    /// The way to the other process.
    peer: Arc<PeerLink>,
}

impl TaskOwners {
    /// The owners of tasks at these upstreams.
    pub(crate) const fn new(
        routing: Arc<RoutingHandle>,
        sessions: Arc<SessionStore>,
        peer: Arc<PeerLink>,
    ) -> Self {
        Self { routing, sessions, peer }
    }

    /// Notes that a task is of a modern client, here and in the other process.
    pub(super) fn own(&self, upstream: &Upstream, id: &str, caller: &Caller) {
        upstream.tasks().own(id, caller);
        let (upstream, id) = (upstream.name().to_owned(), id.to_owned());
        self.peer.tell(&Message::Round {
            word: Round::Task { upstream, id, caller: Some(caller.into()), session: None },
        });
    }

    /// The same of a session.
    pub(super) fn own_of(&self, session: &Session, upstream: &Upstream, id: &str) {
        if session.begin_task(upstream.name(), id) {
            let (upstream, id, session) = (upstream.name(), id.to_owned(), session.id());
            let (upstream, session) = (upstream.to_owned(), Some(session.to_owned()));
            self.peer.tell(&Message::Round { word: Round::Task { upstream, id, caller: None, session } });
        }
    }

    /// Notes what the other process knows of a task.
    pub(super) fn learn(
        &self,
        upstream: &str,
        id: &str,
        caller: Option<handover::Caller>,
        session: Option<String>,
    ) {
        if let Some(session) = session.and_then(|session| self.sessions.get(&session)) {
            session.begin_task(upstream, id);
        }
        let table = self.routing.current();
        let known = table.upstreams().iter().find(|known| known.name() == upstream);
        if let Some((known, caller)) = known.zip(caller) {
            known.tasks().own(id, &caller.into());
        }
    }

    /// Of whom upstreams are shown something, as the other process tells.
    pub(super) fn person(
        &self,
        client: Option<ClientName>,
        sent: &[(String, String)],
    ) -> Option<Arc<Person>> {
        self.routing.current().wanted().and_then(|_| Person::told(client, sent))
    }

    /// Tells the other process whose the tasks of modern clients are. Sessions take theirs along.
    pub(crate) fn tell_all(&self) {
        let table = self.routing.current();
        let own = table.upstreams().iter().flat_map(|upstream| upstream.persons());
        for upstream in own.chain(table.upstreams().iter().cloned()) {
            for (id, caller) in upstream.tasks().all() {
                let (upstream, caller) = (upstream.name().to_owned(), Some((&caller).into()));
                self.peer.tell(&Message::Round { word: Round::Task { upstream, id, caller, session: None } });
            }
        }
    }
}
