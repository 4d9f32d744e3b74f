//! Which upstreams are behind which endpoint at this moment.
//!
//! A reload replaces the whole routing table at once. A request looks its view up once and keeps it until
//! the request is on its way, so that a request sees one routing table only; [`RoutingTable::released`] tells when the last of them
//! has let go.

use std::collections::HashMap;
use std::sync::Arc;

use fieldwork::Fieldwork;
use parking_lot::RwLock;
use tokio_util::task::TaskTracker;

use super::endpoint_view::EndpointView;
use crate::config::{Server, Upstream as Settings};
use crate::gateway::endpoint::Endpoint;
use crate::gateway::status::UpstreamStatus;
use crate::gateway::upstream::{Upstream, server_key};
use crate::handover::KnownLists;

/// What stands for the endpoint of all beside the keys of upstreams, which have a space in them.
const ALL: &str = "all";

/// What one configuration puts behind the endpoints.
#[derive(Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(crate)")]
pub(crate) struct RoutingTable {
    /// `[server]`.
    pub(crate) server: Server,
    /// Every upstream in the order of the configuration, the built-in one last.
    #[field(get)]
    upstreams: Vec<Arc<Upstream>>,
    /// What the configuration switches off, as it is told.
    #[field(get)]
    disabled: Vec<UpstreamStatus>,
    /// `/mcp`.
    #[field(get(deref = false))]
    merged: Arc<EndpointView>,
    /// `/mcp/NAME`.
    singles: HashMap<String, Arc<EndpointView>>,
    /// Tracks the views that are held.
    holders: TaskTracker,
}

/// The place of the routing table in force.
#[derive(Debug)]
pub(crate) struct RoutingHandle(RwLock<Arc<RoutingTable>>);

impl RoutingTable {
    /// The endpoints for these upstreams, of which the last one is the built-in one.
    pub(crate) fn new(server: Server, upstreams: Vec<Arc<Upstream>>) -> Self {
        let holders = TaskTracker::new();
        let configured = upstreams.len() - 1;
        // The built-in upstream is on the merged endpoint only where there is nothing else: a lone configured one must
        // keep its names unprefixed.
        let shown = if configured == 0 { upstreams.clone() } else { upstreams[..configured].to_vec() };
        let single = |upstream: &Arc<Upstream>| {
            let view = EndpointView::single(Arc::clone(upstream)).held(holders.token());
            (upstream.name().to_owned(), Arc::new(view))
        };
        let singles = upstreams.iter().map(single).collect();
        let merged = Arc::new(EndpointView::merged(shown, server.prefix).held(holders.token()));
        Self { server, upstreams, disabled: Vec::new(), merged, singles, holders }
    }

    /// The same beside upstreams that the configuration switches off.
    pub(crate) fn beside(mut self, disabled: &[Settings]) -> Self {
        self.disabled = disabled.iter().map(UpstreamStatus::disabled).collect();
        self
    }

    /// What clients were shown of the lists of each upstream, and of what was behind the endpoint of all.
    pub(crate) fn known_lists(&self) -> Vec<KnownLists> {
        let all = KnownLists { of: ALL.to_owned(), lists: vec![Some(self.merged.outline())] };
        let each = self.upstreams.iter().map(|upstream| KnownLists {
            of: server_key(upstream.settings()),
            lists: upstream.shown().known(),
        });
        std::iter::once(all).chain(each).collect()
    }

    /// Takes what clients were shown by the process before this one; whether something else was behind the endpoint of all.
    pub(crate) fn inherit_lists(&self, known: &[KnownLists]) -> bool {
        for upstream in &self.upstreams {
            let key = server_key(upstream.settings());
            if let Some(known) = known.iter().find(|known| known.of == key) {
                upstream.inherit_lists(&known.lists);
            }
        }
        let all = known.iter().find(|known| known.of == ALL);
        all.is_some_and(|all| all.lists != [Some(self.merged.outline())])
    }

    /// The upstreams that the configuration names.
    pub(crate) fn configured(&self) -> &[Arc<Upstream>] {
        &self.upstreams[..self.upstreams.len() - 1]
    }

    /// What is behind an endpoint; `None` without an upstream of that name.
    pub(crate) fn view(&self, endpoint: &Endpoint) -> Option<&Arc<EndpointView>> {
        match endpoint {
            Endpoint::All => Some(&self.merged),
            Endpoint::One(name) => self.singles.get(name),
        }
    }

    /// The endpoints behind which something else is than in `other`.
    pub(crate) fn differences<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Endpoint> + 'a {
        let names = self.singles.keys().chain(other.singles.keys());
        let endpoints = std::iter::once(Endpoint::All).chain(names.cloned().map(Endpoint::One));
        endpoints.filter(|endpoint| match (self.view(endpoint), other.view(endpoint)) {
            (Some(ours), Some(theirs)) => !ours.shows_the_same_as(theirs),
            _ => true,
        })
    }

    /// Gives this routing table up, and waits until nobody holds a view of it any more.
    pub(crate) async fn released(self: Arc<Self>) {
        let holders = self.holders.clone();
        holders.close();
        drop(self);
        holders.wait().await;
    }
}

impl RoutingHandle {
    /// A board with its first routing table.
    pub(crate) fn new(table: RoutingTable) -> Self {
        Self(RwLock::new(Arc::new(table)))
    }

    /// The routing table in force.
    pub(crate) fn current(&self) -> Arc<RoutingTable> {
        Arc::clone(&self.0.read())
    }

    /// Puts another routing table in force and returns the former one.
    pub(crate) fn replace(&self, table: Arc<RoutingTable>) -> Arc<RoutingTable> {
        std::mem::replace(&mut *self.0.write(), table)
    }

    /// What is behind an endpoint now.
    pub(crate) fn view(&self, endpoint: &Endpoint) -> Option<Arc<EndpointView>> {
        self.current().view(endpoint).cloned()
    }
}
