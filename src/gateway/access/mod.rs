//! Who may use the gateway, and how much: the clients that the configuration names, the tokens by which some of them are known,
//! and what each uses of what it may ask for.

mod clients;
mod known_tokens;
mod usage;

pub(crate) use clients::{Clients, Shown};
pub(crate) use known_tokens::KnownTokens;
pub(crate) use usage::{Exceeded, Slot, Usage, Usages};
