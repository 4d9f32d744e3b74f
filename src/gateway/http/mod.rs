//! What faces downstreams: routes, guards, the two eras' handlers, and the connections themselves.

mod accept;
mod answer;
mod bodies;
mod forwarded_call;
mod guard;
mod health;
mod held;
mod input;
mod legacy;
mod lending;
mod listen;
mod metrics;
mod modern;
mod post;
mod questions;
mod relayed;
mod rounds;
mod router;
mod slots;
mod stall;
mod validate;
mod version;

pub(crate) use accept::accept;
pub(crate) use bodies::Bodies;
pub(crate) use held::Held;
pub(crate) use metrics::is_local;
pub(crate) use rounds::Rounds;
pub(crate) use router::Front;
pub use slots::Expected;
pub(crate) use slots::Slots;
