//! JSON text that passes as its sender wrote it.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// JSON text as its sender wrote it.
pub(crate) type Raw = Box<RawValue>;

/// JSON text of a value that the gateway authors.
pub(crate) fn raw(value: &impl Serialize) -> Raw {
    to_raw_value(value).expect("the gateway's own values have string keys and finite numbers")
}

/// JSON text of a string.
pub(crate) fn raw_string(text: &str) -> Raw {
    raw(&text)
}

/// The length of a payload, in bytes.
pub(crate) fn weight(payload: &RawValue) -> usize {
    payload.get().len()
}
