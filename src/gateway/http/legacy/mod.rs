//! The legacy era: sessions (MCP 2025-11-25 §Streamable HTTP and its predecessors), and in `events` those of HTTP+SSE.

mod batch;
mod call;
mod events;
mod input;
mod session;
mod stream;

pub(crate) use events::EventClients;
pub(crate) use session::Legacy;
