//! The MCP servers behind the gateway: starting them, talking to them, keeping them up.
//!
//! [`Upstream`] supervises one configured server; [`Link`] is one live connection to it; [`Exchange`] is one request
//! on its way.

mod builtin;
mod child;
mod events;
mod exchange;
mod handshake;
pub(crate) mod headers;
mod http;
mod keepers;
mod known;
mod link;
mod retry;
mod stderr;
mod stdio;
mod supervisor;

pub(crate) use self::http::{Pool, SESSION, VERSION, pool};
pub(crate) use builtin::Builtin;
pub(crate) use exchange::{Event, Exchange};
pub(crate) use handshake::{ClientIdentity, Connector};
pub(crate) use keepers::Keepers;
pub(crate) use known::{Kind, Listing, ParamHeader, renamed};
pub(crate) use link::{Call, Inbound, InboxReceiver, Link, Role, inbox};
pub use supervisor::State;
pub(crate) use supervisor::Upstream;
