//! Children of upstreams as they go over: what is offered, what goes with their descriptors, and what is said of them
//! until the old process ends.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Which of an upstream's connections a child belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LinkKind {
    /// The native one.
    Native,
    /// The legacy one that all sessions share, to a server that is modern by nature.
    SharedLegacy,
}

/// Which of the two shapes of MCP was agreed with a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Era {
    /// Revisions up to 2025-11-25.
    Legacy,
    /// Revision 2026-07-28.
    Modern,
}

/// What tells one content of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// The device and the number of its inode.
    pub(crate) inode: (u64, u64),
    /// Its size, in bytes.
    pub(crate) size: u64,
    /// When it was last written, in seconds and nanoseconds.
    pub(crate) written: (i64, i64),
}

/// A child that may be handed over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Offer {
    /// Its upstream.
    pub(crate) upstream: String,
    /// Its connection.
    pub(crate) place: LinkKind,
    /// Its pid.
    pub(crate) child: u32,
    /// How it was started, as a digest.
    #[serde(rename = "recipe")]
    pub(crate) spec: String,
    /// The files that it was made of.
    pub(crate) files: Vec<(PathBuf, Stamp)>,
    /// The era that was agreed.
    pub(crate) era: Era,
    /// The revision that was agreed.
    pub(crate) version: String,
    /// The server's capabilities.
    pub(crate) capabilities: Box<RawValue>,
    /// Its instructions.
    pub(crate) instructions: Option<String>,
    /// The least severe log message that it was asked for, as JSON.
    pub(crate) log: Option<Box<RawValue>>,
    /// The last identifier that is the old process's to give out.
    pub(crate) last: u64,
}

/// What goes with the descriptors of a child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "other versions call it so")]
pub(crate) struct Child {
    /// Its pid.
    pub(crate) child: u32,
    /// What was read of its standard output but not used, in base64.
    pub(crate) stdout: String,
    /// The same of standard error.
    pub(crate) stderr: String,
    /// The requests in flight.
    pub(crate) calls: Vec<u64>,
}

/// A child on its way to another process.
#[derive(Debug)]
pub(crate) struct ChildTransfer {
    /// What the other process must know.
    pub(crate) child: Child,
    /// A pidfd, standard input, standard output, and standard error if that is open.
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// What one process tells the other of a child that is handed over, by its pid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChildMessage {
    /// A message: to the new process one for the child, to the old one what the child has said.
    Line {
        /// The child.
        child: u32,
        /// One JSON-RPC message.
        line: String,
    },
    /// New: the child is mine to end.
    Adopted {
        /// The child.
        child: u32,
    },
    /// New: the child says nothing any more.
    HungUp {
        /// The child.
        child: u32,
    },
}
