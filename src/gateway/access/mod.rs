//! Who may use the gateway, and how much: the clients that the configuration names, the tokens by which some of them are known,
//! the gateway's own and those of authorization servers, and what each uses of what it may ask for.

mod certificate;
mod clients;
mod known_tokens;
mod oauth;
mod usage;

pub(crate) use certificate::Certificate;
pub(crate) use clients::{Clients, Shown};
pub(crate) use known_tokens::KnownTokens;
pub use oauth::check_keys;
pub(crate) use oauth::{Challenge, Issuer, Issuers, Unproven, Verified, WELL_KNOWN, endpoint};
pub(crate) use usage::{Exceeded, Slot, Usage, Usages};
