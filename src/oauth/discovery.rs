//! Which authorization server an upstream has, and what it can do: RFC 9728, then RFC 8414 or `OpenID` Connect Discovery, in
//! the order of the specification (MCP 2026-07-28 §Authorization Server Discovery).

use fieldwork::Fieldwork;
use http::{StatusCode, Uri};
use serde::Deserialize;

use super::challenge::Challenge;
use super::error::{Error, shown};
use super::web::Web;
use crate::config::{OAuth, is_confidential, is_loopback};

/// The well-known place of documents about upstreams.
const RESOURCE: &str = "oauth-protected-resource";
/// That of documents about authorization servers, and of those of `OpenID` Connect.
const SERVERS: [&str; 2] = ["oauth-authorization-server", "openid-configuration"];

/// An authorization server, and what of it is asked for.
#[derive(Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(crate)")]
pub(crate) struct Authority {
    /// What it says of itself.
    metadata: Metadata,
    /// The upstream, as it is called there.
    #[field(get, vis = "pub(super)")]
    resource: String,
    /// What is asked for.
    #[field(get)]
    scopes: Vec<String>,
}

/// What an upstream says of itself (RFC 9728 §2).
#[derive(Debug, Default, Deserialize)]
struct Described {
    /// Its name.
    resource: String,
    /// Its authorization servers.
    #[serde(default)]
    authorization_servers: Vec<String>,
    /// What is needed for the usual.
    #[serde(default)]
    scopes_supported: Vec<String>,
}

/// What an authorization server says of itself (RFC 8414 §2).
#[derive(Debug, Deserialize)]
struct Metadata {
    /// Its name.
    issuer: String,
    /// Where a browser goes.
    authorization_endpoint: Option<String>,
    /// Where tokens are.
    token_endpoint: Option<String>,
    /// Where clients are registered.
    registration_endpoint: Option<String>,
    /// Where codes for people are (RFC 8628 §4).
    device_authorization_endpoint: Option<String>,
    /// Where tokens are given back (RFC 7009).
    revocation_endpoint: Option<String>,
    /// How it keeps codes from being stolen (RFC 7636).
    #[serde(default)]
    code_challenge_methods_supported: Vec<String>,
    /// How clients show who they are.
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// What can be asked for.
    #[serde(default)]
    scopes_supported: Vec<String>,
    /// Whether its answers name it (RFC 9207 §3).
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    /// Whether it reads documents that say who a client is.
    #[serde(default)]
    client_id_metadata_document_supported: bool,
}

/// Finds the authorization server of the upstream at `url`, which may just have refused a request by `challenge`.
pub(crate) async fn discover(
    web: &Web,
    url: &str,
    oauth: &OAuth,
    challenge: Option<Challenge>,
) -> Result<Authority, Error> {
    let challenge = match challenge {
        Some(challenge) => challenge,
        None => ask(web, url).await?,
    };
    let near = is_near(url);
    let named = resource(web, url, challenge.metadata()).await?;
    let named = match (named, &oauth.issuer) {
        (Some(named), Some(issuer)) if !named.authorization_servers.contains(issuer) => {
            return Err(Error::OtherServer(issuer.clone()));
        }
        (Some(named), _) => named,
        (None, Some(_)) => Described { resource: canonical(url), ..Described::default() },
        (None, None) => return Err(Error::NoServer),
    };
    let issuer = oauth.issuer.as_ref().or(named.authorization_servers.first()).ok_or(Error::NoServer)?;
    let metadata = metadata(web, issuer, near).await?;
    let mut scopes: Vec<String> = match () {
        () if !oauth.scopes.is_empty() => oauth.scopes.clone(),
        () if challenge.scopes().next().is_some() => challenge.scopes().map(str::to_owned).collect(),
        () => named.scopes_supported,
    };
    // What makes servers of OpenID Connect give a token that lasts.
    let lasting = "offline_access".to_owned();
    let is_usual = oauth.needs_person() && !scopes.is_empty() && !scopes.contains(&lasting);
    if is_usual && metadata.scopes_supported.contains(&lasting) {
        scopes.push(lasting);
    }
    Ok(Authority { metadata, resource: named.resource, scopes })
}

impl Authority {
    /// Asks for these, too.
    pub(crate) fn add_scopes(&mut self, scopes: impl IntoIterator<Item = String>) {
        for scope in scopes {
            if !self.scopes.contains(&scope) {
                self.scopes.push(scope);
            }
        }
    }

    /// The name of the server.
    pub(crate) fn issuer(&self) -> &str {
        &self.metadata.issuer
    }

    /// Whether people can log in by a code that they type.
    pub(crate) const fn offers_device(&self) -> bool {
        self.metadata.device_authorization_endpoint.is_some()
    }

    /// Whether they can by a browser that comes back.
    pub(crate) const fn offers_browser(&self) -> bool {
        self.metadata.authorization_endpoint.is_some()
    }

    /// What is asked for, as requests have it; `None` where that is nothing.
    pub(super) fn scope(&self) -> Option<String> {
        Some(self.scopes.join(" ")).filter(|scope| !scope.is_empty())
    }

    /// Where tokens are.
    pub(super) fn token_endpoint(&self) -> Result<&str, Error> {
        self.offered(self.metadata.token_endpoint.as_deref(), "tokens")
    }

    /// Where a browser goes. A server that cannot keep a code from being stolen (RFC 7636 §4.2) has no such way.
    pub(super) fn authorization_endpoint(&self) -> Result<&str, Error> {
        let endpoint = self.offered(self.metadata.authorization_endpoint.as_deref(), "login by a browser")?;
        let has_pkce = self.metadata.code_challenge_methods_supported.iter().any(|method| method == "S256");
        if has_pkce { Ok(endpoint) } else { Err(Error::NoPkce(self.issuer().to_owned())) }
    }

    /// Where codes for people are.
    pub(super) fn device_endpoint(&self) -> Result<&str, Error> {
        self.offered(self.metadata.device_authorization_endpoint.as_deref(), "login by a code that is typed")
    }

    /// An address that the server may not have.
    fn offered<'a>(&self, endpoint: Option<&'a str>, what: &'static str) -> Result<&'a str, Error> {
        endpoint.ok_or_else(|| Error::NotOffered { issuer: self.issuer().to_owned(), what })
    }

    /// Where clients are registered.
    pub(super) fn registration_endpoint(&self) -> Option<&str> {
        self.metadata.registration_endpoint.as_deref()
    }

    /// Where tokens are given back.
    pub(super) fn revocation_endpoint(&self) -> Option<&str> {
        self.metadata.revocation_endpoint.as_deref()
    }

    /// Whether answers to logins name it.
    pub(super) const fn names_itself(&self) -> bool {
        self.metadata.authorization_response_iss_parameter_supported
    }

    /// Whether it reads documents that say who a client is.
    pub(super) const fn reads_clients(&self) -> bool {
        self.metadata.client_id_metadata_document_supported
    }

    /// Whether it takes secrets in forms only; what it does not say is that it takes both.
    pub(super) fn takes_form_only(&self) -> bool {
        let methods = self.metadata.token_endpoint_auth_methods_supported.as_deref().unwrap_or_default();
        let has = |name: &str| methods.iter().any(|method| method == name);
        has("client_secret_post") && !has("client_secret_basic")
    }
}

impl Metadata {
    /// Its addresses.
    fn endpoints(&self) -> impl Iterator<Item = &String> {
        [
            &self.authorization_endpoint,
            &self.token_endpoint,
            &self.registration_endpoint,
            &self.device_authorization_endpoint,
            &self.revocation_endpoint,
        ]
        .into_iter()
        .flatten()
    }
}

/// What the upstream says to a request without a token. It has no effect where none is needed.
async fn ask(web: &Web, url: &str) -> Result<Challenge, Error> {
    let ping = serde_json::json!({ "jsonrpc": "2.0", "id": 0, "method": "ping" });
    let answer = web.post_json(url, &ping).await?;
    Ok(if answer.status() == StatusCode::UNAUTHORIZED {
        Challenge::of(answer.headers())
    } else {
        Challenge::default()
    })
}

/// What the upstream says of itself, where it was told that this is, or else at one of the two well-known places.
async fn resource(web: &Web, url: &str, told: Option<&str>) -> Result<Option<Described>, Error> {
    let near = is_near(url);
    let mut places = [true, false].map(|with_path| well_known(url, RESOURCE, with_path)).to_vec();
    places.dedup();
    let places = told.map_or(places, |told| vec![told.to_owned()]);
    for place in places {
        let answer = web.get(&place, near).await?;
        if answer.status() != StatusCode::OK {
            continue;
        }
        let found: Described = answer.document()?;
        if !covers(&found.resource, url) {
            return Err(Error::ForeignResource { found: shown(&found.resource), wanted: canonical(url) });
        }
        return Ok(Some(found));
    }
    Ok(None)
}

/// What an authorization server says of itself.
async fn metadata(web: &Web, issuer: &str, near: bool) -> Result<Metadata, Error> {
    if !is_confidential(issuer) || issuer.contains(['?', '#']) {
        return Err(Error::Insecure(shown(issuer)));
    }
    let mut places = SERVERS.map(|kind| well_known(issuer, kind, true)).to_vec();
    let appended = format!("{}/.well-known/{}", issuer.trim_end_matches('/'), SERVERS[1]);
    if !places.contains(&appended) {
        places.push(appended);
    }
    for place in places {
        let answer = web.get(&place, near).await?;
        if answer.status() != StatusCode::OK {
            continue;
        }
        let found: Metadata = answer.document()?;
        if found.issuer != issuer {
            return Err(Error::ForeignIssuer { found: shown(&found.issuer), wanted: issuer.to_owned() });
        }
        if let Some(wrong) =
            found.endpoints().find(|place| !is_confidential(place) || !near && is_near(place))
        {
            return Err(Error::Insecure(shown(wrong)));
        }
        return Ok(found);
    }
    Err(Error::NoMetadata(issuer.to_owned()))
}

/// Whether an address is on this machine. Only an upstream that is may send us to others that are.
fn is_near(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| uri.host().is_some_and(is_loopback))
}

/// The well-known place of this kind, before the path of an address (RFC 8414 §3.1, RFC 9728 §3.1), or at the root.
fn well_known(url: &str, kind: &str, with_path: bool) -> String {
    let uri: Uri = url.parse().unwrap_or_default();
    let (scheme, authority) = (uri.scheme_str().unwrap_or("https"), uri.authority());
    let path = if with_path { uri.path().trim_end_matches('/') } else { "" };
    format!("{scheme}://{}/.well-known/{kind}{path}", authority.map_or("", |authority| authority.as_str()))
}

/// The name of an upstream that does not tell it (RFC 8707 §2): its address in one spelling.
pub(super) fn canonical(url: &str) -> String {
    let (url, _) = url.split_once('#').unwrap_or((url, ""));
    let uri: Uri = url.parse().unwrap_or_default();
    let authority = uri.authority().map_or("", |authority| authority.as_str()).to_ascii_lowercase();
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let path = if path == "/" { "" } else { path };
    format!("{}://{authority}{path}", uri.scheme_str().unwrap_or("https"))
}

/// Whether a resource of this name has the upstream at this address in it: at the same server, there or further up.
pub(super) fn covers(resource: &str, url: &str) -> bool {
    let (Ok(of), Ok(to)) = (canonical(resource).parse::<Uri>(), canonical(url).parse::<Uri>()) else {
        return false;
    };
    let same = of.scheme() == to.scheme() && of.host() == to.host() && port(&of) == port(&to);
    let (above, below) = (of.path().trim_end_matches('/'), to.path());
    let rest = below.strip_prefix(above);
    let within = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    same && within && of.host().is_some() && of.query().is_none_or(|query| to.query() == Some(query))
}

/// The port of an address.
fn port(uri: &Uri) -> Option<u16> {
    uri.port_u16().or(match uri.scheme_str() {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_looked_for_where_the_specification_says() {
        let url = "https://h:8443/a/mcp";
        assert_eq!(
            well_known(url, RESOURCE, true),
            "https://h:8443/.well-known/oauth-protected-resource/a/mcp"
        );
        assert_eq!(well_known(url, RESOURCE, false), "https://h:8443/.well-known/oauth-protected-resource");
        assert_eq!(
            well_known("https://h/", SERVERS[0], true),
            "https://h/.well-known/oauth-authorization-server"
        );
        assert_eq!(
            well_known("https://h/t/", SERVERS[1], true),
            "https://h/.well-known/openid-configuration/t"
        );
    }

    #[test]
    fn only_what_lies_within_a_resource_belongs_to_it() {
        for (resource, url, belongs) in [
            ("https://h/mcp", "https://h/mcp", true),
            ("https://H:443/mcp", "https://h/mcp", true),
            ("https://h", "https://h/mcp", true),
            ("https://h/", "https://h/mcp", true),
            ("https://h/a", "https://h/a/mcp", true),
            ("https://h/mcp", "https://h/mcp?x=1", true),
            ("https://h/mcp?y=1", "https://h/mcp?x=1", false),
            ("https://h/a", "https://h/ab", false),
            ("https://h/a/mcp", "https://h/a", false),
            ("https://h:444/mcp", "https://h/mcp", false),
            ("http://h/mcp", "https://h/mcp", false),
            ("https://other/mcp", "https://h/mcp", false),
            ("https://h.evil/mcp", "https://h/mcp", false),
            ("", "https://h/mcp", false),
        ] {
            assert_eq!(covers(resource, url), belongs, "{resource} {url}");
        }
        assert_eq!(canonical("HTTPS://H/"), "https://h");
    }
}
