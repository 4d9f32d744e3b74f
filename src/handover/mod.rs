//! The one protocol between a gateway and the process that takes its place.
//!
//! | file | owns |
//! |---|---|
//! | `message` | what is said, and its form on the wire |
//! | `session`, `child`, `round`, `permit`, `used`, `listener` | what is said of each |
//! | `channel` | saying it inside of the runtime, and descriptors beside it |
//! | `candidate` | starting the next process |
//! | `inheritance` | being the next process, before its runtime exists |
//! | `error` | why the next process does not serve |
//!
//! The next process is started with one end of a socket pair as standard input, and with [`VARIABLE`] in its
//! environment; nothing else is open to it. It says [`Message::Hello`] first; only then the old one sends lock,
//! standard error, listeners and [`Plan`], so that a program that hangs or is no mcpeg never holds them. Until it has
//! said hello, its standard error is a pipe, whose text tells why a program did not start.
//!
//! Afterwards both talk in lines of JSON over a [`channel`] until the old process ends; its plan is the first of them. The stages, old to new and
//! back: `take` `prepared` `go` `ready` `commit` `owned` `confirm` `confirmed` `released`. Any failure before `confirmed`
//! leaves everything to the old process, which ends the new one and waits for its death before it makes the run-time
//! files its own again. Sessions go over the same channel at any time, in both directions. Children of upstreams go before
//! `commit`: their descriptors over a socket pair of their own, and then `child`.
//!
//! # In which order
//!
//! - The stages come in the order above, each once. A stage in the place of another is [`Error::Order`]: the new process
//!   then ends, or is ended, and the old one serves on. After `owned` the new process waits for no stage but `released`, and
//!   serves without it.
//! - The old process says nothing before `take`. After it, either may say anything else at any time, between any two stages.
//! - What is said of one thing keeps its order: of sessions (`session` `find` `found` `ended` `deliver`), of rounds, of
//!   children (`child` `of_child`), of permits (`turn`), of reloads. What clients have used of their rates (`used`) comes with the
//!   sessions. Between these there is none: a session may come after
//!   the question for it, and is then unknown until it comes.
//! - Of these, only `child` and the first `turn` are bound to a stage: each `child` comes before `commit`, in the order of its
//!   descriptors, and the permits that are held come before `go`. `of_child` of the new process comes after `owned`.
//!
//! # Which version can follow which
//!
//! - Any that says the same [`PROTOCOL`] in its hello can follow, newer (upgrade) or older (downgrade). Any other is
//!   refused before it has been given anything, and the old process serves on.
//! - [`EXTENSIONS`] counts what was added since. The new process tells its number in the hello; the old one uses no more
//!   than that. A hello without the number means 0.
//! - What nothing depends on may be added freely: a message of a name that the other does not know is passed over
//!   ([`Message::Unknown`]), and so is an unknown field. A new field needs a default, as an older process does not send it.
//! - What the other has to understand raises [`EXTENSIONS`], and is said only to one that does. A change of what exists
//!   raises [`PROTOCOL`]: gateways of both sides are then restarted, not upgraded.
//!
//! `tests/fixtures/upgrade.wire` is a recorded conversation of protocol 2 with extension 1; a test holds the form to it.

mod candidate;
pub(crate) mod channel;
mod child;
mod error;
mod inheritance;
mod listener;
mod message;
mod permit;
mod round;
mod session;
mod used;

pub(crate) use candidate::{Candidate, pass};
pub(crate) use child::{Child, ChildMessage, ChildTransfer, Era, LinkKind, Offer, Stamp};
pub(crate) use error::Error;
pub(crate) use inheritance::{channel as inherited_channel, fail, is_successor, receive};
pub(crate) use listener::{Outline, SocketFile};
pub(crate) use message::{KnownLists, Message, PROTOCOL, Plan, failed};
pub(crate) use permit::{LimitMessage, Permits};
pub(crate) use round::{Caller, Round};
pub(crate) use session::{Change, Session};
pub(crate) use used::Used;
