//! Why nothing was done, or not all.

use std::path::PathBuf;

use crate::cli::site::Unknown;
use crate::cli::{client, reload};
use crate::config;
use crate::daemon::PathsError;
use crate::exit::{Exit, ToExit};
use crate::serve::reload::Refused;

/// The schema of the answers.
pub(super) const SCHEMA: u32 = 1;

/// Why nothing was done, or not all.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The run-time directory.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// No upstream can have this name.
    #[error("upstream name `{0}` is not allowed")]
    Name(String),
    /// What was typed is no setting.
    #[error("`{text}` is no {what}")]
    Word {
        /// What was typed.
        text: String,
        /// What it should be.
        what: &'static str,
        /// How that is written.
        form: &'static str,
    },
    /// There is one of the name.
    #[error("upstream `{}` exists: it is in `{}`", .0, .1.display())]
    Exists(String, PathBuf),
    /// There is none of the name.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// There is nobody to ask.
    #[error("nothing was removed: there is no terminal to ask at")]
    Unasked,
    /// A file cannot be read.
    #[error("cannot read `{}`", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// A file is no TOML.
    #[error("`{}` is no TOML", .0.display())]
    Syntax(PathBuf),
    /// A file cannot be written.
    #[error("cannot write `{}`", .0.display())]
    Write(PathBuf, #[source] std::io::Error),
    /// The configuration as it is cannot be loaded.
    #[error("the present configuration is not valid")]
    Present(#[source] config::Error),
    /// It would not be valid with the change.
    #[error("nothing was changed: the configuration would not be valid")]
    Planned(#[source] config::Error),
    /// The service would not start with the change.
    #[error("nothing was changed: the service would not start: {0}")]
    Unstartable(String),
    /// The gateway that runs does not take it.
    #[error("nothing was changed: the gateway refuses it: {}", .0.error)]
    Refused(Refused),
    /// It could not be told.
    #[error("`{}` is changed, and the gateway that runs has not taken it up", .0.display())]
    Untold(PathBuf, #[source] Box<reload::Error>),
    /// The upstream does not answer.
    #[error("upstream `{0}` cannot be used")]
    Unusable(String, #[source] Box<client::Error>),
    /// What was tried does not answer.
    #[error(transparent)]
    Client(Box<client::Error>),
}

impl From<client::Error> for Error {
    fn from(error: client::Error) -> Self {
        Self::Client(Box::new(error))
    }
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Paths(error) => error.to_exit(),
            Self::Unknown(error) => error.to_exit(),
            Self::Name(_) | Self::Word { .. } | Self::Exists(..) | Self::Unasked => Exit::Usage,
            Self::Read(..) | Self::Syntax(_) | Self::Present(_) | Self::Planned(_) | Self::Unstartable(_) => {
                Exit::Config
            }
            Self::Write(..) => Exit::CannotCreate,
            Self::Refused(refused) => Exit::from_code(refused.exit).unwrap_or(Exit::Bug),
            Self::Untold(_, error) => error.to_exit(),
            Self::Client(error) | Self::Unusable(_, error) => error.to_exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Paths(error) => error.hint(),
            Self::Name(_) => {
                Some("use 1 to 63 letters, digits, `-` and `_`, beginning with a letter or digit".to_owned())
            }
            Self::Word { form, .. } => Some(format!("write {form}")),
            Self::Exists(name, _) => {
                Some(format!("edit the file and `mcpeg reload`, or `mcpeg upstream remove {name}` first"))
            }
            Self::Unknown(error) => error.hint(),
            Self::Unasked => Some("read what goes with --dry-run, and say --yes".to_owned()),
            Self::Write(..) => Some("run this as a user who can write there, or use --config".to_owned()),
            Self::Present(error) | Self::Planned(error) => error.hint(),
            Self::Refused(refused) => refused.hint.clone(),
            Self::Untold(_, error) => error.hint().or_else(|| Some("`mcpeg reload` has it do so".to_owned())),
            Self::Client(error) | Self::Unusable(_, error) => error.hint(),
            Self::Read(..) | Self::Syntax(_) | Self::Unstartable(_) => None,
        }
    }
}
