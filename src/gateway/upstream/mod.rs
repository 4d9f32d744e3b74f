//! The MCP servers behind the gateway: starting them, talking to them, keeping them up.
//!
//! [`Upstream`] supervises one configured server; [`Link`] is one live connection to it; [`Exchange`] is one request
//! on its way.

mod allowance;
mod answers;
mod builtin;
mod caller;
mod child;
mod driven;
mod endpoints;
mod enduring;
mod events;
mod exchange;
mod files;
mod following;
mod gate;
mod handshake;
pub(crate) mod headers;
mod http;
mod inbox;
mod keepers;
mod known;
mod lease;
mod lending;
mod lines;
mod link;
mod moving;
mod pipes;
mod pool;
mod pulse;
mod reconcile;
mod refusals;
mod report;
mod retry;
mod stderr;
mod stdio;
mod supervisor;
mod tasks;
mod unsolicited;
mod watch;

pub(crate) use self::http::{SESSION, VERSION};
pub(crate) use builtin::Builtin;
pub(crate) use caller::Caller;
pub(crate) use driven::Pool;
pub(crate) use exchange::{Event, Exchange};
pub(crate) use following::{Followed, can_subscribe, follow, subscribe_to};
pub(crate) use gate::{Gate, Teller, Turn, Word};
pub(crate) use handshake::{ClientIdentity, Connector};
pub(crate) use inbox::{Inbound, InboxReceiver, inbox};
pub(crate) use keepers::Keepers;
pub(crate) use known::{Kind, Listing, ParamHeader, Purpose, renamed};
pub(crate) use lease::Lease;
pub(crate) use lending::{Told, Way};
pub(crate) use link::{Call, Link, Role};
pub use moving::Parcel;
pub(crate) use moving::{Awaited, Offer, Shared, whereabouts};
pub(crate) use pool::pool;
pub use supervisor::State;
pub(crate) use supervisor::Upstream;
pub(crate) use tasks::Standing;
