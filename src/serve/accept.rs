//! The listeners and the tasks that accept: one for each listener, each of which can be drained alone.

use std::io;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use super::error::Error;
use crate::config::ListenAddr;
use crate::daemon::listen::Listeners;
use crate::drain::{Trigger, Watch};
use crate::gateway::Gateway;
use crate::sys::net::{Address, Listener};

/// How long a listener whose port another one has taken goes on accepting: connections that have begun at the one end up there.
const ON_THE_WAY: Duration = Duration::from_secs(1);

/// Listeners whose files are removed when this is dropped.
#[derive(Debug)]
pub(super) struct SocketFiles(Listeners);

impl Drop for SocketFiles {
    fn drop(&mut self) {
        self.0.remove_files();
    }
}

impl SocketFiles {
    /// The files of these.
    pub(super) fn of(listeners: Listeners) -> Self {
        Self(listeners)
    }

    /// Leaves the files to the process that has the same listeners.
    pub(super) fn leave(mut self) -> Listeners {
        std::mem::take(&mut self.0)
    }

    /// The listeners.
    pub(super) fn listeners(&self) -> &Listeners {
        &self.0
    }
}

/// The listeners, and who accepts on them.
pub(super) struct Acceptor {
    /// The listeners.
    listeners: SocketFiles,
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

impl Acceptor {
    /// Nobody accepts, but operators are served whose connections have been opened over the control socket.
    pub(super) fn new(
        listeners: SocketFiles,
        gateway: Gateway,
        watch: Watch,
        opened: mpsc::Receiver<UnixStream>,
    ) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(gateway.serve_operators(opened, watch.clone()));
        Self { listeners, gateway, watch, tasks, triggers: Vec::new(), leaving: 0 }
    }

    /// The listeners.
    pub(super) fn listeners(&self) -> &Listeners {
        self.listeners.listeners()
    }

    /// The listeners, to change what they are to whom.
    pub(super) fn listeners_mut(&mut self) -> &mut Listeners {
        &mut self.listeners.0
    }

    /// Where they can be reached.
    pub(super) fn addresses(&self) -> &[Address] {
        self.listeners().addresses()
    }

    /// Accepts on every listener.
    pub(super) fn accept(&mut self) -> Result<(), Error> {
        let handles = self.listeners().handles().map_err(Error::Listeners)?;
        let bound: Vec<_> = self.listeners().bound().collect();
        bound.into_iter().zip(handles).for_each(|(bound, listener)| self.add(bound, listener));
        Ok(())
    }

    /// Accepts on a listener.
    fn add(&mut self, (address, written): (Address, Option<String>), listener: Listener) {
        let (trigger, watch) = self.watch.part();
        self.tasks.spawn(self.gateway.serve(listener, written, watch));
        self.triggers.push((address, trigger));
    }

    /// Takes new listeners in, of which these are second handles, and drains those that are not configured any more, which
    /// nobody shall reach. Returns where was opened and what was closed.
    pub(super) fn change(
        &mut self,
        (fresh, handles): (SocketFiles, Vec<Listener>),
        configured: &[ListenAddr],
        drain: Duration,
    ) -> (Vec<Address>, Vec<Address>) {
        let mut fresh = fresh.leave();
        let served = fresh.take_served();
        let added = fresh.addresses().to_vec();
        for (bound, listener) in fresh.bound().zip(handles) {
            self.add(bound, listener);
        }
        self.listeners.0.extend(fresh);
        let removed = self.listeners.0.retain(configured, &served);
        for (address, trigger) in self.triggers.extract_if(.., |(it, _)| removed.contains(it)) {
            self.leaving += 1;
            if !is_replaced(&address, &added) {
                trigger.start(drain);
                continue;
            }
            // New connections reach the narrower listener now; those that were on their way to this one are accepted.
            tokio::spawn(async move {
                tokio::time::sleep(ON_THE_WAY).await;
                trigger.start(drain);
            });
        }
        (added, removed)
    }

    /// Waits until a listener that was drained alone is done; that another has ended is an error. Never ends without tasks.
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

/// Whether a removed listener has the port of one that was added at another address, which takes its connections.
fn is_replaced(removed: &Address, added: &[Address]) -> bool {
    let Address::Tcp(removed) = removed else { return false };
    added.iter().any(|it| matches!(it, Address::Tcp(it) if it.port() == removed.port()))
}

/// Why a task that accepts ended, which it must not do by itself.
fn lost(ended: Result<io::Result<usize>, JoinError>) -> Error {
    Error::ListenerLost(match ended {
        Ok(Ok(_)) => io::Error::other("it ended by itself"),
        Ok(Err(error)) => error,
        Err(error) => error.into(),
    })
}
