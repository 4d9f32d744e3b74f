//! The HTTP client that upstreams are reached with: connections that are kept, and whom TLS trusts.

use std::path::Path;
use std::time::Duration;

use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::super::error::Error;
use super::driven::Pool;

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

/// Builds a pool that trusts the authorities in a file, and nobody else.
pub(crate) fn pool_trusting(file: &Path) -> Result<Pool, Error> {
    let unusable = |reason: String| Error::Authorities { file: file.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unusable(error.to_string()))? {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("there is no certificate in it".to_owned()));
    }
    let builder = HttpsConnectorBuilder::new().with_tls_config(trusting(roots));
    Ok(Pool::new(builder.https_or_http().enable_http1().wrap_connector(tcp())))
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
    tcp.set_connect_timeout(Some(Duration::from_secs(10)));
    tcp
}
