//! Certificates of listeners: read at the start and on a reload, and again when their files change.
//!
//! Connections take what is in use when they begin, so that another certificate cuts none. New files that cannot be used leave
//! the old ones in use: an error in the log, and in the status until it is mended. A program that writes certificate and key
//! one after the other is not caught between the two: what cannot be used is told when the files have come to rest.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, RootCertStore, ServerConfig};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::config::{Listener, Tls as Files};
use crate::gateway::status::CertificateStatus;
use crate::sys::clock::seconds_now;
use crate::sys::user;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// One day, in seconds.
const DAY: u64 = 24 * 60 * 60;
/// Days before the end at which the log warns: first, and as an error.
const WARNED: [u64; 2] = [30, 7];
/// What a key's file must not let others do: read it.
const OTHERS: u32 = 0o007;

/// Why files of certificates cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// One cannot be read.
    #[error("cannot read `{}`: {reason}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the kernel says.
        reason: String,
    },
    /// One does not hold what it should.
    #[error("`{}` has no {what} in PEM form", .file.display())]
    Empty {
        /// The file.
        file: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The key is another one's.
    #[error("the key in `{}` does not belong to the certificate in `{}`", .key.display(), .cert.display())]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        cert: PathBuf,
    },
    /// One holds something that is not understood.
    #[error("cannot use `{}`: {reason}", .file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    /// How it is mended.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Read { file, .. } => format!("let user {} read {}", user::name(), file.display()),
            Self::Empty { what, .. } => format!("name the file that holds the {what}"),
            Self::Mismatch { .. } => "name the key for which the certificate was made".to_owned(),
            Self::Unusable { .. } => "name a file that holds what it should".to_owned(),
        }
    }
}

/// What the files hold.
#[derive(Clone, Debug)]
struct Read {
    /// What connections begin with.
    server: Arc<ServerConfig>,
    /// When the first of the certificates ends, in seconds since 1970.
    expires: u64,
}

/// The certificates of one listener.
#[derive(Debug)]
pub(crate) struct Tls {
    /// The listener's name.
    name: String,
    /// Their files.
    files: Files,
    /// What is in use.
    state: Mutex<State>,
}

/// What is in use, and what became of the files since.
#[derive(Debug)]
struct State {
    /// What is in use.
    read: Read,
    /// The files as they were looked at last.
    stamp: Stamp,
    /// Whether what they hold is in use.
    is_current: bool,
    /// What is wrong with them, once that is told.
    trouble: Option<Error>,
    /// How many of the warnings of the end were given.
    warned: usize,
}

/// How to tell that files are others than before.
type Stamp = Vec<Option<(u64, u64, i64, i64, u64)>>;

/// The certificates of all listeners.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    /// Those in force.
    all: Mutex<Vec<Arc<Tls>>>,
    /// Tells that there are others.
    changed: Notify,
}

impl Tls {
    /// Reads a listener's files.
    fn load(name: &str, files: &Files) -> Result<Self, Error> {
        let stamp = stamp(files);
        let read = read(files)?;
        if let Some(doubt) = doubt_about_key(&files.key) {
            tracing::warn!(listener = name, "{doubt}");
        }
        let state = State { read, stamp, is_current: true, trouble: None, warned: 0 };
        let tls = Self { name: name.to_owned(), files: files.clone(), state: Mutex::new(state) };
        tls.warn_of_end();
        Ok(tls)
    }

    /// What a connection begins with now.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.state.lock().read.server)
    }

    /// Reads the files if they are others than before. What cannot be used is told at once (`now`), or when they have not
    /// changed since the last look.
    fn refresh(&self, now: bool) {
        let stamp = stamp(&self.files);
        let mut state = self.state.lock();
        let rests = stamp == state.stamp;
        if rests && (state.is_current || state.trouble.is_some() && !now) {
            return;
        }
        state.stamp = stamp;
        match read(&self.files) {
            Ok(read) => {
                (state.read, state.is_current, state.trouble, state.warned) = (read, true, None, 0);
                drop(state);
                tracing::info!(listener = self.name, "the certificate was read again");
                self.warn_of_end();
            }
            Err(error) if now || rests => {
                let listener = &self.name;
                tracing::error!(listener, %error, "the new certificate cannot be used; the old one stays in use");
                (state.is_current, state.trouble) = (false, Some(error));
            }
            Err(_) => state.is_current = false,
        }
    }

    /// Warns once of an end that is near, and once more when it is nearer.
    fn warn_of_end(&self) {
        let mut state = self.state.lock();
        let left = state.read.expires.saturating_sub(seconds_now());
        let due = WARNED.iter().filter(|days| left < **days * DAY).count();
        if due <= state.warned {
            return;
        }
        state.warned = due;
        let (listener, days) = (&self.name, left / DAY);
        if left == 0 {
            tracing::error!(listener, "the certificate has expired; clients refuse it");
        } else if due == WARNED.len() {
            tracing::error!(listener, days, "the certificate expires soon");
        } else {
            tracing::warn!(listener, days, "the certificate expires soon");
        }
    }

    /// What the status says.
    fn status(&self) -> CertificateStatus {
        let state = self.state.lock();
        CertificateStatus::new(
            &self.name,
            state.read.expires,
            state.trouble.as_ref().map(ToString::to_string),
        )
    }
}

impl Certificates {
    /// Those that a configuration needs: what is read already is looked at again, and stays in use if the new files are no good;
    /// what is new must be usable.
    ///
    /// # Errors
    /// The listener, and what is wrong with its files.
    pub(crate) fn prepare(&self, listeners: &[Arc<Listener>]) -> Result<Vec<Arc<Tls>>, (String, Error)> {
        let mut all = Vec::new();
        for (listener, files) in listeners.iter().filter_map(|it| Some((it, it.tls.as_ref()?))) {
            let old = self.of(&listener.name).filter(|old| old.files == *files);
            let failed = |error| (listener.name.clone(), error);
            all.push(match old {
                Some(old) => {
                    old.refresh(true);
                    old
                }
                None => Arc::new(Tls::load(&listener.name, files).map_err(failed)?),
            });
        }
        Ok(all)
    }

    /// Puts others in force.
    pub(crate) fn replace(&self, all: Vec<Arc<Tls>>) {
        *self.all.lock() = all;
        self.changed.notify_one();
    }

    /// Those of a listener.
    pub(crate) fn of(&self, name: &str) -> Option<Arc<Tls>> {
        self.all.lock().iter().find(|tls| tls.name == name).cloned()
    }

    /// What the status says of all.
    pub(crate) fn status(&self) -> Vec<CertificateStatus> {
        self.all.lock().iter().map(|tls| tls.status()).collect()
    }

    /// Looks at the files until the end, while there are any.
    pub(crate) async fn watch(&self, end: CancellationToken) {
        loop {
            let all = self.all.lock().clone();
            let wait = async {
                if all.is_empty() {
                    self.changed.notified().await;
                } else {
                    tokio::time::sleep(LOOK).await;
                }
            };
            tokio::select! {
                () = wait => {}
                () = end.cancelled() => return,
            }
            for tls in all {
                tls.refresh(false);
                tls.warn_of_end();
            }
        }
    }
}

/// What is wrong with the certificates of a listener, or what is doubtful about them.
///
/// # Errors
/// What would keep the gateway from starting.
pub fn check(files: &Files) -> Result<Vec<String>, Error> {
    let left = read(files)?.expires.saturating_sub(seconds_now());
    let cert = files.cert.display();
    let end = match left / DAY {
        _ if left == 0 => Some(format!("the certificate in `{cert}` has expired")),
        days if days < WARNED[0] => Some(format!("the certificate in `{cert}` expires in {days} days")),
        _ => None,
    };
    Ok(end.into_iter().chain(doubt_about_key(&files.key)).collect())
}

/// What is doubtful about who may read the key.
fn doubt_about_key(key: &Path) -> Option<String> {
    let mode = fs::metadata(key).ok()?.mode();
    (mode & OTHERS != 0).then(|| {
        let key = key.display();
        format!("every user of this machine can read the key `{key}`; `chmod o= {key}` mends that")
    })
}

/// Reads the files.
fn read(files: &Files) -> Result<Read, Error> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(&files.cert)?;
    let expires = chain.iter().map(|one| end(one, &files.cert)).collect::<Result<Vec<_>, _>>()?;
    let text = content(&files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&text);
    let key = key.map_err(|_| Error::Empty { file: files.key.clone(), what: "private key" })?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&files.cert, &error))?;
    let builder = match clients(files, &provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut server = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            Error::Mismatch { key: files.key.clone(), cert: files.cert.clone() }
        }
        other => unusable(&files.key, &other),
    })?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let expires = expires.into_iter().min().unwrap_or_default();
    Ok(Read { server: Arc::new(server), expires })
}

/// Who says which clients' certificates are right.
fn clients(
    files: &Files,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Error> {
    let Some(file) = &files.client_ca else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    for authority in certificates(file)? {
        roots.add(authority).map_err(|error| unusable(file, &error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = builder.allow_unauthenticated();
    builder.build().map(Some).map_err(|error| unusable(file, &error))
}

/// All certificates of a file, of which there must be one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = content(file)?;
    let all = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match all.map_err(|error| unusable(file, &error))? {
        none if none.is_empty() => Err(Error::Empty { file: file.to_owned(), what: "certificate" }),
        all => Ok(all),
    }
}

/// When a certificate ends. Asked whether it is right at the end of time, rustls answers with that.
fn end(certificate: &CertificateDer<'_>, file: &Path) -> Result<u64, Error> {
    let parsed = rustls::server::ParsedCertificate::try_from(certificate);
    let parsed = parsed.map_err(|error| unusable(file, &error))?;
    let (nobody, late) = (RootCertStore::empty(), UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX)));
    let algorithms = ring::default_provider().signature_verification_algorithms.all;
    match rustls::client::verify_server_cert_signed_by_trust_anchor(&parsed, &nobody, &[], late, algorithms) {
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Ok(not_after.as_secs())
        }
        Err(error) => Err(unusable(file, &error)),
        Ok(()) => Ok(u64::MAX),
    }
}

/// The content of a file.
fn content(file: &Path) -> Result<Vec<u8>, Error> {
    fs::read(file).map_err(|error| Error::Read { file: file.to_owned(), reason: error.to_string() })
}

/// A file that cannot be used for this reason.
fn unusable(file: &Path, error: &dyn std::error::Error) -> Error {
    Error::Unusable { file: file.to_owned(), reason: error.to_string() }
}

/// The files as they are now.
fn stamp(files: &Files) -> Stamp {
    let one = |file: &PathBuf| -> io::Result<_> {
        let found = fs::metadata(file)?;
        Ok((found.dev(), found.ino(), found.mtime(), found.mtime_nsec(), found.size()))
    };
    [Some(&files.cert), Some(&files.key), files.client_ca.as_ref()]
        .into_iter()
        .flatten()
        .map(|file| one(file).ok())
        .collect()
}
