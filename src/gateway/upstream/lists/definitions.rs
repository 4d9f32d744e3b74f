//! What is pinned of the tools of a list: what a model or a person goes by when a tool is chosen and called, as canonical JSON.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::kind::Kind;
use super::listing::Listing;
use crate::config::Filters;
use crate::gateway::relay::{Object, array_items, member_str, raw_string, text};
use crate::pins::Definition;

/// The members of a tool that are pinned beside its name.
const PINNED: [&str; 5] = ["title", "description", "inputSchema", "outputSchema", "annotations"];
/// How deep members are put in order; deeper, they count as they are written.
const DEPTH: usize = 64;

/// The definitions of a list's tools, by the names that the server gives them.
pub(crate) fn definitions(listing: &Listing, filters: &Filters) -> BTreeMap<String, Definition> {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for item in &listing.items {
        let Some(shown) = member_str(item, Kind::Tools.key()) else { continue };
        let name = filters.tools.original(&shown).unwrap_or(&shown);
        // Of two of one name nobody knows which a client takes: both count.
        let text = texts.entry(name.to_owned()).or_default();
        *text += &definition(name, item);
    }
    texts.into_iter().map(|(name, text)| (name, Definition::new(text))).collect()
}

/// What is pinned of one tool. Members that some readers take for one of these count, too.
fn definition(name: &str, item: &RawValue) -> String {
    let is_pinned = |name: &str| PINNED.iter().any(|pinned| pinned.eq_ignore_ascii_case(name));
    let members = Object::parse(item);
    let members = members.iter().flat_map(Object::iter).filter(|(name, _)| is_pinned(name));
    let members = members.map(|(name, value)| (name.to_owned(), canonical(value, 0)));
    object(members.chain([("name".to_owned(), raw_string(name).get().to_owned())]).collect())
}

/// A value without white space, the members of objects in the order of their names and texts in one spelling. A member that is
/// there twice stays so; numbers are as they are written.
fn canonical(value: &RawValue, depth: usize) -> String {
    if depth < DEPTH {
        if let Some(members) = Object::parse(value) {
            let members = members.iter();
            return object(
                members.map(|(name, value)| (name.to_owned(), canonical(value, depth + 1))).collect(),
            );
        }
        if let Some(items) = array_items(value) {
            let items: Vec<_> = items.into_iter().map(|item| canonical(item, depth + 1)).collect();
            return format!("[{}]", items.join(","));
        }
    }
    text(value).map_or_else(|| value.get().to_owned(), |text| raw_string(&text).get().to_owned())
}

/// An object of these members, in the order of their names.
fn object(mut members: Vec<(String, String)>) -> String {
    members.sort_by(|(one, _), (other, _)| one.cmp(other));
    let members = members.into_iter().map(|(name, value)| format!("{}:{value}", raw_string(&name).get()));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of a tool that is listed like this.
    fn of(tool: &str) -> String {
        let page = RawValue::from_string(format!(r#"{{"tools":[{tool}]}}"#)).unwrap();
        let mut listing = Listing::none();
        listing.add(Kind::Tools, &page, &Filters::default());
        definitions(&listing, &Filters::default())["a"].text().to_owned()
    }

    #[test]
    fn whatever_a_client_goes_by_makes_another_definition_and_nothing_else_does() {
        let tool = r#"{"name":"a","description":"é","inputSchema":{"type":"object","properties":{"x":{"type":"string"}}}}"#;
        let first = of(tool);
        assert_eq!(
            first,
            r#"{"description":"é","inputSchema":{"properties":{"x":{"type":"string"}},"type":"object"},"name":"a"}"#
        );
        for same in [
            r#"{"inputSchema" : {"properties":{"x":{"type":"string"}}, "type":"object"},"description":"\u00e9","name":"a"}"#,
            &tool.replace("\"name\"", "\"_meta\":{\"b\":1},\"icons\":[],\"name\""),
        ] {
            assert_eq!(of(same), first, "{same}");
        }
        for other in [
            tool.replace('é', "e"),
            tool.replace("\"x\"", "\"y\""),
            tool.replace("string", "number"),
            tool.replace("\"name\"", "\"title\":\"A\",\"name\""),
            tool.replace("\"name\"", "\"annotations\":{\"readOnlyHint\":true},\"name\""),
            tool.replace("\"name\"", "\"outputSchema\":{\"type\":\"object\"},\"name\""),
            tool.replace("\"name\"", "\"Description\":\"other\",\"name\""),
            tool.replace("\"type\":\"object\"", "\"type\":\"object\",\"type\":\"object\""),
            format!("{tool},{tool}"),
        ] {
            assert_ne!(of(&other), first, "{other}");
        }
        let deep = format!(r#"{{"name":"a","inputSchema":{}{}}}"#, "[".repeat(100), "]".repeat(100));
        assert!(of(&deep).contains(&"[".repeat(100)));
    }
}
