//! How long calls of tools have taken lately, for the status page: what the histograms have counted, looked at every few seconds.
//! A call itself pays nothing for it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;

use super::family::Family;
use super::histogram::{Counted, Histogram};

/// How often that is looked at.
pub(crate) const EVERY: Duration = Duration::from_secs(15);
/// As many times are remembered: ten minutes.
pub(crate) const KEPT: usize = 40;
/// The method that is looked at.
const METHOD: &str = "tools/call";

/// What was counted lately, by upstream.
#[derive(Debug, Default)]
pub(crate) struct Samples(Mutex<HashMap<Box<str>, Series>>);

/// What was counted of one upstream.
#[derive(Debug, Default)]
struct Series {
    /// All up to the last look.
    total: Counted,
    /// What came between two looks, the latest last; empty where nothing has come lately.
    between: VecDeque<Counted>,
}

impl Samples {
    /// Looks at the histograms of upstreams.
    pub(super) fn look(&self, asked: &Family<3, Histogram>) {
        let mut all = self.0.lock();
        for (upstream, total) in totals(asked) {
            let series = all.entry(upstream.into()).or_default();
            if series.between.len() == KEPT {
                series.between.pop_front();
            }
            series.between.push_back(total.since(&series.total));
            series.total = total;
            if series.between.iter().all(|between| between.count() == 0) {
                series.between = VecDeque::new();
            }
        }
    }

    /// What has come between the last looks, the latest of which is now, by upstream.
    pub(super) fn lately(&self, asked: &Family<3, Histogram>) -> HashMap<Box<str>, Vec<Counted>> {
        let all = self.0.lock();
        let lately = totals(asked).into_iter().map(|(upstream, total)| {
            let series = all.get(upstream);
            let now = total.since(&series.map(|series| series.total).unwrap_or_default());
            let before = series.into_iter().flat_map(|series| &series.between).copied();
            (upstream.into(), before.chain([now]).collect())
        });
        lately.collect()
    }
}

/// All that was counted up to now, by upstream. What was called off says nothing of how long a server takes.
fn totals(asked: &Family<3, Histogram>) -> HashMap<&str, Counted> {
    let mut totals = HashMap::<&str, Counted>::new();
    for ([method, upstream, error], histogram) in asked.all() {
        if method == METHOD && error != "cancelled" {
            let total = totals.entry(upstream).or_default();
            *total = total.and(&histogram.counted());
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_look_has_what_came_since_the_one_before_and_quiet_upstreams_take_no_room() {
        let (samples, asked) = (Samples::default(), Family::<3, Histogram>::new(10));
        let call = |error: &str| asked.get([METHOD, "a", error]).observe(Duration::from_millis(10));
        let counts = || -> Vec<u64> { samples.lately(&asked)["a"].iter().map(Counted::count).collect() };
        call("");
        assert_eq!(counts(), [1], "also before the first look");
        samples.look(&asked);
        call("");
        call("timeout");
        call("cancelled");
        asked.get(["tools/list", "a", ""]).observe(Duration::from_secs(1));
        assert_eq!(counts(), [1, 2]);
        samples.look(&asked);
        assert_eq!(counts(), [1, 2, 0]);
        (0..KEPT).for_each(|_| samples.look(&asked));
        assert_eq!(counts(), [0]);
        assert_eq!(samples.0.lock()["a"].between.capacity(), 0);
        call("");
        samples.look(&asked);
        assert_eq!(counts(), [1, 0]);
    }
}
