//! For whom root is given up on the way to serving.

use std::path::Path;

use super::error::Error;
use crate::config::Config;
use crate::daemon::privileges::{self, Credentials};

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

/// Logs who runs from here on.
pub(super) fn log_user(credentials: &Credentials, executable: Option<&Path>) {
    let Credentials { name, uid, gid, home, .. } = credentials;
    tracing::info!(user = name, uid, gid, "gave root up");
    if let Some(program) = executable.filter(|program| !privileges::can_execute(program)) {
        let program = program.display();
        tracing::warn!(%program, user = name, "the user may not execute the program, so that it cannot be upgraded");
    }
    if !home.is_dir() {
        let home = home.display();
        tracing::warn!(%home, user = name, "the user's home directory is not there, and upstreams have no other unless `env` says so");
    }
}
