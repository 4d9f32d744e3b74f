//! Where a gateway keeps its state, and what it was started with, so that its configuration means the same here.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::definition::TokenPlace;
use super::token;
use crate::control::Identity;
use crate::daemon::locate;
use crate::daemon::{PathsError, RunPaths};

/// How long a gateway that runs may take to say where its state is.
const LIMIT: Duration = Duration::from_secs(5);
/// The largest environment of a process that is read, in bytes.
const LARGEST: u64 = 4 << 20;

/// Where the state of a gateway is, and what it was started with.
pub(super) struct Place {
    /// Where its state is, and whose.
    state: token::Place,
    /// Its configuration file; `None` is the default one.
    configuration: Option<PathBuf>,
    /// Its environment, if it runs and that can be read.
    environment: Option<Vec<(OsString, OsString)>>,
}

impl Place {
    /// What the gateway says that runs, or else what one would use that is started.
    pub(super) fn find(place: &TokenPlace) -> Result<Self, PathsError> {
        let state = token::Place::find(place)?;
        let paths = RunPaths::resolve(place.pid_file().as_deref())?;
        let running = locate::ask_status::<Identity>(&paths, LIMIT).ok().map(|reply| reply.answer);
        let own = place.configuration();
        let Some(running) = running else {
            return Ok(Self { state, configuration: own, environment: None });
        };
        let environment = environment(&PathBuf::from(format!("/proc/{}", running.pid)));
        Ok(Self { state, configuration: running.config.into_iter().next().or(own), environment })
    }

    /// Where its state is, and whose.
    pub(super) const fn state(&self) -> &token::Place {
        &self.state
    }

    /// Its configuration file; `None` is the default one.
    pub(super) const fn configuration(&self) -> Option<&PathBuf> {
        self.configuration.as_ref()
    }

    /// Whether the gateway's environment is known.
    pub(super) const fn is_environment_known(&self) -> bool {
        self.environment.is_some()
    }

    /// A variable of the gateway's environment; of this process where none runs, or its own cannot be read.
    pub(super) fn variable(&self, name: &str) -> Option<OsString> {
        match &self.environment {
            Some(all) => all.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()),
            None => std::env::var_os(name),
        }
    }
}

/// The environment that a process was started with.
fn environment(process: &Path) -> Option<Vec<(OsString, OsString)>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(process.join("environ")).ok()?.take(LARGEST).read_to_end(&mut bytes).ok()?;
    let pair = |pair: &[u8]| {
        let end = pair.iter().position(|byte| *byte == b'=')?;
        let [name, value] = [&pair[..end], &pair[end + 1..]].map(|part| OsString::from_vec(part.to_vec()));
        Some((name, value))
    };
    Some(bytes.split(|byte| *byte == 0).filter_map(pair).collect())
}
