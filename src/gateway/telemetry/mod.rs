//! What is counted and told of requests: numbers for `/metrics`, records of the audit, and those of the access log.
//!
//! | file | owns |
//! |---|---|
//! | `reason` | why requests are refused |
//! | `family`, `histogram` | numbers that are told apart by labels, without a lock |
//! | `origin` | whom a request comes from |
//! | `samples`, `recent` | how long calls have taken lately, and what has failed last, for people |
//! | `access` | the record of a request in the log |
//! | `ledger` | all numbers; what is refused, and where that is told |
//! | `operation` | one message of a client, from its arrival to what came of it |
//!
//! Invariant: each refusal is counted once, by [`Ledger::refuse`] or by its operation, and each call of a tool once, when the
//! last part of the gateway has let it go.

mod access;
mod family;
mod histogram;
pub(super) mod ledger;
mod operation;
mod origin;
pub(super) mod reason;
mod recent;
mod samples;

pub(crate) use access::AccessEntry;
pub(crate) use histogram::Counted;
pub(crate) use ledger::Ledger;
pub(crate) use operation::{Operation, Verdict};
pub(crate) use origin::{Origin, Proof};
pub(crate) use reason::Reason;
pub(crate) use recent::Failure;
pub(crate) use samples::{EVERY as SAMPLED_EVERY, KEPT as SAMPLES};
