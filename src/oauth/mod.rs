//! mcpeg as a client of authorization servers: how it gets the tokens that upstreams want, and where it keeps them.
//!
//! | file | owns |
//! |---|---|
//! | `web` | requests to authorization servers |
//! | `challenge` | what an upstream says when it wants a token |
//! | `discovery` | which authorization server that is, and what it can do |
//! | `registration` | who mcpeg is there |
//! | `authorize` | the way by a browser: its beginning, and what comes back |
//! | `device` | the way by a code that a person types |
//! | `grant` | requests for tokens |
//! | `exchange` | a client's token for one of an upstream |
//! | `login` | what is kept of a login, and its file |
//! | `renewal` | the next token of a login, and its end |
//! | `error` | why there is no token |
//!
//! Invariants (MCP 2026-07-28 §Authorization): a token is sent to nobody but the upstream that it was made for, a secret to
//! nobody but the issuer that it was made for; both go over TLS or stay on this machine; a server that does not say that it
//! supports PKCE with S256 is not used for logins by a browser; nothing here logs, and no error tells a token.

mod authorize;
mod challenge;
mod device;
mod discovery;
mod error;
mod exchange;
mod grant;
mod login;
mod registration;
mod renewal;
mod web;

pub(crate) use authorize::Authorization;
pub(crate) use challenge::Challenge;
pub(crate) use device::Device;
pub(crate) use discovery::{Authority, discover};
pub(crate) use error::Error;
pub(crate) use exchange::{Subject, exchange};
pub(crate) use grant::{Granted, client_credentials, exchange_code};
pub(crate) use login::{Login, Store};
pub(crate) use registration::{Client, identify};
pub(crate) use renewal::{refresh, revoke};
pub(crate) use web::Web;
