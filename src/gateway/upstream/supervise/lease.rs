//! Connections to a legacy server that are lent to calls of modern clients, one call at a time.
//!
//! A legacy server asks its client (sampling, elicitation, roots) over the connection, and on stdio nothing says which
//! call a question belongs to. Where there is one call only, it is that one.
//!
//! Invariant: what a client has sent over a connection, or answered, never meets another client. Clients have no names,
//! so a connection ends with its call, its suspended rounds included; whatever the server says or asks after that goes
//! nowhere. Only one over which nothing of a client has gone is used again: one that was opened in advance for the
//! same `clientInfo` and capabilities, or that was asked for a list and nothing else. Opening one in advance costs a
//! process for each call, but the call does not wait for it.
//!
//! | wait | limit | then |
//! |---|---|---|
//! | for a connection | [`WAIT`], and not longer than the request has | a fault that names the upstream and the limit |
//! | for a place, while rounds of the same or of greedier clients are suspended | the same | the oldest of these gives way |
//! | of a suspended round for its client | `request_timeout` of the upstream, or until it gives way | the call is cancelled |
//! | of a connection for its next call | [`KEPT`] | it is ended |

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::life::Life;
use crate::config::{Sharing, Transport};
use crate::gateway::client::ClientName;
use crate::gateway::error::Fault;
use crate::gateway::relay::{ClientMeta, Era, LATEST_LEGACY, Request};
use crate::gateway::upstream::call::caller::Caller;
use crate::gateway::upstream::call::request::Role;
use crate::gateway::upstream::inbox::{Inbound, InboxReceiver, inbox};
use crate::gateway::upstream::link::connection::Link;
use crate::gateway::upstream::link::negotiate::{ClientIdentity, Connector};

/// Connections that one stdio server lends at once, those that wait for their next call included: each is a process.
const PROCESSES: usize = 16;
/// The same of an HTTP server, to which one more is nothing but a session; their clients may take long to answer.
const SESSIONS: usize = 256;
/// One client has at most one of so many of them.
const SHARE: usize = 2;
/// How long a call waits for a connection where all are lent.
const WAIT: Duration = Duration::from_secs(5);
/// How long a connection is kept for the next call.
const KEPT: Duration = Duration::from_secs(60);

/// The connections that an upstream lends.
#[derive(Debug)]
pub(crate) struct Leases {
    /// Opens them.
    connector: Arc<Connector>,
    /// Tells whether there may be more.
    life: Life,
    /// How many there may be.
    most: usize,
    /// Those that are lent or being ended.
    lent: Mutex<Lent>,
    /// Tells that there are fewer.
    freed: Notify,
    /// Those that wait for the next call, the longest waiting first.
    spare: Mutex<Vec<Spare>>,
}

/// Connections that are not free.
#[derive(Debug, Default)]
struct Lent {
    /// The last number.
    last: u64,
    /// Those that calls have.
    calls: Vec<Call>,
    /// How many are being ended, or opened in advance.
    changing: usize,
}

/// A call that has a connection.
#[derive(Debug)]
struct Call {
    /// Its number.
    number: u64,
    /// Whose it is.
    caller: Caller,
    /// Since when it waits for its client's answers, and how it is told to give way.
    suspended: Option<(Instant, CancellationToken)>,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// The client has its share.
    Share,
    /// Others have all.
    All,
}

/// For whom a connection is opened.
#[derive(Clone, Debug, PartialEq)]
struct Whom {
    /// Whom the server takes for its client.
    client: ClientMeta,
    /// The name that the client has shown to be its: what was opened for one is no other's.
    name: Option<ClientName>,
}

/// A connection that nobody has used.
#[derive(Debug)]
struct Spare {
    /// For whom it was opened.
    whom: Whom,
    /// The connection.
    link: Arc<Link>,
    /// What the server says outside of its answers.
    inbox: InboxReceiver,
    /// What it has asked while nobody was there.
    asked: Vec<Request>,
    /// Since when it waits.
    since: Instant,
}

/// A connection that one call has for itself. Dropping it ends it, unless nothing was sent over it.
#[derive(Debug)]
pub(crate) struct Lease {
    /// Among which it is.
    leases: Arc<Leases>,
    /// Its number.
    number: u64,
    /// For whom it is.
    whom: Whom,
    /// The connection; `None` until it is open.
    link: Option<Arc<Link>>,
    /// What the server says outside of its answers; lent to the task that carries the call.
    pub(crate) inbox: Option<InboxReceiver>,
    /// What the server has asked before: about its client, such as its roots, not about a call.
    pub(crate) asked: Vec<Request>,
    /// Whether something of a client has gone over it.
    used: bool,
}

impl Lent {
    /// Gives a call a place, if there is one.
    fn claim(&mut self, caller: &Caller, most: usize) -> Result<u64, Refusal> {
        if self.calls_of(caller) >= most / SHARE {
            return Err(Refusal::Share);
        }
        if self.calls.len() >= most || self.calls.len() + self.changing >= most * 2 {
            return Err(Refusal::All);
        }
        self.last += 1;
        self.calls.push(Call { number: self.last, caller: caller.clone(), suspended: None });
        Ok(self.last)
    }

    /// How many calls are of a client.
    fn calls_of(&self, caller: &Caller) -> usize {
        self.calls.iter().filter(|call| call.caller == *caller).count()
    }

    /// How many calls are of a network.
    fn calls_from(&self, caller: &Caller) -> usize {
        self.calls.iter().filter(|call| call.caller.is_near(caller)).count()
    }

    /// Has the oldest suspended round of a client that has its share give way to its next call: a client that has left
    /// questions alone is not shut out by them. One at a time.
    fn make_own_way(&self, caller: &Caller) {
        let own = self.calls.iter().filter(|call| call.caller == *caller);
        let oldest = own.filter_map(|call| call.suspended.as_ref()).min_by_key(|(since, _)| *since);
        if let Some((_, token)) = oldest {
            token.cancel();
        }
    }

    /// Has the oldest suspended round of the network or client that has most of them give way, if that has at
    /// least two more than the client that waits. One at a time.
    fn make_way(&self, newcomer: &Caller) {
        let leaving = |call: &Call| call.suspended.as_ref().is_some_and(|(_, token)| token.is_cancelled());
        if self.calls.iter().any(leaving) {
            return;
        }
        let more = |theirs: usize, own: usize| if theirs >= own + 2 { theirs } else { 0 };
        let (from, of) = (self.calls_from(newcomer), self.calls_of(newcomer));
        let greed = |caller: &Caller| (more(self.calls_from(caller), from), more(self.calls_of(caller), of));
        let suspended = self.calls.iter().filter_map(|call| Some((call, call.suspended.as_ref()?)));
        let greedy = suspended.map(|(call, suspended)| (greed(&call.caller), suspended));
        let victim = greedy
            .filter(|(greed, _)| *greed != (0, 0))
            .max_by_key(|(greed, (since, _))| (*greed, Reverse(*since)));
        if let Some((_, (_, token))) = victim {
            token.cancel();
        }
    }
}

impl Leases {
    /// None lent yet.
    pub(crate) fn new(connector: Arc<Connector>, life: Life) -> Self {
        let most = match connector.settings().transport {
            Transport::Stdio { .. } => PROCESSES,
            Transport::Http { .. } => SESSIONS,
        };
        Self { connector, life, most, lent: Mutex::default(), freed: Notify::new(), spare: Mutex::default() }
    }

    /// Waits for a place for a call, at most until a moment.
    async fn claim(&self, caller: &Caller, until: Instant) -> Result<u64, Refusal> {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let refusal = {
                let mut lent = self.lent.lock();
                match lent.claim(caller, self.most) {
                    Ok(number) => return Ok(number),
                    Err(refusal) => {
                        // Nobody gives way to a caller that does not wait.
                        if Instant::now() < until {
                            match refusal {
                                Refusal::Share => lent.make_own_way(caller),
                                Refusal::All => lent.make_way(caller),
                            }
                        }
                        refusal
                    }
                }
            };
            if timeout_at(until, freed).await.is_err() {
                return Err(refusal);
            }
        }
    }

    /// A call's place is free; what it had is still being ended if `changing`.
    fn free(&self, number: u64, changing: bool) {
        let mut lent = self.lent.lock();
        lent.calls.retain(|call| call.number != number);
        lent.changing += usize::from(changing);
        drop(lent);
        self.freed.notify_waiters();
    }

    /// What was being ended is gone.
    fn changed(&self) {
        self.lent.lock().changing -= 1;
        self.freed.notify_waiters();
    }

    /// A connection that was opened for such a client before and that nobody has used.
    fn take(&self, whom: &Whom) -> Option<Spare> {
        let mut spare = self.spare.lock();
        let fits = |spare: &Spare| spare.whom == *whom && spare.link.is_open();
        let place = spare.iter().rposition(fits)?;
        Some(spare.remove(place))
    }

    /// Ends the connections that have waited for longest, beyond the room beside those that are lent.
    fn make_room(&self) {
        let room = self.most.saturating_sub(self.lent.lock().calls.len());
        let mut spare = self.spare.lock();
        let many = spare.len().saturating_sub(room);
        for Spare { link, .. } in spare.drain(..many) {
            tokio::spawn(async move { link.wire().end().await });
        }
    }

    /// Whether a connection may be opened in advance for such a client.
    fn may_prepare(&self, whom: &Whom) -> bool {
        let calls = self.lent.lock().calls.len();
        let spare = self.spare.lock();
        calls + spare.len() < self.most && !spare.iter().any(|spare| spare.whom == *whom)
    }

    /// Ends those that nobody has used since a moment.
    async fn end_before(&self, moment: Instant) {
        let old: Vec<_> = self.spare.lock().extract_if(.., |spare| spare.since <= moment).collect();
        // Together: one whose server does not answer must not keep the others waiting.
        join_all(old.iter().map(|spare| spare.link.wire().end())).await;
    }

    /// Ends all that nobody uses.
    pub(crate) async fn clear(&self) {
        self.end_before(Instant::now()).await;
    }

    /// Waits until none is lent.
    pub(crate) async fn idle(&self) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.lent.lock().calls.is_empty() {
                return;
            }
            freed.await;
        }
    }

    /// Whether a call of this modern client needs a connection of its own, so that the server can ask the client.
    pub(crate) fn lends_to(&self, client: &ClientMeta, native: &Link) -> bool {
        let allowed = self.connector.settings().sharing != Sharing::Shared;
        native.era() == Era::Legacy && allowed && client.is_singular()
    }

    /// Lends a connection; one is waited for no longer than `patience`, and never long.
    pub(crate) async fn lend(
        self: &Arc<Self>,
        (client, caller): (&ClientMeta, &Caller),
        patience: Duration,
    ) -> Result<Lease, Fault> {
        let claimed = self.claim(caller, Instant::now() + patience.min(WAIT)).await;
        let number = claimed.map_err(|refusal| self.refused(refusal).unprocessed())?;
        let whom = Whom { client: client.clone(), name: caller.key().name().cloned() };
        let leases = Arc::clone(self);
        let (link, inbox, asked) = (None, None, Vec::new());
        // Made before the connection is opened, so that a caller that gives up leaves the place to others.
        let mut lease = Lease { leases, number, whom, link, inbox, asked, used: false };
        let prepared = self.take(&lease.whom);
        let Spare { link, mut inbox, mut asked, .. } = if let Some(spare) = prepared {
            spare
        } else {
            self.make_room();
            self.open_unused(&lease.whom).await?
        };
        sort(&mut inbox, &mut asked);
        (lease.link, lease.inbox, lease.asked) = (Some(link), Some(inbox), asked);
        Ok(lease)
    }

    /// What a client is told that gets no connection.
    fn refused(&self, refusal: Refusal) -> Fault {
        let (most, share) = (self.most, self.most / SHARE);
        let reason = match refusal {
            Refusal::Share => format!(
                "has no connection to spare: {share} calls of this client are under way, and {share} is the limit for \
                 one client; wait for one of them or cancel it"
            ),
            Refusal::All => format!(
                "has no connection to spare: all {most}, which is the limit, are lent to calls that are under way or wait \
                 for their clients; try again soon"
            ),
        };
        Fault::upstream(self.connector.name(), reason)
    }

    /// Opens a connection for such a client.
    async fn open_unused(&self, whom: &Whom) -> Result<Spare, Fault> {
        let (sender, inbox) = inbox();
        let identity = ClientIdentity { meta: whom.client.in_other_era(), version: LATEST_LEGACY.to_owned() };
        let link = Arc::new(self.connector.open_legacy(&identity, Role::Dedicated, sender).await?);
        Ok(Spare { whom: whom.clone(), link, inbox, asked: Vec::new(), since: Instant::now() })
    }

    /// Keeps a connection that nobody has used for the next call, for a while.
    fn keep_unused(self: &Arc<Self>, spare: Spare) {
        self.spare.lock().push(Spare { since: Instant::now(), ..spare });
        // While this one was opened, others may have been, too.
        self.make_room();
        let leases = Arc::downgrade(self);
        tokio::spawn(async move {
            let began = Instant::now();
            tokio::time::sleep(KEPT).await;
            if let Some(leases) = leases.upgrade() {
                leases.end_before(began).await;
            }
        });
    }

    /// Opens a connection for the next call of such a client, where that is worth it: a process takes long to start.
    async fn prepare(self: &Arc<Self>, whom: &Whom) {
        let stdio = matches!(self.connector.settings().transport, Transport::Stdio { .. });
        if !stdio
            || self.life.stop().is_cancelled()
            || self.life.left().is_cancelled()
            || !self.may_prepare(whom)
        {
            return;
        }
        match self.open_unused(whom).await {
            Ok(spare) => self.keep_unused(spare),
            Err(fault) => {
                tracing::debug!(upstream = %self.connector.name(), %fault, "no connection is opened in advance");
            }
        }
        if self.life.stop().is_cancelled() {
            self.clear().await;
        }
    }
}

impl Lease {
    /// The connection, while it is open.
    pub(crate) fn link(&self) -> Result<Arc<Link>, Fault> {
        let open = self.link.as_ref().filter(|link| link.is_open());
        open.cloned().ok_or_else(|| Fault::upstream(self.leases.connector.name(), "ended before it answered"))
    }

    /// Notes that something of a client goes over it: it ends with the call.
    pub(crate) fn used(&mut self) {
        self.used = true;
    }

    /// Notes that the call waits for its client; the token tells when it is to give way to others.
    pub(crate) fn suspend(&self) -> CancellationToken {
        let token = CancellationToken::new();
        self.note(Some((Instant::now(), token.clone())));
        token
    }

    /// Notes that it waits no longer.
    pub(crate) fn resume(&self) {
        self.note(None);
    }

    /// Notes whether the call waits for its client.
    fn note(&self, suspended: Option<(Instant, CancellationToken)>) {
        let mut lent = self.leases.lent.lock();
        if let Some(call) = lent.calls.iter_mut().find(|call| call.number == self.number) {
            call.suspended = suspended;
        }
        drop(lent);
        // A caller that waits may have the call give way.
        self.leases.freed.notify_waiters();
    }
}

/// Empties an inbox: questions are kept, and the rest was for nobody.
fn sort(inbox: &mut InboxReceiver, asked: &mut Vec<Request>) {
    while let Ok((_, message)) = inbox.try_recv() {
        match message {
            Inbound::Request(request) => asked.push(request),
            Inbound::Notification(_) | Inbound::AnyUpdated => {}
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let leases = Arc::clone(&self.leases);
        let Some(link) = self.link.take() else { return leases.free(self.number, false) };
        let unused = !self.used && link.is_open() && !leases.life.stop().is_cancelled();
        if let Some(inbox) = self.inbox.take().filter(|_| unused) {
            let (whom, asked) = (self.whom.clone(), std::mem::take(&mut self.asked));
            leases.keep_unused(Spare { whom, link, inbox, asked, since: Instant::now() });
            return leases.free(self.number, false);
        }
        leases.free(self.number, true);
        let whom = self.whom.clone();
        tokio::spawn(async move {
            tokio::join!(link.wire().end(), leases.prepare(&whom));
            leases.changed();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::client::ClientKey;

    /// A client that says this of itself, at this address.
    fn caller(address: &str, name: &str) -> Caller {
        let info = crate::gateway::relay::raw(&name);
        Caller::of(ClientKey::of(address.parse().ok()), &ClientMeta { info, ..ClientMeta::default() })
    }

    /// Suspends all calls, in their order; the tokens.
    fn suspend(lent: &mut Lent) -> Vec<CancellationToken> {
        let began = Instant::now();
        let calls = lent.calls.iter_mut().enumerate();
        let suspended = calls.map(|(place, call)| {
            let token = CancellationToken::new();
            call.suspended = Some((began + Duration::from_secs(place as u64), token.clone()));
            token
        });
        suspended.collect()
    }

    #[test]
    fn one_client_has_half_of_all_and_the_rest_is_for_others() {
        let (mut lent, greedy, other) = (Lent::default(), caller("::1", "a"), caller("::1", "b"));
        for _ in 0..8 {
            lent.claim(&greedy, 16).unwrap();
        }
        assert_eq!(lent.claim(&greedy, 16), Err(Refusal::Share));
        lent.claim(&other, 16).unwrap();
    }

    #[test]
    fn client_that_has_its_share_makes_its_own_oldest_round_give_way() {
        let (mut lent, own, other) = (Lent::default(), caller("::1", "a"), caller("::1", "b"));
        lent.claim(&other, 16).unwrap();
        for _ in 0..8 {
            lent.claim(&own, 16).unwrap();
        }
        lent.make_own_way(&own);
        let tokens = suspend(&mut lent);
        for _ in 0..2 {
            lent.make_own_way(&own);
            let gave_way: Vec<_> = tokens.iter().map(CancellationToken::is_cancelled).collect();
            assert_eq!(gave_way, (0..9).map(|place| place == 1).collect::<Vec<_>>(), "one at a time");
        }
    }

    #[test]
    fn oldest_round_of_the_greediest_gives_way_once_and_nobody_elses() {
        let mut lent = Lent::default();
        for (name, calls) in [("two", 2), ("eight", 8), ("six", 6)] {
            for _ in 0..calls {
                lent.claim(&caller("192.0.2.1", name), 16).unwrap();
            }
        }
        let tokens = suspend(&mut lent);
        let gave_way =
            || tokens.iter().enumerate().filter(|(_, token)| token.is_cancelled()).map(|(at, _)| at);
        assert_eq!(lent.claim(&caller("192.0.2.1", "new"), 16), Err(Refusal::All));
        lent.make_way(&caller("192.0.2.1", "eight"));
        assert_eq!(gave_way().count(), 0, "nobody has more than that one");
        lent.make_way(&caller("192.0.2.1", "six"));
        lent.make_way(&caller("192.0.2.1", "new"));
        assert_eq!(gave_way().collect::<Vec<_>>(), [2], "one at a time");
    }

    #[test]
    fn client_that_gives_itself_many_names_gives_way_to_another_network_but_equals_do_not() {
        let mut lent = Lent::default();
        for name in 0..16 {
            lent.claim(&caller("192.0.2.1", &name.to_string()), 16).unwrap();
        }
        let tokens = suspend(&mut lent);
        lent.make_way(&caller("192.0.2.2", "x"));
        assert!(tokens[0].is_cancelled() && tokens[1..].iter().all(|token| !token.is_cancelled()));
        let mut lent = Lent::default();
        for last in 1..=16 {
            lent.claim(&caller(&format!("192.0.2.{last}"), "x"), 16).unwrap();
        }
        let tokens = suspend(&mut lent);
        lent.make_way(&caller("192.0.2.99", "x"));
        assert!(tokens.iter().all(|token| !token.is_cancelled()));
    }
}
