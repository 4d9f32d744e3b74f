//! The start-up order of the daemon, top to bottom, in one function: `start`.
//!
//! Before the runtime, in one thread: descriptors are claimed, the configuration is loaded, the lock taken, the listeners
//! bound, with `--daemon` the process detached, and with `--user` root given up. Then log, runtime, upstreams, accepting, a
//! request to ourselves, control socket, pid file; only then is anybody told that the gateway is ready. A process that takes
//! another one's place is given what it would have taken, and goes the same way.
//!
//! Invariants: the holder of the lock may touch the run-time files, nobody else; readiness is announced once; no thread
//! exists before detaching; whatever ends the start, nothing is left behind and the one that waits is told.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use super::accept::{Acceptor, SocketFiles};
use super::alive::{abandoned, ask_ourselves};
use super::bootstrap::{Bootstrap, Invocation};
use super::control::{Answering, Control};
use super::error::Error;
use super::options::{Mode, Options, Outcome};
use super::peer::PeerChannel;
use super::reload::Reloads;
use super::run_files::RunFiles;
use super::running::until_stop;
use super::serving::Serving;
use super::status::{Status, endpoint, endpoints};
use super::upgrade::Upgrades;
use super::{metrics, names, panics, privileges, stop, succession};
use crate::config::{self, Prefix, Source};
use crate::daemon::control::Server;
use crate::daemon::detach::{self, Announcer, Side};
use crate::daemon::listen::Listeners;
use crate::daemon::{self, Lock, Record, RunPaths, Signals, passed};
use crate::exit::{self, Exit, ToExit as _};
use crate::gateway::Gateway;
use crate::log::{self, Console};
use crate::sys::fd::Rest;
use crate::sys::{limits, memory, process, signal};
use crate::systemd::Notifier;
use crate::{drain, handover};

/// How long upstreams are waited for where the gateway cannot serve before they were tried: names must not clash, or a process
/// that serves is to be replaced. Those that are slower are retried while the gateway serves.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// How long after its start a gateway keeps what only that has used: the first requests find everything there.
const SETTLED: Duration = Duration::from_secs(2);
/// How long tasks that do not end may keep the process after everything else is done.
const RUNTIME_END: Duration = Duration::from_millis(500);

/// What a gateway starts from.
#[derive(Clone, Copy)]
enum Origin<'a> {
    /// A command line.
    CommandLine(&'a Source, &'a Options),
    /// The process before this one, whose place it takes.
    Predecessor,
}

/// Who waits to hear how the start goes.
enum Parent {
    /// The caller of this process, which reads its exit code.
    Caller,
    /// The launcher of a daemon, until it has been told.
    Launcher(Option<Announcer>),
    /// The process before this one, until the runtime has the way to it.
    Predecessor(Option<UnixStream>),
}

impl Parent {
    /// Tells that the gateway does not serve, or returns the error for the caller.
    fn failed(self, error: Error) -> Result<Exit, Error> {
        match self {
            Self::Caller => return Err(error),
            Self::Launcher(Some(announcer)) => {
                announcer.failed(error.to_exit(), &exit::chain(&error), error.hint().as_deref());
            }
            Self::Predecessor(Some(channel)) => handover::fail(&channel, &error),
            Self::Launcher(None) | Self::Predecessor(None) => {}
        }
        Ok(error.to_exit())
    }

    /// The launcher, if it waits.
    fn launcher(&mut self) -> Option<&mut Option<Announcer>> {
        if let Self::Launcher(announcer) = self { Some(announcer) } else { None }
    }

    /// The way to the process before this one, if the runtime does not have it.
    fn predecessor(&mut self) -> Option<UnixStream> {
        if let Self::Predecessor(channel) = self { channel.take() } else { None }
    }
}

/// Loads the configuration and serves until a signal, or until the daemon serves.
pub(crate) fn run(source: &Source, options: &Options) -> Result<Outcome, Error> {
    let mut parent = Parent::Caller;
    let outcome = start(Origin::CommandLine(source, options), &mut parent);
    outcome.or_else(|error| parent.failed(error).map(Outcome::Ended))
}

/// Takes the place of the process that has started this one, and serves until the end; `None` in any other start.
pub(crate) fn take_over() -> Option<Exit> {
    if !handover::is_successor() {
        return None;
    }
    let mut parent = Parent::Predecessor(None);
    let outcome = start(Origin::Predecessor, &mut parent);
    Some(match outcome.or_else(|error| parent.failed(error).map(Outcome::Ended)) {
        Ok(Outcome::Ended(exit)) => exit,
        Ok(Outcome::Launched { .. }) => Exit::Done,
        Err(error) => error.to_exit(),
    })
}

/// The start-up order, and in its last lines the end.
#[expect(clippy::too_many_lines, reason = "the start-up order is one list, which is read from top to bottom")]
fn start(origin: Origin<'_>, parent: &mut Parent) -> Result<Outcome, Error> {
    let succeeding = matches!(origin, Origin::Predecessor);
    let (mut boot, mode) = match origin {
        Origin::CommandLine(source, options) => {
            // The memory of a gateway holds the secrets of its configuration. Where it cannot be, it serves all the same.
            drop(process::forbid_core_files());
            // Descriptors, before anything else opens one: daemon(7) SysV step 1.
            let background = matches!(options.mode, Mode::Daemon(_));
            let rest = if background { Rest::Close } else { Rest::CloseOnExec };
            let mut passed = passed::claim(rest, options.ready_fd)?;
            // The configuration. A daemon leaves the working directory.
            let mut source = source.clone().absolute().map_err(Error::WorkingDirectory)?;
            source.overrides.default_log_file = background.then(config::default_log_file);
            let config = config::load(&source)?;
            // For whom, and where its run-time files are.
            let user = options.user.clone();
            let credentials = privileges::wanted(&config, user.as_ref())?;
            let owner = credentials.as_ref().map(|user| (user.uid, user.gid));
            let paths = RunPaths::resolve(options.pid_file.as_deref())?.for_user(owner);
            paths.prepare()?;
            names::check(&config, &paths)?;
            // The lock before the listeners: a second start never disturbs the first.
            let record = Record { launching: background, ..own_record(&config, &paths)? };
            let lock = Lock::acquire(&paths, &record)?;
            let stale = daemon::check_replaceable(&paths)?;
            // The listeners; the manager holds the ports of those that are not wanted any more.
            let unwanted = passed.discard(&config.server.listen);
            Notifier::from_environment().forget_now(&unwanted);
            let waiting = passed.waiting.take();
            let listeners = SocketFiles::of(Listeners::bind(&config.server.listen, passed, paths.owners())?);
            let boot = Bootstrap {
                invocation: Invocation { source, user, background, state: config::state_directory() },
                config,
                paths,
                lock,
                stale,
                listeners,
                credentials,
                waiting,
                welcome: options.welcome,
                wait_upstreams: options.wait_upstreams,
                usable: None,
                children: None,
                lists: Vec::new(),
            };
            (boot, options.mode)
        }
        Origin::Predecessor => {
            drop(passed::claim(Rest::CloseOnExec, None)?);
            let channel = handover::inherited_channel()?;
            let boot = Bootstrap::inherit(&channel);
            *parent = Parent::Predecessor(Some(channel));
            let boot = boot?;
            let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            let Invocation { source, background, .. } = &boot.invocation;
            let console =
                if *background { Console::Off } else { Console::detect(terminal, source.overrides.dev) };
            (boot, Mode::Foreground(console))
        }
    };
    // The background. The launcher waits there; what follows is the daemon.
    let console = match mode {
        Mode::Foreground(console) => {
            if !succeeding {
                signal::unblock_all().map_err(Error::Signals)?;
            }
            console
        }
        Mode::Daemon(limit) => match detach::detach()? {
            Side::Daemon(announcer) => {
                *parent = Parent::Launcher(Some(announcer));
                Console::Off
            }
            Side::Launcher(launcher) => {
                // Only the daemon may hold it: its end without a report is how a supervisor learns of a failure.
                drop(boot.waiting);
                let pid = launcher.wait(limit)?;
                // Up to here we hold the lock too, so that files that are removed are not a successor's.
                let endpoints = endpoints(boot.listeners.leave().addresses(), &boot.config.server);
                return Ok(Outcome::Launched { pid, endpoints });
            }
        },
    };
    // Where it cannot be raised, there may be fewer connections.
    let _ = limits::raise_open_files();
    boot.give_root_up()?;
    // After detaching the pid is another; contenders wait for it. While another process serves, the record is its.
    let record = own_record(&boot.config, &boot.paths)?;
    let mut files = RunFiles::new(boot.paths, boot.lock, record, !succeeding)?;
    let (wait_upstreams, usable) = (boot.wait_upstreams, boot.usable);
    let must_not_clash = boot.config.server.prefix == Prefix::Never;
    // The log.
    let log = log::init(&boot.config.log, console)?;
    if let Some(pid) = boot.stale {
        let pid_file = files.paths().pid_file.display();
        tracing::info!(left_by = pid, %pid_file, "replacing a pid file that was left behind");
    }
    if let Some(credentials) = &boot.credentials {
        privileges::log_user(credentials, files.record().executable.as_deref());
    }
    // The runtime: from here on there are threads.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Runtime)?;
    panics::watch();
    let result = panics::caught(|| {
        runtime.block_on(async {
            let signals = Signals::install().map_err(Error::Signals)?;
            // The upstreams begin.
            let (offers, descriptors) = boot.children.unzip();
            let state = &boot.invocation.state;
            let gateway = Gateway::start(&boot.config, offers.unwrap_or_default(), state)?;
            gateway.inherit_lists(&boot.lists);
            let (trigger, watch) = drain::channel();
            gateway.drain_with(watch.clone());
            let handle = log.handle();
            gateway.observe(move || metrics::of_log(&handle));
            gateway.observe(metrics::of_process());
            // What can be asked for, and by whom.
            let (reloads, upgrades) = (Reloads::new(), Upgrades::new());
            let peer = match parent.predecessor() {
                Some(channel) => {
                    Some(PeerChannel::to_predecessor(channel, descriptors, &gateway, reloads.sender())?)
                }
                None => None,
            };
            let (http, opened) = tokio::sync::mpsc::channel(1);
            let answering = Answering {
                gateway: gateway.clone(),
                watch: watch.clone(),
                log: log.handle(),
                reloads: reloads.sender(),
                upgrades: upgrades.sender(),
                http,
            };
            let addresses = boot.listeners.listeners().addresses();
            let template = Status::template(files.record(), addresses, (&boot.config, state));
            let mut serving = Serving {
                invocation: boot.invocation,
                config: Arc::new(boot.config),
                files: &mut files,
                log: &log,
                signals,
                notifier: Notifier::from_environment(),
                acceptor: Acceptor::new(boot.listeners, gateway.clone(), watch, opened),
                gateway: gateway.clone(),
                trigger,
                control: Control::new(answering, template),
                reloads,
                upgrades,
                peer,
                relaying: false,
            };
            let ready = async {
                let addresses = serving.acceptor.addresses().to_vec();
                // While another process serves, sessions and connections are its.
                if !succeeding {
                    gateway.sessions().remember_in(&serving.files.paths().sessions(), true);
                    serving.acceptor.accept()?;
                }
                // We answer ourselves. Upstreams have states of their own: only names that must not clash are waited for, and
                // what a process that is to be replaced can use.
                let launcher = parent.launcher();
                let fresh = Some(Vec::new()).filter(|_| !succeeding);
                let awaited = fresh.or(usable).filter(|_| !must_not_clash);
                let prepared = async {
                    let settled = gateway.settled(awaited.as_deref());
                    if let Ok(settled) = tokio::time::timeout(SETTLE_LIMIT, settled).await {
                        settled?;
                    } else {
                        tracing::warn!("some upstreams are still starting; serving without them");
                    }
                    if succeeding { Ok(()) } else { ask_ourselves(&gateway, &addresses).await }
                };
                let watched = launcher.as_ref().and_then(|announcer| announcer.as_ref());
                unless_ended(&mut serving, watched, prepared).await?;
                if succeeding {
                    return succession::succeed(&mut serving).await;
                }
                // Those who look for us find us.
                let server = Server::bind(&serving.files.paths().control)?;
                serving.control.serve(server);
                serving.files.write_pid()?;
                // Those who wait for us are told, some of them when the upstreams are there.
                if let Some(limit) = wait_upstreams {
                    let usable = async {
                        if tokio::time::timeout(limit, gateway.usable()).await.is_err() {
                            tracing::warn!(
                                "not every upstream can be used; serving without those that cannot"
                            );
                        }
                        Ok(())
                    };
                    let watched = launcher.as_ref().and_then(|announcer| announcer.as_ref());
                    unless_ended(&mut serving, watched, usable).await?;
                }
                if let Some(announcer) = launcher.and_then(Option::take) {
                    announcer.ready().map_err(|_| Error::Abandoned)?;
                }
                if let Some(waiting) = boot.waiting.take() {
                    waiting.serves();
                }
                serving.acceptor.listeners_mut().store(&serving.notifier);
                serving.notifier.ready(&serving.summary());
                let version = &serving.files.record().version;
                let server = &serving.config.server;
                tracing::info!(version, "serving on {}", endpoints(&addresses, server));
                if let Some(welcome) = boot.welcome {
                    let all: Vec<String> =
                        addresses.iter().map(|address| endpoint(address, server)).collect();
                    welcome(&all);
                }
                Ok(())
            };
            let result = match ready.await {
                Ok(()) => {
                    tokio::spawn(give_back_start());
                    until_stop(&mut serving).await
                }
                Err(error) => Err(error),
            };
            // The end: refuse, finish, end the upstreams, remove what we made.
            let result = stop::finish(&mut serving, result).await;
            stop::clean_up(&mut serving, &result).await;
            result
        })
    });
    let result = panics::decide(result);
    runtime.shutdown_timeout(RUNTIME_END);
    match &result {
        Ok(exit) => tracing::info!(code = exit.code(), "stopped"),
        Err(error) => tracing::error!(error = exit::chain(error), "stopped"),
    }
    result.map(Outcome::Ended)
}

/// Does what is to be done before anybody is told; given up when a signal comes, the launcher goes or a listener ends.
async fn unless_ended(
    serving: &mut Serving<'_>,
    launcher: Option<&Announcer>,
    work: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    let pipe = launcher.map(Announcer::watch).transpose().map_err(Error::Launcher)?;
    tokio::select! {
        result = work => result,
        received = serving.signals.stop() => Err(Error::StoppedEarly(received)),
        () = abandoned(pipe) => Err(Error::Abandoned),
        result = serving.acceptor.ended() => result,
        () = panics::first() => Err(Error::Panicked),
    }
}

/// What this process says about itself.
fn own_record(config: &config::Config, paths: &RunPaths) -> Result<Record, Error> {
    let main = config.sources.first().cloned();
    Record::own(paths, main, config.server.drain_timeout).map_err(Error::Identity)
}

/// Gives the pages of the program back that only the start has used, such as clap's or those of the configuration.
async fn give_back_start() {
    tokio::time::sleep(SETTLED).await;
    memory::unmap_unchanging();
}
