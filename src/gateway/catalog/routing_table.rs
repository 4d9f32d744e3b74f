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
use crate::config::{self, Server, Upstream as Settings};
use crate::gateway::access::Clients;
use crate::gateway::client::ClientName;
use crate::gateway::endpoint::Endpoint;
use crate::gateway::person::{Person, Wanted};
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
    /// `[clients.NAME]`.
    #[field(get)]
    clients: Clients,
    /// Every upstream in the order of the configuration, the built-in one last.
    #[field(get)]
    upstreams: Vec<Arc<Upstream>>,
    /// What the configuration switches off, as it is told.
    #[field(get)]
    disabled: Vec<UpstreamStatus>,
    /// `/mcp`.
    #[field(get(deref = false))]
    merged: Arc<EndpointView>,
    /// `/mcp/NAME`, for upstreams and `[endpoints.NAME]`.
    named: HashMap<String, Arc<EndpointView>>,
    /// What clients have that may not use everything, by their entries.
    restricted: HashMap<String, Restricted>,
    /// What upstreams are to be shown of clients, if there is anything.
    #[field(get)]
    wanted: Option<Wanted>,
    /// Tracks the views that are held.
    holders: TaskTracker,
}

/// What a client has that may not use everything.
#[derive(Debug)]
struct Restricted {
    /// `/mcp`, if it has anything there.
    merged: Option<Arc<EndpointView>>,
    /// `/mcp/NAME`.
    named: HashMap<String, Arc<EndpointView>>,
}

/// The place of the routing table in force.
#[derive(Debug)]
pub(crate) struct RoutingHandle(RwLock<Arc<RoutingTable>>);

impl RoutingTable {
    /// The endpoints for these upstreams, of which the last one is the built-in one.
    pub(crate) fn new(
        server: Server,
        (clients, endpoints): (Clients, &[config::Endpoint]),
        upstreams: Vec<Arc<Upstream>>,
    ) -> Self {
        let holders = TaskTracker::new();
        let configured = upstreams.len() - 1;
        // The built-in upstream is on the merged endpoint only where there is nothing else: a lone configured one must
        // keep its names unprefixed.
        let shown = if configured == 0 { upstreams.clone() } else { upstreams[..configured].to_vec() };
        let wanted = Wanted::of(upstreams.iter().map(|upstream| upstream.settings()));
        let differs = !clients.is_empty() || wanted.is_some();
        let held = |view: EndpointView| Arc::new(view.differing(differs).held(holders.token()));
        let single = |upstream: &Arc<Upstream>| {
            (upstream.name().to_owned(), held(EndpointView::single(Arc::clone(upstream))))
        };
        let mut named: HashMap<_, _> = upstreams.iter().map(single).collect();
        named.extend(endpoints.iter().map(|endpoint| {
            let find = |name: &String| upstreams.iter().find(|upstream| upstream.name() == name).cloned();
            let behind = endpoint
                .upstreams()
                .map_or_else(|| shown.clone(), |names| names.iter().filter_map(find).collect());
            let all = EndpointView::merged(behind, endpoint.prefix());
            (endpoint.name().to_owned(), held(all.narrowed(endpoint.filters(), holders.token())))
        }));
        let merged = held(EndpointView::merged(shown, server.prefix));
        let restricted = clients.iter().filter(|client| client.is_restricted()).map(|client| {
            (client.name().entry().to_owned(), Restricted::of(client.settings(), (&merged, &named), &holders))
        });
        let restricted = restricted.collect();
        Self { server, clients, upstreams, disabled: Vec::new(), merged, named, restricted, wanted, holders }
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

    /// Whether a client may not use everything, or nothing.
    pub(crate) fn restricts(&self, client: &ClientName) -> bool {
        self.restricted.contains_key(client.entry())
    }

    /// What is behind an endpoint; `None` if its client has nothing of that name.
    pub(crate) fn view(&self, endpoint: &Endpoint) -> Option<&Arc<EndpointView>> {
        let (merged, named) = match endpoint.client() {
            None => (Some(&self.merged), &self.named),
            Some(client) => match self.restricted.get(client.entry()) {
                Some(restricted) => (restricted.merged.as_ref(), &restricted.named),
                None if self.clients.is_empty() || self.clients.get(client).is_some() => {
                    (Some(&self.merged), &self.named)
                }
                None => return None,
            },
        };
        match endpoint.name() {
            None => merged,
            Some(name) => named.get(name),
        }
    }

    /// The endpoints behind which something else is than in `other`: for everybody, and for clients that may not use
    /// everything.
    pub(crate) fn differences<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Endpoint> + 'a {
        let names = self.named.keys().chain(other.named.keys()).map(Some);
        let clients = self.restricted.keys().chain(other.restricted.keys()).map(Some);
        let clients = clients.map(|entry| entry.map(|entry| ClientName::new(entry)));
        let clients: Vec<_> = std::iter::once(None).chain(clients).collect();
        let endpoints = std::iter::once(None).chain(names).flat_map(move |name| {
            let of = |client: &Option<ClientName>| Endpoint::named(name.cloned()).of(client.clone());
            clients.iter().map(of).collect::<Vec<_>>()
        });
        endpoints.filter(|endpoint| match (self.view(endpoint), other.view(endpoint)) {
            (Some(ours), Some(theirs)) => !ours.shows_the_same_as(theirs),
            (None, None) => false,
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

impl Restricted {
    /// What a client has of what everybody has. One endpoint is at `/mcp`, too.
    fn of(
        settings: &config::Client,
        (merged, named): (&Arc<EndpointView>, &HashMap<String, Arc<EndpointView>>),
        holders: &TaskTracker,
    ) -> Self {
        let narrowed =
            |view: &Arc<EndpointView>| Arc::new(view.narrowed(settings.filters(), holders.token()));
        let may = |name: &String| settings.endpoints().is_none_or(|names| names.contains(name));
        let own =
            named.iter().filter(|(name, _)| may(name)).map(|(name, view)| (name.clone(), narrowed(view)));
        let own: HashMap<_, _> = own.collect();
        let merged = match settings.endpoints() {
            None => Some(narrowed(merged)),
            Some([only]) => own.get(only).cloned(),
            Some(_) => None,
        };
        Self { merged, named: own }
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

    /// What is behind an endpoint now, as its client has it.
    pub(crate) fn view(&self, endpoint: &Endpoint) -> Option<Arc<EndpointView>> {
        self.view_of(endpoint, endpoint.person())
    }

    /// The same for one of whom upstreams are shown this.
    pub(crate) fn view_of(
        &self,
        endpoint: &Endpoint,
        person: Option<&Arc<Person>>,
    ) -> Option<Arc<EndpointView>> {
        let table = self.current();
        let view = table.view(endpoint)?;
        let own = person.filter(|_| table.wanted.is_some());
        let own = own.map(|person| Arc::new(view.of_person(person, table.holders.token())));
        Some(own.unwrap_or_else(|| Arc::clone(view)))
    }
}
