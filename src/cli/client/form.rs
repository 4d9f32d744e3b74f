//! What a server asks of a person (MCP elicitation), at the terminal: a form field by field, or a page to visit.
//!
//! The questions are on standard error and the answers from standard input. The end of the input cancels.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::schema::{Properties, Property};
use crate::text::shown;

/// Whether there is somebody to ask.
pub(super) fn is_possible() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// What was typed for one field.
enum Typed {
    /// A value, or none.
    Value(Option<Value>),
    /// The end of the input.
    End,
}

/// What is asked.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Question {
    /// `form`, or `url`.
    mode: String,
    /// Why it is asked.
    message: String,
    /// The page to visit.
    url: String,
    /// The form, in its order.
    #[serde(rename = "requestedSchema")]
    schema: Option<Box<RawValue>>,
}

/// Asks, and gives the answer as the server wants it.
pub(super) fn ask(question: &Question) -> Value {
    say(&format!("\nThe server asks: {}\n", question.message));
    if question.mode == "url" {
        say(&format!("Open this page in a browser, if you trust it:\n  {}\n", question.url));
        return match consent("Have you done so?") {
            Some(true) => json!({ "action": "accept" }),
            Some(false) => json!({ "action": "decline" }),
            None => json!({ "action": "cancel" }),
        };
    }
    match consent("Do you want to answer?") {
        Some(true) => {}
        Some(false) => return json!({ "action": "decline" }),
        None => return json!({ "action": "cancel" }),
    }
    let properties = Properties::of(question.schema.as_ref().map_or("{}", |schema| schema.get()));
    let mut content = Map::new();
    for property in properties.all() {
        match field(property) {
            Typed::Value(Some(value)) => drop(content.insert(property.name().to_owned(), value)),
            Typed::Value(None) => {}
            Typed::End => return json!({ "action": "cancel" }),
        }
    }
    json!({ "action": "accept", "content": content })
}

/// Yes, no, or neither.
fn consent(question: &str) -> Option<bool> {
    loop {
        say(&format!("{question} [yes / no / cancel] "));
        match line()?.to_ascii_lowercase().as_str() {
            "y" | "yes" => return Some(true),
            "n" | "no" | "decline" => return Some(false),
            "c" | "cancel" => return None,
            _ => {}
        }
    }
}

/// Asks for one field until what is typed fits.
fn field(property: &Property) -> Typed {
    let title = property.text("title").unwrap_or(property.name());
    let about = property.text("description").map(|text| format!(" ({text})")).unwrap_or_default();
    say(&format!("\n{title}{about}\n"));
    let choices = property.choices();
    for (number, choice) in (1..).zip(&choices) {
        say(&format!("  {number}. {}\n", choice.title().unwrap_or(choice.value())));
    }
    let default = property.schema().get("default").filter(|value| !value.is_null());
    let shown_default = default.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let what = match (choices.is_empty(), property.is_list()) {
        (true, _) => property.kind(),
        (false, false) => "number".to_owned(),
        (false, true) => "numbers, with commas".to_owned(),
    };
    let again = match (&shown_default, property.is_required()) {
        (Some(default), _) => format!(", Enter for {default}"),
        (None, false) => ", Enter for none".to_owned(),
        (None, true) => String::new(),
    };
    loop {
        say(&format!("{what}{again}: "));
        let Some(text) = line() else { return Typed::End };
        if text.is_empty() && (default.is_some() || !property.is_required()) {
            return Typed::Value(default.cloned());
        }
        let chosen = |text: &str| {
            let number =
                text.trim().parse::<usize>().ok().and_then(|number| choices.get(number.checked_sub(1)?));
            let choice = number.or_else(|| choices.iter().find(|choice| choice.value() == text.trim()));
            choice.map(|choice| Value::from(choice.value())).ok_or_else(|| "one of the numbers".to_owned())
        };
        let read = match (choices.is_empty(), property.is_list()) {
            (true, true) => property.read(&text),
            (true, false) => typed(property, &text),
            (false, false) => chosen(&text),
            (false, true) => text.split(',').map(chosen).collect::<Result<Vec<_>, _>>().map(Value::from),
        };
        match read.and_then(|value| bounded(property, value)) {
            Ok(value) => return Typed::Value(Some(value)),
            Err(expected) => say(&format!("It must be {expected}.\n")),
        }
    }
}

/// What was typed for a field without choices; people say yes and no.
fn typed(property: &Property, text: &str) -> Result<Value, String> {
    if property.schema()["type"] == "boolean" {
        return match text.to_ascii_lowercase().as_str() {
            "y" | "yes" | "true" => Ok(true.into()),
            "n" | "no" | "false" => Ok(false.into()),
            _ => Err("yes or no".to_owned()),
        };
    }
    property.read(text)
}

/// A value within the limits of its schema.
fn bounded(property: &Property, value: Value) -> Result<Value, String> {
    let limit = |name: &str| property.schema()[name].as_f64();
    let (size, least, most, of) = match &value {
        Value::String(text) => {
            #[expect(clippy::cast_precision_loss, reason = "what is typed in a line is short")]
            let length = text.chars().count() as f64;
            (length, limit("minLength"), limit("maxLength"), " characters")
        }
        Value::Number(number) => {
            (number.as_f64().unwrap_or_default(), limit("minimum"), limit("maximum"), "")
        }
        _ => return Ok(value),
    };
    match (least, most) {
        (Some(least), _) if size < least => Err(format!("at least {least}{of}")),
        (_, Some(most)) if size > most => Err(format!("at most {most}{of}")),
        _ => Ok(value),
    }
}

/// Says something to the person.
fn say(text: &str) {
    let mut terminal = anstream::stderr();
    drop(terminal.write_all(shown(text).as_bytes()).and_then(|()| terminal.flush()));
}

/// What the person types; nothing at the end.
fn line() -> Option<String> {
    let mut line = String::new();
    matches!(std::io::stdin().lock().read_line(&mut line), Ok(1..)).then(|| line.trim().to_owned())
}
