//! Checking what a modern request says about itself: `_meta`, and the headers that mirror the body
//! (MCP 2026-07-28 §Basic, "Per-request protocol fields"; §Streamable HTTP, "Server Validation").

use std::fmt::Display;

use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::json;
use serde_json::value::RawValue;

use crate::gateway::error::Fault;
use crate::gateway::relay::{
    ClientMeta, Id, LEGACY_VERSIONS, MODERN, Message, Notification, Request, RequestMeta, Severity, code,
    key, member, method, names, names::Unclear, raw,
};
use crate::gateway::upstream::{ParamHeader, VERSION, headers};

/// Bytes that a client's `clientInfo` may have, and its capabilities.
const CLIENT: usize = 64 << 10;

/// Bytes that a progress token may have: the client gets it back with each report of progress.
const TOKEN: usize = 1024;

/// Refuses a client's message in which its server may read another name or address than the gateway does.
pub(crate) fn names(message: &Message) -> Result<(), Fault> {
    let (Message::Request(Request { method, .. }) | Message::Notification(Notification { method, .. })) =
        message
    else {
        return Ok(());
    };
    let is_notification = matches!(message, Message::Notification(_));
    let refused = |code, reason: &dyn Display| {
        Fault::downstream(code, StatusCode::BAD_REQUEST, format!("`{}`: {reason}", method.escape_debug()))
    };
    let strictness = names::strictness(method).map_err(|unclear| match unclear {
        Unclear::Similar(meant) => refused(
            code::INVALID_REQUEST,
            &format_args!("the method can be taken for `{meant}`; write that one exactly so"),
        ),
        Unclear::Form => {
            let reason = "a method has ASCII letters, digits and `_-.$` only, with a slash between two words";
            let fault = Fault::method_not_found(&method.escape_debug().to_string()).with_reason(reason);
            // To a notification, 404 would say that the session has ended.
            let status = if is_notification { StatusCode::BAD_REQUEST } else { fault.status };
            Fault { status, ..fault }
        }
    })?;
    if is_notification && method::wants_answer(method) {
        return Err(refused(code::INVALID_REQUEST, &"the request lacks an `id`"));
    }
    message.check(strictness).map_err(|reason| refused(code::INVALID_PARAMS, &reason))?;
    let token = if let Message::Request(request) = message { request.params.as_deref() } else { None }
        .filter(|params| params.get().len() > TOKEN)
        .and_then(|params| member(member(params, "_meta")?, "progressToken"));
    match token {
        Some(token) if token.get().len() > TOKEN => {
            let reason = format_args!("`_meta.progressToken` is longer than {TOKEN} bytes");
            Err(refused(code::INVALID_PARAMS, &reason))
        }
        _ => Ok(()),
    }
}

/// Checks revision, metadata and the standard headers.
pub(crate) fn request(request: &Request, meta: &RequestMeta<'_>, headers: &HeaderMap) -> Result<(), Fault> {
    let header = headers.get(&VERSION).and_then(|version| version.to_str().ok());
    let Some(version) = meta.version() else {
        return Err(bad_meta("protocolVersion"));
    };
    match header {
        None => return Err(mismatch("the MCP-Protocol-Version header is missing")),
        Some(header) if header != version => {
            return Err(mismatch(&format!(
                "MCP-Protocol-Version is `{header}`, but the body says `{version}`"
            )));
        }
        Some(_) => {}
    }
    if version != MODERN {
        return Err(unsupported(&version));
    }
    if !meta.has_capabilities() {
        return Err(bad_meta("clientCapabilities"));
    }
    once(headers)?;
    mirrors(headers, &headers::METHOD, &request.method)?;
    match headers::name_source(&request.method).and_then(|source| meta.param(source)) {
        Some(name) => mirrors(headers, &headers::NAME, &name)?,
        // What an extension's methods name is not known here.
        None if headers.contains_key(&headers::NAME) && method::wants_answer(&request.method) => {
            return Err(mismatch(&format!("{} mirrors nothing of the body", headers::NAME)));
        }
        None => {}
    }
    members(meta)
}

/// Checks those members of `_meta` that a request may have: a server must be able to rely on what they are (MCP 2026-07-28
/// §Basic, "General fields"; §Logging, "Error Handling"; §Progress).
fn members(meta: &RequestMeta<'_>) -> Result<(), Fault> {
    let wrong = |name: &str, must: &str| {
        let message = format!("`{name}` in `_meta` must be {must}");
        Err(Fault::downstream(code::INVALID_PARAMS, StatusCode::BAD_REQUEST, message))
    };
    if meta.get(key::CLIENT_INFO).is_some_and(|info| !info.get().starts_with('{')) {
        return wrong(key::CLIENT_INFO, "an object");
    }
    if meta.get(key::LOG_LEVEL).is_some_and(|level| !Severity::is_known(level)) {
        return wrong(key::LOG_LEVEL, &format!("one of {}", Severity::names().join(", ")));
    }
    let is_token = |token: &RawValue| token.get().starts_with('"') || Id::is_whole(token.get());
    if meta.get("progressToken").is_some_and(|token| !is_token(token)) {
        return wrong("progressToken", "a string or an integer");
    }
    Ok(())
}

/// Checks the revision that a message of the legacy era states in its header, if it does (MCP 2025-11-25 §Protocol Version
/// Header: an invalid or unsupported one must be refused by 400).
pub(crate) fn legacy_version(headers: &HeaderMap) -> Result<(), Fault> {
    match headers.get(&VERSION) {
        Some(version) if !LEGACY_VERSIONS.iter().any(|known| version == known) => {
            let message = format!("the MCP-Protocol-Version must be one of {}", LEGACY_VERSIONS.join(", "));
            Err(Fault::downstream(code::INVALID_REQUEST, StatusCode::BAD_REQUEST, message))
        }
        _ => Ok(()),
    }
}

/// Checks how much a client says about itself: it is kept for as long as a session, and sent to each server.
pub(crate) fn client_size(client: &ClientMeta) -> Result<(), Fault> {
    for (name, value) in [("clientInfo", &client.info), ("capabilities", &client.capabilities)] {
        let size = value.get().len();
        if size > CLIENT {
            let message = format!("the client's `{name}` has {size} bytes; {CLIENT} are allowed");
            return Err(Fault::downstream(code::INVALID_PARAMS, StatusCode::BAD_REQUEST, message));
        }
    }
    Ok(())
}

/// Checks the headers that mirror parameters of a tool.
pub(crate) fn parameters(
    mirrored: &[ParamHeader],
    params: &RawValue,
    headers: &HeaderMap,
) -> Result<(), Fault> {
    for mirrored in mirrored {
        if mirrored.is_ambiguous(params) {
            let path = mirrored.path.join(".");
            let message =
                format!("the argument `{path}` stands more than once, and a header mirrors it; send it once");
            return Err(Fault::downstream(code::INVALID_PARAMS, StatusCode::BAD_REQUEST, message));
        }
        let (name, value) = (&mirrored.name, mirrored.argument(params));
        let number =
            value.is_some_and(|value| value.get().starts_with(|c: char| c == '-' || c.is_ascii_digit()));
        let value = value.map(headers::argument_text);
        let header = match headers.get(name).map(headers::decode) {
            None => None,
            Some(Some(text)) => Some(text),
            Some(None) => return Err(mismatch(&format!("the header {name} is malformed"))),
        };
        let same = match (&value, &header) {
            (None, None) => true,
            (Some(value), Some(header)) => value == header || number && same_number(value, header),
            (None, Some(_)) | (Some(_), None) => false,
        };
        if !same {
            return Err(mismatch(&format!(
                "the header {name} does not match the argument `{}`",
                mirrored.path.join(".")
            )));
        }
    }
    Ok(())
}

/// Whether two texts are the same number. Integers are compared as such: floating-point numbers cannot hold all of them.
fn same_number(one: &str, other: &str) -> bool {
    if let (Ok(one), Ok(other)) = (one.parse::<i128>(), other.parse::<i128>()) {
        return one == other;
    }
    match (one.parse::<f64>(), other.parse::<f64>()) {
        (Ok(one), Ok(other)) => one.total_cmp(&other).is_eq(),
        _ => false,
    }
}

/// Refuses several: a proxy that looks at headers only may see another one of them than we do.
fn once(headers: &HeaderMap) -> Result<(), Fault> {
    if headers.len() == headers.keys_len() {
        return Ok(());
    }
    let mirrors = |name: &HeaderName| {
        [VERSION, headers::METHOD, headers::NAME].contains(name) || name.as_str().starts_with(headers::PARAM)
    };
    let several = |name: &&HeaderName| mirrors(name) && headers.get_all(*name).iter().nth(1).is_some();
    match headers.keys().find(several) {
        Some(name) => Err(mismatch(&format!("there is more than one {name} header"))),
        None => Ok(()),
    }
}

/// A header must be there and say what the body says.
fn mirrors(headers: &HeaderMap, name: &http::HeaderName, body: &str) -> Result<(), Fault> {
    let Some(value) = headers.get(name) else {
        return Err(mismatch(&format!("the {name} header is missing")));
    };
    match headers::decode(value) {
        Some(text) if text == body => Ok(()),
        Some(text) => Err(mismatch(&format!("{name} is `{text}`, but the body says `{body}`"))),
        None => Err(mismatch(&format!("the {name} header is malformed"))),
    }
}

/// Headers and body disagree.
fn mismatch(message: &str) -> Fault {
    Fault::downstream(code::HEADER_MISMATCH, StatusCode::BAD_REQUEST, format!("Header mismatch: {message}"))
}

/// A required member of `_meta` is missing.
fn bad_meta(name: &str) -> Fault {
    let message = format!("`_meta` lacks `io.modelcontextprotocol/{name}`");
    Fault::downstream(code::INVALID_PARAMS, StatusCode::BAD_REQUEST, message)
}

/// The revision is not one that we speak per request.
fn unsupported(version: &str) -> Fault {
    let mut fault =
        Fault::downstream(code::UNSUPPORTED_VERSION, StatusCode::BAD_REQUEST, "Unsupported protocol version");
    fault.data = Some(raw(&json!({ "supported": [MODERN], "requested": version })));
    fault
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;

    use super::*;

    /// Whether a header is taken for that of an argument.
    fn passes(argument: &str, header: &str) -> bool {
        let params = to_raw_value(&json!({ "arguments": { "a": null } })).unwrap();
        let params = crate::gateway::relay::set_path(&params, &["arguments", "a"], argument).unwrap();
        let mirrored = [ParamHeader { name: "mcp-param-a".to_owned(), path: vec!["a".to_owned()] }];
        let headers = [(http::HeaderName::from_static("mcp-param-a"), headers::encode(header))];
        parameters(&mirrored, &params, &headers.into_iter().collect()).is_ok()
    }

    #[test]
    fn header_that_says_two_things_is_refused() {
        let two = |name: &'static str| {
            let name = http::HeaderName::from_static(name);
            [(name.clone(), "a"), (name, "b")].map(|(name, value)| (name, headers::encode(value)))
        };
        for name in ["mcp-protocol-version", "mcp-method", "mcp-name", "mcp-param-region"] {
            let fault = once(&two(name).into_iter().collect()).unwrap_err();
            assert!(fault.code == code::HEADER_MISMATCH && fault.message.contains(name), "{fault}");
        }
        assert!(once(&two("accept").into_iter().collect()).is_ok());
    }

    #[test]
    fn only_numbers_may_be_written_differently_in_a_header() {
        for (argument, header) in
            [("42", "42"), ("42.0", "42"), ("1e3", "1000"), (r#""x""#, "x"), ("true", "true")]
        {
            assert!(passes(argument, header), "{argument} {header}");
        }
        for (argument, header) in [
            ("42", "43"),
            (r#""42""#, "042"),
            (r#""1e3""#, "1000"),
            (r#""nan""#, "NaN"),
            ("9007199254740993", "9007199254740992"),
        ] {
            assert!(!passes(argument, header), "{argument} {header}");
        }
    }
}
