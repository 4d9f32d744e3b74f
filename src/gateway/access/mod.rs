//! Who may use the gateway: the clients that the configuration names, and the tokens by which some of them are known.

mod clients;
mod known_tokens;

pub(crate) use clients::{Clients, Shown};
pub(crate) use known_tokens::KnownTokens;
