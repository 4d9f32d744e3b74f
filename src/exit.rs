//! The exit codes of every command, in one table.
//!
//! Numbers from 64 up are those of sysexits(3); `--status` uses the codes of the Linux Standard Base
//! (LSB 5.0, "Init Script Actions"). Scripts depend on these numbers: a number, once released, keeps its meaning. The
//! manual's EXIT STATUS section is generated from [`Exit::ALL`].

use std::error::Error;
use std::process::ExitCode;

/// Why the process ended, as the number its parent sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The act succeeded; for `--status`: running.
    Done,
    /// `--status`: not running, but a pid file is left behind.
    StatusDeadPidFile,
    /// `install --check`: an installation would change something.
    Drifted,
    /// `call`, `read`, `prompt`: the server answers with an error.
    ToolFailed,
    /// `--status`, `--reload`, `--log-rotate`: not running; of `--status --upstream`, an upstream.
    NotRunning,
    /// `--status`: the state cannot be told.
    StatusUnknown,
    /// `install`: the files belong to a package manager.
    Packaged,
    /// `install`: a file that is not ours is in the way.
    Foreign,
    /// `install`: the service was installed but did not start; everything was rolled back.
    ServiceFailed,
    /// `install`: a file system that would be written to is mounted read-only; nothing was touched.
    ReadOnly,
    /// `install`: the systemd that would run the service does not run.
    NoSystemd,
    /// `--restart`: the service manager would not follow the gateway to a new process; the old one serves on.
    NotFollowed,
    /// The command line is wrong.
    Usage,
    /// An upstream, or something else that we depend on, cannot be reached.
    Unavailable,
    /// A bug in mcpeg (a panic).
    Bug,
    /// The operating system refused something: a port in use, a failed system call.
    Os,
    /// A file or directory cannot be created.
    CannotCreate,
    /// Already running, or busy: try again.
    TryAgain,
    /// Permission denied, or root is needed.
    Permission,
    /// The configuration is missing, unreadable or wrong.
    Config,
    /// A second INT cut the drain short.
    Interrupted,
    /// A second TERM cut the drain short.
    Terminated,
}

impl Exit {
    /// Each code once, in ascending order, with all that it means, for the manual.
    pub const ALL: [(Self, &'static str); 20] = [
        (Self::Done, "Done; for --status: running."),
        (
            Self::StatusDeadPidFile,
            "For --status: not running, and a pid file is left behind; for install --check: something has drifted; for call, read and prompt: the tool or its server answers with an error.",
        ),
        (
            Self::NotRunning,
            "For --status, --reload and --log-rotate: not running; with --upstream: one that is named cannot be used.",
        ),
        (Self::StatusUnknown, "For --status: the state cannot be told."),
        (Self::Packaged, "install: the files belong to a package manager."),
        (Self::Foreign, "install: a file that is not ours is in the way."),
        (Self::ServiceFailed, "install: the service did not start; everything was rolled back."),
        (Self::ReadOnly, "install: a file system is mounted read-only; nothing was touched."),
        (Self::NoSystemd, "install: systemd does not run; --no-start does without."),
        (
            Self::NotFollowed,
            "--restart: systemd would not follow the gateway to a new process (its unit is masked, for example); the old one serves on.",
        ),
        (Self::Usage, "The command line is wrong."),
        (
            Self::Unavailable,
            "An upstream or another dependency cannot be reached; --daemon --wait-upstreams: the gateway serves without it.",
        ),
        (Self::Bug, "A bug in mcpeg."),
        (Self::Os, "The operating system refused something, such as a port in use."),
        (Self::CannotCreate, "A file or directory cannot be created."),
        (Self::TryAgain, "Already running, or busy; try again."),
        (Self::Permission, "Permission denied, or root is needed."),
        (Self::Config, "The configuration is missing, unreadable or wrong."),
        (Self::Interrupted, "A second INT cut the drain short."),
        (Self::Terminated, "A second TERM cut the drain short."),
    ];

    /// The first exit in the table whose number this is.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().map(|(exit, _)| *exit).find(|exit| exit.code() == code)
    }

    /// The number that the parent process sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::StatusDeadPidFile | Self::Drifted | Self::ToolFailed => 1,
            Self::NotRunning => 3,
            Self::StatusUnknown => 4,
            Self::Packaged => 10,
            Self::Foreign => 11,
            Self::ServiceFailed => 12,
            Self::ReadOnly => 13,
            Self::NoSystemd => 14,
            Self::NotFollowed => 15,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Bug => 70,
            Self::Os => 71,
            Self::CannotCreate => 73,
            Self::TryAgain => 75,
            Self::Permission => 77,
            Self::Config => 78,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error that knows the exit code it ends the process with, and how the reader can mend it.
pub trait ToExit: std::error::Error {
    /// The exit code for this error.
    fn to_exit(&self) -> Exit;

    /// What the operator can do about it: one sentence fragment, printed after `hint:`.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// The messages of an error and its causes, joined by colons.
#[must_use]
pub fn chain(error: &(impl Error + ?Sized)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
