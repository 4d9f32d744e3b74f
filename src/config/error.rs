//! Why a configuration could not be loaded.

use std::path::PathBuf;

use crate::exit::{Exit, ToExit};

use super::diagnostic::{Problem, Problems};

/// Why a configuration could not be loaded. No variant holds a value of the configuration that may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file that the user named does not exist.
    #[error("configuration file `{}` does not exist", .0.display())]
    Missing(PathBuf),
    /// A file or the directory `conf.d` exists but cannot be read.
    #[error("cannot read configuration `{}`", .path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// A file is longer than any configuration that people write; most likely it is another kind of file.
    #[error("configuration `{}` is larger than {limit} bytes", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The files could be read, but what they say is wrong.
    #[error("{0}")]
    Invalid(Problems),
}

impl Error {
    /// The problems one by one; empty if a file could not even be read.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid(problems) => problems.as_slice(),
            _ => &[],
        }
    }
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        Exit::Config
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing(_) => Some("name an existing file with --config, or leave --config out".to_owned()),
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("let the user that runs mcpeg read it, or run mcpeg as that file's owner".to_owned())
            }
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::IsADirectory => {
                Some("name the file, not its directory".to_owned())
            }
            Self::Read { .. } | Self::TooLarge { .. } => None,
            Self::Invalid(problems) => match problems.as_slice() {
                [only] => only.hint.clone(),
                _ => None,
            },
        }
    }
}
