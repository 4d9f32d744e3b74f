//! One authorization server whose tokens are believed: what they must say, and where its keys are.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::keys;
use super::name::UpstreamName;
use super::proof::Algorithm;
use super::section::Section;

/// The most by which clocks may differ.
const MOST_SKEW: Duration = Duration::from_secs(300);

/// Where the keys of a server are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// Where its metadata says.
    Discovered,
    /// At this URL.
    Url(String),
    /// In this file.
    File(PathBuf),
}

/// `[auth.oauth.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// The table's name.
    pub name: String,
    /// What it writes into `iss`.
    pub issuer: String,
    /// What `aud` must have.
    pub audience: Vec<String>,
    /// The URL of `/mcp`, without a slash at its end.
    pub resource: String,
    /// Where its keys are.
    pub keys: KeySource,
    /// Authorities that are trusted for it instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The algorithms that are accepted.
    pub algorithms: Vec<Algorithm>,
    /// Scopes that each token must have.
    pub scopes: Vec<String>,
    /// By how much clocks may differ.
    pub skew: Duration,
}

impl Issuer {
    /// Reads `[auth.oauth.NAME]`; `None` where something is missing.
    pub(super) fn read(name: &Spanned<&str>, section: &mut Section<'_, '_>) -> Option<Arc<Self>> {
        let header = name.get_ref();
        if UpstreamName::new(header).is_none() {
            let message = format!("name of an authorization server `{header}` is not allowed");
            let hint = "use 1 to 63 letters, digits, `-` and `_`, beginning with a letter or digit";
            section.reader().refuse(&name.span(), message, hint);
        }
        let needed = [
            ("issuer", section.written(&keys::ISSUER_URL).is_some(), keys::ISSUER_URL.example),
            ("audience", section.written(&keys::AUDIENCE).is_some(), keys::AUDIENCE.example),
            ("resource", section.written(&keys::RESOURCE).is_some(), keys::RESOURCE.example),
        ];
        for (key, _, example) in needed.iter().filter(|(_, written, _)| !written) {
            let message = format!("[auth.oauth.{header}] has no `{key}`");
            section.reader().refuse(&name.span(), message, format!("write {key} = {example}"));
        }
        let (url, file) = (section.find(&keys::JWKS_URL), section.find(&keys::JWKS_FILE));
        let keys = match (url, file) {
            (None, None) => KeySource::Discovered,
            (Some(url), None) => KeySource::Url(url),
            (None, Some(file)) => KeySource::File(file),
            (Some(_), Some(file)) => {
                let span = section.span(&keys::JWKS_FILE).unwrap_or_else(|| name.span());
                section.reader().refuse(
                    &span,
                    "there are both `jwks_url` and `jwks_file`",
                    "remove one of them",
                );
                KeySource::File(file)
            }
        };
        let skew = section.get(&keys::CLOCK_SKEW);
        if let Some(span) = section.span(&keys::CLOCK_SKEW).filter(|_| skew > MOST_SKEW) {
            section.reader().refuse(&span, "`clock_skew` is more than 5m", "set the clocks by NTP");
        }
        Some(Arc::new(Self {
            name: (*header).to_owned(),
            issuer: section.find(&keys::ISSUER_URL)?,
            audience: section.find(&keys::AUDIENCE)?,
            resource: section.find(&keys::RESOURCE)?,
            keys,
            ca_file: section.find(&keys::ISSUER_CA),
            algorithms: section.get(&keys::ALGORITHMS),
            scopes: section.get(&keys::SCOPES),
            skew,
        }))
    }
}
