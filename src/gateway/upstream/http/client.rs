//! The HTTP client that upstreams are reached with: connections that are kept, and whom TLS trusts.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::pool::Pool;
use crate::config::{Transport, Upstream};
use crate::gateway::error::Error;
use crate::oauth::Web;

/// How long the kernel may take to connect.
const CONNECT: Duration = Duration::from_secs(10);
/// After so long without a byte the peer's kernel is asked whether it is there (tcp(7), `TCP_KEEPIDLE`).
const QUIET: Duration = Duration::from_secs(30);
/// It is asked again so soon (`TCP_KEEPINTVL`).
const PROBE: Duration = Duration::from_secs(10);
/// As many questions without an answer end the connection (`TCP_KEEPCNT`).
const PROBES: u32 = 3;
/// How long what was sent, questions included, may be without an acknowledgement (`TCP_USER_TIMEOUT`).
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);
/// The largest file of authorities, in bytes.
const LARGEST: u64 = 16 << 20;

/// Builds the pool that upstreams share. The system's certificates are read only where an upstream needs them: a machine
/// that has none can still reach upstreams without TLS.
pub(crate) fn pool(tls: bool) -> Result<Pool, Error> {
    let builder = HttpsConnectorBuilder::new();
    let builder = if tls {
        builder.with_native_roots().map_err(Error::Certificates)?
    } else {
        builder.with_tls_config(trusting(RootCertStore::empty()))
    };
    Ok(Pool::new(builder.https_or_http().enable_http1().wrap_connector(tcp())))
}

/// The authorities in a file, which are trusted instead of the system's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authorities {
    /// The file.
    file: PathBuf,
    /// What was in it.
    text: Arc<[u8]>,
}

impl Authorities {
    /// Reads a file.
    pub(crate) fn read(file: &Path) -> Result<Self, Error> {
        let unusable =
            |error: std::io::Error| Error::Authorities { file: file.to_owned(), reason: error.to_string() };
        let bytes = std::fs::File::open(file).and_then(|open| {
            let mut bytes = Vec::new();
            open.take(LARGEST + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        let bytes = bytes.map_err(unusable)?;
        if bytes.len() as u64 > LARGEST {
            let reason = format!("it is larger than {LARGEST} bytes");
            return Err(Error::Authorities { file: file.to_owned(), reason });
        }
        Ok(Self { file: file.to_owned(), text: bytes.into() })
    }

    /// A pool that trusts them, and nobody else.
    pub(crate) fn pool(&self) -> Result<Pool, Error> {
        let unusable = |reason: String| Error::Authorities { file: self.file.clone(), reason };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&self.text) {
            let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
            roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(unusable("there is no certificate in it".to_owned()));
        }
        let builder = HttpsConnectorBuilder::new().with_tls_config(trusting(roots));
        Ok(Pool::new(builder.https_or_http().enable_http1().wrap_connector(tcp())))
    }
}

/// The way to the authorization server of an upstream with these settings: whom TLS trusts is the same as at the upstream.
///
/// # Errors
/// When the certificates cannot be used.
pub(crate) fn web_for(upstream: Option<&Upstream>) -> Result<Web, Error> {
    let file = upstream.and_then(|upstream| match &upstream.transport {
        Transport::Http { ca_file, .. } => ca_file.as_deref(),
        Transport::Stdio { .. } => None,
    });
    let pool = match file {
        Some(file) => Authorities::read(file)?.pool()?,
        None => pool(true)?,
    };
    Ok(Web::new(pool.connector().clone()))
}

/// TLS that trusts these authorities.
fn trusting(roots: RootCertStore) -> rustls::ClientConfig {
    rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}

/// How connections are made.
fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT));
    // A peer that vanished ends its connections, also those over which nothing is sent: streams of changes.
    tcp.set_keepalive(Some(QUIET));
    tcp.set_keepalive_interval(Some(PROBE));
    tcp.set_keepalive_retries(Some(PROBES));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    tcp
}
