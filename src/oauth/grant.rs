//! Requests for tokens.

use fieldwork::Fieldwork;
use http::StatusCode;
use serde::Deserialize;

use super::discovery::Authority;
use super::error::Error;
use super::registration::Client;
use super::web::Web;

/// What a server grants (RFC 6749 §5.1).
#[derive(Deserialize, Fieldwork)]
#[fieldwork(get, vis = "pub(super)")]
pub(crate) struct Granted {
    /// The token.
    access_token: String,
    /// What is done with it.
    #[field = false]
    token_type: String,
    /// For how many seconds it is good.
    expires_in: Option<u64>,
    /// What the next one is had for.
    refresh_token: Option<String>,
    /// What was granted, where it is something else than was asked for.
    scope: Option<String>,
}

impl Granted {
    /// The same, which ends after so many seconds where nothing else was said.
    pub(super) fn ending_within(self, seconds: u64) -> Self {
        Self { expires_in: self.expires_in.or(Some(seconds)), ..self }
    }
}

/// Gets tokens for a code that a browser has brought back.
pub(crate) async fn exchange_code(
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
        ("resource", authority.resource()),
    ];
    request(web, authority.token_endpoint()?, client, &form, "the code").await
}

/// Gets a token for mcpeg itself.
pub(crate) async fn client_credentials(
    web: &Web,
    authority: &Authority,
    client: &Client,
) -> Result<Granted, Error> {
    let scope = authority.scope();
    let mut form = vec![("grant_type", "client_credentials"), ("resource", authority.resource())];
    form.extend(scope.as_deref().map(|scope| ("scope", scope)));
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
    let answer = client.post(web, place, form).await?;
    if answer.status() != StatusCode::OK {
        let secrets: Vec<_> = form.iter().map(|(_, value)| *value).chain(client.secret()).collect();
        return Err(answer.refusal(act, &secrets));
    }
    let granted: Granted = answer.document()?;
    let is_usable = granted.token_type.eq_ignore_ascii_case("bearer")
        && !granted.access_token.is_empty()
        && granted.access_token.bytes().all(|byte| byte.is_ascii_graphic());
    if is_usable { Ok(granted) } else { Err(answer.strange("a token that is none of a bearer")) }
}
