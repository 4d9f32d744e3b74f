//! `GET /metrics`: numbers for monitoring, in the text form that Prometheus reads
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>, version 0.0.4).
//!
//! Sources are asked at each scrape, so that no number is kept twice. Nothing here is secret: names of upstreams, states
//! and counts. A name, once there, keeps its meaning; counters begin at 0 in each process, also after an upgrade.

use std::fmt;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::status::{Audience, UpstreamState, UpstreamStatus};
use super::status_source::StatusSource;

/// The beginning of every name.
const PREFIX: &str = "mcpeg";

/// What an upstream can be doing.
const STATES: [UpstreamState; 8] = [
    UpstreamState::Starting,
    UpstreamState::Ready,
    UpstreamState::Degraded,
    UpstreamState::Idle,
    UpstreamState::BackingOff,
    UpstreamState::NeedsLogin,
    UpstreamState::Stopped,
    UpstreamState::Disabled,
];

/// Numbers under one name.
#[derive(Clone, Debug)]
pub struct Metric {
    /// The name, without `mcpeg_` before it and `_total` behind it.
    name: &'static str,
    /// What they are, in a sentence without its full stop.
    help: &'static str,
    /// Whether they only grow.
    counts: bool,
    /// The labels of each and its value.
    values: Vec<(Labels, u64)>,
}

/// Names and values of labels.
pub type Labels = Vec<(&'static str, String)>;

/// What has numbers to tell.
struct Told(Box<dyn Fn() -> Vec<Metric> + Send + Sync>);

/// Everything that is told.
#[derive(Debug)]
pub(crate) struct Metrics(Mutex<Registry>);

impl Metric {
    /// A number that only grows.
    #[must_use]
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self::counters(name, help, [(Labels::new(), value)])
    }

    /// Numbers that only grow, told apart by labels.
    #[must_use]
    pub fn counters(
        name: &'static str,
        help: &'static str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) -> Self {
        Self { name, help, counts: true, values: values.into_iter().collect() }
    }

    /// A number that goes up and down.
    #[must_use]
    pub fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        Self::gauges(name, help, [(Labels::new(), value)])
    }

    /// Numbers that go up and down, told apart by labels.
    #[must_use]
    pub fn gauges(
        name: &'static str,
        help: &'static str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) -> Self {
        Self { counts: false, ..Self::counters(name, help, values) }
    }
}

impl Collector for Told {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Metric { name, help, counts, values } in (self.0)() {
            let kind = if counts { MetricType::Counter } else { MetricType::Gauge };
            let mut all = encoder.encode_descriptor(name, help, None, kind)?;
            for (labels, value) in &values {
                let one = all.encode_family(labels)?;
                if counts {
                    ConstCounter::new(*value).encode(one)?;
                } else {
                    ConstGauge::new(*value).encode(one)?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self(Mutex::new(Registry::with_prefix(PREFIX)))
    }
}

impl Metrics {
    /// Adds a source.
    pub(super) fn add(&self, source: Box<dyn Fn() -> Vec<Metric> + Send + Sync>) {
        let mut registry = self.0.lock();
        registry.register_collector(Box::new(Told(source)));
    }

    /// All numbers as they are now.
    ///
    /// # Panics
    /// Never: writing into a string does not fail.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let registry = self.0.lock();
        prometheus_text::encode(&mut text, &registry).expect("a string takes all that is written");
        text
    }
}

/// What the gateway itself tells.
pub(super) fn of_gateway(source: &StatusSource) -> Vec<Metric> {
    let status = source.status(Audience::Downstream);
    let version = vec![("version", status.version)];
    let restarts = |upstream: &UpstreamStatus| (vec![("upstream", upstream.name.clone())], upstream.restarts);
    vec![
        Metric::gauges("build_info", "The version that runs; the value is always 1", [(version, 1)]),
        Metric::gauge("uptime_seconds", "Seconds since this process serves", status.uptime_seconds),
        Metric::counter("requests", "MCP messages that clients have posted", source.posted()),
        Metric::gauge(
            "requests_in_flight",
            "MCP requests that are not answered yet",
            status.in_flight as u64,
        ),
        Metric::gauge("sessions", "Open sessions of clients", status.sessions as u64),
        Metric::gauges(
            "memory_held_bytes",
            "What waits in memory, by what it is",
            [
                ("bodies", status.memory.bodies),
                ("requests", status.memory.requests),
                ("answers", status.memory.answers),
                ("sessions", status.memory.sessions),
            ]
            .map(|(of, bytes)| (vec![("of", of.to_owned())], bytes as u64)),
        ),
        Metric::gauge("memory_limit_bytes", "What may wait in memory", status.memory.limit as u64),
        Metric::gauges(
            "upstream_state",
            "1 for the state that an upstream is in, 0 for the others",
            status.upstreams.iter().flat_map(states),
        ),
        Metric::counters(
            "upstream_restarts",
            "How often the connection to an upstream has ended",
            status.upstreams.iter().map(restarts),
        ),
        Metric::gauges(
            "tls_certificate_expiry_timestamp_seconds",
            "When the certificate of a listener ends, in seconds since 1970",
            status.certificates.iter().map(|one| (vec![("listener", one.listener.clone())], one.expires)),
        ),
    ]
}

/// Each state, and whether it is that of the upstream.
fn states(upstream: &UpstreamStatus) -> impl Iterator<Item = (Labels, u64)> {
    STATES.into_iter().map(|state| {
        let labels = vec![("upstream", upstream.name.clone()), ("state", name(state))];
        (labels, u64::from(state == upstream.state))
    })
}

/// The name of a state, as in the status.
fn name(state: UpstreamState) -> String {
    serde_json::to_value(state).ok().and_then(|name| Some(name.as_str()?.to_owned())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_prometheus_reads_them() {
        let metrics = Metrics::default();
        let labels = |level: &str| vec![("level", level.to_owned())];
        metrics.add(Box::new(move || {
            let values = [(labels("warn"), 2), (labels("a \"b\"\n"), 3)];
            vec![Metric::counters("lost", "What is lost", values), Metric::gauge("trouble", "If any", 1)]
        }));
        let expected = "# HELP mcpeg_lost_total What is lost\n# TYPE mcpeg_lost_total counter\n\
                        mcpeg_lost_total{level=\"warn\"} 2\nmcpeg_lost_total{level=\"a \\\"b\\\"\\n\"} 3\n\
                        # HELP mcpeg_trouble If any\n# TYPE mcpeg_trouble gauge\nmcpeg_trouble 1\n";
        assert_eq!(metrics.text(), expected);
    }

    #[test]
    fn states_have_the_names_that_the_status_has() {
        assert_eq!(
            STATES.map(name),
            ["starting", "ready", "degraded", "idle", "backing-off", "needs-login", "stopped", "disabled"]
        );
    }
}
