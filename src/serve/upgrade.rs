//! Letting a new process take this one's place, and being that new process.
//!
//! The old process serves until the new one has answered a request of its own. Then, in this order: the old one leaves
//! new connections to wait, sends all sessions and says `go`; the new one accepts, asks itself, says `ready`; the old
//! one passes the children of its upstreams and says `commit`; the new one takes record, pid file and control socket over
//! and says `owned`, and only then touches the children; the old one tells the service manager, and drains. Until
//! `owned` every failure leaves all to the old one, which accepts again and goes on with its children. While the old
//! one drains, either process asks the other for sessions that it does not know, and its requests to children go by
//! way of the new one.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bond::{Bond, Loan, Pause};
use super::{Error, Serving, Taken};
use crate::config::{Overrides, Source};
use crate::daemon::control::Server;
use crate::daemon::listen::Listeners;
use crate::daemon::passed;
use crate::daemon::upgrade::{self, Candidate, Error as Failure, Message, Plan};
use crate::daemon::{self, Lock, RunPaths};
use crate::exit::{Exit, ToExit as _};
use crate::gateway::Gateway;
use crate::log::Console;
use crate::sys::fd::Rest;
use crate::{config, drain};

/// How long the new process may take by default.
pub const START_LIMIT: Duration = Duration::from_secs(30);
/// How long each of the last steps may take, in which connections wait: a request to itself, and three small files.
const STEP_LIMIT: Duration = Duration::from_secs(10);
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
    /// How long all may take.
    limit: Duration,
    /// The end of the process before us: at most two generations live.
    predecessor: Option<CancellationToken>,
}

impl Offer {
    /// The whole way to a new process that serves.
    async fn attempt(self) -> Result<Heir, (Failure, bool)> {
        let early = |failure| (failure, false);
        let deadline = Instant::now() + self.limit;
        if let Some(over) = &self.predecessor {
            tokio::time::timeout_at(deadline, over.cancelled()).await.map_err(|_| early(Failure::Busy))?;
        }
        let (mut candidate, mut stream) = Candidate::start(&self.executable).map_err(early)?;
        let pid = match tokio::time::timeout_at(deadline, hello(&mut stream)).await {
            Ok(Some(Message::Hello { protocol: upgrade::PROTOCOL, pid, .. })) => pid,
            Ok(Some(_)) => return Err(early(candidate.foreign())),
            Ok(None) => return Err(early(candidate.died())),
            Err(_) => return Err(early(candidate.late(self.limit))),
        };
        let passed = upgrade::pass(&stream, &self.lock, &self.listeners);
        let descriptors = passed.map_err(|error| match error.kind() {
            std::io::ErrorKind::BrokenPipe => early(candidate.died()),
            _ => early(Failure::Pass(error)),
        })?;
        let mut bond = Bond::open(stream, None, &self.gateway);
        bond.sender.send(&Message::Take(Box::new(self.plan.clone())));
        let prepared = tokio::time::timeout_at(deadline, bond.stage(&Message::Prepared)).await;
        settle(prepared, &mut candidate, self.limit).map_err(early)?;
        let pause = Pause::begin(&self.gateway);
        bond.send_sessions(&self.gateway).await;
        bond.sender.send(&Message::Go);
        let ready = tokio::time::timeout(STEP_LIMIT, bond.stage(&Message::Ready)).await;
        settle(ready, &mut candidate, STEP_LIMIT).map_err(early)?;
        let loan = Loan::begin(&self.gateway);
        bond.send_children(&self.gateway, &descriptors).await.map_err(Failure::Pass).map_err(early)?;
        bond.sender.send(&Message::Commit);
        let owned = tokio::time::timeout(STEP_LIMIT, bond.stage(&Message::Owned)).await;
        settle(owned, &mut candidate, STEP_LIMIT).map_err(|failure| (failure, true))?;
        pause.keep();
        Ok(Heir { candidate, bond, pid, loan })
    }
}

/// The first line of the new process; `None` if it ends without.
async fn hello(stream: &mut UnixStream) -> Option<Message> {
    let mut line = Vec::new();
    // It says nothing more until it is spoken to, so that the buffer keeps nothing of later lines.
    let mut reader = tokio::io::BufReader::new(stream.take(HELLO_LIMIT));
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
    /// Begins an upgrade, unless one is under way.
    pub(super) fn begin_upgrade(&mut self, order: Order) {
        let offer = if self.attempts.is_empty() { self.offer(order.limit) } else { Err(Failure::Busy) };
        match offer {
            Ok(offer) => {
                tracing::info!(executable = %offer.executable.display(), "upgrading");
                self.attempts.spawn(async move {
                    let result = offer.attempt().await;
                    Attempt { reply: order.reply, result }
                });
            }
            Err(failure) => refuse(order.reply, &failure),
        }
    }

    /// Everything that the new process needs.
    fn offer(&self, limit: Duration) -> Result<Offer, Failure> {
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
            limit,
            predecessor: self.bond.as_ref().map(|bond| bond.over.clone()),
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
                self.bond = Some(heir.bond);
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
        if !self.attempts.is_empty() {
            self.attempts.shutdown().await;
            self.restore();
        }
    }

    /// Makes the run-time files ours again, after a new process that may have taken them over has failed.
    fn restore(&mut self) {
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
        self.owner = true;
        self.gateway.remember_sessions(&self.taken.paths.sessions(), false);
        self.taken.listeners.own_files();
        self.taken.lock.describe(&self.record)?;
        daemon::write_pid_file(&self.taken.paths.pid_file, self.record.pid)?;
        server.publish()?;
        self.serve_control(server);
        let bond = self.bond.as_mut().expect("only a process with one before it gets here");
        self.gateway.adopt(|| bond.sender.send(&Message::Owned));
        // If the old process dies now, nothing is missing but its word to the service manager. A signal that comes now
        // is heeded when serving has begun.
        let leave = tokio::time::timeout(STEP_LIMIT, bond.stage(&Message::Released)).await;
        if !matches!(leave, Ok(Ok(()))) {
            tracing::warn!("the old process did not take its leave");
        }
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
    let refused = || serde_json::json!({ "error": "the gateway is stopping", "exit": Exit::TryAgain.code() });
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
    if !upgrade::is_successor() {
        return None;
    }
    Some(serve_on().unwrap_or_else(|error| error.to_exit()))
}

/// Receives everything and serves.
fn serve_on() -> Result<Exit, Error> {
    drop(passed::claim(Rest::CloseOnExec, None)?);
    let channel = upgrade::channel()?;
    let mut taken = match inherit(&channel) {
        Ok(taken) => taken,
        Err(error) => {
            upgrade::fail(&channel, &error);
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
    let inheritance = upgrade::receive(channel)?;
    let plan = inheritance.plan;
    let overrides =
        Overrides { listen: plan.listen, log_file: plan.log_file, log_level: plan.log_level, dev: plan.dev };
    let source = Source { file: plan.config, overrides };
    let config = config::load(&source)?;
    // Root was given up before, so that this one either runs as that user already, or never can.
    let credentials = super::privileges::wanted(&config, plan.user.as_ref())?;
    let paths = RunPaths::resolve(Some(&plan.pid_file))?;
    let lock = Lock::inherit(&paths, inheritance.lock)?;
    let offered = (plan.listeners, inheritance.listeners);
    let listeners = Listeners::inherit(&config.server.listen, offered, plan.files)?;
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
