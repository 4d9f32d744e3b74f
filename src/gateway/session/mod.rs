//! Legacy sessions: what one downstream's `initialize` began and its `DELETE`, or silence, ends.

mod connections;
mod following;
mod forward;
mod journal;
mod outbox;
mod own_tasks;
mod replay;
#[expect(clippy::module_inception, reason = "the file of the type `Session`")]
mod session;
mod store;
mod subscriptions;
#[cfg(test)]
mod tests;
mod transfer;

pub(crate) use journal::{JournalFile, Persisted, SessionJournal};
pub(crate) use replay::{EventId, Log, OWN};
pub(crate) use session::{Listening, Session};
pub(crate) use store::{Limits, SessionRefused, Store};
pub(crate) use subscriptions::{Subscribed, is_within};
pub use transfer::PeerRequest;
pub(crate) use transfer::{Peer, State};
