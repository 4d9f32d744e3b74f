//! The connections that are open: how many there may be, and who gives way to a new one where there are so many.
//!
//! Connections are capped below the limit on open files, so that descriptors are left for what the gateway itself opens:
//! its control socket, upstreams, the log, the sessions file, a successor. Where the cap is reached, connections without
//! a request in flight give way, those of the client that has most of them first ([`who_makes_room`]); a few at once, as
//! nginx's `ngx_drain_connections` does, so that a flood does not look through all of them each time. Where there are
//! none, the new one is answered 503. Requests of the gateway to itself are always let in.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::moment::{Moment, Wait};
use crate::gateway::client::{ClientKey, who_makes_room};
use crate::sys::limits;

/// Connections that may be open where neither the configuration nor the limit on open files says less.
const DEFAULT: usize = 32_768;
/// Descriptors that are kept back, where there are twice as many.
const KEPT_BACK: usize = 512;
/// As many connections give way at once.
const BATCH: usize = 32;
/// Connections beyond the cap, while others that have to go are not gone.
const SPARE: usize = 64;
/// The least number of bytes that can be a part of an answer.
const ANSWER: usize = 64;
/// How long a new connection waits for these.
const PATIENCE: Duration = Duration::from_secs(1);

/// The connections that are open.
#[derive(Debug)]
pub(crate) struct OpenConnections {
    /// All of them.
    open: Mutex<Open>,
    /// Tells that one has ended.
    freed: Notify,
    /// What the limit on open files allows.
    ceiling: usize,
    /// What the clock of [`Occupant::used`] counts from.
    start: Instant,
    /// Where requests of the gateway to itself come from.
    own: Mutex<HashSet<(IpAddr, u16)>>,
}

/// All connections.
#[derive(Debug, Default)]
struct Open {
    /// By number.
    by_number: HashMap<u64, Arc<Occupant>>,
    /// How many of these were told to go.
    going: usize,
    /// The last number.
    last: u64,
}

/// One connection, as others see it.
#[derive(Debug)]
struct Occupant {
    /// Whose it is.
    client: Mutex<ClientKey>,
    /// The number of its listener.
    listener: u64,
    /// Whether it is the gateway's own.
    own: bool,
    /// Requests in flight.
    active: AtomicUsize,
    /// Whether something waits to be written that the client does not read.
    blocked: AtomicBool,
    /// When the last request ended, something was written, or the connection began, in milliseconds.
    used: AtomicU64,
    /// Cancelled when it is to go.
    going: Moment,
    /// Whether it is to go whatever is in flight.
    cut: AtomicBool,
}

/// A connection's place among those that are open, which it has until it is dropped.
#[derive(Debug)]
pub(super) struct OpenConnection {
    /// Among these.
    connections: Arc<OpenConnections>,
    /// Its number.
    number: u64,
    /// What others see of it.
    occupant: Arc<Occupant>,
}

/// A request in flight, until dropped.
#[derive(Debug)]
pub(super) struct Active(Arc<OpenConnections>, Arc<Occupant>);

/// What is written to the client of a connection.
#[derive(Debug)]
pub(super) struct Writing(Arc<OpenConnections>, Arc<Occupant>);

/// An address from which the gateway asks itself, until dropped.
#[derive(Debug)]
pub struct Expected(Arc<OpenConnections>, (IpAddr, u16));

impl Default for OpenConnections {
    fn default() -> Self {
        let files = limits::open_files();
        let ceiling = (files / 2).max(files.saturating_sub(KEPT_BACK)).max(1);
        Self {
            open: Mutex::default(),
            freed: Notify::new(),
            ceiling,
            start: Instant::now(),
            own: Mutex::default(),
        }
    }
}

impl OpenConnections {
    /// How many connections there may be: as many as the configuration says and the limit on open files allows. Without
    /// a word in the configuration, half of the files are for clients, since each may need one towards an upstream.
    pub(crate) fn most(&self, configured: Option<usize>) -> usize {
        let half = limits::open_files() / 2;
        configured.unwrap_or(DEFAULT.min(half.max(1))).min(self.ceiling)
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.open.lock().by_number.len()
    }

    /// Warns of a configuration that asks for more than there can be.
    pub(crate) fn check(&self, configured: Option<usize>) {
        if let Some(configured) = configured.filter(|configured| *configured > self.ceiling) {
            tracing::warn!(
                max_connections = configured,
                possible = self.ceiling,
                "the limit on open files allows fewer connections than the configuration; raise it, by `LimitNOFILE=` \
                 in the unit or by `ulimit -n`"
            );
        }
    }

    /// Lets a connection in and has others make room if need be; `None` where all are in use.
    pub(super) async fn take(
        self: &Arc<Self>,
        (client, listener, own): (ClientKey, u64, bool),
        most: usize,
    ) -> Option<OpenConnection> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            {
                let mut open = self.open.lock();
                if !own
                    && open.staying() >= most
                    && open.make_room(self, &client, BATCH.min(most / 8).max(1)) == 0
                {
                    return None;
                }
                if own || open.by_number.len() < most + SPARE {
                    return Some(self.insert(&mut open, (client, listener, own)));
                }
            }
            tokio::time::timeout_at(deadline, freed).await.ok()?;
        }
    }

    /// Adds a connection.
    fn insert(
        self: &Arc<Self>,
        open: &mut Open,
        (client, listener, own): (ClientKey, u64, bool),
    ) -> OpenConnection {
        open.last += 1;
        let occupant = Arc::new(Occupant {
            client: Mutex::new(client),
            listener,
            own,
            active: AtomicUsize::new(0),
            blocked: AtomicBool::new(false),
            used: AtomicU64::new(self.now()),
            going: Moment::default(),
            cut: AtomicBool::new(false),
        });
        open.by_number.insert(open.last, Arc::clone(&occupant));
        OpenConnection { connections: Arc::clone(self), number: open.last, occupant }
    }

    /// Has idle connections give way without a new one: the process is out of descriptors.
    pub(super) fn make_room(&self) {
        self.open.lock().make_room(self, &ClientKey::of(None), BATCH);
    }

    /// Ends all connections of a listener.
    pub(super) fn cut(&self, listener: u64) {
        let mut open = self.open.lock();
        let theirs: Vec<_> = open
            .by_number
            .values()
            .filter(|occupant| occupant.listener == listener)
            .map(Arc::clone)
            .collect();
        for occupant in &theirs {
            open.send_away(occupant, true);
        }
    }

    /// How many connections of a listener have a request in flight.
    pub(super) fn busy(&self, listener: u64) -> usize {
        let open = self.open.lock();
        let theirs = open.by_number.values().filter(|occupant| occupant.listener == listener);
        theirs.filter(|occupant| occupant.active.load(Ordering::Relaxed) > 0).count()
    }

    /// Has a connection from this address let in: the gateway asks itself.
    pub(crate) fn expect(self: &Arc<Self>, address: SocketAddr) -> Expected {
        let place = (address.ip().to_canonical(), address.port());
        self.own.lock().insert(place);
        Expected(Arc::clone(self), place)
    }

    /// Whether a connection from this address is the gateway's own.
    pub(super) fn expects(&self, address: SocketAddr) -> bool {
        self.own.lock().contains(&(address.ip().to_canonical(), address.port()))
    }

    /// Milliseconds since the start.
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Open {
    /// How many there will be once those that were told to go are gone.
    fn staying(&self) -> usize {
        self.by_number.len().saturating_sub(self.going)
    }

    /// Tells a connection to go.
    fn send_away(&mut self, occupant: &Occupant, cut: bool) {
        occupant.cut.fetch_or(cut, Ordering::Relaxed);
        if !occupant.going.has_come() {
            occupant.going.come();
            self.going += 1;
        }
    }

    /// Tells as many connections to go; returns how many there were that could.
    fn make_room(&mut self, connections: &OpenConnections, newcomer: &ClientKey, count: usize) -> usize {
        let now = connections.now();
        let others = self.by_number.values().filter(|occupant| !occupant.own && !occupant.going.has_come());
        let all = others
            .map(|occupant| (occupant.client.lock().clone(), occupant.idle(now), Arc::clone(occupant)))
            .collect();
        let chosen = who_makes_room(newcomer, all, count);
        for occupant in &chosen {
            self.send_away(occupant, occupant.active.load(Ordering::Relaxed) > 0);
        }
        chosen.len()
    }
}

impl Occupant {
    /// For how long no request was in flight and no answer on its way; `None` while one is.
    fn idle(&self, now: u64) -> Option<Duration> {
        let idle = self.active.load(Ordering::Acquire) == 0 && !self.blocked.load(Ordering::Relaxed);
        idle.then(|| self.unused(now))
    }

    /// For how long no request has ended and nothing was written.
    fn unused(&self, now: u64) -> Duration {
        Duration::from_millis(now.saturating_sub(self.used.load(Ordering::Relaxed)))
    }
}

impl OpenConnection {
    /// Counts a request in flight.
    pub(super) fn begin(&self) -> Active {
        self.occupant.active.fetch_add(1, Ordering::Relaxed);
        Active(Arc::clone(&self.connections), Arc::clone(&self.occupant))
    }

    /// For how long no request was in flight; `None` while one is.
    pub(super) fn idle(&self) -> Option<Duration> {
        self.occupant.idle(self.connections.now())
    }

    /// Whose it is, as a proxy tells.
    pub(super) fn belongs_to(&self, client: ClientKey) {
        *self.occupant.client.lock() = client;
    }

    /// What is written to its client.
    pub(super) fn writing(&self) -> Writing {
        Writing(Arc::clone(&self.connections), Arc::clone(&self.occupant))
    }

    /// For how long no request has ended and nothing was written.
    pub(super) fn silent(&self) -> Duration {
        self.occupant.unused(self.connections.now())
    }

    /// Waits until the connection is to give way.
    pub(super) fn going(&self) -> Wait<'_> {
        self.occupant.going.wait()
    }

    /// Whether it is to go whatever is in flight.
    pub(super) fn is_cut(&self) -> bool {
        self.occupant.cut.load(Ordering::Relaxed)
    }

    /// Waits until no request was in flight for so long.
    pub(super) async fn unused(&self, limit: Duration) {
        loop {
            let left = limit.saturating_sub(self.idle().unwrap_or_default());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

impl Writing {
    /// The client does not read what is to be written.
    pub(super) fn is_blocked(&self) {
        self.1.blocked.store(true, Ordering::Relaxed);
    }

    /// The client has read so many bytes, or the kernel has for it.
    pub(super) fn goes_on(&self, bytes: usize) {
        self.1.blocked.store(false, Ordering::Relaxed);
        // What keeps an HTTP/2 connection alive is less: answers to pings, and acknowledgements.
        if bytes >= ANSWER {
            self.1.used.store(self.0.now(), Ordering::Relaxed);
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        {
            let mut open = self.connections.open.lock();
            open.by_number.remove(&self.number);
            if self.occupant.going.has_come() {
                open.going -= 1;
            }
        }
        self.connections.freed.notify_waiters();
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.1.used.store(self.0.now(), Ordering::Relaxed);
        self.1.active.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.0.own.lock().remove(&self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets a connection of this client in.
    async fn take(connections: &Arc<OpenConnections>, address: &str, most: usize) -> Option<OpenConnection> {
        connections.take((ClientKey::of(Some(address.parse().unwrap())), 0, false), most).await
    }

    #[tokio::test]
    async fn a_flood_takes_the_places_of_its_own_connections_only() {
        const MOST: usize = 80;
        let connections = Arc::new(OpenConnections::default());
        let quiet = take(&connections, "192.0.2.1", MOST).await.unwrap();
        let mut flood = Vec::new();
        for _ in 0..4 * MOST {
            flood.push(take(&connections, "192.0.2.2", MOST).await.unwrap());
            flood.retain(|slot| !slot.occupant.going.has_come());
            assert!(flood.len() < MOST);
        }
        assert!(!quiet.occupant.going.has_come(), "it was idle for longest, but it is only one");
    }

    #[tokio::test]
    async fn those_in_use_stay_and_the_gateway_itself_is_let_in() {
        const MOST: usize = 8;
        let connections = Arc::new(OpenConnections::default());
        let mut held = Vec::new();
        for number in 0..MOST {
            let slot = take(&connections, &format!("192.0.2.{number}"), MOST).await.unwrap();
            held.push((slot.begin(), slot));
        }
        assert!(take(&connections, "192.0.2.99", MOST).await.is_none());
        let own = connections.take((ClientKey::of(None), 0, true), MOST).await;
        assert!(own.is_some());
        drop(own);
        held.pop();
        assert!(take(&connections, "192.0.2.99", MOST).await.is_some());
    }

    #[tokio::test]
    async fn connections_beyond_the_cap_wait_for_those_that_go() {
        const MOST: usize = 8;
        let connections = Arc::new(OpenConnections::default());
        let mut held = Vec::new();
        for _ in 0..MOST + SPARE {
            held.push(take(&connections, "192.0.2.1", MOST).await.unwrap());
        }
        assert!(take(&connections, "192.0.2.1", MOST).await.is_none(), "nobody goes");
        let waiting = Arc::clone(&connections);
        let late = tokio::spawn(async move { take(&waiting, "192.0.2.1", MOST).await.is_some() });
        tokio::task::yield_now().await;
        held.remove(0);
        assert!(late.await.unwrap());
    }
}
