//! Why the next process does not serve.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::message::{Message, PROTOCOL, VARIABLE};
use crate::exit::{Exit, ToExit};

/// Why the next process does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no such program, or it cannot be executed.
    #[error("cannot execute `{0}`")]
    Execute(PathBuf, #[source] io::Error),
    /// A system call on the way failed.
    #[error("cannot pass the gateway on to a new process")]
    Pass(#[source] io::Error),
    /// It ended, or closed its end.
    #[error("the new process ended before it served{}", complaint(.0))]
    Died(String),
    /// It neither serves nor fails.
    #[error("the new process did not serve within {} s and was ended{}", .0.as_secs_f32(), complaint(.1))]
    TimeOut(Duration, String),
    /// It is another program, or an mcpeg that is too different.
    #[error("`{}` does not speak version {PROTOCOL} of the upgrade protocol{}", .0.display(), complaint(.1))]
    Protocol(PathBuf, String),
    /// It said why it cannot serve.
    #[error("the new process cannot serve: {message}")]
    Refused {
        /// Its error.
        message: String,
        /// Its hint.
        hint: Option<String>,
        /// Its exit code.
        exit: Exit,
    },
    /// It said something else than what comes next.
    #[error("the other process said `{said}` where `{due}` was due")]
    Order {
        /// What it said.
        said: String,
        /// What was due.
        due: String,
    },
    /// Another upgrade is under way.
    #[error("another upgrade is under way")]
    Busy,
    /// A reload has not ended in time.
    #[error("a reload is under way and did not end in time")]
    Reloading,
    /// The process is the first of its container, whose end would be the container's.
    #[error("process 1 of a container cannot hand over to another process")]
    FirstProcess,
    /// Standard input is not what it should be.
    #[error("{VARIABLE} is set, but standard input is not the socket of a gateway")]
    NotASuccessor(#[source] io::Error),
}

impl Error {
    /// What a message means that came where another one was due: what the other process refused for, or that it is out of
    /// order.
    pub(crate) fn instead(message: Message, due: &Message) -> Self {
        match message {
            Message::Failed { exit, text, hint } => {
                let exit = Exit::from_code(exit).unwrap_or(Exit::Bug);
                Self::Refused { message: text, hint, exit }
            }
            other => Self::Order { said: other.name(), due: due.name() },
        }
    }
}

/// What a program wrote to its standard error, as an addition to a message.
fn complaint(text: &str) -> String {
    let text = text.trim().replace('\n', "; ");
    if text.is_empty() { text } else { format!(": {text}") }
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Refused { exit, .. } => *exit,
            Self::Busy | Self::Reloading => Exit::TryAgain,
            Self::NotASuccessor(_) => Exit::Usage,
            Self::Died(_) => Exit::Bug,
            _ => Exit::Os,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { hint, .. } => hint.clone(),
            Self::Busy => {
                Some("it ends within the drain time-out of the old process; try again then".to_owned())
            }
            Self::Reloading => Some("it ends within a minute; try again then".to_owned()),
            Self::FirstProcess => Some("restart the container".to_owned()),
            Self::NotASuccessor(_) => Some(format!("unset {VARIABLE}")),
            _ => Some("the old process serves on".to_owned()),
        }
    }
}
