//! The tasks that accept: one for each listener, each of which can be drained alone.

use std::io;

use tokio::task::{JoinError, JoinSet};

use super::error::Error;
use crate::drain::{Trigger, Watch};
use crate::gateway::Gateway;
use crate::sys::net::{Address, Listener};

/// The accepting tasks.
pub(super) struct Accepting {
    /// What answers.
    gateway: Gateway,
    /// The process's drain.
    watch: Watch,
    /// The tasks; their value is the number of connections that were cut.
    tasks: JoinSet<io::Result<usize>>,
    /// How to drain each listener alone.
    triggers: Vec<(Address, Trigger)>,
    /// Listeners that drain alone.
    leaving: usize,
}

impl Accepting {
    /// No tasks.
    pub(super) fn new(gateway: Gateway, watch: Watch) -> Self {
        Self { gateway, watch, tasks: JoinSet::new(), triggers: Vec::new(), leaving: 0 }
    }

    /// Accepts on a listener.
    pub(super) fn add(&mut self, address: Address, listener: Listener) {
        let (trigger, watch) = self.watch.part();
        let gateway = self.gateway.clone();
        self.tasks.spawn(async move { gateway.serve(listener, watch).await });
        self.triggers.push((address, trigger));
    }

    /// Drains the listener of an address, which nobody shall reach any more.
    pub(super) fn leave(&mut self, address: &Address, drain: std::time::Duration) {
        let leaving = self.triggers.extract_if(.., |(it, _)| it == address);
        for (_, trigger) in leaving {
            trigger.start(drain);
            self.leaving += 1;
        }
    }

    /// Waits until a listener that was drained alone is done, or until another has ended, which is an error. Never ends
    /// without tasks.
    pub(super) async fn ended(&mut self) -> Result<(), Error> {
        match self.tasks.join_next().await {
            None => std::future::pending().await,
            Some(Ok(Ok(cut))) if self.leaving > 0 => {
                self.leaving -= 1;
                tracing::info!(connections_cut = cut, "a listener that was removed is drained");
                Ok(())
            }
            Some(ended) => Err(lost(ended)),
        }
    }

    /// Waits for the end of all tasks after the drain has begun; returns the number of connections that were cut.
    pub(super) async fn drained(&mut self) -> usize {
        let mut cut = 0;
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(Ok(connections)) => cut += connections,
                other => tracing::error!(error = crate::exit::chain(&lost(other)), "a drain failed"),
            }
        }
        cut
    }
}

/// Why a task that accepts ended, which it must not do by itself.
fn lost(ended: Result<io::Result<usize>, JoinError>) -> Error {
    Error::ListenerLost(match ended {
        Ok(Ok(_)) => io::Error::other("it ended by itself"),
        Ok(Err(error)) => error,
        Err(error) => error.into(),
    })
}
