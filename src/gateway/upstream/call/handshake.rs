//! What a server said of itself when the connection to it was opened.

use serde::{Deserialize, Deserializer};
use serde_json::json;
use serde_json::value::RawValue;

use crate::gateway::relay::{Raw, key, member, raw, text};

/// What the server said of itself in the handshake.
#[derive(Clone, Debug)]
pub(crate) struct Handshake {
    /// The agreed revision.
    pub(crate) version: String,
    /// The server's capabilities.
    pub(crate) capabilities: Raw,
    /// Its instructions for models.
    pub(crate) instructions: Option<String>,
    /// Who it is: name and version, if it says so.
    pub(crate) server: Option<Raw>,
}

/// `initialize`'s or `server/discover`'s result, as far as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Greeting {
    /// Legacy: the agreed revision.
    protocol_version: Option<String>,
    /// Modern: what the server supports.
    supported_versions: Option<Vec<String>>,
    /// The server's capabilities.
    capabilities: Option<Raw>,
    /// Its instructions; what is no text counts as none.
    #[serde(default, deserialize_with = "text_or_nothing")]
    instructions: Option<String>,
    /// Who it is.
    server_info: Option<Raw>,
    /// Modern: the same, among others.
    #[serde(rename = "_meta")]
    meta: Option<Raw>,
}

impl Greeting {
    /// Reads the result of a request; `None` if it is none of a server that greets.
    pub(crate) fn read(result: &RawValue) -> Option<Self> {
        serde_json::from_str(result.get()).ok()
    }

    /// Legacy: the agreed revision.
    pub(crate) fn version(&self) -> Option<&str> {
        self.protocol_version.as_deref()
    }

    /// Whether a revision is among the supported ones.
    pub(crate) fn supports(&self, version: &str) -> bool {
        self.supported_versions.as_ref().is_some_and(|versions| versions.iter().any(|known| known == version))
    }

    /// What is kept of it.
    pub(crate) fn into_handshake(self, version: &str) -> Handshake {
        Handshake {
            version: version.to_owned(),
            capabilities: self.capabilities.unwrap_or_else(|| raw(&json!({}))),
            instructions: self.instructions,
            server: self
                .server_info
                .or_else(|| member(self.meta.as_deref()?, key::SERVER_INFO).map(ToOwned::to_owned)),
        }
    }
}

/// Reads a text, whatever else stands in its place.
fn text_or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let value = Raw::deserialize(deserializer)?;
    Ok(text(&value).map(std::borrow::Cow::into_owned))
}

impl Handshake {
    /// Whether the server says that it can do something: that is there, and neither `null` nor `false`.
    pub(crate) fn offers(&self, capability: &str) -> bool {
        member(&self.capabilities, capability).is_some_and(|value| !matches!(value.get(), "null" | "false"))
    }

    /// What the server says of an extension that it has.
    pub(crate) fn extension(&self, name: &str) -> Option<&RawValue> {
        let extensions = member(&self.capabilities, "extensions")?;
        member(extensions, name).filter(|value| !matches!(value.get(), "null" | "false"))
    }

    /// Whether the server lets clients subscribe to resources.
    pub(crate) fn lets_subscribe(&self) -> bool {
        member(&self.capabilities, "resources")
            .and_then(|resources| member(resources, "subscribe"))
            .is_some_and(|subscribe| subscribe.get() == "true")
    }

    /// Whether an answer to `server/discover` is of another server than this one: it was replaced behind its address.
    pub(crate) fn is_of_another(&self, discovered: &RawValue) -> bool {
        let Some(greeting) = Greeting::read(discovered) else { return false };
        let other = greeting.into_handshake(&self.version);
        let differ = |one: &RawValue, other: &RawValue| {
            let value = |raw: &RawValue| serde_json::from_str::<serde_json::Value>(raw.get()).ok();
            one.get() != other.get() && value(one) != value(other)
        };
        let servers = self.server.as_deref().zip(other.server.as_deref());
        differ(&self.capabilities, &other.capabilities)
            || self.instructions != other.instructions
            || servers.is_some_and(|(one, other)| differ(one, other))
    }

    /// Before the server has said anything.
    pub(crate) fn unknown() -> Self {
        Self { version: String::new(), capabilities: raw(&json!({})), instructions: None, server: None }
    }
}
