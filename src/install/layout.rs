//! Every path that an installation touches, in one place.
//!
//! The paths are those inside the root: with `--root DIR` they lie below `DIR`. Nothing outside this list is ever
//! written or removed, whatever a receipt says.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::choices::{self, Choices, Profile};
use super::error::Error;
use crate::systemd::{Manager, Unit};

/// Where a distribution's package puts the binary.
pub(crate) const PACKAGED_PROGRAM: &str = "/usr/bin/mcpeg";
/// Where an installation puts it, unless another prefix is chosen.
pub(crate) const LOCAL_PROGRAM: &str = "/usr/local/bin/mcpeg";
/// What systemd reads of `/usr/local`, whatever the prefix is; `/etc/systemd/system` is the administrator's
/// (systemd.unit(5) "UNIT FILE LOAD PATH").
const SYSTEM: &str = "/usr/local/lib";
/// The names of manual pages, files for monitoring and completions below the prefix, in the order of `cli::documents`.
const DOCUMENTS: [&str; 8] = [
    "share/man/man8/mcpeg.8",
    "share/man/man5/mcpeg.toml.5",
    "share/man/man8/mcpeg-install.8",
    "share/man/man8/mcpeg-uninstall.8",
    "share/mcpeg/prometheus/mcpeg.rules.yml",
    "share/mcpeg/grafana/mcpeg.json",
    "share/bash-completion/completions/mcpeg",
    "share/zsh/site-functions/_mcpeg",
];

/// The paths of one installation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Which kind of service it is.
    pub(crate) profile: Profile,
    /// `mcpeg`, or `mcpeg-NAME` for an instance: the first part of all names that are not shared.
    pub(crate) name: String,
    /// The account that the service runs under.
    pub(crate) user: String,
    /// Its group.
    pub(crate) group: String,
    /// The unit's name.
    pub(crate) unit: String,
    /// The binary. Instances share it, with its documents.
    pub(crate) program: PathBuf,
    /// Manual, files for monitoring, and completions.
    pub(crate) documents: Vec<PathBuf>,
    /// The unit file.
    pub(crate) unit_file: PathBuf,
    /// The units that follow the configuration in development: one that watches, and one that acts.
    pub(crate) watcher: Option<[PathBuf; 2]>,
    /// The declaration of the account, sysusers.d(5); a user's service has none.
    pub(crate) sysusers: Option<PathBuf>,
    /// Modes of the configuration, tmpfiles.d(5); a user's service has none.
    pub(crate) tmpfiles: Option<PathBuf>,
    /// What logrotate(8) reads where it rotates the log; a user's service has none.
    pub(crate) logrotate: Option<PathBuf>,
    /// The directory of the configuration.
    pub(crate) configuration_directory: PathBuf,
    /// The configuration file.
    pub(crate) configuration: PathBuf,
    /// A new default configuration beside one that somebody edited.
    pub(crate) configuration_new: PathBuf,
    /// Further upstreams.
    pub(crate) drop_ins: PathBuf,
    /// What the installer keeps; root's. The service's own state is below, in `home`.
    pub(crate) state: PathBuf,
    /// The journal of the installation.
    pub(crate) receipt: PathBuf,
    /// The account's home: the unit's `StateDirectory=`; a user has a home.
    pub(crate) home: Option<PathBuf>,
    /// The unit's `LogsDirectory=`; in development the journal is the log.
    pub(crate) logs: Option<PathBuf>,
    /// The unit's `CacheDirectory=`; a user has one.
    pub(crate) cache: Option<PathBuf>,
    /// The pid file of the service, below the unit's `RuntimeDirectory=`.
    pub pid_file: PathBuf,
    /// The link that `systemctl enable` makes.
    pub(crate) wants_link: PathBuf,
    /// Places whose unit of the same name would hide ours (systemd.unit(5)).
    pub(crate) shadows: Vec<PathBuf>,
}

/// The base directories of the calling user (XDG Base Directory Specification).
#[derive(Clone, Debug)]
pub(super) struct UserPlaces {
    /// The home directory, without symbolic links.
    home: PathBuf,
    /// `$XDG_CONFIG_HOME`.
    configuration: PathBuf,
    /// `$XDG_DATA_HOME`.
    data: PathBuf,
    /// `$XDG_STATE_HOME`.
    state: PathBuf,
    /// `$XDG_RUNTIME_DIR`, or where logind puts it.
    runtime: PathBuf,
}

impl UserPlaces {
    /// Those of this process. Fails with [`Error::Choice`] without a home directory.
    pub(super) fn of_caller() -> Result<Self, Error> {
        Self::of(rustix::process::geteuid().as_raw(), &|name| std::env::var_os(name))
    }

    /// Those of a user in an environment.
    fn of(uid: u32, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        // Relative paths in these variables are invalid and must be ignored: XDG Base Directory Specification, Basics.
        let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("HOME").ok_or_else(|| Error::Choice("HOME is not set".to_owned()))?;
        let home = home.canonicalize().map_err(Error::file("open", home))?;
        let base = |name, default: &str| absolute(name).unwrap_or_else(|| home.join(default));
        Ok(Self {
            configuration: base("XDG_CONFIG_HOME", ".config"),
            data: base("XDG_DATA_HOME", ".local/share"),
            state: base("XDG_STATE_HOME", ".local/state"),
            runtime: absolute("XDG_RUNTIME_DIR").unwrap_or_else(|| PathBuf::from(format!("/run/user/{uid}"))),
            home,
        })
    }
}

impl Layout {
    /// The paths of a service of the machine.
    pub(super) fn production(name: &str, choices: &Choices) -> Self {
        let unit = format!("{name}.service");
        let (user, group) = choices.account();
        let at = |directory: &str, name: &str| Path::new(directory).join(name);
        let system = |directory: &str, name: &str| at(SYSTEM, directory).join(name);
        let mut documents: Vec<_> = DOCUMENTS.iter().map(|name| choices.prefix().join(name)).collect();
        // fish does not look below /usr/local.
        documents.push(PathBuf::from("/etc/fish/completions/mcpeg.fish"));
        let shadow = |directory: &&str| at(directory, &unit);
        Self {
            profile: Profile::Production,
            name: name.to_owned(),
            user: user.to_owned(),
            group: group.to_owned(),
            program: choices.prefix().join("bin/mcpeg"),
            documents,
            unit_file: system("systemd/system", &unit),
            watcher: None,
            sysusers: Some(system("sysusers.d", &format!("{name}.conf"))),
            tmpfiles: Some(system("tmpfiles.d", &format!("{name}.conf"))),
            logrotate: Some(at("/etc/logrotate.d", name)),
            home: Some(at("/var/lib", name).join("home")),
            logs: Some(at("/var/log", name)),
            cache: Some(at("/var/cache", name)),
            pid_file: at("/run", name).join("mcpeg.pid"),
            wants_link: at("/etc/systemd/system/multi-user.target.wants", &unit),
            shadows: ["/etc/systemd/system", "/run/systemd/system", "/etc/systemd/system.control"]
                .iter()
                .map(shadow)
                .collect(),
            unit,
            ..Self::places(&at("/etc", name), &at("/var/lib", name))
        }
    }

    /// The paths of a service of the calling user.
    pub(super) fn development(name: &str, places: &UserPlaces, user: &str, group: &str) -> Self {
        let unit = format!("{name}.service");
        let units = places.data.join("systemd/user");
        let mut documents: Vec<_> = DOCUMENTS
            .iter()
            .map(|name| places.data.join(name.strip_prefix("share/").unwrap_or(name)))
            .collect();
        documents.push(places.configuration.join("fish/completions/mcpeg.fish"));
        Self {
            profile: Profile::Development,
            name: name.to_owned(),
            user: user.to_owned(),
            group: group.to_owned(),
            program: places.home.join(".local/bin/mcpeg"),
            documents,
            unit_file: units.join(&unit),
            watcher: Some(["path", "service"].map(|kind| units.join(format!("{name}-watch.{kind}")))),
            pid_file: places.runtime.join(name).join("mcpeg.pid"),
            wants_link: places.configuration.join("systemd/user/default.target.wants").join(&unit),
            shadows: [&places.configuration.join("systemd/user"), Path::new("/etc/systemd/user")]
                .into_iter()
                .chain([places.runtime.join("systemd/user").as_path()])
                .map(|directory| directory.join(&unit))
                .collect(),
            unit,
            ..Self::places(&places.configuration.join(name), &places.state.join(name))
        }
    }

    /// What both kinds have, below the directories of configuration and state.
    fn places(configuration: &Path, state: &Path) -> Self {
        Self {
            configuration: configuration.join("mcpeg.toml"),
            configuration_new: configuration.join("mcpeg.toml.new"),
            drop_ins: configuration.join("conf.d"),
            configuration_directory: configuration.to_owned(),
            receipt: state.join("install.json"),
            state: state.to_owned(),
            ..Self::default()
        }
    }

    /// As the manual names the places: those of the plain service, and those of a user's, whose home is `~`.
    #[must_use]
    pub fn documented() -> [Self; 2] {
        let places = UserPlaces {
            home: PathBuf::from("~"),
            configuration: PathBuf::from("~/.config"),
            data: PathBuf::from("~/.local/share"),
            state: PathBuf::from("~/.local/state"),
            runtime: PathBuf::from("$XDG_RUNTIME_DIR"),
        };
        let production = Self::production(choices::NAME, &Choices::default_of(choices::NAME));
        [production, Self::development(choices::NAME, &places, "", "")]
    }

    /// Every file and directory of mcpeg's own, that of an administrator's decision to start it at boot included.
    #[must_use]
    pub fn own(&self) -> Vec<&Path> {
        let mut all = self.files();
        all.extend(self.own_directories());
        all.extend([&self.receipt, &self.pid_file, &self.wants_link].map(PathBuf::as_path));
        all
    }

    /// The command that talks to the systemd which runs the service.
    pub(crate) fn systemctl(&self) -> &'static str {
        self.manager().line()
    }

    /// The systemd that runs the service.
    pub(crate) fn manager(&self) -> Manager {
        if self.is_users() { Manager::User } else { Manager::System }
    }

    /// The unit of the service.
    pub(crate) fn service(&self) -> Unit {
        Unit::new(self.manager(), &self.unit)
    }

    /// Whether the service belongs to the calling user.
    pub(crate) fn is_users(&self) -> bool {
        self.profile == Profile::Development
    }

    /// The log file of the default configuration.
    #[must_use]
    pub fn log_file(&self) -> Option<PathBuf> {
        self.logs.as_ref().map(|logs| logs.join("mcpeg.log"))
    }

    /// The files that instances share: the program and its documents.
    pub(super) fn shared(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.program).chain(&self.documents).map(PathBuf::as_path)
    }

    /// The files that an installation writes, beside the receipt.
    pub(super) fn files(&self) -> Vec<&Path> {
        let own = [&self.unit_file, &self.configuration, &self.configuration_new];
        let optional = [&self.sysusers, &self.tmpfiles, &self.logrotate].into_iter().flatten();
        let optional = optional.chain(self.watcher.iter().flatten());
        let all = own.into_iter().chain(optional).map(PathBuf::as_path);
        all.chain(self.shared()).collect()
    }

    /// Directories that belong to mcpeg as a whole, with everything that the service or the administrator puts there.
    pub(super) fn own_directories(&self) -> Vec<&Path> {
        let own = [&self.drop_ins, &self.configuration_directory];
        let optional = self.home.iter().chain(&self.logs).chain(&self.cache);
        own.into_iter().chain(optional).map(PathBuf::as_path).collect()
    }

    /// Whether the directory belongs to mcpeg as a whole.
    pub(super) fn is_own_directory(&self, path: &Path) -> bool {
        self.own_directories().contains(&path)
    }

    /// Whether the path is a file or a directory of mcpeg's own, not one above it.
    pub(crate) fn is_own(&self, path: &Path) -> bool {
        self.knows_file(path) || self.is_own_directory(path)
    }

    /// Whether an installation may touch this file.
    pub(super) fn knows_file(&self, path: &Path) -> bool {
        self.files().contains(&path)
    }

    /// Whether an installation may make this directory: one of ours, or one above something of ours.
    pub(super) fn knows_directory(&self, path: &Path) -> bool {
        let mut places = self.files();
        places.extend(self.own_directories());
        places.extend([self.state.as_path(), self.wants_link.as_path()]);
        self.is_own_directory(path)
            || path == self.state
            || places
                .into_iter()
                .any(|place| path != Path::new("/") && path != place && place.starts_with(path))
    }
}

/// Configuration and pid file of an instance: of the calling user's service, where that is there, or else of the machine's.
pub(crate) fn places_of(instance: &str) -> [PathBuf; 2] {
    let name = format!("{}-{instance}", choices::NAME);
    let of = |layout: Layout| [layout.configuration, layout.pid_file];
    let users = UserPlaces::of_caller().ok().map(|places| Layout::development(&name, &places, "", ""));
    match users {
        Some(users) if !crate::sys::user::is_root() && users.configuration.exists() => of(users),
        _ => of(Layout::production(&name, &Choices::default_of(&name))),
    }
}

/// Where the service of an instance, or the first one, keeps what outlives it.
pub(crate) fn state_of(instance: Option<&str>) -> PathBuf {
    let name =
        instance.map_or_else(|| choices::NAME.to_owned(), |instance| format!("{}-{instance}", choices::NAME));
    Layout::production(&name, &Choices::default_of(&name)).state.join("home")
}

/// The directories above a path, from the top, without `/`.
pub(super) fn above(path: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        path.ancestors().skip(1).filter(|a| a.parent().is_some()).map(Path::to_owned).collect();
    all.reverse();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plain installation, one with everything chosen, and a user's.
    fn layouts() -> [Layout; 3] {
        let chosen = Choices::found("mcpeg-two", Path::new("/opt/mcpeg"), Some("www-data".to_owned()), None);
        let environment = |name: &str| match name {
            "HOME" => Some(OsString::from("/")),
            "XDG_CONFIG_HOME" => Some(OsString::from("/cfg")),
            _ => None,
        };
        let places = UserPlaces::of(7, &environment).unwrap();
        [
            Layout::production("mcpeg", &Choices::default_of("mcpeg")),
            Layout::production("mcpeg-two", &chosen),
            Layout::development("mcpeg", &places, "me", "us"),
        ]
    }

    #[test]
    fn nothing_of_the_system_is_ours_to_remove() {
        for layout in layouts() {
            for path in ["/etc/passwd", "/etc/mcpeg/other.toml", "/usr/bin/mcpeg"] {
                assert!(!layout.knows_file(Path::new(path)), "{path}");
            }
            for path in ["/", "/home", "/etc/ssh", "/var/lib/mcpeg/home/.ssh"] {
                assert!(!layout.knows_directory(Path::new(path)), "{path}");
            }
        }
        let [plain, ..] = layouts();
        assert!(plain.knows_directory(Path::new("/usr/local/share/man/man8")));
        assert!(plain.knows_directory(Path::new("/var/log/mcpeg")));
        assert!(plain.knows_directory(Path::new("/etc/systemd/system/multi-user.target.wants")));
    }

    #[test]
    fn instances_share_the_program_and_nothing_that_is_one_gateways_own() {
        let one = Layout::production("mcpeg", &Choices::default_of("mcpeg"));
        let other = Layout::production("mcpeg-two", &Choices::default_of("mcpeg-two"));
        let shared: Vec<_> = one.shared().collect();
        for file in one.files() {
            assert_eq!(other.knows_file(file), shared.contains(&file), "{}", file.display());
        }
        assert!(one.own_directories().iter().all(|directory| !other.is_own_directory(directory)));
        assert_ne!((&one.receipt, &one.pid_file, &one.user), (&other.receipt, &other.pid_file, &other.user));
    }

    #[test]
    fn a_users_service_lies_in_the_users_directories() {
        let [.., users] = layouts();
        assert_eq!(users.configuration, Path::new("/cfg/mcpeg/mcpeg.toml"));
        assert_eq!(users.unit_file, Path::new("/.local/share/systemd/user/mcpeg.service"));
        assert_eq!(users.receipt, Path::new("/.local/state/mcpeg/install.json"));
        assert_eq!(users.pid_file, Path::new("/run/user/7/mcpeg/mcpeg.pid"));
        assert!(users.files().iter().all(|file| file.starts_with("/.local") || file.starts_with("/cfg")));
    }

    #[test]
    fn directories_above_come_from_the_top() {
        let above = above(Path::new("/a/b/c"));
        assert_eq!(above, [PathBuf::from("/a"), PathBuf::from("/a/b")]);
    }
}
