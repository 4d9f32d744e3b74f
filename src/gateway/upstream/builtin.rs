//! The built-in upstream `mcpeg`: read-only tools about the gateway itself. It is a modern server; legacy sessions
//! reach it over the bridge that they have to every modern upstream.

use std::fmt;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::config;
use crate::gateway::error::Fault;
use crate::gateway::relay::{MODERN, Outcome, Raw, member_str, method, raw};
use crate::gateway::status::Status;
use crate::gateway::upstream::call::exchange::{Cancel, Event, Exchange, Late, exchange};
use crate::gateway::upstream::call::handshake::Handshake;
use crate::gateway::upstream::call::request::Call;

/// Where a snapshot comes from.
pub(crate) type Snapshot = Box<dyn Fn() -> Status + Send + Sync>;

/// The gateway as an upstream of itself.
pub(crate) struct Builtin {
    /// The configuration file that `config_check` reads, if there is one.
    file: Option<PathBuf>,
    /// Set once the gateway is assembled.
    snapshot: OnceLock<Snapshot>,
}

/// Nothing has to be called off: every answer is immediate.
struct Immediate;

impl Cancel for Immediate {
    fn cancel(self: Box<Self>, _: Option<Raw>) {}
}

impl Builtin {
    /// The upstream of a gateway that was configured from `file`.
    pub(crate) const fn new(file: Option<PathBuf>) -> Self {
        Self { file, snapshot: OnceLock::new() }
    }

    /// Sets where snapshots come from; only the first call counts.
    pub(crate) fn observe(&self, snapshot: Snapshot) {
        let _ = self.snapshot.set(snapshot);
    }

    /// What it says of itself: it is a modern server.
    pub(crate) fn handshake() -> Handshake {
        Handshake {
            version: MODERN.to_owned(),
            capabilities: raw(&json!({ "tools": {} })),
            instructions: Some("Read-only tools about the mcpeg gateway itself.".to_owned()),
            server: None,
        }
    }

    /// Answers a request at once.
    pub(crate) fn call(&self, call: &Call, deadline: Instant, late: Late) -> Exchange {
        let (events, exchange) = exchange(Box::new(Immediate), deadline, late);
        let last = match self.answer(call) {
            Ok(result) => Event::Done(Outcome::Result(raw(&result))),
            Err(fault) => Event::Lost(fault),
        };
        events.end(last);
        exchange
    }

    /// The result of a request.
    fn answer(&self, call: &Call) -> Result<Value, Fault> {
        match call.method.as_str() {
            method::TOOLS_LIST => Ok(json!({
                "tools": tools(), "resultType": "complete", "ttlMs": 60_000, "cacheScope": "public"
            })),
            method::TOOLS_CALL => {
                let name =
                    call.params.as_deref().and_then(|params| member_str(params, "name")).unwrap_or_default();
                self.call_tool(&name)
            }
            method => Err(Fault::method_not_found(method)),
        }
    }

    /// The result of a tool.
    fn call_tool(&self, name: &str) -> Result<Value, Fault> {
        match (name, self.snapshot.get()) {
            ("status", Some(snapshot)) => Ok(structured(&json!(snapshot()))),
            ("upstreams", Some(snapshot)) => Ok(structured(&json!({ "upstreams": snapshot().upstreams }))),
            ("config_check", _) => Ok(self.check()),
            _ => Err(Fault::unknown("tool", name)),
        }
    }

    /// Loads the configuration files as they are now. Places and keys are told, values are not.
    fn check(&self) -> Value {
        let Some(file) = &self.file else {
            return structured(&json!({ "valid": true, "note": "there is no configuration file" }));
        };
        let source = config::Source { file: Some(file.clone()), overrides: config::Overrides::default() };
        match config::load(&source) {
            Ok(config) => structured(&json!({ "valid": true, "upstreams": config.upstreams.len() })),
            Err(error) => structured(&json!({ "valid": false, "problem": crate::exit::chain(&error) })),
        }
    }
}

/// A tool result that carries a value both as text and structured.
fn structured(value: &Value) -> Value {
    json!({
        "content": [{ "type": "text", "text": format!("{value:#}") }],
        "structuredContent": value,
        "isError": false,
        "resultType": "complete",
    })
}

/// The tools' definitions.
fn tools() -> Value {
    let tool = |name: &str, title: &str, description: &str| {
        json!({
            "name": name, "title": title, "description": description,
            "inputSchema": { "type": "object", "properties": {}, "additionalProperties": false },
            "annotations": { "readOnlyHint": true, "openWorldHint": false },
        })
    };
    json!([
        tool(
            "status",
            "Gateway status",
            "Version, uptime, sessions, requests in flight, and each upstream's state."
        ),
        tool("upstreams", "Upstreams", "Each upstream's transport, state, restarts and last error."),
        tool(
            "config_check",
            "Configuration test",
            "Whether the configuration files on disk are valid, and if not, why."
        ),
    ])
}

impl fmt::Debug for Builtin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builtin").field("file", &self.file).finish_non_exhaustive()
    }
}
