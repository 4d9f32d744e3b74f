//! Documents of servers that are no upstreams: what an authorization server tells of itself, and its keys.
//!
//! No redirect is followed: a document counts for where it was asked for.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::time::timeout;

use super::balancer::Target;
use super::client::{Authorities, pool};
use super::pool::{Failed, Pool};
use crate::gateway::error::Error;

/// How long one document may take, from connecting to its end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Fetches documents.
#[derive(Debug)]
pub(crate) struct Documents(Pool);

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoDocument {
    /// The address cannot be used.
    #[error("the address is no URL")]
    Address,
    /// There is no answer.
    #[error(transparent)]
    Failed(#[from] Failed),
    /// There is none in time.
    #[error("no answer within {} seconds", PATIENCE.as_secs())]
    Late,
    /// The answer is another one.
    #[error("the answer is {0}")]
    Status(StatusCode),
    /// It breaks off.
    #[error("the answer breaks off, or is larger than {0} bytes")]
    Body(usize),
}

impl Documents {
    /// A client that trusts the authorities of a file, or else the system's where it needs any.
    pub(crate) fn new(ca_file: Option<&Path>, tls: bool) -> Result<Self, Error> {
        let pool = ca_file.map_or_else(|| pool(tls), |file| Authorities::read(file)?.pool())?;
        Ok(Self(pool))
    }

    /// Fetches a JSON document of at most so many bytes.
    pub(crate) async fn get(&self, url: &str, limit: usize) -> Result<Bytes, NoDocument> {
        let target = Arc::new(Target::new(url.parse().map_err(|_| NoDocument::Address)?));
        let mut request = Request::new(Full::default());
        *request.uri_mut() = target.path.clone();
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.extend(target.host.clone().map(|host| (header::HOST, host)));
        let fetched = async {
            let response = self.0.request(&target, request).await?;
            if response.status() != StatusCode::OK {
                return Err(NoDocument::Status(response.status()));
            }
            let body = Limited::new(response.into_body(), limit).collect().await;
            body.map(http_body_util::Collected::to_bytes).map_err(|_| NoDocument::Body(limit))
        };
        timeout(PATIENCE, fetched).await.unwrap_or(Err(NoDocument::Late))
    }
}
