//! `mcpeg --check`: the configuration, tested without any effect.
//!
//! The configuration of an installed service is checked as the service would see it: systemd runs the check as it runs the
//! service, so that user, environment, credentials and sandbox are the unit's. Any other file is checked as the caller sees
//! it. The answer says whose view it is.
//!
//! The answer in words is one line on standard output, warnings are on standard error. With `--json` the answer is
//! one document on standard output and standard error stays empty:
//!
//! ```json
//! {
//!   "valid": true,
//!   "view": { "user": "mcpeg", "unit": "mcpeg.service" },
//!   "files": ["/etc/mcpeg/mcpeg.toml"],
//!   "listen": ["127.0.0.1:8080"],
//!   "upstreams": [{ "name": "time", "transport": "stdio", "target": "mcp-server-time" }],
//!   "disabled": ["old"],
//!   "warnings": [{ "upstream": "time", "message": "command `mcp-server-time` is not in PATH" }],
//!   "problems": []
//! }
//! ```
//!
//! `unit` is null where it is the view of the caller. `disabled` is left out where nothing is. If it is not valid, `files`,
//! `listen`, `upstreams` and `warnings` are empty, and each problem is `{ "file", "line", "column", "message", "hint" }`,
//! where all but `message` may be null. Exit codes: 0 valid, also with warnings; 78 not valid.

mod answer;
mod clients;
mod doubts;
mod obstacles;
mod place;
mod service;

use std::path::Path;

use crate::config::{self, Source};
use crate::exit::Exit;

use super::report;
pub(super) use answer::Answer;
use answer::View;
use service::Service;

/// Loads the configuration and reports what was found.
#[must_use]
pub(super) fn run(source: &Source, pid_file: Option<&Path>, json: bool) -> Exit {
    let answer = answer(source, pid_file);
    if json { report::json(&answer, answer.exit()) } else { answer.tell() }
}

/// What there is to say about the configuration, in the view of the service that is started with it, or else of the caller.
pub(super) fn answer(source: &Source, pid_file: Option<&Path>) -> Answer {
    let Some(service) = Service::with(source, pid_file) else { return own(source, pid_file) };
    match service.answer() {
        Ok(answer) => answer.with_doubts(service.doubts()),
        Err(why) => own(source, pid_file).with_doubts(service.doubts()).with_note(why),
    }
}

/// What the service that is started with this file would find; `None` if there is none, or nobody can tell.
pub(super) fn of_service(configuration: &Path) -> Option<Answer> {
    let source = Source { file: Some(configuration.to_owned()), ..Source::default() };
    let service = Service::with(&source, None)?;
    Some(service.answer().ok()?.with_doubts(service.doubts()))
}

/// What this process finds.
fn own(source: &Source, pid_file: Option<&Path>) -> Answer {
    let view = View::of_this_process();
    match config::load(source) {
        Err(error) => Answer::invalid(view, &error),
        Ok(config) => {
            let obstacles = obstacles::of(&config, pid_file, view.is_services());
            Answer::valid(view, &config, doubts::of(&config)).with_obstacles(obstacles)
        }
    }
}
