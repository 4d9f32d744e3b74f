//! Resources that a server has named in its answers: it need not list them (MCP 2026-07-28 §Tools, "Resource Links"), so that
//! nothing else tells whose they are.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

/// Resources that are remembered of one upstream; the oldest are forgotten first.
const REMEMBERED: usize = 10_000;
/// Longer addresses are not remembered.
const LONGEST: usize = 2048;

/// Resources that an upstream has named.
#[derive(Debug, Default)]
pub(crate) struct Links(Mutex<Named>);

/// Addresses, and the same in their order.
#[derive(Debug, Default)]
struct Named {
    /// The addresses.
    uris: HashSet<Arc<str>>,
    /// The oldest first.
    order: VecDeque<Arc<str>>,
}

impl Links {
    /// Notes that the upstream has named this resource.
    pub(crate) fn note(&self, uri: &str) {
        if uri.len() > LONGEST {
            return;
        }
        let mut named = self.0.lock();
        if named.uris.contains(uri) {
            return;
        }
        let uri: Arc<str> = uri.into();
        named.uris.insert(Arc::clone(&uri));
        named.order.push_back(uri);
        if named.order.len() > REMEMBERED
            && let Some(oldest) = named.order.pop_front()
        {
            named.uris.remove(&oldest);
        }
    }

    /// Whether the upstream has named this resource.
    pub(crate) fn has(&self, uri: &str) -> bool {
        self.0.lock().uris.contains(uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_resources_are_remembered_and_the_newest_of_them() {
        let links = Links::default();
        for number in 0..=REMEMBERED {
            links.note(&number.to_string());
            links.note(&number.to_string());
        }
        assert!(!links.has("0") && links.has("1") && links.has(&REMEMBERED.to_string()));
        let long = "x".repeat(LONGEST + 1);
        links.note(&long);
        assert!(!links.has(&long));
    }
}
