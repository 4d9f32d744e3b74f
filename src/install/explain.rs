//! Why each step of a plan is there, for somebody who is asked whether to go on.

use std::path::Path;

use super::layout;
use super::step::{Object, Step};

impl Step {
    /// The reason, as one line.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match &self.object {
            Object::Directory { path, .. } => directory(path),
            Object::File { path, .. } => file(path),
            Object::Account => {
                "the service runs under an account of its own, without password, shell or rights"
            }
            Object::Contexts(_) => "SELinux must know the new files",
            Object::Reload => "systemd reads its unit files again",
            Object::Enable => "the service starts when the machine does",
            Object::Start => "the service serves from now on",
            Object::Probe => "success is claimed only after a real answer; otherwise everything is undone",
        }
    }

    /// Whether the step is worth a line in a plan: that a directory of the system is there is not.
    #[must_use]
    pub fn is_worth_showing(&self) -> bool {
        match self.path() {
            Some(path) if self.is_unchanged() => layout::knows_file(path),
            _ => true,
        }
    }
}

/// What a directory is for.
fn directory(path: &Path) -> &'static str {
    match path.to_str().unwrap_or_default() {
        layout::CONFIGURATION_DIRECTORY => "the configuration, for root and the service only",
        layout::DROP_INS => "one file for each upstream, if you like",
        layout::HOME => "the home of the service and its upstreams",
        layout::LOGS => "the service's log files",
        layout::CACHE => "what upstreams download (npm, uv)",
        _ => "it will hold a file below",
    }
}

/// What a file is for.
fn file(path: &Path) -> &'static str {
    match path.to_str().unwrap_or_default() {
        layout::PROGRAM => "this program, where every shell finds it",
        layout::UNIT_FILE => "how systemd runs and confines the service; change it with systemctl edit",
        layout::SYSUSERS => "declares the account to systemd-sysusers",
        layout::TMPFILES => "keeps modes and owners of the configuration as they should be",
        layout::CONFIGURATION => "your configuration; never overwritten once you have edited it",
        layout::CONFIGURATION_NEW => "the default has changed; yours stays, compare them when you like",
        name if name.contains("/man/") => "the manual",
        _ => "completion with TAB in your shell",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_a_reason_of_its_kind() {
        for path in layout::files() {
            let reason = file(path);
            let completion =
                path.to_str().is_some_and(|path| path.contains("completion") || path.contains("zsh"));
            assert_eq!(reason.contains("TAB"), completion, "{}: {reason}", path.display());
        }
        for path in layout::own_directories() {
            assert_ne!(directory(path), directory(Path::new("/usr")), "{}", path.display());
        }
    }
}
