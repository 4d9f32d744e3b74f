//! Why each step of a plan is there, for somebody who is asked whether to go on.

use std::path::Path;

use super::layout::Layout;
use super::step::{Object, Step};

impl Step {
    /// The reason, as one line.
    #[must_use]
    pub fn reason(&self, layout: &Layout) -> &'static str {
        match &self.object {
            Object::Directory { path, .. } => directory(layout, path),
            Object::File { path, .. } | Object::Rights { path, .. } => file(layout, path),
            Object::Shadow { .. } => "what systemctl edit --full has made is in force in place of the unit",
            Object::Account => {
                "the service runs under an account of its own, without password, shell or rights"
            }
            Object::Contexts(_) => "SELinux must know the new files",
            Object::Unmask(_) => "a package that was removed has masked its unit, which would hide this one",
            Object::Reload => "systemd reads its unit files again",
            Object::Enable => "the service starts when the machine does",
            Object::Upgrade => "the running process gives its place to a new one; clients do not notice",
            Object::Start => "the service serves from now on",
            Object::Probe => "success is claimed only after a real answer; else everything is undone",
        }
    }

    /// Whether the step is worth a line in a plan: that a directory of the system is there is not.
    #[must_use]
    pub fn is_worth_showing(&self, layout: &Layout) -> bool {
        match self.path() {
            Some(path) if self.is_unchanged() => layout.knows_file(path),
            _ => true,
        }
    }
}

/// What a directory is for.
fn directory(layout: &Layout, path: &Path) -> &'static str {
    let is = |own: &Option<std::path::PathBuf>| own.as_deref() == Some(path);
    match path {
        path if path == layout.configuration_directory => "the configuration, for root and the service only",
        path if path == layout.drop_ins => "one file for each upstream, if you like",
        _ if is(&layout.home) => "the home of the service and its upstreams",
        _ if is(&layout.logs) => "the service's log files",
        _ if is(&layout.cache) => "what upstreams download (npm, uv)",
        _ => "it will hold a file below",
    }
}

/// What a file is for.
fn file(layout: &Layout, path: &Path) -> &'static str {
    let is = |own: &Option<std::path::PathBuf>| own.as_deref() == Some(path);
    match path {
        path if path == layout.program => "this program, where every shell finds it",
        path if path == layout.unit_file => {
            "how systemd runs and confines the service; change it with systemctl edit"
        }
        path if layout.watcher.iter().flatten().any(|unit| unit == path) => {
            "has the gateway follow changes of the configuration"
        }
        _ if is(&layout.sysusers) => "declares the account to systemd-sysusers",
        _ if is(&layout.tmpfiles) => "makes the directories of the configuration where they are missing",
        path if path == layout.configuration => {
            "your configuration; never overwritten once you have edited it"
        }
        path if path == layout.configuration_new => {
            "the default has changed; yours stays, compare them when you like"
        }
        path if path.to_string_lossy().contains("/man/") => "the manual",
        _ => "completion with TAB in your shell",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::choices::Choices;

    #[test]
    fn each_file_has_a_reason_of_its_kind() {
        let layout = Layout::production("mcpeg", &Choices::default_of("mcpeg"));
        for path in layout.files() {
            let reason = file(&layout, path);
            let completion =
                path.to_str().is_some_and(|path| path.contains("completion") || path.contains("zsh"));
            assert_eq!(reason.contains("TAB"), completion, "{}: {reason}", path.display());
        }
        for path in layout.own_directories() {
            assert_ne!(directory(&layout, path), directory(&layout, Path::new("/usr")), "{}", path.display());
        }
    }
}
