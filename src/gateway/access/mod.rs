//! Who may use the gateway: the clients that the configuration names, and the tokens by which some of them are known, the
//! gateway's own and those of authorization servers.

mod clients;
mod known_tokens;
mod oauth;

pub(crate) use clients::{Clients, Shown};
pub(crate) use known_tokens::KnownTokens;
pub use oauth::check_keys;
pub(crate) use oauth::{Challenge, Issuer, Issuers, Unproven, Verified, WELL_KNOWN, endpoint};
