//! What web pages are told that are allowed to use the gateway (Fetch standard §3.2, "CORS protocol").
//!
//! The guard has refused foreign origins before ([`super::guard`]): a page that comes so far is named in
//! `allowed_origins` or is of this machine, so that its own origin is what it is told. No cookies are used, and none are
//! asked for.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::gateway::upstream::{SESSION, VERSION};

/// How long a browser need not ask again whether it may send a request; browsers have limits of their own.
const MAX_AGE: Duration = Duration::from_secs(2 * 60 * 60);
/// What a page may read beside the usual.
const EXPOSED: [HeaderName; 5] =
    [SESSION, VERSION, header::WWW_AUTHENTICATE, header::RETRY_AFTER, header::ALLOW];
/// What a browser's preflight asks by (Fetch standard §3.2.2).
const REQUEST_METHOD: HeaderName = header::ACCESS_CONTROL_REQUEST_METHOD;

/// The layer that answers preflights and adds what pages may read.
pub(super) fn layer() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::mirror_request())
        .allow_methods([Method::GET, Method::POST, Method::DELETE, Method::OPTIONS])
        // `Mcp-Param-*` have any name.
        .allow_headers(AllowHeaders::mirror_request())
        .allow_private_network(true)
        .expose_headers(EXPOSED)
        .max_age(MAX_AGE)
}

/// Has a page read an answer that is given before the routes: the same as [`layer`] adds. Only where the guard has let its
/// origin in.
pub(super) fn tell(asked: &HeaderMap, answer: &mut HeaderMap) {
    let Some(origin) = asked.get(header::ORIGIN) else { return };
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    answer.append(header::VARY, HeaderValue::from_static("origin"));
    let exposed = EXPOSED.map(|name| name.to_string()).join(",");
    if let Ok(exposed) = HeaderValue::from_str(&exposed) {
        answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

/// Whether a request is a browser's question whether it may send another one.
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(header::ORIGIN) && headers.contains_key(REQUEST_METHOD)
}
