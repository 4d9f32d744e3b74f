//! The start-up order of the daemon, top to bottom, and its end.
//!
//! Before the runtime, in one thread: descriptors are claimed, the configuration is loaded, the lock taken, the
//! listeners bound, and with `--daemon` the process detached. Then log, runtime, upstreams, accepting, a request to
//! ourselves, control socket, pid file; only then is anybody told that the gateway is ready. The end runs in
//! `Serving::drain`: refuse, finish, end the upstreams, remove what we made.
//!
//! Invariants: whoever holds the lock may touch the run-time files, nobody else; readiness is announced once; no
//! thread exists before detaching. An upgrade hands over what `Taken` holds, which is why it is one value.

mod error;
mod status;
mod upgrade;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

pub use error::Error;
pub use status::{SCHEMA, State, Status};
pub use upgrade::{START_LIMIT, take_over};

use upgrade::{Attempt, Bond, Order};

use crate::config::{self, Config, Source};
use crate::daemon::control::{Busy, Server};
use crate::daemon::detach::{self, Announcer, Launcher, Side};
use crate::daemon::listen::{self, Listeners};
use crate::daemon::{Event, Lock, Notifier, Received, Record, RunPaths, Signals};
use crate::exit::{Exit, ToExit as _};
use crate::gateway::{self, Gateway};
use crate::log::{self, Console};
use crate::sys::fd::Rest;
use crate::sys::net::Address;
use crate::sys::signal;
use crate::{daemon, drain, probe};

/// How long readiness waits for upstreams; those that are slower are retried while the gateway serves.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// How long one request to ourselves may take.
const PROBE_LIMIT: Duration = Duration::from_secs(5);
/// What ending the upstreams may take after a drain; asked of systemd on top of the drain's time-out.
const END_MARGIN: Duration = Duration::from_secs(15);
/// How long answers over the control socket may take to be read at the end.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// How long tasks that do not end may keep the process after everything else is done.
const RUNTIME_END: Duration = Duration::from_millis(500);

/// How to serve.
#[derive(Clone, Debug)]
pub struct Options {
    /// The pid file, if not the default one.
    pub pid_file: Option<PathBuf>,
    /// Foreground or background.
    pub mode: Mode,
    /// Called once when the gateway serves in this process: tells the person at the terminal where.
    pub welcome: Option<fn(&[Address])>,
}

/// Foreground or background.
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    /// In this process, with its console.
    Foreground(Console),
    /// In a daemon; this process waits until it serves.
    Daemon,
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
    /// The configuration.
    config: Arc<Config>,
    /// The run-time files.
    paths: RunPaths,
    /// The proof that we may touch them.
    lock: Lock,
    /// The bound listeners.
    listeners: Listeners,
    /// Tells the person at the terminal.
    welcome: Option<fn(&[Address])>,
    /// Where the configuration comes from, wherever the working directory is.
    source: Source,
    /// Whether there is no console.
    background: bool,
    /// The way to the process whose place this one takes, until the runtime has it.
    predecessor: Option<std::os::unix::net::UnixStream>,
}

/// Loads the configuration and serves until a signal, or until the daemon serves.
///
/// # Errors
/// When the gateway cannot start; nothing is left behind then.
pub fn run(source: &Source, options: &Options) -> Result<Outcome, Error> {
    let rest = if matches!(options.mode, Mode::Daemon) { Rest::Close } else { Rest::CloseOnExec };
    let passed = listen::claim(rest)?;
    let config = config::load(source)?;
    let source = source.clone().absolute().map_err(Error::WorkingDirectory)?;
    let mut taken = Taken::take(config, source, options, passed)?;
    match options.mode {
        Mode::Foreground(console) => {
            signal::unblock_all().map_err(Error::Signals)?;
            taken.live(console, &mut None).map(Outcome::Ended)
        }
        Mode::Daemon => match detach::detach() {
            Ok(Side::Launcher(launcher)) => taken.report(launcher),
            Ok(Side::Daemon(announcer)) => Ok(Outcome::Ended(taken.live_detached(announcer))),
            Err(error) => {
                taken.listeners.remove_files();
                Err(error.into())
            }
        },
    }
}

impl Taken {
    /// Takes the lock and binds the listeners, in this order: a second start never disturbs the first.
    fn take(
        config: Config,
        source: Source,
        options: &Options,
        passed: listen::Passed,
    ) -> Result<Self, Error> {
        let paths = RunPaths::resolve(options.pid_file.as_deref())?;
        paths.prepare()?;
        let mut record = Self::record(&config, &paths)?;
        let background = matches!(options.mode, Mode::Daemon);
        record.launching = background;
        let lock = Lock::acquire(&paths, &record)?;
        daemon::check_replaceable(&paths.pid_file)?;
        let listeners = Listeners::bind(&config.server.listen, passed)?;
        let (config, welcome) = (Arc::new(config), options.welcome);
        Ok(Self { config, paths, lock, listeners, welcome, source, background, predecessor: None })
    }

    /// What this process says about itself.
    fn record(config: &Config, paths: &RunPaths) -> Result<Record, Error> {
        let main = config.sources.first().cloned();
        Record::own(paths, main, config.server.drain_timeout).map_err(Error::Identity)
    }

    /// The launcher's rest: waits for the daemon.
    fn report(mut self, launcher: Launcher) -> Result<Outcome, Error> {
        match launcher.wait(detach::START_TIMEOUT) {
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
                    announcer.failed(error.to_exit(), &detach::describe(&error), error.hint().as_deref());
                }
                error.to_exit()
            }
        }
    }

    /// Serves in this process until the end.
    fn live(mut self, console: Console, announcer: &mut Option<Announcer>) -> Result<Exit, Error> {
        // After detaching the pid is another, and until it is in the record, contenders wait.
        let record = Self::record(&self.config, &self.paths)?;
        // While another process serves, the record is its.
        if self.predecessor.is_none() {
            self.lock.describe(&record)?;
        }
        let result = self.live_with_log(console, record, announcer);
        if let (Some(old), Err(error)) = (&self.predecessor, &result) {
            daemon::upgrade::fail(old, error);
        }
        self.listeners.remove_files();
        result
    }

    /// The part that is logged.
    fn live_with_log(
        &mut self,
        console: Console,
        record: Record,
        announcer: &mut Option<Announcer>,
    ) -> Result<Exit, Error> {
        let _guard = log::init(&self.config.log, console)?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Runtime)?;
        let result = runtime.block_on(async {
            let mut serving = Serving::start(self, record)?;
            let result = serving.run(announcer).await;
            serving.clean_up(&result).await;
            result
        });
        runtime.shutdown_timeout(RUNTIME_END);
        match &result {
            Ok(exit) => tracing::info!(code = exit.code(), "stopped"),
            Err(error) => tracing::error!(error = detach::describe(error), "stopped"),
        }
        result
    }
}

/// The gateway while its runtime exists.
struct Serving<'a> {
    /// What was taken before.
    taken: &'a mut Taken,
    /// What is known about this process.
    record: Record,
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
    /// One task for each listener; its value is the number of connections that were cut.
    accepting: JoinSet<io::Result<usize>>,
    /// The control socket's task; dropping it ends the task.
    control: JoinSet<()>,
    /// Tells when the control socket has answered.
    busy: Busy,
    /// Upgrades that were asked for over the control socket, and where to ask.
    orders: (mpsc::Sender<Order>, mpsc::Receiver<Order>),
    /// The upgrade that is under way.
    attempts: JoinSet<Attempt>,
    /// The way to the process before or after this one.
    bond: Option<Bond>,
    /// Whether pid file, record and control socket are ours.
    owner: bool,
}

/// Why serving ends.
enum End {
    /// A signal.
    Asked(Received),
    /// A new process serves.
    Replaced,
}

impl<'a> Serving<'a> {
    /// Installs signal handlers, starts the upstreams and accepts.
    fn start(taken: &'a mut Taken, record: Record) -> Result<Self, Error> {
        let signals = Signals::install().map_err(Error::Signals)?;
        let gateway = Gateway::start(&taken.config)?;
        let (trigger, watch) = drain::channel();
        let stream = taken.predecessor.as_ref().map(std::os::unix::net::UnixStream::try_clone).transpose();
        let stream = stream.and_then(|stream| {
            let Some(stream) = stream else { return Ok(None) };
            stream.set_nonblocking(true)?;
            tokio::net::UnixStream::from_std(stream).map(Some)
        });
        let bond = stream.map_err(Error::Channel)?.map(|stream| Bond::open(stream, &gateway));
        taken.predecessor = None;
        let (notifier, busy, orders) = (Notifier::from_environment(), Busy::default(), mpsc::channel(1));
        let (accepting, control, attempts) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
        let owner = bond.is_none();
        let mut serving = Self {
            taken,
            record,
            signals,
            notifier,
            gateway,
            trigger,
            watch,
            accepting,
            control,
            busy,
            orders,
            attempts,
            bond,
            owner,
        };
        // While another process serves, connections are its.
        if owner {
            serving.accept()?;
        }
        Ok(serving)
    }

    /// Accepts on every listener.
    fn accept(&mut self) -> Result<(), Error> {
        for listener in self.taken.listeners.handles().map_err(Error::Listeners)? {
            let (gateway, watch) = (self.gateway.clone(), self.watch.clone());
            self.accepting.spawn(async move { gateway.serve(listener, watch).await });
        }
        Ok(())
    }

    /// Becomes ready, serves, drains.
    async fn run(&mut self, announcer: &mut Option<Announcer>) -> Result<Exit, Error> {
        let result = self.become_ready(announcer).await;
        let result = match result {
            Ok(()) => self.until_stop().await,
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
            Err(error) => {
                self.abandon_upgrade().await;
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
            if succeeding { Ok(()) } else { ask_ourselves(&addresses).await }
        };
        tokio::select! {
            result = prepared => result?,
            received = self.signals.stop() => return Err(Error::StoppedEarly(received)),
            () = abandoned(pipe) => return Err(Error::Abandoned),
            Some(ended) = self.accepting.join_next() => return Err(lost(ended)),
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
        let template =
            Arc::new(Status::template(&self.record, self.taken.listeners.addresses(), &self.taken.config));
        let (gateway, watch, orders) = (self.gateway.clone(), self.watch.clone(), self.orders.0.clone());
        self.busy = server.busy();
        self.control.spawn(server.serve(move |request| {
            let (template, gateway) = (Arc::clone(&template), gateway.clone());
            let (watch, orders) = (watch.clone(), orders.clone());
            async move { status::answer(request, &template, &gateway, &watch, &orders).await }
        }));
    }

    /// Serves until a signal asks to stop, or a new process has taken over. Signs of life are sent from here, and only while we answer ourselves: a
    /// timer of its own would go on when serving has stopped.
    async fn until_stop(&mut self) -> Result<End, Error> {
        let interval = self.notifier.interval();
        let addresses = self.taken.listeners.addresses().to_vec();
        let mut shown = self.summary();
        loop {
            tokio::select! {
                event = self.signals.next() => match event {
                    Event::Stop(received) => return Ok(End::Asked(received)),
                    Event::Upgrade => self.begin_upgrade(Order { limit: START_LIMIT, reply: None }),
                },
                Some(order) = self.orders.1.recv() => self.begin_upgrade(order),
                Some(Ok(attempt)) = self.attempts.join_next() => if self.end_upgrade(attempt).await {
                    return Ok(End::Replaced);
                },
                Some(ended) = self.accepting.join_next() => return Err(lost(ended)),
                result = sign_of_life(interval, &addresses) => match result {
                    Ok(()) => self.notifier.alive(),
                    Err(error) => tracing::error!(error = detach::describe(&error), "cannot reach ourselves"),
                },
            }
            let summary = self.summary();
            if summary != shown {
                self.notifier.status(&summary);
                shown = summary;
            }
        }
    }

    /// One line for `systemctl status`.
    fn summary(&self) -> String {
        let status = self.gateway.status();
        let ready =
            status.upstreams.iter().filter(|upstream| upstream.state == gateway::State::Ready).count();
        let listening = endpoints(self.taken.listeners.addresses());
        let (sessions, all) = (status.sessions, status.upstreams.len());
        format!("serving on {listening}; {ready} of {all} upstreams ready; {sessions} sessions")
    }

    /// Refuses new connections, lets work in flight finish, ends the upstreams. A second signal ends all of that.
    async fn drain(&mut self) -> Exit {
        let timeout = self.taken.config.server.drain_timeout;
        self.notifier.extend(timeout + END_MARGIN);
        self.taken.listeners.close();
        self.trigger.start(timeout);
        let accepting = &mut self.accepting;
        // The process after this one, if it is that which makes us drain.
        let heir = self.bond.as_ref().filter(|_| !self.owner);
        let work = async {
            let mut cut = 0;
            while let Some(ended) = accepting.join_next().await {
                match ended {
                    Ok(Ok(connections)) => cut += connections,
                    other => tracing::error!(error = detach::describe(&lost(other)), "a drain failed"),
                }
            }
            if cut > 0 {
                tracing::warn!(connections = cut, ?timeout, "cut connections that did not finish in time");
            }
            if let Some(heir) = heir {
                heir.send_sessions(&self.gateway).await;
            }
            self.gateway.stop().await;
        };
        tokio::pin!(work);
        loop {
            tokio::select! {
                () = &mut work => return Exit::Done,
                received = self.signals.stop() => {
                    tracing::warn!(signal = received.name(), "stopping at once");
                    return received.exit();
                }
                // The drain's own deadline watches over it; systemd must not.
                () = due(self.notifier.interval()) => self.notifier.alive(),
            }
        }
    }

    /// Removes the control socket and the pid file, which we may as we hold the lock, unless another process has them.
    async fn clean_up(&mut self, result: &Result<Exit, Error>) {
        if let (Some(bond), Err(error)) = (&self.bond, result) {
            bond.fail(error).await;
        }
        self.control.abort_all();
        self.busy.over(ANSWER_LIMIT).await;
        if !self.owner {
            return;
        }
        let paths = &self.taken.paths;
        match std::fs::remove_file(&paths.control) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %paths.control.display(), "cannot remove the control socket");
            }
            _ => {}
        }
        if let Err(error) = daemon::remove_own(&paths.pid_file, self.record.pid) {
            tracing::warn!(error = detach::describe(&error), "the pid file stays behind");
        }
    }
}

/// Why a task that accepts ended, which it must not do by itself.
fn lost(ended: Result<io::Result<usize>, JoinError>) -> Error {
    Error::ListenerLost(match ended {
        Ok(Ok(_)) => io::Error::other("it ended by itself"),
        Ok(Err(error)) => error,
        Err(error) => error.into(),
    })
}

/// Waits until a sign of life is due, and proves that there is life.
async fn sign_of_life(interval: Option<Duration>, addresses: &[Address]) -> Result<(), Error> {
    due(interval).await;
    ask_ourselves(addresses).await
}

/// Waits for the interval; for ever without one.
async fn due(interval: Option<Duration>) {
    match interval {
        Some(interval) => tokio::time::sleep(interval).await,
        None => std::future::pending().await,
    }
}

/// Sends `GET /health/live` to each listener.
async fn ask_ourselves(addresses: &[Address]) -> Result<(), Error> {
    for address in addresses {
        let target = match address {
            Address::Tcp(address) => {
                // The unspecified address cannot be a destination everywhere; its family's loopback is served by it.
                let mut address = *address;
                match address.ip() {
                    std::net::IpAddr::V4(ip) if ip.is_unspecified() => {
                        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
                    }
                    std::net::IpAddr::V6(ip) if ip.is_unspecified() => {
                        address.set_ip(std::net::Ipv6Addr::LOCALHOST.into());
                    }
                    _ => {}
                }
                probe::Target::Tcp(address.to_string())
            }
            // A passed socket without a path cannot be asked.
            Address::Unix(path) if path.as_os_str().is_empty() => continue,
            Address::Unix(path) => probe::Target::Unix(path.clone()),
        };
        let (status, _) = probe::get(&target, "/health/live", PROBE_LIMIT).await?;
        if !status.is_success() {
            return Err(Error::NotLive(address.to_string(), status.as_u16()));
        }
    }
    Ok(())
}

/// Waits until the launcher is gone; for ever without one. A pipe whose reader is gone reports an error: pipe(7).
async fn abandoned(pipe: Option<OwnedFd>) {
    if let Some(pipe) = pipe.and_then(|pipe| pipe::Sender::from_owned_fd(pipe).ok())
        && pipe.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
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
