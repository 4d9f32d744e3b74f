//! Where a gateway keeps what outlives it: one that runs says where that is, and whose.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::definition::TokenPlace;
use crate::config;
use crate::control::Identity;
use crate::daemon::locate;
use crate::daemon::{PathsError, RunPaths};
use crate::install;
use crate::sys::user;

/// How long a gateway that runs may take to say where its state is.
const LIMIT: Duration = Duration::from_secs(5);
/// The largest environment of a process that is read, in bytes.
const LARGEST: u64 = 4 << 20;

/// Where the state of a gateway is, and to whom its files are to belong.
pub(super) struct Place {
    /// The state directory.
    pub(super) directory: PathBuf,
    /// The user and group that the gateway runs as, if it runs.
    pub(super) owner: Option<(u32, u32)>,
    /// Its configuration file; `None` is the default one.
    pub(super) configuration: Option<PathBuf>,
    /// Its environment, if it runs and that can be read.
    environment: Option<Vec<(OsString, OsString)>>,
}

/// The state directory that a gateway would use which is started: the installed service, or by this user.
pub(super) fn directory(instance: Option<&str>) -> PathBuf {
    let service = Some(install::state_of(instance)).filter(|home| user::is_root() && home.is_dir());
    let given = std::env::var_os("STATE_DIRECTORY").is_some();
    service.filter(|_| !given).unwrap_or_else(config::state_directory)
}

impl Place {
    /// What the gateway says that runs, or else what one would use that is started.
    pub(super) fn find(place: &TokenPlace) -> Result<Self, PathsError> {
        let instance = place.instance.as_deref();
        let pid_file =
            instance.map(|name| install::places_of(name)[1].clone()).or_else(|| place.pid_file.clone());
        let paths = RunPaths::resolve(pid_file.as_deref())?;
        let running = locate::ask_status::<Identity>(&paths, LIMIT).ok().map(|reply| reply.answer);
        let configuration = instance.map(|name| install::places_of(name)[0].clone());
        let Some(running) = running else {
            let directory = directory(instance);
            return Ok(Self { directory, owner: None, configuration, environment: None });
        };
        let process = PathBuf::from(format!("/proc/{}", running.pid));
        let Some(directory) = running.state_directory else {
            let directory = directory(instance);
            return Ok(Self { directory, owner: None, configuration, environment: None });
        };
        Ok(Self {
            directory,
            owner: user::owner_of(&process),
            configuration: running.config.into_iter().next().or(configuration),
            environment: environment(&process),
        })
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
