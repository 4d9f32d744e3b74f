//! Legacy sessions: what one downstream's `initialize` began and its `DELETE`, or silence, ends.

mod begun;
mod following;
mod forward;
mod ledger;
mod links;
mod live;
mod outbox;
mod replay;
mod store;
mod subscriptions;
#[cfg(test)]
mod tests;
mod transfer;

pub(crate) use ledger::{Journal, Ledger, Noted};
pub(crate) use live::{Listening, Session};
pub(crate) use replay::{EventId, Log, OWN};
pub(crate) use store::{Limits, NoSession, Store};
pub(crate) use subscriptions::{Subscribed, is_within};
pub use transfer::Asked;
pub(crate) use transfer::{Peer, State};
