//! Giving root up on the way to serving, after the listeners are bound and before the runtime exists.

use std::path::PathBuf;

use super::Taken;
use super::error::Error;
use crate::config::{self, Config};
use crate::daemon::Record;
use crate::daemon::privileges::{self, Credentials};
use crate::log;

/// The user to become, as the command line or else the configuration says.
pub(super) fn wanted(
    config: &Config,
    user: Option<&(String, Option<String>)>,
) -> Result<Option<Credentials>, Error> {
    let server = &config.server;
    let (user, group) = match user {
        Some((user, group)) => (Some(user), group.as_ref()),
        None => (server.user.as_ref(), server.group.as_ref()),
    };
    Ok(privileges::wanted(user.map(String::as_str), group.map(String::as_str))?)
}

impl Taken {
    /// Becomes the user, and makes sure that what comes later can be done as that user.
    pub(super) fn give_root_up(&mut self, credentials: &Credentials) -> Result<(), Error> {
        // Another user's default would be another file.
        let default = config::default_path();
        if self.source.file.is_none() && self.config.sources.contains(&default) {
            self.source.file = Some(default);
        }
        let log = self.config.log.file.iter().flat_map(|file| [file.clone(), log::lock_path(file)]);
        let log: Vec<PathBuf> = log.collect();
        privileges::adopt(credentials, &self.paths, &log, self.listeners.made_files())?;
        privileges::assume(credentials, &self.paths)?;
        let again = config::load(&self.source);
        again.map(drop).map_err(|error| Error::Unreadable(credentials.name.clone(), error))
    }

    /// Logs what was found and done before there was a log: a stale pid file, and who runs from here on.
    pub(super) fn log_beginning(&self, record: &Record) {
        if let Some(pid) = self.stale {
            tracing::info!(pid, pid_file = %self.paths.pid_file.display(), "replacing a pid file that was left behind");
        }
        let Some(Credentials { name, uid, gid, home, .. }) = &self.credentials else { return };
        tracing::info!(user = name, uid, gid, "gave root up");
        let executable = record.executable.as_deref();
        if let Some(program) = executable.filter(|program| !privileges::can_execute(program)) {
            let program = program.display();
            tracing::warn!(%program, user = name, "the user may not execute the program, so that it cannot be upgraded");
        }
        if !home.is_dir() {
            let home = home.display();
            tracing::warn!(%home, user = name, "the user's home directory is not there, and upstreams have no other unless `env` says so");
        }
    }
}
