//! All legacy sessions of the gateway, by identifier.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::attendance::Attendance;
use super::connections::Opened;
use super::journal::{JournalFile, SessionJournal};
use super::peer::PeerLink;
use super::replay::Log;
use super::session::Session;
use super::{forward, subscribe};
use crate::gateway::catalog::RoutingHandle;
use crate::gateway::changes::{Announced, Changes};
use crate::gateway::client::{ClientKey, ClientName, who_makes_room};
use crate::gateway::client_log_limit::ClientLogLimit;
use crate::gateway::endpoint::Endpoint;
use crate::gateway::error::Fault;
use crate::gateway::memory::{self, Held};
use crate::gateway::person::Person;
use crate::gateway::relay::{ClientMeta, Message};
use crate::gateway::telemetry::Ledger;
use crate::gateway::upstream::{ClientIdentity, Upstream};
use crate::handover::{Message as Told, Session as SavedSession};

/// How often idle sessions are looked for.
const SWEEP: Duration = Duration::from_secs(15);
/// How often the last process of an upgrade looks whether requests are in flight.
const LOOK: Duration = Duration::from_millis(20);
/// How often memory is made at most.
const EASED: Duration = Duration::from_millis(50);
/// How long the last message of a request that has ended may take to be there.
const LAST_WORD: Duration = Duration::from_secs(1);
/// Bytes that clients may say about themselves in sessions, for each session that there may be: few say more than 1 KiB.
const WEIGHT_OF_EACH: usize = 8 << 10;
/// The same, however few sessions there may be.
const LEAST_WEIGHT: usize = 1 << 20;
/// As many sessions of a client are looked at for what it says to be.
const TOLD: usize = 4;

/// How many sessions there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Of all clients.
    pub(crate) of_all: usize,
    /// Of one client; `None` without such a limit.
    pub(crate) of_client: Option<usize>,
}

/// Why a session cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionRefused {
    /// There are as many as may be and all are in use.
    #[error("as many sessions are in use as `max_sessions` in [server] allows")]
    Full,
    /// The client has as many as it may and all are in use.
    #[error("as many sessions are in use as {0}")]
    TooMany(&'static str),
    /// What clients say about themselves is too much together.
    #[error(
        "the sessions in use have large `clientInfo` and `capabilities`, beside which yours find no room"
    )]
    Heavy,
    /// The kernel gives no random bytes.
    #[error("cannot make a session identifier")]
    Random(#[source] getrandom::Error),
}

/// The sessions.
#[derive(Debug)]
pub(crate) struct SessionStore {
    /// Those that are open; nothing of a session's own is locked before them.
    sessions: Mutex<Sessions>,
    /// Where they are remembered beyond this process.
    journal: OnceLock<Arc<dyn SessionJournal>>,
    /// The way to the process before or after this one, which may have others.
    peer: Arc<PeerLink>,
    /// What is behind their endpoints.
    routing: Arc<RoutingHandle>,
    /// What they are told of.
    changes: Changes,
    /// What is logged about clients.
    log_limit: Arc<ClientLogLimit>,
    /// Where ends are counted.
    ledger: Arc<Ledger>,
}

/// The sessions that are open.
#[derive(Debug, Default)]
struct Sessions {
    /// By identifier.
    by_id: HashMap<String, Arc<Session>>,
    /// What each client has.
    by_client: HashMap<ClientKey, Theirs>,
    /// Bytes that all clients say about themselves.
    weight: usize,
    /// The same in the account of the process.
    held: Held,
}

/// What one client has.
#[derive(Debug, Default)]
struct Theirs {
    /// The identifiers of its sessions.
    ids: HashSet<String>,
    /// How many of them it attends.
    attended: Arc<AtomicUsize>,
}

impl Limits {
    /// How many sessions one client may attend, so that whatever it does there is one that can end for another.
    pub(crate) fn share(self) -> usize {
        (self.of_all / 2).max(1)
    }
}

impl Sessions {
    /// Adds a session.
    fn insert(&mut self, session: &Arc<Session>) {
        let theirs = self.by_client.entry(session.client_key()).or_default();
        theirs.ids.insert(session.id().to_owned());
        session.count_among(&theirs.attended);
        self.weight += weight_of(session);
        self.held.set(self.weight);
        self.by_id.insert(session.id().to_owned(), Arc::clone(session));
    }

    /// Takes a session out.
    fn remove(&mut self, id: &str) -> Option<Arc<Session>> {
        let session = self.by_id.remove(id)?;
        self.weight -= weight_of(&session);
        self.held.set(self.weight);
        let client = session.client_key();
        if let Some(theirs) = self.by_client.get_mut(&client) {
            theirs.ids.remove(id);
            if theirs.ids.is_empty() {
                self.by_client.remove(&client);
            }
        }
        Some(session)
    }

    /// Makes room for one more: where there are as many as may be, of this client or of all, those that
    /// [`who_makes_room`] chooses are taken out; if the others are all in use, nothing is, and the reason is returned.
    fn make_room(
        &mut self,
        client: &ClientKey,
        limits: Limits,
        weight: usize,
    ) -> Result<Vec<Arc<Session>>, SessionRefused> {
        let ids = self.by_client.get(client).map(|theirs| &theirs.ids);
        let theirs = ids.into_iter().flatten().filter_map(|id| self.by_id.get(id));
        let count = ids.map_or(0, HashSet::len);
        let of_client = limits.of_client.filter(|_| client.is_somebody());
        let surplus = of_client.map_or(0, |limit| (count + 1).saturating_sub(limit));
        let most = if client.name().is_some() {
            "you may have: `max_sessions` of your client is the limit"
        } else {
            "one client may have: `max_sessions_per_client` in [server] is the limit"
        };
        let mut ends = choose(client, theirs, surplus).ok_or(SessionRefused::TooMany(most))?;
        let surplus = (self.by_id.len() + 1).saturating_sub(limits.of_all + ends.len());
        let others = self.by_id.values().filter(|session| ends.iter().all(|end| end.id() != session.id()));
        let more = choose(client, others, surplus).ok_or(SessionRefused::Full)?;
        ends.extend(more);
        self.lighten(&mut ends, limits, weight)?;
        for session in &ends {
            self.remove(session.id());
        }
        Ok(ends)
    }

    /// Has sessions end beside those that do anyway, until what clients say about themselves is not too much together:
    /// the heaviest of those whose clients are not there.
    fn lighten(
        &self,
        ends: &mut Vec<Arc<Session>>,
        limits: Limits,
        weight: usize,
    ) -> Result<(), SessionRefused> {
        let most = limits.of_all.saturating_mul(WEIGHT_OF_EACH).max(LEAST_WEIGHT);
        let ending: usize = ends.iter().map(|session| weight_of(session)).sum();
        let mut left = self.weight + weight - ending;
        if left <= most {
            return Ok(());
        }
        let others = self.by_id.values().filter(|session| ends.iter().all(|end| end.id() != session.id()));
        let mut others: Vec<_> = others.filter(|session| session.unattended().is_some()).cloned().collect();
        others.sort_by_key(|session| Reverse(weight_of(session)));
        for session in others {
            if left <= most {
                break;
            }
            left -= weight_of(&session);
            ends.push(session);
        }
        if left <= most { Ok(()) } else { Err(SessionRefused::Heavy) }
    }
}

/// Bytes that a client says about itself, which are kept for as long as its session.
fn weight(meta: &ClientMeta) -> usize {
    meta.info.get().len() + meta.capabilities.get().len()
}

/// The same of a session's.
fn weight_of(session: &Session) -> usize {
    weight(&session.connections().client().meta)
}

/// Ends a session and its connections.
async fn end(session: &Session) {
    session.ended().cancel();
    subscribe::release(session);
    session.connections().end().await;
}

/// So many sessions that make room; `None` where not so many may end.
fn choose<'a>(
    newcomer: &ClientKey,
    sessions: impl Iterator<Item = &'a Arc<Session>>,
    count: usize,
) -> Option<Vec<Arc<Session>>> {
    if count == 0 {
        return Some(Vec::new());
    }
    let all = sessions.map(|session| (session.client_key(), session.unattended(), Arc::clone(session)));
    let chosen = who_makes_room(newcomer, all.collect(), count);
    (chosen.len() == count).then_some(chosen)
}

impl SessionStore {
    /// No sessions.
    pub(crate) fn new(
        routing: Arc<RoutingHandle>,
        peer: Arc<PeerLink>,
        changes: Changes,
        (log_limit, ledger): (Arc<ClientLogLimit>, Arc<Ledger>),
    ) -> Self {
        let (sessions, journal) = (Mutex::default(), OnceLock::new());
        Self { sessions, journal, peer, routing, changes, log_limit, ledger }
    }

    /// Remembers sessions in a file from now on, which must be this process's alone; with `revive`, those that the file
    /// holds go on. A file that cannot be used is no reason not to serve.
    pub(crate) fn remember_in(&self, file: &Path, revive: bool) {
        let known = if revive { JournalFile::read(file) } else { Ok(Vec::new()) };
        match known {
            Ok(known) => {
                for persisted in &known {
                    match persisted.read() {
                        Ok(saved) => self.restore(saved, true),
                        Err(error) => tracing::warn!(%error, "a session cannot be taken over"),
                    }
                }
                if !known.is_empty() {
                    tracing::info!(sessions = self.len(), "sessions of the former process go on");
                }
            }
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "the sessions of the former process are lost");
            }
        }
        let journal: Arc<dyn SessionJournal> = Arc::new(JournalFile::new(file.to_owned()));
        if let Err(error) = self.remember(&journal) {
            tracing::warn!(file = %file.display(), %error, "sessions will not survive a crash");
        }
    }

    /// Remembers the sessions beyond this process from now on; what the journal held before is replaced.
    fn remember(&self, journal: &Arc<dyn SessionJournal>) -> io::Result<()> {
        self.rewrite(&**journal)?;
        let _ = self.journal.set(Arc::clone(journal));
        for session in self.all() {
            session.remember(journal);
        }
        Ok(())
    }

    /// Writes a journal anew.
    fn rewrite(&self, journal: &dyn SessionJournal) -> io::Result<()> {
        journal.replace(&|| self.remembered())
    }

    /// Writes the journal anew although another process may have put its own in the place; nothing without a journal.
    pub(crate) fn reclaim(&self) {
        let done = self.journal.get().map_or(Ok(()), |journal| journal.reclaim(&|| self.remembered()));
        if let Err(error) = done {
            tracing::warn!(%error, "sessions will not survive a crash");
        }
    }

    /// What is remembered of the sessions, by identifier.
    fn remembered(&self) -> Vec<(String, String)> {
        let state = |session: &Arc<Session>| (session.id().to_owned(), session.saved().to_text());
        self.all().iter().map(state).collect()
    }

    /// Forgets a session that ends: whatever it still does is not noted any more.
    fn forget(&self, session: &Session) {
        session.ended().cancel();
        if let Some(journal) = self.journal.get() {
            journal.remove(session.id());
        }
    }

    /// Begins a session under a fresh identifier, or under that of the event stream of a client of HTTP+SSE.
    pub(crate) fn begin(
        &self,
        (endpoint, stream): (Endpoint, Option<String>),
        client: ClientIdentity,
        (address, limits): (Option<IpAddr>, Limits),
    ) -> Result<Arc<Session>, SessionRefused> {
        let events = stream.is_some();
        let id = stream.map_or_else(Session::fresh_id, Ok).map_err(SessionRefused::Random)?;
        let key = ClientKey::of_client(endpoint.client(), address);
        let (session, ends) = {
            let mut sessions = self.sessions.lock();
            let ends = sessions.make_room(&key, limits, weight(&client.meta))?;
            let place = (Arc::clone(&self.routing), endpoint);
            let (session, opened) = Session::new((id, address), place, client);
            let session = if events { session.over_events() } else { session };
            let announced = self.changes.subscribe().of(session.whose());
            let session = Self::start((session, opened), announced);
            sessions.insert(&session);
            (session, ends)
        };
        for silent in ends {
            if self.log_limit.admits("session ended to make room", &silent.client_key()) {
                let (session, client) = (silent.label(), silent.client_key());
                tracing::info!(session, %client, "the session is ended to make room: its client has most of them");
            }
            self.ledger.session_ended(silent.age());
            self.forget(&silent);
            tokio::spawn(async move { end(&silent).await });
        }
        if let Some(journal) = self.journal.get() {
            session.remember(journal);
        }
        Ok(session)
    }

    /// The session of this identifier.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.sessions.lock().by_id.get(id).cloned()
    }

    /// Has a session told of what it is to be told.
    fn start(
        (session, opened): (Session, mpsc::UnboundedReceiver<Opened>),
        announced: Announced,
    ) -> Arc<Session> {
        let session = Arc::new(session);
        tokio::spawn(forward::run(Arc::clone(&session), opened, announced));
        session
    }

    /// A session by its identifier, here or in the process before or after this one.
    pub(crate) async fn find(&self, id: &str) -> Option<Arc<Session>> {
        if let Some(session) = self.get(id) {
            return Some(session);
        }
        if let Some(state) = self.peer.find(id).await {
            self.restore(state, false);
        }
        // Also without an answer: the other process may have sent it just before its end.
        self.get(id)
    }

    /// That of this identifier, if it was begun at this endpoint by the same client.
    pub(crate) async fn find_at(&self, id: &str, endpoint: &Endpoint) -> Option<Arc<Session>> {
        let session = self.find(id).await?;
        let was_known = session.whose().is_known();
        let session = Some(session).filter(|session| session.is_at(endpoint))?;
        if !was_known && endpoint.person().is_some() {
            // What it follows is at upstreams that are its client's alone, which was not known before.
            tokio::spawn(subscribe::again(Arc::clone(&session), session.subscriptions().uris()));
        }
        Some(session)
    }

    /// The log of a stream of answers, here or in the process before or after this one, which is asked for it; `None` where
    /// nobody can know it.
    pub(crate) fn stream(&self, session: &Session, number: u64) -> Option<Arc<Log>> {
        let asked = || {
            let asked = Told::Resume { id: session.id().to_owned(), stream: number };
            self.peer.tell(&asked).then(|| session.logs().elsewhere(number))
        };
        session.logs().get(number).or_else(asked)
    }

    /// Tells the other process what comes of a stream, once it has ended; nothing of one that is not known here.
    pub(crate) async fn resume(&self, id: &str, stream: u64) {
        let log = self.get(id).and_then(|session| session.logs().get(stream));
        let (gone, messages) = match log {
            Some(log) => {
                log.ended().await;
                log.content()
            }
            None => (0, Vec::new()),
        };
        self.tell_stream(id, stream, (gone, messages));
    }

    /// Waits until no request within a session is in flight, and tells the other process of streams that nobody has read to
    /// their end, since this one ends.
    pub(crate) async fn leave_streams(&self) {
        self.calls_over().await;
        for session in self.all() {
            for (stream, log) in session.logs().unread() {
                // Its request has ended: what is still missing is about to be there.
                if timeout(LAST_WORD, log.ended()).await.is_ok() {
                    self.tell_stream(session.id(), stream, log.content());
                }
            }
        }
    }

    /// Tells the other process of a stream.
    fn tell_stream(&self, id: &str, stream: u64, (gone, messages): (u64, Vec<Message>)) {
        let text = |message: &Message| String::from_utf8_lossy(&message.to_line()).into_owned();
        let messages = messages.iter().map(text).collect();
        self.peer.tell(&Told::Resumed { id: id.to_owned(), stream, gone, messages });
    }

    /// Takes what the other process tells of a stream of its own.
    pub(crate) fn resumed(&self, id: &str, stream: u64, gone: u64, messages: &[String]) {
        let Some(session) = self.get(id) else { return };
        let messages = messages.iter().filter_map(|message| Message::parse(message.as_bytes()).ok());
        session.logs().fill(stream, gone, messages.collect());
    }

    /// The other process is gone: what it has not told of its streams is lost.
    pub(crate) fn alone(&self) {
        for session in self.all() {
            session.logs().nobody_elsewhere(|id| Fault::restarted().response(Some(id)));
        }
    }

    /// Waits until no request of any client is in flight.
    async fn calls_over(&self) {
        while self.all().iter().any(|session| session.has_calls()) {
            sleep(LOOK).await;
        }
    }

    /// Keeps a session from elsewhere unless it is here already, or the configuration no longer has its endpoint. Its streams
    /// of answers are lost, or those of the other process.
    pub(crate) fn restore(&self, saved: SavedSession, lost: bool) {
        let client = saved.client.as_deref().map(ClientName::new);
        let endpoint = Endpoint::named(saved.endpoint.clone()).of(client);
        if self.routing.view(&endpoint).is_none() {
            tracing::info!(?endpoint, "a session ends: its upstream is no longer configured");
            return;
        }
        let session = {
            let mut sessions = self.sessions.lock();
            let known = sessions.by_id.get(&saved.id).cloned();
            known.unwrap_or_else(|| {
                let restored = Session::restore(saved, Arc::clone(&self.routing), lost);
                // What has changed since the process before has shown it lists.
                let announced = self.changes.subscribe_from_start().of(restored.0.whose());
                let session = Self::start(restored, announced);
                sessions.insert(&session);
                for upstream in session.view().upstreams() {
                    upstream.distrust_lists();
                }
                let uris = session.subscriptions().uris();
                if !uris.is_empty() {
                    tokio::spawn(subscribe::again(Arc::clone(&session), uris));
                }
                session
            })
        };
        if let Some(journal) = self.journal.get() {
            session.remember(journal);
        }
    }

    /// Takes a client's message about a request in flight here, which came to another process.
    pub(crate) async fn deliver(&self, id: &str, body: &str) {
        let Some(session) = self.get(id) else { return };
        match Message::parse(body.as_bytes()) {
            Ok(Message::Response(response)) => {
                if let Err(fault) = session.answered(response).await {
                    tracing::debug!(session = session.label(), %fault, "an answer does not reach its server");
                }
            }
            Ok(Message::Notification(note)) => session.notified(note).await,
            _ => {}
        }
    }

    /// All sessions.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.sessions.lock().by_id.values().cloned().collect()
    }

    /// Ends a session.
    pub(crate) async fn end(&self, id: &str) {
        if let Some(session) = self.take(id) {
            self.ledger.session_ended(session.age());
            end(&session).await;
        }
    }

    /// Ends what is here of a session, which the other process has ended and counted.
    pub(crate) async fn end_here(&self, id: &str) {
        if let Some(session) = self.take(id) {
            end(&session).await;
        }
    }

    /// Takes a session out.
    fn take(&self, id: &str) -> Option<Arc<Session>> {
        let session = self.sessions.lock().remove(id)?;
        self.forget(&session);
        Some(session)
    }

    /// Ends all sessions of a client that may not use the gateway any more, and with `people` those of the people of that entry.
    pub(crate) async fn end_of(self: Arc<Self>, client: ClientName, people: bool) {
        let is_theirs = |its: &ClientName| *its == client || people && client.covers(its);
        let mut theirs = self.all();
        theirs.retain(|session| session.endpoint().client().is_some_and(is_theirs));
        if !theirs.is_empty() {
            tracing::info!(%client, sessions = theirs.len(), "sessions are ended: their client may not use the gateway any more");
        }
        join_all(theirs.iter().map(|session| self.end(session.id()))).await;
        for upstream in self.routing.current().upstreams() {
            upstream.give_up(&client, people);
        }
        self.leave_persons(Duration::MAX).await;
    }

    /// Ends what upstreams have for single clients, where these have not called for so long and nothing of theirs is open.
    async fn leave_persons(&self, since: Duration) {
        let table = self.routing.current();
        if table.wanted().is_none() {
            return;
        }
        let sessions = self.all();
        let is_used = |person: &Arc<Person>| sessions.iter().any(|it| it.whose().person() == Some(person));
        let over: Vec<_> = table.upstreams().iter().flat_map(|it| it.persons_over(since, is_used)).collect();
        let ends = over.iter().map(|upstream| async {
            upstream.stop();
            self.leave(upstream).await;
        });
        join_all(ends).await;
    }

    /// Who has sessions: so many clients at most, those with most of them first.
    pub(crate) fn attendance(&self, most: usize) -> Vec<Attendance> {
        let sessions = self.sessions.lock();
        let mut all: Vec<_> = sessions.by_client.iter().collect();
        all.sort_by_key(|(client, theirs)| (Reverse(theirs.ids.len()), *client));
        all.truncate(most);
        let attendance = all.into_iter().map(|(client, theirs)| {
            let some = theirs.ids.iter().take(TOLD).filter_map(|id| sessions.by_id.get(id));
            let mut software: Vec<_> =
                some.filter_map(|session| session.connections().client().meta.software()).collect();
            software.sort();
            software.dedup();
            Attendance::new(client.to_string(), theirs.ids.len(), software)
        });
        attendance.collect()
    }

    /// The number of sessions.
    pub(crate) fn len(&self) -> usize {
        self.sessions.lock().by_id.len()
    }

    /// Waits until no session has a request in flight on a connection of its own to an upstream.
    pub(crate) async fn idle(&self, upstream: &Upstream) {
        let sessions = self.all();
        join_all(sessions.iter().map(|session| session.connections().idle(upstream))).await;
    }

    /// Ends the sessions' own connections to an upstream.
    pub(crate) async fn leave(&self, upstream: &Upstream) {
        let sessions = self.all();
        join_all(sessions.iter().map(|session| session.connections().leave(upstream))).await;
    }

    /// Ends all sessions with the process. They stay remembered: their clients may come back to the next one.
    pub(crate) async fn end_all(&self) {
        let sessions: Vec<_> = std::mem::take(&mut *self.sessions.lock()).by_id.into_values().collect();
        if let Some(journal) = self.journal.get() {
            journal.close(sessions.is_empty());
        }
        join_all(sessions.iter().map(|session| end(session))).await;
    }

    /// Ends sessions whose clients have been silent for too long, until told to stop.
    pub(crate) async fn sweep(&self, stop: CancellationToken) {
        let limit = || self.routing.current().server.session_timeout;
        let mut due = Instant::now() + SWEEP.min(limit());
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.bloated() => {
                    self.tidy();
                    continue;
                }
                () = memory::pressed() => {
                    self.make_memory();
                    sleep(EASED).await;
                    continue;
                }
                () = tokio::time::sleep_until(due) => {}
            }
            let limit = limit();
            due = Instant::now() + SWEEP.min(limit);
            // Together: none waits for another's server.
            join_all(self.all().iter().map(|session| session.connections().reap())).await;
            let is_over = |session: &Arc<Session>| session.idle() > limit || session.is_left();
            let silent: Vec<_> = self.all().into_iter().filter(is_over).collect();
            let ends = silent.iter().map(|session| {
                if self.log_limit.admits("silent session ended", &session.client_key()) {
                    tracing::info!(
                        session = session.label(),
                        "the session is ended: its client has been silent"
                    );
                }
                self.end(session.id())
            });
            join_all(ends).await;
            self.leave_persons(limit).await;
        }
    }

    /// Drops what sessions keep for clients that may come back, of those first that keep most, until memory is eased.
    fn make_memory(&self) {
        let all = self.all().into_iter().map(|session| (session.spare(), session));
        let mut all: Vec<_> = all.filter(|(spare, _)| *spare > 0).collect();
        all.sort_by_key(|(spare, _)| Reverse(*spare));
        let mut dropped = 0;
        for (_, session) in all.iter().take_while(|_| !memory::is_eased()) {
            session.drop_spare();
            dropped += 1;
        }
        if dropped > 0 && self.log_limit.admits("memory", &ClientKey::of(None)) {
            let (held, limit) = (memory::held(), memory::limit());
            tracing::warn!(
                sessions = dropped,
                held,
                limit,
                "memory is short: what sessions keep for clients that may come back is dropped"
            );
        }
    }

    /// Waits until the journal would gain from being written anew.
    async fn bloated(&self) {
        match self.journal.get() {
            Some(journal) => journal.bloated().notified().await,
            None => std::future::pending().await,
        }
    }

    /// Writes the journal anew.
    fn tidy(&self) {
        if let Some(journal) = self.journal.get()
            && let Err(error) = self.rewrite(&**journal)
        {
            tracing::warn!(%error, "the file of the sessions cannot be written anew");
        }
    }
}
