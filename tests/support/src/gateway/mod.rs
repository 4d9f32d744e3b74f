//! A gateway that serves, and HTTP upstreams beside it: both are processes whose output is followed.

mod output;
mod running;
mod upstream;

pub use crate::daemon::write;
pub use running::Gateway;
pub use upstream::HttpUpstream;
