//! What web pages are told that are allowed to use the gateway (Fetch standard §3.2, "CORS protocol").
//!
//! The guard has refused foreign origins before ([`super::guard`]): a page that comes so far is named in
//! `allowed_origins` or is of this machine, so that its own origin is what it is told. No cookies are used, and none are
//! asked for.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::gateway::upstream::{SESSION, VERSION};

/// How long a browser need not ask again whether it may send a request; browsers have limits of their own.
const MAX_AGE: Duration = Duration::from_secs(2 * 60 * 60);
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
        .expose_headers([SESSION, VERSION, header::WWW_AUTHENTICATE, header::RETRY_AFTER, header::ALLOW])
        .max_age(MAX_AGE)
}

/// Whether a request is a browser's question whether it may send another one.
pub(super) fn is_preflight(method: &Method, headers: &http::HeaderMap<HeaderValue>) -> bool {
    method == Method::OPTIONS && headers.contains_key(header::ORIGIN) && headers.contains_key(REQUEST_METHOD)
}
