//! `mcpeg explain NAME`: why an upstream cannot be used or was restarted, and what mends it.
//!
//! Both are the gateway's: it tells them in its status, with how a command has ended and what it has written last.

use std::time::Duration;

use serde_json::{Value, json};

use super::definition::ExplainArgs;
use super::report;
use crate::daemon::locate;
use crate::daemon::{PathsError, RunPaths};
use crate::exit::{Exit, ToExit};

/// How long the gateway may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The run-time directory.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// The gateway does not tell.
    #[error("cannot ask the gateway")]
    Silent(#[source] crate::control::Error),
    /// There is no such upstream.
    #[error("the gateway has no upstream `{0}`")]
    Unknown(String),
}

/// `mcpeg explain`.
pub(super) fn run(arguments: &ExplainArgs) -> Exit {
    explain(arguments).unwrap_or_else(|error| report::error(&error))
}

/// Asks the gateway, and prints what it knows.
fn explain(arguments: &ExplainArgs) -> Result<Exit, Error> {
    let place = &arguments.place;
    let paths = RunPaths::resolve(place.pid_file().as_deref())?;
    let status = locate::ask_status::<Value>(&paths, LIMIT).map_err(Error::Silent)?.value;
    let all = status["upstreams"].as_array().map_or(&[][..], Vec::as_slice);
    let upstream = all.iter().find(|one| one["name"] == arguments.upstream.as_str());
    let upstream = upstream.ok_or_else(|| Error::Unknown(arguments.upstream.clone()))?;
    let is_usable = matches!(upstream["state"].as_str(), Some("ready" | "degraded" | "idle"));
    let exit = if is_usable { Exit::Done } else { Exit::NotRunning };
    let mend = upstream["mend"].as_str();
    if place.json {
        let answer = json!({ "schema": 1, "upstream": upstream, "mend": mend });
        return Ok(report::json(&answer, exit));
    }
    Ok(report::lines(text(upstream, mend), exit))
}

/// What is known, for people.
fn text(upstream: &Value, mend: Option<&str>) -> String {
    let text = |member: &str| upstream[member].as_str().unwrap_or_default();
    let mut rows = vec![format!("{:<10}{}, {}", "upstream", text("name"), text("transport"))];
    let mut row = |label: &str, text: &str| {
        if !text.is_empty() {
            rows.push(format!("{label:<10}{text}"));
        }
    };
    let restarts = upstream["restarts"].as_u64().filter(|restarts| *restarts > 0);
    let restarts = restarts.map(|restarts| format!(", {restarts} restarts")).unwrap_or_default();
    row("state", &format!("{}{restarts}", text("state")));
    row(
        "cause",
        if text("last_error").is_empty() { "nothing is known to be wrong" } else { text("last_error") },
    );
    row("mend", mend.unwrap_or_default());
    for warning in upstream["warnings"].as_array().into_iter().flatten() {
        row("warning", warning.as_str().unwrap_or_default());
    }
    for line in upstream["last_lines"].as_array().into_iter().flatten() {
        row("stderr", line.as_str().unwrap_or_default());
    }
    rows.join("\n")
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Paths(error) => error.to_exit(),
            Self::Silent(error) => error.to_exit(),
            Self::Unknown(_) => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Paths(error) => error.hint(),
            Self::Silent(_) => Some("`mcpeg status` tells whether one runs".to_owned()),
            Self::Unknown(_) => Some("`mcpeg status` lists them".to_owned()),
        }
    }
}
