//! Names that can be taken for one another: no panic, and what passes has each member that is read once, in one spelling.

use crate::relay::names::{PARAMS, Strictness, check, is_similar, strictness};
use crate::relay::{Message, Object};
use serde_json::value::RawValue;

/// Holds for any input.
pub fn holds(text: &str) {
    let _ = strictness(text);
    let _ = Message::of_server(text.as_bytes(), || ());
    let Ok(json) = serde_json::from_str::<Box<RawValue>>(text) else { return };
    if check(&json, PARAMS, Strictness::Alone).is_err() {
        return;
    }
    assert_eq!(check(&json, PARAMS, Strictness::Pairs), Ok(()));
    let Some(object) = Object::parse(&json) else { return };
    for read in ["name", "uri", "cursor", "taskId", "_meta", "ref", "requestState"] {
        let same = object.iter().filter(|(name, _)| is_similar(name, read)).collect::<Vec<_>>();
        assert!(same.iter().all(|(name, _)| *name == read) && same.len() <= 1, "{text}");
    }
}
