//! Tokens of authorization servers (OAuth 2.1, RFC 9068): mcpeg is the resource server.
//!
//! A token is verified once, by a key that its server publishes, and then known by its digest until it is over, its key is
//! published no more, or the configuration believes its server in another way. Nothing waits for a server while a key that is
//! known will do; what waits is the one request whose key is not.
//!
//! | file | owns |
//! |---|---|
//! | `signatures` | how signatures are checked |
//! | `key_set` | the keys that a server publishes |
//! | `verified` | what a token has proven |
//! | `issuer` | one server: its keys, when they are looked for, and what its tokens must say |
//! | `issuers` | all servers, the tokens that were verified, and what clients are told of them (RFC 9728) |

mod issuer;
mod issuers;
mod key_set;
mod signatures;
mod verified;

pub use issuer::check as check_keys;
pub(crate) use issuer::{Issuer, Unproven};
pub(crate) use issuers::{Challenge, Issuers, WELL_KNOWN, endpoint};
pub(crate) use verified::Verified;
