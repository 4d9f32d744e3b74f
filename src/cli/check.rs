//! `mcpeg --check`: the configuration, tested without any effect.
//!
//! The answer in words is one line on standard output, warnings are on standard error. With `--json` the answer is
//! one document on standard output and standard error stays empty:
//!
//! ```json
//! {
//!   "valid": true,
//!   "files": ["/etc/mcpeg/mcpeg.toml"],
//!   "listen": ["127.0.0.1:8080"],
//!   "upstreams": [{ "name": "time", "transport": "stdio", "target": "mcp-server-time" }],
//!   "disabled": ["old"],
//!   "warnings": [{ "upstream": "time", "message": "command `mcp-server-time` is not in PATH" }],
//!   "problems": []
//! }
//! ```
//!
//! `disabled` is left out where nothing is. If it is not valid, `files`, `listen`, `upstreams` and `warnings` are empty, and each problem is
//! `{ "file", "line", "column", "message", "hint" }`, where all but `message` may be null. Exit codes: 0 valid,
//! also with warnings; 78 not valid.

use std::env;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use serde::Serialize;

use crate::config::{self, Auth, Config, Place, Source, Transport, Upstream};
use crate::daemon::{RunPaths, listen};
use crate::exit::{Exit, ToExit as _};
use crate::install::Sandbox;

use super::{long_names, report};

/// The answer.
#[derive(Debug, Default, Serialize)]
struct Answer {
    /// Whether mcpeg would start with it.
    valid: bool,
    /// The files that were read.
    files: Vec<PathBuf>,
    /// The listeners.
    listen: Vec<String>,
    /// The upstreams, without the built-in one.
    upstreams: Vec<Reached>,
    /// The names of upstreams that are switched off; left out if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    disabled: Vec<String>,
    /// What would probably not work.
    warnings: Vec<Warning>,
    /// What is wrong.
    problems: Vec<Wrong>,
}

/// One upstream.
#[derive(Debug, Serialize)]
struct Reached {
    /// Its name.
    name: String,
    /// `stdio` or `http`.
    transport: &'static str,
    /// The command without arguments, or the URL without path and query.
    target: String,
}

/// Something that would probably not work.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Warning {
    /// The upstream, if it is about one.
    upstream: Option<String>,
    /// What.
    message: String,
}

/// Something that is wrong.
#[derive(Debug, Serialize)]
struct Wrong {
    /// The file, if it is in one.
    file: Option<PathBuf>,
    /// The line, from 1.
    line: Option<usize>,
    /// The column, from 1, in characters.
    column: Option<usize>,
    /// What.
    message: String,
    /// How it is mended.
    hint: Option<String>,
}

/// Loads the configuration and reports what was found.
#[must_use]
pub(super) fn run(source: &Source, pid_file: Option<&Path>, json: bool) -> Exit {
    match config::load(source) {
        Ok(config) if json => report::json(&Answer::valid(&config, pid_file), Exit::Done),
        Ok(config) => {
            for warning in warnings(&config, pid_file) {
                report::warning(warning.in_words());
            }
            report::lines(in_words(&config), Exit::Done)
        }
        Err(error) if json => report::json(&Answer::invalid(&error), error.to_exit()),
        Err(error) => report::error(&error),
    }
}

/// The answer in words for a valid configuration.
fn in_words(config: &Config) -> String {
    let listen: Vec<String> = config.server.listen.iter().map(ToString::to_string).collect();
    let listen = listen.join(", ");
    let upstreams = match config.upstreams.len() {
        0 => "only the built-in upstream".to_owned(),
        1 => "1 upstream".to_owned(),
        number => format!("{number} upstreams"),
    };
    let upstreams = match config.disabled.len() {
        0 => upstreams,
        number => format!("{upstreams} ({number} disabled)"),
    };
    match config.sources.as_slice() {
        [] => format!(
            "no configuration file {}: {upstreams}, listening on {listen}",
            config::default_path().display()
        ),
        [first, ..] => {
            format!("configuration {} is valid: {upstreams}, listening on {listen}", first.display())
        }
    }
}

/// Everything that is valid but would probably not work, or not as it is meant.
fn warnings(config: &Config, pid_file: Option<&Path>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let paths = RunPaths::resolve(pid_file).ok();
    if let Some(Err(error)) = paths.map(|paths| listen::check_names(&config.server.listen, &paths)) {
        warnings.push(Warning { upstream: None, message: error.to_string() });
    }
    for listener in config.server.listen.iter().filter(|listener| !listener.is_local()) {
        if config.server.auth == Some(Auth::None) {
            let message =
                format!("anybody who can reach `{listener}` can use every upstream (auth = \"none\")");
            warnings.push(Warning { upstream: None, message });
        }
    }
    let sandbox = config.sources.first().and_then(|file| Sandbox::of_service_with(file));
    for listener in &config.server.listen {
        let hidden = sandbox.as_ref().and_then(|sandbox| sandbox.hides(listener));
        let message = hidden.map(|why| format!("listener `{listener}`: {why}"));
        warnings.extend(message.map(|message| Warning { upstream: None, message }));
    }
    for upstream in &config.upstreams {
        let forbidden = sandbox.as_ref().and_then(|sandbox| sandbox.forbids(&upstream.transport));
        warnings.extend(
            doubts(upstream)
                .into_iter()
                .chain(doubt_about_stderr(upstream, config))
                .chain(forbidden)
                .chain(long_names::doubts(config, upstream))
                .map(|message| Warning { upstream: Some(upstream.name.to_string()), message }),
        );
    }
    warnings
}

/// What would probably not work about one upstream.
fn doubts(upstream: &Upstream) -> Vec<String> {
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
        Transport::Http { urls, headers, ca_file } => {
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

impl Warning {
    /// The warning as a sentence fragment.
    fn in_words(&self) -> String {
        match &self.upstream {
            Some(upstream) => format!("upstream `{upstream}`: {}", self.message),
            None => self.message.clone(),
        }
    }
}

impl Answer {
    /// The answer for a valid configuration.
    fn valid(config: &Config, pid_file: Option<&Path>) -> Self {
        let reached = |upstream: &Upstream| Reached {
            name: upstream.name.to_string(),
            transport: match upstream.transport {
                Transport::Stdio { .. } => "stdio",
                Transport::Http { .. } => "http",
            },
            target: upstream.transport.shown(),
        };
        Self {
            valid: true,
            files: config.sources.clone(),
            listen: config.server.listen.iter().map(ToString::to_string).collect(),
            upstreams: config.upstreams.iter().map(reached).collect(),
            disabled: config.disabled.iter().map(|upstream| upstream.name.to_string()).collect(),
            warnings: warnings(config, pid_file),
            problems: Vec::new(),
        }
    }

    /// The answer for one that is not.
    fn invalid(error: &config::Error) -> Self {
        let mut problems: Vec<Wrong> = error.problems().iter().map(Wrong::from).collect();
        if problems.is_empty() {
            let (message, hint) = (crate::exit::chain(error), error.hint());
            problems.push(Wrong { file: None, line: None, column: None, message, hint });
        }
        Self { problems, ..Self::default() }
    }
}

impl From<&config::Problem> for Wrong {
    fn from(problem: &config::Problem) -> Self {
        let hint = problem.hint.clone();
        match &problem.place {
            Place::At { file, line, column } => Self {
                file: Some(file.clone()),
                line: Some(*line),
                column: Some(*column),
                message: problem.message.clone(),
                hint,
            },
            Place::Option(_) => {
                Self { file: None, line: None, column: None, message: problem.to_string(), hint }
            }
        }
    }
}
