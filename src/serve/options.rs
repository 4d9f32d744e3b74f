//! How to serve, and how it ended well.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use crate::exit::Exit;
use crate::log::Console;

/// How to serve.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The pid file, if not the default one.
    pub(crate) pid_file: Option<PathBuf>,
    /// Foreground or background.
    pub(crate) mode: Mode,
    /// The user to run as, and the group if it is not the user's own; before what the configuration says.
    pub(crate) user: Option<(String, Option<String>)>,
    /// How long readiness waits for upstreams, if it does.
    pub(crate) wait_upstreams: Option<Duration>,
    /// Where a supervisor waits for readiness.
    pub(crate) ready_fd: Option<RawFd>,
    /// Called once when the gateway serves in this process: tells the person at the terminal where.
    pub(crate) welcome: Option<fn(&[String])>,
}

/// Foreground or background.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// In this process, with its console.
    Foreground(Console),
    /// In a daemon; this process waits until it serves, at most for this long.
    Daemon(Duration),
}

/// How [`super::run`] ended well.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A daemon serves; this is its launcher.
    Launched {
        /// The daemon's pid.
        pid: u32,
        /// Where it serves.
        endpoints: String,
    },
    /// The gateway served in this process, and ended.
    Ended(Exit),
}
