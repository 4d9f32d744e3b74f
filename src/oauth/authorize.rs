//! A login by a browser: the address that it begins at, and what the browser brings back. With PKCE (RFC 7636), resource
//! indicators (RFC 8707) and the issuer's name in the answer (RFC 9207).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::discovery::Authority;
use super::error::{Error, shown};
use super::registration::Client;

/// One login that has begun. What comes back is taken for no other.
pub(crate) struct Authorization {
    /// Where the browser goes.
    url: String,
    /// What the answer must have.
    state: String,
    /// What proves that the code is ours.
    verifier: String,
    /// Where the browser comes back to.
    back: String,
    /// The server that was asked.
    issuer: String,
    /// Whether the answer must name it.
    is_named: bool,
}

/// So many random bytes, as text for addresses.
fn random<const BYTES: usize>() -> Result<String, Error> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

impl Authorization {
    /// Begins one, from which the browser comes back to this address.
    pub(crate) fn begin(authority: &Authority, client: &Client, back: &str) -> Result<Self, Error> {
        let endpoint = authority.authorization_endpoint()?;
        let (state, verifier) = (random::<16>()?, random::<32>()?);
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs([
            ("response_type", "code"),
            ("client_id", client.id()),
            ("redirect_uri", back),
            ("state", &state),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("resource", authority.resource()),
        ]);
        if let Some(scope) = authority.scope() {
            query.append_pair("scope", &scope);
        }
        if authority.scopes().iter().any(|scope| scope == "offline_access") {
            // Else it is not granted: OpenID Connect Core 1.0 §11.
            query.append_pair("prompt", "consent");
        }
        let joint = if endpoint.contains('?') { '&' } else { '?' };
        let url = format!("{endpoint}{joint}{}", query.finish());
        let (issuer, is_named) = (authority.issuer().to_owned(), authority.names_itself());
        Ok(Self { url, state, verifier, back: back.to_owned(), issuer, is_named })
    }

    /// Where the browser goes.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What a token is had for together with a code: what proves that the code is ours, and where the browser came back to.
    pub(crate) fn proof(&self) -> (&str, &str) {
        (&self.verifier, &self.back)
    }

    /// Whether this query is an answer to this login, whatever it says.
    pub(crate) fn is_answer(&self, query: &str) -> bool {
        find(query, "state").as_deref() == Some(&self.state)
    }

    /// The code in what came back: a query, or the whole address.
    /// Fails when it is the answer to something else, or the server says no. What is not known to be of the server is not
    /// shown.
    pub(crate) fn code(&self, came: &str) -> Result<String, Error> {
        let query = came.trim();
        let query = query.split_once('?').map_or(query, |(_, query)| query);
        let query = query.split('#').next().unwrap_or(query);
        if !self.is_answer(query) {
            return Err(Error::ForeignAnswer("its `state` is another one"));
        }
        match find(query, "iss") {
            Some(iss) if iss != self.issuer => {
                return Err(Error::ForeignAnswer("it is of another authorization server"));
            }
            None if self.is_named => {
                return Err(Error::ForeignAnswer(
                    "it does not name its authorization server, which always does so",
                ));
            }
            _ => {}
        }
        if let Some(code) = find(query, "error") {
            let code = shown(&code);
            let words = find(query, "error_description").map(|words| format!(" ({})", shown(&words)));
            let error = format!("{code}{}", words.unwrap_or_default());
            return Err(Error::Refused { act: "the login", error, code });
        }
        find(query, "code").ok_or(Error::ForeignAnswer("it has no code"))
    }
}

/// A member of a query that is there once.
fn find(query: &str, name: &str) -> Option<String> {
    let mut found = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
    let value = found.next()?.1.into_owned();
    found.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A login at a server that names itself, or does not.
    fn login(is_named: bool) -> Authorization {
        let (url, state, verifier) = (String::new(), "S".to_owned(), String::new());
        Authorization { url, state, verifier, back: String::new(), issuer: "https://as".to_owned(), is_named }
    }

    #[test]
    fn only_the_answer_to_this_login_is_taken() {
        for (is_named, came, expected) in [
            (true, "code=C&state=S&iss=https%3A%2F%2Fas", Ok("C")),
            (true, "http://127.0.0.1:1/callback?iss=https://as&code=C&state=S#x", Ok("C")),
            (false, " code=C&state=S\n", Ok("C")),
            (false, "code=C&state=S&iss=https://evil", Err("it is of another")),
            (true, "code=C&state=S", Err("it does not name")),
            (
                true,
                "error=access_denied&state=S&iss=https://evil&error_description=secret",
                Err("it is of another"),
            ),
            (
                false,
                "error=access_denied&state=S&error_description=no%0Away",
                Err("access_denied (no\\nway)"),
            ),
            (false, "code=C&state=T", Err("its `state`")),
            (false, "code=C&state=S&state=S", Err("its `state`")),
            (false, "code=C", Err("its `state`")),
            (false, "code=C&code=D&state=S", Err("it has no code")),
            (false, "state=S", Err("it has no code")),
            (false, "", Err("its `state`")),
        ] {
            let code = login(is_named).code(came).map_err(|error| error.to_string());
            match expected {
                Ok(expected) => assert_eq!(code.as_deref(), Ok(expected), "{came}"),
                Err(part) => {
                    assert!(code.as_ref().is_err_and(|error| error.contains(part)), "{came}: {code:?}");
                }
            }
        }
    }
}
