//! What a JSON Schema asks for, as far as a person types it: names, types, defaults, choices. Whether a whole value fits is for
//! the server to say.

use std::fmt;

use fieldwork::Fieldwork;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// The properties of an object, in the order of the schema.
#[derive(Debug, Default, Fieldwork)]
#[fieldwork(get, vis = "pub(super)")]
pub(super) struct Properties {
    /// Each.
    all: Vec<Property>,
    /// Whether there may be others.
    others: bool,
}

/// One property.
#[derive(Clone, Debug, Fieldwork)]
#[fieldwork(get, vis = "pub(super)")]
pub(super) struct Property {
    /// Its name.
    name: String,
    /// Its schema.
    schema: Value,
    /// Whether it must be there.
    is_required: bool,
}

/// The members of an object, in their order.
struct Members(Vec<(String, Value)>);

/// A schema, as far as it is needed in its order.
#[derive(Deserialize)]
struct Object {
    /// The properties.
    #[serde(default = "Members::none")]
    properties: Members,
    /// The names of those that must be there.
    #[serde(default)]
    required: Vec<String>,
    /// Whether there may be others.
    #[serde(default, rename = "additionalProperties")]
    others: Value,
}

/// A value that can be chosen, and what it is called.
#[derive(Fieldwork)]
#[fieldwork(get, vis = "pub(super)")]
pub(super) struct Choice {
    /// The value.
    value: String,
    /// Its title.
    title: Option<String>,
}

impl Members {
    /// No member.
    const fn none() -> Self {
        Self(Vec::new())
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Collects members.
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = map.next_entry()? {
                    all.push(member);
                }
                Ok(Members(all))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

impl Properties {
    /// Those of a schema as it was sent.
    pub(super) fn of(schema: &str) -> Self {
        let Ok(Object { properties, required, others }) = serde_json::from_str(schema) else {
            return Self { all: Vec::new(), others: true };
        };
        let all = properties.0.into_iter().map(|(name, schema)| {
            let is_required = required.contains(&name);
            Property { name, schema, is_required }
        });
        let all: Vec<_> = all.collect();
        let others = all.is_empty() && others != Value::Bool(false)
            || matches!(others, Value::Bool(true) | Value::Object(_));
        Self { all, others }
    }

    /// Those that must be there before the others.
    pub(super) fn required_first(mut self) -> Self {
        self.all.sort_by_key(|property| !property.is_required);
        self
    }

    /// The property of this name.
    pub(super) fn find(&self, name: &str) -> Option<&Property> {
        self.all.iter().find(|property| property.name == name)
    }
}

impl Property {
    /// Its title and what it is.
    pub(super) fn text(&self, member: &str) -> Option<&str> {
        self.schema[member].as_str().filter(|text| !text.is_empty())
    }

    /// The values that it or each of its items can have, if they are few.
    pub(super) fn choices(&self) -> Vec<Choice> {
        choices(if self.is_list() { &self.schema["items"] } else { &self.schema })
    }

    /// What is typed for it, in a word.
    pub(super) fn kind(&self) -> String {
        kind(&self.schema)
    }

    /// What was typed, as JSON of the property's type; what would have been understood otherwise.
    pub(super) fn read(&self, text: &str) -> Result<Value, String> {
        read(&self.schema, text)
    }

    /// Whether several values are typed one by one.
    pub(super) fn is_list(&self) -> bool {
        types(&self.schema).contains(&"array")
    }

    /// One of several values.
    pub(super) fn read_item(&self, text: &str) -> Result<Value, String> {
        read(&self.schema["items"], text)
    }
}

/// The values that a schema lists, with their titles.
fn choices(schema: &Value) -> Vec<Choice> {
    let titled = ["oneOf", "anyOf"].iter().find_map(|member| schema[member].as_array());
    let titled = titled.filter(|all| all.iter().all(|one| one["const"].is_string()));
    if let Some(titled) = titled {
        let choice = |one: &Value| {
            Some(Choice {
                value: one["const"].as_str()?.to_owned(),
                title: one["title"].as_str().map(str::to_owned),
            })
        };
        return titled.iter().filter_map(choice).collect();
    }
    let names = schema["enumNames"].as_array();
    let values = schema["enum"].as_array().into_iter().flatten().enumerate();
    values
        .map(|(at, value)| Choice {
            value: value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            title: names.and_then(|names| names.get(at)?.as_str()).map(str::to_owned),
        })
        .collect()
}

/// The types that a schema names.
fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => {
            let parts = ["anyOf", "oneOf"].iter().filter_map(|member| schema[member].as_array()).flatten();
            let mut all: Vec<_> = parts.flat_map(types).collect();
            all.dedup();
            all
        }
    }
}

/// A schema in a word.
fn kind(schema: &Value) -> String {
    let choices = choices(schema);
    if !choices.is_empty() {
        return choices.iter().map(|choice| choice.value.as_str()).collect::<Vec<_>>().join("|");
    }
    let types: Vec<_> = types(schema).into_iter().filter(|kind| *kind != "null").collect();
    match types.as_slice() {
        [] => "JSON".to_owned(),
        ["string"] => schema["format"].as_str().unwrap_or("string").to_owned(),
        ["array"] => format!("{}...", kind(&schema["items"])),
        all => all.join("|"),
    }
}

/// What was typed, as JSON of a schema's type.
fn read(schema: &Value, text: &str) -> Result<Value, String> {
    let types = types(schema);
    let json = || serde_json::from_str::<Value>(text).ok();
    let fits = |kind: &&str| match (*kind, json()) {
        ("integer", Some(Value::Number(number))) => (!number.is_f64()).then_some(Value::Number(number)),
        ("number", Some(value @ Value::Number(_)))
        | ("boolean", Some(value @ Value::Bool(_)))
        | ("null", Some(value @ Value::Null))
        | ("array", Some(value @ Value::Array(_)))
        | ("object", Some(value @ Value::Object(_))) => Some(value),
        _ => None,
    };
    if let Some(value) = types.iter().filter(|kind| **kind != "string").find_map(fits) {
        return Ok(value);
    }
    // A choice that is no string.
    let listed =
        schema["enum"].as_array().into_iter().flatten().find(|value| json().as_ref() == Some(*value));
    if let Some(value) = listed {
        return Ok(value.clone());
    }
    if types.contains(&"string") {
        return Ok(text.into());
    }
    if types.is_empty() {
        return Ok(json().unwrap_or_else(|| text.into()));
    }
    let words = types.iter().map(|kind| match *kind {
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list in JSON",
        "object" => "an object in JSON",
        other => other,
    });
    Err(words.collect::<Vec<_>>().join(" or "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_typed_has_the_type_of_the_schema() {
        for (schema, text, expected) in [
            (json!({ "type": "string" }), "1", Some(json!("1"))),
            (json!({ "type": "string" }), "true", Some(json!("true"))),
            (json!({ "type": "integer" }), "1", Some(json!(1))),
            (json!({ "type": "integer" }), "1.5", None),
            (json!({ "type": "integer" }), "one", None),
            (json!({ "type": "integer" }), "\"1\"", None),
            (json!({ "type": "number" }), "-1.5e3", Some(json!(-1500.0))),
            (json!({ "type": "boolean" }), "true", Some(json!(true))),
            (json!({ "type": "boolean" }), "yes", None),
            (json!({ "type": "array" }), "[1,2]", Some(json!([1, 2]))),
            (json!({ "type": "object" }), "{\"a\":1}", Some(json!({ "a": 1 }))),
            (json!({ "type": "object" }), "[]", None),
            (json!({ "type": ["string", "null"] }), "null", Some(json!(null))),
            (json!({ "type": ["string", "integer"] }), "7", Some(json!(7))),
            (json!({ "anyOf": [{ "type": "integer" }, { "type": "null" }] }), "7", Some(json!(7))),
            (json!({ "enum": [1, 2] }), "2", Some(json!(2))),
            (json!({}), "[1]", Some(json!([1]))),
            (json!({}), "word", Some(json!("word"))),
            (json!(true), "word", Some(json!("word"))),
        ] {
            assert_eq!(read(&schema, text).ok(), expected, "{schema} {text}");
        }
    }

    #[test]
    fn properties_have_the_order_of_the_schema() {
        let schema = r#"{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"array","items":{"type":"integer"}}},"required":["a"]}"#;
        let properties = Properties::of(schema);
        let told: Vec<_> =
            properties.all.iter().map(|it| (it.name.as_str(), it.kind(), it.is_required)).collect();
        assert_eq!(told, [("z", "string".to_owned(), false), ("a", "integer...".to_owned(), true)]);
        assert!(!properties.others && Properties::of("{}").others && Properties::of("no JSON").others);
    }
}
