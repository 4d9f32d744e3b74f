//! The end of serving: refuse, finish, end the upstreams, remove what we made.
//!
//! What another process has taken over is left alone: the run-time files, and what the service manager hears.

use std::time::Duration;

use super::alive::due;
use super::error::Error;
use super::rotate;
use super::running::{self, End};
use super::serving::Serving;
use crate::daemon::SignalRequest;
use crate::exit::Exit;
use crate::log;

/// What ending the upstreams may take after a drain at most: a stop takes no longer than the drain's time-out and this
/// (mcpeg.toml(5), `drain_timeout`).
const END_MARGIN: Duration = Duration::from_secs(2);
/// The same of a process that another one has replaced; and what systemd grants on top of the drain's time-out.
const LONG_MARGIN: Duration = Duration::from_secs(15);
/// How long after a drain the new process may take for a reload that the old one was asked for.
const RELAY_MARGIN: Duration = Duration::from_secs(10);
/// How long after the deadline requests may take to end that are cut off there.
const CUT_OFF: Duration = Duration::from_secs(2);
/// How long answers over the control socket may take to be read at the end.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// Ends serving in the way that its end asks for.
pub(super) async fn finish(serving: &mut Serving<'_>, result: Result<End, Error>) -> Result<Exit, Error> {
    match result {
        Ok(End::Asked(received)) => {
            tracing::info!(signal = received.name(), "draining");
            running::abandon_upgrade(serving).await;
            serving.notifier.stopping("draining");
            Ok(drain(serving).await)
        }
        Ok(End::Replaced) => Ok(drain(serving).await),
        Ok(End::Panicked) => {
            tracing::error!("draining after a panic; this process ends with exit code 70");
            running::abandon_upgrade(serving).await;
            serving.notifier.stopping("draining after a panic");
            Ok(drain(serving).await)
        }
        Ok(End::LogFull) => {
            running::abandon_upgrade(serving).await;
            serving.notifier.stopping("draining: the log cannot be written");
            drain(serving).await;
            Err(log::Error::Full.into())
        }
        Err(error) => {
            running::abandon_upgrade(serving).await;
            serving.reloads.end().await;
            serving.gateway.stop().await;
            Err(error)
        }
    }
}

/// Refuses new connections, lets work in flight finish, ends the upstreams. A second signal ends all of that.
async fn drain(serving: &mut Serving<'_>) -> Exit {
    let timeout = serving.config.server.drain_timeout;
    serving.notifier.extend(timeout + LONG_MARGIN);
    if !serving.relaying {
        serving.reloads.end().await;
    }
    serving.acceptor.listeners_mut().close();
    serving.trigger.start(timeout);
    let deadline = tokio::time::Instant::now() + timeout;
    let acceptor = &mut serving.acceptor;
    // The process after this one, if it is that which makes us drain.
    let successor = serving.peer.as_ref().filter(|_| !serving.files.are_owned());
    let relay = successor.filter(|_| serving.relaying);
    let work = async {
        let cut = acceptor.drained().await;
        if cut > 0 {
            tracing::warn!(connections = cut, ?timeout, "cut connections that did not finish in time");
        }
        if let Some(successor) = successor {
            // Clients come back for these to the process after this one.
            let _ = tokio::time::timeout_at(deadline, serving.gateway.continuations().over()).await;
            let _ =
                tokio::time::timeout_at(deadline + CUT_OFF, serving.gateway.sessions().leave_streams()).await;
            successor.send_sessions(&serving.gateway).await;
        }
        serving.gateway.stop_by(deadline).await;
        if let Some(successor) = successor {
            let _ = tokio::time::timeout_at(deadline + RELAY_MARGIN, successor.reloads_told()).await;
        }
    };
    tokio::pin!(work);
    // Everything in it has limits of its own, so that this one is reached only if a task that was waited for is gone.
    let margin = if successor.is_some() { LONG_MARGIN } else { END_MARGIN };
    let limit = tokio::time::sleep(timeout + margin);
    tokio::pin!(limit);
    loop {
        tokio::select! {
            () = &mut work => return Exit::Done,
            () = &mut limit => {
                tracing::error!("the drain does not end; stopping without waiting for the rest");
                return Exit::Done;
            }
            wanted = serving.signals.wanted() => match (wanted, relay) {
                (SignalRequest::Stop(received), _) => {
                    tracing::warn!(signal = received.name(), "stopping at once");
                    return received.exit();
                }
                (SignalRequest::Reload, Some(successor)) => successor.reload(None),
                (SignalRequest::Rotate, _) => drop(tokio::spawn(rotate::by_signal(serving.log.handle()))),
                (SignalRequest::Reload | SignalRequest::Upgrade, _) => {
                    tracing::warn!("not reloaded or upgraded: the gateway is stopping");
                }
            },
            asker = serving.reloads.next(), if relay.is_some() => if let Some(successor) = relay {
                successor.reload(asker);
            },
            // The drain's own deadline watches over it; systemd must not.
            () = due(serving.notifier.interval()) => serving.notifier.alive(),
        }
    }
}

/// Tells the process before or after this one of an error, and removes what we made.
pub(super) async fn clean_up(serving: &mut Serving<'_>, result: &Result<Exit, Error>) {
    if let (Some(peer), Err(error)) = (&serving.peer, result) {
        peer.fail(error).await;
    }
    serving.control.end(ANSWER_LIMIT).await;
    serving.files.remove();
}
