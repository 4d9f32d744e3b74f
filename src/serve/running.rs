//! The loop of a gateway that serves: signals, requests over the control socket, and signs of life.

use std::sync::Arc;
use std::time::Duration;

use super::alive::sign_of_life;
use super::error::Error;
use super::reload::{self, Answer};
use super::serving::Serving;
use super::upgrade::{self, Attempt, Offer, Order, START_LIMIT};
use super::{panics, rotate};
use crate::control::Upgraded;
use crate::daemon::{Received, SignalRequest};
use crate::handover::Message;

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

/// Serves until a signal asks to stop, or a new process has taken over. Signs of life are sent from here, and only
/// while we answer ourselves: a timer of its own would go on when serving has stopped.
pub(super) async fn until_stop(serving: &mut Serving<'_>) -> Result<End, Error> {
    let interval = serving.notifier.interval();
    let mut shown = serving.summary();
    let log = serving.log.handle();
    let again = |serving: &Serving<'_>, interval| {
        sign_of_life(interval, serving.gateway.clone(), serving.acceptor.addresses().to_vec())
    };
    let mut life = Box::pin(again(serving, interval));
    loop {
        let before = serving.peer.as_ref().map(|peer| peer.sender().over().clone());
        let may_reload = !serving.upgrades.are_next(before.as_ref());
        tokio::select! {
            wanted = serving.signals.wanted() => match wanted {
                SignalRequest::Stop(received) => return Ok(End::Asked(received)),
                SignalRequest::Reload => serving.reloads.want(),
                SignalRequest::Rotate => drop(tokio::spawn(rotate::by_signal(log.clone()))),
                SignalRequest::Upgrade => {
                    serving.upgrades.want(Order { limit: START_LIMIT, reply: None });
                    begin_upgrade(serving);
                }
            },
            step = serving.upgrades.step(before) => if upgrade(serving, step).await {
                return Ok(End::Replaced);
            },
            result = serving.acceptor.ended() => result?,
            () = panics::first() => return Ok(End::Panicked),
            () = log.demands_stop() => return Ok(End::LogFull),
            step = serving.reloads.step(may_reload) => {
                reload(serving, step);
                begin_upgrade(serving);
                // What was about to be asked may not listen any more; at once, so that reloads do not put it off.
                life.set(again(serving, interval.map(|_| Duration::ZERO)));
            }
            result = life.as_mut() => {
                match result {
                    Ok(()) => serving.notifier.alive(),
                    Err(error) => tracing::error!(error = crate::exit::chain(&error), "cannot reach ourselves"),
                }
                life.set(again(serving, interval));
            }
        }
        let summary = serving.summary();
        if summary != shown {
            serving.notifier.status(&summary);
            shown = summary;
        }
    }
}

/// Carries a step of a reload out.
fn reload(serving: &mut Serving<'_>, step: reload::Step) {
    match step {
        reload::Step::Begin(askers) => {
            serving.notifier.reloading();
            let (source, old) = (serving.invocation.source.clone(), Arc::clone(&serving.config));
            let listeners = serving.acceptor.listeners();
            let bound = (listeners.outline(), listeners.handles());
            let paths = serving.files.paths().clone();
            serving.reloads.begin(askers, source, old, (serving.gateway.clone(), bound, paths));
        }
        reload::Step::Finish(askers, result) => {
            let answer = match result {
                Ok(ready) => {
                    let (old, acceptor) = (&serving.config, &mut serving.acceptor);
                    let (config, done) = ready.commit(old, acceptor, &serving.gateway, serving.log);
                    serving.acceptor.listeners_mut().store(&serving.notifier);
                    serving.files.set_drain_timeout(config.server.drain_timeout);
                    serving.config = Arc::new(config);
                    serving.control.show(serving.template());
                    done.log();
                    Answer::Done(done)
                }
                Err(error) => Answer::Refused(reload::refuse(&error)),
            };
            serving.notifier.ready(&serving.summary());
            if askers.iter().any(Option::is_none) {
                answer.audit(None);
            }
            for asker in askers.into_iter().flatten() {
                // The asker has gone; the result is in the log.
                let _ = asker.send(answer.clone());
            }
        }
    }
}

/// Carries a step of an upgrade out; whether a new process serves.
async fn upgrade(serving: &mut Serving<'_>, step: upgrade::Step) -> bool {
    match step {
        upgrade::Step::Ended(attempt) => return end_upgrade(serving, attempt).await,
        upgrade::Step::Wanted(order) => serving.upgrades.want(order),
        upgrade::Step::Look => {}
    }
    begin_upgrade(serving);
    false
}

/// Begins the upgrade that is due, unless something is under way that it has to wait for.
fn begin_upgrade(serving: &mut Serving<'_>) {
    let before = serving.peer.as_ref().is_some_and(|peer| !peer.sender().over().is_cancelled());
    let reloading = serving.reloads.are_under_way();
    let Some((order, deadline)) = serving.upgrades.due(before, reloading) else { return };
    let gateway = (&serving.gateway, serving.reloads.sender());
    let limits = (order.limit, deadline);
    match Offer::new(&serving.invocation, serving.files, &serving.acceptor, gateway, limits) {
        Ok(offer) => serving.upgrades.begin(offer, order.reply),
        Err(failure) => upgrade::refuse(order.reply, &failure),
    }
}

/// Ends an upgrade; whether a new process serves.
async fn end_upgrade(serving: &mut Serving<'_>, attempt: Attempt) -> bool {
    match attempt.result {
        Ok(successor) => {
            let pid = successor.pid();
            serving.files.give_up();
            serving.log.yield_rotation();
            serving.acceptor.listeners_mut().give_files_up();
            // Before the manager hears of it, so that the new process is nobody's child when it is named.
            let released = successor.release();
            serving.notifier.hand_over(pid).await;
            released.peer.sender().send(&Message::Released);
            serving.peer = Some(released.peer);
            serving.relaying = released.reloads;
            tracing::info!(successor = pid, "a new process has taken over");
            if let Some(reply) = attempt.reply {
                let _ = reply.send(Upgraded::Done { pid: pid.into() }.to_value());
            }
            true
        }
        Err((failure, touched)) => {
            if touched {
                restore(serving);
            } else {
                serving.files.clear();
            }
            upgrade::refuse(attempt.reply, &failure);
            false
        }
    }
}

/// Gives upgrades up that are under way.
pub(super) async fn abandon_upgrade(serving: &mut Serving<'_>) {
    if serving.upgrades.abandon().await {
        restore(serving);
    }
}

/// Makes what a new process may have taken over ours again, after it has failed and is dead.
fn restore(serving: &mut Serving<'_>) {
    serving.gateway.sessions().reclaim();
    if let Some(server) = serving.files.restore() {
        serving.control.serve(server);
    }
}
