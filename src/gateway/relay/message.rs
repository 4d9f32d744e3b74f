//! JSON-RPC 2.0 messages with raw payloads.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use memchr::memchr2;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::method::Method;
use super::names::{self, Ambiguous, Strictness, is_similar};
use super::raw::{Raw, weight};
use super::scan;
use super::splice::member;

/// Bytes that an identifier may have as it is written: it is kept for as long as answers can be read again.
const IDENTIFIER: usize = 1024;

/// More than the members around a payload take, in bytes.
const ENVELOPE: usize = 64;

/// A request's identifier: the JSON text of a string or a number, compared as text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Id(Arc<str>);

/// One JSON-RPC message.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// Wants a response.
    Request(Request),
    /// Wants none.
    Notification(Notification),
    /// Answers a request.
    Response(Response),
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The sender's identifier.
    pub(crate) id: Id,
    /// The method's name.
    pub(crate) method: Method,
    /// The parameters, if any.
    pub(crate) params: Option<Raw>,
}

/// A notification.
#[derive(Clone, Debug)]
pub(crate) struct Notification {
    /// The method's name.
    pub(crate) method: Method,
    /// The parameters, if any.
    pub(crate) params: Option<Raw>,
}

/// A response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// The request's identifier; `None` where the request's could not be read.
    pub(crate) id: Option<Id>,
    /// What came of it.
    pub(crate) outcome: Outcome,
}

/// The two kinds of response.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// `result`.
    Result(Raw),
    /// `error`.
    Error(Raw),
}

/// Why text is not a JSON-RPC message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ParseError {
    /// Not JSON, not UTF-8, or a member twice.
    #[error("the message is not valid JSON")]
    Json(#[source] serde_json::Error),
    /// JSON, but neither request, notification nor response.
    #[error("the message is not a JSON-RPC 2.0 message: {0}")]
    Shape(&'static str),
    /// Several messages at once, which only revision 2025-03-26 has.
    #[error(
        "the message is not a JSON-RPC 2.0 message: batches are not part of this protocol; send each message by itself"
    )]
    Batch,
    /// Two readers may read it differently.
    #[error("the message is not a JSON-RPC 2.0 message: {reason}")]
    Ambiguous {
        /// Why.
        reason: Ambiguous,
        /// The identifier, if that is clear.
        id: Option<Id>,
        /// Whether it seems to be a response; otherwise one may be waited for.
        response: bool,
    },
}

/// The members of an envelope, borrowed from the text.
#[derive(Default)]
struct Envelope<'a> {
    /// Must be "2.0".
    jsonrpc: Option<Cow<'a, str>>,
    /// String or number.
    id: Option<&'a RawValue>,
    /// Present in requests and notifications.
    method: Option<Cow<'a, str>>,
    /// Any JSON; objects in MCP.
    params: Option<&'a RawValue>,
    /// Present in a response, also as `null`.
    result: Option<&'a RawValue>,
    /// Present in a failed response.
    error: Option<&'a RawValue>,
    /// What is wrong with the names.
    ambiguous: Option<Ambiguous>,
    /// Whether the other one of `result` and `error` stands there as `null`.
    null_beside: bool,
}

/// The members of envelopes.
const MEMBERS: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// A string that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

/// Collects the members of an envelope.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(Text(name)) = map.next_key()? {
            let twice = match &*name {
                "jsonrpc" => {
                    let version = map.next_value::<Option<Text<'_>>>()?;
                    version.is_some_and(|Text(version)| envelope.jsonrpc.replace(version).is_some())
                }
                "id" => envelope.id.replace(map.next_value()?).is_some(),
                "method" => {
                    let method = map.next_value::<Option<Text<'_>>>()?;
                    method.is_some_and(|Text(method)| envelope.method.replace(method).is_some())
                }
                "params" => envelope.params.replace(map.next_value()?).is_some(),
                "result" => envelope.result.replace(map.next_value()?).is_some(),
                "error" => envelope.error.replace(map.next_value()?).is_some(),
                _ => {
                    let similar = MEMBERS.into_iter().find(|member| is_similar(&name, member));
                    envelope.ambiguous = envelope.ambiguous.or(similar.map(Ambiguous::Similar));
                    map.next_value::<IgnoredAny>()?;
                    false
                }
            };
            if twice {
                let member = MEMBERS.into_iter().find(|member| *member == name).unwrap_or_default();
                envelope.ambiguous = Some(Ambiguous::Twice(member));
            }
        }
        Ok(envelope)
    }
}

impl ParseError {
    /// What is wrong, for whoever waits for the message.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Json(error) => format!("it is not valid JSON: {error}"),
            Self::Shape(reason) => format!("it is not a JSON-RPC 2.0 message: {reason}"),
            Self::Batch => "it is a batch of messages".to_owned(),
            Self::Ambiguous { reason, .. } => reason.to_string(),
        }
    }
}

impl Message {
    /// Reads one message from the text of exactly one JSON value.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, ParseError> {
        Self::read(text, || {})
    }

    /// The same; `loose` is called for a response with both `result` and `error`, one of which is `null`: it counts as
    /// left out, as JSON-RPC 1.0 had it and as the official SDKs read it.
    fn read(text: &[u8], loose: impl FnOnce()) -> Result<Self, ParseError> {
        let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
        if first == Some(&b'[') {
            serde_json::from_slice::<&RawValue>(text).map_err(ParseError::Json)?;
            return Err(ParseError::Batch);
        }
        // Read as text, whose parts need not be proven to be text one by one.
        let read = match std::str::from_utf8(text) {
            Ok(text) => serde_json::from_str(text),
            Err(_) => serde_json::from_slice(text),
        };
        let envelope: Envelope<'_> = match read {
            Ok(envelope) => envelope,
            Err(error) if error.is_data() => {
                serde_json::from_slice::<&RawValue>(text).map_err(ParseError::Json)?;
                return Err(ParseError::Shape("a member has the wrong type"));
            }
            Err(error) => return Err(ParseError::Json(error)),
        };
        let envelope = envelope.without_null();
        if envelope.null_beside {
            loose();
        }
        envelope.into_message()
    }

    /// The entries of a batch; `None` if the text is none.
    pub(crate) fn entries(text: &[u8]) -> Option<Vec<Raw>> {
        let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
        (first == Some(&b'[')).then(|| serde_json::from_slice(text).ok()).flatten()
    }

    /// The same of a server, whose batches are read whatever revision it has agreed to; a batch within one is none. Answers
    /// come last: nothing is told of a request that is answered.
    pub(crate) fn entries_of_server(text: &[u8]) -> Vec<Raw> {
        let mut entries = Self::entries(text).unwrap_or_default();
        entries.retain(|entry| !entry.get().starts_with('['));
        entries.sort_by_key(|entry| member(entry, "method").is_none());
        entries
    }

    /// Reads one message of a server. Parameters that two readers may read differently are refused. `loose` is called for a
    /// response that has an `"error": null` beside its result, or the other way round.
    pub(crate) fn of_server(text: &[u8], loose: impl FnOnce()) -> Result<Self, ParseError> {
        let message = Self::read(text, loose)?;
        match message.check(Strictness::Pairs) {
            Ok(()) => Ok(message),
            Err(reason) => {
                let id = if let Self::Request(request) = message { Some(request.id) } else { None };
                Err(ParseError::Ambiguous { reason, id, response: false })
            }
        }
    }

    /// Whether all readers read the parameters as the gateway does; responses have none.
    pub(crate) fn check(&self, strictness: Strictness) -> Result<(), Ambiguous> {
        match self {
            Self::Request(Request { params: Some(params), .. })
            | Self::Notification(Notification { params: Some(params), .. }) => {
                names::check(params, names::PARAMS, strictness)
            }
            _ => Ok(()),
        }
    }

    /// About as much memory as the message takes, in bytes.
    pub(crate) fn weight(&self) -> usize {
        let payload = match self {
            Self::Request(Request { params, .. }) | Self::Notification(Notification { params, .. }) => {
                params.as_deref().map_or(0, weight)
            }
            Self::Response(response) => response.outcome.weight(),
        };
        size_of::<Self>() + payload
    }

    /// Appends the message as one line of JSON, without a newline.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"jsonrpc":"2.0""#);
        match self {
            Self::Request(request) => {
                write_member(out, "id", request.id.as_str());
                write_call(out, &request.method, request.params.as_deref());
            }
            Self::Notification(note) => write_call(out, &note.method, note.params.as_deref()),
            Self::Response(response) => {
                // MCP 2026-07-28 §Error Responses: without an identifier where the request's could not be read.
                if let Some(id) = &response.id {
                    write_member(out, "id", id.as_str());
                }
                match &response.outcome {
                    Outcome::Result(result) => write_member(out, "result", result.get()),
                    Outcome::Error(error) => write_member(out, "error", error.get()),
                }
            }
        }
        out.push(b'}');
    }

    /// The message as one line of JSON.
    pub(crate) fn to_line(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ENVELOPE + self.weight());
        self.write(&mut out);
        out
    }
}

impl Outcome {
    /// The length of the payload, in bytes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Result(payload) | Self::Error(payload) => weight(payload),
        }
    }

    /// Whether it is a result of a tool that says that it has failed. Most results say nothing of it, or `false` and nothing else,
    /// and are not read for it.
    pub(crate) fn is_tool_error(&self) -> bool {
        let Self::Result(result) = self else { return false };
        scan::may_have_failed(result.get())
            && member(result, "isError").is_some_and(|value| value.get() == "true")
    }
}

/// Appends `method` and `params`.
fn write_call(out: &mut Vec<u8>, method: &str, params: Option<&RawValue>) {
    out.extend_from_slice(b",\"method\":");
    serde_json::to_writer(&mut *out, method).expect("a string can be written into a buffer");
    if let Some(params) = params {
        write_member(out, "params", params.get());
    }
}

/// Appends `,"name":json`. Newlines between tokens become spaces, since stdio frames messages by lines; inside
/// strings JSON has no raw newlines.
fn write_member(out: &mut Vec<u8>, name: &str, json: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    let start = out.len();
    out.extend_from_slice(json.as_bytes());
    if memchr2(b'\n', b'\r', json.as_bytes()).is_none() {
        return;
    }
    for byte in &mut out[start..] {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

impl Envelope<'_> {
    /// Leaves a `null` out that stands beside the other one of `result` and `error`.
    fn without_null(self) -> Self {
        let is_null = |value: Option<&RawValue>| value.is_some_and(|value| value.get() == "null");
        match (self.method.is_none(), self.result.is_some(), self.error.is_some()) {
            (true, true, true) if is_null(self.error) => Self { error: None, null_beside: true, ..self },
            (true, true, true) if is_null(self.result) => Self { result: None, null_beside: true, ..self },
            _ => self,
        }
    }

    /// Decides which kind of message the members make.
    fn into_message(self) -> Result<Message, ParseError> {
        if let Some(reason) = self.ambiguous {
            let id = self.id.filter(|_| !matches!(reason, Ambiguous::Twice("id") | Ambiguous::Similar("id")));
            let id = id.and_then(|id| Id::from_json(id.get()));
            let response = self.method.is_none() && (self.result.is_some() || self.error.is_some());
            return Err(ParseError::Ambiguous { reason, id, response });
        }
        if self.jsonrpc.as_deref() != Some("2.0") {
            return Err(ParseError::Shape("`jsonrpc` must be \"2.0\""));
        }
        let id = self.id.map(|id| Id::new(id.get())).transpose()?;
        match (self.method, self.result, self.error) {
            (Some(method), None, None) => {
                let params = self.params.map(ToOwned::to_owned);
                Ok(match id {
                    Some(Some(id)) => {
                        Message::Request(Request { id, method: Method::from(&*method), params })
                    }
                    Some(None) => return Err(ParseError::Shape("the id of a request must not be null")),
                    None => Message::Notification(Notification { method: Method::from(&*method), params }),
                })
            }
            (None, Some(result), None) => Ok(response(id.flatten(), Outcome::Result(result.to_owned()))),
            (None, None, Some(error)) => Ok(response(id.flatten(), Outcome::Error(error.to_owned()))),
            _ => Err(ParseError::Shape("it needs exactly one of `method`, `result` and `error`")),
        }
    }
}

/// A response message.
fn response(id: Option<Id>, outcome: Outcome) -> Message {
    Message::Response(Response { id, outcome })
}

impl Id {
    /// An identifier from its JSON text; `Ok(None)` for `null`.
    fn new(json: &str) -> Result<Option<Self>, ParseError> {
        if json.len() > IDENTIFIER {
            return Err(ParseError::Shape("`id` is longer than 1024 bytes"));
        }
        match json.as_bytes().first() {
            Some(b'"' | b'-' | b'0'..=b'9') => Ok(Some(Self(json.into()))),
            Some(b'n') => Ok(None),
            _ => Err(ParseError::Shape("`id` must be a string or a number")),
        }
    }

    /// An identifier from JSON text that stands inside a message.
    pub(crate) fn from_json(json: &str) -> Option<Self> {
        Self::new(json).ok().flatten()
    }

    /// An identifier of the gateway's own.
    pub(crate) fn number(number: u64) -> Self {
        Self(itoa::Buffer::new().format(number).into())
    }

    /// The JSON text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The identifier as a number, if it can only mean one of the gateway's own: also one that a server has made a text, or
    /// a number with a fraction of nothing, of, as the official SDKs take it.
    pub(crate) fn as_number(&self) -> Option<u64> {
        self.0.parse().ok().or_else(|| spelled_number(&self.0))
    }

    /// Whether it is a text or a whole number, as the protocol has it (MCP 2025-11-25 and 2026-07-28 §Basic, "Requests").
    pub(crate) fn is_valid(&self) -> bool {
        self.0.starts_with('"') || Self::is_whole(&self.0)
    }

    /// Whether JSON text is a whole number, however it is written.
    pub(crate) fn is_whole(json: &str) -> bool {
        let digits = json.strip_prefix('-').unwrap_or(json);
        let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_plain || json.parse().is_ok_and(|number: f64| number.fract() == 0.0)
    }

    /// Whether it is written as the gateway writes its own.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.parse::<u64>().is_ok()
    }
}

/// The whole number that JSON text means: `"7"`, `7.0`, `7e0`. A text with anything else in it, be it a zero in front, may mean
/// something else.
pub(crate) fn spelled_number(json: &str) -> Option<u64> {
    /// Beyond, not each whole number has a floating-point one of its own.
    const EXACT: f64 = 9_007_199_254_740_991.0;
    if json.starts_with('"') {
        let text: String = serde_json::from_str(json).ok()?;
        let plain =
            text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
        return plain.then(|| text.parse().ok())?;
    }
    // The nearest one, which `serde_json` does not promise.
    let number: f64 = json.parse().ok()?;
    let whole = number.fract() == 0.0 && (0.0..=EXACT).contains(&number);
    whole.then(|| format!("{number:.0}").parse().ok())?
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_pass_byte_for_byte() {
        let text = r#"{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/call","params":{"z":1.0,"a":1e400,"a2":"\u00e9\/"}}"#;
        let message = Message::parse(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(message.to_line()).unwrap(), text);
    }

    #[test]
    fn a_null_result_is_a_result() {
        let text = br#"{"jsonrpc":"2.0","id":"x","result":null}"#;
        assert_eq!(Message::parse(text).unwrap().to_line(), text);
    }

    #[test]
    fn null_beside_result_or_error_counts_as_left_out() {
        for (given, read) in [
            (r#""result":{"a":1},"error":null"#, r#""result":{"a":1}"#),
            (r#""error":null,"result":{"a":1}"#, r#""result":{"a":1}"#),
            (r#""result":null,"error":null"#, r#""result":null"#),
            (r#""result":null,"error":{"code":1,"message":"m"}"#, r#""error":{"code":1,"message":"m"}"#),
        ] {
            let whole = |members: &str| format!(r#"{{"jsonrpc":"2.0","id":1,{members}}}"#);
            let mut told = false;
            let message = Message::of_server(whole(given).as_bytes(), || told = true).unwrap();
            assert_eq!(String::from_utf8(message.to_line()).unwrap(), whole(read));
            assert!(told, "{given}");
            Message::of_server(whole(read).as_bytes(), || panic!("{read}")).unwrap();
        }
        for refused in
            [r#""result":{},"error":{}"#, r#""method":"m","error":null"#, r#""method":"m","result":null"#]
        {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,{refused}}}"#);
            assert!(matches!(Message::parse(text.as_bytes()), Err(ParseError::Shape(_))), "{refused}");
        }
    }

    #[test]
    fn result_of_a_tool_says_by_one_member_of_its_own_that_it_has_failed() {
        for (text, failed) in [
            (r#"{"content":[],"isError":true}"#, true),
            (r#"{"isError" : true,"content":[]}"#, true),
            (r#"{"content":[{"text":"\"isError\":true"}],"isError":false}"#, false),
            (r#"{"structuredContent":{"isError":true}}"#, false),
            (r#"{"structuredContent":{"isError":false},"isError":true}"#, true),
            (r#"{"content":[],"isError":"true"}"#, false),
            (r#"{"content":[]}"#, false),
            ("[]", false),
        ] {
            let result = Outcome::Result(RawValue::from_string(text.to_owned()).unwrap());
            assert_eq!(result.is_tool_error(), failed, "{text}");
        }
    }

    #[test]
    fn line_breaks_between_tokens_never_reach_the_wire() {
        let message =
            Message::parse(b"{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":{\r\n\"a\" :\n1}}").unwrap();
        assert_eq!(message.to_line(), b"{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":{  \"a\" : 1}}");
    }

    #[test]
    fn identifiers_are_numbers_where_they_can_mean_nothing_else() {
        for (text, number) in [
            ("7", Some(7)),
            ("\"7\"", Some(7)),
            ("\"0\"", Some(0)),
            ("\"\\u0037\"", Some(7)),
            ("7.0", Some(7)),
            ("7.000", Some(7)),
            ("7e0", Some(7)),
            ("70E-1", Some(7)),
            ("0.7e1", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("\"18446744073709551615\"", Some(u64::MAX)),
            ("9007199254740991.0", Some(9_007_199_254_740_991)),
            ("\"07\"", None),
            ("\"\"", None),
            ("\" 7\"", None),
            ("\"+7\"", None),
            ("\"-7\"", None),
            ("\"7.0\"", None),
            ("\"7e0\"", None),
            ("\"0x7\"", None),
            ("\"mcpeg-7\"", None),
            ("\"\u{667}\"", None),
            ("7.5", None),
            ("-7", None),
            ("-7.0", None),
            ("1e400", None),
            ("9007199254740993.0", None),
            ("\"18446744073709551616\"", None),
        ] {
            let id = Id::from_json(text).unwrap();
            assert_eq!((id.as_number(), id.is_plain()), (number, text.parse::<u64>().is_ok()), "{text}");
        }
    }

    #[test]
    fn wrong_shapes_are_told_apart_from_wrong_json() {
        for shape in [
            r#"{"jsonrpc":"1.0","method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"m","result":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            &format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"m"}}"#, "x".repeat(IDENTIFIER - 1)),
            &format!(r#"{{"jsonrpc":"2.0","id":{},"method":"m"}}"#, "7".repeat(IDENTIFIER + 1)),
            "7",
        ] {
            assert!(matches!(Message::parse(shape.as_bytes()), Err(ParseError::Shape(_))), "{shape}");
        }
        assert!(matches!(Message::parse(br#"[{"jsonrpc":"2.0","method":"m"}]"#), Err(ParseError::Batch)));
        for json in [&b"{"[..], b"", b"[1,", b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}"] {
            assert!(matches!(Message::parse(json), Err(ParseError::Json(_))), "{json:?}");
        }
    }

    #[test]
    fn deep_nesting_does_not_exhaust_the_stack() {
        let deep = format!(
            r#"{{"jsonrpc":"2.0","method":"m","params":{}{}}}"#,
            "[".repeat(200_000),
            "]".repeat(200_000)
        );
        assert!(Message::parse(deep.as_bytes()).is_ok());
    }
}
