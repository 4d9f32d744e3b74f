//! Who mcpeg is at an authorization server: by a document of its own where the server reads such, as it was registered by
//! hand, or as it registers itself (RFC 7591).

use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::discovery::Authority;
use super::error::Error;
use super::web::Web;
use crate::config::{Flow, OAuth};

/// Who mcpeg is at one authorization server.
#[derive(Clone)]
pub struct Client {
    /// Its identifier.
    pub(super) id: String,
    /// Its secret, if it has one.
    pub(super) secret: Option<String>,
    /// Whether the secret goes into the form, for servers that take it nowhere else.
    pub(super) in_form: bool,
    /// Whether the secret is one that the server has just made, and nobody else keeps.
    pub(super) made: bool,
}

/// What a server answers to a registration.
#[derive(Deserialize)]
struct Registered {
    /// The identifier.
    client_id: String,
    /// The secret, though none was asked for.
    client_secret: Option<String>,
    /// How it is shown.
    token_endpoint_auth_method: Option<String>,
}

/// Finds out who mcpeg is there, or registers it, with this address that browsers are sent back to.
///
/// # Errors
/// When the server knows nobody, and registers nobody.
pub async fn identify(
    web: &Web,
    authority: &Authority,
    oauth: &OAuth,
    back: Option<&str>,
) -> Result<Client, Error> {
    let metadata = &authority.metadata;
    if let Some(url) =
        oauth.client_metadata_url.as_ref().filter(|_| metadata.client_id_metadata_document_supported)
    {
        return Ok(Client { id: url.clone(), secret: None, in_form: false, made: false });
    }
    if let Some(id) = &oauth.client_id {
        let secret = oauth.client_secret.as_ref().map(|secret| secret.reveal().to_owned());
        return Ok(Client { id: id.clone(), secret, in_form: takes_form_only(authority), made: false });
    }
    let Some(place) =
        metadata.registration_endpoint.as_ref().filter(|_| oauth.flow != Flow::ClientCredentials)
    else {
        return Err(Error::NoClient(metadata.issuer.clone()));
    };
    let mut grants = vec!["authorization_code", "refresh_token"];
    if back.is_none() {
        grants[0] = "urn:ietf:params:oauth:grant-type:device_code";
    }
    let document = json!({
        "client_name": "mcpeg",
        "application_type": "native",
        "redirect_uris": back.iter().collect::<Vec<_>>(),
        "grant_types": grants,
        "response_types": if back.is_some() { &["code"][..] } else { &[] },
        "token_endpoint_auth_method": "none",
        "scope": authority.scopes.join(" "),
    });
    let answer = web.post_json(place, &document).await?;
    if !matches!(answer.status, StatusCode::CREATED | StatusCode::OK) {
        return Err(answer.refusal("the registration", &[]));
    }
    let made: Registered = answer.document()?;
    let is_public = made.token_endpoint_auth_method.as_deref().is_none_or(|method| method == "none");
    let in_form = made.token_endpoint_auth_method.as_deref() == Some("client_secret_post");
    Ok(Client { id: made.client_id, secret: made.client_secret.filter(|_| !is_public), in_form, made: true })
}

/// Whether a server takes secrets in forms only; what it does not say is that it takes both.
fn takes_form_only(authority: &Authority) -> bool {
    let methods = authority.metadata.token_endpoint_auth_methods_supported.as_deref().unwrap_or_default();
    let has = |name: &str| methods.iter().any(|method| method == name);
    has("client_secret_post") && !has("client_secret_basic")
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Client").field(&self.id).finish()
    }
}
