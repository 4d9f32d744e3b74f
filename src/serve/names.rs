//! That no two of a gateway's files have one name: listeners, log and run-time files.

use std::path::{Path, PathBuf};

use crate::config::{Config, ListenAddr};
use crate::daemon::RunPaths;
use crate::daemon::listen;
use crate::exit::{Exit, ToExit};
use crate::log;

/// Two files have one name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A listener has that of a run-time file.
    #[error(transparent)]
    Listener(#[from] listen::Error),
    /// A listener has that of the log, or of the lock beside it.
    #[error("cannot listen on `unix:{}`: that is {what} of the gateway itself", .path.display())]
    AtLog {
        /// The listener.
        path: PathBuf,
        /// What it would replace.
        what: &'static str,
    },
    /// The log has that of a run-time file.
    #[error("cannot log to `{}`: that is a run-time file of the gateway itself", .0.display())]
    Log(PathBuf),
}

/// Refuses a configuration in which two files of the gateway have one name.
/// Fails with [`Error`].
pub(crate) fn check(config: &Config, paths: &RunPaths) -> Result<(), Error> {
    listen::check_names(&config.server.listen, paths)?;
    for file in config.log.files() {
        if paths.have(file) {
            return Err(Error::Log(file.to_owned()));
        }
        let taken = [(file.to_owned(), "the log file"), (log::lock_path(file), "the lock of the log file")];
        for listener in &config.server.listen {
            let ListenAddr::Unix(path) = listener else { continue };
            if let Some((_, what)) = taken.iter().find(|(other, _)| resolved(other) == resolved(path)) {
                return Err(Error::AtLog { path: path.clone(), what });
            }
        }
    }
    Ok(())
}

/// The path without symbolic links above its name.
fn resolved(path: &Path) -> PathBuf {
    match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => path.to_path_buf(),
    }
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        Exit::Config
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Listener(error) => error.hint(),
            Self::AtLog { path, .. } => Some(format!(
                "choose another name, such as `unix:{}`",
                path.with_file_name("http.sock").display()
            )),
            Self::Log(path) => {
                Some(format!("choose another name, such as `{}`", path.with_file_name("mcpeg.log").display()))
            }
        }
    }
}
