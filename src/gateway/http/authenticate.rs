//! Who has sent a request: by its token (RFC 6750), or by what the kernel says of the other end of a Unix socket.
//!
//! A token in the query is refused, since addresses are logged; so is more than one `Authorization` header, of which others may
//! read another one. What a client has shown is for this gateway: it is neither logged nor passed on.

use std::sync::Arc;

use axum::response::Response;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use tokio_util::sync::CancellationToken;

use super::answer;
use super::peer::Peer;
use crate::config::Auth;
use crate::gateway::access::{Clients, KnownTokens, Shown, Usage};
use crate::gateway::client::ClientName;
use crate::gateway::error::Fault;
use crate::gateway::relay::{Era, code};
use crate::tokens::Refusal;

/// What needs no proof: it says nothing but that the gateway is there.
const OPEN: [&str; 3] = ["/", "/health/live", "/health/ready"];
/// The scheme of tokens, and what a client without one is told.
const BEARER: &str = "Bearer";

/// A client that has shown who it is.
#[derive(Debug)]
pub(crate) struct Identified {
    /// Its name.
    name: ClientName,
    /// Cancelled when what it has shown is no longer good.
    revoked: CancellationToken,
    /// Cancelled when the configuration has the client no longer.
    gone: CancellationToken,
    /// What it uses of its limits, where the configuration gives it any by its name.
    usage: Option<Arc<Usage>>,
}

impl Identified {
    /// Its name.
    pub(super) const fn name(&self) -> &ClientName {
        &self.name
    }

    /// What it uses of its limits, where the configuration gives it any by its name.
    pub(super) const fn usage(&self) -> Option<&Arc<Usage>> {
        self.usage.as_ref()
    }

    /// Waits until it may not use the gateway any more.
    pub(super) async fn ended(&self) {
        tokio::select! {
            () = self.revoked.cancelled() => {}
            () = self.gone.cancelled() => {}
        }
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// The status.
    status: StatusCode,
    /// What `WWW-Authenticate` says.
    challenge: &'static str,
    /// One sentence for a person.
    reason: &'static str,
}

impl Refused {
    /// Nothing was shown.
    const NOTHING: Self = Self {
        status: StatusCode::UNAUTHORIZED,
        challenge: BEARER,
        reason: "this gateway needs a token; send it as `Authorization: Bearer TOKEN`",
    };
    /// What was shown is not good.
    const INVALID: Self = Self {
        status: StatusCode::UNAUTHORIZED,
        challenge: "Bearer error=\"invalid_token\"",
        reason: "the token is not known here, or was revoked",
    };
    /// Its time is over.
    const EXPIRED: Self = Self { reason: "the token has expired", ..Self::INVALID };
    /// Its time has not come.
    const EARLY: Self = Self { reason: "the token is from the future; check the clocks", ..Self::INVALID };
    /// It is in the wrong place.
    const QUERY: Self = Self {
        status: StatusCode::BAD_REQUEST,
        challenge: "Bearer error=\"invalid_request\"",
        reason: "a token must not be in the address, which is logged; send it as `Authorization: Bearer TOKEN`",
    };
    /// There are several.
    const SEVERAL: Self = Self { reason: "there is more than one Authorization header", ..Self::QUERY };
    /// It proves somebody who is no client.
    const NOBODY: Self = Self {
        status: StatusCode::FORBIDDEN,
        challenge: "Bearer error=\"insufficient_scope\"",
        reason: "no client of the configuration is recognised by what was shown",
    };

    /// One sentence for a person.
    pub(super) const fn reason(self) -> &'static str {
        self.reason
    }

    /// The answer.
    pub(super) fn answer(self) -> Response {
        let fault = Fault::downstream(code::INVALID_REQUEST, self.status, self.reason);
        let mut response = answer::fault(&fault, None, Era::Modern);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(self.challenge));
        response
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unknown => Self::INVALID,
            Refusal::Expired => Self::EXPIRED,
            Refusal::Early => Self::EARLY,
        }
    }
}

/// What is asked of those who connect to a listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The ways of which one is enough, where the listener says so; none is every way.
    pub(super) ways: &'a [Auth],
    /// Whether the configuration opens those to anybody that do not say so.
    pub(super) open: bool,
}

impl Asked<'_> {
    /// Whether this way is one of them.
    fn takes(self, way: Auth) -> bool {
        self.ways.is_empty() || self.ways.contains(&way)
    }
}

/// The client of a request; `None` where it need not be one.
pub(super) fn authenticate(
    (clients, tokens): (&Clients, &KnownTokens),
    asked: Asked<'_>,
    (head, peer): (&Parts, &Peer),
) -> Result<Option<Arc<Identified>>, Refused> {
    if head.method == Method::OPTIONS || OPEN.contains(&head.uri.path()) {
        return Ok(None);
    }
    let shown =
        token(head)?.filter(|_| asked.takes(Auth::Token)).map(|token| tokens.find(token)).transpose()?;
    let kernel = peer.kernel.as_deref().filter(|_| asked.takes(Auth::Peer));
    let name = shown.as_ref().map(|(name, _)| name);
    if let Some(client) = clients.recognise(Shown { token: name, kernel }) {
        let by_token = shown.filter(|(name, _)| name == client.name());
        let revoked = by_token.map_or_else(CancellationToken::new, |(_, revoked)| revoked);
        let (name, gone) = (client.name().clone(), client.gone().clone());
        return Ok(Some(Arc::new(Identified { name, revoked, gone, usage: client.usage().cloned() })));
    }
    match shown {
        Some((name, revoked)) if clients.is_empty() => {
            Ok(Some(Arc::new(Identified { name, revoked, gone: CancellationToken::new(), usage: None })))
        }
        Some(_) => Err(Refused::NOBODY),
        None if asked.open && asked.ways.is_empty() => Ok(None),
        None if kernel.is_some() && (clients.ask_kernel() || !asked.takes(Auth::Token)) => {
            Err(Refused::NOBODY)
        }
        None => Err(Refused::NOTHING),
    }
}

/// The token that a request has.
fn token(head: &Parts) -> Result<Option<&str>, Refused> {
    let parameters = head.uri.query().unwrap_or_default().split('&');
    let is_token = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        name.eq_ignore_ascii_case("access_token") || value.starts_with("mcpeg_")
    };
    if parameters.into_iter().any(is_token) {
        return Err(Refused::QUERY);
    }
    let mut headers = head.headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = headers.next() else { return Ok(None) };
    if headers.next().is_some() {
        return Err(Refused::SEVERAL);
    }
    let (scheme, token) =
        value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Refused::INVALID)?;
    if !scheme.eq_ignore_ascii_case(BEARER) {
        return Err(Refused::NOTHING);
    }
    Ok(Some(token.trim()))
}
