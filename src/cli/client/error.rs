//! Why `mcpeg tools`, `call`, `read`, `prompt` and `ping` have no answer.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::control;
use crate::daemon::PathsError;
use crate::daemon::locate;
use crate::exit::{Exit, ToExit};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Error {
    /// The run-time directory.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// It cannot be told what runs.
    #[error(transparent)]
    Locate(#[from] locate::Error),
    /// Nothing does.
    #[error("no gateway runs that could be asked")]
    NotRunning,
    /// It cannot be asked.
    #[error(transparent)]
    Control(#[from] control::Error),
    /// A file is needed and cannot be used.
    #[error("cannot use `{}`", .0.display())]
    File(PathBuf, #[source] std::io::Error),
    /// The gateway between the command and a server cannot be started.
    #[error("cannot start a gateway for the server")]
    Start(#[source] std::io::Error),
    /// It has ended.
    #[error("{message}")]
    Ended {
        /// What it has said.
        message: String,
        /// Its exit code.
        exit: Exit,
    },
    /// The server cannot be used, and what mends that, if it is known.
    #[error("{0}")]
    Unusable(String, Option<String>),
    /// The connection broke.
    #[error("the gateway has not answered")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What came is no answer.
    #[error("the gateway answers what is no MCP: {0}")]
    Strange(String),
    /// The answer did not come in time.
    #[error("there was no answer within {}", humantime::format_duration(*.0))]
    TimeOut(Duration),
    /// The answer is an error.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// What was typed cannot be sent.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What can be typed instead.
        hint: String,
    },
    /// It asks a person, and there is none.
    #[error("the server asks a person, and standard input or error is no terminal")]
    Nobody,
    /// The person does not go on.
    #[error("cancelled")]
    Cancelled,
}

/// A JSON-RPC error.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Refusal {
    /// One sentence.
    #[serde(default)]
    message: String,
    /// More about it.
    #[serde(default)]
    data: Value,
}

impl Refusal {
    /// The sentence.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Whether it is an upstream's, and not the gateway's.
    pub(super) fn is_of_upstream(&self) -> bool {
        self.data["side"] == "upstream"
    }
}

impl Error {
    /// What was typed cannot be sent.
    pub(super) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: hint.into() }
    }
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Paths(error) => error.to_exit(),
            Self::Locate(error) => error.to_exit(),
            Self::Ended { exit, .. } => *exit,
            Self::Usage { .. } => Exit::Usage,
            Self::Start(_) => Exit::Os,
            Self::File(..) => Exit::CannotCreate,
            Self::Refused(refusal) if !refusal.is_of_upstream() => Exit::ToolFailed,
            Self::Cancelled | Self::Nobody => Exit::ToolFailed,
            Self::Control(control::Error::Ask(_, error))
                if error.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Exit::Permission
            }
            Self::NotRunning
            | Self::Control(_)
            | Self::Unusable(..)
            | Self::Broken(_)
            | Self::Strange(_)
            | Self::TimeOut(_)
            | Self::Refused(_) => Exit::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        let other = "--url URL or --command PROGRAM asks another server";
        match self {
            Self::Paths(error) => error.hint(),
            Self::Locate(error) => error.hint(),
            Self::NotRunning
                if std::path::Path::new("/run/mcpeg").exists() && !crate::sys::user::is_root() =>
            {
                Some(format!("this is about your own gateway; `sudo mcpeg …` asks the service, {other}"))
            }
            Self::NotRunning => Some(format!("`mcpeg start` starts one; {other}")),
            Self::Control(control::Error::Ask(_, error))
                if error.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Some("run it as root or as the gateway's user; --url URL asks as any client does".to_owned())
            }
            Self::Control(control::Error::Strange(_)) => {
                Some("a gateway of another version; `mcpeg restart` has this one take its place".to_owned())
            }
            Self::Usage { hint, .. } => Some(hint.clone()),
            Self::Unusable(_, mend) => mend.clone(),
            Self::TimeOut(_) => Some("--timeout TIME has it wait for longer".to_owned()),
            Self::Refused(refusal) if refusal.is_of_upstream() => {
                let name = refusal.data["upstream"].as_str()?;
                Some(format!("`mcpeg status --upstream {name}` tells how it is"))
            }
            _ => None,
        }
    }
}
