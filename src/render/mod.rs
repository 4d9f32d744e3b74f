//! Text files made from templates: units, account and directory declarations, the default configuration.
//!
//! The templates are in `templates/` and are checked when mcpeg is compiled. None of them is HTML, so askama's own
//! escaping is off; instead every value has a type of `escape` that prints itself as the target syntax needs it.

mod escape;
mod files;

pub use escape::{AccountName, ExecWord, FieldPath, Invalid, Seconds, TomlString};
pub use files::{
    Confinement, DefaultConfiguration, DevelopmentService, Logrotate, Service, Sysusers, Tmpfiles, Watch,
    WatchAct,
};

#[cfg(test)]
mod tests;
