//! Why there is no log, or no rotation.

use std::io;
use std::path::PathBuf;

use crate::exit::{Exit, ToExit};

/// Why there is no log, or no rotation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log file cannot be opened or made.
    #[error("cannot open log file `{}`", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The directory of the log file cannot be made or used.
    #[error("cannot use the log file's directory `{}`", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The log file cannot be moved away.
    #[error("cannot rotate log file `{}`", .path.display())]
    Rotate {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The log file cannot be forced to the disk.
    #[error("cannot sync log file `{}`", .path.display())]
    Sync {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The log cannot be written, and the configuration says that the gateway is to end then.
    #[error("the log cannot be written, and `on_full` is \"stop\"")]
    Full,
    /// There is no file to rotate.
    #[error("there is no log file to rotate")]
    NoFile,
    /// The log has ended.
    #[error("the log has ended")]
    Ended,
    /// There can be no thread for the log.
    #[error("cannot start the log's thread")]
    Thread(#[source] io::Error),
    /// What is to happen at the end of the process cannot be arranged.
    #[error("cannot register the log's exit handlers")]
    AtEnd(#[source] io::Error),
    /// The filter directives cannot be read; configurations that were loaded have been checked for this.
    #[error("`{level}` is not a log level")]
    Level {
        /// The directives.
        level: String,
        /// What is wrong with them.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The process has a subscriber already.
    #[error("the log has been set up before")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Open { .. } | Self::Directory { .. } | Self::Rotate { .. } => Exit::CannotCreate,
            Self::Sync { .. } | Self::Thread(_) | Self::AtEnd(_) | Self::Full => Exit::Os,
            Self::Level { .. } | Self::NoFile => Exit::Config,
            Self::Ended => Exit::TryAgain,
            Self::Twice(_) => Exit::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        let source = match self {
            Self::Open { source, .. } | Self::Directory { source, .. } | Self::Rotate { source, .. } => {
                source
            }
            Self::NoFile => return Some("name one with --log-file or with `file` in [log]".to_owned()),
            Self::Sync { .. } => {
                return Some("the kernel's log (dmesg) says what is wrong with the disk".to_owned());
            }
            Self::Full => return Some("make room on the file system of the log".to_owned()),
            _ => return None,
        };
        if let Some(mend) = crate::sys::fs::mend(source) {
            return Some(mend);
        }
        let fix = match source.raw_os_error() {
            Some(nix::libc::ENOSPC | nix::libc::EDQUOT) => "make room on the file system of the log",
            Some(nix::libc::EACCES | nix::libc::EPERM | nix::libc::EROFS) => {
                "let mcpeg's user write there, or name another file with --log-file or in [log]"
            }
            _ => "name a regular file with --log-file or in [log], or leave it out to log to standard error",
        };
        Some(fix.to_owned())
    }
}
