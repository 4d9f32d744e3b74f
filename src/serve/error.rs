//! Why a gateway does not serve, or stopped serving.

use std::io;

use super::names;
use crate::daemon::detach;
use crate::daemon::{LockError, PathsError, PidFileError, Received, control, listen, passed, privileges};
use crate::exit::{Exit, ToExit};
use crate::{config, gateway, handover, log, probe};

/// Why a gateway does not serve, or stopped serving.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The run-time directory.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// The lock, above all because another gateway runs.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Giving root up.
    #[error(transparent)]
    Privileges(#[from] privileges::Error),
    /// The user for whom root was given up could never reload.
    #[error("user `{0}` cannot read the configuration again, as a reload would")]
    Unreadable(String, #[source] config::Error),
    /// The pid file.
    #[error(transparent)]
    PidFile(#[from] PidFileError),
    /// Descriptors that were passed at the start.
    #[error(transparent)]
    Passed(#[from] passed::Error),
    /// Two files with one name.
    #[error(transparent)]
    Names(#[from] names::Error),
    /// A listener.
    #[error(transparent)]
    Listen(#[from] listen::Error),
    /// Detaching, or the daemon's own report.
    #[error(transparent)]
    Detach(#[from] detach::Error),
    /// The log.
    #[error(transparent)]
    Log(#[from] log::Error),
    /// The relay.
    #[error(transparent)]
    Gateway(#[from] gateway::Error),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] control::Error),
    /// We do not answer our own request.
    #[error("the gateway does not answer a request of its own")]
    Unreachable(#[from] probe::Error),
    /// We answer it wrongly.
    #[error("the gateway answers its own request on `{0}` with status {1}")]
    NotLive(String, u16),
    /// /proc is not readable.
    #[error("cannot tell the identity of this process from /proc")]
    Identity(#[source] io::Error),
    /// The handlers or the mask.
    #[error("cannot set up signals")]
    Signals(#[source] io::Error),
    /// The runtime's threads or its epoll instance.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// Too many descriptors.
    #[error("cannot duplicate the listeners")]
    Listeners(#[source] io::Error),
    /// It was removed, and a path depends on it.
    #[error("cannot tell the working directory")]
    WorkingDirectory(#[source] io::Error),
    /// The pipe to the launcher.
    #[error("cannot watch the launcher")]
    Launcher(#[source] io::Error),
    /// The process before this one is gone, or does not want it.
    #[error("the old process has ended before the new one could serve")]
    Orphaned,
    /// What the process before this one passes.
    #[error(transparent)]
    Upgrade(#[from] handover::Error),
    /// The channel to the process before this one.
    #[error("cannot use the channel to the former process")]
    Channel(#[source] io::Error),
    /// The launcher has given the start up.
    #[error("the launcher ended before the gateway was ready")]
    Abandoned,
    /// A bug has struck while nothing could be done but to give up.
    #[error("a panic has ended the gateway; its message is in the log")]
    Panicked,
    /// A signal came during the start.
    #[error("stopped by {} before the gateway was ready", .0.name())]
    StoppedEarly(Received),
    /// A task that accepts ended without being asked to.
    #[error("a listener stopped accepting")]
    ListenerLost(#[source] io::Error),
}

impl Error {
    /// The error below, if it knows its code and hint itself.
    fn inner(&self) -> Option<&dyn ToExit> {
        match self {
            Self::Config(error) => Some(error),
            Self::Paths(error) => Some(error),
            Self::Lock(error) => Some(error),
            Self::PidFile(error) => Some(error),
            Self::Privileges(error) => Some(error),
            Self::Passed(error) => Some(error),
            Self::Names(error) => Some(error),
            Self::Listen(error) => Some(error),
            Self::Detach(error) => Some(error),
            Self::Log(error) => Some(error),
            Self::Gateway(error) => Some(error),
            Self::Control(error) => Some(error),
            Self::Upgrade(error) => Some(error),
            _ => None,
        }
    }
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        if let Some(error) = self.inner() {
            return error.to_exit();
        }
        match self {
            Self::StoppedEarly(received) => received.exit(),
            Self::Unreadable(..) => Exit::Permission,
            Self::NotLive(..) | Self::ListenerLost(_) | Self::Panicked => Exit::Bug,
            _ => Exit::Os,
        }
    }

    fn hint(&self) -> Option<String> {
        if let Self::Unreadable(name, _) = self {
            return Some(format!(
                "let a group of that user read it: `chgrp $(id -g {name}) FILE` and `chmod 640 FILE`"
            ));
        }
        self.inner().and_then(ToExit::hint)
    }
}
