//! Why an installation or uninstallation is refused or fails.

use std::path::PathBuf;

use crate::config;
use crate::exit::{Exit, ToExit};
use crate::program::Error as ProgramError;
use crate::sys::user::is_root;

/// See the variants.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Only root may change the system.
    #[error("root is needed to {0} mcpeg")]
    NotRoot(&'static str),
    /// A user's service is not root's.
    #[error("the development profile is for ordinary users; root has no service of its own")]
    Root,
    /// What was asked for cannot be.
    #[error("{0}")]
    Choice(String),
    /// What was asked for is not what the installation is built on.
    #[error("mcpeg is installed with {option} {old}, which cannot be changed in place")]
    Differs {
        /// The option.
        option: &'static str,
        /// What it was.
        old: String,
    },
    /// A listener that others could reach, by an option.
    #[error("others could reach the listener `{0}`, which only a configuration can allow")]
    OpenListener(String),
    /// Somebody else has the address that the service would listen on.
    #[error("another program listens on `{listener}`{who}")]
    PortInUse {
        /// The address.
        listener: String,
        /// The program after a colon, as far as it can be told.
        who: String,
    },
    /// A package manager owns mcpeg on this machine.
    #[error("mcpeg belongs to the package `{package}` here, which `{manager}` manages")]
    Packaged {
        /// The package.
        package: String,
        /// The command to use instead.
        manager: &'static str,
        /// Whether an installation serves beside it.
        beside: bool,
    },
    /// Something that we did not write is where we would write.
    #[error("`{}` is in the way: {why}", .path.display())]
    Foreign {
        /// What is in the way.
        path: PathBuf,
        /// Why it is not ours to replace.
        why: &'static str,
    },
    /// The unit of the service is masked, so that systemd would not start it.
    #[error("the unit `{unit}` is masked by `{}`", .path.display())]
    Masked {
        /// The unit.
        unit: String,
        /// What masks it.
        path: PathBuf,
        /// The command that talks to its systemd.
        systemctl: &'static str,
    },
    /// A symbolic link that nobody but root, or the user, could have made leads somewhere; this one may be another's.
    #[error("`{}` is a symbolic link that {why}; mcpeg does not write through it", .path.display())]
    Link {
        /// The link.
        path: PathBuf,
        /// Why it is not followed.
        why: &'static str,
    },
    /// Nobody could connect to the listener of a confined service.
    #[error("`{listener}` cannot be used: {why}")]
    Hidden {
        /// The listener.
        listener: String,
        /// What hides it, and what to do instead.
        why: String,
    },
    /// The configuration, which stays as it is, says something else than what was chosen about who rotates the log.
    #[error(
        "the configuration `{}`, which stays as it is, has {} rotate the log",
        .file.display(),
        if *.external { "mcpeg" } else { "logrotate" }
    )]
    Rotation {
        /// The configuration.
        file: PathBuf,
        /// What logrotate(8) reads.
        path: PathBuf,
        /// Whether logrotate(8) was chosen.
        external: bool,
    },
    /// logrotate(8) was chosen, and is not there.
    #[error("logrotate is not installed, so that nobody would rotate the log")]
    NoLogrotate,
    /// The configuration, which stays as it is, listens elsewhere than was asked for.
    #[error("the configuration `{}` was edited and stays as it is, so that {option} would change nothing", .file.display())]
    Edited {
        /// The configuration.
        file: PathBuf,
        /// The option.
        option: &'static str,
        /// The line to write.
        line: String,
    },
    /// The first step failed.
    #[error("nothing was changed")]
    Unchanged(#[source] Box<Self>),
    /// systemd is not the init system of this machine now.
    #[error("systemd does not run on this machine")]
    NoSystemd,
    /// The calling user has no systemd of its own now.
    #[error("no systemd of the calling user runs")]
    NoUserSystemd,
    /// A file system is mounted read-only.
    #[error("`{}` is on a file system that is mounted read-only", .0.display())]
    ReadOnly(PathBuf),
    /// A part of a path is not a directory.
    #[error("`{}` is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// A system call about a path failed.
    #[error("cannot {act} `{}`", .path.display())]
    File {
        /// What was tried, as a verb.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The configuration that the service would start with is wrong.
    #[error(transparent)]
    Configuration(config::Error),
    /// Another installation or uninstallation runs.
    #[error("another installation or uninstallation of mcpeg runs now")]
    Busy,
    /// The receipt cannot be understood.
    #[error("the receipt `{}` cannot be understood", .path.display())]
    Receipt {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The receipt was written by a version that knows more.
    #[error("the receipt `{}` has version {found}; this mcpeg knows versions up to {known}", .path.display())]
    NewerReceipt {
        /// Where it is.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The receipt names something that no installation writes.
    #[error("the receipt names `{}`, which is no path of mcpeg", .0.display())]
    StrangePath(PathBuf),
    /// There is nothing to uninstall.
    #[error("mcpeg was not installed by `mcpeg install` here")]
    NothingInstalled,
    /// A program that is needed is missing or has failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The account is still missing after the step that makes it.
    #[error("there is no account `{0}` after its creation")]
    NoAccount(String),
    /// The service does not come up, or does not answer.
    #[error("the service does not work: {why}")]
    Service {
        /// In which way.
        why: String,
        /// The command that shows its whole journal.
        whole: String,
        /// The end of its journal.
        journal: Vec<String>,
    },
    /// systemd has other units to start first, and does not come to this one.
    #[error("systemd has not begun to start the service within {limit} s: {why}")]
    Turn {
        /// The unit.
        unit: String,
        /// The command that talks to its systemd.
        systemctl: &'static str,
        /// How long it was waited for, in seconds.
        limit: u64,
        /// What it waits for.
        why: String,
    },
    /// A step failed, and the steps before it were reverted.
    #[error("installation failed at `{step}`; everything was rolled back")]
    RolledBack {
        /// The step in words.
        step: String,
        /// Why it failed.
        #[source]
        source: Box<Self>,
    },
    /// A step failed, and so did the way back.
    #[error("installation failed at `{step}` ({failure}), and it could not be rolled back completely")]
    NotRolledBack {
        /// The step in words.
        step: String,
        /// Why it failed, in words.
        failure: String,
        /// Why the way back failed.
        #[source]
        source: Box<Self>,
    },
}

impl Error {
    /// Makes the closure that `map_err` wants after a system call on a path.
    pub(super) fn file<E: Into<std::io::Error>>(
        act: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::File { act, path, source: source.into() }
    }

    /// The hint for what was chosen and cannot be had.
    fn hint_about_choice(&self) -> Option<String> {
        Some(match self {
            Self::Rotation { file, external: true, .. } => format!(
                "write rotate = \"external\" into [log] of {}, run `mcpeg --reload`, then run the command again",
                file.display()
            ),
            Self::Rotation { file, path, external: false } => format!(
                "take rotate = \"external\" out of [log] of {} and remove {}, then run the command again",
                file.display(),
                path.display()
            ),
            Self::Edited { file, line, .. } => {
                format!("write {line} into [server] of {}, then reload the service", file.display())
            }
            Self::NoLogrotate => "install logrotate first, or leave --log-rotation out".to_owned(),
            _ => return None,
        })
    }

    /// Whether the kernel refused because of who asked.
    pub(super) fn is_permission_denied(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied)
    }

    /// Whether there is no room for what was to be written.
    pub(super) fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::File { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    /// The last lines of the service's journal, where the service is what failed.
    pub(crate) fn journal(&self) -> &[String] {
        match self {
            Self::Service { journal, .. } => journal,
            Self::RolledBack { source, .. } | Self::Unchanged(source) => source.journal(),
            _ => &[],
        }
    }
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::NotRoot(_) | Self::Root => Exit::Permission,
            Self::Choice(_) | Self::Differs { .. } => Exit::Usage,
            Self::Packaged { .. } => Exit::Packaged,
            Self::Foreign { .. } | Self::NotADirectory(_) | Self::Link { .. } | Self::Masked { .. } => {
                Exit::Foreign
            }
            Self::NoSystemd | Self::NoUserSystemd => Exit::NoSystemd,
            Self::ReadOnly(_) => Exit::ReadOnly,
            Self::File { .. } => Exit::CannotCreate,
            Self::Busy => Exit::TryAgain,
            Self::NothingInstalled => Exit::NotRunning,
            Self::Receipt { .. }
            | Self::NewerReceipt { .. }
            | Self::StrangePath(_)
            | Self::Hidden { .. }
            | Self::Rotation { .. }
            | Self::Edited { .. }
            | Self::OpenListener(_) => Exit::Config,
            Self::Configuration(error) => error.to_exit(),
            Self::Program(error) => error.to_exit(),
            Self::NoAccount(_) | Self::PortInUse { .. } | Self::NoLogrotate => Exit::Os,
            Self::Service { .. } | Self::Turn { .. } => Exit::ServiceFailed,
            Self::RolledBack { source, .. }
            | Self::NotRolledBack { source, .. }
            | Self::Unchanged(source) => source.to_exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotRoot(act) => format!("sudo mcpeg {act}"),
            Self::Packaged { package, manager, beside: false } => {
                format!("use {manager} for `{package}`; `mcpeg install --adopt` takes the service over from it")
            }
            Self::Packaged { package, manager, beside: true } => format!(
                "use {manager} for `{package}`: its removal leaves the installation beside it alone; \
                 `mcpeg uninstall` gives the service to the package, `mcpeg install --adopt` keeps it"
            ),
            Self::Foreign { .. } => "move it away, then run the command again".to_owned(),
            Self::Rotation { .. } | Self::Edited { .. } | Self::NoLogrotate => return self.hint_about_choice(),
            Self::Root => "run it as the user whose service it is to be, without sudo".to_owned(),
            Self::Differs { .. } => "uninstall with --purge first, or install another --instance".to_owned(),
            Self::OpenListener(_) => {
                "write it with auth = \"none\" into a file, and install that with --config FILE".to_owned()
            }
            Self::PortInUse { .. } => "name another with --listen, or stop that program".to_owned(),
            Self::NoUserSystemd => {
                "log in as that user, or `loginctl enable-linger USER`; --no-start installs the files".to_owned()
            }
            Self::NoSystemd => "--no-start installs the files without starting the service".to_owned(),
            Self::ReadOnly(_) => {
                "mount it writable; for an image, mount the image's and give its place with --root".to_owned()
            }
            Self::Configuration(error) => return error.hint(),
            Self::Receipt { .. } | Self::StrangePath(_) => {
                "restore it from a backup; without one, move it away, remove the files that man mcpeg-install lists \
                 under FILES, and install again"
                    .to_owned()
            }
            Self::NotADirectory(_) => "put a directory in its place, then run the command again".to_owned(),
            Self::Link { .. } => "make root the owner of the link and of the directories on its way, and let only root write \
                                  there; or put a directory in its place"
                .to_owned(),
            Self::Masked { unit, path, systemctl } => {
                let runtime = if path.starts_with("/run") { "--runtime " } else { "" };
                format!("`{systemctl} unmask {runtime}{unit}`, then run the command again")
            }
            Self::File { path, source, .. } | Self::Program(ProgramError::Run(path, source)) => {
                return room_or_right(path, source);
            }
            Self::Program(error) => return error.hint(),
            Self::Busy => "wait until it has ended, then run the command again".to_owned(),
            Self::NewerReceipt { .. } => "use the mcpeg that wrote it, or a newer one".to_owned(),
            Self::Turn { unit, systemctl, .. } => format!(
                "`{systemctl} list-jobs` shows what is waited for; while a machine starts, --no-start installs it, and \
                 `{systemctl} --no-block start {unit}` starts it when its turn comes"
            ),
            Self::Service { whole, .. } => format!("{whole} shows the whole log"),
            Self::RolledBack { source, .. } | Self::Unchanged(source) => source
                .hint()
                .unwrap_or_else(|| "mend the cause, then run the command again; nothing of it is left".to_owned()),
            Self::NotRolledBack { .. } => {
                // A user's service is never root's.
                let sudo = if is_root() { "sudo " } else { "" };
                format!("mend the cause, then `{sudo}mcpeg install` completes it, or `{sudo}mcpeg uninstall` takes all back")
            }
            _ => return None,
        })
    }
}

/// What helps where the kernel has refused something about a path.
fn room_or_right(path: &std::path::Path, source: &std::io::Error) -> Option<String> {
    use std::io::ErrorKind as Kind;
    let path = path.display();
    Some(match source.kind() {
        Kind::StorageFull => format!("make room on the file system of `{path}`, then run the command again"),
        Kind::QuotaExceeded => {
            format!("raise the quota on the file system of `{path}`, then run the command again")
        }
        Kind::ReadOnlyFilesystem => {
            format!(
                "the file system of `{path}` has become read-only; the kernel's log (`dmesg`) may say why"
            )
        }
        Kind::PermissionDenied => {
            format!("if root may not, `{path}` is immutable (lsattr(1)), or SELinux or AppArmor forbids it")
        }
        _ => return None,
    })
}
