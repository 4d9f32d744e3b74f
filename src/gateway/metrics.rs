//! `GET /metrics`: numbers for monitoring, in the text form that Prometheus reads
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>, version 0.0.4).
//!
//! Sources are asked at each scrape, so that no number is kept twice. Nothing here is secret: names of upstreams, states
//! and counts. A name, once there, keeps its meaning; counters begin at 0 in each process, also after an upgrade.

use parking_lot::Mutex;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;

use super::metric::{Labels, Metric, Source, Told};
use super::status::{Audience, UpstreamState, UpstreamStatus};
use super::status_source::StatusSource;

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

/// Everything that is told.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Registry>);

impl Metrics {
    /// Adds a source.
    pub(super) fn add(&self, source: Source) {
        self.0.lock().register_collector(Box::new(Told(source)));
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
    let own = vec![
        Metric::gauges("build_info", "The version that runs; the value is always 1", [(version, 1)]),
        Metric::gauge("uptime_seconds", "Seconds since this process serves", status.uptime_seconds),
        Metric::counter("requests", "MCP messages that clients have posted", source.ledger().posted()),
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
            "upstream_queue_depth",
            "Requests that wait until an upstream has room for them",
            source.queues().map(|(upstream, depth)| (vec![("upstream", upstream)], depth as u64)),
        ),
        Metric::gauges(
            "tls_certificate_expiry_timestamp_seconds",
            "When the certificate of a listener ends, in seconds since 1970",
            status.certificates.iter().map(|one| (vec![("listener", one.listener.clone())], one.expires)),
        ),
    ];
    own.into_iter().chain(source.ledger().metrics()).collect()
}

/// Each state, and whether it is that of the upstream.
fn states(upstream: &UpstreamStatus) -> impl Iterator<Item = (Labels, u64)> {
    STATES.into_iter().map(|state| {
        let labels = vec![("upstream", upstream.name.clone()), ("state", state.word().to_owned())];
        (labels, u64::from(state == upstream.state))
    })
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
        for state in STATES {
            assert_eq!(serde_json::to_value(state).unwrap(), state.word());
        }
    }
}
