//! The configuration: the file format as serde sees it, and the validated [`Config`] that the rest of mcpeg uses.

mod model;

pub use model::{
    Auth, Config, ListenAddr, Log, LogFormat, Prefix, Secret, Server, Sharing, Transport, Upstream,
    UpstreamName,
};
