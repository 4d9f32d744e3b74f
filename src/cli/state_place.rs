//! Where a gateway keeps its state, and what it was started with, so that its configuration means the same here.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fieldwork::Fieldwork;

use super::definition::TokenPlace;
use super::report;
use crate::config;
use crate::control::{self, Act, Identity, Request};
use crate::daemon::locate;
use crate::daemon::{PathsError, RunPaths};
use crate::exit;
use crate::install;
use crate::log;
use crate::sys::fs::Owners;
use crate::sys::user;

/// How long a gateway that runs may take to say where its state is.
const LIMIT: Duration = Duration::from_secs(5);
/// The largest environment of a process that is read, in bytes.
const LARGEST: u64 = 4 << 20;

/// Where the state of a gateway is, and what it was started with.
#[derive(Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(super)")]
pub(super) struct Place {
    /// The state directory.
    #[field(get)]
    directory: PathBuf,
    /// The user and group that the gateway runs as, or will by its configuration, if that can be told.
    #[field(get(copy))]
    owner: Option<(u32, u32)>,
    /// Its control socket, if it runs.
    socket: Option<PathBuf>,
    /// Its configuration file; `None` is the default one.
    #[field(get)]
    configuration: Option<PathBuf>,
    /// What /proc has of it, if it runs.
    process: Option<PathBuf>,
}

impl Place {
    /// What the gateway says that runs, or else what one would use that is started: the installed service, or by this user.
    pub(super) fn find(place: &TokenPlace) -> Result<Self, PathsError> {
        let (instance, config) = (place.instance.as_deref(), place.configuration());
        let paths = RunPaths::resolve(place.pid_file().as_deref())?;
        let running = locate::ask_status::<Identity>(&paths, LIMIT).ok().map(|reply| reply.answer);
        let process = running.as_ref().map(|running| PathBuf::from(format!("/proc/{}", running.pid)));
        let (directory, told) = running.map(|running| (running.state_directory, running.config)).unzip();
        let (directory, owner, socket) = if let Some(directory) = directory.flatten() {
            (directory, process.as_deref().and_then(user::owner_of), Some(paths.control))
        } else {
            let owner = if user::is_root() { account(config.as_deref()) } else { None };
            (state_directory(instance), owner, None)
        };
        let configuration = told.and_then(|told| told.into_iter().next()).or(config);
        Ok(Self { directory, owner, socket, configuration, process })
    }

    /// Whether the gateway's environment is known.
    pub(super) fn is_environment_known(&self) -> bool {
        self.process.as_deref().and_then(environment).is_some()
    }

    /// A variable of the gateway's environment; of this process where none runs, or its own cannot be read.
    pub(super) fn variable(&self, name: &str) -> Option<OsString> {
        match self.process.as_deref().and_then(environment) {
            Some(all) => all.into_iter().find(|(key, _)| key == name).map(|(_, value)| value),
            None => std::env::var_os(name),
        }
    }

    /// Has the audit know what was done to a client or an upstream: that of the gateway that runs, or else the journal.
    pub(super) fn tell(&self, act: Act, name: &str) {
        let Some(socket) = &self.socket else {
            let uid = user::effective_uid();
            return log::audit_now(|| act.record(name, Some("command line"), Some(uid)).write());
        };
        let request = Request::Audit { act, name: name.to_owned() };
        // One of an older version has no audit.
        if let Err(error @ (control::Error::Ask(..) | control::Error::TimeOut(..))) =
            control::ask::<serde_json::Value>(socket, request, LIMIT)
        {
            report::note(format!("the audit was not told: {}", exit::chain(&error)));
        }
    }

    /// Whose files are believed.
    pub(super) fn owners(&self) -> Owners {
        let owner = self.owner.or_else(|| user::owner_of(&self.directory));
        owner.map_or(Owners::Ours, |(uid, _)| Owners::OursOr(uid))
    }
}

/// The state directory that a gateway would use which is started: the installed service, or by this user.
pub(super) fn state_directory(instance: Option<&str>) -> PathBuf {
    let service = Some(install::state_of(instance)).filter(|home| user::is_root() && home.is_dir());
    let given = std::env::var_os("STATE_DIRECTORY").is_some();
    service.filter(|_| !given).unwrap_or_else(config::state_directory)
}

/// The user and group that root's gateway becomes by a configuration.
fn account(config: Option<&Path>) -> Option<(u32, u32)> {
    let (user, group) = config::account(config)?;
    let account = user::find(&user)?;
    Some((account.uid, group.map_or(Some(account.gid), |group| user::find_group(&group))?))
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
