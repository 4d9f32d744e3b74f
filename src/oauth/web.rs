//! Requests to authorization servers, and for documents about them. Redirects are not followed: they would lead secrets
//! astray.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fieldwork::Fieldwork;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::error::{Error, shown};
use crate::config::{is_confidential, is_loopback};

/// How long one request may take, the answer included.
const LIMIT: Duration = Duration::from_secs(30);
/// The largest answer, in bytes.
const LARGEST: usize = 1 << 20;

/// Where requests go out.
#[derive(Clone)]
pub(crate) struct Web(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// A whole answer.
#[derive(Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(super)")]
pub(super) struct Answer {
    /// Who has answered.
    host: String,
    /// The status.
    #[field(get(copy))]
    status: StatusCode,
    /// The headers.
    #[field(get)]
    headers: HeaderMap,
    /// The body.
    body: Bytes,
}

/// What a server says against a request (RFC 6749 §5.2).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Objection {
    /// The code.
    error: String,
    /// Its words.
    error_description: String,
}

impl Web {
    /// One that connects in this way.
    pub(crate) fn new(connector: HttpsConnector<HttpConnector>) -> Self {
        Self(Client::builder(TokioExecutor::new()).build(connector))
    }

    /// Asks for a document. `near` says whether it may be one of this machine.
    pub(super) async fn get(&self, url: &str, near: bool) -> Result<Answer, Error> {
        let uri = allowed(url, near)?;
        let mut request = Request::new(Full::default());
        *request.uri_mut() = uri;
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        self.send(request).await
    }

    /// Posts a form, under this name and secret if there is one.
    pub(super) async fn post_form(
        &self,
        url: &str,
        form: &[(&str, &str)],
        basic: Option<(&str, &str)>,
    ) -> Result<Answer, Error> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = Self::post(url, body.into(), "application/x-www-form-urlencoded")?;
        if let Some((id, secret)) = basic {
            // Each in the form of forms first: RFC 6749 §2.3.1.
            let part = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let both = STANDARD.encode(format!("{}:{}", part(id), part(secret)));
            if let Ok(mut value) = HeaderValue::from_str(&format!("Basic {both}")) {
                value.set_sensitive(true);
                request.headers_mut().insert(header::AUTHORIZATION, value);
            }
        }
        self.send(request).await
    }

    /// Posts a document.
    pub(super) async fn post_json(&self, url: &str, document: &impl Serialize) -> Result<Answer, Error> {
        let body = serde_json::to_vec(document).unwrap_or_default();
        self.send(Self::post(url, body, "application/json")?).await
    }

    /// A request that posts something; whether the address may be one of this machine was decided where it was found.
    fn post(url: &str, body: Vec<u8>, kind: &'static str) -> Result<Request<Full<Bytes>>, Error> {
        let uri = allowed(url, true)?;
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        Ok(request)
    }

    /// Sends a request and reads the answer.
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, Error> {
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let exchange = async {
            let response = self.0.request(request).await.map_err(|error| Error::away(&host, error))?;
            let (head, body) = response.into_parts();
            let body = if head.headers.get(header::CONTENT_TYPE).is_some_and(is_stream) {
                // An upstream that wants no token would answer for ever.
                Bytes::new()
            } else {
                let read = Limited::new(body, LARGEST).collect().await;
                read.map_err(|error| Error::away(&host, error))?.to_bytes()
            };
            let answer = Answer { host: host.clone(), status: head.status, headers: head.headers, body };
            let (status, later) = (answer.status, answer.headers.contains_key(header::RETRY_AFTER));
            if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || later {
                return Err(Error::away(&host, format!("HTTP status {}", status.as_u16())));
            }
            Ok(answer)
        };
        timeout(LIMIT, exchange).await.map_err(|late| Error::away(&host, late))?
    }
}

/// An address that may be asked.
fn allowed(url: &str, near: bool) -> Result<Uri, Error> {
    let insecure = || Error::Insecure(shown(url));
    let uri: Uri = url.parse().map_err(|_| insecure())?;
    let is_near = uri.host().is_some_and(is_loopback);
    if is_confidential(url) && (near || !is_near) { Ok(uri) } else { Err(insecure()) }
}

/// Whether a content type is that of an event stream.
fn is_stream(kind: &HeaderValue) -> bool {
    kind.as_bytes().starts_with(b"text/event-stream")
}

impl Answer {
    /// Says what is wrong with it.
    pub(super) fn strange(&self, what: impl Into<String>) -> Error {
        Error::Strange { host: self.host.clone(), what: what.into() }
    }

    /// The document in it.
    pub(super) fn document<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|_| self.strange(format!("HTTP status {} and no such document", self.status.as_u16())))
    }

    /// Why the server has refused an act. What was sent to it is left out of its words.
    pub(super) fn refusal(&self, act: &'static str, secrets: &[&str]) -> Error {
        let objection: Objection = self.document().unwrap_or_default();
        if objection.error.is_empty() {
            return self.strange(format!("HTTP status {}", self.status.as_u16()));
        }
        let hide = |text: String| {
            let known = secrets.iter().filter(|secret| secret.len() > 3);
            known.fold(text, |text, secret| text.replace(secret, "…"))
        };
        let code = shown(&hide(objection.error));
        let words = shown(&hide(objection.error_description));
        let error = if words.is_empty() { code.clone() } else { format!("{code} ({words})") };
        Error::Refused { act, error, code }
    }
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Web")
    }
}
