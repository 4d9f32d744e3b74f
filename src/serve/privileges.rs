//! Giving root up on the way to serving, after the listeners are bound and before the runtime exists.

use std::path::PathBuf;

use super::{Error, Taken};
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

    /// Logs who runs, and what that user cannot do later.
    pub(super) fn log_user(&self, record: &Record) {
        let Some(Credentials { name, uid, gid, .. }) = &self.credentials else { return };
        tracing::info!(user = name, uid, gid, "gave root up");
        if let Some(program) =
            record.executable.as_deref().filter(|program| !privileges::can_execute(program))
        {
            tracing::warn!(program = %program.display(), user = name, "cannot be upgraded: the user may not execute the program");
        }
    }
}
