//! Letting a new process take this one's place, and being that new process.
//!
//! The old process serves until the new one has answered a request of its own. Then, in this order: the old one leaves
//! new connections to wait, sends all sessions and the permits that it has of upstreams, which the new one gives from then on,
//! and says `go`; the new one accepts, asks itself, says `ready`; the old
//! one passes the children of its upstreams and says `commit`; the new one takes record, pid file and control socket over
//! and says `owned`, and only then touches the children; the old one asks it once more whether it lives, tells the service
//! manager, and drains. Until it has `confirmed`, every failure leaves all to the old one: it kills the new one, waits for
//! its death, makes journal, record, pid file and control socket its own again, accepts, and goes on with its children.
//! The files of Unix listeners are the new one's to remove only when the old one has taken its leave. While the old one
//! drains, either process asks the other for sessions that it does not know, and its requests to children go by way of
//! the new one.
//!
//! An upgrade waits for a reload that is under way, and no reload begins before it has ended, see [`super::reload`].

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use scopeguard::ScopeGuard;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::accept::Acceptor;
use super::bootstrap::Invocation;
use super::peer::PeerChannel;
use super::reload::Asker;
use super::run_files::RunFiles;
use crate::config::Source;
use crate::control::Upgraded;
use crate::drain;
use crate::exit::{Exit, ToExit as _};
use crate::gateway::Gateway;
use crate::handover::channel::READ_LIMIT;
use crate::handover::{self, Candidate, Error as Failure, Message, Plan};

/// How long the new process may take by default.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(30);
/// How long each of the last steps may take, in which connections wait: a request to itself, and three small files.
const STEP_LIMIT: Duration = Duration::from_secs(10);
/// More than any first line, in bytes.
const HELLO_LIMIT: u64 = 4096;

/// Who waits for the outcome of an upgrade.
pub(super) type Reply = Option<oneshot::Sender<serde_json::Value>>;

/// A request for an upgrade.
#[derive(Debug)]
pub(super) struct Order {
    /// How long the new process may take.
    pub(crate) limit: Duration,
    /// Who waits for the outcome.
    pub(crate) reply: Reply,
}

/// Upgrades that are wanted or under way; one at a time.
pub(super) struct Upgrades {
    /// For those who want one over the control socket.
    sender: mpsc::Sender<Order>,
    /// Requests for one.
    wanted: mpsc::Receiver<Order>,
    /// What is to begin as soon as it may, and until when.
    due: Option<(Order, Instant)>,
    /// Whether that waits for the end of the former process.
    is_behind: bool,
    /// The one that is under way.
    attempts: JoinSet<Attempt>,
}

/// What the loop acts on.
pub(super) enum Step {
    /// Somebody wants one.
    Wanted(Order),
    /// One has come to an end.
    Ended(Attempt),
    /// What keeps one from beginning may have ended, or it has waited for too long.
    Look,
}

impl Upgrades {
    /// None wanted.
    pub(super) fn new() -> Self {
        let (sender, wanted) = mpsc::channel(1);
        Self { sender, wanted, due: None, is_behind: false, attempts: JoinSet::new() }
    }

    /// For those who want one.
    pub(super) fn sender(&self) -> mpsc::Sender<Order> {
        self.sender.clone()
    }

    /// Whether one is under way, or begins when the reload that is under way has ended: another reload must wait.
    pub(super) fn are_next(&self, predecessor: Option<&CancellationToken>) -> bool {
        !self.attempts.is_empty()
            || self.due.is_some() && predecessor.is_none_or(CancellationToken::is_cancelled)
    }

    /// Takes a request, to be carried out as soon as it may.
    pub(super) fn want(&mut self, order: Order) {
        if self.due.is_some() || !self.attempts.is_empty() {
            return refuse(order.reply, &Failure::Busy);
        }
        let deadline = Instant::now() + order.limit;
        self.due = Some((order, deadline));
    }

    /// The request that may be carried out now: the former process is gone, and no reload is under way.
    pub(super) fn due(&mut self, before: bool, reloading: bool) -> Option<(Order, Instant)> {
        let (order, deadline) = self.due.take()?;
        if !before && !reloading {
            return Some((order, deadline));
        }
        if Instant::now() >= deadline {
            refuse(order.reply, &if before { Failure::Busy } else { Failure::Reloading });
        } else {
            self.due = Some((order, deadline));
            self.is_behind = before;
        }
        None
    }

    /// Begins one.
    pub(super) fn begin(&mut self, offer: Offer, reply: Reply) {
        tracing::info!(executable = %offer.executable.display(), "upgrading");
        self.attempts.spawn(async move { Attempt { reply, result: offer.attempt().await } });
    }

    /// Gives up what is under way; whether there was anything.
    pub(super) async fn abandon(&mut self) -> bool {
        self.due = None;
        let any = !self.attempts.is_empty();
        self.attempts.shutdown().await;
        any
    }

    /// Waits for the next step. Safe to cancel.
    pub(super) async fn step(&mut self, predecessor: Option<CancellationToken>) -> Step {
        // It may have gone since that was looked at.
        let over = predecessor.filter(|_| self.is_behind);
        let over = async {
            match over {
                Some(over) => over.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let late = self.due.as_ref().map(|(_, deadline)| *deadline);
        tokio::select! {
            Some(order) = self.wanted.recv() => Step::Wanted(order),
            Some(Ok(attempt)) = self.attempts.join_next() => Step::Ended(attempt),
            () = over, if late.is_some() => Step::Look,
            () = tokio::time::sleep_until(late.unwrap_or_else(Instant::now)), if late.is_some() => Step::Look,
        }
    }
}

/// How an upgrade went.
pub(super) struct Attempt {
    /// Who waits for the outcome.
    pub(crate) reply: Reply,
    /// The new process, or why there is none, and whether it may have touched run-time files.
    pub(crate) result: Result<Successor, (Failure, bool)>,
}

/// What the gateway takes back when this is dropped, because an upgrade has failed.
type Undone = ScopeGuard<Gateway, fn(Gateway)>;

/// The process that has taken over.
pub(super) struct Successor {
    /// Its process.
    candidate: Candidate,
    /// The way to it.
    peer: PeerChannel,
    /// Its pid.
    pid: i32,
    /// What it understands.
    extensions: u32,
    /// The children that it has.
    loan: Undone,
}

impl Successor {
    /// Its pid.
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Leaves the children to it. Nobody ends it from here on.
    pub(super) fn release(self) -> Released {
        ScopeGuard::into_inner(self.loan).children().lend();
        self.candidate.release();
        Released { peer: self.peer, reloads: self.extensions > 0 }
    }
}

/// The way to a process that has taken over.
pub(super) struct Released {
    /// The way to it.
    pub(crate) peer: PeerChannel,
    /// Whether it can be asked for a reload.
    pub(crate) reloads: bool,
}

/// What an attempt works with, independent of the serving loop.
pub(super) struct Offer {
    /// What to execute.
    executable: PathBuf,
    /// What to serve.
    plan: Plan,
    /// The lock.
    lock: OwnedFd,
    /// The listeners.
    listeners: Vec<OwnedFd>,
    /// The relay.
    gateway: Gateway,
    /// For those who want a reload of this process.
    reloads: mpsc::Sender<Asker>,
    /// How long all may take, for messages.
    limit: Duration,
    /// Until when.
    deadline: Instant,
}

impl Offer {
    /// Everything that the new process needs.
    pub(super) fn new(
        invocation: &Invocation,
        files: &RunFiles,
        acceptor: &Acceptor,
        (gateway, reloads): (&Gateway, mpsc::Sender<Asker>),
        (limit, deadline): (Duration, Instant),
    ) -> Result<Self, Failure> {
        if !cfg!(target_os = "linux") {
            return Err(Failure::Pass(std::io::ErrorKind::Unsupported.into()));
        }
        if files.record().pid == 1 {
            return Err(Failure::FirstProcess);
        }
        let (sockets, socket_files) = acceptor.listeners().offer().map_err(Failure::Pass)?;
        let Invocation { source: Source { file, overrides }, user, background, state } = invocation.clone();
        let plan = Plan {
            config: file,
            overrides,
            user,
            pid_file: files.paths().pid_file.clone(),
            state: Some(state),
            usable: Some(gateway.usable_now()),
            background,
            listeners: acceptor.listeners().outline(),
            files: socket_files,
            children: gateway.children().offers(),
            lists: gateway.known_lists(),
        };
        let missing = || Failure::Pass(std::io::ErrorKind::NotFound.into());
        Ok(Self {
            // The path, not the open file: what lies there now is to serve.
            executable: files.record().executable.clone().ok_or_else(missing)?,
            plan,
            lock: files.share_lock().map_err(Failure::Pass)?,
            listeners: sockets,
            gateway: gateway.clone(),
            reloads,
            limit,
            deadline,
        })
    }

    /// The whole way to a new process that serves.
    async fn attempt(self) -> Result<Successor, (Failure, bool)> {
        let (early, deadline) = (|failure| (failure, false), self.deadline);
        let (mut candidate, mut stream) = Candidate::start(&self.executable).map_err(early)?;
        let (pid, extensions) = match tokio::time::timeout_at(deadline, hello(&mut stream)).await {
            Ok(Some(Message::Hello { protocol: handover::PROTOCOL, pid, extensions, .. })) => {
                (pid, extensions)
            }
            Ok(Some(_)) => return Err(early(candidate.foreign())),
            Ok(None) => return Err(early(candidate.died())),
            Err(_) => return Err(early(candidate.late(self.limit))),
        };
        let passed = handover::pass(&stream, &self.lock, &self.listeners);
        let descriptors = passed.map_err(|error| match error.kind() {
            std::io::ErrorKind::BrokenPipe => early(candidate.died()),
            _ => early(Failure::Pass(error)),
        })?;
        let (plan, reloads) = (self.plan.clone(), self.reloads.clone());
        let mut peer = PeerChannel::to_successor(stream, plan, &self.gateway, reloads);
        let prepared = tokio::time::timeout_at(deadline, peer.stage(&Message::Prepared)).await;
        settle(prepared, &mut candidate, self.limit).map_err(early)?;
        let undone = |undo: fn(Gateway)| -> Undone { scopeguard::guard(self.gateway.clone(), undo) };
        self.gateway.pause(true);
        let pause = undone(|gateway| gateway.pause(false));
        if !peer.send_sessions(&self.gateway).await {
            return Err(early(candidate.late(READ_LIMIT)));
        }
        let permits = (extensions > 0).then(|| {
            self.gateway.children().share_permits();
            undone(|gateway| gateway.children().take_permits_back())
        });
        // From here on it is dropped first, and with that dead, before anything is taken back from it.
        let mut candidate = candidate;
        peer.sender().send(&Message::Go);
        let ready = tokio::time::timeout(STEP_LIMIT, peer.stage(&Message::Ready)).await;
        settle(ready, &mut candidate, STEP_LIMIT).map_err(early)?;
        let loan = undone(|gateway| gateway.children().take_back());
        let mut candidate = candidate;
        peer.send_children(&self.gateway, &descriptors).await.map_err(Failure::Pass).map_err(early)?;
        peer.sender().send(&Message::Commit);
        let owned = tokio::time::timeout(STEP_LIMIT, peer.stage(&Message::Owned)).await;
        let late = |failure| (failure, true);
        settle(owned, &mut candidate, STEP_LIMIT).map_err(late)?;
        if extensions > 0 {
            peer.sender().send(&Message::Confirm);
            let confirmed = tokio::time::timeout(STEP_LIMIT, peer.stage(&Message::Confirmed)).await;
            settle(confirmed, &mut candidate, STEP_LIMIT).map_err(late)?;
        }
        ScopeGuard::into_inner(pause);
        drop(permits.map(ScopeGuard::into_inner));
        Ok(Successor { candidate, peer, pid, extensions, loan })
    }
}

/// The first line of the new process; `None` if it ends without.
async fn hello(stream: &mut UnixStream) -> Option<Message> {
    let mut line = Vec::new();
    // Byte by byte, so that the buffer keeps nothing of a later line, such as a failure.
    let mut reader = tokio::io::BufReader::with_capacity(1, stream.take(HELLO_LIMIT));
    reader.read_until(b'\n', &mut line).await.ok()?;
    if line.is_empty() {
        return None;
    }
    // Whatever else it says is not hello.
    Some(serde_json::from_slice(&line).unwrap_or(Message::Prepared))
}

/// What waiting for a stage came to.
fn settle(
    waited: Result<Result<(), Option<Failure>>, tokio::time::error::Elapsed>,
    candidate: &mut Candidate,
    limit: Duration,
) -> Result<(), Failure> {
    match waited {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Some(refusal))) => Err(refusal),
        Ok(Err(None)) => Err(candidate.died()),
        Err(_) => Err(candidate.late(limit)),
    }
}

/// Tells why there is no upgrade.
pub(super) fn refuse(reply: Reply, failure: &Failure) {
    let text = crate::exit::chain(failure);
    tracing::error!(error = text, "not upgraded; this process serves on");
    if let Some(reply) = reply {
        let (exit, hint) = (Some(failure.to_exit().code()), failure.hint());
        let _ = reply.send(Upgraded::Refused { error: text, exit, hint }.to_value());
    }
}

/// Answers `{"request":"upgrade"}`, when the upgrade has come to an end.
pub(super) async fn ask(
    orders: &mpsc::Sender<Order>,
    watch: &drain::Watch,
    limit: Duration,
) -> serde_json::Value {
    let refused = || {
        let (error, exit) = ("the gateway is stopping".to_owned(), Some(Exit::TryAgain.code()));
        let hint = Some("`mcpeg --status` tells whether another process serves".to_owned());
        Upgraded::Refused { error, exit, hint }.to_value()
    };
    let (reply, answer) = oneshot::channel();
    // While the gateway drains, nobody takes orders.
    if watch.is_draining() || orders.try_send(Order { limit, reply: Some(reply) }).is_err() {
        return refused();
    }
    answer.await.unwrap_or_else(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether an upgrade that is due is looked at again at once, after the former process has gone; whether that was there
    /// and a reload was under way when it was looked at before.
    async fn looks_again(before: bool, reloading: bool) -> bool {
        let mut upgrades = Upgrades::new();
        upgrades.want(Order { limit: Duration::from_secs(3600), reply: None });
        assert!(upgrades.due(before, reloading).is_none());
        let gone = CancellationToken::new();
        gone.cancel();
        tokio::select! {
            biased;
            step = upgrades.step(Some(gone)) => matches!(step, Step::Look),
            () = tokio::task::yield_now() => false,
        }
    }

    #[tokio::test]
    async fn former_process_that_goes_before_anybody_waits_for_its_end_keeps_no_upgrade_waiting() {
        assert!(looks_again(true, false).await);
        assert!(looks_again(true, true).await);
        assert!(!looks_again(false, true).await, "it waits for the reload, and is not asked again and again");
    }
}
