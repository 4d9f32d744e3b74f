//! Where a server sends a request on to (RFC 9110 §15.4).
//!
//! Only 307 and 308 are followed, which keep method and body, and only to the same origin (RFC 6454 §4): what the
//! configuration has for one server, its credentials above all, is not sent to another. The others have no certain meaning
//! for a POST.

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderMap, StatusCode, Uri, header};

use super::balancer::Target;

/// As many redirects of one request are followed.
pub(crate) const HOPS: usize = 5;

/// What an answer says of another place.
#[derive(Clone, Debug)]
pub(crate) enum Redirect {
    /// The request is to be sent there.
    To(Arc<Target>),
    /// It is not followed.
    Refused(NotFollowed),
}

/// Why a redirect is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotFollowed {
    /// It leads to another origin.
    Elsewhere,
    /// It leads nowhere, or its status does not say that the same request is to be sent.
    Unclear,
    /// It came after as many others as are followed.
    Circle,
}

impl Redirect {
    /// What an answer to a request to `from` says; `None` if it is no redirect.
    pub(crate) fn of(from: &Target, status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        if !status.is_redirection() {
            return None;
        }
        let keeps = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        let location = headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
        let Some(location) = location.filter(|_| keeps) else {
            return Some(Self::Refused(NotFollowed::Unclear));
        };
        Some(match resolve(&from.uri, location) {
            Some(path) => Self::To(Arc::new(from.at(path))),
            None => Self::Refused(NotFollowed::Elsewhere),
        })
    }
}

/// The path and query that a reference means at the origin of `base`; `None` where it means another origin.
fn resolve(base: &Uri, reference: &str) -> Option<PathAndQuery> {
    let reference = reference.split('#').next().unwrap_or_default().trim();
    let scheme = base.scheme_str().unwrap_or("http");
    let whole = if reference.starts_with("//") {
        format!("{scheme}:{reference}")
    } else if has_scheme(reference) {
        reference.to_owned()
    } else {
        return relative(base, reference).parse().ok();
    };
    let whole: Uri = whole.parse().ok()?;
    let port = |uri: &Uri| uri.port_u16().or(if uri.scheme_str()? == "https" { Some(443) } else { Some(80) });
    let same = whole.scheme_str()?.eq_ignore_ascii_case(scheme)
        && whole.host()?.eq_ignore_ascii_case(base.host()?)
        && port(&whole) == port(base)
        // Credentials in an address are others than those of the configuration.
        && !whole.authority()?.as_str().contains('@');
    same.then(|| whole.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")))
}

/// Whether a reference begins with a scheme (RFC 3986 §3.1).
fn has_scheme(reference: &str) -> bool {
    reference.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// The path and query of a reference without scheme and authority (RFC 3986 §5.2).
fn relative(base: &Uri, reference: &str) -> String {
    let (path, query) =
        reference.split_once('?').map_or((reference, None), |(path, query)| (path, Some(query)));
    let merged = match path {
        "" => base.path().to_owned(),
        path if path.starts_with('/') => without_dots(path),
        path => {
            let directory = base.path().rfind('/').map_or("/", |end| &base.path()[..=end]);
            without_dots(&format!("{directory}{path}"))
        }
    };
    match query.or_else(|| base.query().filter(|_| path.is_empty())) {
        Some(query) => format!("{merged}?{query}"),
        None => merged,
    }
}

/// A path without `.` and `..` (RFC 3986 §5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            ".." => drop(kept.pop()),
            "." => {}
            segment => {
                kept.push(segment);
                continue;
            }
        }
        if is_last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_mean_a_place_at_the_same_origin_or_none() {
        let base: Uri = "http://Host:80/a/b?c=d".parse().unwrap();
        for (reference, meant) in [
            ("/mcp/", Some("/mcp/")),
            ("mcp", Some("/a/mcp")),
            ("b/", Some("/a/b/")),
            ("./b/", Some("/a/b/")),
            ("../mcp?x=y", Some("/mcp?x=y")),
            ("../../../..", Some("/")),
            ("/x/./y/../z", Some("/x/z")),
            ("?x", Some("/a/b?x")),
            ("", Some("/a/b?c=d")),
            ("#part", Some("/a/b?c=d")),
            ("/mcp#part", Some("/mcp")),
            ("//host/mcp", Some("/mcp")),
            ("http://host", Some("/")),
            ("HTTP://HOST:80/mcp?x#y", Some("/mcp?x")),
            ("mcp:1", None),
            ("http://host:8080/mcp", None),
            ("https://host/mcp", None),
            ("https://host:80/mcp", None),
            ("http://other/mcp", None),
            ("http://host.other/mcp", None),
            ("http://host@other/mcp", None),
            ("http://a:b@host/mcp", None),
            ("//other/mcp", None),
            ("///other/mcp", None),
            ("ftp://host/mcp", None),
            ("javascript:1", None),
        ] {
            let path = resolve(&base, reference);
            assert_eq!(path.as_ref().map(PathAndQuery::as_str), meant, "{reference}");
        }
    }
}
