//! Between the eras: what must be added to or taken from a message when the two sides speak different ones.
//!
//! Only requests and their results cross here. Questions of servers to clients of the other era are carried by the
//! handlers of the clients' eras.

use std::sync::LazyLock;

use serde_json::value::RawValue;

use super::meta::{MODERN, TASKS, key};
use super::method;
use super::raw::{Raw, raw, raw_string};
use super::splice::{Object, member, member_str, set_member, set_path};

/// The results that carry caching hints in the modern era (MCP 2026-07-28 §Caching).
const CACHEABLE: [&str; 7] = [
    method::TOOLS_LIST,
    method::PROMPTS_LIST,
    method::RESOURCES_LIST,
    method::TEMPLATES_LIST,
    method::RESOURCES_READ,
    method::SKILLS_LIST,
    method::SKILLS_GET,
];

/// The requests of clients that a modern server may answer with questions (MCP 2026-07-28 §Multi Round-Trip Requests).
const ROUNDS: [&str; 3] = [method::TOOLS_CALL, method::PROMPTS_GET, method::RESOURCES_READ];

/// What a server may ask its client, and the capability that the client has if it can answer.
const QUESTIONS: [(&str, &str); 3] =
    [(method::SAMPLE, "sampling"), (method::ELICIT, "elicitation"), (method::ROOTS_LIST, "roots")];

/// Members of a modern request that say that it is a repetition (MCP 2026-07-28 §Multi Round-Trip Requests).
const REPETITION: [&str; 2] = ["inputResponses", "requestState"];

/// Parameters of a modern request as a legacy server expects them: without the protocol's keys in `_meta`, and without
/// what makes it a repetition.
pub(crate) fn to_legacy_params(params: Option<Raw>) -> Option<Raw> {
    let params = params?;
    let first = Object::parse(&params).and_then(|object| object.without(|name| REPETITION.contains(&name)));
    let params = first.unwrap_or(params);
    let Some(meta) = member(&params, "_meta").and_then(Object::parse) else { return Some(params) };
    let Some(rest) = meta.without(|name| name.starts_with(key::PREFIX)) else { return Some(params) };
    let stripped = if Object::parse(&rest).is_some_and(|rest| rest.iter().next().is_none()) {
        Object::parse(&params).and_then(|object| object.without(|name| name == "_meta"))
    } else {
        set_member(&params, "_meta", rest.get())
    };
    Some(stripped.unwrap_or(params))
}

/// What a modern request must say about the client it comes from.
#[derive(Clone, Debug)]
pub(crate) struct ClientMeta {
    /// `clientInfo`.
    pub(crate) info: Raw,
    /// `clientCapabilities`.
    pub(crate) capabilities: Raw,
}

impl PartialEq for ClientMeta {
    /// Compares the texts: a client that writes itself differently is another one.
    fn eq(&self, other: &Self) -> bool {
        self.info.get() == other.info.get() && self.capabilities.get() == other.capabilities.get()
    }
}

impl ClientMeta {
    /// Whether a server may ask it anything.
    pub(crate) fn is_interactive(&self) -> bool {
        let capabilities = Object::parse(&self.capabilities);
        capabilities.is_some_and(|has| QUESTIONS.iter().any(|(_, capability)| has.get(capability).is_some()))
    }

    /// Name and version that it gives, if it does.
    pub(crate) fn software(&self) -> Option<String> {
        let name = member_str(&self.info, "name")?;
        let version = member_str(&self.info, "version").unwrap_or_default();
        Some(format!("{name} {version}").trim().to_owned())
    }

    /// What it says of the extensions that it has; `None` if it has none.
    pub(crate) fn extensions(&self) -> Option<&str> {
        // Most have none, which is asked for each call.
        if !self.capabilities.get().contains("extensions") {
            return None;
        }
        member(&self.capabilities, "extensions").map(RawValue::get).filter(|said| *said != "{}")
    }

    /// Whether a legacy server must be told of this very client, which takes a connection of its own: the server may ask it,
    /// or offer more to clients with its extensions. Tasks are not bridged.
    pub(crate) fn is_singular(&self) -> bool {
        self.is_interactive() || self.extensions().is_some() && self.in_other_era().extensions().is_some()
    }

    /// Whether it can answer a question of this method, and these parameters.
    pub(crate) fn answers(&self, method: &str, params: Option<&RawValue>) -> bool {
        QUESTIONS.iter().any(|(question, _)| *question == method) && self.lacks(method, params).is_none()
    }

    /// The capability without which it must not be asked this, and which it has not declared. Elicitation without words is
    /// that of forms (MCP 2025-11-25 §Elicitation, "Capabilities").
    pub(crate) fn lacks(&self, method: &str, params: Option<&RawValue>) -> Option<&'static str> {
        let (_, capability) = QUESTIONS.iter().find(|(question, _)| *question == method)?;
        let Some(declared) = member(&self.capabilities, capability) else { return Some(capability) };
        let asks = |name| params.and_then(|params| member(params, name));
        let has = |name| member(declared, name).is_some();
        match *capability {
            "elicitation" if asks("mode").is_some_and(|mode| mode.get() == "\"url\"") => {
                (!has("url")).then_some("elicitation.url")
            }
            "elicitation" => (has("url") && !has("form")).then_some("elicitation.form"),
            "sampling" if asks("tools").or_else(|| asks("toolChoice")).is_some() => {
                (!has("tools")).then_some("sampling.tools")
            }
            _ => None,
        }
    }

    /// The same client towards servers of the other era: without tasks, which are others there and cannot be bridged.
    pub(crate) fn in_other_era(&self) -> Self {
        let without = |json: &RawValue, dropped: &str| Object::parse(json)?.without(|name| name == dropped);
        let rest = without(&self.capabilities, "tasks");
        let rest = rest.as_deref().unwrap_or(&self.capabilities);
        let extensions = member(rest, "extensions").and_then(|extensions| without(extensions, TASKS));
        let rest = extensions
            .and_then(|extensions| set_member(rest, "extensions", extensions.get()))
            .unwrap_or_else(|| rest.to_owned());
        Self { info: self.info.clone(), capabilities: rest }
    }

    /// What a request says of its client; what it does not say is as of the gateway itself.
    pub(crate) fn of(info: Option<&RawValue>, capabilities: Option<&RawValue>) -> Self {
        Self {
            info: info.unwrap_or(&GATEWAY.info).to_owned(),
            capabilities: capabilities.unwrap_or(&GATEWAY.capabilities).to_owned(),
        }
    }

    /// Parameters as a modern server expects them: with revision, client and capabilities in `_meta`.
    pub(crate) fn apply(&self, params: Option<Raw>) -> Raw {
        let params = params.unwrap_or_else(|| raw(&serde_json::json!({})));
        [
            (key::VERSION, raw_string(MODERN).get()),
            (key::CLIENT_INFO, self.info.get()),
            (key::CAPABILITIES, self.capabilities.get()),
        ]
        .into_iter()
        .fold(params, |params, (name, value)| set_path(&params, &["_meta", name], value).unwrap_or(params))
    }
}

/// The gateway itself: it can answer nothing that a server may ask a client.
static GATEWAY: LazyLock<ClientMeta> = LazyLock::new(|| {
    let info = serde_json::json!({ "name": "mcpeg", "version": env!("CARGO_PKG_VERSION") });
    ClientMeta { info: raw(&info), capabilities: raw(&serde_json::json!({})) }
});

impl Default for ClientMeta {
    /// The gateway itself.
    fn default() -> Self {
        GATEWAY.clone()
    }
}

/// A legacy server's result as a modern client expects it: with `resultType`, and "do not cache" where it must say.
pub(crate) fn complete_result(method: &str, result: Raw) -> Raw {
    let hints: &[(&str, &str)] = if CACHEABLE.contains(&method) {
        &[("resultType", "\"complete\""), ("ttlMs", "0"), ("cacheScope", "\"private\"")]
    } else {
        &[("resultType", "\"complete\"")]
    };
    hints.iter().fold(result, |result, (name, value)| {
        if member(&result, name).is_some() {
            result
        } else {
            set_member(&result, name, value).unwrap_or(result)
        }
    })
}

/// Whether a modern server may answer a request with questions.
pub(crate) fn has_rounds(method: &str) -> bool {
    ROUNDS.contains(&method)
}

/// A modern server's result of this method as a legacy client expects it: without `resultType`. Where it is no answer, why
/// there is none.
pub(crate) fn plain_result(method: &str, result: Raw) -> Result<Raw, &'static str> {
    match member(&result, "resultType").map(RawValue::get) {
        None => return Ok(result),
        Some("\"complete\"") => {}
        Some("\"input_required\"") if has_rounds(method) => return Err("asks for input again and again"),
        Some("\"input_required\"") => return Err("asks for input in answer to a request that has none"),
        Some("\"task\"") => {
            return Err("has begun a task, though its client has not said that it knows tasks");
        }
        Some(_) => return Err("answered with a kind of result that its client's revision does not have"),
    }
    let plain = Object::parse(&result).and_then(|object| object.without(|name| name == "resultType"));
    Ok(plain.unwrap_or(result))
}

/// The parameters of a modern server's question as a legacy client expects them: a page to visit has an identifier there
/// (MCP 2025-11-25 §Elicitation, "URL Mode"), by which nobody will ever name it.
pub(crate) fn legacy_question(method: &str, params: Option<Raw>, number: u64) -> Option<Raw> {
    let params = params?;
    let is_page =
        method == method::ELICIT && member(&params, "mode").is_some_and(|mode| mode.get() == "\"url\"");
    if !is_page || member(&params, "elicitationId").is_some() {
        return Some(params);
    }
    let identifier = raw_string(&format!("mcpeg-{number}"));
    Some(set_member(&params, "elicitationId", identifier.get()).unwrap_or(params))
}

/// A question in which a person reads which of several servers asks. What is put before a model says it beside its words.
pub(crate) fn signed_question(method: &str, params: Option<Raw>, server: &str) -> Option<Raw> {
    let params = params?;
    let signed = match (method, member_str(&params, "message")) {
        (method::ELICIT, Some(words)) => {
            set_member(&params, "message", raw_string(&format!("[{server}] {words}")).get())
        }
        (method::SAMPLE, _) => set_path(&params, &["_meta", key::UPSTREAM], raw_string(server).get()),
        _ => None,
    };
    Some(signed.unwrap_or(params))
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    /// Raw JSON from text.
    fn json(text: &str) -> Raw {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn only_the_protocols_own_meta_is_stripped() {
        let params = json(
            r#"{"name":"x","_meta":{"progressToken":7,"io.modelcontextprotocol/protocolVersion":"2026-07-28","com.v/k":1}}"#,
        );
        let legacy = to_legacy_params(Some(params)).unwrap();
        assert_eq!(legacy.get(), r#"{"name":"x","_meta":{"progressToken":7,"com.v/k":1}}"#);
        let bare = json(r#"{"name":"x","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#);
        assert_eq!(to_legacy_params(Some(bare)).unwrap().get(), r#"{"name":"x"}"#);
    }

    #[test]
    fn legacy_results_become_complete_and_say_whether_to_cache() {
        assert_eq!(
            complete_result("tools/list", json(r#"{"tools":[]}"#)).get(),
            r#"{"tools":[],"resultType":"complete","ttlMs":0,"cacheScope":"private"}"#
        );
        assert_eq!(complete_result("tools/call", json("{}")).get(), r#"{"resultType":"complete"}"#);
    }

    #[test]
    fn modern_parameters_state_revision_client_and_capabilities() {
        let params = ClientMeta::default().apply(None);
        let meta = member(&params, "_meta").unwrap();
        assert_eq!(member(meta, key::VERSION).unwrap().get(), "\"2026-07-28\"");
        assert_eq!(member(meta, key::CAPABILITIES).unwrap().get(), "{}");
    }
}
