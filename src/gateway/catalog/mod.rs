//! What an endpoint shows: the merged lists of its upstreams, and which upstream a name belongs to.

mod list;
mod route;
mod scope;

pub(crate) use list::{merged, soon};
pub(crate) use route::route;
pub(crate) use scope::{Links, Native, Scope};
