//! The loop of a gateway that serves: signals, wishes over the control socket, and signs of life.

use std::time::Duration;

use super::alive::sign_of_life;
use super::upgrade::{Order, START_LIMIT, Step};
use super::{Error, Serving, endpoints, panics, rotate};
use crate::daemon::{Received, Wanted};
use crate::sys;

/// How long after its start a gateway keeps what only that has used: the first requests find everything there.
const SETTLED: Duration = Duration::from_secs(2);

/// Why serving ends.
pub(super) enum End {
    /// A signal.
    Asked(Received),
    /// A new process serves.
    Replaced,
    /// A panic somewhere: what this process holds can no longer be trusted.
    Panicked,
    /// The log cannot be written, and nothing may happen without it.
    LogFull,
}

impl Serving<'_> {
    /// Serves until a signal asks to stop, or a new process has taken over. Signs of life are sent from here, and only
    /// while we answer ourselves: a timer of its own would go on when serving has stopped.
    pub(super) async fn until_stop(&mut self) -> Result<End, Error> {
        let interval = self.notifier.interval();
        let mut shown = self.summary();
        let log = self.log.handle();
        let mut life =
            Box::pin(sign_of_life(interval, self.gateway.clone(), self.taken.listeners.addresses().to_vec()));
        loop {
            let before = self.predecessor();
            let may_reload = !self.upgrades.are_next(before.as_ref());
            tokio::select! {
                wanted = self.signals.wanted() => match wanted {
                    Wanted::Stop(received) => return Ok(End::Asked(received)),
                    Wanted::Reload => self.reloads.want(),
                    Wanted::Rotate => drop(tokio::spawn(rotate::by_signal(log.clone()))),
                    Wanted::Upgrade => {
                        let order = Order { limit: START_LIMIT, reply: None };
                        self.upgrade(Step::Wanted(order)).await;
                    }
                },
                step = self.upgrades.step(before) => if self.upgrade(step).await {
                    return Ok(End::Replaced);
                },
                result = self.accepting.ended() => result?,
                () = panics::first() => return Ok(End::Panicked),
                () = log.demands_stop() => return Ok(End::LogFull),
                step = self.reloads.step(may_reload) => {
                    self.reload(step);
                    self.begin_upgrade();
                    // What was about to be asked may not listen any more; at once, so that reloads do not put it off.
                    let now = interval.map(|_| Duration::ZERO);
                    life.set(sign_of_life(now, self.gateway.clone(), self.taken.listeners.addresses().to_vec()));
                }
                result = life.as_mut() => {
                    match result {
                        Ok(()) => self.notifier.alive(),
                        Err(error) => tracing::error!(error = crate::exit::chain(&error), "cannot reach ourselves"),
                    }
                    life.set(sign_of_life(interval, self.gateway.clone(), self.taken.listeners.addresses().to_vec()));
                }
            }
            let summary = self.summary();
            if summary != shown {
                self.notifier.status(&summary);
                shown = summary;
            }
        }
    }

    /// One line for `systemctl status`.
    pub(super) fn summary(&self) -> String {
        let status = self.gateway.status();
        let ready = status.upstreams.iter().filter(|upstream| upstream.state.is_usable()).count();
        let listening = endpoints(self.taken.listeners.addresses());
        let (sessions, all) = (status.sessions, status.upstreams.len());
        format!("serving on {listening}; {ready} of {all} upstreams ready; {sessions} sessions")
    }
}

/// Gives the pages of the program back that only the start has used, be it clap's or those of the configuration.
pub(super) async fn give_back_start() {
    tokio::time::sleep(SETTLED).await;
    sys::memory::unmap_unchanging();
}
