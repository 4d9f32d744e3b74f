//! Handing children over to the process that takes this one's place, and taking those of the one before.
//!
//! Old: [`ChildHandover::offers`] before the new process is told what to serve; [`ChildHandover::hand_over`] when it is
//! ready, and [`ChildHandover::take_back`] if it then fails; [`ChildHandover::lend`] once it serves. New: `Gateway::start`
//! with the offers; [`ChildHandover::receive`] for each child that comes; [`ChildHandover::adopt`] once it serves. Until one
//! of them ends, both pass on what [`PeerMessage`] says. The turns at upstreams with `max_concurrency` are given by the new
//! process from [`ChildHandover::share_turns`] on, before it accepts, until one of them has ended.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::catalog::RoutingHandle;
use super::session::{PeerLink, PeerRequest};
use super::upstream::{
    Awaited, ChildTransfer, ConcurrencyLimit, LimitMessage, LimitSender, Offer, PeerMessage, PeerSender,
    SharedChild,
};

/// Children on their way.
#[derive(Debug)]
pub(super) struct ChildHandover {
    /// What is on its way.
    state: Mutex<State>,
    /// The upstreams whose children they are.
    routing: Arc<RoutingHandle>,
    /// The way to the process before or after this one.
    peer: Arc<PeerLink>,
}

/// What is on its way.
#[derive(Debug, Default)]
struct State {
    /// The pids of the children that were offered.
    offered: Vec<u32>,
    /// Connections that wait for their pipes.
    awaited: Vec<Awaited>,
    /// Children that have come.
    transfers: HashMap<u32, ChildTransfer>,
    /// Connections of children that two processes use, by the child's pid.
    shared: HashMap<u32, SharedChild>,
    /// The limits of upstreams at which two processes have requests, by what tells their servers apart.
    limits: HashMap<String, Arc<ConcurrencyLimit>>,
}

/// What one process tells the other of the turns at an upstream.
#[derive(Debug, Serialize, Deserialize)]
struct OfTurns {
    /// What tells its server from any other.
    upstream: String,
    /// What there is to say.
    word: LimitMessage,
}

/// Reads what [`ChildHandover::offers`] wrote; what another version wrote is no reason not to serve.
pub(super) fn read_offers(texts: &[String]) -> Vec<Offer> {
    let read = |text: &String| match serde_json::from_str(text) {
        Ok(offer) => Some(offer),
        Err(error) => {
            tracing::info!(%error, "a child of the process before is started anew");
            None
        }
    };
    texts.iter().filter_map(read).collect()
}

impl ChildHandover {
    /// With connections that wait for their pipes.
    pub(super) fn new(awaited: Vec<Awaited>, routing: Arc<RoutingHandle>, peer: Arc<PeerLink>) -> Self {
        let state = Mutex::new(State { awaited, ..State::default() });
        Self { state, routing, peer }
    }

    /// The children that the next process may have, as text.
    pub(super) fn offers(&self) -> Vec<String> {
        let table = self.routing.current();
        let offers: Vec<Offer> = table.configured().iter().flat_map(|upstream| upstream.offers()).collect();
        self.state.lock().offered = offers.iter().map(Offer::child).collect();
        offers.iter().map(Offer::to_text).collect()
    }

    /// Stops to use the children that were offered, as far as they still run and read, and packs them. Requests for
    /// them wait until [`Self::lend`] or [`Self::take_back`].
    pub(super) async fn hand_over(&self) -> Vec<ChildTransfer> {
        let table = self.routing.current();
        let shared: HashMap<u32, SharedChild> = {
            let mut state = self.state.lock();
            let offered = std::mem::take(&mut state.offered);
            state.shared =
                table.configured().iter().flat_map(|upstream| upstream.offered(&offered)).collect();
            state.shared.clone()
        };
        // A task each, since a caller that gives up must not leave a connection in between.
        let packing = shared.into_values().map(|shared| tokio::spawn(shared.hand_over()));
        join_all(packing).await.into_iter().filter_map(|packed| packed.ok().flatten()).collect()
    }

    /// Goes on with the children: the next process does not serve.
    pub(super) fn take_back(&self) {
        for shared in self.state.lock().shared.drain() {
            shared.1.go_on();
        }
    }

    /// Leaves the children to the next process, and sends it what is to be written.
    pub(super) fn lend(&self) {
        let way = self.peer_sender();
        for (child, shared) in &self.state.lock().shared {
            shared.lend(*child, way.clone());
        }
    }

    /// Takes a child that the process before has packed.
    pub(super) fn receive(&self, transfer: ChildTransfer) {
        if let Some(child) = transfer.child() {
            self.state.lock().transfers.insert(child, transfer);
        }
    }

    /// Goes on with the children of the process before, which reads and writes no more once `say` has told it that this
    /// one serves.
    pub(super) fn adopt(&self, say: impl FnOnce()) {
        let way = self.peer_sender();
        // What the other process tells of a child waits meanwhile.
        let mut state = self.state.lock();
        say();
        for awaited in std::mem::take(&mut state.awaited) {
            let (child, shared) = (awaited.child(), awaited.shared().clone());
            let transfer = state.transfers.remove(&child);
            if awaited.adopt(transfer, &way) {
                state.shared.insert(child, shared);
            }
        }
        state.transfers.clear();
    }

    /// Takes what the other process tells of a child.
    pub(super) fn told(&self, word: &str) {
        let told = match serde_json::from_str(word) {
            Ok(told) => told,
            Err(error) => {
                tracing::warn!(%error, "what the other process tells of a child is not understood");
                return;
            }
        };
        let (PeerMessage::Line { child, .. }
        | PeerMessage::Adopted { child }
        | PeerMessage::HungUp { child }) = &told;
        let Some(shared) = self.state.lock().shared.get(child).cloned() else { return };
        match told {
            PeerMessage::Line { line, .. } => shared.told(&line),
            PeerMessage::Adopted { .. } => shared.adopted(),
            PeerMessage::HungUp { .. } => shared.hung_up(),
        }
    }

    /// Lets the next process give the turns at upstreams that take only so many requests at once, and tells it which of them
    /// this one has.
    pub(super) fn share_turns(&self) {
        let table = self.routing.current();
        for (place, limit) in table.configured().iter().filter_map(|upstream| upstream.limit()) {
            self.state.lock().limits.insert(place.clone(), Arc::clone(limit));
            limit.share(self.teller(place));
        }
    }

    /// Gives the turns itself again: the next process does not serve.
    pub(super) fn take_turns_back(&self) {
        let limits = std::mem::take(&mut self.state.lock().limits);
        limits.values().for_each(ConcurrencyLimit::alone);
    }

    /// Takes what the other process tells of turns.
    pub(super) fn turn_told(&self, word: &str) {
        let OfTurns { upstream: place, word } = match serde_json::from_str(word) {
            Ok(told) => told,
            Err(error) => {
                tracing::warn!(%error, "what the other process tells of its requests is not understood");
                return;
            }
        };
        let teller = self.teller(place.clone());
        let table = self.routing.current();
        let known = self.state.lock().limits.get(&place).cloned();
        let limit = known.or_else(|| {
            let mut limits = table.configured().iter().filter_map(|upstream| upstream.limit());
            limits.find(|(there, _)| *there == place).map(|(_, limit)| Arc::clone(limit))
        });
        match (limit, word) {
            (Some(limit), word) => {
                self.state.lock().limits.insert(place, Arc::clone(&limit));
                limit.told(word, teller);
            }
            (None, LimitMessage::Held { .. }) => teller.send(LimitMessage::Unknown),
            (None, _) => {}
        }
    }

    /// The other process has ended. What is still held for it is taken back by whoever has handed it over.
    pub(super) fn alone(&self) {
        self.take_turns_back();
        self.state.lock().shared.retain(|_, shared| shared.alone());
    }

    /// The way to the other process, for what is told of turns at an upstream.
    fn teller(&self, upstream: String) -> LimitSender {
        let peer = Arc::clone(&self.peer);
        LimitSender::new(move |word| {
            let told = OfTurns { upstream: upstream.clone(), word };
            let word = serde_json::to_string(&told).expect("what is told has string keys only");
            peer.tell(PeerRequest::Turn { word });
        })
    }

    /// The way to the other process, for what is told of children.
    fn peer_sender(&self) -> PeerSender {
        let peer = Arc::clone(&self.peer);
        let tell = move |told: &PeerMessage| {
            let word = serde_json::to_string(told).expect("what is told has string keys only");
            peer.tell(PeerRequest::OfChild { word })
        };
        PeerSender::new(tell)
    }
}
