//! What is logged about clients: at a limited rate for each kind and for each client, with a count of the rest.
//!
//! Nobody must be able to push the log's history out by asking for nonsense. The most that all clients together can
//! have written is [`OF_KIND`] records of each kind in a [`WINDOW`], and one that counts the rest: with records of 300
//! bytes that is 630 bytes a second for a kind.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::client::ClientKey;
use crate::allowance::Allowance;
use parking_lot::Mutex;

/// The time that the numbers are for.
const WINDOW: Duration = Duration::from_secs(10);
/// Records of one kind about one client.
const OF_CLIENT: u32 = 5;
/// Records of one kind about all clients.
const OF_KIND: u32 = 20;
/// Clients that are told apart.
const CLIENTS: usize = 1024;

/// The kinds of records of which there was one in the last [`WINDOW`].
#[derive(Debug, Default)]
pub(crate) struct ClientLogLimit(Mutex<HashMap<&'static str, Kind>>);

/// One kind of records, in one window.
#[derive(Debug)]
struct Kind {
    /// About all clients.
    all: Allowance,
    /// About each of them.
    by_client: HashMap<ClientKey, Allowance>,
}

impl Kind {
    /// A full allowance.
    fn new() -> Self {
        Self { all: Allowance::new(OF_KIND, WINDOW), by_client: HashMap::new() }
    }

    /// Whether one more record may be logged.
    fn admits(&mut self, client: &ClientKey, left_out: &mut u64) -> bool {
        let room = self.by_client.len() < CLIENTS || self.by_client.contains_key(client);
        let of_client = || Allowance::new(OF_CLIENT, WINDOW);
        (!room
            || self
                .by_client
                .entry(client.clone())
                .or_insert_with(of_client)
                .admits(|count| *left_out += count))
            && self.all.admits(|count| *left_out += count)
    }

    /// Tells how many records were left out.
    fn report(mut self, kind: &str, mut left_out: u64) {
        let clients = self.by_client.len();
        for allowance in self.by_client.values_mut().chain([&mut self.all]) {
            allowance.report(|count| left_out += count);
        }
        if left_out > 0 {
            tracing::warn!(kind, left_out, clients, "records of this kind were left out of the log");
        }
    }
}

impl ClientLogLimit {
    /// Whether one more record of this kind may be logged about a client; otherwise it is counted.
    pub(crate) fn admits(self: &Arc<Self>, kind: &'static str, client: &ClientKey) -> bool {
        let (mut left_out, mut begun) = (0, false);
        let admitted = {
            let mut kinds = self.0.lock();
            let known = kinds.entry(kind).or_insert_with(|| {
                begun = true;
                Kind::new()
            });
            known.admits(client, &mut left_out)
        };
        if begun {
            let log_limit = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep(WINDOW).await;
                if let Some(log_limit) = log_limit.upgrade() {
                    log_limit.close(kind);
                }
            });
        }
        if left_out > 0 {
            tracing::warn!(kind, left_out, "records of this kind were left out of the log");
        }
        admitted
    }

    /// Ends the window of a kind.
    fn close(&self, kind: &'static str) {
        let closed = self.0.lock().remove(kind);
        if let Some(closed) = closed {
            closed.report(kind, 0);
        }
    }

    /// Tells what was left out up to now: the process ends.
    pub(crate) fn end(&self) {
        let kinds = std::mem::take(&mut *self.0.lock());
        for (name, kind) in kinds {
            kind.report(name, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_kind_and_each_client_has_its_share_and_all_together_not_more_than_there_is() {
        let log_limit = Arc::new(ClientLogLimit::default());
        let client = |number: u32| ClientKey::of(Some(std::net::Ipv4Addr::from(number << 8 | 7).into()));
        let admitted = |kind, clients: std::ops::Range<u32>| {
            let all = clients.flat_map(|number| std::iter::repeat_n(client(number), 100));
            all.filter(|client| log_limit.admits(kind, client)).count()
        };
        assert_eq!(admitted("one", 1..2), OF_CLIENT as usize);
        assert_eq!(admitted("other", 1..3), 2 * OF_CLIENT as usize);
        assert_eq!(admitted("one", 1..3000), (OF_KIND - OF_CLIENT) as usize);
        let remembered = log_limit.0.lock()["one"].by_client.len();
        assert_eq!(remembered, CLIENTS);
        log_limit.end();
        assert!(log_limit.0.lock().is_empty(), "nothing is kept of the windows that are over");
        assert_eq!(admitted("one", 1..2), OF_CLIENT as usize);
    }
}
