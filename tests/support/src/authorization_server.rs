//! A real authorization server, `tests/fixtures/authorization_server.mjs`: its head says which clients and people it knows,
//! and what tests can ask of it.

use std::path::Path;

use serde_json::{Value, json};

use crate::client::post;
use crate::gateway::HttpUpstream;
use crate::tools::{Tools, bound};

/// An authorization server that runs until it is dropped.
pub struct AuthorizationServer {
    /// The process.
    process: HttpUpstream,
    /// Its script.
    _scratch: tempfile::TempDir,
}

impl AuthorizationServer {
    /// Starts one with these options.
    pub async fn start(options: &Value) -> Self {
        let (tools, scratch) = (Tools::get().await, tempfile::tempdir().expect("a scratch directory"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/authorization_server.mjs");
        let script = tools.script(scratch.path(), &source);
        let process = HttpUpstream::start(bound(&tools.node()).args([script, options.to_string()])).await;
        Self { process, _scratch: scratch }
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.process.port
    }

    /// Its identifier, which is its URL, too.
    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// Has it do something, as the head of the script says; what it answers.
    pub async fn ask(&self, act: &str, asked: Value) -> Value {
        let address = format!("127.0.0.1:{}", self.port());
        let answer = post(&address, &format!("/test/{act}"), &[], &asked.to_string()).await;
        let text = String::from_utf8_lossy(&answer.body);
        assert!(answer.status.is_success(), "{act} {asked}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// An access token for `resource`, of the person `who` by authorization code with PKCE, or of the client `service`.
    pub async fn token(&self, who: Option<&str>, resource: &str) -> String {
        let answer = self.ask("token", json!({ "as": who, "resource": resource })).await;
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }

    /// A JWT with these parts.
    pub async fn signed(&self, key: &str, header: Value, claims: &Value) -> String {
        let answer = self.ask("sign", json!({ "key": key, "header": header, "claims": claims })).await;
        answer["token"].as_str().expect("a token").to_owned()
    }

    /// How often a path was asked for.
    pub async fn count(&self, path: &str) -> u64 {
        self.ask("counts", json!({})).await[path].as_u64().unwrap_or(0)
    }
}
