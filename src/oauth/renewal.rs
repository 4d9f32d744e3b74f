//! The next token of a login, and its end.

use super::error::Error;
use super::grant::{Granted, request};
use super::login::Login;
use super::web::Web;
use crate::config::OAuth;

/// Gets a token for what was kept of a login; `None` if that has nothing to get one for.
pub(crate) async fn refresh(web: &Web, login: &Login, oauth: &OAuth) -> Option<Result<Granted, Error>> {
    let token = login.refresh_token()?;
    let form = [("grant_type", "refresh_token"), ("refresh_token", token), ("resource", login.resource())];
    let client = login.client(oauth);
    Some(request(web, login.token_endpoint(), &client, &form, "another token").await)
}

/// Gives the tokens of a login back, as far as the server takes them; whether it does.
pub(crate) async fn revoke(web: &Web, login: &Login, oauth: &OAuth) -> Result<bool, Error> {
    let Some(place) = login.revocation_endpoint() else { return Ok(false) };
    let client = login.client(oauth);
    // The lasting one first: with it go all that were had for it (RFC 7009 §2.1).
    let lasting = login.refresh_token().map(|token| (token, "refresh_token"));
    let mut is_revoked = false;
    for (token, hint) in lasting.into_iter().chain([(login.access_token(), "access_token")]) {
        let answer = client.post(web, place, &[("token", token), ("token_type_hint", hint)]).await?;
        if answer.status().is_success() {
            is_revoked = true;
            continue;
        }
        match answer.refusal("the end of the login", &[token]) {
            // Tokens that say themselves until when they are good (RFC 7009 §2.2.1).
            Error::Refused { code, .. } if code == "unsupported_token_type" => {}
            refused => return Err(refused),
        }
    }
    Ok(is_revoked)
}
