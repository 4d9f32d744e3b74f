//! A client's token for one that is made for an upstream (RFC 8693). What a client has shown goes to its own issuer and to
//! nobody else, and is never what comes back.

use super::discovery::discover;
use super::error::Error;
use super::grant::request;
use super::login::Login;
use super::registration::identify;
use super::web::Web;
use crate::config::{OAuth, Secret};
use crate::sys::clock::seconds_now;

/// That of requests (RFC 8693 §2.1).
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// What both tokens are (RFC 8693 §3).
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A token that a client has shown, and that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    /// The token.
    token: Secret,
    /// Who has made it.
    issuer: String,
    /// When it is over, in seconds since 1970.
    until: u64,
}

impl Subject {
    /// A token of this issuer, which is good until then.
    #[must_use]
    pub(crate) const fn new(token: Secret, issuer: String, until: u64) -> Self {
        Self { token, issuer, until }
    }

    /// Who has made it.
    #[must_use]
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// For how many seconds it is still good.
    #[must_use]
    pub(crate) fn left(&self) -> u64 {
        self.until.saturating_sub(seconds_now())
    }

    /// Whether it is good for longer than another one.
    #[must_use]
    pub(crate) const fn outlives(&self, other: &Self) -> bool {
        self.until > other.until
    }
}

/// Gets a token for the upstream at `url` in exchange for a client's. Without an end of its own it ends with that.
///
/// # Errors
/// When the server cannot be reached, or refuses.
pub(crate) async fn exchange(web: &Web, url: &str, oauth: &OAuth, subject: &Subject) -> Result<Login, Error> {
    let authority = discover(web, url, oauth, None).await?;
    let client = identify(web, &authority, oauth, None).await?;
    let scope = authority.scope();
    let mut form = vec![
        ("grant_type", GRANT),
        ("subject_token", subject.token.reveal()),
        ("subject_token_type", ACCESS_TOKEN),
        ("requested_token_type", ACCESS_TOKEN),
        ("resource", authority.resource()),
    ];
    form.extend(scope.as_deref().map(|scope| ("scope", scope)));
    let granted = request(web, authority.token_endpoint()?, &client, &form, "the exchange").await?;
    if granted.access_token() == subject.token.reveal() {
        return Err(Error::Strange {
            host: authority.issuer().to_owned(),
            what: "the token that it was to exchange".to_owned(),
        });
    }
    Ok(Login::new(&authority, &client, &granted.ending_within(subject.left())))
}
