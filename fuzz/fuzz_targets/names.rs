//! Names that can be taken for one another: no panic, and what passes has each member that is read once, in one spelling.
#![no_main]
#![allow(dead_code, unused_imports, unreachable_pub, reason = "the relay is compiled alone, for one of its parts")]

#[path = "../../src/gateway/relay/mod.rs"]
mod relay;

use relay::names::{PARAMS, Strictness, check, is_similar, strictness};
use relay::{Message, Object};
use serde_json::value::RawValue;

libfuzzer_sys::fuzz_target!(|text: &str| {
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
});
