//! Another configuration for a running gateway.
//!
//! Order: [`Prepared::prepare`] starts what is new or changed beside what runs, and waits until it has been tried;
//! [`Prepared::commit`] puts all of it in force at once, tells the clients whose lists can have changed, and lets go of
//! what is no longer there. Invariants: an upstream whose settings, and the files that they name, are the same is not touched; what is dropped
//! uncommitted leaves nothing behind; a replaced upstream ends when its requests in flight have been answered.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use super::access::{Clients, Issuer};
use super::catalog::{self, RoutingHandle, RoutingTable};
use super::certificates::Tls;
use super::changes::Changes;
use super::error::Error;
use super::session::SessionStore;
use super::status::Audience;
use super::upstream::Upstream;
use super::upstream_tasks::{UpstreamTasks, pool_for};
use crate::config::{Config, Pin, Server, StderrRules, Upstream as Settings};

/// How long new upstreams are waited for; those that are slower are retried while the gateway serves.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);

/// What a reload does to the upstreams, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Those that are new.
    pub added: Vec<String>,
    /// Those that are gone.
    pub removed: Vec<String>,
    /// Those that are reached in another way.
    pub changed: Vec<String>,
    /// Those that were not touched.
    pub kept: Vec<String>,
    /// Those of the new and changed ones that do not answer: they are tried again while the gateway serves.
    pub not_ready: Vec<NotReady>,
}

/// An upstream that does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotReady {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: Option<String>,
}

/// The certificates of listeners, and the authorization servers that are believed.
pub(super) type Trust = (Vec<Arc<Tls>>, Vec<Arc<Issuer>>);

/// A configuration that runs beside the one in force. Dropping it ends what was started for it.
#[must_use = "a prepared configuration is in force only after `Gateway::commit`"]
pub struct Prepared {
    /// What to put in force; `None` once that was done.
    table: Option<RoutingTable>,
    /// What was started for it.
    fresh: Vec<Arc<Upstream>>,
    /// Where the standard error of those goes that were not touched, and how their tools are pinned.
    kept: Vec<(Arc<Upstream>, StderrRules, Pin)>,
    /// The certificates of listeners, and the authorization servers that are believed.
    trust: Trust,
    /// What differs.
    reloaded: Reloaded,
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if self.table.is_some() {
            for upstream in &self.fresh {
                upstream.stop();
            }
        }
    }
}

impl Prepared {
    /// What differs from the configuration in force.
    #[must_use]
    pub const fn reloaded(&self) -> &Reloaded {
        &self.reloaded
    }

    /// The certificates of listeners, and the authorization servers that are believed.
    pub(super) fn take_trust(&mut self) -> Trust {
        std::mem::take(&mut self.trust)
    }

    /// Starts what is new or changed, and checks that all of it can be served together. What is in force is not
    /// touched. `max_message_size` stays as it is: connections have it built in.
    pub(super) async fn prepare(
        config: &Config,
        old: &RoutingTable,
        tasks: &UpstreamTasks,
        trust: Trust,
    ) -> Result<Self, Error> {
        let limit = old.server.max_message_size;
        let same = |settings: &Settings| old.configured().iter().find(|old| old.connector().is_for(settings));
        let pool = pool_for(config.upstreams.iter().filter(|settings| same(settings).is_none()))?;
        let (fresh, kept) = (Vec::new(), Vec::new());
        let mut prepared = Self { table: None, fresh, kept, trust, reloaded: Reloaded::default() };
        let mut upstreams = Vec::with_capacity(config.upstreams.len() + 1);
        for settings in &config.upstreams {
            let name = settings.name.as_str().to_owned();
            if let Some(kept) = same(settings) {
                prepared.reloaded.kept.push(name);
                prepared.kept.push((Arc::clone(kept), settings.stderr, settings.pin));
                upstreams.push(Arc::clone(kept));
                continue;
            }
            let former = old.configured().iter().find(|old| old.name() == name);
            let reloaded = &mut prepared.reloaded;
            if former.is_some() { &mut reloaded.changed } else { &mut reloaded.added }.push(name);
            let fresh = tasks.start(settings, &pool, limit, former)?;
            prepared.fresh.push(Arc::clone(&fresh));
            upstreams.push(fresh);
        }
        let gone = old.configured().iter().map(|old| old.name());
        let gone = gone.filter(|name| config.upstreams.iter().all(|new| new.name.as_str() != *name));
        prepared.reloaded.removed.extend(gone.map(str::to_owned));
        upstreams.extend(old.upstreams().last().cloned());
        let server = Server { max_message_size: limit, ..config.server.clone() };
        let clients = Clients::new(&config.clients, &config.server.per_client, Some(old.clients()));
        let access = (clients, config.endpoints.as_slice());
        let table =
            prepared.table.insert(RoutingTable::new(server, access, upstreams).beside(&config.disabled));
        let tried = join_all(prepared.fresh.iter().map(|upstream| upstream.tried()));
        let _ = timeout(SETTLE_LIMIT, tried).await;
        catalog::check_clashes(table.merged()).await?;
        prepared.reloaded.not_ready =
            prepared.fresh.iter().filter_map(|upstream| not_ready(upstream)).collect();
        Ok(prepared)
    }

    /// Puts a prepared configuration in force. What is no longer in it has `drain` to answer its requests in flight.
    pub(super) fn commit(
        mut self,
        routing: &RoutingHandle,
        changes: &Changes,
        (tasks, sessions): (&UpstreamTasks, &Arc<SessionStore>),
        drain: Duration,
    ) {
        let Some(table) = self.table.take() else { return };
        let table = Arc::new(table);
        for upstream in table.configured() {
            upstream.resize_limit();
        }
        for (upstream, rules, pin) in self.kept.drain(..) {
            upstream.connector().stderr().set(rules);
            upstream.connector().pins().set(pin);
        }
        let old = routing.replace(Arc::clone(&table));
        let endpoints: HashSet<_> = old.differences(&table).collect();
        if !endpoints.is_empty() {
            changes.reloaded(endpoints);
        }
        for client in old.clients().retire(table.clients()) {
            drop(tokio::spawn(Arc::clone(sessions).end_of(client, true)));
        }
        let stays = |old: &Upstream| table.upstreams().iter().any(|new| new.serial() == old.serial());
        let gone: Vec<_> = old.upstreams().iter().filter(|old| !stays(old)).cloned().collect();
        if !gone.is_empty() {
            tasks.retire(old, gone, Arc::clone(sessions), Instant::now() + drain);
        }
    }
}

/// Why an upstream does not answer, if it does not.
fn not_ready(upstream: &Upstream) -> Option<NotReady> {
    let status = upstream.status(Audience::Operator);
    (!status.state.is_usable()).then_some(NotReady { name: status.name, reason: status.last_error })
}
