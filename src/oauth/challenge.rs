//! What an upstream says when it wants a token, or another one: `WWW-Authenticate` (RFC 6750 §3, RFC 9728 §5.1).

use http::{HeaderMap, header};

/// The challenge of the scheme `Bearer`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// Where the document about the upstream is.
    metadata: Option<String>,
    /// What is needed for the request that was refused.
    scope: Option<String>,
    /// Why it was refused.
    error: Option<String>,
}

impl Challenge {
    /// That of an answer; empty where it has none.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(header::WWW_AUTHENTICATE).into_iter();
        let mut challenges = lines
            .filter_map(|line| http_auth::parse_challenges(line.to_str().ok()?).ok())
            .flatten()
            .filter(|challenge| challenge.scheme.eq_ignore_ascii_case("bearer"));
        let Some(challenge) = challenges.next() else { return Self::default() };
        let find = |name: &str| {
            let mut named = challenge.params.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
            named.next().map(|(_, value)| value.to_unescaped())
        };
        Self { metadata: find("resource_metadata"), scope: find("scope"), error: find("error") }
    }

    /// Where the document about the upstream is.
    pub(super) fn metadata(&self) -> Option<&str> {
        self.metadata.as_deref()
    }

    /// The scopes that it names, as far as they have the form of such.
    pub(crate) fn scopes(&self) -> impl Iterator<Item = &str> {
        let is_scope =
            |scope: &&str| scope.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
        self.scope
            .iter()
            .flat_map(|scope| scope.split(' '))
            .filter(|scope| !scope.is_empty())
            .filter(is_scope)
    }

    /// Whether the token is good, and not good for this.
    pub(crate) fn is_insufficient(&self) -> bool {
        self.error.as_deref() == Some("insufficient_scope")
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// The challenge in these lines.
    fn challenge(lines: &[&str]) -> Challenge {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_str(line).unwrap());
        }
        Challenge::of(&headers)
    }

    #[test]
    fn challenge_is_found_among_others_and_in_any_spelling() {
        let full = challenge(&[
            "Basic realm=\"x, y\", bearer Error=insufficient_scope, scope=\"a  b:c \\\"d\", resource_metadata=\"https://h/\"",
        ]);
        assert_eq!(full.metadata.as_deref(), Some("https://h/"));
        assert_eq!(full.scopes().collect::<Vec<_>>(), ["a", "b:c"]);
        assert!(full.is_insufficient());
        assert_eq!(challenge(&["Basic realm=x", "Bearer scope=a"]).scopes().collect::<Vec<_>>(), ["a"]);
        for none in [&[][..], &["Basic realm=x"], &["Bearer"], &["\"", "Bearer =,="]] {
            assert_eq!(challenge(none), Challenge::default(), "{none:?}");
        }
    }
}
