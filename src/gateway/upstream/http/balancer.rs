//! The endpoints of one HTTP upstream: which of them gets the next request, and which are left out for a while.
//!
//! Invariants: the one with the fewest requests (in the legacy era: sessions) in flight is chosen, in turn where several
//! have; one that failed is not chosen before its wait is over, unless all have failed: then the one that is due first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Uri};
use parking_lot::Mutex;
use tokio::time::Instant;

/// The first wait of an endpoint that failed.
const FIRST: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST: Duration = Duration::from_secs(60);

/// The endpoints of one upstream; empty where it is not an HTTP one.
#[derive(Debug, Default)]
pub(crate) struct Balancer {
    /// In the order of the configuration.
    all: Vec<Backend>,
    /// Where the search begins next.
    next: AtomicUsize,
}

/// One endpoint.
#[derive(Debug)]
struct Backend {
    /// Where it is; `None` if the address cannot be used.
    target: Option<Arc<Target>>,
    /// Requests or sessions.
    load: AtomicUsize,
    /// Failures in a row, and until when it is left out.
    failures: Mutex<(u32, Option<Instant>)>,
}

/// An address, taken apart once for all requests to it.
#[derive(Debug)]
pub(crate) struct Target {
    /// The whole address.
    pub(crate) uri: Uri,
    /// Its scheme and authority, by which connections are kept.
    pub(crate) server: String,
    /// What is asked for there (RFC 9112 §3.2.1, "origin-form").
    pub(crate) path: Uri,
    /// The `Host` that is named.
    pub(crate) host: Option<HeaderValue>,
}

/// A request or a session at one of them; counts until dropped.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// All of them.
    balancer: Arc<Balancer>,
    /// Which one.
    index: usize,
    /// Its address.
    target: Arc<Target>,
}

impl Balancer {
    /// Balancer at these addresses.
    pub(crate) fn new(urls: &[String]) -> Arc<Self> {
        let endpoint = |url: &String| Backend {
            target: url.parse().ok().map(Target::new).map(Arc::new),
            load: AtomicUsize::new(0),
            failures: Mutex::default(),
        };
        Arc::new(Self { all: urls.iter().map(endpoint).collect(), next: AtomicUsize::new(0) })
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.all.len()
    }

    /// The endpoint for the next request or session; `None` where no address can be used.
    pub(crate) fn choose(self: &Arc<Self>) -> Option<Chosen> {
        self.choose_at(Instant::now())
    }

    /// The same at a given moment.
    fn choose_at(self: &Arc<Self>, now: Instant) -> Option<Chosen> {
        let count = self.all.len();
        let from = self.next.fetch_add(1, Ordering::Relaxed);
        let order =
            (0..count).map(|step| (from + step) % count).filter(|index| self.all[*index].target.is_some());
        // Ones that are not left out come first, then those that are due soonest; among equals the least loaded. One that is
        // tried again gets one request, and more only when that has worked.
        let key = |index: &usize| {
            let endpoint = &self.all[*index];
            let load = endpoint.load.load(Ordering::Relaxed);
            let out = endpoint.failures.lock().1.filter(|until| *until > now || load > 0);
            (out, load)
        };
        let index = order.min_by_key(key)?;
        let target = self.all[index].target.clone()?;
        self.all[index].load.fetch_add(1, Ordering::Relaxed);
        Some(Chosen { balancer: Arc::clone(self), index, target })
    }

    /// How many are left out now.
    pub(crate) fn out(&self) -> usize {
        self.out_at(Instant::now())
    }

    /// The same at a given moment.
    fn out_at(&self, now: Instant) -> usize {
        self.all.iter().filter(|endpoint| endpoint.failures.lock().1.is_some_and(|until| until > now)).count()
    }
}

impl Target {
    /// Takes an address apart.
    fn new(uri: Uri) -> Self {
        let authority = uri.authority().map_or("", Authority::as_str);
        Self {
            server: format!("{}://{authority}", uri.scheme_str().unwrap_or("http")),
            path: uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from),
            host: HeaderValue::from_str(authority).ok().filter(|host| !host.is_empty()),
            uri,
        }
    }

    /// Another place at the same server.
    pub(crate) fn at(&self, path: PathAndQuery) -> Self {
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = Some(path.clone());
        let uri = Uri::from_parts(parts).unwrap_or_else(|_| self.uri.clone());
        Self { uri, server: self.server.clone(), path: path.into(), host: self.host.clone() }
    }
}

impl Backend {}

impl Chosen {
    /// The endpoint.
    fn backend(&self) -> &Backend {
        &self.balancer.all[self.index]
    }

    /// Its address.
    pub(crate) const fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// Notes that it has failed: it is left out for a while.
    pub(crate) fn failed(&self) {
        let mut failures = self.backend().failures.lock();
        let wait = FIRST.saturating_mul(1 << failures.0.min(8)).min(LONGEST);
        *failures = (failures.0.saturating_add(1), Some(Instant::now() + wait));
    }

    /// Notes that it wants to be left alone, for so long if it says so.
    pub(crate) fn rest(&self, wait: Option<Duration>) {
        match wait {
            Some(wait) => {
                let mut failures = self.backend().failures.lock();
                *failures = (failures.0.saturating_add(1), Some(Instant::now() + wait.clamp(FIRST, LONGEST)));
            }
            None => self.failed(),
        }
    }

    /// Notes that it has answered.
    pub(crate) fn worked(&self) {
        let mut failures = self.backend().failures.lock();
        if failures.0 > 0 {
            *failures = (0, None);
        }
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        self.backend().load.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three endpoints.
    fn three() -> Arc<Balancer> {
        Balancer::new(&["http://a/".to_owned(), "http://b/".to_owned(), "http://c/".to_owned()])
    }

    #[test]
    fn the_least_loaded_is_chosen_and_equals_have_their_turns() {
        let balancer = three();
        let mut chosen: Vec<_> = (0..6).map(|_| balancer.choose().unwrap()).collect();
        let loads = |balancer: &Balancer| {
            balancer.all.iter().map(|endpoint| endpoint.load.load(Ordering::Relaxed)).collect::<Vec<_>>()
        };
        assert_eq!(loads(&balancer), [2, 2, 2]);
        let freed = chosen.iter().position(|one| one.index == 1).unwrap();
        chosen.remove(freed);
        assert_eq!(balancer.choose().unwrap().index, 1);
    }

    #[test]
    fn one_that_is_tried_again_gets_one_request_until_that_has_worked() {
        let balancer = three();
        let first = balancer.choose().unwrap();
        first.failed();
        let (index, later) = (first.index, Instant::now() + LONGEST);
        drop(first);
        let choose = || balancer.choose_at(later).unwrap();
        let chosen: Vec<_> = (0..9).map(|_| choose()).collect();
        assert_eq!(chosen.iter().filter(|one| one.index == index).count(), 1);
        chosen.iter().find(|one| one.index == index).unwrap().worked();
        assert_eq!((choose().index, choose().index), (index, index));
    }

    #[test]
    fn one_that_failed_is_left_out_for_a_growing_while_unless_all_have() {
        let balancer = three();
        let fail = |index: usize| {
            balancer.all[index].load.fetch_add(1, Ordering::Relaxed);
            let target = balancer.all[index].target.clone().unwrap();
            Chosen { balancer: Arc::clone(&balancer), index, target }.failed();
        };
        let until = |index: usize| balancer.all[index].failures.lock().1.unwrap();
        fail(0);
        let (before, after) = (until(0) - FIRST, until(0));
        assert!((0..6).all(|_| balancer.choose_at(before).unwrap().index != 0));
        assert_eq!((balancer.out_at(before), balancer.out_at(after)), (1, 0));
        fail(0);
        fail(1);
        fail(2);
        // The first one has failed twice and is left out for longer.
        assert_ne!(balancer.choose_at(before).unwrap().index, 0);
        assert_eq!(balancer.out_at(until(2)), 1);
    }
}
