//! Who has sent a request: by its token (RFC 6750), of the gateway's own or of an authorization server, by the certificate of its
//! connection, or by what the kernel says of the other end of a Unix socket.
//!
//! A token in the query is refused, since addresses are logged; so is more than one `Authorization` header, of which others may
//! read another one. What a client has shown is for this gateway: it is neither logged nor passed on.

use std::borrow::Cow;
use std::sync::Arc;

use axum::response::Response;
use fieldwork::Fieldwork;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use tokio_util::sync::CancellationToken;

use super::answer;
use super::peer::Peer;
use crate::config::Auth;
use crate::gateway::access::{
    self, Challenge, Clients, Issuer, Issuers, KnownTokens, Shown, Unproven, Usage, Verified, WELL_KNOWN,
};
use crate::gateway::client::ClientName;
use crate::gateway::error::Fault;
use crate::gateway::relay::{Era, code};
use crate::gateway::telemetry::{Proof, Reason};
use crate::tokens::Refusal;

/// What needs no proof: it says nothing but that the gateway is there.
const OPEN: [&str; 3] = ["/", "/health/live", "/health/ready"];
/// The scheme of tokens, and what a client without one is told.
const BEARER: &str = "Bearer";

/// A client that has shown who it is.
#[derive(Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(super)")]
pub(crate) struct Identified {
    /// Its name.
    #[field(get)]
    name: ClientName,
    /// How it has shown that.
    #[field(get(copy))]
    proof: Proof,
    /// Cancelled when what it has shown is no longer good.
    revoked: CancellationToken,
    /// Cancelled when the configuration has the client no longer.
    gone: CancellationToken,
    /// The token of an authorization server that it has shown.
    verified: Option<Arc<Verified>>,
    /// What it uses of its limits, where the configuration gives it any by its name.
    #[field(get(deref = false))]
    usage: Option<Arc<Usage>>,
}

impl Identified {
    /// A client by what is good until it is revoked.
    fn by_token(name: ClientName, revoked: CancellationToken) -> Self {
        let gone = CancellationToken::new();
        Self { name, proof: Proof::Token, revoked, gone, verified: None, usage: None }
    }

    /// A person, by a token of an authorization server, as this client.
    fn by_oauth(verified: Arc<Verified>, entry: &str) -> Self {
        let (name, revoked) = (verified.name(entry), verified.ended().clone());
        Self { proof: Proof::Oauth, verified: Some(verified), ..Self::by_token(name, revoked) }
    }

    /// Waits until it may not use the gateway any more.
    pub(super) async fn ended(&self) {
        tokio::select! {
            () = self.revoked.cancelled() => {}
            () = self.gone.cancelled() => {}
        }
    }

    /// Waits until what it has shown is over. What is then under way may end; what goes on for ever does not.
    pub(super) async fn expired(&self) {
        match &self.verified {
            Some(verified) => tokio::time::sleep(verified.left()).await,
            None => std::future::pending().await,
        }
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// The status.
    status: StatusCode,
    /// The same in a word, for those who count.
    cause: Reason,
    /// What `WWW-Authenticate` says.
    challenge: &'static str,
    /// One sentence for a person.
    reason: &'static str,
}

impl Refused {
    /// Nothing was shown.
    const NOTHING: Self = Self {
        status: StatusCode::UNAUTHORIZED,
        cause: Reason::Credential,
        challenge: BEARER,
        reason: "this gateway needs a token; send it as `Authorization: Bearer TOKEN`",
    };
    /// What was shown is not good.
    const INVALID: Self = Self {
        status: StatusCode::UNAUTHORIZED,
        cause: Reason::Credential,
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
        cause: Reason::Credential,
        challenge: "Bearer error=\"invalid_request\"",
        reason: "a token must not be in the address, which is logged; send it as `Authorization: Bearer TOKEN`",
    };
    /// There are several.
    const SEVERAL: Self = Self { reason: "there is more than one Authorization header", ..Self::QUERY };
    /// It proves somebody who is no client.
    const NOBODY: Self = Self {
        status: StatusCode::FORBIDDEN,
        cause: Reason::Client,
        challenge: "Bearer error=\"insufficient_scope\"",
        reason: "no client of the configuration is recognised by what was shown",
    };

    /// There is no certificate, which alone would do.
    const NO_CERTIFICATE: Self = Self {
        status: StatusCode::FORBIDDEN,
        cause: Reason::Credential,
        challenge: "",
        reason: "this listener needs the certificate of a client",
    };
    /// The time of what the connection began with is over.
    const ENDED_CERTIFICATE: Self = Self { reason: "the certificate has expired", ..Self::NO_CERTIFICATE };
    /// It proves somebody who is no client.
    const STRANGE_CERTIFICATE: Self = Self {
        cause: Reason::Client,
        reason: "no client of the configuration has this certificate",
        ..Self::NO_CERTIFICATE
    };
    /// It proves somebody who is no client, and more scopes would change nothing about that.
    const STRANGER: Self = Self { challenge: "", ..Self::NOBODY };
    /// It is for another endpoint.
    const ELSEWHERE: Self = Self { reason: "the token is for another endpoint", ..Self::INVALID };
    /// It lacks scopes.
    const SCOPE: Self =
        Self { cause: Reason::Rights, reason: "the token lacks a scope that is needed here", ..Self::NOBODY };
    /// Whether it is good cannot be told.
    const UNAVAILABLE: Self = Self {
        status: StatusCode::SERVICE_UNAVAILABLE,
        cause: Reason::Issuer,
        challenge: "",
        reason: "the keys of the authorization server cannot be had now, so that the token cannot be verified",
    };

    /// One sentence for a person.
    pub(super) const fn reason(self) -> &'static str {
        self.reason
    }

    /// The same in a word, for those who count.
    pub(super) const fn cause(self) -> Reason {
        self.cause
    }

    /// The answer, where clients are told to get a token like that, and lack these scopes.
    pub(super) fn answer(self, told: Option<&Challenge>, missing: Option<&str>) -> Response {
        let reason = match missing {
            Some(missing) => Cow::Owned(format!("{}: {missing}", self.reason)),
            None => Cow::Borrowed(self.reason),
        };
        let mut challenge = self.challenge.to_owned();
        if let Some(told) = told.filter(|_| !challenge.is_empty() && self.status != StatusCode::BAD_REQUEST) {
            let described = if self == Self::NOTHING { " " } else { ", " };
            challenge += described;
            if self != Self::NOTHING {
                challenge.extend(["error_description=\"", &reason, "\", "]);
            }
            challenge += &told.parameters();
        }
        let fault = Fault::downstream(code::INVALID_REQUEST, self.status, reason.into_owned());
        let mut response = answer::fault(&fault, None, Era::Modern);
        let headers = response.headers_mut();
        if let Ok(challenge) = HeaderValue::from_str(&challenge)
            && !challenge.is_empty()
        {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self == Self::UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}

/// Why a request is not let in, or not yet.
#[derive(Debug)]
pub(super) enum NotAdmitted {
    /// It is refused.
    Refused(Refused),
    /// It is refused because its token lacks these scopes.
    Lacking(Refused, String),
    /// That cannot be told before keys of this server were looked for.
    Wait(Arc<Issuer>),
}

impl From<Refused> for NotAdmitted {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Refusal> for NotAdmitted {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<Unproven> for NotAdmitted {
    fn from(unproven: Unproven) -> Self {
        match unproven {
            Unproven::Invalid(reason) => Self::Refused(Refused { reason, ..Refused::INVALID }),
            Unproven::Scope(missing) => Self::Lacking(Refused::SCOPE, missing),
            Unproven::Unavailable => Self::Refused(Refused::UNAVAILABLE),
            Unproven::Wait(issuer) => Self::Wait(issuer),
        }
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
    ways: &'a [Auth],
    /// Whether the configuration opens those to anybody that do not say so.
    open: bool,
}

impl<'a> Asked<'a> {
    /// One of these ways; where there are none, any or, if it is `open`, none at all.
    pub(super) const fn new(ways: &'a [Auth], open: bool) -> Self {
        Self { ways, open }
    }

    /// Whether this way is one of them.
    fn takes(self, way: Auth) -> bool {
        self.ways.is_empty() || self.ways.contains(&way)
    }
}

/// Who may be a client, and whose tokens are believed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Believed<'a> {
    /// The clients.
    clients: &'a Clients,
    /// Tokens of the gateway's own.
    tokens: &'a KnownTokens,
    /// Those of authorization servers.
    issuers: &'a Issuers,
}

/// What the token of a request has proven.
enum Token {
    /// That it is of this client, until the token is revoked.
    Own(ClientName, CancellationToken),
    /// What an authorization server says.
    Oauth(Arc<Verified>),
}

/// The client of a request; `None` where it need not be one. Where it has `waited`, keys were looked for on its account.
pub(super) fn authenticate(
    believed: Believed<'_>,
    asked: Asked<'_>,
    (head, peer): (&Parts, &Peer),
    waited: bool,
) -> Result<Option<Arc<Identified>>, NotAdmitted> {
    let path = head.uri.path();
    if head.method == Method::OPTIONS || OPEN.contains(&path) || path.starts_with(WELL_KNOWN) {
        return Ok(None);
    }
    let clients = believed.clients;
    let takes_tokens = asked.takes(Auth::Token) || asked.takes(Auth::Oauth);
    let token = token(head)?.filter(|_| takes_tokens);
    let shown = token.map(|token| believed.token(token, asked, path, waited)).transpose()?;
    let kernel = peer.kernel().filter(|_| asked.takes(Auth::Peer));
    let certificate = peer.certificate().filter(|_| asked.takes(Auth::Certificate));
    let valid = certificate.filter(|certificate| !certificate.has_ended());
    let (own, oauth) = match &shown {
        Some(Token::Own(name, _)) => (Some(name), None),
        Some(Token::Oauth(verified)) => (None, Some(&**verified)),
        None => (None, None),
    };
    if let Some(client) = clients.recognise(Shown { token: own, kernel, certificate: valid, oauth }) {
        let by_oauth = client.settings().oauth().zip(oauth).is_some_and(|(proof, oauth)| oauth.fits(proof));
        let identified = match shown {
            Some(Token::Own(own, revoked)) if own == *client.name() => Identified::by_token(own, revoked),
            Some(Token::Oauth(verified)) if by_oauth => Identified::by_oauth(verified, client.name().entry()),
            _ => Identified {
                proof: if client.is_shown_by(kernel) { Proof::Peer } else { Proof::Certificate },
                ..Identified::by_token(client.name().clone(), CancellationToken::new())
            },
        };
        let (gone, usage) = (client.gone().clone(), client.usage().cloned());
        return Ok(Some(Arc::new(Identified { gone, usage, ..identified })));
    }
    match shown {
        Some(Token::Own(name, revoked)) if clients.is_empty() => {
            Ok(Some(Arc::new(Identified::by_token(name, revoked))))
        }
        Some(Token::Oauth(verified)) if clients.is_empty() => {
            let entry = verified.server().to_owned();
            Ok(Some(Arc::new(Identified::by_oauth(verified, &entry))))
        }
        Some(Token::Oauth(_)) => Err(Refused::STRANGER.into()),
        Some(Token::Own(..)) => Err(Refused::NOBODY.into()),
        None if asked.open && asked.ways.is_empty() => Ok(None),
        None if certificate.is_some() && valid.is_none() => Err(Refused::ENDED_CERTIFICATE.into()),
        None if certificate.is_some() && asked.ways.contains(&Auth::Certificate) => {
            Err(Refused::STRANGE_CERTIFICATE.into())
        }
        None if asked.ways == [Auth::Certificate] => Err(Refused::NO_CERTIFICATE.into()),
        None if kernel.is_some() && (clients.ask_kernel() || !takes_tokens) => Err(Refused::NOBODY.into()),
        None => Err(Refused::NOTHING.into()),
    }
}

impl<'a> Believed<'a> {
    /// These clients, with tokens of these kinds.
    pub(super) const fn new(clients: &'a Clients, tokens: &'a KnownTokens, issuers: &'a Issuers) -> Self {
        Self { clients, tokens, issuers }
    }

    /// What a token proves at a path, as far as that is asked for.
    fn token(self, token: &str, asked: Asked<'_>, path: &str, waited: bool) -> Result<Token, NotAdmitted> {
        let is_jwt = token.bytes().filter(|byte| *byte == b'.').count() == 2;
        if is_jwt && asked.takes(Auth::Oauth) && !self.issuers.is_empty() {
            let verified = self.issuers.verify(token, waited)?;
            if verified.only().is_some_and(|only| access::endpoint(path) != Some(only)) {
                return Err(Refused::ELSEWHERE.into());
            }
            return Ok(Token::Oauth(verified));
        }
        if !asked.takes(Auth::Token) {
            return Err(Refused::INVALID.into());
        }
        let (name, revoked) = self.tokens.find(token)?;
        Ok(Token::Own(name, revoked))
    }
}

/// The token that a request has.
fn token(head: &Parts) -> Result<Option<&str>, Refused> {
    let parameters = head.uri.query().unwrap_or_default().split('&');
    let is_token = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let is_jwt = value.starts_with("eyJ") && value.bytes().filter(|byte| *byte == b'.').count() == 2;
        name.eq_ignore_ascii_case("access_token") || value.starts_with("mcpeg_") || is_jwt
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
