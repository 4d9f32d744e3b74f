//! What an endpoint shows: the merged lists of its upstreams, and which upstream a name belongs to.

mod answered;
mod apart;
mod connection_source;
mod cursor;
mod endpoint_view;
mod listing;
mod one_list;
mod route;
mod routing_table;
mod tasks;

pub(crate) use answered::Answered;
pub(crate) use connection_source::{ConnectionSource, Knowing, Native, soon};
pub(crate) use endpoint_view::EndpointView;
pub(crate) use listing::{check_clashes, merged, passed};
pub(crate) use one_list::note_shown;
pub(crate) use route::{Way, followed, route};
pub(crate) use routing_table::{RoutingHandle, RoutingTable};
pub(crate) use tasks::{all_tasks, check_speaks, own_tasks, owner};
