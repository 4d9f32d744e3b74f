//! The relay's data path: JSON-RPC envelopes whose payloads stay as the sender wrote them.
//!
//! `params`, `result` and `error` are carried as raw JSON text. The gateway reads single members of them and, where it
//! must (names, ids, progress tokens, the `_meta` keys of the modern era), replaces exactly those bytes; everything
//! else passes untouched: key order, number spelling, unknown members.

mod bridge;
mod garbled;
mod mend;
mod message;
mod meta;
pub(crate) mod method;
pub(crate) mod names;
mod raw;
mod scan;
mod shapes;
mod splice;

pub(crate) use bridge::{
    ClientMeta, complete_result, has_rounds, legacy_question, plain_result, signed_question, to_legacy_params,
};
pub(crate) use garbled::{Meant, meant};
pub(crate) use mend::mend;
pub(crate) use message::{Id, Message, Notification, Outcome, ParseError, Request, Response, spelled_number};
pub use meta::Era;
pub(crate) use meta::{
    APPS, LATEST_LEGACY, LEGACY_VERSIONS, MODERN, RequestMeta, SKILLS, Severity, TASKS, TRACE, code, key,
    traced,
};
pub(crate) use method::Method;
pub(crate) use raw::{Raw, raw, raw_string, weight};
pub(crate) use shapes::Part;
pub(crate) use splice::{
    Object, array_items, has_code, member, member_str, only_str, set_member, set_path, text,
};
