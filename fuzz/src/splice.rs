//! Reading and replacing members of raw JSON: no panic, valid JSON, and every other member as it was.

use crate::relay::{Object, complete_result, member, plain_result, set_member, set_path, to_legacy_params};
use serde_json::value::RawValue;

/// Holds for any input.
pub fn holds(text: &str) {
    let Ok(json) = serde_json::from_str::<Box<RawValue>>(text) else { return };
    let _ = to_legacy_params(Some(json.clone()));
    let _ = plain_result("tools/list", complete_result("tools/list", json.clone()));
    let Some(edited) = set_member(&json, "name", "\"x\"") else { return };
    assert_eq!(member(&edited, "name").map(RawValue::get), Some("\"x\""));
    let (before, after) =
        (Object::parse(&json).expect("an object"), Object::parse(&edited).expect("an object"));
    let others = |object: &Object<'_>| {
        let others = object.iter().filter(|(key, _)| *key != "name");
        others.map(|(key, value)| (key.to_owned(), value.get().to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(others(&before), others(&after));
    let _ = set_path(&json, &["_meta", "progressToken"], "1");
}
