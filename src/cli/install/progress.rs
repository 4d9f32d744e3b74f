//! What happens, as it happens: a line for each part or step, or a JSON object for each step.
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

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::outcome::Outcome;
use super::screen::changes;
use crate::cli::report;
use crate::cli::terminal::{is_lively, label, marked, row, symbol};
use crate::exit::{ToExit as _, chain};
use crate::install::{self, Error, Layout, Part, Plan, Progress, Proof, Step};

/// How often what turns beside a step that takes its time moves on.
const TURN: Duration = Duration::from_millis(100);

/// How it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A line for each part.
    Parts,
    /// A line for each step, below the name of its part.
    Steps,
    /// A JSON object for each step.
    Json,
}

/// Hears what happens and tells it.
pub(super) struct Listener<'a> {
    /// Where things are.
    layout: &'a Layout,
    /// How it is told.
    form: Form,
    /// What moves on a terminal while a step takes its time.
    bar: Option<ProgressBar>,
    /// The part that is being changed, how many of its steps are done, and the last of them.
    current: Option<(Part, usize, String)>,
    /// How many steps were taken back.
    reverted: usize,
    /// When the step began.
    began: Instant,
    /// What the service has answered.
    answered: Option<Proof>,
}

impl<'a> Listener<'a> {
    /// Begins to listen to what becomes of a plan.
    pub(super) fn new(layout: &'a Layout, plan: &Plan, form: Form) -> Self {
        let steps = plan.steps().iter().filter(|step| step.acts()).count();
        let bar = (form != Form::Json && is_lively()).then(|| bar(steps));
        Self { layout, form, bar, current: None, reverted: 0, began: Instant::now(), answered: None }
    }

    /// What the service has answered.
    pub(super) const fn answered(&self) -> Option<&Proof> {
        self.answered.as_ref()
    }

    /// Tells one thing.
    pub(super) fn hear(&mut self, progress: &Progress<'_>) {
        match progress {
            Progress::Begun(step) => return self.begin(step),
            Progress::Done(step) if step.acts() => self.done(step),
            Progress::Done(_) => {}
            Progress::Failed(step) => self.failed(step),
            Progress::Reverted(step) => self.reverted(step),
            Progress::Waiting(what) => return self.waiting(what),
            Progress::Answered(proof) => return self.answered = Some((*proof).clone()),
        }
        self.began = Instant::now();
    }

    /// Tells the rest: nothing more happens.
    pub(super) fn end(&mut self) {
        self.close();
        if self.reverted > 0 && self.form == Form::Parts {
            self.say(&self.line("<", "taken back", &changes(self.reverted)));
        }
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// A step begins, and perhaps a part with it.
    fn begin(&mut self, step: &Step) {
        if self.current.as_ref().is_none_or(|(part, ..)| *part != step.part()) {
            self.close();
            self.current = Some((step.part(), 0, String::new()));
            if self.form == Form::Steps {
                self.say(&label(step.part().label()));
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_prefix(step.part().label());
            bar.set_message(step.shown(self.layout));
        }
    }

    /// A step is done.
    fn done(&mut self, step: &Step) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
        if let Some((_, count, last)) = &mut self.current {
            *count += 1;
            *last = step.shown(self.layout);
        }
        self.tell(step.mark(), "done", step);
    }

    /// A step has failed; what comes now is the way back.
    fn failed(&mut self, step: &Step) {
        if let (Form::Parts, Some((part, ..))) = (self.form, self.current.take()) {
            self.say(&self.line(symbol("✗", "!"), part.label(), &step.shown(self.layout)));
        }
        self.tell('!', "failed", step);
    }

    /// A step was taken back.
    fn reverted(&mut self, step: &Step) {
        self.reverted += 1;
        self.tell('<', "reverted", step);
    }

    /// The part that was being changed is whole.
    fn close(&mut self) {
        let Some((part, count, last)) = self.current.take().filter(|_| self.form == Form::Parts) else {
            return;
        };
        let text = match &self.answered {
            Some(proof) if part == Part::Address => proof.address(),
            _ if count == 1 => last,
            _ => changes(count),
        };
        self.say(&self.line(symbol("✓", "*"), part.label(), &text));
    }

    /// What has become of a part: a row beside others on a terminal, or else a plain line.
    fn line(&self, mark: &'static str, part: &str, text: &str) -> String {
        if self.bar.is_none() {
            return format!("{part}: {text}");
        }
        row(Some(mark), part, text)
    }

    /// Prints a line above what moves.
    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| report::progress(line)),
            None => report::progress(line),
        }
    }

    /// Tells what systemd waits for.
    fn waiting(&self, what: &str) {
        if self.form == Form::Json {
            return report::progress(json!({ "event": "waiting", "for": what }));
        }
        let note = || report::note(format_args!("systemd waits: {what}"));
        self.bar.as_ref().map_or_else(note, |bar| bar.suspend(note));
    }

    /// Tells what has become of a step.
    fn tell(&self, mark: char, state: &str, step: &Step) {
        match self.form {
            Form::Parts => {}
            Form::Steps => self.say(&format!("  {}", marked(mark, &step.shown(self.layout)))),
            Form::Json => self.event(state, step),
        }
    }

    /// The event of a step.
    fn event(&self, state: &str, step: &Step) {
        let took = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut event = json!({ "event": "step", "state": state });
        if let (Value::Object(event), Value::Object(step)) = (&mut event, step.data(self.layout)) {
            event.extend(step);
            event.insert("milliseconds".to_owned(), json!(took));
        }
        report::progress(event);
    }
}

/// What turns and counts while so many steps are done.
fn bar(steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("  {spinner} {prefix:14}  {wide_msg} {pos}/{len}")
        .expect("the template is one")
        .tick_chars(symbol("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ", "|/-\\ "));
    let bar = ProgressBar::new(u64::try_from(steps).unwrap_or(u64::MAX)).with_style(style);
    bar.enable_steady_tick(TURN);
    bar
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
