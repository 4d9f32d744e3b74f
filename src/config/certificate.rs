//! What the certificate of a client must say.

use super::key::{Key, Kind};
use super::kinds::entries;
use super::reader::{Reader, Value};
use super::suggestion::suggestion;

/// What a certificate must say.
pub(super) const CERTIFICATE: Kind<Certificate> =
    Kind::new("a table with `dns`, `uri`, `email` or `fingerprint`", certificate);

/// What the certificate of a client must say; all that is written. Names are those among its alternative names (RFC 5280
/// §4.2.1.6), not its subject, which no longer names anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// A DNS name, in lower case.
    pub dns: Option<String>,
    /// A URI.
    pub uri: Option<String>,
    /// An address of mail.
    pub email: Option<String>,
    /// The SHA-256 digest of the certificate, in lower-case hexadecimal digits.
    pub fingerprint: Option<String>,
}

/// Reads what a certificate must say.
fn certificate(key: &Key<Certificate>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Certificate> {
    let mut certificate = Certificate::default();
    for (entry, value) in entries(key, value, reader)? {
        let text = (*value.get_ref()).to_owned();
        if text.is_empty() || text.contains('*') {
            let message = format!("`certificate.{}` cannot be `{text}`", entry.get_ref());
            reader.refuse(&value.span(), message, "write the whole name; there are no patterns here");
        }
        match *entry.get_ref() {
            "dns" => certificate.dns = Some(text.to_ascii_lowercase()),
            "uri" => certificate.uri = Some(text),
            "email" => certificate.email = Some(text),
            "fingerprint" => {
                let digits = text.replace(':', "").to_ascii_lowercase();
                if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    let hint = "`openssl x509 -in FILE -noout -fingerprint -sha256` prints it";
                    let message = "`certificate.fingerprint` must have 64 hexadecimal digits";
                    reader.refuse(&value.span(), message, hint);
                }
                certificate.fingerprint = Some(digits);
            }
            unknown => {
                let hint = suggestion(unknown, &["dns", "uri", "email", "fingerprint"]);
                let message = format!("unknown key `certificate.{unknown}`");
                reader.refuse_structure(&entry.span(), message, hint);
            }
        }
    }
    if certificate == Certificate::default() {
        reader.refuse(
            &value.span(),
            "`certificate` is empty",
            format!("write certificate = {}", key.example),
        );
    }
    Some(certificate)
}
