//! Requests in flight on one connection over which everything comes one after the other, and which of them a message belongs
//! to.
//!
//! Invariant: a progress token is known here as long as its request is.

use std::collections::{BTreeMap, HashMap};

use super::exchange::Events;
use super::lasting::is_lasting;
use super::request::{Call, Role};
use crate::gateway::relay::{
    Id, Meant, Notification, ParseError, Raw, key, meant, member, method, set_member, set_path,
    spelled_number,
};

/// Requests in flight on one connection.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    /// By our identifier; the last is the newest.
    calls: BTreeMap<u64, Waiting>,
    /// Progress tokens as the upstream knows them.
    tokens: HashMap<Box<str>, u64>,
}

/// One request in flight.
#[derive(Debug)]
struct Waiting {
    /// Its queue.
    events: Events,
    /// Its progress token as the upstream knows it, and as the downstream does.
    token: Option<(Box<str>, Box<str>)>,
    /// Whether a client waits for it.
    for_client: bool,
    /// Whether it listens to changes, which a server may end.
    listens: bool,
}

impl InFlight {
    /// Puts a request in flight.
    pub(crate) fn add(&mut self, id: u64, events: Events, call: &mut Call) {
        let (token, for_client) = (call.token.take(), call.for_client);
        let listens = call.method == method::LISTEN;
        self.calls.insert(id, Waiting { events, token, for_client, listens });
    }

    /// Takes a request out; its queue, if it was in flight.
    pub(crate) fn take(&mut self, id: u64) -> Option<Events> {
        let Waiting { events, token, .. } = self.calls.remove(&id)?;
        if let Some((upstream, _)) = token {
            self.tokens.remove(&upstream);
        }
        Some(events)
    }

    /// Takes all requests out.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Events> + use<> {
        self.tokens.clear();
        std::mem::take(&mut self.calls).into_values().map(|waiting| waiting.events)
    }

    /// The queue of a request.
    pub(crate) fn events(&self, id: u64) -> Option<&Events> {
        self.calls.get(&id).map(|waiting| &waiting.events)
    }

    /// The identifiers of all.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u64> {
        self.calls.keys().copied()
    }

    /// Whether a client waits for one of them.
    pub(crate) fn serves_clients(&self) -> bool {
        self.calls.values().any(|waiting| waiting.for_client)
    }

    /// The request that text which cannot be read was meant to answer: the one that it names, or the only one there is.
    /// `others` are the requests of another process.
    pub(crate) fn unread(
        &self,
        text: &[u8],
        error: &ParseError,
        others: impl Iterator<Item = u64>,
    ) -> Option<u64> {
        let mut all = self.ids().chain(others);
        let meant = match error {
            ParseError::Ambiguous { id, response, .. } => id.clone().filter(|_| *response).map(Meant::To),
            ParseError::Json(_) | ParseError::Shape(_) | ParseError::Batch => meant(text),
        };
        match meant? {
            Meant::To(id) => id.as_number().filter(|id| all.any(|known| known == *id)),
            Meant::ToSomebody => all.next().filter(|_| all.next().is_none()),
        }
    }

    /// The parameters of a request with the progress token by which the upstream is to know it, which is put into `token`
    /// beside the downstream's: the downstream's own, unless another request has it or `keep` says that it must not be kept;
    /// that of a task outlasts the request, and is the gateway's already.
    pub(crate) fn own_token(
        &mut self,
        id: u64,
        params: Raw,
        token: &mut Option<(Box<str>, Box<str>)>,
        keep: bool,
    ) -> Raw {
        let Some(theirs) = member(&params, "_meta").and_then(|meta| member(meta, "progressToken")) else {
            return params;
        };
        let theirs: Box<str> = theirs.get().into();
        let ours = self.claim_token(id, &theirs, keep);
        let edited =
            if ours == theirs { None } else { set_path(&params, &["_meta", "progressToken"], &ours) };
        *token = Some((ours, theirs));
        edited.unwrap_or(params)
    }

    /// The progress token by which the upstream is to know a request.
    fn claim_token(&mut self, id: u64, theirs: &str, keep: bool) -> Box<str> {
        let ours = if (keep || is_lasting(theirs)) && !self.tokens.contains_key(theirs) {
            theirs.into()
        } else {
            format!("\"mcpeg-{id}\"").into_boxed_str()
        };
        self.tokens.insert(ours.clone(), id);
        ours
    }

    /// The request that a notification belongs to, and the notification as the downstream is to have it; `others` as for
    /// [`Self::speaker`].
    pub(crate) fn target(&self, note: Notification, role: Role, others: bool) -> (Option<u64>, Notification) {
        match note.method.as_str() {
            method::PROGRESS => self.progress_target(note),
            method::LOG_MESSAGE => (self.speaker(role, others), note),
            _ => (self.subscription_target(&note), note),
        }
    }

    /// The request that a message without any reference belongs to: on a connection of one session the newest, on a
    /// shared one only an only one, if there are no `others` of another process.
    pub(crate) fn speaker(&self, role: Role, others: bool) -> Option<u64> {
        let mut clients = self.calls.iter().filter(|(_, waiting)| waiting.for_client);
        let newest = clients.next_back().map(|(id, _)| *id);
        let others = clients.next().is_some() || others;
        newest.filter(|_| role == Role::Dedicated || !others)
    }

    /// The request that a progress notification reports on, with the token put back.
    fn progress_target(&self, mut note: Notification) -> (Option<u64>, Notification) {
        let Some((id, upstream)) = self.reported(&note) else { return (None, note) };
        let token = note.params.as_deref().and_then(|params| member(params, "progressToken"));
        let is_spelled_alike = token.is_some_and(|token| token.get() == upstream);
        if let Some((upstream, theirs)) = self.calls.get(&id).and_then(|waiting| waiting.token.as_ref())
            && (upstream != theirs || !is_spelled_alike)
            && let Some(params) = note.params.take()
        {
            note.params = Some(set_member(&params, "progressToken", theirs).unwrap_or(params));
        }
        (Some(id), note)
    }

    /// The request whose progress token a notification has, and the token as the upstream knows it; where the server has made
    /// a number a text or the other way round, what it can only mean.
    pub(crate) fn reported(&self, note: &Notification) -> Option<(u64, &str)> {
        let token = member(note.params.as_deref()?, "progressToken")?.get();
        let known = self.tokens.get_key_value(token).or_else(|| {
            let number = spelled_number(token)?;
            let as_text = || self.tokens.get_key_value(&*format!("\"{number}\""));
            self.tokens.get_key_value(&*number.to_string()).or_else(as_text)
        });
        known.map(|(token, id)| (*id, &**token))
    }

    /// The `subscriptions/listen` request that the server ends by a notification. It names no other request of ours so (MCP
    /// 2026-07-28 §Cancellation); a legacy server takes its own requests back.
    pub(crate) fn ended_by(&self, note: &Notification) -> Option<u64> {
        let params = note.params.as_deref().filter(|_| note.method == method::CANCELLED)?;
        let id = Id::from_json(member(params, "requestId")?.get())?.as_number()?;
        self.calls.get(&id).is_some_and(|waiting| waiting.listens).then_some(id)
    }

    /// The `subscriptions/listen` request that a notification names.
    fn subscription_target(&self, note: &Notification) -> Option<u64> {
        subscription(note).filter(|id| self.calls.contains_key(id))
    }
}

/// The `subscriptions/listen` request that a notification names, whosever that is.
pub(crate) fn subscription(note: &Notification) -> Option<u64> {
    let meta = member(note.params.as_deref()?, "_meta")?;
    Id::from_json(member(meta, key::SUBSCRIPTION)?.get())?.as_number()
}
