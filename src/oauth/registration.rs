//! Who mcpeg is at an authorization server: by a document of its own where the server reads such, as it was registered by
//! hand, or as it registers itself (RFC 7591).

use fieldwork::Fieldwork;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::discovery::Authority;
use super::error::Error;
use super::web::{Answer, Web};
use crate::config::OAuth;

/// Who mcpeg is at one authorization server.
#[derive(Clone, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(super)")]
pub(crate) struct Client {
    /// Its identifier.
    #[field(get)]
    id: String,
    /// Its secret, if it has one.
    #[field(get)]
    secret: Option<String>,
    /// Whether the secret goes into the form, for servers that take it nowhere else.
    #[field(get = is_in_form)]
    in_form: bool,
    /// Whether the secret is one that the server has just made, and nobody else keeps.
    made: bool,
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
pub(crate) async fn identify(
    web: &Web,
    authority: &Authority,
    oauth: &OAuth,
    back: Option<&str>,
) -> Result<Client, Error> {
    if let Some(url) = oauth.client_metadata_url.as_ref().filter(|_| authority.reads_clients()) {
        return Ok(Client { id: url.clone(), secret: None, in_form: false, made: false });
    }
    if let Some(id) = &oauth.client_id {
        return Ok(Client::configured(id, oauth, authority.takes_form_only()));
    }
    let registers = oauth.needs_person();
    let Some(place) = authority.registration_endpoint().filter(|_| registers) else {
        return Err(Error::NoClient(authority.issuer().to_owned()));
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
        "scope": authority.scopes().join(" "),
    });
    let answer = web.post_json(place, &document).await?;
    if !matches!(answer.status(), StatusCode::CREATED | StatusCode::OK) {
        return Err(answer.refusal("the registration", &[]));
    }
    let made: Registered = answer.document()?;
    let is_public = made.token_endpoint_auth_method.as_deref().is_none_or(|method| method == "none");
    let in_form = made.token_endpoint_auth_method.as_deref() == Some("client_secret_post");
    let secret = made.client_secret.filter(|_| !is_public);
    Ok(Client::registered(&made.client_id, secret.as_deref(), in_form))
}

impl Client {
    /// That of this identifier, with the secret of the configuration.
    pub(super) fn configured(id: &str, oauth: &OAuth, in_form: bool) -> Self {
        let secret = oauth.client_secret.as_ref().map(|secret| secret.reveal().to_owned());
        Self { id: id.to_owned(), secret, in_form, made: false }
    }

    /// That of this identifier, with the secret that the server has made for it.
    pub(super) fn registered(id: &str, secret: Option<&str>, in_form: bool) -> Self {
        Self { id: id.to_owned(), secret: secret.map(str::to_owned), in_form, made: true }
    }

    /// Its secret, if the server has made it, and nobody else keeps it.
    pub(super) fn made_secret(&self) -> Option<&str> {
        self.secret().filter(|_| self.made)
    }

    /// Posts a form as this client.
    pub(super) async fn post(&self, web: &Web, place: &str, form: &[(&str, &str)]) -> Result<Answer, Error> {
        let mut form = form.to_vec();
        match self.secret() {
            Some(secret) if !self.in_form => {
                return web.post_form(place, &form, Some((&self.id, secret))).await;
            }
            Some(secret) => form.push(("client_secret", secret)),
            None => {}
        }
        form.push(("client_id", &self.id));
        web.post_form(place, &form, None).await
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Client").field(&self.id).finish()
    }
}
