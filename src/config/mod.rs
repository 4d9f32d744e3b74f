//! The configuration: the file format, and the validated [`Config`] that the rest of mcpeg uses.
//!
//! | file | owns |
//! |---|---|
//! | `source`, `load` | which files there are, and reading them |
//! | `keys` | every key: its name, default, range, text, and what puts a change in force |
//! | `model` | the validated configuration, and which keys it is read from |
//! | `key`, `kinds`, `units` | what a key is, and how values of each kind are read |
//! | `access`, `peer`, `certificate`, `client_limits`, `issuer`, `proof` | clients and endpoints, what they name, show and may ask for, and whose tokens are believed |
//! | `log`, `rotation`, `address`, `listener`, `listeners`, `trust`, `rate`, `name`, `upstream`, `oauth`, `filters` | values of their own |
//! | `structure`, `suggestion` | unknown keys and values of the wrong type |
//! | `reader`, `section`, `expand`, `diagnostic` | reading one file: its places, references and problems |
//! | `example` | the commented reference that is shipped |
//!
//! Order of [`load()`]: the files are read, each is held against the table of keys, and where its structure is right its
//! meaning is read and its references are resolved. All problems of one stage are reported together, each with its place.
//! Loading reads files and the environment and has no other effect.

mod access;
mod address;
mod certificate;
mod client_limits;
mod diagnostic;
mod error;
pub mod example;
mod expand;
mod filters;
mod header;
mod issuer;
pub mod key;
pub mod keys;
mod kinds;
mod listener;
mod listeners;
mod load;
mod log;
mod model;
mod name;
mod oauth;
mod peer;
mod proof;
mod rate;
mod reader;
mod rotation;
mod secret;
mod section;
mod source;
mod structure;
mod suggestion;
mod trust;
mod units;
mod upstream;

pub use access::{Client, Endpoint};
pub use address::{AddressError, ListenAddr};
pub use certificate::Certificate;
pub use client_limits::ClientLimits;
pub use diagnostic::{Place, Problem, Problems};
pub use error::Error;
pub use filters::{Filters, LONGEST_TOOL_NAME, Pattern, Selection};
pub use header::{ClientHeader, OfClient, is_reserved_header};
pub use issuer::{Issuer, KeySource};
pub use keys::{HttpTransport, OpenTo, Pin, Prefix, Sharing, ShownOn, Start, Stderr};
pub use listener::Listener;
pub use load::{account, candidate, load, load_as, preview, preview_as, upstream_files};
pub use log::{Access, Audit, AuditLevel, ConsoleFormat, Fsync, LogFormat, OnFull, Overflow, Spans};
pub use model::{Config, Limits, Log, Server, StderrRules, Transport, Upstream};
pub use name::UpstreamName;
pub use oauth::{Flow, OAuth, is_confidential, is_loopback};
pub use peer::Peer;
pub use proof::{Algorithm, Claim, Proof, is_private_url};
pub use rate::Rate;
pub use rotation::{At, Compress, Every, Retention, Rotation, Weekday, Zone};
pub use secret::Secret;
pub use source::{Overrides, Source, default_log_file, default_path, fragment_directory, state_directory};
pub use trust::{Auth, Proxies, Tls};
