//! Legacy sessions: what one downstream's `initialize` began and its `DELETE`, or silence, ends.
//!
//! | file | owns |
//! |---|---|
//! | `session` | one session, as a whole of the parts below |
//! | `calls`, `questions` | requests of the client in flight, and of servers to it |
//! | `readiness` | whether it may be asked anything yet |
//! | `connections` | the connections that it uses |
//! | `outbox`, `replay` | messages for its GET stream, and those of its requests |
//! | `channel` | the latter of a client of HTTP+SSE, which has one stream for all |
//! | `subscriptions`, `own_tasks` | what it has subscribed to and begun |
//! | `subscribe`, `forward` | what servers are told of subscriptions, and what they tell the session |
//! | `journal` | where it is saved: [`crate::handover::Session`] is what |
//! | `peer` | the way to the process before or after this one |
//! | `attendance` | who has sessions, for people |
//! | `store` | all sessions: their begin, end and return |

mod attendance;
mod calls;
mod channel;
mod connections;
mod forward;
mod journal;
mod outbox;
mod own_tasks;
mod peer;
mod questions;
mod readiness;
mod replay;
#[expect(clippy::module_inception, reason = "the file of the type `Session`")]
mod session;
mod store;
pub(crate) mod subscribe;
mod subscriptions;
#[cfg(test)]
mod tests;

pub(crate) use attendance::Attendance;
pub(crate) use channel::{Channel, Place};
pub(crate) use peer::PeerLink;
pub(crate) use replay::{EventId, Log, StreamId};
pub(crate) use session::{Listening, Session};
pub(crate) use store::{Limits, SessionRefused, SessionStore};
pub(crate) use subscriptions::Subscribed;
