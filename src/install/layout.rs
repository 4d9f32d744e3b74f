//! Every path that an installation touches, in one place.
//!
//! The paths are those inside the root: with `--root DIR` they lie below `DIR`. Nothing outside this list is ever
//! written or removed, whatever a receipt says.

use std::path::{Path, PathBuf};

/// The account that the service runs under, and its group.
pub const ACCOUNT: &str = "mcpeg";
/// The unit's name.
pub const UNIT: &str = "mcpeg.service";
/// The binary. `/usr/local` is ours to use: `/usr` belongs to the distribution (hier(7)).
pub const PROGRAM: &str = "/usr/local/bin/mcpeg";
/// Where a distribution's package puts the binary.
pub const PACKAGED_PROGRAM: &str = "/usr/bin/mcpeg";
/// The unit file; `/etc/systemd/system` is the administrator's (systemd.unit(5) "UNIT FILE LOAD PATH").
pub const UNIT_FILE: &str = "/usr/local/lib/systemd/system/mcpeg.service";
/// The declaration of the account, sysusers.d(5).
pub const SYSUSERS: &str = "/usr/local/lib/sysusers.d/mcpeg.conf";
/// Modes of the configuration, tmpfiles.d(5).
pub const TMPFILES: &str = "/usr/local/lib/tmpfiles.d/mcpeg.conf";
/// The directory of the configuration.
pub const CONFIGURATION_DIRECTORY: &str = "/etc/mcpeg";
/// The configuration file.
pub const CONFIGURATION: &str = "/etc/mcpeg/mcpeg.toml";
/// A new default configuration beside one that somebody edited.
pub const CONFIGURATION_NEW: &str = "/etc/mcpeg/mcpeg.toml.new";
/// Further upstreams.
pub const DROP_INS: &str = "/etc/mcpeg/conf.d";
/// What the installer keeps; root's. The service's own state is below, in [`HOME`].
pub const STATE: &str = "/var/lib/mcpeg";
/// The journal of the installation.
pub const RECEIPT: &str = "/var/lib/mcpeg/install.json";
/// The account's home: the unit's `StateDirectory=`.
pub const HOME: &str = "/var/lib/mcpeg/home";
/// The unit's `LogsDirectory=`.
pub const LOGS: &str = "/var/log/mcpeg";
/// The log file of the default configuration.
pub const LOG_FILE: &str = "/var/log/mcpeg/mcpeg.log";
/// The unit's `CacheDirectory=`.
pub const CACHE: &str = "/var/cache/mcpeg";
/// The pid file of the service, below the unit's `RuntimeDirectory=`.
pub const PID_FILE: &str = "/run/mcpeg/mcpeg.pid";
/// Where `systemctl enable` puts its link.
pub const WANTS: &str = "/etc/systemd/system/multi-user.target.wants";
/// The link that `systemctl enable` makes.
pub const WANTS_LINK: &str = "/etc/systemd/system/multi-user.target.wants/mcpeg.service";
/// Places whose unit of the same name would hide ours (systemd.unit(5)).
pub const SHADOWS: [&str; 3] = [
    "/etc/systemd/system/mcpeg.service",
    "/run/systemd/system/mcpeg.service",
    "/etc/systemd/system.control/mcpeg.service",
];
/// Files that are the same on every machine: manual and completions.
pub const DOCUMENTS: [&str; 7] = [
    "/usr/local/share/man/man8/mcpeg.8",
    "/usr/local/share/man/man5/mcpeg.toml.5",
    "/usr/local/share/man/man8/mcpeg-install.8",
    "/usr/local/share/man/man8/mcpeg-uninstall.8",
    "/usr/local/share/bash-completion/completions/mcpeg",
    "/usr/local/share/zsh/site-functions/_mcpeg",
    // fish does not look below /usr/local.
    "/etc/fish/completions/mcpeg.fish",
];

/// The files that an installation writes, beside the receipt.
pub fn files() -> impl Iterator<Item = &'static Path> {
    let fixed = [SYSUSERS, PROGRAM, UNIT_FILE, TMPFILES, CONFIGURATION, CONFIGURATION_NEW];
    fixed.into_iter().chain(DOCUMENTS).map(Path::new)
}

/// Directories that belong to mcpeg as a whole, with everything that the service or the administrator puts there.
pub fn own_directories() -> impl Iterator<Item = &'static Path> {
    [DROP_INS, CONFIGURATION_DIRECTORY, HOME, LOGS, CACHE].into_iter().map(Path::new)
}

/// Whether an installation may touch this file.
#[must_use]
pub fn knows_file(path: &Path) -> bool {
    files().any(|known| known == path)
}

/// Whether an installation may make this directory: one of ours, or one above something of ours.
#[must_use]
pub fn knows_directory(path: &Path) -> bool {
    let places = files().chain(own_directories()).chain([Path::new(STATE), Path::new(WANTS_LINK)]);
    own_directories().any(|own| own == path)
        || places.into_iter().any(|place| path != Path::new("/") && path != place && place.starts_with(path))
        || path == Path::new(STATE)
}

/// The directories above a path, from the top, without `/`.
#[must_use]
pub fn above(path: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        path.ancestors().skip(1).filter(|a| a.parent().is_some()).map(Path::to_owned).collect();
    all.reverse();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_system_is_ours_to_remove() {
        for path in ["/etc/passwd", "/etc/mcpeg/other.toml", "/usr/bin/mcpeg"] {
            assert!(!knows_file(Path::new(path)), "{path}");
        }
        for path in ["/", "/home", "/etc/ssh", "/var/lib/mcpeg/home/.ssh"] {
            assert!(!knows_directory(Path::new(path)), "{path}");
        }
        assert!(knows_directory(Path::new("/usr/local/share/man/man8")));
        assert!(knows_directory(Path::new(LOGS)) && knows_directory(Path::new(WANTS)));
    }

    #[test]
    fn directories_above_come_from_the_top() {
        let above = above(Path::new("/a/b/c"));
        assert_eq!(above, [PathBuf::from("/a"), PathBuf::from("/a/b")]);
    }
}
