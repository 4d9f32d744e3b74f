//! What is wrong with the annotations by which a tool wants arguments in headers (MCP 2026-07-28 §Streamable HTTP, "Schema
//! Extension"): a client leaves such a tool out.

use std::collections::HashSet;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::gateway::relay::member;

/// The annotation.
const HEADER: &str = "x-mcp-header";
/// How deep in a schema annotations are looked for: no sane one nests as deep, and the stack is finite.
const DEPTH: usize = 64;
/// Types whose values may be in a header.
const TYPES: [&str; 3] = ["integer", "string", "boolean"];
/// Keywords whose values are maps of schemas (JSON Schema 2020-12 §10), beside `properties`.
const MAPS: [&str; 4] = ["patternProperties", "dependentSchemas", "$defs", "definitions"];
/// Keywords whose values are no schemas.
const VALUES: [&str; 5] = ["const", "default", "enum", "examples", HEADER];

/// What is wrong with the annotations of a tool; `None` if nothing is.
pub(super) fn fault(tool: &RawValue) -> Option<String> {
    // Most tools have none.
    if !tool.get().contains(HEADER) {
        return None;
    }
    let schema: Value = serde_json::from_str(member(tool, "inputSchema")?.get()).ok()?;
    Walk::default().schema(&schema, Place::Root, 0).err()
}

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is the whole one.
    Root,
    /// A chain of `properties` leads there.
    Property,
    /// Anywhere else.
    Elsewhere,
}

/// A pass over a schema.
#[derive(Default)]
struct Walk {
    /// The names of headers, in lower case.
    seen: HashSet<String>,
}

impl Walk {
    /// Looks at a schema and what is in it.
    fn schema(&mut self, schema: &Value, place: Place, depth: usize) -> Result<(), String> {
        let Value::Object(members) = schema else { return self.several(schema, depth) };
        if depth > DEPTH {
            return Err("its schema nests too deep".to_owned());
        }
        if let Some(header) = members.get(HEADER) {
            self.annotation(header, members.get("type"), place)?;
        }
        for (name, value) in members {
            match (name.as_str(), value) {
                (name, _) if VALUES.contains(&name) => {}
                ("properties", Value::Object(inner)) => {
                    let inside = if place == Place::Elsewhere { place } else { Place::Property };
                    inner.values().try_for_each(|schema| self.schema(schema, inside, depth + 1))?;
                }
                (name, Value::Object(inner)) if MAPS.contains(&name) => {
                    inner.values().try_for_each(|schema| self.schema(schema, Place::Elsewhere, depth + 1))?;
                }
                (_, value) => self.schema(value, Place::Elsewhere, depth + 1)?,
            }
        }
        Ok(())
    }

    /// Looks at the schemas of a list.
    fn several(&mut self, list: &Value, depth: usize) -> Result<(), String> {
        let schemas = list.as_array().into_iter().flatten();
        schemas.into_iter().try_for_each(|schema| {
            if schema.is_object() { self.schema(schema, Place::Elsewhere, depth + 1) } else { Ok(()) }
        })
    }

    /// Looks at one annotation.
    fn annotation(&mut self, header: &Value, kind: Option<&Value>, place: Place) -> Result<(), String> {
        let is_token = |text: &&str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
        };
        let Some(name) = header.as_str().filter(is_token) else {
            return Err(format!("`{HEADER}` is {header}, which cannot be part of a header's name"));
        };
        if place != Place::Property {
            return Err(format!(
                "`{HEADER}` {name:?} stands elsewhere than at a property that is always there"
            ));
        }
        let is = |kind: &Value| kind.as_str().is_some_and(|kind| TYPES.contains(&kind));
        let fits = match kind {
            None => true,
            // What may be left out may be `null`, too.
            Some(Value::Array(kinds)) => {
                kinds.iter().all(|kind| is(kind) || kind == "null") && kinds.iter().any(is)
            }
            Some(kind) => is(kind),
        };
        if !fits {
            return Err(format!(
                "`{HEADER}` {name:?} is of an argument that is neither integer, string nor boolean"
            ));
        }
        if self.seen.insert(name.to_ascii_lowercase()) {
            Ok(())
        } else {
            Err(format!("`{HEADER}` {name:?} is there more than once"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gateway::relay::raw;

    #[test]
    fn tool_is_refused_for_each_kind_of_wrong_annotation() {
        let text = |header: &str| json!({ "type": "string", HEADER: header });
        let good = [
            json!({ "properties": { "a": text("A"), "b": { "type": "object", "properties": { "c": text("B-c") } } } }),
            json!({ "properties": { HEADER: { "type": "number" }, "a": { "type": ["integer", "null"], HEADER: "x" } } }),
            json!({ "properties": { "a": { "default": { HEADER: 1 }, "enum": [{ HEADER: "" }] } }, "type": "object" }),
            json!(true),
        ];
        for schema in good {
            assert_eq!(fault(&raw(&json!({ "inputSchema": schema }))), None, "{schema}");
        }
        let property = |schema: Value| json!({ "properties": { "a": schema } });
        let mut bad: Vec<_> =
            ["", "a b", "a:b", "a\r\nb", "\u{7f}", "\u{e9}", "(a)"].map(|name| property(text(name))).into();
        bad.extend([json!(7), json!(null), json!({})].map(|name| property(json!({ HEADER: name }))));
        bad.push(
            json!({ "properties": { "a": text("Same"), "b": { "properties": { "c": text("same") } } } }),
        );
        for kind in [
            json!("number"),
            json!("object"),
            json!("array"),
            json!(["string", "number"]),
            json!("null"),
            json!([]),
        ] {
            bad.push(property(json!({ "type": kind, HEADER: "a" })));
        }
        let elsewhere = ["items", "not", "if", "then", "else", "additionalProperties", "contains"];
        bad.extend(elsewhere.map(|keyword| property(json!({ keyword: text("a") }))));
        bad.extend(["items", "not"].map(|keyword| property(json!({ keyword: property(text("a")) }))));
        bad.extend(["oneOf", "anyOf", "allOf", "prefixItems"].map(|keyword| json!({ keyword: [text("a")] })));
        bad.extend(MAPS.map(|keyword| json!({ keyword: { "a": text("a") } })));
        bad.push(text("root"));
        for schema in bad {
            assert!(fault(&raw(&json!({ "inputSchema": schema }))).is_some(), "{schema}");
        }
    }
}
