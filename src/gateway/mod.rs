//! The MCP gateway: what downstreams connect to, what upstreams hide behind, and the relay between.
//!
//! | module | owns |
//! |---|---|
//! | `http` | routes, guards, the two eras' handlers, connections and their drain |
//! | `access` | the clients that the configuration names, and the tokens that are believed |
//! | `session` | legacy sessions: their connections, calls in flight, messages for their GET stream |
//! | `catalog` | merged lists, and which upstream a name belongs to |
//! | `upstream` | child processes and HTTP endpoints, supervised; one request on its way |
//! | `status`, `status_source`, `mend`, `metrics`, `metric` | what the gateway tells about itself |
//! | `telemetry` | what is counted and told of requests |
//! | `person` | what upstreams are shown of clients |
//! | `memory` | what waits in memory, under one budget |
//! | `certificates` | those of listeners, and their files |
//! | `handover` | children on their way to another process, or from one |
//! | `reload` | another configuration for a running gateway |
//! | `upstream_tasks` | the tasks that supervise, end and replace upstreams |
//! | `service` | the gateway as a whole of these parts |
//! | `relay` | JSON-RPC envelopes with raw payloads, and the differences between the eras |
//!
//! Invariants: payloads pass as their sender wrote them; what belongs to one request stays in order; a broken
//! upstream affects only calls to itself; no child outlives the gateway.

mod access;
mod catalog;
mod certificates;
mod changes;
mod client;
mod client_log_limit;
mod endpoint;
mod error;
mod handover;
mod http;
mod interval;
mod memory;
mod mend;
mod metric;
mod metrics;
mod person;
mod relay;
mod reload;
mod service;
mod session;
mod status;
mod status_source;
mod telemetry;
mod upstream;
mod upstream_tasks;

pub use access::check_keys;
pub use certificates::{Error as CertificateError, check as check_certificates};
pub use error::Error;
pub use http::Expected;
pub use metric::{Labels, Metric};
pub use reload::{NotReady, Prepared, Reloaded};
pub use service::Gateway;
pub use status::{CertificateStatus, Era, IssuerStatus, Status, UpstreamState, UpstreamStatus};
pub(crate) use upstream::headers::encode as header_value;
pub(crate) use upstream::web_for;
