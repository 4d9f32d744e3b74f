//! Handing children over to the process that takes this one's place, and taking those of the one before.
//!
//! Old: [`Gateway::offers`] before the new process is told what to serve; [`Gateway::hand_over`] when it is ready, and
//! [`Gateway::take_back`] if it then fails; [`Gateway::lend`] once it serves. New: [`Gateway::start`] with the offers;
//! [`Gateway::receive`] for each child that comes; [`Gateway::adopt`] once it serves. Until one of them ends, both pass
//! on what [`ChildMessage`] says. The turns at upstreams with `max_concurrency` are given by the new process from
//! [`Gateway::share_turns`] on, before it accepts, until one of them has ended.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use parking_lot::{Mutex, MutexGuard};

use super::service::{Gateway, Inner};
use super::upstream::{Awaited, ConcurrencyLimit, LimitSender, SharedChild};
use crate::handover::{ChildMessage, ChildTransfer, LimitMessage, Message, Offer, Permits};

/// Children on their way.
#[derive(Debug, Default)]
pub(super) struct Handover(Mutex<State>);

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

impl Handover {
    /// With connections that wait for their pipes.
    pub(super) fn new(awaited: Vec<Awaited>) -> Self {
        Self(Mutex::new(State { awaited, ..State::default() }))
    }

    /// What is on its way.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl Gateway {
    /// The children that the next process may have.
    #[must_use]
    pub fn offers(&self) -> Vec<Offer> {
        let table = self.inner().routing.current();
        let offers: Vec<Offer> = table.configured().iter().flat_map(|upstream| upstream.offers()).collect();
        self.inner().handover.state().offered = offers.iter().map(|offer| offer.child).collect();
        offers
    }

    /// Stops to use the children that were offered, as far as they still run and read, and packs them. Requests for
    /// them wait until [`Self::lend`] or [`Self::take_back`].
    pub async fn hand_over(&self) -> Vec<ChildTransfer> {
        let table = self.inner().routing.current();
        let shared: HashMap<u32, SharedChild> = {
            let mut state = self.inner().handover.state();
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
    pub fn take_back(&self) {
        for shared in self.inner().handover.state().shared.drain() {
            shared.1.go_on();
        }
    }

    /// Leaves the children to the next process, and sends it what is to be written.
    pub fn lend(&self) {
        let Some(peer) = self.inner().peer.sender() else { return };
        for (child, shared) in &self.inner().handover.state().shared {
            shared.lend(*child, peer.clone());
        }
    }

    /// Takes a child that the process before has packed.
    pub fn receive(&self, transfer: ChildTransfer) {
        self.inner().handover.state().transfers.insert(transfer.child.child, transfer);
    }

    /// Goes on with the children of the process before, which reads and writes no more once `say` has told it that this
    /// one serves.
    pub fn adopt(&self, say: impl FnOnce()) {
        let Some(peer) = self.inner().peer.sender() else { return };
        // What the other process tells of a child waits meanwhile.
        let mut state = self.inner().handover.state();
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
    pub fn told(&self, message: &ChildMessage) {
        let (ChildMessage::Line { child, .. }
        | ChildMessage::Adopted { child }
        | ChildMessage::HungUp { child }) = message;
        let Some(shared) = self.inner().handover.state().shared.get(child).cloned() else { return };
        match message {
            ChildMessage::Line { line, .. } => shared.told(line),
            ChildMessage::Adopted { .. } => shared.adopted(),
            ChildMessage::HungUp { .. } => shared.hung_up(),
        }
    }

    /// Lets the next process give the turns at upstreams that take only so many requests at once, and tells it which of them
    /// this one has.
    pub fn share_turns(&self) {
        let table = self.inner().routing.current();
        for (place, limit) in table.configured().iter().filter_map(|upstream| upstream.limit()) {
            self.inner().handover.state().limits.insert(place.clone(), Arc::clone(limit));
            limit.share(self.inner().teller(place));
        }
    }

    /// Gives the turns itself again: the next process does not serve.
    pub fn take_turns_back(&self) {
        let limits = std::mem::take(&mut self.inner().handover.state().limits);
        limits.values().for_each(ConcurrencyLimit::alone);
    }

    /// Takes what the other process tells of turns.
    pub fn turn_told(&self, permits: Permits) {
        let Permits { upstream: place, word } = permits;
        let teller = self.inner().teller(place.clone());
        let table = self.inner().routing.current();
        let known = self.inner().handover.state().limits.get(&place).cloned();
        let limit = known.or_else(|| {
            let mut limits = table.configured().iter().filter_map(|upstream| upstream.limit());
            limits.find(|(there, _)| *there == place).map(|(_, limit)| Arc::clone(limit))
        });
        match (limit, word) {
            (Some(limit), word) => {
                self.inner().handover.state().limits.insert(place, Arc::clone(&limit));
                limit.told(word, teller);
            }
            (None, LimitMessage::Held { .. }) => teller.send(LimitMessage::Unknown),
            (None, _) => {}
        }
    }

    /// The other process has ended. What is still held for it is taken back by whoever has handed it over.
    pub fn alone(&self) {
        self.inner().rounds_alone();
        self.take_turns_back();
        self.inner().handover.state().shared.retain(|_, shared| shared.alone());
    }
}

impl Inner {
    /// The way to the other process, for what is told of turns at an upstream.
    fn teller(self: &Arc<Self>, upstream: String) -> LimitSender {
        let inner = Arc::downgrade(self);
        LimitSender::new(move |word| {
            if let Some(inner) = inner.upgrade() {
                inner.peer.tell(&Message::Turn { word: Permits { upstream: upstream.clone(), word } });
            }
        })
    }
}
