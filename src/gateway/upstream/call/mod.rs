//! What a request to an upstream is, whatever carries it: the request, what comes of it, whose it is, how many there may be
//! at once, and when it is tried again.

pub(crate) mod activity;
pub(crate) mod backoff;
pub(crate) mod caller;
pub(crate) mod concurrency;
pub(crate) mod exchange;
pub(crate) mod handshake;
pub(crate) mod headers;
pub(crate) mod in_flight;
pub(crate) mod lasting;
pub(crate) mod request;
pub(crate) mod tokens;
