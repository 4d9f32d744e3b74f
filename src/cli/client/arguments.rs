//! The arguments of a tool or prompt, as they are typed: `key=value`, by the types of the tool's schema, or one JSON object.

use serde_json::{Map, Value};

use super::error::Error;
use super::schema::{Properties, Property};

/// How much a name is like another that may be meant.
const NEAR: f64 = 0.75;

/// The arguments that these words are, for something that takes these properties.
pub(super) fn arguments(words: &[String], properties: &Properties) -> Result<Map<String, Value>, Error> {
    let mut arguments = Map::new();
    let mut is_whole = false;
    for word in words {
        if word.trim_start().starts_with('{') {
            arguments.extend(object(word)?);
            is_whole = true;
            continue;
        }
        let (key, text) = pair(word)?;
        match properties.find(key) {
            Some(property) => add(&mut arguments, property, text)?,
            None if properties.others() => {
                let value = serde_json::from_str(text).unwrap_or_else(|_| text.into());
                arguments.insert(key.to_owned(), value);
            }
            None => return Err(unknown(key, properties)),
        }
    }
    let missing = properties.all().iter().filter(|it| it.is_required() && !arguments.contains_key(it.name()));
    let missing: Vec<_> = missing.map(|property| format!("`{}`", property.name())).collect();
    if missing.is_empty() || is_whole {
        return Ok(arguments);
    }
    Err(Error::usage(format!("{} must be given", missing.join(", ")), signature(properties)))
}

/// A JSON object.
fn object(text: &str) -> Result<Map<String, Value>, Error> {
    serde_json::from_str(text).map_err(|error| {
        Error::usage(
            format!("the arguments are no JSON object: {error}"),
            "quote it for the shell: '{\"key\": \"value\"}'",
        )
    })
}

/// Key and value of a word.
fn pair(word: &str) -> Result<(&str, &str), Error> {
    word.split_once('=').ok_or_else(|| {
        Error::usage(
            format!("`{word}` is no argument"),
            "write key=value, or all arguments as one JSON object",
        )
    })
}

/// Adds what was typed for a property. A list grows by each value.
fn add(arguments: &mut Map<String, Value>, property: &Property, text: &str) -> Result<(), Error> {
    let name = property.name();
    let wrong = |expected: String| {
        Error::usage(
            format!("`{name}={text}`: the value must be {expected}"),
            format!("{name}={}", property.kind()),
        )
    };
    if property.is_list() && !text.trim_start().starts_with('[') {
        let value = property.read_item(text).map_err(wrong)?;
        match arguments.get_mut(name) {
            Some(Value::Array(values)) => values.push(value),
            _ => drop(arguments.insert(name.to_owned(), vec![value].into())),
        }
        return Ok(());
    }
    if arguments.contains_key(name) {
        return Err(Error::usage(format!("`{name}` is given twice"), signature_of(property)));
    }
    arguments.insert(name.to_owned(), property.read(text).map_err(wrong)?);
    Ok(())
}

/// There is no such property.
fn unknown(key: &str, properties: &Properties) -> Error {
    let names = properties.all().iter().map(Property::name);
    let hint = match closest(key, names) {
        Some(meant) => format!("there is `{meant}`"),
        None => signature(properties),
    };
    Error::usage(format!("`{key}` is no argument of it"), hint)
}

/// The name that was meant.
pub(super) fn closest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = |name: &str| strsim::jaro_winkler(typed, name);
    let best = names.max_by(|one, other| near(one).total_cmp(&near(other)))?;
    (near(best) >= NEAR).then_some(best)
}

/// All that can be typed, in a line.
pub(super) fn signature(properties: &Properties) -> String {
    if properties.all().is_empty() {
        return if properties.others() { "any arguments" } else { "it takes no arguments" }.to_owned();
    }
    properties.all().iter().map(signature_of).collect::<Vec<_>>().join(" ")
}

/// What can be typed for a property.
fn signature_of(property: &Property) -> String {
    let text = format!("{}={}", property.name(), property.kind());
    if property.is_required() { text } else { format!("[{text}]") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A schema with a property of each kind.
    const SCHEMA: &str = r#"{"properties":{
        "text":{"type":"string"},"count":{"type":"integer"},"deep":{"type":"object"},
        "tags":{"type":"array","items":{"type":"string"}},"kind":{"enum":["a","b"]}},"required":["text"]}"#;

    /// What these words are, or what is wrong and what can be typed.
    fn read(words: &[&str]) -> Result<String, String> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        match arguments(&words, &Properties::of(SCHEMA)) {
            Ok(arguments) => Ok(Value::Object(arguments).to_string()),
            Err(Error::Usage { message, hint }) => Err(format!("{message}; {hint}")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn words_become_the_arguments_that_the_schema_wants() {
        for (words, expected) in [
            (&["text=1", "count=2"][..], r#"{"count":2,"text":"1"}"#),
            (&["text=a=b"], r#"{"text":"a=b"}"#),
            (&["text="], r#"{"text":""}"#),
            (&["text=x", "tags=a", "tags=b"], r#"{"tags":["a","b"],"text":"x"}"#),
            (&["text=x", "tags=[\"a\"]"], r#"{"tags":["a"],"text":"x"}"#),
            (&["text=x", "deep={\"a\":[1]}"], r#"{"deep":{"a":[1]},"text":"x"}"#),
            (&["{\"count\":\"x\",\"more\":2}"], r#"{"count":"x","more":2}"#),
            (&["text=x", "kind=c"], r#"{"kind":"c","text":"x"}"#),
        ] {
            assert_eq!(read(words).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_cannot_be_sent_is_named_with_what_can() {
        for (words, parts) in [
            (&[][..], &["`text` must be given", "[count=integer]", "[tags=string...]", "kind=a|b"][..]),
            (&["text=x", "count=two"], &["`count=two`", "integer"]),
            (&["text=x", "cuont=2"], &["`cuont`", "there is `count`"]),
            (&["text=x", "text=y"], &["twice"]),
            (&["text"], &["`text` is no argument", "key=value"]),
            (&["{\"text\""], &["no JSON object"]),
        ] {
            let said = read(words).unwrap_err();
            assert!(parts.iter().all(|part| said.contains(part)), "{said}");
        }
    }
}
