//! The files that are made from templates, one type each.
//!
//! askama drops the last newline of a template; [`Text`] puts it back, because a text file ends with one.

use askama::Template;
use serde::{Deserialize, Serialize};

use super::toml::TomlString;
use crate::systemd::{AccountName, ExecWord, FieldPath};

/// How far the service can be confined, which follows from what it has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Confinement {
    /// Whether it starts programs: stdio upstreams. Without them, only the gateway runs, and no memory may become executable.
    pub(crate) children: bool,
    /// Whether all its peers are on this machine: it needs no network.
    pub(crate) loopback: bool,
}

/// The system service: `mcpeg.service`.
#[derive(Clone, Debug, Template)]
#[template(path = "mcpeg.service.j2", escape = "none")]
pub(crate) struct Service {
    /// Where the binary is.
    pub(crate) program: ExecWord,
    /// The configuration file that it is started with.
    pub(crate) configuration: ExecWord,
    /// `mcpeg`, or that of an instance: of the unit, and of its directories.
    pub(crate) name: AccountName,
    /// The account that it runs under.
    pub(crate) account: AccountName,
    /// Its group.
    pub(crate) group: AccountName,
    /// The directory of the binary.
    pub(crate) programs: FieldPath,
    /// How far it is confined.
    pub(crate) confinement: Confinement,
}

/// The declaration of the account for systemd-sysusers(8).
#[derive(Clone, Debug, Template)]
#[template(path = "sysusers.conf.j2", escape = "none")]
pub(crate) struct Sysusers {
    /// The account's name.
    pub(crate) account: AccountName,
    /// Its group; with another name than the account's, it is declared too.
    pub(crate) group: AccountName,
    /// Its home directory.
    pub(crate) home: FieldPath,
}

/// Modes and owners of the configuration for systemd-tmpfiles(8).
#[derive(Clone, Debug, Template)]
#[template(path = "tmpfiles.conf.j2", escape = "none")]
pub(crate) struct Tmpfiles {
    /// The service's group, which may read.
    pub(crate) group: AccountName,
    /// The directory of the configuration; its name is not one that needs quotes.
    pub(crate) directory: FieldPath,
}

/// The configuration file that a fresh installation gets.
#[derive(Clone, Debug, Template)]
#[template(path = "mcpeg.toml.j2", escape = "none")]
pub(crate) struct DefaultConfiguration {
    /// Where it listens; empty is the program's default.
    pub(crate) listen: Vec<TomlString>,
    /// Where the log goes; `None` is the console.
    pub(crate) log_file: Option<TomlString>,
    /// Whether logrotate(8) rotates it.
    pub(crate) external: bool,
    /// Of the unit, and so of what logrotate(8) reads.
    pub(crate) name: AccountName,
    /// The directory of further upstreams, as shown in a comment.
    pub(crate) drop_ins: FieldPath,
}

/// A user's service for development: `mcpeg.service` of the user's systemd.
#[derive(Clone, Debug, Template)]
#[template(path = "mcpeg-dev.service.j2", escape = "none")]
pub(crate) struct DevelopmentService {
    /// Where the binary is.
    pub(crate) program: ExecWord,
    /// The configuration file that it is started with.
    pub(crate) configuration: ExecWord,
    /// Of the unit, and of its directory.
    pub(crate) name: AccountName,
}

/// What watches the configuration in development: `mcpeg-watch.path`.
#[derive(Clone, Debug, Template)]
#[template(path = "mcpeg-watch.path.j2", escape = "none")]
pub(crate) struct Watch {
    /// The configuration file.
    pub(crate) configuration: FieldPath,
    /// The directory of further upstreams.
    pub(crate) drop_ins: FieldPath,
    /// Of the unit that it belongs to.
    pub(crate) name: AccountName,
}

/// What acts when the configuration has changed: `mcpeg-watch.service`.
#[derive(Clone, Debug, Template)]
#[template(path = "mcpeg-watch.service.j2", escape = "none")]
pub(crate) struct WatchAct {
    /// Where the binary is.
    pub(crate) program: ExecWord,
    /// Of the unit that it belongs to.
    pub(crate) name: AccountName,
}

/// What logrotate(8) reads where it rotates the log instead of mcpeg: a file of an installation, or an example.
#[derive(Clone, Debug, Template)]
#[template(path = "logrotate.j2", escape = "none")]
pub(crate) struct Logrotate {
    /// Whether it is a file of an installation.
    pub(crate) installed: bool,
    /// Of the unit.
    pub(crate) name: AccountName,
    /// Where the binary is.
    pub(crate) program: ExecWord,
    /// The configuration file, as shown in a comment.
    pub(crate) configuration: FieldPath,
    /// The log file.
    pub(crate) log_file: FieldPath,
    /// The pid file of the gateway to be told, if it is not the one that is told without a name.
    pub(crate) pid_file: Option<ExecWord>,
}

/// A file that is made from a template.
pub(crate) trait Text: Template {
    /// Its text, which ends with a newline.
    fn text(&self) -> String {
        let rendered = self.render();
        let mut text =
            rendered.expect("rendering into a string fails only if a value's Display does; none does");
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text
    }
}

impl<T: Template> Text for T {}
