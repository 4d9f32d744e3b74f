//! The MCP servers behind the gateway: starting them, talking to them, keeping them up.
//!
//! From below:
//!
//! | wing | owns |
//! |---|---|
//! | `call` | what a request is, whatever carries it |
//! | `lists` | the lists that servers have, as values |
//! | `inbox`, `remarks` | where messages go that belong to no request; what is wrong with an upstream that works |
//! | `pins` | which tools were approved |
//! | `stdio`, `http`, `builtin` | the transports, which know nothing of one another |
//! | `link` | [`Link`], one live connection of whatever kind: negotiation, lists, tasks |
//! | `supervise` | [`Upstream`], one configured server: start, health, leases, followers, transfer |
//!
//! No file imports from a wing above its own.

mod builtin;
mod call;
mod catch_panic;
mod http;
mod inbox;
mod link;
mod lists;
mod log_limit;
mod pins;
mod remarks;
mod stdio;
mod supervise;

pub(crate) use self::http::client::pool;
pub(crate) use self::http::client::web_for;
pub(crate) use self::http::document::Documents;
pub(crate) use self::http::pool::Pool;
pub(crate) use builtin::Builtin;
pub(crate) use call::caller::Caller;
pub(crate) use call::concurrency::{ConcurrencyLimit, LimitSender};
pub(crate) use call::exchange::{Event, Exchange};
pub(crate) use call::headers;
pub(crate) use call::headers::{SESSION, VERSION};
pub(crate) use call::lasting::{LastingToken, Later};
pub(crate) use call::request::{Call, Role};
pub(crate) use inbox::{Inbound, InboxReceiver, inbox};
pub(crate) use link::connection::Link;
pub(crate) use link::listen::{can_subscribe, subscribe_to};
pub(crate) use link::lists::{
    check_parameters, get as list, mirrored_headers, mirrors_arguments, tools_anew,
};
pub(crate) use link::negotiate::{ClientIdentity, Connector, Directories};
pub(crate) use link::reconcile::reconcile;
pub(crate) use link::tasks::{Standing, knows_task, list_tasks, lists_tasks, task_begun};
pub(crate) use lists::addresses::{PAGE_KEYS, PAGE_SCHEME, SKILL_SCHEME, linked, page};
pub(crate) use lists::cache::Purpose;
pub(crate) use lists::kind::{KINDS, Kind};
pub(crate) use lists::listing::{Fitted, Listing, ParamHeader, renamed};
pub(crate) use pins::{KnownPins, Pins};
pub(crate) use remarks::Misfit;
pub(crate) use stdio::reaper::Reaper;
pub(crate) use supervise::follow::{Followed, Subjects, follow};
pub(crate) use supervise::lease::Lease;
pub(crate) use supervise::supervisor::Upstream;
pub(crate) use supervise::transfer::{Awaited, SharedChild, server_key};
