//! Legacy sessions: what one downstream's `initialize` began and its `DELETE`, or silence, ends.

mod following;
mod ledger;
mod links;
mod live;
mod outbox;
mod replay;
mod store;
mod transfer;

pub(crate) use ledger::{Journal, Ledger};
pub(crate) use live::{Listening, Session};
pub(crate) use replay::{EventId, Log, OWN};
pub(crate) use store::{Limits, NoSession, Store};
pub use transfer::Asked;
pub(crate) use transfer::{Peer, State};
