//! Requests for tokens.

use http::StatusCode;
use serde::Deserialize;

use super::discovery::Authority;
use super::error::Error;
use super::registration::Client;
use super::web::{Answer, Web};

/// What a server grants (RFC 6749 §5.1).
#[derive(Deserialize)]
pub struct Granted {
    /// The token.
    pub(super) access_token: String,
    /// What is done with it.
    token_type: String,
    /// For how many seconds it is good.
    pub(super) expires_in: Option<u64>,
    /// What the next one is had for.
    pub(super) refresh_token: Option<String>,
    /// What was granted, where it is something else than was asked for.
    pub(super) scope: Option<String>,
}

/// Gets tokens for a code that a browser has brought back.
///
/// # Errors
/// When the server cannot be reached, or refuses.
pub async fn exchange_code(
    web: &Web,
    authority: &Authority,
    client: &Client,
    (code, verifier, back): (&str, &str, &str),
) -> Result<Granted, Error> {
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("code_verifier", verifier),
        ("redirect_uri", back),
        ("resource", &authority.resource),
    ];
    request(web, authority.token_endpoint()?, client, &form, "the code").await
}

/// Gets a token for mcpeg itself.
///
/// # Errors
/// When the server cannot be reached, or refuses.
pub async fn client_credentials(web: &Web, authority: &Authority, client: &Client) -> Result<Granted, Error> {
    let scopes = authority.scopes.join(" ");
    let mut form = vec![("grant_type", "client_credentials"), ("resource", authority.resource.as_str())];
    if !scopes.is_empty() {
        form.push(("scope", &scopes));
    }
    request(web, authority.token_endpoint()?, client, &form, "a token").await
}

/// Sends a request for tokens.
pub(super) async fn request(
    web: &Web,
    place: &str,
    client: &Client,
    form: &[(&str, &str)],
    act: &'static str,
) -> Result<Granted, Error> {
    let answer = post(web, place, client, form).await?;
    if answer.status != StatusCode::OK {
        let secrets: Vec<_> = form.iter().map(|(_, value)| *value).chain(client.secret.as_deref()).collect();
        return Err(answer.refusal(act, &secrets));
    }
    let granted: Granted = answer.document()?;
    let is_usable = granted.token_type.eq_ignore_ascii_case("bearer")
        && !granted.access_token.is_empty()
        && granted.access_token.bytes().all(|byte| byte.is_ascii_graphic());
    if is_usable {
        Ok(granted)
    } else {
        Err(Error::strange(&answer.host, "a token that is none of a bearer"))
    }
}

/// Posts a form as this client.
pub(super) async fn post(
    web: &Web,
    place: &str,
    client: &Client,
    form: &[(&str, &str)],
) -> Result<Answer, Error> {
    let mut form = form.to_vec();
    match &client.secret {
        Some(secret) if !client.in_form => {
            return web.post_form(place, &form, Some((&client.id, secret))).await;
        }
        Some(secret) => form.push(("client_secret", secret)),
        None => {}
    }
    form.push(("client_id", &client.id));
    web.post_form(place, &form, None).await
}
