//! The headers of MCP: those that name session and revision, and those that mirror a modern request's body (MCP 2026-07-28
//! §Streamable HTTP, "Request Metadata").

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;

use crate::gateway::relay::{Request, member_str, method};

/// The header that names a legacy session.
pub(crate) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// The header that states the revision.
pub(crate) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// The header that mirrors the method.
pub(crate) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// The header that mirrors the name or URI that a request is about.
pub(crate) const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// What the headers for parameters of tools begin with.
pub(crate) const PARAM: &str = "mcp-param-";
/// Encloses a value that is not plain ASCII.
const SENTINEL: (&str, &str) = ("=?base64?", "?=");

/// The member of `params` that `Mcp-Name` mirrors for this method.
pub(crate) fn name_source(method: &str) -> Option<&'static str> {
    match method {
        method::TOOLS_CALL | method::PROMPTS_GET => Some("name"),
        method::RESOURCES_READ => Some("uri"),
        method::TASKS_GET | method::TASKS_UPDATE | method::TASKS_CANCEL => Some("taskId"),
        _ => None,
    }
}

/// Adds the headers that mirror this request; those that its client has sent for it are taken as they are.
pub(crate) fn of_request(request: &Request, sent: &[(HeaderName, HeaderValue)], headers: &mut HeaderMap) {
    headers.insert(METHOD, of_method(&request.method));
    headers.extend(sent.iter().cloned());
    if headers.contains_key(&NAME) {
        return;
    }
    let name = name_source(&request.method).zip(request.params.as_deref());
    if let Some(name) = name.and_then(|(source, params)| member_str(params, source)) {
        headers.insert(NAME, encode(&name));
    }
}

/// An argument as its header carries it, before it is encoded.
pub(crate) fn argument_text(value: &RawValue) -> String {
    serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| value.get().to_owned())
}

/// The header value for a method; the common ones need not be looked at.
fn of_method(method: &str) -> HeaderValue {
    const COMMON: [&str; 5] = [
        method::TOOLS_CALL,
        method::TOOLS_LIST,
        method::PROMPTS_GET,
        method::RESOURCES_READ,
        method::DISCOVER,
    ];
    let common = COMMON.into_iter().find(|common| *common == method);
    common.map_or_else(|| encode(method), HeaderValue::from_static)
}

/// A header value for any text: as it is where that is safe, else in the base64 form.
pub(crate) fn encode(text: &str) -> HeaderValue {
    let plain = text.bytes().all(|byte| matches!(byte, 0x20..=0x7e | b'\t'))
        && text.trim() == text
        && !(text.starts_with(SENTINEL.0) && text.ends_with(SENTINEL.1));
    let encoded = || format!("{}{}{}", SENTINEL.0, STANDARD.encode(text), SENTINEL.1);
    let value = if plain { HeaderValue::from_str(text) } else { HeaderValue::from_str(&encoded()) };
    value.expect("both forms consist of visible ASCII characters")
}

/// The text of a header value; `None` if it is malformed.
pub(crate) fn decode(value: &HeaderValue) -> Option<Cow<'_, str>> {
    let text = value.to_str().ok()?;
    match text.strip_prefix(SENTINEL.0).and_then(|rest| rest.strip_suffix(SENTINEL.1)) {
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).ok()?).ok().map(Cow::Owned),
        None => Some(Cow::Borrowed(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_examples_are_encoded_as_it_says() {
        for (text, header) in [
            ("us-west1", "us-west1"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(encode(text).to_str().unwrap(), header);
            assert_eq!(decode(&encode(text)).unwrap(), text);
        }
        assert_eq!(decode(&HeaderValue::from_static("=?base64?%%?=")), None);
    }
}
