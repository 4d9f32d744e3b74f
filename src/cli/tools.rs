//! `mcpeg tools approve`: what is pinned of the tools of upstreams.
//!
//! It shows first how tools differ from what was approved. What it approves is what it has shown: a tool that has changed
//! again meanwhile is refused. A gateway that runs takes it up by itself.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use similar::TextDiff;

use crate::daemon::PathsError;
use crate::exit::{Exit, ToExit};
use crate::pins::{self, Definition, Draft, Store, Tool};

use super::definition::ToolsAct;
use super::state_place::Place;
use super::{ask, report};

/// The schema of the answers.
const SCHEMA: u32 = 1;

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The run-time directory.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// The pins.
    #[error(transparent)]
    Pins(#[from] pins::Error),
    /// There is nobody to ask.
    #[error("nothing was approved: there is no terminal to ask at")]
    Unasked,
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Paths(error) => error.to_exit(),
            Self::Pins(error) => error.to_exit(),
            Self::Unasked => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Paths(error) => error.hint(),
            Self::Pins(error) => error.hint(),
            Self::Unasked => Some("read what differs, and say --yes".to_owned()),
        }
    }
}

/// `mcpeg tools approve`.
pub(super) fn run(act: &ToolsAct) -> Exit {
    approve(act).unwrap_or_else(|error| report::error(&error))
}

/// Shows what of an upstream's tools differs from what was approved, and approves it.
fn approve(act: &ToolsAct) -> Result<Exit, Error> {
    let ToolsAct::Approve { upstream, tools, yes, place } = act;
    let at = Place::find(place)?;
    let differing = Store::read(at.directory(), at.owners())?.differing(upstream, tools)?;
    let names: Vec<_> = differing.keys().cloned().collect();
    if !place.json {
        if differing.is_empty() {
            return Ok(report::lines(format!("upstream {upstream}: nothing is to be approved"), Exit::Done));
        }
        let shown = differing.iter().map(|(name, tool)| difference(name, tool));
        let exit = report::lines(shown.collect::<Vec<_>>().join("\n"), Exit::Done);
        if exit != Exit::Done {
            return Ok(exit);
        }
    }
    if !yes && !differing.is_empty() {
        if place.json || !ask::is_possible() {
            return Err(Error::Unasked);
        }
        if !ask::confirmed("Approve this?") {
            return Ok(ask::refused());
        }
    }
    if !differing.is_empty() {
        Draft::begin(at.directory(), at.owner())?.approve(upstream, &differing)?;
    }
    if place.json {
        let tools: BTreeMap<_, _> = differing.iter().map(|(name, tool)| (name, document(tool))).collect();
        let value = json!({ "schema": SCHEMA, "upstream": upstream, "approved": tools });
        return Ok(report::json(&value, Exit::Done));
    }
    Ok(report::lines(format!("approved: {} of upstream {upstream}", names.join(", ")), Exit::Done))
}

/// How a tool differs, for programs.
fn document(tool: &Tool) -> Value {
    let value =
        |one: Option<&Definition>| one.map(|one| json!({ "digest": one.digest(), "definition": one.text() }));
    json!({ "before": value(tool.approved()), "now": value(tool.seen()) })
}

/// How a tool differs, for people: the lines that differ and those around them.
fn difference(name: &str, tool: &Tool) -> String {
    let what = if tool.approved().is_some() { "has changed" } else { "is new" };
    let [before, now] = [tool.approved(), tool.seen()].map(|one| one.map(readable).unwrap_or_default());
    let mut lines = TextDiff::from_lines(&before, &now).unified_diff().context_radius(2).to_string();
    if lines.is_empty() {
        // They differ by what cannot be seen in their readable form, such as a member that is there twice.
        let [before, now] = [tool.approved(), tool.seen()]
            .map(|one| one.map(|one| format!("{}\n", one.text())).unwrap_or_default());
        lines = TextDiff::from_lines(&before, &now).unified_diff().to_string();
    }
    format!("tool {name} {what}:\n{lines}")
}

/// A definition on many lines.
fn readable(definition: &Definition) -> String {
    let value = serde_json::from_str::<Value>(definition.text()).ok();
    let text = value.and_then(|value| serde_json::to_string_pretty(&value).ok());
    text.unwrap_or_else(|| definition.text().to_owned()) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tool that was and is defined so.
    fn tool(approved: Option<&str>, seen: &str) -> Tool {
        let one = |text: &str| json!({ "digest": "", "text": text });
        let mut tool = json!({ "seen": one(seen) });
        if let Some(approved) = approved {
            tool["approved"] = one(approved);
        }
        serde_json::from_value(tool).unwrap()
    }

    #[test]
    fn difference_shows_what_has_changed_whatever_it_is() {
        let lines = difference(
            "a",
            &tool(Some(r#"{"description":"x","name":"a"}"#), r#"{"description":"y","name":"a"}"#),
        );
        assert!(lines.starts_with("tool a has changed:\n"), "{lines}");
        assert!(lines.contains("-  \"description\": \"x\",\n+  \"description\": \"y\",\n"), "{lines}");
        let lines = difference("a", &tool(None, r#"{"name":"a"}"#));
        assert!(lines.starts_with("tool a is new:\n") && lines.contains("+  \"name\": \"a\"\n"), "{lines}");
        let twice = difference("a", &tool(Some(r#"{"x":1,"x":1}"#), r#"{"x":1}"#));
        assert!(twice.contains("-{\"x\":1,\"x\":1}\n+{\"x\":1}\n"), "{twice}");
    }
}
