//! All numbers about requests; what is refused, and where that is told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use fieldwork::Fieldwork;

use super::family::{Family, Place};
use super::histogram::{Counted, Histogram};
use super::origin::Origin;
use super::reason::Reason;
use super::recent::{Failure, Recent};
use super::samples::Samples;
use crate::audit::{Event, Record};
use crate::config::{Access, Log};
use crate::gateway::client::ClientName;
use crate::gateway::metric::{Labels, Metric};

/// What a call of a tool can come to, as `mcpeg_tool_calls_total{outcome}` has it.
pub(crate) const OUTCOMES: [&str; 6] = ["ok", "tool_error", "error", "timeout", "cancelled", "refused"];
/// Methods, endpoints and errors that are told apart together, and as many upstreams.
const OPERATIONS: usize = 500;
/// Upstreams and reasons why they end.
const EXITS: usize = 500;

/// All numbers about requests.
#[derive(Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(super)")]
pub(crate) struct Ledger {
    /// Requests in flight.
    in_flight: AtomicUsize,
    /// Messages that clients have posted.
    posted: AtomicU64,
    /// Refusals, by reason.
    refused: [AtomicU64; Reason::ALL.len()],
    /// Calls by upstream and tool, and of these by outcome.
    #[field(get)]
    calls: Family<2, [AtomicU64; OUTCOMES.len()]>,
    /// How long clients have waited, by method, endpoint and error.
    #[field(get)]
    served: Family<3, Histogram>,
    /// How long upstreams have taken, by method, upstream and error.
    #[field(get, vis = "pub(crate)")]
    asked: Family<3, Histogram>,
    /// How long sessions were there.
    sessions: Histogram,
    /// Ends of upstreams, by upstream and reason.
    exits: Family<2, AtomicU64>,
    /// How long calls have taken lately.
    samples: Samples,
    /// What has failed last.
    recent: Recent,
    /// Which requests have a record in the log.
    access: AtomicU8,
    /// Whether the audit has digests of arguments.
    digests: AtomicBool,
}

impl Ledger {
    /// An empty one, which tells so many tools apart.
    pub(crate) fn new(tools: usize, log: &Log) -> Self {
        let ledger = Self {
            in_flight: AtomicUsize::new(0),
            posted: AtomicU64::new(0),
            refused: Default::default(),
            calls: Family::new(tools),
            served: Family::new(OPERATIONS),
            asked: Family::new(OPERATIONS),
            sessions: Histogram::default(),
            exits: Family::new(EXITS),
            samples: Samples::default(),
            recent: Recent::default(),
            access: AtomicU8::new(0),
            digests: AtomicBool::new(false),
        };
        ledger.go_by(log);
        ledger
    }

    /// Goes by these settings from now on.
    pub(crate) fn go_by(&self, log: &Log) {
        self.access.store(log.access as u8, Ordering::Relaxed);
        self.digests.store(log.audit_arguments, Ordering::Relaxed);
    }

    /// Which requests have a record in the log.
    pub(crate) fn access(&self) -> Access {
        let access = self.access.load(Ordering::Relaxed);
        [Access::Off, Access::Errors, Access::All]
            .into_iter()
            .find(|it| *it as u8 == access)
            .unwrap_or_default()
    }

    /// Whether the audit has digests of arguments.
    pub(super) fn has_digests(&self) -> bool {
        self.digests.load(Ordering::Relaxed)
    }

    /// How many requests are in flight.
    pub(in crate::gateway) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How many messages clients have posted.
    pub(in crate::gateway) fn posted(&self) -> u64 {
        self.posted.load(Ordering::Relaxed)
    }

    /// Notes that a message has come.
    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.posted.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that one is over.
    pub(super) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a refusal of a request which has its own record.
    pub(super) fn count_refusal(&self, reason: Reason) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a refusal, and tells the audit of it.
    pub(crate) fn refuse(
        &self,
        reason: Reason,
        origin: &Origin,
        (client, endpoint): (Option<&ClientName>, Option<&str>),
    ) {
        self.count_refusal(reason);
        let whose = (origin.request(), client);
        self.recent.refused(Failure::now(whose, (None, None), ("refused", Some(reason.text()))));
        Record {
            event: Event::Refusal,
            client: client.map(ClientName::entry),
            subject: client.and_then(ClientName::subject).map(|(_, subject)| subject),
            proof: origin.proof().map(super::origin::Proof::text),
            address: origin.address(),
            uid: origin.uid(),
            endpoint,
            outcome: "refused",
            reason: Some(reason.text()),
            request_id: Some(origin.request()),
            ..Record::default()
        }
        .write();
    }

    /// Counts a session that has ended after so long.
    pub(in crate::gateway) fn session_ended(&self, lasted: Duration) {
        self.sessions.observe(lasted);
    }

    /// Counts the end of an upstream.
    pub(crate) fn ended(&self, upstream: &str, reason: &str) {
        self.exits.get([upstream, reason]).fetch_add(1, Ordering::Relaxed);
    }

    /// What has failed last.
    pub(crate) const fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Remembers a request of a client of this name that has failed so.
    #[cfg(test)]
    pub(crate) fn fail(&self, text: &str) {
        let (request, client) = (crate::request_id::RequestId::made(), ClientName::new(text));
        let place = self.calls.place([text, text], || true);
        let what = (Some("tools/call"), Some(place));
        self.recent.failed(Failure::now((&request, Some(&client)), what, ("error", Some(text))));
    }

    /// Looks at how long calls have taken since the last time.
    pub(in crate::gateway) fn sample(&self) {
        self.samples.look(&self.asked);
    }

    /// What was counted between the last looks, by upstream, the latest last.
    pub(crate) fn lately(&self) -> HashMap<Box<str>, Vec<Counted>> {
        self.samples.lately(&self.asked)
    }

    /// The upstream and the tool that are counted at a place, if they are told apart.
    pub(crate) fn tool_at(&self, place: Place) -> Option<[&str; 2]> {
        self.calls.labels(place)
    }

    /// Calls of tools by upstream, and how many of them have failed.
    pub(crate) fn calls_by_upstream(&self) -> HashMap<&str, (u64, u64)> {
        let mut all = HashMap::<&str, (u64, u64)>::new();
        for ([upstream, _], numbers) in self.calls.all() {
            let sum = all.entry(upstream).or_default();
            for (outcome, number) in OUTCOMES.into_iter().zip(numbers) {
                let number = number.load(Ordering::Relaxed);
                sum.0 += number;
                sum.1 += if matches!(outcome, "tool_error" | "error" | "timeout") { number } else { 0 };
            }
        }
        all
    }

    /// Refusals by reason, of those that there were.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let numbers = self.refused.iter().map(|number| number.load(Ordering::Relaxed));
        Reason::ALL.into_iter().map(Reason::text).zip(numbers).filter(|(_, number)| *number > 0)
    }

    /// All numbers, for `/metrics`.
    pub(in crate::gateway) fn metrics(&self) -> Vec<Metric> {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let refused = Reason::ALL.into_iter().zip(&self.refused);
        let refused =
            refused.map(|(reason, number)| (vec![("reason", reason.text().to_owned())], count(number)));
        let calls = self.calls.all().flat_map(|([upstream, tool], numbers)| {
            let labels =
                move |outcome: &str| labels([("upstream", upstream), ("tool", tool), ("outcome", outcome)]);
            OUTCOMES.into_iter().zip(numbers).map(move |(outcome, number)| (labels(outcome), count(number)))
        });
        let exits = self.exits.all().map(|([upstream, reason], number)| {
            (labels([("upstream", upstream), ("reason", reason)]), count(number))
        });
        let is_some = |(_, number): &(Labels, u64)| *number > 0;
        vec![
            Metric::counters("refused", "Requests and connections that were refused", refused),
            Metric::counters("tool_calls", "Calls of tools, by what came of them", calls.filter(is_some)),
            Metric::counters("upstream_exits", "Ends of upstreams, by reason", exits.filter(is_some)),
            times(
                ("mcp_server_operation_duration_seconds", "How long clients have waited for an answer"),
                (&self.served, "mcpeg_endpoint"),
            ),
            times(
                ("mcp_client_operation_duration_seconds", "How long upstreams have taken to answer"),
                (&self.asked, "mcpeg_upstream"),
            ),
            Metric::histograms(
                "mcp_server_session_duration_seconds",
                "How long sessions of clients were there",
                [(Labels::new(), self.sessions.snapshot())],
            ),
        ]
    }
}

/// Labels as they are told.
fn labels<const N: usize>(labels: [(&'static str, &str); N]) -> Labels {
    labels.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

/// Histograms as they are told.
fn times(
    (name, help): (&'static str, &'static str),
    (family, place): (&Family<3, Histogram>, &'static str),
) -> Metric {
    let all = family.all().map(|([method, at, error], histogram)| {
        let labels = labels([("mcp_method_name", method), (place, at), ("error_type", error)]);
        (labels, histogram.snapshot())
    });
    Metric::histograms(name, help, all.filter(|(_, told)| told.count > 0))
}
