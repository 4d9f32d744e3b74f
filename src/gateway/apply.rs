//! Another configuration for a running gateway.
//!
//! Order: [`Gateway::prepare`] starts what is new or changed beside what runs, and waits until it has been tried;
//! [`Gateway::commit`] puts all of it in force at once, tells the clients whose lists can have changed, and lets go of
//! what is no longer there. Invariants: an upstream whose settings, and the files that they name, are the same is not touched; what is dropped
//! uncommitted leaves nothing behind; a replaced upstream ends when its requests in flight have been answered.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout, timeout_at};

use super::catalog::{self, RoutingTable};
use super::error::Error;
use super::service::{Gateway, Inner, pool_for};
use super::status::Audience;
use super::upstream::Upstream;
use crate::config::{Config, Server, Upstream as Settings};

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

/// A configuration that runs beside the one in force. Dropping it ends what was started for it.
#[must_use = "a prepared configuration is in force only after `Gateway::commit`"]
pub struct Prepared {
    /// What to put in force; `None` once that was done.
    table: Option<RoutingTable>,
    /// What was started for it.
    fresh: Vec<Arc<Upstream>>,
    /// What differs.
    reloaded: Reloaded,
}

impl Prepared {
    /// What differs from the configuration in force.
    #[must_use]
    pub const fn reloaded(&self) -> &Reloaded {
        &self.reloaded
    }
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

impl Gateway {
    /// Starts what is new or changed, and checks that all of it can be served together. What is in force is not
    /// touched. `max_message_size` stays as it is: connections have it built in.
    ///
    /// # Errors
    /// Those of [`Gateway::start`] and [`Gateway::settled`].
    pub async fn prepare(&self, config: &Config) -> Result<Prepared, Error> {
        let (inner, old) = (&self.0, self.0.routing.current());
        let limit = old.server.max_message_size;
        let same = |settings: &Settings| old.configured().iter().find(|old| old.connector().is_for(settings));
        let pool = pool_for(config.upstreams.iter().filter(|settings| same(settings).is_none()))?;
        let mut prepared = Prepared { table: None, fresh: Vec::new(), reloaded: Reloaded::default() };
        let mut upstreams = Vec::with_capacity(config.upstreams.len() + 1);
        for settings in &config.upstreams {
            let name = settings.name.as_str().to_owned();
            if let Some(kept) = same(settings) {
                prepared.reloaded.kept.push(name);
                upstreams.push(Arc::clone(kept));
                continue;
            }
            let former = old.configured().iter().find(|old| old.name() == name);
            let reloaded = &mut prepared.reloaded;
            if former.is_some() { &mut reloaded.changed } else { &mut reloaded.added }.push(name);
            let fresh = inner.start_upstream(settings, &pool, limit, former)?;
            prepared.fresh.push(Arc::clone(&fresh));
            upstreams.push(fresh);
        }
        let gone = old.configured().iter().map(|old| old.name());
        let gone = gone.filter(|name| config.upstreams.iter().all(|new| new.name.as_str() != *name));
        prepared.reloaded.removed.extend(gone.map(str::to_owned));
        upstreams.extend(old.upstreams().last().cloned());
        let server = Server { max_message_size: limit, ..config.server.clone() };
        let table = prepared.table.insert(RoutingTable::new(server, upstreams).beside(&config.disabled));
        let tried = join_all(prepared.fresh.iter().map(|upstream| upstream.tried()));
        let _ = timeout(SETTLE_LIMIT, tried).await;
        catalog::check_clashes(table.merged()).await?;
        prepared.reloaded.not_ready =
            prepared.fresh.iter().filter_map(|upstream| not_ready(upstream)).collect();
        Ok(prepared)
    }

    /// Puts a prepared configuration in force. What is no longer in it has `drain` to answer its requests in flight.
    pub fn commit(&self, mut prepared: Prepared, drain: Duration) {
        let Some(table) = prepared.table.take() else { return };
        let table = Arc::new(table);
        for upstream in table.configured() {
            upstream.resize_limit();
        }
        let old = self.0.routing.replace(Arc::clone(&table));
        let endpoints: HashSet<_> = old.differences(&table).collect();
        if !endpoints.is_empty() {
            self.0.changes.reloaded(endpoints);
        }
        let stays = |old: &Upstream| table.upstreams().iter().any(|new| new.serial() == old.serial());
        let gone: Vec<_> = old.upstreams().iter().filter(|old| !stays(old)).cloned().collect();
        if !gone.is_empty() {
            self.0.retiring.spawn(Arc::clone(&self.0).retire(old, gone, Instant::now() + drain));
        }
    }
}

impl Inner {
    /// Ends upstreams when nobody can send them a request any more and those in flight have been answered.
    async fn retire(self: Arc<Self>, table: Arc<RoutingTable>, gone: Vec<Arc<Upstream>>, deadline: Instant) {
        tokio::select! {
            _ = timeout_at(deadline, table.released()) => {}
            () = self.stopping.cancelled() => {}
        }
        join_all(gone.iter().map(|upstream| self.retire_one(upstream, deadline))).await;
    }

    /// Ends one upstream when its requests in flight have been answered.
    async fn retire_one(&self, upstream: &Upstream, deadline: Instant) {
        let idle = async {
            upstream.idle().await;
            self.sessions.idle(upstream).await;
        };
        let idle = tokio::select! {
            idle = timeout_at(deadline, idle) => idle.is_ok(),
            () = self.stopping.cancelled() => false,
        };
        if !idle {
            tracing::warn!(
                upstream = upstream.name(),
                "its requests in flight have taken too long and are cut"
            );
        }
        upstream.stop();
        self.sessions.leave(upstream).await;
        tracing::info!(upstream = upstream.name(), "the former upstream is ended");
    }
}

/// Why an upstream does not answer, if it does not.
fn not_ready(upstream: &Upstream) -> Option<NotReady> {
    let status = upstream.status(Audience::Operator);
    (!status.state.is_usable()).then_some(NotReady { name: status.name, reason: status.last_error })
}
