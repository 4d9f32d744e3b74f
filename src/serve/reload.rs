//! Reading the configuration again while the gateway serves.
//!
//! Order: the files are loaded and checked, new listeners bound, new and changed upstreams started and tried, all in a
//! task of its own beside the serving loop; only if nothing of that failed is everything put in force, in one step of
//! the loop. Invariants: a failure leaves what runs as it was and nothing new behind; one reload at a time, those that
//! are asked for meanwhile wait and are one reload then; the askers are answered, and the manager hears READY=1 after
//! each RELOADING=1. The configuration has one owner: no reload begins while an upgrade is under way and no upgrade while
//! a reload is. What was asked for during an upgrade is done by the process that serves after it, which the old process relays
//! where that is the new one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::accept::{Acceptor, SocketFiles};
use super::error::Error;
use super::names;
use crate::audit::{Event, Record};
use crate::config::{self, Config, Source};
use crate::daemon::RunPaths;
use crate::daemon::listen::Listeners;
use crate::exit::{Exit, ToExit as _};
use crate::gateway::{Gateway, Prepared, Reloaded};
use crate::handover::Outline;
use crate::log;
use crate::sys::net::{Address, Listener};

/// The version of [`Answer`]'s schema; like that of the status, it only grows.
pub(crate) const SCHEMA: u32 = 1;
/// Reloads that may wait for the one that is under way.
const WAITING: usize = 16;

/// How it is mended where nobody has read the configuration again.
const AGAIN: &str = "a gateway reads its configuration when it starts; if one serves, ask again";

/// The answer to `{"request":"reload"}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "reload", rename_all = "snake_case")]
pub(crate) enum Answer {
    /// The new configuration is in force.
    Done(Done),
    /// The former one stays in force.
    Refused(Refused),
}

/// What a reload did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    /// [`SCHEMA`].
    pub(crate) schema: u32,
    /// The process that did it, which may not be the one that was asked.
    #[serde(default)]
    pub(crate) pid: i32,
    /// The upstreams.
    pub(crate) upstreams: Reloaded,
    /// Listeners that were opened.
    pub(crate) listeners_added: Vec<String>,
    /// Listeners that were closed; their connections finish what is in flight.
    pub(crate) listeners_removed: Vec<String>,
    /// The log level, if it is another.
    pub(crate) log_level: Option<String>,
    /// Changed keys that have an effect only after a restart.
    pub(crate) needs_restart: Vec<String>,
    /// The tables that have changed, such as `clients.ci`.
    #[serde(default)]
    pub(crate) changed: Vec<String>,
}

/// Why a reload did nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// [`SCHEMA`].
    pub(crate) schema: u32,
    /// The process that refuses, which may not be the one that was asked.
    #[serde(default)]
    pub(crate) pid: i32,
    /// The exit code for it.
    pub(crate) exit: u8,
    /// The reason.
    pub(crate) error: String,
    /// How it is mended.
    pub(crate) hint: Option<String>,
}

/// Somebody who waits for the answer; nobody, after a HUP.
pub(super) type Asker = Option<oneshot::Sender<Answer>>;

/// Reloads that are wanted or under way.
pub(super) struct Reloads {
    /// For those who want one.
    sender: mpsc::Sender<Asker>,
    /// Requests for one.
    wanted: mpsc::Receiver<Asker>,
    /// The one under way; dropping it ends it and leaves nothing behind.
    task: JoinSet<(Vec<Asker>, Result<Ready, Error>)>,
}

/// What the loop acts on.
pub(super) enum Step {
    /// A reload is to begin.
    Begin(Vec<Asker>),
    /// A reload is prepared, or has failed.
    Finish(Vec<Asker>, Result<Box<Ready>, Error>),
}

/// The listeners in force: what they are bound for, and second handles of them.
pub(super) type Bound = (Outline, std::io::Result<Vec<Listener>>);

/// Everything that the new configuration needs, beside what is in force.
pub(super) struct Ready {
    /// The configuration, with what cannot change as it was.
    config: Config,
    /// The upstreams.
    gateway: Prepared,
    /// The new listeners.
    fresh: SocketFiles,
    /// Second handles of them, for those who accept.
    handles: Vec<Listener>,
    /// Changed keys that have no effect.
    needs_restart: Vec<String>,
}

impl Reloads {
    /// None wanted.
    pub(super) fn new() -> Self {
        let (sender, wanted) = mpsc::channel(WAITING);
        Self { sender, wanted, task: JoinSet::new() }
    }

    /// For those who want one.
    pub(super) fn sender(&self) -> mpsc::Sender<Asker> {
        self.sender.clone()
    }

    /// Asks for one whose result is only logged. That there are too many already is fine: they will read the same files.
    pub(super) fn want(&self) {
        let _ = self.sender.try_send(None);
    }

    /// Whether one is under way.
    pub(super) fn are_under_way(&self) -> bool {
        !self.task.is_empty()
    }

    /// Begins one, for those who ask.
    pub(super) fn begin(
        &mut self,
        askers: Vec<Asker>,
        source: Source,
        old: Arc<Config>,
        (gateway, bound, paths): (Gateway, Bound, RunPaths),
    ) {
        self.task.spawn(async move { (askers, prepare(source, &old, gateway, (bound, paths)).await) });
    }

    /// Gives up what is under way, and refuses those who wait or will ask.
    pub(super) async fn end(&mut self) {
        self.wanted.close();
        for asker in self.waiting() {
            tracing::warn!("not reloaded: the gateway is stopping");
            if let Some(asker) = asker {
                let _ = asker.send(stopping());
            }
        }
        self.task.shutdown().await;
    }

    /// Waits for a request, for those who do not reload themselves any more. Safe to cancel.
    pub(super) async fn next(&mut self) -> Asker {
        match self.wanted.recv().await {
            Some(asker) => asker,
            None => std::future::pending().await,
        }
    }

    /// Everybody who waits now.
    fn waiting(&mut self) -> Vec<Asker> {
        std::iter::from_fn(|| self.wanted.try_recv().ok()).collect()
    }

    /// Waits for the next step; one begins only if it may. Safe to cancel.
    pub(super) async fn step(&mut self, may_begin: bool) -> Step {
        if let Some(ended) = self.task.join_next().await {
            return match ended {
                Ok((askers, result)) => Step::Finish(askers, result.map(Box::new)),
                Err(error) => Step::Finish(Vec::new(), Err(Error::Runtime(error.into()))),
            };
        }
        if !may_begin {
            return std::future::pending().await;
        }
        let mut askers = vec![self.wanted.recv().await.expect("we hold a sender ourselves")];
        // They want what is in the files now, which one reload does.
        askers.extend(self.waiting());
        Step::Begin(askers)
    }
}

/// The answer of a gateway that ends.
fn stopping() -> Answer {
    Answer::Refused(not_now("the gateway is stopping"))
}

/// The answer where the process that was to reload has not told what became of it.
pub(super) fn lost() -> Answer {
    Answer::Refused(not_now("the process that has taken over has not told whether it has reloaded"))
}

/// Refuses what somebody may ask for again.
fn not_now(error: &str) -> Refused {
    let (pid, exit) = (own_pid(), Exit::TryAgain.code());
    Refused { schema: SCHEMA, pid, exit, error: error.to_owned(), hint: Some(AGAIN.to_owned()) }
}

/// This process.
fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

/// Asks the serving loop for a reload and waits for its end.
pub(super) async fn request(requests: mpsc::Sender<Asker>) -> Answer {
    let (asker, answer) = oneshot::channel();
    let _ = requests.send(Some(asker)).await;
    drop(requests);
    answer.await.unwrap_or_else(|_| stopping())
}

/// The answer over the control socket to this user.
pub(super) async fn ask(requests: mpsc::Sender<Asker>, uid: Option<u32>) -> serde_json::Value {
    let answer = request(requests).await;
    answer.audit(uid);
    serde_json::to_value(answer).expect("an answer has string keys")
}

impl Ready {
    /// Puts everything in force; returns the configuration, and what was done.
    pub(super) fn commit(
        self,
        old: &Config,
        acceptor: &mut Acceptor,
        gateway: &Gateway,
        log: &log::Guard,
    ) -> (Config, Done) {
        let Self { config, gateway: prepared, fresh, handles, needs_restart } = self;
        let drain = config.server.drain_timeout;
        let upstreams = prepared.reloaded().clone();
        // Before the listeners, which are opened for what is in force.
        gateway.commit(prepared, drain);
        let (added, removed) = acceptor.change((fresh, handles), &config.server.listen, drain);
        gateway.tell_by(&config.log);
        let log_level = (config.log.level != old.log.level).then(|| config.log.level.clone());
        if config.log != old.log
            && let Err(error) = log.apply(&config.log)
        {
            tracing::error!(error = crate::exit::chain(&error), "the log stays as it was");
        }
        let texts = |addresses: &[Address]| addresses.iter().map(ToString::to_string).collect();
        let done = Done {
            schema: SCHEMA,
            pid: own_pid(),
            upstreams,
            listeners_added: texts(&added),
            listeners_removed: texts(&removed),
            log_level,
            needs_restart,
            changed: config.changes(old),
        };
        (config, done)
    }
}

/// Loads the configuration and starts what it needs beside what runs.
async fn prepare(
    source: Source,
    old: &Config,
    gateway: Gateway,
    ((bound, beside), paths): (Bound, RunPaths),
) -> Result<Ready, Error> {
    let failed = |error: tokio::task::JoinError| Error::Runtime(error.into());
    let mut config = tokio::task::spawn_blocking(move || config::load(&source)).await.map_err(failed)??;
    let needs_restart = pin(&mut config, old, bound.are_passed());
    names::check(&config, &paths)?;
    let missing = if bound.are_passed() { Vec::new() } else { bound.missing(&config.server.listen) };
    // Names may have to be resolved, which blocks.
    let beside = beside.map_err(Error::Listeners)?;
    let bind = move || Listeners::bind_beside(&missing, beside);
    let fresh = SocketFiles::of(tokio::task::spawn_blocking(bind).await.map_err(failed)??);
    let handles = fresh.listeners().handles().map_err(Error::Listeners)?;
    let gateway = gateway.prepare(&config).await?;
    Ok(Ready { config, gateway, fresh, handles, needs_restart })
}

/// Keeps what cannot change as it is, and names it: keys that need a restart, and listeners that systemd passes.
fn pin(config: &mut Config, old: &Config, passed: bool) -> Vec<String> {
    let mut pinned = config.keep_fixed(old);
    if passed && config.server.listen != old.server.listen {
        pinned.push("listen in [server]".to_owned());
    }
    pinned
}

/// Logs why nothing was done, and says it.
pub(super) fn refuse(error: &Error) -> Refused {
    let text = crate::exit::chain(error);
    tracing::error!(error = text, "cannot reload; the former configuration stays in force");
    let (pid, exit) = (own_pid(), error.to_exit().code());
    Refused { schema: SCHEMA, pid, exit, error: text, hint: error.hint() }
}

impl Answer {
    /// Tells the audit of a reload which this user has asked for over the control socket; without one, it was asked for by a
    /// signal, which does not say whose it is.
    pub(super) fn audit(&self, uid: Option<u32>) {
        let (outcome, what) = match self {
            Self::Done(done) if done.changed.is_empty() => ("ok", "nothing has changed".to_owned()),
            Self::Done(done) => ("ok", done.changed.join(", ")),
            Self::Refused(refused) => ("refused", refused.error.clone()),
        };
        let proof = Some(if uid.is_some() { "control socket" } else { "signal" });
        let (event, reason) = (Event::Configuration, Some(&*what));
        Record { event, proof, uid, outcome, reason, ..Record::default() }.write();
    }
}

impl Done {
    /// Writes it to the log.
    pub(super) fn log(&self) {
        tracing::info!(
            added = ?self.upstreams.added,
            changed = ?self.upstreams.changed,
            removed = ?self.upstreams.removed,
            kept = self.upstreams.kept.len(),
            listeners_added = ?self.listeners_added,
            listeners_removed = ?self.listeners_removed,
            "reloaded the configuration"
        );
        if !self.needs_restart.is_empty() {
            tracing::warn!(keys = ?self.needs_restart, "these changes need a restart");
        }
    }
}
