//! Which upstreams are behind which endpoint at this moment.
//!
//! A reload replaces the whole lineup at once. Whoever handles a request looks its scope up once and keeps it until
//! the request is on its way, so that a request sees one lineup only; [`Lineup::released`] tells when the last of them
//! has let go.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_util::task::TaskTracker;

use super::super::changes::Endpoint;
use super::super::status::UpstreamStatus;
use super::super::upstream::Upstream;
use super::scope::Scope;
use crate::config::{Server, Upstream as Settings};

/// What one configuration puts behind the endpoints.
#[derive(Debug)]
pub(crate) struct Lineup {
    /// `[server]`.
    pub(crate) server: Server,
    /// Every upstream in the order of the configuration, the built-in one last.
    upstreams: Vec<Arc<Upstream>>,
    /// What the configuration switches off, as it is told.
    disabled: Vec<UpstreamStatus>,
    /// `/mcp`.
    merged: Arc<Scope>,
    /// `/mcp/NAME`.
    singles: HashMap<String, Arc<Scope>>,
    /// Tracks the scopes that are held.
    holders: TaskTracker,
}

/// The place of the lineup in force.
#[derive(Debug)]
pub(crate) struct Board(RwLock<Arc<Lineup>>);

impl Lineup {
    /// The endpoints for these upstreams, of which the last one is the built-in one.
    pub(crate) fn new(server: Server, upstreams: Vec<Arc<Upstream>>) -> Self {
        let holders = TaskTracker::new();
        let configured = upstreams.len() - 1;
        // The built-in upstream is on the merged endpoint only where there is nothing else: a lone configured one must
        // keep its names unprefixed.
        let shown = if configured == 0 { upstreams.clone() } else { upstreams[..configured].to_vec() };
        let single = |upstream: &Arc<Upstream>| {
            let scope = Scope::single(Arc::clone(upstream)).held(holders.token());
            (upstream.name().to_owned(), Arc::new(scope))
        };
        let singles = upstreams.iter().map(single).collect();
        let merged = Arc::new(Scope::merged(shown, server.prefix).held(holders.token()));
        Self { server, upstreams, disabled: Vec::new(), merged, singles, holders }
    }

    /// The same beside upstreams that the configuration switches off.
    pub(crate) fn beside(mut self, disabled: &[Settings]) -> Self {
        self.disabled = disabled.iter().map(UpstreamStatus::disabled).collect();
        self
    }

    /// The upstreams that the configuration switches off.
    pub(crate) fn disabled(&self) -> &[UpstreamStatus] {
        &self.disabled
    }

    /// Every upstream, the built-in one last.
    pub(crate) fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }

    /// The upstreams that the configuration names.
    pub(crate) fn configured(&self) -> &[Arc<Upstream>] {
        &self.upstreams[..self.upstreams.len() - 1]
    }

    /// `/mcp`.
    pub(crate) const fn merged(&self) -> &Arc<Scope> {
        &self.merged
    }

    /// What is behind an endpoint; `None` without an upstream of that name.
    pub(crate) fn scope(&self, endpoint: &Endpoint) -> Option<&Arc<Scope>> {
        match endpoint {
            Endpoint::All => Some(&self.merged),
            Endpoint::One(name) => self.singles.get(name),
        }
    }

    /// The endpoints behind which something else is than in `other`.
    pub(crate) fn differences<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Endpoint> + 'a {
        let names = self.singles.keys().chain(other.singles.keys());
        let endpoints = std::iter::once(Endpoint::All).chain(names.cloned().map(Endpoint::One));
        endpoints.filter(|endpoint| match (self.scope(endpoint), other.scope(endpoint)) {
            (Some(ours), Some(theirs)) => !ours.shows_the_same_as(theirs),
            _ => true,
        })
    }

    /// Gives this lineup up, and waits until nobody holds a scope of it any more.
    pub(crate) async fn released(self: Arc<Self>) {
        let holders = self.holders.clone();
        holders.close();
        drop(self);
        holders.wait().await;
    }
}

impl Board {
    /// A board with its first lineup.
    pub(crate) fn new(lineup: Lineup) -> Self {
        Self(RwLock::new(Arc::new(lineup)))
    }

    /// The lineup in force.
    pub(crate) fn current(&self) -> Arc<Lineup> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another lineup in force and returns the former one.
    pub(crate) fn replace(&self, lineup: Arc<Lineup>) -> Arc<Lineup> {
        std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), lineup)
    }

    /// What is behind an endpoint now.
    pub(crate) fn scope(&self, endpoint: &Endpoint) -> Option<Arc<Scope>> {
        self.current().scope(endpoint).cloned()
    }
}
