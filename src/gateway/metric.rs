//! Numbers under one name, and how they are written.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// The beginning of the names that are ours.
const PREFIX: &str = "mcpeg";

/// Numbers under one name.
#[derive(Clone, Debug)]
pub struct Metric {
    /// The name, without `mcpeg_` before it where it is ours, and `_total` behind it.
    name: &'static str,
    /// What they are, in a sentence without its full stop.
    help: &'static str,
    /// What they are to Prometheus.
    kind: MetricType,
    /// Whether the name is one that others have given.
    foreign: bool,
    /// The labels of each and its value.
    values: Vec<(Labels, Number)>,
}

/// Names and values of labels.
pub type Labels = Vec<(&'static str, String)>;

/// One number.
#[derive(Clone, Debug)]
enum Number {
    /// A whole one.
    Whole(u64),
    /// Another one.
    Float(f64),
    /// Several, of one thing that was observed.
    Histogram(Snapshot),
}

/// A histogram as it was at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Upper bounds, and the observations in each bucket.
    pub buckets: Vec<(f64, u64)>,
    /// All observations.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

/// What has numbers to tell.
pub(super) type Source = Box<dyn Fn() -> Vec<Metric> + Send + Sync>;

/// What tells numbers where they are collected.
pub(super) struct Told(pub(super) Source);

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
        let values = values.into_iter().map(|(labels, value)| (labels, Number::Whole(value))).collect();
        Self { name, help, kind: MetricType::Counter, foreign: false, values }
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
        Self { kind: MetricType::Gauge, ..Self::counters(name, help, values) }
    }

    /// A number with a fraction.
    #[must_use]
    pub fn float(self, value: f64) -> Self {
        Self { values: vec![(Labels::new(), Number::Float(value))], ..self }
    }

    /// Histograms, told apart by labels, under a name that others have given.
    #[must_use]
    pub fn histograms(
        name: &'static str,
        help: &'static str,
        values: impl IntoIterator<Item = (Labels, Snapshot)>,
    ) -> Self {
        let values = values.into_iter().map(|(labels, value)| (labels, Number::Histogram(value))).collect();
        Self { name, help, kind: MetricType::Histogram, foreign: true, values }
    }

    /// The same under a name that others have given.
    #[must_use]
    pub fn foreign(self) -> Self {
        Self { foreign: true, ..self }
    }
}

impl Collector for Told {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Metric { name, help, kind, foreign, values } in &(self.0)() {
            let name = if *foreign { (*name).to_owned() } else { format!("{PREFIX}_{name}") };
            let mut all = encoder.encode_descriptor(&name, help, None, *kind)?;
            for (labels, value) in values {
                let mut one = all.encode_family(labels)?;
                match (kind, value) {
                    (MetricType::Counter, Number::Whole(value)) => ConstCounter::new(*value).encode(one)?,
                    (MetricType::Counter, Number::Float(value)) => ConstCounter::new(*value).encode(one)?,
                    (_, Number::Whole(value)) => ConstGauge::new(*value).encode(one)?,
                    (_, Number::Float(value)) => ConstGauge::new(*value).encode(one)?,
                    (_, Number::Histogram(Snapshot { buckets, count, sum })) => {
                        one.encode_histogram::<[(&str, &str); 0]>(*sum, *count, buckets, None)?;
                    }
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
