//! The configuration: the file format as serde sees it, and the validated [`Config`] that the rest of mcpeg uses.
//!
//! Order of [`load()`]: the files are read, each is held against the table of keys (`schema`, with
//! `reference`), read into the serde shape (`shape`), and its meaning is checked and its references resolved
//! (`settings`, `upstream`, `expand`). All problems of one stage are reported together, each with its place.
//! Loading reads files and the environment and has no other effect.

mod address;
mod error;
pub mod example;
mod expand;
mod load;
mod log;
mod log_settings;
mod model;
mod place;
pub mod reference;
mod schema;
mod settings;
mod shape;
mod shows;
mod supervision;
mod units;
mod upstream;

pub use address::AddressError;
pub use error::Error;
pub use load::{
    Overrides, Source, candidate, default_path, fragment_directory, load, preview, upstream_names,
};
pub use log::{
    At, Compress, ConsoleFormat, Every, Fsync, Log, LogFormat, OnFull, Overflow, Retention, Rotation, Spans,
    Weekday, Zone,
};
pub use model::{
    Auth, Config, Limits, ListenAddr, Metrics, Prefix, Secret, Server, Sharing, Start, Transport, Upstream,
    UpstreamName,
};
pub use place::{Place, Problem, Problems};
pub use shows::{Pattern, Selection, Shows};
pub use upstream::is_reserved_header;
