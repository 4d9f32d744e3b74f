//! The files that are made from templates, one type each.
//!
//! askama drops the last newline of a template; [`finish`] puts it back, because a text file ends with one.

use askama::Template;

use super::escape::{AccountName, ExecWord, FieldPath, Seconds, TomlString};

/// The system service: `mcpeg.service`.
#[derive(Clone, Debug, Template)]
#[template(path = "mcpeg.service.j2", escape = "none")]
pub struct Service {
    /// Where the binary is.
    pub program: ExecWord,
    /// The configuration file that it is started with.
    pub configuration: ExecWord,
    /// The account that it runs under.
    pub account: AccountName,
    /// How long a stop may take before systemd kills what is left.
    pub stop_timeout: Seconds,
}

/// The declaration of the account for systemd-sysusers(8).
#[derive(Clone, Debug, Template)]
#[template(path = "sysusers.conf.j2", escape = "none")]
pub struct Sysusers {
    /// The account's name.
    pub account: AccountName,
    /// Its home directory.
    pub home: FieldPath,
}

/// Modes and owners of the configuration for systemd-tmpfiles(8).
#[derive(Clone, Debug, Template)]
#[template(path = "tmpfiles.conf.j2", escape = "none")]
pub struct Tmpfiles {
    /// The service's account, whose group may read.
    pub account: AccountName,
    /// The directory of the configuration; its name is not one that needs quotes.
    pub directory: FieldPath,
}

/// The configuration file that a fresh installation gets.
#[derive(Clone, Debug, Template)]
#[template(path = "mcpeg.toml.j2", escape = "none")]
pub struct DefaultConfiguration {
    /// Where the log goes.
    pub log_file: TomlString,
    /// The directory of further upstreams, as shown in a comment.
    pub drop_ins: FieldPath,
}

/// A snippet for logrotate(8), for administrators who prefer it to mcpeg's own rotation.
#[derive(Clone, Debug, Template)]
#[template(path = "logrotate.j2", escape = "none")]
pub struct Logrotate {
    /// Where the binary is.
    pub program: ExecWord,
    /// The configuration file, as shown in a comment.
    pub configuration: FieldPath,
    /// The log file.
    pub log_file: FieldPath,
}

/// Renders and ends the text with a newline.
fn finish(template: &impl Template) -> String {
    let mut text =
        template.render().expect("rendering into a string fails only if a value's Display does; none does");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

impl Service {
    /// The unit's text.
    #[must_use]
    pub fn text(&self) -> String {
        finish(self)
    }
}

impl Sysusers {
    /// The declaration's text.
    #[must_use]
    pub fn text(&self) -> String {
        finish(self)
    }
}

impl Tmpfiles {
    /// The declaration's text.
    #[must_use]
    pub fn text(&self) -> String {
        finish(self)
    }
}

impl DefaultConfiguration {
    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        finish(self)
    }
}

impl Logrotate {
    /// The snippet's text.
    #[must_use]
    pub fn text(&self) -> String {
        finish(self)
    }
}
