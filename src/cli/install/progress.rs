//! What happens, as it happens: a line for each step, or a JSON object.
//!
//! With `--json`, standard output has one object on each line and nothing else:
//!
//! ```json
//! {"event":"step","state":"done","act":"create","object":"file","path":"/usr/local/bin/mcpeg","text":"…","milliseconds":41}
//! {"event":"waiting","for":"mcpeg.service starts after network-online.target; running now: …"}
//! {"event":"result","result":"installed","listener":"127.0.0.1:8080","url":"http://127.0.0.1:8080/mcp","ready":true,"kept":[]}
//! {"event":"error","exit":12,"message":"…","hint":"…","journal":[]}
//! ```
//!
//! `state` is `done`, `failed` or `reverted`; `result` is `installed` or `unchanged`.

use std::io::IsTerminal as _;
use std::time::Instant;

use serde_json::{Value, json};

use super::outcome::Outcome;
use super::terminal;
use crate::cli::report;
use crate::exit::{ToExit as _, chain};
use crate::install::{self, Error, Layout, Progress, Proof, Step};

/// Hears what happens and tells it.
pub(super) struct Listener<'a> {
    /// Where things are.
    layout: &'a Layout,
    /// Whether it is told as JSON.
    json: bool,
    /// The width of the terminal, where there is one: each step's time is put at its right end.
    width: Option<usize>,
    /// When the step began.
    began: Instant,
    /// What the service has answered.
    answered: Option<Proof>,
}

impl<'a> Listener<'a> {
    /// Begins to listen.
    pub(super) fn new(layout: &'a Layout, json: bool) -> Self {
        let width = std::io::stdout().is_terminal().then(terminal::width);
        Self { layout, json, width, began: Instant::now(), answered: None }
    }

    /// What the service has answered.
    pub(super) const fn answered(&self) -> Option<&Proof> {
        self.answered.as_ref()
    }

    /// Tells one thing.
    pub(super) fn hear(&mut self, progress: &Progress<'_>) {
        match progress {
            Progress::Done(step) if step.acts() => self.tell(step.mark(), "done", step),
            Progress::Done(_) => {}
            Progress::Failed(step) => self.tell('!', "failed", step),
            Progress::Reverted(step) => self.tell('<', "reverted", step),
            Progress::Waiting(what) => return self.waiting(what),
            Progress::Answered(proof) => return self.answered = Some((*proof).clone()),
        }
        self.began = Instant::now();
    }

    /// Tells what systemd waits for.
    fn waiting(&self, what: &str) {
        if self.json {
            return report::progress(json!({ "event": "waiting", "for": what }));
        }
        report::note(format_args!("systemd waits: {what}"));
    }

    /// Tells what has become of a step.
    fn tell(&self, mark: char, state: &str, step: &Step) {
        let took = self.began.elapsed();
        if self.json {
            let mut event = json!({ "event": "step", "state": state });
            if let (Value::Object(event), Value::Object(step)) = (&mut event, step.data(self.layout)) {
                event.extend(step);
                event.insert(
                    "milliseconds".to_owned(),
                    json!(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
                );
            }
            return report::progress(event);
        }
        let text = step.shown(self.layout);
        report::progress(&match self.width {
            Some(width) => terminal::timed(mark, &text, took, width),
            None => terminal::marked(mark, &text),
        });
    }
}

/// The event of a success.
pub(super) fn success(outcome: &Outcome<'_>) {
    let entrance = outcome.entrance();
    let kept: Vec<_> = outcome.kept().collect();
    let event = json!({
        "event": "result",
        "result": if outcome.plan().changes() { "installed" } else { "unchanged" },
        "listener": entrance.as_ref().map(|it| it.listener.to_string()),
        "url": entrance.as_ref().and_then(install::endpoint),
        "ready": outcome.answered().map(|proof| proof.ready),
        "kept": kept,
    });
    report::progress(event);
}

/// The event of a failure.
pub(super) fn failure(error: &Error) {
    let event = json!({
        "event": "error",
        "exit": error.to_exit().code(),
        "message": chain(error),
        "hint": error.hint(),
        "journal": error.journal(),
    });
    report::progress(event);
}
