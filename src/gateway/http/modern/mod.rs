//! The modern era: each request stands by itself (MCP 2026-07-28).

mod continuation;
mod dispatch;
mod forward;
mod input_required;
mod listen;
mod sources;
mod subject;
mod suspended;

pub(crate) use continuation::Continuations;
pub(crate) use dispatch::Modern;
pub(crate) use forward::PendingCall;
pub(crate) use suspended::SuspendedCalls;
