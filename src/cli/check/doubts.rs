//! What is valid and would probably not work, or not as it is meant.

use std::env;
use std::path::Path;

use nix::unistd::{AccessFlags, access};

use super::answer::Warning;
use crate::cli::{login, long_names};
use crate::config::{self, Config, ListenAddr, OpenTo, Transport, Upstream};
use crate::gateway;

/// All that this process finds about a configuration.
pub(super) fn of(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let asks = |address: &ListenAddr| {
        config.server.listeners.iter().any(|it| it.address == *address && !it.auth.is_empty())
    };
    for listener in config.server.listen.iter().filter(|listener| !listener.is_local() && !asks(listener)) {
        if config.server.auth == Some(OpenTo::Anybody) {
            let message =
                format!("anybody who can reach `{listener}` can use every upstream (auth = \"none\")");
            warnings.push(Warning::new(None, message));
        }
    }
    warnings.extend(super::clients::doubts(config).into_iter().map(|message| Warning::new(None, message)));
    for listener in &config.server.listeners {
        // What cannot be used keeps it from starting.
        let doubts = listener.tls.as_ref().and_then(|files| gateway::check_certificates(files).ok());
        let named = |doubt| format!("listener `{}`: {doubt}", listener.name);
        warnings.extend(doubts.into_iter().flatten().map(|doubt| Warning::new(None, named(doubt))));
    }
    for upstream in &config.upstreams {
        let doubts = about(upstream)
            .into_iter()
            .chain(doubt_about_stderr(upstream, config))
            .chain(long_names::doubts(config, upstream))
            .chain(login::doubt(upstream));
        warnings.extend(doubts.map(|message| Warning::new(Some(upstream), message)));
    }
    warnings
}

/// What would probably not work about one upstream.
fn about(upstream: &Upstream) -> Vec<String> {
    let mut doubts = Vec::new();
    match &upstream.transport {
        Transport::Stdio { command, working_dir, user, .. } => {
            let path = env::var_os("PATH").unwrap_or_default();
            if command.starts_with('/') {
                if !is_program(Path::new(command)) {
                    doubts.push(format!("command `{command}` is not an executable file"));
                }
            } else if !env::split_paths(&path).any(|directory| is_program(&directory.join(command))) {
                let words = command.split_whitespace().count() > 1;
                let hint = if words { "; write the program only, and each other word in args" } else { "" };
                doubts.push(format!("command `{command}` is not in PATH{hint}"));
            }
            if let Some(directory) = working_dir.as_ref().filter(|directory| !directory.is_dir()) {
                doubts.push(format!("working_dir `{}` is not a directory", directory.display()));
            }
            if let Some(user) = user {
                doubts.extend(doubt_about_user(user));
            }
        }
        Transport::Http { urls, headers, ca_file, .. } => {
            if !headers.is_empty() {
                doubts.extend(urls.iter().filter_map(|url| doubt_about_url(url)));
            }
            if let Some(file) = ca_file.as_ref().filter(|file| !file.is_file()) {
                doubts.push(format!("ca_file `{}` is not a file", file.display()));
            }
        }
    }
    doubts
}

/// What would not work about the file of what a child writes to its standard error.
fn doubt_about_stderr(upstream: &Upstream, config: &Config) -> Option<String> {
    let directory = config.log.directory().map_or_else(config::state_directory, Path::to_owned);
    let there = directory.ancestors().find(|path| path.symlink_metadata().is_ok())?;
    (upstream.stderr.to.is_filed() && !there.is_dir()).then(|| {
        let (directory, there) = (directory.display(), there.display());
        format!("its `stderr` cannot be kept in `{directory}`: `{there}` is not a directory")
    })
}

/// What would probably not work about the user of a child.
fn doubt_about_user(user: &str) -> Option<String> {
    let Some(account) = crate::sys::user::find(user) else {
        return Some(format!("user `{user}` does not exist"));
    };
    if !nix::unistd::Uid::effective().is_root() {
        return Some(format!("only a gateway that runs as root can run a command as user `{user}`"));
    }
    let home = account.home;
    (!home.is_dir()).then(|| format!("the home directory `{}` of user `{user}` is not there", home.display()))
}

/// What is doubtful about sending headers to an endpoint.
fn doubt_about_url(url: &str) -> Option<String> {
    let uri = url.parse::<http::Uri>().unwrap_or_default();
    let host = uri.host().unwrap_or_default();
    let local =
        config::ListenAddr::Tcp { host: host.trim_matches(['[', ']']).to_owned(), port: 0 }.is_local();
    (url.starts_with("http://") && !local)
        .then(|| format!("headers are sent to `{host}` without encryption; use https://"))
}

/// Whether this user can run the file.
fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}
