//! How mcpeg itself logs in at an upstream that asks for it: `oauth = { … }`.

use http::Uri;
use toml::de::DeValue;

use super::address::ListenAddr;
use super::key::{Key, Kind};
use super::kinds;
use super::reader::{Reader, Value};
use super::secret::Secret;
use super::suggestion::suggestion;

/// How mcpeg logs in.
pub(super) const OAUTH: Kind<Box<OAuth>> = Kind::new("a table, which may be empty", oauth);

/// The keys of the table.
const NAMES: [&str; 6] = ["issuer", "client_id", "client_secret", "client_metadata_url", "scopes", "flow"];
/// The strings of [`Flow`].
const FLOWS: [(&str, Flow); 3] =
    [("code", Flow::Code), ("device", Flow::Device), ("client-credentials", Flow::ClientCredentials)];

/// How tokens are got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// A person logs in with a browser, which is sent back to mcpeg.
    #[default]
    Code,
    /// A person logs in with a browser anywhere, and types a code.
    Device,
    /// mcpeg is the party that is known to the server; there is no person.
    ClientCredentials,
}

/// What mcpeg needs to get tokens for an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OAuth {
    /// The authorization server; `None` is the one that the upstream names.
    pub issuer: Option<String>,
    /// The identifier under which mcpeg is registered there.
    pub client_id: Option<String>,
    /// The secret that goes with it.
    pub client_secret: Option<Secret>,
    /// Where a document is that says who mcpeg is: the identifier at servers that read such documents.
    pub client_metadata_url: Option<String>,
    /// What is asked for; if empty, what the upstream says that it needs.
    pub scopes: Vec<String>,
    /// How tokens are got.
    pub flow: Flow,
}

impl OAuth {
    /// Whether a person has to log in.
    #[must_use]
    pub const fn needs_person(&self) -> bool {
        !matches!(self.flow, Flow::ClientCredentials)
    }
}

/// Whether tokens and secrets may be sent to this URL: over TLS, or within this machine (OAuth 2.1 §1.5).
#[must_use]
pub fn is_confidential(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(host)) => !host.is_empty(),
        (Some("http"), Some(host)) => is_loopback(host),
        _ => false,
    }
}

/// Whether a host of a URL is this machine.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    ListenAddr::Tcp { host: host.trim_matches(['[', ']']).to_owned(), port: 0 }.is_local()
}

/// Reads the table.
fn oauth(key: &Key<Box<OAuth>>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Box<OAuth>> {
    let DeValue::Table(table) = value.get_ref() else {
        key.wrong_type(value, reader, format!("write {} = {}", key.name, key.example));
        return None;
    };
    let mut read = OAuth::default();
    for (entry, value) in table {
        let full = format!("{}.{}", key.name, entry.get_ref());
        match entry.get_ref().as_ref() {
            "scopes" => read.scopes = scopes(&full, value, reader)?,
            "flow" => read.flow = flow(&full, value, reader)?,
            "issuer" => read.issuer = url(&full, value, reader),
            "client_metadata_url" => read.client_metadata_url = url(&full, value, reader),
            "client_id" => read.client_id = text(&full, value, reader),
            "client_secret" => read.client_secret = text(&full, value, reader).map(Secret::new),
            other => {
                let hint = suggestion(other, &NAMES);
                reader.refuse_structure(&entry.span(), format!("unknown key `{full}`"), hint);
            }
        }
    }
    check(&read, value, reader);
    Some(Box::new(read))
}

/// Refuses what does not go together. A secret is told to the server that it was made for and to no other, whatever an
/// upstream says of its authorization server.
fn check(read: &OAuth, value: &Value<'_>, reader: &mut Reader<'_>) {
    let has_secret = read.client_secret.is_some();
    if has_secret && read.client_id.is_none() {
        reader.refuse(
            &value.span(),
            "`oauth.client_secret` has no meaning without `oauth.client_id`",
            "add it",
        );
    }
    if has_secret && read.issuer.is_none() {
        let hint = "add issuer = \"https://…\", the server at which mcpeg is registered";
        reader.refuse(&value.span(), "`oauth.client_secret` needs `oauth.issuer`", hint);
    }
    if read.flow == Flow::ClientCredentials && !has_secret {
        let message = "`oauth.flow` is \"client-credentials\", which needs `oauth.client_secret`";
        reader.refuse(&value.span(), message, "add client_id, client_secret and issuer");
    }
}

/// Reads a string, with its references resolved.
fn text(name: &str, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let text = kinds::element(name, value, reader)?;
    let expanded = reader.expanded(&text, name)?;
    if expanded.is_empty() {
        reader.refuse(&value.span(), format!("`{name}` is empty"), "write a value, or remove it");
    }
    Some(expanded)
}

/// Reads the address of a server or document.
fn url(name: &str, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let url = text(name, value, reader)?;
    let written = value.get_ref().as_str().unwrap_or_default();
    if !reader.assumes(written) && (!is_confidential(&url) || url.contains(['#', '@'])) {
        let hint = "write a URL that begins with https:// (or, on this machine, http://)";
        reader.refuse(&value.span(), format!("`{name}` cannot be used"), hint);
    }
    Some(url)
}

/// Reads scopes (RFC 6749 §3.3).
fn scopes(name: &str, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let DeValue::Array(items) = value.get_ref() else {
        reader.wrong_type(name, "an array of strings", value, "write scopes = [\"…\"]");
        return None;
    };
    let mut scopes = Vec::new();
    for item in items {
        let scope = text(name, item, reader)?;
        if scope.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'"' | b'\\')) {
            reader.refuse(
                &item.span(),
                format!("`{name}` has a scope that cannot be"),
                "write one word in each string",
            );
        }
        scopes.push(scope);
    }
    Some(scopes)
}

/// Reads how tokens are got.
fn flow(name: &str, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Flow> {
    let text = kinds::element(name, value, reader)?;
    if let Some((_, flow)) = FLOWS.iter().find(|(flow, _)| flow == text.get_ref()) {
        return Some(*flow);
    }
    let listed = FLOWS.map(|(flow, _)| format!("\"{flow}\"")).join(" or ");
    let message = format!("`{name}` cannot be `{}`", text.get_ref());
    reader.refuse_structure(&value.span(), message, format!("write {listed}"));
    None
}
