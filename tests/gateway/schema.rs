//! The schemas of the specification, and whether a value fits them.
//!
//! The words of JSON Schema that they are made of are few, and any other fails the test. The complete validators bring
//! three dozen crates.

use serde_json::Value;

/// The revisions of the specification with their schemas, the oldest first; see the README beside them.
const REVISIONS: [(&str, &str); 5] = [
    ("2024-11-05", include_str!("../fixtures/schemas/2024-11-05.json")),
    ("2025-03-26", include_str!("../fixtures/schemas/2025-03-26.json")),
    ("2025-06-18", include_str!("../fixtures/schemas/2025-06-18.json")),
    ("2025-11-25", include_str!("../fixtures/schemas/2025-11-25.json")),
    ("2026-07-28", include_str!("../fixtures/schemas/2026-07-28.json")),
];

/// Words that say nothing about whether a value fits; formats are annotations (JSON Schema 2020-12 §7.2.1).
const SILENT: [&str; 2] = ["format", "$schema"];

/// The schema of one revision.
pub(crate) struct Schema {
    /// The revision.
    pub(crate) revision: &'static str,
    /// What it is made of.
    definitions: Value,
}

impl Schema {
    /// Those of all revisions, the oldest first.
    pub(crate) fn all() -> Vec<Self> {
        let read = |(revision, text): (&'static str, &str)| {
            let mut schema: Value = serde_json::from_str(text).expect("JSON");
            let key = if schema["$defs"].is_object() { "$defs" } else { "definitions" };
            Self { revision, definitions: schema[key].take() }
        };
        REVISIONS.into_iter().map(read).collect()
    }

    /// Why a value is not what the definition of this name says, if it is not.
    pub(crate) fn misfit(&self, name: &str, value: &Value) -> Option<String> {
        let definition = &self.definitions[name];
        assert!(definition.is_object(), "{} has no {name}", self.revision);
        self.check(definition, value).err().map(|why| format!("{}: {name}{why}", self.revision))
    }

    /// Checks a value; the error begins with its place.
    fn check(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let words = schema.as_object().expect("a schema");
        for (word, wanted) in words {
            let fits = match word.as_str() {
                "type" => is_of(wanted, value),
                "const" => wanted == value,
                "enum" => wanted.as_array().expect("values").contains(value),
                "minimum" => value.as_f64().is_none_or(|value| value >= wanted.as_f64().expect("a number")),
                "maximum" => value.as_f64().is_none_or(|value| value <= wanted.as_f64().expect("a number")),
                "required" => wanted.as_array().expect("names").iter().all(|name| {
                    value.as_object().is_none_or(|object| object.contains_key(name.as_str().expect("a name")))
                }),
                "anyOf" => {
                    let mut schemas = wanted.as_array().expect("schemas").iter();
                    schemas.any(|schema| self.check(schema, value).is_ok())
                }
                "$ref" => {
                    let name = wanted.as_str().and_then(|name| name.rsplit('/').next()).expect("a name");
                    self.check(&self.definitions[name], value)?;
                    true
                }
                "properties" => {
                    for (name, value) in value.as_object().into_iter().flatten() {
                        if let Some(schema) = wanted.get(name) {
                            self.check(schema, value).map_err(|why| format!(".{name}{why}"))?;
                        }
                    }
                    true
                }
                "additionalProperties" if wanted.is_boolean() => wanted == true,
                "additionalProperties" => {
                    let known = &schema["properties"];
                    let others = value.as_object().into_iter().flatten();
                    for (name, value) in others.filter(|(name, _)| known.get(name).is_none()) {
                        self.check(wanted, value).map_err(|why| format!(".{name}{why}"))?;
                    }
                    true
                }
                "items" => {
                    for (place, value) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(wanted, value).map_err(|why| format!("[{place}]{why}"))?;
                    }
                    true
                }
                silent if SILENT.contains(&silent) => true,
                other => panic!("the word `{other}` is not known here"),
            };
            if !fits {
                return Err(format!(": {value} is not {word} {wanted}"));
            }
        }
        Ok(())
    }
}

/// Whether a value is of a type, or of one of several.
fn is_of(wanted: &Value, value: &Value) -> bool {
    if let Some(several) = wanted.as_array() {
        return several.iter().any(|wanted| is_of(wanted, value));
    }
    match wanted.as_str().expect("a type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "null" => value.is_null(),
        other => panic!("the type `{other}` is not known here"),
    }
}

#[test]
fn schemas_tell_what_fits_from_what_does_not() {
    for schema in Schema::all() {
        let tool = |schema: Value| serde_json::json!({ "name": "t", "inputSchema": schema });
        let fits = |value| schema.misfit("Tool", &value);
        assert_eq!(fits(tool(serde_json::json!({ "type": "object", "properties": { "a": {} } }))), None);
        for wrong in [serde_json::json!(null), serde_json::json!({}), serde_json::json!({ "type": "string" })]
        {
            assert!(fits(tool(wrong.clone())).is_some(), "{}: {wrong}", schema.revision);
        }
        assert!(fits(serde_json::json!({ "name": 1, "inputSchema": { "type": "object" } })).is_some());
    }
}
