//! Handing children over to the process that takes this one's place, and taking those of the one before.
//!
//! Old: [`ChildHandover::offers`] before the new process is told what to serve; [`ChildHandover::hand_over`] when it is
//! ready, and [`ChildHandover::take_back`] if it then fails; [`ChildHandover::lend`] once it serves. New: `Gateway::start`
//! with the offers; [`ChildHandover::receive`] for each child that comes; [`ChildHandover::adopt`] once it serves. Until one
//! of them ends, both pass on what [`ChildMessage`] says. The permits of upstreams with `max_concurrency` are given by the new
//! process from [`ChildHandover::share_permits`] on, before it accepts, until one of them has ended.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use parking_lot::Mutex;

use super::catalog::RoutingHandle;
use super::session::PeerLink;
use super::upstream::{Awaited, ConcurrencyLimit, LimitSender, SharedChild};
use crate::handover::{ChildMessage, ChildTransfer, LimitMessage, Message, Offer, Permits};

/// Children on their way.
#[derive(Debug)]
pub(crate) struct ChildHandover {
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

impl ChildHandover {
    /// With connections that wait for their pipes.
    pub(super) fn new(awaited: Vec<Awaited>, routing: Arc<RoutingHandle>, peer: Arc<PeerLink>) -> Self {
        let state = Mutex::new(State { awaited, ..State::default() });
        Self { state, routing, peer }
    }

    /// The children that the next process may have.
    pub(crate) fn offers(&self) -> Vec<Offer> {
        let table = self.routing.current();
        let offers: Vec<Offer> = table.configured().iter().flat_map(|upstream| upstream.offers()).collect();
        self.state.lock().offered = offers.iter().map(|offer| offer.child).collect();
        offers
    }

    /// Stops to use the children that were offered, as far as they still run and read, and packs them. Requests for
    /// them wait until [`Self::lend`] or [`Self::take_back`].
    pub(crate) async fn hand_over(&self) -> Vec<ChildTransfer> {
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
    pub(crate) fn take_back(&self) {
        for shared in self.state.lock().shared.drain() {
            shared.1.go_on();
        }
    }

    /// Leaves the children to the next process, and sends it what is to be written.
    pub(crate) fn lend(&self) {
        let Some(peer) = self.peer.sender() else { return };
        for (child, shared) in &self.state.lock().shared {
            shared.lend(*child, peer.clone());
        }
    }

    /// Takes a child that the process before has packed.
    pub(crate) fn receive(&self, transfer: ChildTransfer) {
        self.state.lock().transfers.insert(transfer.child.child, transfer);
    }

    /// Goes on with the children of the former process, which stops reading and writing once `say` has told it so.
    pub(crate) fn adopt(&self, say: impl FnOnce()) {
        let Some(peer) = self.peer.sender() else { return };
        // What the other process tells of a child waits meanwhile.
        let mut state = self.state.lock();
        say();
        for awaited in std::mem::take(&mut state.awaited) {
            let (child, shared) = (awaited.child(), awaited.shared().clone());
            let transfer = state.transfers.remove(&child);
            if awaited.adopt(transfer, &peer) {
                state.shared.insert(child, shared);
            }
        }
        state.transfers.clear();
    }

    /// Takes what the other process tells of a child.
    pub(crate) fn told(&self, message: &ChildMessage) {
        let (ChildMessage::Line { child, .. }
        | ChildMessage::Adopted { child }
        | ChildMessage::HungUp { child }) = message;
        let Some(shared) = self.state.lock().shared.get(child).cloned() else { return };
        match message {
            ChildMessage::Line { line, .. } => shared.told(line),
            ChildMessage::Adopted { .. } => shared.adopted(),
            ChildMessage::HungUp { .. } => shared.hung_up(),
        }
    }

    /// Lets the next process give the permits of upstreams with `max_concurrency`, and tells it which of them
    /// this one has.
    pub(crate) fn share_permits(&self) {
        let table = self.routing.current();
        for (place, limit) in table.configured().iter().filter_map(|upstream| upstream.limit()) {
            self.state.lock().limits.insert(place.clone(), Arc::clone(limit));
            limit.share(self.teller(place));
        }
    }

    /// Gives the permits itself again: the next process does not serve.
    pub(crate) fn take_permits_back(&self) {
        let limits = std::mem::take(&mut self.state.lock().limits);
        limits.values().for_each(ConcurrencyLimit::alone);
    }

    /// Takes what the other process tells of permits.
    pub(crate) fn permit_told(&self, permits: Permits) {
        let Permits { upstream: place, word } = permits;
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

    /// The other process has ended. What is still held for it goes back to the process that has handed it over.
    pub(crate) fn alone(&self) {
        self.take_permits_back();
        self.state.lock().shared.retain(|_, shared| shared.alone());
    }

    /// The way to the other process, for what is told of permits of an upstream.
    fn teller(&self, upstream: String) -> LimitSender {
        let peer = Arc::clone(&self.peer);
        LimitSender::new(move |word| {
            peer.tell(&Message::Turn { word: Permits { upstream: upstream.clone(), word } });
        })
    }
}
