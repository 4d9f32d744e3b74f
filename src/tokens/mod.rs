//! Tokens by which clients prove who they are: made by `mcpeg token`, believed by the gateway.
//!
//! | file | owns |
//! |---|---|
//! | `secret` | what a token looks like, and the digest that is kept of it |
//! | `store` | the file of all tokens, and who may change it |
//!
//! Invariants: a token is shown once, when it is made, and only its digest is kept, under a key of this machine; neither
//! file can be read by others than their owner; a reader sees a whole file.

mod secret;
mod store;

pub(crate) use secret::NewToken;
pub(crate) use store::{Draft, Error, Refusal, Store, Token};
