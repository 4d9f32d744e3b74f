//! How far a server says that it is, on a terminal only: a bar where it says how much there is, else a mark that turns.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::text::shown;

/// Parts of a bar, since servers count in fractions too.
const PARTS: u64 = 1000;
/// How often the mark turns.
const TURN: Duration = Duration::from_millis(120);

/// It, until dropped.
pub(super) struct Progress {
    /// The line.
    bar: ProgressBar,
}

impl Progress {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        // It draws on standard error, and nothing where that is no terminal.
        let bar =
            if std::io::stderr().is_terminal() { ProgressBar::no_length() } else { ProgressBar::hidden() };
        Self { bar }
    }

    /// Takes a notification.
    pub(super) fn hear(&self, method: &str, params: &Value) {
        if method != "notifications/progress" {
            return;
        }
        let message = shown(params["message"].as_str().unwrap_or_default()).replace('\n', " ");
        let done = params["progress"].as_f64().unwrap_or_default();
        if let Some(total) = params["total"].as_f64().filter(|total| *total > 0.0) {
            let part = (done / total).clamp(0.0, 1.0);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "at most `PARTS`"
            )]
            let position = (part * PARTS as f64) as u64;
            self.bar.set_length(PARTS);
            self.style("{bar:30} {percent:>3}% {msg}");
            self.bar.set_position(position);
            self.bar.set_message(format!("{done}/{total} {message}"));
        } else {
            self.style("{spinner} {msg}");
            self.bar.enable_steady_tick(TURN);
            self.bar.set_message(format!("{done} {message}"));
        }
    }

    /// Draws in this form.
    fn style(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }

    /// Takes the line away, to ask a person or to end.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
