//! Letting a new process take this one's place, and being that new process.
//!
//! The old process serves until the new one has answered a request of its own. Then, in this order: the old one leaves
//! new connections to wait, sends all sessions and the turns that it has at upstreams, which the new one gives from then on,
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

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bond::{Bond, Loan, Pause};
use super::{Error, Serving, Taken, reload};
use crate::config::{Overrides, Source};
use crate::daemon::control::Server;
use crate::daemon::listen::Listeners;
use crate::daemon::passed;
use crate::daemon::{self, Lock, RunPaths};
use crate::exit::{Exit, ToExit as _};
use crate::gateway::Gateway;
use crate::handover::channel::READ_LIMIT;
use crate::handover::{self, Candidate, Error as Failure, Message, Plan};
use crate::log::Console;
use crate::sys::fd::Rest;
use crate::{config, drain};

/// How long the new process may take by default.
pub const START_LIMIT: Duration = Duration::from_secs(30);
/// How long each of the last steps may take, in which connections wait: a request to itself, and three small files.
const STEP_LIMIT: Duration = Duration::from_secs(10);
/// How long the old process may take from there to its leave: it asks once more, and tells the service manager.
const LEAVE_LIMIT: Duration = Duration::from_secs(20);
/// More than any first line, in bytes.
const HELLO_LIMIT: u64 = 4096;

/// A wish for an upgrade.
#[derive(Debug)]
pub(super) struct Order {
    /// How long the new process may take.
    pub(super) limit: Duration,
    /// Who waits for the outcome.
    pub(super) reply: Option<oneshot::Sender<serde_json::Value>>,
}

/// Upgrades that are wanted or under way; one at a time.
pub(super) struct Upgrades {
    /// For those who want one over the control socket.
    sender: mpsc::Sender<Order>,
    /// Their wishes.
    wanted: mpsc::Receiver<Order>,
    /// What is to begin as soon as it may, and until when.
    due: Option<(Order, Instant)>,
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
        Self { sender, wanted, due: None, attempts: JoinSet::new() }
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

    /// Waits for the next step. Safe to cancel.
    pub(super) async fn step(&mut self, predecessor: Option<CancellationToken>) -> Step {
        let over = async {
            match predecessor {
                Some(over) if !over.is_cancelled() => over.cancelled().await,
                _ => std::future::pending().await,
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
#[derive(Debug)]
pub(super) struct Attempt {
    /// Who waits for the outcome.
    reply: Option<oneshot::Sender<serde_json::Value>>,
    /// The new process, or why there is none, and whether it may have touched run-time files.
    result: Result<Heir, (Failure, bool)>,
}

/// The process that has taken over.
#[derive(Debug)]
struct Heir {
    /// Its process.
    candidate: Candidate,
    /// The way to it.
    bond: Bond,
    /// Its pid.
    pid: i32,
    /// What it understands.
    extensions: u32,
    /// The children that it has.
    loan: Loan,
}

/// What an attempt works with, independent of the serving loop.
struct Offer {
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
    reloads: mpsc::Sender<reload::Asker>,
    /// How long all may take, for messages.
    limit: Duration,
    /// Until when.
    deadline: Instant,
}

impl Offer {
    /// The whole way to a new process that serves.
    async fn attempt(self) -> Result<Heir, (Failure, bool)> {
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
        let mut bond = Bond::open(stream, None, &self.gateway, self.reloads.clone());
        bond.sender.send(&Message::Take(Box::new(self.plan.clone())));
        let prepared = tokio::time::timeout_at(deadline, bond.stage(&Message::Prepared)).await;
        settle(prepared, &mut candidate, self.limit).map_err(early)?;
        let pause = Pause::begin(&self.gateway);
        if !bond.send_sessions(&self.gateway).await {
            return Err(early(candidate.late(READ_LIMIT)));
        }
        let turns = if extensions > 0 { Some(bond.share_turns(&self.gateway).await) } else { None };
        // From here on it is dropped first, and with that dead, before anything is taken back from it.
        let mut candidate = candidate;
        bond.sender.send(&Message::Go);
        let ready = tokio::time::timeout(STEP_LIMIT, bond.stage(&Message::Ready)).await;
        settle(ready, &mut candidate, STEP_LIMIT).map_err(early)?;
        let loan = Loan::begin(&self.gateway);
        let mut candidate = candidate;
        bond.send_children(&self.gateway, &descriptors).await.map_err(Failure::Pass).map_err(early)?;
        bond.sender.send(&Message::Commit);
        let owned = tokio::time::timeout(STEP_LIMIT, bond.stage(&Message::Owned)).await;
        let late = |failure| (failure, true);
        settle(owned, &mut candidate, STEP_LIMIT).map_err(late)?;
        if extensions > 0 {
            bond.sender.send(&Message::Confirm);
            let confirmed = tokio::time::timeout(STEP_LIMIT, bond.stage(&Message::Confirmed)).await;
            settle(confirmed, &mut candidate, STEP_LIMIT).map_err(late)?;
        }
        pause.keep();
        if let Some(turns) = turns {
            turns.keep();
        }
        Ok(Heir { candidate, bond, pid, extensions, loan })
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

impl Serving<'_> {
    /// The end of the process before this one: at most two generations live.
    pub(super) fn predecessor(&self) -> Option<CancellationToken> {
        self.bond.as_ref().map(|bond| bond.over.clone())
    }

    /// Carries a step of an upgrade out; whether a new process serves.
    pub(super) async fn upgrade(&mut self, step: Step) -> bool {
        match step {
            Step::Ended(attempt) => return self.end_upgrade(attempt).await,
            Step::Wanted(order) if self.upgrades.due.is_some() || !self.upgrades.attempts.is_empty() => {
                refuse(order.reply, &Failure::Busy);
            }
            Step::Wanted(order) => {
                let deadline = Instant::now() + order.limit;
                self.upgrades.due = Some((order, deadline));
            }
            Step::Look => {}
        }
        self.begin_upgrade();
        false
    }

    /// Begins the upgrade that is due, unless something is under way that it has to wait for.
    pub(super) fn begin_upgrade(&mut self) {
        let Some((order, deadline)) = self.upgrades.due.take() else { return };
        let before = self.bond.as_ref().is_some_and(|bond| !bond.over.is_cancelled());
        let reloading = self.reloads.are_under_way();
        if before || reloading {
            if Instant::now() >= deadline {
                refuse(order.reply, &if before { Failure::Busy } else { Failure::Reloading });
            } else {
                self.upgrades.due = Some((order, deadline));
            }
            return;
        }
        match self.offer(order.limit, deadline) {
            Ok(offer) => {
                tracing::info!(executable = %offer.executable.display(), "upgrading");
                self.upgrades.attempts.spawn(async move {
                    let result = offer.attempt().await;
                    Attempt { reply: order.reply, result }
                });
            }
            Err(failure) => refuse(order.reply, &failure),
        }
    }

    /// Everything that the new process needs.
    fn offer(&self, limit: Duration, deadline: Instant) -> Result<Offer, Failure> {
        if !cfg!(target_os = "linux") {
            return Err(Failure::Pass(std::io::ErrorKind::Unsupported.into()));
        }
        if self.record.pid == 1 {
            return Err(Failure::FirstProcess);
        }
        let (sockets, files) = self.taken.listeners.offer().map_err(Failure::Pass)?;
        let Source { file, overrides } = self.taken.source.clone();
        let plan = Plan {
            config: file,
            listen: overrides.listen,
            log_file: overrides.log_file,
            log_level: overrides.log_level,
            dev: overrides.dev,
            user: self.taken.user.clone(),
            pid_file: self.taken.paths.pid_file.clone(),
            background: self.taken.background,
            listeners: self.taken.listeners.outline(),
            files,
            children: self.gateway.offers(),
        };
        let missing = || Failure::Pass(std::io::ErrorKind::NotFound.into());
        Ok(Offer {
            // The path, not the open file: what lies there now is to serve.
            executable: self.record.executable.clone().ok_or_else(missing)?,
            plan,
            lock: self.taken.lock.share().map_err(Failure::Pass)?,
            listeners: sockets,
            gateway: self.gateway.clone(),
            reloads: self.reloads.sender(),
            limit,
            deadline,
        })
    }

    /// Ends an upgrade; whether a new process serves.
    pub(super) async fn end_upgrade(&mut self, attempt: Attempt) -> bool {
        match attempt.result {
            Ok(heir) => {
                self.owner = false;
                heir.loan.keep();
                self.log.yield_rotation();
                self.taken.listeners.give_files_up();
                // Before the manager hears of it, so that the new process is nobody's child when it is named.
                heir.candidate.release();
                self.notifier.hand_over(heir.pid).await;
                heir.bond.sender.send(&Message::Released);
                let relays = heir.extensions > 0;
                self.bond = Some(heir.bond);
                self.relaying = relays;
                tracing::info!(pid = heir.pid, "a new process has taken over");
                if let Some(reply) = attempt.reply {
                    let _ = reply.send(serde_json::json!({ "pid": heir.pid }));
                }
                true
            }
            Err((failure, touched)) => {
                if touched {
                    self.restore();
                }
                refuse(attempt.reply, &failure);
                false
            }
        }
    }

    /// Gives upgrades up that are under way.
    pub(super) async fn abandon_upgrade(&mut self) {
        self.upgrades.due = None;
        if !self.upgrades.attempts.is_empty() {
            self.upgrades.attempts.shutdown().await;
            self.restore();
        }
    }

    /// Makes the run-time files ours again, after a new process that may have taken them over has failed and is dead.
    fn restore(&mut self) {
        self.gateway.remember_again();
        let described = self.taken.lock.describe(&self.record).map_err(Error::from);
        let written =
            daemon::write_pid_file(&self.taken.paths.pid_file, self.record.pid).map_err(Error::from);
        let server = Server::prepare(&self.taken.paths.control).and_then(|mut server| {
            server.publish()?;
            Ok(server)
        });
        let controlled = server.map_err(Error::from).map(|server| self.serve_control(server));
        for error in [described, written, controlled].into_iter().filter_map(Result::err) {
            tracing::error!(error = crate::exit::chain(&error), "cannot restore a run-time file");
        }
    }

    /// The new process's way from its first upstream to serving alone.
    pub(super) async fn succeed(&mut self) -> Result<(), Error> {
        self.talk(&Message::Prepared, &Message::Go).await?;
        self.accept()?;
        super::alive::ask_ourselves(&self.gateway, self.taken.listeners.addresses()).await?;
        let mut server = Server::prepare(&self.taken.paths.control)?;
        self.talk(&Message::Ready, &Message::Commit).await?;
        self.gateway.remember_sessions(&self.taken.paths.sessions(), false);
        self.taken.lock.describe(&self.record)?;
        daemon::write_pid_file(&self.taken.paths.pid_file, self.record.pid)?;
        server.publish()?;
        self.serve_control(server);
        // An error up to here leaves all of that to the old process, which makes it its own again.
        self.owner = true;
        let bond = self.bond.as_mut().expect("only a process with one before it gets here");
        self.gateway.adopt(|| bond.sender.send(&Message::Owned));
        // If the old process dies now, nothing is missing but its word to the service manager. A signal that comes now
        // is heeded when serving has begun.
        let leave = tokio::time::timeout(LEAVE_LIMIT, bond.stage(&Message::Released)).await;
        if !matches!(leave, Ok(Ok(()))) {
            tracing::warn!("the old process did not take its leave");
        }
        self.taken.listeners.own_files();
        self.taken.listeners.store(&self.notifier);
        let summary = self.summary();
        self.notifier.status(&summary);
        let (pid, version) = (self.record.pid, &self.record.version);
        tracing::info!(pid, version, "serving in place of the process before");
        Ok(())
    }

    /// Says one stage to the old process and waits for another; given up when a signal comes.
    async fn talk(&mut self, said: &Message, wanted: &Message) -> Result<(), Error> {
        let bond = self.bond.as_mut().expect("only a process with one before it gets here");
        bond.sender.send(said);
        tokio::select! {
            result = bond.stage(wanted) => result.map_err(|_| Error::Orphaned),
            received = self.signals.stop() => Err(Error::StoppedEarly(received)),
        }
    }
}

/// Tells why there is no upgrade.
fn refuse(reply: Option<oneshot::Sender<serde_json::Value>>, failure: &Failure) {
    let text = crate::exit::chain(failure);
    tracing::error!(error = text, "not upgraded; this process serves on");
    if let Some(reply) = reply {
        let (exit, hint) = (failure.to_exit().code(), failure.hint());
        let _ = reply.send(serde_json::json!({ "error": text, "exit": exit, "hint": hint }));
    }
}

/// Answers `{"request":"upgrade"}`, when the upgrade has come to an end.
pub(super) async fn ask(
    orders: &mpsc::Sender<Order>,
    watch: &drain::Watch,
    limit: Duration,
) -> serde_json::Value {
    let (exit, hint) = (Exit::TryAgain.code(), "`mcpeg --status` tells whether another process serves");
    let refused = || serde_json::json!({ "error": "the gateway is stopping", "exit": exit, "hint": hint });
    let (reply, answer) = oneshot::channel();
    // While the gateway drains, nobody takes orders.
    if watch.is_draining() || orders.try_send(Order { limit, reply: Some(reply) }).is_err() {
        return refused();
    }
    answer.await.unwrap_or_else(|_| refused())
}

/// Takes the place of the process that has started this one, and serves until the end; `None` if this process was
/// started in another way.
#[must_use]
pub fn take_over() -> Option<Exit> {
    if !handover::is_successor() {
        return None;
    }
    Some(serve_on().unwrap_or_else(|error| error.to_exit()))
}

/// Receives everything and serves.
fn serve_on() -> Result<Exit, Error> {
    drop(passed::claim(Rest::CloseOnExec, None)?);
    let channel = handover::inherited_channel()?;
    let mut taken = match inherit(&channel) {
        Ok(taken) => taken,
        Err(error) => {
            handover::fail(&channel, &error);
            return Err(error);
        }
    };
    taken.predecessor = Some(channel);
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let dev = taken.source.overrides.dev;
    let console = if taken.background { Console::Off } else { Console::detect(terminal, dev) };
    taken.live(console, &mut None)
}

/// Makes of what the old process passes what a start would have taken itself.
fn inherit(channel: &std::os::unix::net::UnixStream) -> Result<Taken, Error> {
    let inheritance = handover::receive(channel)?;
    let plan = inheritance.plan;
    let overrides =
        Overrides { listen: plan.listen, log_file: plan.log_file, log_level: plan.log_level, dev: plan.dev };
    let source = Source { file: plan.config, overrides };
    let config = config::load(&source)?;
    // Root was given up before, so that this one either runs as that user already, or never can.
    let credentials = super::privileges::wanted(&config, plan.user.as_ref())?;
    let user = credentials.as_ref().map(|user| (user.uid, user.gid));
    let paths = RunPaths::resolve(Some(&plan.pid_file))?.for_user(user);
    let lock = Lock::inherit(&paths, inheritance.lock)?;
    let offered = (plan.listeners, inheritance.listeners);
    let listeners = Listeners::inherit(&config.server.listen, offered, plan.files, paths.owners())?;
    let children = Some((plan.children, inheritance.descriptors));
    Ok(Taken {
        config: config.into(),
        source,
        paths,
        lock,
        stale: None,
        listeners,
        credentials,
        user: plan.user,
        waiting: None,
        welcome: None,
        background: plan.background,
        predecessor: None,
        children,
    })
}
