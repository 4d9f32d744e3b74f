//! What faces downstreams: routes, the pipeline of a request, the two eras' handlers, and the connections themselves.
//!
//! From below:
//!
//! | files | own |
//! |---|---|
//! | `open_connections`, `version`, `stall`, `bodies`, `moment`, `cutoff`, `woken` | what connections, bodies and requests may take, and their turns |
//! | `gate`, `proxy_header`, `forwarded` | what a listener asks of its connections, and for whom proxies ask |
//! | `peer`, `guard`, `authenticate`, `cors`, `context` | who is let in and who that is, what web pages are told, and what is known of a request |
//! | `validate`, `answer`, `message`, `nowhere` | reading and answering one message; what is said where nothing is |
//! | `forwarded_call`, `task_owners` | a request on its way, and what another process is told of it |
//! | `modern/`, `legacy/` | the handlers of the two eras, which know nothing of one another |
//! | `status_view`, `status_page` | the page for people |
//! | `pipeline`, `health`, `metrics`, `router` | which handler answers what, and in which order a request is checked |
//! | `accept` | the connections of a listener, and their drain |
//!
//! Where the specification leaves a choice, or has no answer for what stands in the middle:
//!
//! - What a server answers is relayed as it was written, also without `resultType`, `ttlMs` or `cacheScope`, or with a negative
//!   time: MCP 2026-07-28 says what a client makes of these. What the gateway answers itself, lists of several servers among
//!   that, is complete, holds for the shortest time that is left and is as private as the strictest part.
//! - A request's stream has what belongs to the request: its own progress, log messages, and words of extensions. Changes that
//!   a server tells there reach everybody who listens; progress of others goes to the session, since a task's token outlives its
//!   request, and nowhere in the modern era.
//! - Codes of legacy servers that the modern era reserves or has given up become what says the same there, or an internal error
//!   that names the code. Those of modern servers pass: only they can have meant them.
//! - A session belongs to the endpoint at which it began; elsewhere it is unknown (404).
//! - GET is for clients that accept an event stream; to others it is 406, as the official SDKs have it.
//! - An identifier has no fraction, whatever JSON-RPC permits: that of MCP is a text or an integer. `1.0` is one.

mod accept;
mod answer;
mod authenticate;
mod bodies;
mod context;
mod cors;
mod cutoff;
mod forwarded;
mod forwarded_call;
mod gate;
mod guard;
mod health;
mod legacy;
mod message;
mod metrics;
mod modern;
mod moment;
mod nowhere;
mod open_connections;
mod peer;
mod pipeline;
mod proxy_header;
mod router;
mod stall;
mod status_page;
mod status_view;
mod task_owners;
mod validate;
mod version;
mod woken;

pub(crate) use accept::{Admission, accept, accept_operators};
pub(crate) use gate::{Gate, Gates};
pub(crate) use guard::Guard;
pub(crate) use health::Health;
pub(crate) use legacy::Legacy;
pub(crate) use modern::{Continuations, Modern, PendingCall, SuspendedCalls};
pub use open_connections::Expected;
pub(crate) use open_connections::OpenConnections;
pub(crate) use pipeline::Pipeline;
pub(crate) use router::{Front, Handlers};
pub(crate) use status_page::StatusPage;
pub(crate) use task_owners::TaskOwners;
