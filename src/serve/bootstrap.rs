//! What a gateway holds before its runtime exists: taken as [`super::start`] says, or from the process before this one.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use super::accept::SocketFiles;
use super::error::Error;
use super::privileges;
use crate::config::{self, Config, Source};
use crate::daemon::listen::Listeners;
use crate::daemon::privileges::{self as root, Credentials};
use crate::daemon::{Lock, RunPaths, Waiting};
use crate::handover::{self, KnownLists, Offer};
use crate::log;

/// How the gateway was called: what a reload and the process after this one need again.
#[derive(Clone, Debug)]
pub(super) struct Invocation {
    /// Where the configuration comes from.
    pub(crate) source: Source,
    /// Whom the command line asks for.
    pub(crate) user: Option<(String, Option<String>)>,
    /// Whether there is no console.
    pub(crate) background: bool,
    /// Where what outlives the process is kept.
    pub(crate) state: PathBuf,
}

/// What a gateway holds before its runtime exists.
#[derive(Debug)]
pub(super) struct Bootstrap {
    /// How it was called.
    pub(crate) invocation: Invocation,
    /// The configuration.
    pub(crate) config: Config,
    /// The run-time files.
    pub(crate) paths: RunPaths,
    /// The proof that we may touch them.
    pub(crate) lock: Lock,
    /// The number that a crashed gateway has left in the pid file.
    pub(crate) stale: Option<i32>,
    /// The bound listeners.
    pub(crate) listeners: SocketFiles,
    /// The user for whom root is given up.
    pub(crate) credentials: Option<Credentials>,
    /// Where a supervisor waits for readiness.
    pub(crate) waiting: Option<Waiting>,
    /// Tells the person at the terminal.
    pub(crate) welcome: Option<fn(&[String])>,
    /// How long readiness waits for upstreams, if it does.
    pub(crate) wait_upstreams: Option<Duration>,
    /// The upstreams that the process before this one can use, if there is one.
    pub(crate) usable: Option<Vec<String>>,
    /// The children that the process before this one offers, and the way of their descriptors.
    pub(crate) children: Option<(Vec<Offer>, UnixStream)>,
    /// What clients were shown by the process before this one.
    pub(crate) lists: Vec<KnownLists>,
}

impl Bootstrap {
    /// Makes of what the process before this one passes what a start would have taken itself.
    pub(super) fn inherit(channel: &UnixStream) -> Result<Self, Error> {
        let inheritance = handover::receive(channel)?;
        let plan = inheritance.plan;
        let source = Source { file: plan.config, overrides: plan.overrides };
        let config = config::load(&source)?;
        // Root was given up before, so that this one either runs as that user already, or never can.
        let credentials = privileges::wanted(&config, plan.user.as_ref())?;
        let user = credentials.as_ref().map(|user| (user.uid, user.gid));
        let paths = RunPaths::resolve(Some(&plan.pid_file))?.for_user(user);
        let lock = Lock::inherit(&paths, inheritance.lock)?;
        let offered = (plan.listeners, inheritance.listeners);
        let listeners = Listeners::inherit(&config.server.listen, offered, plan.files, paths.owners())?;
        Ok(Self {
            invocation: Invocation {
                source,
                user: plan.user,
                background: plan.background,
                // One that knows of none has upstreams without files.
                state: plan.state.unwrap_or_else(config::state_directory),
            },
            config,
            paths,
            lock,
            stale: None,
            listeners: SocketFiles::of(listeners),
            credentials,
            waiting: None,
            welcome: None,
            wait_upstreams: None,
            usable: plan.usable,
            children: Some((plan.children, inheritance.descriptors)),
            lists: plan.lists,
        })
    }

    /// Becomes the user, and makes sure that what comes later can be done as that user.
    pub(super) fn give_root_up(&mut self) -> Result<(), Error> {
        let Some(credentials) = &self.credentials else { return Ok(()) };
        // Another user's default would be another file.
        let (default, source) = (config::default_path(), &mut self.invocation.source);
        if source.file.is_none() && self.config.sources.contains(&default) {
            source.file = Some(default);
        }
        let log = self.config.log.files().flat_map(|file| [file.to_owned(), log::lock_path(file)]);
        let mut log: Vec<PathBuf> = log.collect();
        // Made for the user if it is missing, as the log's directory is.
        if log.is_empty() && self.config.upstreams.iter().any(|upstream| upstream.stderr.to.is_filed()) {
            log.push(self.invocation.state.join("stderr"));
        }
        // Tokens and pins are read and written as that user.
        let state = ["tokens.key", "tokens.json", "pins.json"].map(|name| self.invocation.state.join(name));
        let keeps = !self.config.clients.is_empty()
            || self.config.upstreams.iter().any(|upstream| upstream.pin != config::Pin::Off);
        let files = (log.as_slice(), if keeps { state.as_slice() } else { &[] });
        root::adopt(credentials, &self.paths, files, self.listeners.listeners().made_files())?;
        root::assume(credentials, &self.paths)?;
        let again = config::load(source);
        again.map(drop).map_err(|error| Error::Unreadable(credentials.name.clone(), error))
    }
}
