//! Text files made from templates: units, account and directory declarations, the default configuration.
//!
//! The templates are in `templates/` and are checked when mcpeg is compiled. None of them is HTML, so askama's own
//! escaping is off; instead every value has a type that prints itself as the target syntax needs it: those of
//! [`crate::systemd`] and [`TomlString`].

mod files;
mod toml;

pub(crate) use files::{
    Confinement, DefaultConfiguration, DevelopmentService, Logrotate, Service, Sysusers, Text, Tmpfiles,
    Watch, WatchAct,
};
pub(crate) use toml::TomlString;

#[cfg(test)]
mod tests;
