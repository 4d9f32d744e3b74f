//! Upstreams that are HTTP endpoints: which endpoint, over which TCP connection, and the session with it. Streamable HTTP is
//! `connection`, HTTP+SSE of revision 2024-11-05 is `event_channel`.

pub(crate) mod balancer;
pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod credential;
pub(crate) mod document;
pub(crate) mod event_channel;
pub(crate) mod get_stream;
pub(crate) mod pool;
mod redirect;
pub(crate) mod refusals;
pub(crate) mod requester;
pub(crate) mod response;
mod session_check;
pub(crate) mod sse;
