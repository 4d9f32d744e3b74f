//! The certificate that a client has shown in its handshake, which one of the listener's authorities has signed.

use std::fmt::Write as _;

use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::config;
use crate::sys::clock::seconds_now;

/// What it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// DNS names, in lower case.
    dns: Vec<String>,
    /// URIs.
    uris: Vec<String>,
    /// Addresses of mail.
    emails: Vec<String>,
    /// Its digest.
    fingerprint: String,
    /// When it ends, in seconds since 1970.
    ends: u64,
}

impl Certificate {
    /// Reads a certificate. One that is not understood has ended.
    pub(crate) fn read(der: &CertificateDer<'_>) -> Self {
        let mut read = Self { fingerprint: hex(&Sha256::digest(der)), ..Self::default() };
        let Ok((_, parsed)) = parse_x509_certificate(der) else { return read };
        let names = parsed.subject_alternative_name().ok().flatten();
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => read.dns.push(name.to_ascii_lowercase()),
                GeneralName::URI(uri) => read.uris.push((*uri).to_owned()),
                GeneralName::RFC822Name(email) => read.emails.push((*email).to_owned()),
                _ => {}
            }
        }
        read.ends = parsed.validity().not_after.timestamp().try_into().unwrap_or(0);
        read
    }

    /// Whether its time is over: a connection may last for longer.
    pub(crate) fn has_ended(&self) -> bool {
        self.ends < seconds_now()
    }

    /// Whether it says all of this.
    pub(crate) fn fits(&self, wanted: &config::Certificate) -> bool {
        let has = |wanted: &Option<String>, names: &[String]| {
            wanted.as_ref().is_none_or(|wanted| names.contains(wanted))
        };
        has(&wanted.dns, &self.dns)
            && has(&wanted.uri, &self.uris)
            && has(&wanted.email, &self.emails)
            && has(&wanted.fingerprint, std::slice::from_ref(&self.fingerprint))
    }
}

/// Bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    #[test]
    fn certificate_is_known_by_whole_alternative_names_and_by_nothing_once_it_has_ended() {
        let key = KeyPair::generate().unwrap();
        let certificate = |seconds: u64| {
            let mut params = CertificateParams::new(["CI.example.org".to_owned()]).unwrap();
            params.subject_alt_names.push(SanType::URI("spiffe://example.org/ci".try_into().unwrap()));
            params.subject_alt_names.push(SanType::Rfc822Name("ci@example.org".try_into().unwrap()));
            params.not_after =
                (SystemTime::now() - Duration::from_mins(1) + Duration::from_secs(seconds)).into();
            Certificate::read(params.self_signed(&key).unwrap().der())
        };
        let (good, ended) = (certificate(3600), certificate(0));
        assert!(!good.has_ended() && ended.has_ended());
        assert!(Certificate::read(&CertificateDer::from(vec![48, 0])).has_ended());
        let wanted = |dns: &str, uri: &str, email: &str| {
            let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            config::Certificate { dns: given(dns), uri: given(uri), email: given(email), fingerprint: None }
        };
        let (dns, uri, email) = ("ci.example.org", "spiffe://example.org/ci", "ci@example.org");
        for wanted in [wanted(dns, "", ""), wanted("", uri, email), wanted(dns, uri, email)] {
            assert!(good.fits(&wanted), "{wanted:?}");
        }
        for wanted in
            [wanted("example.org", "", ""), wanted(dns, "spiffe://example.org/c", ""), wanted("", "", dns)]
        {
            assert!(!good.fits(&wanted), "{wanted:?}");
        }
        let by_digest =
            config::Certificate { fingerprint: Some(good.fingerprint.clone()), ..wanted("", "", "") };
        assert!(
            good.fits(&by_digest) && !ended.fits(&by_digest) && by_digest.fingerprint.unwrap().len() == 64
        );
    }
}
