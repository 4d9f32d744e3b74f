//! The legacy era: sessions (MCP 2025-11-25 §Streamable HTTP and its predecessors).

mod batch;
mod call;
mod input;
mod session;
mod stream;

pub(crate) use session::Legacy;
