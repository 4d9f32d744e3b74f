//! The end of serving: refuse, finish, end the upstreams, remove what we made.
//!
//! What another process has taken over in the meantime is left alone: it has the run-time files, and the service
//! manager listens to it.

use std::io;
use std::time::Duration;

use super::alive::due;
use super::{Error, Serving, rotate};
use crate::daemon::{self, Wanted};
use crate::exit::Exit;

/// What ending the upstreams may take after a drain at most: a stop takes no longer than the drain's time-out and this
/// (mcpeg.toml(5), `drain_timeout`).
const END_MARGIN: Duration = Duration::from_secs(2);
/// The same of a process that another one has replaced; and what is asked of systemd on top of the drain's time-out, which
/// must not cut us short.
const LONG_MARGIN: Duration = Duration::from_secs(15);
/// How long after a drain the new process may take for a reload that the old one was asked for.
const RELAY_MARGIN: Duration = Duration::from_secs(10);
/// How long answers over the control socket may take to be read at the end.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

impl Serving<'_> {
    /// Refuses new connections, lets work in flight finish, ends the upstreams. A second signal ends all of that.
    pub(super) async fn drain(&mut self) -> Exit {
        let timeout = self.taken.config.server.drain_timeout;
        self.notifier.extend(timeout + LONG_MARGIN);
        if !self.relaying {
            self.reloads.end().await;
        }
        self.taken.listeners.close();
        self.trigger.start(timeout);
        let deadline = tokio::time::Instant::now() + timeout;
        let accepting = &mut self.accepting;
        // The process after this one, if it is that which makes us drain.
        let heir = self.bond.as_ref().filter(|_| !self.owner);
        let relay = heir.filter(|_| self.relaying);
        let work = async {
            let cut = accepting.drained().await;
            if cut > 0 {
                tracing::warn!(connections = cut, ?timeout, "cut connections that did not finish in time");
            }
            if let Some(heir) = heir {
                // Clients come back for these to the process after this one.
                let _ = tokio::time::timeout_at(deadline, self.gateway.rounds_over()).await;
                heir.send_sessions(&self.gateway).await;
            }
            self.gateway.stop_by(deadline).await;
            if let Some(heir) = heir {
                let _ = tokio::time::timeout_at(deadline + RELAY_MARGIN, heir.reloads_told()).await;
            }
        };
        tokio::pin!(work);
        // Everything in it has limits of its own, so that this one is reached only if a task that was waited for is gone.
        let margin = if heir.is_some() { LONG_MARGIN } else { END_MARGIN };
        let limit = tokio::time::sleep(timeout + margin);
        tokio::pin!(limit);
        loop {
            tokio::select! {
                () = &mut work => return Exit::Done,
                () = &mut limit => {
                    tracing::error!("the drain does not end; stopping without waiting for the rest");
                    return Exit::Done;
                }
                wanted = self.signals.wanted() => match (wanted, relay) {
                    (Wanted::Stop(received), _) => {
                        tracing::warn!(signal = received.name(), "stopping at once");
                        return received.exit();
                    }
                    (Wanted::Reload, Some(heir)) => heir.reload(None),
                    (Wanted::Rotate, _) => drop(tokio::spawn(rotate::by_signal(self.log.handle()))),
                    (Wanted::Reload | Wanted::Upgrade, _) => {
                        tracing::warn!("not reloaded or upgraded: the gateway is stopping");
                    }
                },
                asker = self.reloads.wish(), if relay.is_some() => if let Some(heir) = relay {
                    heir.reload(asker);
                },
                // The drain's own deadline watches over it; systemd must not.
                () = due(self.notifier.interval()) => self.notifier.alive(),
            }
        }
    }

    /// Removes the control socket and the pid file, which we may as we hold the lock, unless another process has them.
    pub(super) async fn clean_up(&mut self, result: &Result<Exit, Error>) {
        if let (Some(bond), Err(error)) = (&self.bond, result) {
            bond.fail(error).await;
        }
        self.control.abort_all();
        self.busy.over(ANSWER_LIMIT).await;
        if !self.owner {
            return;
        }
        let paths = &self.taken.paths;
        match crate::sys::fs::remove(&paths.control) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %paths.control.display(), "cannot remove the control socket");
            }
            _ => {}
        }
        if let Err(error) = daemon::remove_own(&paths.pid_file, self.record.pid) {
            tracing::warn!(error = crate::exit::chain(&error), "the pid file stays behind");
        }
    }
}
