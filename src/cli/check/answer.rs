//! The answer of a check, for programs and in words.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::place;
use crate::cli::report;
use crate::config::{self, Config, Place, Transport, Upstream};
use crate::exit::{Exit, ToExit, chain};
use crate::sys::user;

/// The answer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::cli) struct Answer {
    /// Whether mcpeg would start with it.
    valid: bool,
    /// Who has looked.
    #[serde(default)]
    view: View,
    /// The files that were read.
    files: Vec<PathBuf>,
    /// The listeners.
    listen: Vec<String>,
    /// The upstreams, without the built-in one.
    upstreams: Vec<Reached>,
    /// The names of upstreams that are switched off; left out if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    disabled: Vec<String>,
    /// What would probably not work.
    warnings: Vec<Warning>,
    /// What is wrong.
    problems: Vec<Wrong>,
}

/// Who has looked.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct View {
    /// The user.
    user: String,
    /// The unit, if it is that of a service.
    unit: Option<String>,
}

/// One upstream.
#[derive(Debug, Serialize, Deserialize)]
struct Reached {
    /// Its name.
    name: String,
    /// `stdio` or `http`.
    transport: String,
    /// The command without arguments, or the URL without path and query.
    target: String,
}

/// Something that would probably not work.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Warning {
    /// The upstream, if it is about one.
    upstream: Option<String>,
    /// What.
    message: String,
}

/// Something that is wrong.
#[derive(Debug, Serialize, Deserialize)]
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

/// Why it is not valid.
#[derive(Debug, thiserror::Error)]
struct Invalid<'a>(&'a [Wrong]);

/// Something that would keep the gateway from starting.
#[derive(Debug)]
pub(super) struct Obstacle {
    /// What.
    message: String,
    /// How it is mended.
    hint: Option<String>,
    /// Whether that does not depend on who starts it.
    certain: bool,
}

impl Obstacle {
    /// One that is certain, or may be none for who starts the gateway.
    pub(super) const fn new(message: String, hint: Option<String>, certain: bool) -> Self {
        Self { message, hint, certain }
    }

    /// That of an error of a start.
    pub(super) fn of(error: &dyn ToExit, certain: bool) -> Self {
        Self { message: chain(error), hint: error.hint(), certain }
    }
}

impl View {
    /// That of this process, which may run in the place of a service.
    pub(super) fn of_this_process() -> Self {
        Self { user: user::name(), unit: place::in_the_place_of() }
    }

    /// Whether it is that of a service.
    pub(super) const fn is_services(&self) -> bool {
        self.unit.is_some()
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.unit {
            Some(unit) => write!(f, "as {unit} would run it, user {}", self.user),
            None => write!(f, "as user {} sees it", self.user),
        }
    }
}

impl Warning {
    /// One about the whole, or about an upstream.
    pub(super) fn new(upstream: Option<&Upstream>, message: String) -> Self {
        Self { upstream: upstream.map(|upstream| upstream.name.to_string()), message }
    }

    /// The warning as a sentence fragment.
    fn in_words(&self) -> String {
        match &self.upstream {
            Some(upstream) => format!("upstream `{upstream}`: {}", self.message),
            None => self.message.clone(),
        }
    }
}

impl Wrong {
    /// Something that has no place in a file.
    fn nowhere(message: String, hint: Option<String>) -> Self {
        Self { file: None, line: None, column: None, message, hint }
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
            Place::Option(_) => Self::nowhere(problem.to_string(), hint),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(file), Some(line), Some(column)) = (&self.file, self.line, self.column) {
            write!(f, "{}:{line}:{column}: ", file.display())?;
        }
        f.write_str(&self.message)
    }
}

/// As those of the configuration: a single one bare, with its hint as that of the error; several in a list.
impl fmt::Display for Invalid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0 {
            return only.fmt(f);
        }
        write!(f, "the configuration has {} problems", self.0.len())?;
        for wrong in self.0 {
            write!(f, "\n  {wrong}")?;
            if let Some(hint) = &wrong.hint {
                write!(f, "\n    hint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl ToExit for Invalid<'_> {
    fn to_exit(&self) -> Exit {
        Exit::Config
    }

    fn hint(&self) -> Option<String> {
        if let [only] = self.0 { only.hint.clone() } else { None }
    }
}

impl Answer {
    /// The answer for a valid configuration.
    pub(super) fn valid(view: View, config: &Config, warnings: Vec<Warning>) -> Self {
        let reached = |upstream: &Upstream| Reached {
            name: upstream.name.to_string(),
            transport: match upstream.transport {
                Transport::Stdio { .. } => "stdio".to_owned(),
                Transport::Http { .. } => "http".to_owned(),
            },
            target: upstream.transport.shown(),
        };
        Self {
            valid: true,
            view,
            files: config.sources.clone(),
            listen: config.server.listen.iter().map(ToString::to_string).collect(),
            upstreams: config.upstreams.iter().map(reached).collect(),
            disabled: config.disabled.iter().map(|upstream| upstream.name.to_string()).collect(),
            warnings,
            problems: Vec::new(),
        }
    }

    /// The answer for one that is not.
    pub(super) fn invalid(view: View, error: &config::Error) -> Self {
        let mut problems: Vec<Wrong> = error.problems().iter().map(Wrong::from).collect();
        if problems.is_empty() {
            problems.push(Wrong::nowhere(chain(error), error.hint()));
        }
        Self { view, problems, ..Self::default() }
    }

    /// The answer where systemd could not even start the program.
    pub(super) fn not_started(unit: &str, user: &str, why: &str) -> Self {
        let message = format!("systemd cannot start {unit}: {why}");
        let hint = format!("`systemctl cat {unit}` shows its settings");
        let user = if user.is_empty() { "root" } else { user };
        let view = View { user: user.to_owned(), unit: Some(unit.to_owned()) };
        Self { view, problems: vec![Wrong::nowhere(message, Some(hint))], ..Self::default() }
    }

    /// The same with what would keep mcpeg from starting, and what might.
    pub(super) fn with_obstacles(mut self, obstacles: Vec<Obstacle>) -> Self {
        let (certain, possible): (Vec<Obstacle>, Vec<Obstacle>) =
            obstacles.into_iter().partition(|obstacle| obstacle.certain);
        let wrong = |obstacle: Obstacle| Wrong::nowhere(obstacle.message, obstacle.hint);
        if !certain.is_empty() {
            let problems = certain.into_iter().map(wrong).collect();
            return Self { view: self.view, problems, ..Self::default() };
        }
        let warnings = possible.into_iter().map(|obstacle| Warning::new(None, obstacle.message));
        self.warnings.splice(0..0, warnings);
        self
    }

    /// The same with what the unit that is in force forbids; what it says about an upstream explains what the service has
    /// found.
    pub(super) fn with_doubts(mut self, doubts: Vec<Warning>) -> Self {
        if self.valid {
            self.warnings.retain(|warning| {
                let explained = |doubt: &Warning| doubt.upstream == warning.upstream;
                warning.upstream.is_none() || !doubts.iter().any(explained)
            });
            self.warnings.extend(doubts);
        }
        self
    }

    /// The same with a warning about the check itself.
    pub(super) fn with_note(mut self, message: String) -> Self {
        self.warnings.push(Warning { upstream: None, message });
        self
    }

    /// The exit code for it.
    pub(in crate::cli) const fn exit(&self) -> Exit {
        if self.valid { Exit::Done } else { Exit::Config }
    }

    /// What is wrong, in words.
    pub(in crate::cli) fn problems(&self) -> String {
        Invalid(&self.problems).to_string()
    }

    /// Prints it in words.
    pub(in crate::cli) fn tell(&self) -> Exit {
        for warning in &self.warnings {
            report::warning(warning.in_words());
        }
        if !self.valid {
            let exit = report::error(&Invalid(&self.problems));
            if self.view.is_services() {
                report::note(format_args!("checked {}", self.view));
            }
            return exit;
        }
        report::lines(self.in_words(), Exit::Done)
    }

    /// The answer in words for a valid configuration.
    fn in_words(&self) -> String {
        let (listen, view) = (self.listen.join(", "), &self.view);
        let upstreams = match self.upstreams.len() {
            0 => "only the built-in upstream".to_owned(),
            1 => "1 upstream".to_owned(),
            number => format!("{number} upstreams"),
        };
        let upstreams = match self.disabled.len() {
            0 => upstreams,
            number => format!("{upstreams} ({number} disabled)"),
        };
        match self.files.as_slice() {
            [] => format!(
                "no configuration file {}: {upstreams}, listening on {listen} ({view})",
                config::default_path().display()
            ),
            [first, ..] => format!(
                "configuration {} is valid: {upstreams}, listening on {listen} ({view})",
                Path::new(first).display()
            ),
        }
    }
}
