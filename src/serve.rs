//! The start-up order of the daemon, top to bottom, and its end.
//!
//! Before the runtime, in one thread: descriptors are claimed, the configuration is loaded, the lock taken, the
//! listeners bound, with `--daemon` the process detached, and with `--user` root given up. Then log, runtime, upstreams, accepting, a request to
//! ourselves, control socket, pid file; only then is anybody told that the gateway is ready. The end runs in
//! `Serving::drain`: refuse, finish, end the upstreams, remove what we made.
//!
//! Invariants: whoever holds the lock may touch the run-time files, nobody else; readiness is announced once; no
//! thread exists before detaching. An upgrade hands over what `Taken` holds, which is why it is one value.

mod accepting;
mod alive;
mod bond;
mod error;
mod metrics;
mod panics;
mod privileges;
pub mod reload;
pub mod rotate;
mod running;
mod status;
mod stop;
mod upgrade;

use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use accepting::Accepting;
use alive::{abandoned, ask_ourselves};
pub use error::Error;
pub use status::{SCHEMA, State, Status};
pub use upgrade::{START_LIMIT, take_over};

use bond::Bond;
use running::{End, give_back_start};
use upgrade::Upgrades;

use crate::config::{self, Config, Source};
use crate::daemon::control::{Busy, Request, Server};
use crate::daemon::detach::{self, Announcer, Launcher, Side};
use crate::daemon::listen::{self, Listeners};
use crate::daemon::passed::{self, Passed};
use crate::daemon::privileges::Credentials;
use crate::daemon::{Lock, Record, RunPaths, Signals, Waiting};
use crate::exit::{Exit, ToExit as _};
use crate::gateway::Gateway;
use crate::log::{self, Console};
use crate::sys::fd::Rest;
use crate::sys::limits;
use crate::sys::net::Address;
use crate::sys::signal;
use crate::systemd::Notifier;
use crate::{daemon, drain};

/// How long readiness waits for upstreams; those that are slower are retried while the gateway serves.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// How long tasks that do not end may keep the process after everything else is done.
const RUNTIME_END: Duration = Duration::from_millis(500);

/// How to serve.
#[derive(Clone, Debug)]
pub struct Options {
    /// The pid file, if not the default one.
    pub pid_file: Option<PathBuf>,
    /// Foreground or background.
    pub mode: Mode,
    /// The user to run as, and the group if it is not the user's own; before what the configuration says.
    pub user: Option<(String, Option<String>)>,
    /// Where a supervisor waits for readiness.
    pub ready_fd: Option<RawFd>,
    /// Called once when the gateway serves in this process: tells the person at the terminal where.
    pub welcome: Option<fn(&[Address])>,
}

/// Foreground or background.
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    /// In this process, with its console.
    Foreground(Console),
    /// In a daemon; this process waits until it serves, at most for this long.
    Daemon(Duration),
}

/// How [`run`] ended well.
#[derive(Debug)]
pub enum Outcome {
    /// A daemon serves; this is its launcher.
    Launched {
        /// The daemon's pid.
        pid: u32,
        /// Where it serves.
        addresses: Vec<Address>,
        /// Where it logs.
        log_file: Option<PathBuf>,
    },
    /// The gateway served in this process, and ended.
    Ended(Exit),
}

/// What a gateway holds before its runtime exists.
#[derive(Debug)]
struct Taken {
    /// Where the configuration came from, for reading it again.
    source: Source,
    /// The configuration.
    config: Arc<Config>,
    /// The run-time files.
    paths: RunPaths,
    /// The proof that we may touch them.
    lock: Lock,
    /// The number that a crashed gateway has left in the pid file.
    stale: Option<i32>,
    /// The bound listeners.
    listeners: Listeners,
    /// The user for whom root is given up.
    credentials: Option<Credentials>,
    /// Whom the command line asks for.
    user: Option<(String, Option<String>)>,
    /// Where a supervisor waits for readiness.
    waiting: Option<Waiting>,
    /// Tells the person at the terminal.
    welcome: Option<fn(&[Address])>,
    /// Whether there is no console.
    background: bool,
    /// The way to the process whose place this one takes, until the runtime has it.
    predecessor: Option<UnixStream>,
    /// The children that it offers, and the way of their descriptors.
    children: Option<(Vec<String>, UnixStream)>,
}

/// Loads the configuration and serves until a signal, or until the daemon serves.
///
/// # Errors
/// When the gateway cannot start; nothing is left behind then.
pub fn run(source: &Source, options: &Options) -> Result<Outcome, Error> {
    keep_no_core_files();
    let rest = if matches!(options.mode, Mode::Daemon(_)) { Rest::Close } else { Rest::CloseOnExec };
    let passed = passed::claim(rest, options.ready_fd)?;
    let config = config::load(source)?;
    // A daemon leaves the working directory.
    let source = source.clone().absolute().map_err(Error::WorkingDirectory)?;
    let mut taken = Taken::take(source, config, options, passed)?;
    match options.mode {
        Mode::Foreground(console) => {
            signal::unblock_all().map_err(Error::Signals)?;
            taken.live(console, &mut None).map(Outcome::Ended)
        }
        Mode::Daemon(limit) => match detach::detach() {
            Ok(Side::Launcher(launcher)) => taken.report(launcher, limit),
            Ok(Side::Daemon(announcer)) => Ok(Outcome::Ended(taken.live_detached(announcer))),
            Err(error) => {
                taken.listeners.remove_files();
                Err(error.into())
            }
        },
    }
}

/// The memory of a gateway holds the secrets of its configuration. Where it cannot be, the gateway serves all the same.
fn keep_no_core_files() {
    drop(crate::sys::process::forbid_core_files());
}

impl Taken {
    /// Takes the lock and binds the listeners, in this order: a second start never disturbs the first.
    fn take(source: Source, config: Config, options: &Options, mut passed: Passed) -> Result<Self, Error> {
        let credentials = privileges::wanted(&config, options.user.as_ref())?;
        let user = credentials.as_ref().map(|user| (user.uid, user.gid));
        let paths = RunPaths::resolve(options.pid_file.as_deref())?.for_user(user);
        paths.prepare()?;
        listen::check_names(&config.server.listen, &paths)?;
        let mut record = Self::record(&config, &paths)?;
        let background = matches!(options.mode, Mode::Daemon(_));
        record.launching = background;
        let lock = Lock::acquire(&paths, &record)?;
        let stale = daemon::check_replaceable(&paths)?;
        let unwanted = passed.discard(&config.server.listen);
        Notifier::from_environment().forget_now(&unwanted);
        let waiting = passed.waiting.take();
        let listeners = Listeners::bind(&config.server.listen, passed, paths.owners())?;
        let (config, welcome) = (Arc::new(config), options.welcome);
        Ok(Self {
            source,
            config,
            paths,
            lock,
            stale,
            listeners,
            credentials,
            user: options.user.clone(),
            waiting,
            welcome,
            background,
            predecessor: None,
            children: None,
        })
    }

    /// What this process says about itself.
    fn record(config: &Config, paths: &RunPaths) -> Result<Record, Error> {
        let main = config.sources.first().cloned();
        Record::own(paths, main, config.server.drain_timeout).map_err(Error::Identity)
    }

    /// The launcher's rest: waits for the daemon.
    fn report(mut self, launcher: Launcher, limit: Duration) -> Result<Outcome, Error> {
        // Only the daemon may hold it: its end without a word is how a supervisor learns of a failure.
        self.waiting = None;
        match launcher.wait(limit) {
            Ok(pid) => Ok(Outcome::Launched {
                pid,
                addresses: self.listeners.addresses().to_vec(),
                log_file: self.config.log.file.clone(),
            }),
            Err(error) => {
                // We still hold the lock, so that these are not a successor's.
                self.listeners.remove_files();
                Err(error.into())
            }
        }
    }

    /// The daemon's life; its errors go to the launcher if there is one left.
    fn live_detached(self, announcer: Announcer) -> Exit {
        let mut announcer = Some(announcer);
        match self.live(Console::Off, &mut announcer) {
            Ok(exit) => exit,
            Err(error) => {
                if let Some(announcer) = announcer {
                    announcer.failed(error.to_exit(), &crate::exit::chain(&error), error.hint().as_deref());
                }
                error.to_exit()
            }
        }
    }

    /// Serves in this process until the end.
    fn live(mut self, console: Console, announcer: &mut Option<Announcer>) -> Result<Exit, Error> {
        // Where it cannot be raised, there may be fewer connections.
        let _ = limits::raise_open_files();
        let result = self.begin().and_then(|record| self.live_with_log(console, record, announcer));
        if let (Some(old), Err(error)) = (&self.predecessor, &result) {
            crate::handover::fail(old, error);
        }
        self.listeners.remove_files();
        result
    }

    /// Gives root up, and writes into the lock who serves.
    fn begin(&mut self) -> Result<Record, Error> {
        if let Some(credentials) = self.credentials.clone() {
            self.give_root_up(&credentials)?;
        }
        // After detaching the pid is another, and until it is in the record, contenders wait.
        let record = Self::record(&self.config, &self.paths)?;
        // While another process serves, the record is its.
        if self.predecessor.is_none() {
            self.lock.describe(&record)?;
        }
        Ok(record)
    }

    /// The part that is logged.
    fn live_with_log(
        &mut self,
        console: Console,
        record: Record,
        announcer: &mut Option<Announcer>,
    ) -> Result<Exit, Error> {
        let log = log::init(&self.config.log, console)?;
        self.log_beginning(&record);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Runtime)?;
        panics::watch();
        let result = panics::caught(|| {
            runtime.block_on(async {
                let mut serving = Serving::start(self, record, &log)?;
                let result = serving.run(announcer).await;
                serving.clean_up(&result).await;
                result
            })
        });
        let result = panics::decide(result);
        runtime.shutdown_timeout(RUNTIME_END);
        match &result {
            Ok(exit) => tracing::info!(code = exit.code(), "stopped"),
            Err(error) => tracing::error!(error = crate::exit::chain(error), "stopped"),
        }
        result
    }
}

/// The gateway while its runtime exists.
struct Serving<'a> {
    /// What was taken before.
    taken: &'a mut Taken,
    /// The log.
    log: &'a log::Guard,
    /// What is known about this process.
    record: Record,
    /// What the status says beside what the gateway tells.
    template: watch::Sender<Status>,
    /// TERM, INT and the others.
    signals: Signals,
    /// systemd, if it is there.
    notifier: Notifier,
    /// The relay.
    gateway: Gateway,
    /// Starts the drain.
    trigger: drain::Trigger,
    /// Tells about the drain.
    watch: drain::Watch,
    /// One task for each listener.
    accepting: Accepting,
    /// Reloads that are wanted or under way.
    reloads: reload::Reloads,
    /// The control socket's task; dropping it ends the task.
    control: JoinSet<()>,
    /// Tells when the control socket has answered.
    busy: Busy,
    /// Upgrades that are wanted or under way.
    upgrades: Upgrades,
    /// The way to the process before or after this one.
    bond: Option<Bond>,
    /// Whether pid file, record and control socket are ours.
    owner: bool,
    /// Whether the process that has taken over reloads for those who ask this one.
    relaying: bool,
}

impl<'a> Serving<'a> {
    /// Installs signal handlers, starts the upstreams and accepts.
    fn start(taken: &'a mut Taken, record: Record, log: &'a log::Guard) -> Result<Self, Error> {
        let signals = Signals::install().map_err(Error::Signals)?;
        let (offers, descriptors) = taken.children.take().unzip();
        let gateway = Gateway::start(&taken.config, &offers.unwrap_or_default())?;
        let (trigger, watch) = drain::channel();
        gateway.drain_with(watch.clone());
        let handle = log.handle();
        gateway.observe(move || metrics::of_log(&handle));
        let reloads = reload::Reloads::new();
        let bond = Bond::to_predecessor(&mut taken.predecessor, descriptors, &gateway, reloads.sender())
            .map_err(Error::Channel)?;
        let owner = bond.is_none();
        if owner {
            gateway.remember_sessions(&taken.paths.sessions(), true);
        }
        let template =
            watch::Sender::new(Status::template(&record, taken.listeners.addresses(), &taken.config));
        let accepting = Accepting::new(gateway.clone(), watch.clone());
        let mut serving = Self {
            taken,
            log,
            record,
            template,
            signals,
            notifier: Notifier::from_environment(),
            gateway,
            trigger,
            watch,
            accepting,
            reloads,
            control: JoinSet::new(),
            busy: Busy::default(),
            upgrades: Upgrades::new(),
            bond,
            owner,
            relaying: false,
        };
        // While another process serves, connections are its.
        if owner {
            serving.accept()?;
        }
        Ok(serving)
    }

    /// Accepts on every listener.
    fn accept(&mut self) -> Result<(), Error> {
        let listeners = self.taken.listeners.handles().map_err(Error::Listeners)?;
        for (address, listener) in self.taken.listeners.addresses().iter().zip(listeners) {
            self.accepting.add(address.clone(), listener);
        }
        Ok(())
    }

    /// Becomes ready, serves, drains.
    async fn run(&mut self, announcer: &mut Option<Announcer>) -> Result<Exit, Error> {
        let result = self.become_ready(announcer).await;
        let result = match result {
            Ok(()) => {
                tokio::spawn(give_back_start());
                self.until_stop().await
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(End::Asked(received)) => {
                tracing::info!(signal = received.name(), "draining");
                self.abandon_upgrade().await;
                self.notifier.stopping("draining");
                Ok(self.drain().await)
            }
            Ok(End::Replaced) => Ok(self.drain().await),
            Ok(End::Panicked) => {
                tracing::error!("draining after a panic; this process ends with exit code 70");
                self.abandon_upgrade().await;
                self.notifier.stopping("draining after a panic");
                Ok(self.drain().await)
            }
            Ok(End::LogFull) => {
                self.abandon_upgrade().await;
                self.notifier.stopping("draining: the log cannot be written");
                self.drain().await;
                Err(log::Error::Full.into())
            }
            Err(error) => {
                self.abandon_upgrade().await;
                self.reloads.end().await;
                self.gateway.stop().await;
                Err(error)
            }
        }
    }

    /// Everything between accepting and the announcement; given up when a signal comes or the launcher goes.
    async fn become_ready(&mut self, announcer: &mut Option<Announcer>) -> Result<(), Error> {
        let pipe = announcer.as_ref().map(Announcer::watch).transpose().map_err(Error::Launcher)?;
        let gateway = self.gateway.clone();
        let addresses = self.taken.listeners.addresses().to_vec();
        let succeeding = self.bond.is_some();
        let prepared = async {
            if let Ok(settled) = tokio::time::timeout(SETTLE_LIMIT, gateway.settled()).await {
                settled?;
            } else {
                tracing::warn!(
                    "some upstreams are still starting; serving without them until they are ready"
                );
            }
            if succeeding { Ok(()) } else { ask_ourselves(&gateway, &addresses).await }
        };
        tokio::select! {
            result = prepared => result?,
            received = self.signals.stop() => return Err(Error::StoppedEarly(received)),
            () = abandoned(pipe) => return Err(Error::Abandoned),
            result = self.accepting.ended() => result?,
            () = panics::first() => return Err(Error::Panicked),
        }
        if succeeding {
            return self.succeed().await;
        }
        let server = Server::bind(&self.taken.paths.control)?;
        self.serve_control(server);
        daemon::write_pid_file(&self.taken.paths.pid_file, self.record.pid)?;
        if let Some(announcer) = announcer.take() {
            announcer.ready().map_err(|_| Error::Abandoned)?;
        }
        if let Some(waiting) = self.taken.waiting.take() {
            waiting.serves();
        }
        self.taken.listeners.store(&self.notifier);
        self.notifier.ready(&self.summary());
        let (pid, version) = (self.record.pid, &self.record.version);
        tracing::info!(pid, version, "serving on {}", endpoints(&addresses));
        if let Some(welcome) = self.taken.welcome {
            welcome(&addresses);
        }
        Ok(())
    }

    /// Answers the control socket.
    fn serve_control(&mut self, server: Server) {
        let (template, reloads) = (self.template.subscribe(), self.reloads.sender());
        let (gateway, watch, orders) = (self.gateway.clone(), self.watch.clone(), self.upgrades.sender());
        let log = self.log.handle();
        self.busy = server.busy();
        self.control.spawn(server.serve(move |request| {
            let template = template.borrow().clone();
            let (gateway, watch) = (gateway.clone(), watch.clone());
            let (reloads, orders, log) = (reloads.clone(), orders.clone(), log.clone());
            async move {
                match request {
                    Request::Status => status::answer(template, &gateway, &watch, &log),
                    Request::Reload => reload::ask(reloads).await,
                    Request::Rotate => rotate::answer(&log).await,
                    Request::Upgrade { start_timeout_ms } => {
                        upgrade::ask(&orders, &watch, Duration::from_millis(start_timeout_ms)).await
                    }
                }
            }
        }));
    }
}

/// Where clients connect, in one line: the URL to paste into a client's configuration, or the Unix socket.
#[must_use]
pub fn endpoints(addresses: &[Address]) -> String {
    let endpoint = |address: &Address| match address {
        Address::Tcp(address) => format!("http://{address}/mcp"),
        Address::Unix(_) => address.to_string(),
    };
    addresses.iter().map(endpoint).collect::<Vec<_>>().join(", ")
}
