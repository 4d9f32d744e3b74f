//! What clients use of what they may ask for: rates, requests in flight, and event streams.
//!
//! One [`Usage`] belongs to one client: to those with a name, and without one to what counts as one client ([`ClientKey`]). It
//! goes on through a reload, also with other limits, and rates go on in the process after this one: what was used there
//! already, [`Usages::used`] tells. What is in flight or open counts in each process for itself.
//!
//! Of clients without a name, those are forgotten that use nothing, and of [`MOST`] the half that has used least of its rate.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::json;

use crate::config::{ClientLimits, Rate};
use crate::gateway::client::{ClientKey, ClientName};
use crate::gateway::error::Fault;
use crate::gateway::relay::{Message, code, member_str, method, raw};
use crate::handover::Used;

/// Clients without a name that are told apart.
const MOST: usize = 1 << 14;
/// When to come back where something has to end first.
const SOON: Duration = Duration::from_secs(1);

/// What one client uses.
#[derive(Debug)]
pub(crate) struct Usage {
    /// What it may ask for.
    limits: ClientLimits,
    /// Of its rate.
    rate: Option<Arc<Meter>>,
    /// Of those of tools, in the order of the limits.
    tools: Vec<Arc<Meter>>,
    /// Its requests in flight.
    calls: Arc<AtomicUsize>,
    /// Its event streams.
    streams: Arc<AtomicUsize>,
}

/// One request in flight, or one event stream, until dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<AtomicUsize>);

/// What a client has asked for beyond its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// What is too much, in one sentence.
    what: String,
    /// When to come back.
    wait: Duration,
}

/// A rate and what was used of it.
struct Meter {
    /// The rate.
    rate: Rate,
    /// Says what may pass.
    limiter: RateLimiter<NotKeyed, Arrival, Since>,
    /// What it goes by.
    arrival: Arrival,
}

/// When the next one would come at exactly the rate, in nanoseconds since the meter is there; 0 before the first.
#[derive(Clone, Debug, Default)]
struct Arrival(Arc<AtomicU64>);

/// The time since a meter is there.
#[derive(Clone, Copy, Debug)]
struct Since(Instant);

/// What clients without a name use.
#[derive(Debug, Default)]
pub(crate) struct Usages(Mutex<HashMap<ClientKey, Arc<Usage>>>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slot {
    /// One more, unless there are as many.
    fn take(count: &Arc<AtomicUsize>, most: Option<usize>) -> Option<Self> {
        let more = |count: usize| most.is_none_or(|most| count < most).then_some(count + 1);
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self(Arc::clone(count)))
    }
}

impl Exceeded {
    /// More than a rate allows.
    fn rate(kind: &str, rate: Rate, wait: Duration) -> Self {
        Self { what: format!("too many {kind}: you may send {rate}"), wait }
    }

    /// Sessions, of which there are as many as this says.
    pub(crate) fn sessions(what: String) -> Self {
        Self { what, wait: SOON }
    }

    /// More at once than may be.
    fn count(kind: &str, most: Option<usize>) -> Self {
        Self { what: format!("too many {kind} at once: you may have {}", most.unwrap_or(0)), wait: SOON }
    }
}

impl From<Exceeded> for Fault {
    fn from(Exceeded { what, wait }: Exceeded) -> Self {
        let millis = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1);
        let message = format!("{what}; try again in {millis} ms");
        Self {
            data: Some(raw(&json!({ "retryAfterMs": millis }))),
            ..Self::downstream(code::LIMIT_EXCEEDED, StatusCode::TOO_MANY_REQUESTS, message)
        }
    }
}

impl StateStore for Arrival {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut known = self.0.load(Ordering::Relaxed);
        loop {
            let (decided, next) = decide((known > 0).then(|| known.into()))?;
            let stored =
                self.0.compare_exchange_weak(known, next.into(), Ordering::Relaxed, Ordering::Relaxed);
            match stored {
                Ok(_) => return Ok(decided),
                Err(other) => known = other,
            }
        }
    }
}

impl Clock for Since {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

impl Meter {
    /// A rate of which nothing was used.
    fn new(rate: Rate) -> Self {
        let (arrival, since) = (Arrival::default(), Since(Instant::now()));
        let each = rate.period / rate.count.get();
        let quota = Quota::with_period(each).expect("a rate's number is at most a million for each second");
        let limiter = RateLimiter::new(quota.allow_burst(rate.burst), arrival.clone(), since);
        Self { rate, limiter, arrival }
    }

    /// That of before where it has the same rate, else one of which nothing was used.
    fn going_on(rate: Rate, former: Option<&Arc<Self>>) -> Arc<Self> {
        former.filter(|former| former.rate == rate).map_or_else(|| Arc::new(Self::new(rate)), Arc::clone)
    }

    /// Uses it once; how long to wait where that is too often.
    fn pass(&self) -> Result<(), Duration> {
        self.limiter.check().map_err(|until| until.wait_time_from(self.limiter.clock().now()))
    }

    /// How long it takes until nothing is used of it.
    fn behind(&self) -> Duration {
        let now = self.limiter.clock().now().as_u64();
        Duration::from_nanos(self.arrival.0.load(Ordering::Relaxed).saturating_sub(now))
    }

    /// Takes over what another process has used of it.
    fn is_behind(&self, time: Duration) {
        let most = self.rate.period / self.rate.count.get() * self.rate.burst.get();
        let arrival = self.limiter.clock().now() + Nanos::from(time.min(most));
        self.arrival.0.fetch_max(arrival.into(), Ordering::Relaxed);
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} behind by {:?}", self.rate, self.behind())
    }
}

impl Usage {
    /// What a client with these limits uses, going on from what it was before; `None` where nothing has to be counted.
    pub(crate) fn new(limits: ClientLimits, former: Option<&Self>) -> Option<Arc<Self>> {
        if limits.is_empty() {
            return None;
        }
        let rate =
            limits.rate.map(|rate| Meter::going_on(rate, former.and_then(|former| former.rate.as_ref())));
        let of_tool = |pattern: &str| {
            let former = former?;
            let place = former.limits.tool_rates.iter().position(|(other, _)| other.text() == pattern)?;
            former.tools.get(place)
        };
        let tools = limits.tool_rates.iter();
        let tools = tools.map(|(pattern, rate)| Meter::going_on(*rate, of_tool(pattern.text()))).collect();
        let calls = former.map(|former| Arc::clone(&former.calls)).unwrap_or_default();
        let streams = former.map(|former| Arc::clone(&former.streams)).unwrap_or_default();
        Some(Arc::new(Self { limits, rate, tools, calls, streams }))
    }

    /// What the client may ask for.
    pub(crate) const fn limits(&self) -> &ClientLimits {
        &self.limits
    }

    /// Lets a message in: what holds the place of a request. Answers to servers' questions have no limit.
    pub(crate) fn begin(&self, message: &Message) -> Result<Option<Slot>, Exceeded> {
        match message {
            Message::Request(request) => {
                let most = self.limits.max_concurrency;
                let slot = Slot::take(&self.calls, most).ok_or_else(|| Exceeded::count("requests", most))?;
                self.count()?;
                if request.method == method::TOOLS_CALL && !self.tools.is_empty() {
                    let name = request.params.as_deref().and_then(|params| member_str(params, "name"));
                    self.count_tool(&name.unwrap_or_default())?;
                }
                Ok(Some(slot))
            }
            Message::Notification(_) => self.count().map(|()| None),
            Message::Response(_) => Ok(None),
        }
    }

    /// Lets an event stream begin that no message has asked for.
    pub(crate) fn open(&self) -> Result<Slot, Exceeded> {
        self.count()?;
        self.stream()
    }

    /// Lets an event stream begin.
    pub(crate) fn stream(&self) -> Result<Slot, Exceeded> {
        let most = self.limits.max_streams;
        Slot::take(&self.streams, most).ok_or_else(|| Exceeded::count("event streams", most))
    }

    /// Counts one of what has a rate.
    fn count(&self) -> Result<(), Exceeded> {
        let Some(meter) = &self.rate else { return Ok(()) };
        meter.pass().map_err(|wait| Exceeded::rate("requests", meter.rate, wait))
    }

    /// Counts a call of a tool.
    fn count_tool(&self, name: &str) -> Result<(), Exceeded> {
        let place = self.limits.tool_rates.iter().position(|(pattern, _)| pattern.fits(name));
        let Some(meter) = place.and_then(|place| self.tools.get(place)) else { return Ok(()) };
        meter.pass().map_err(|wait| Exceeded::rate("calls of this tool", meter.rate, wait))
    }

    /// The meters, with what tells them apart.
    fn meters(&self) -> impl Iterator<Item = (Option<&str>, &Arc<Meter>)> {
        let patterns = self.limits.tool_rates.iter().map(|(pattern, _)| Some(pattern.text()));
        self.rate.iter().map(|meter| (None, meter)).chain(patterns.zip(&self.tools))
    }

    /// How long it takes until nothing is used of its rate.
    fn behind(&self) -> Duration {
        self.rate.as_ref().map(|meter| meter.behind()).unwrap_or_default()
    }

    /// Whether nothing would be lost with it.
    fn is_unused(&self) -> bool {
        let open = self.calls.load(Ordering::Relaxed) + self.streams.load(Ordering::Relaxed);
        open == 0 && self.behind().is_zero()
    }

    /// What is told another process of it.
    fn used(&self, client: &ClientKey) -> Vec<Used> {
        let used = self.meters().map(|(tool, meter)| (tool, meter.behind()));
        let used = used.filter(|(_, behind)| !behind.is_zero()).map(|(tool, behind)| Used {
            client: client.name().map(ToString::to_string),
            address: client.address(),
            tool: tool.map(str::to_owned),
            behind_ms: u64::try_from(behind.as_millis()).unwrap_or(u64::MAX),
        });
        used.collect()
    }
}

impl Usages {
    /// What a client uses that `[clients]` does not name; `None` where it has no limits.
    pub(crate) fn of(&self, limits: &ClientLimits, client: impl FnOnce() -> ClientKey) -> Option<Arc<Usage>> {
        if !limits.counts_anything() {
            return None;
        }
        let client = client();
        if !client.is_somebody() {
            return None;
        }
        let mut all = self.0.lock();
        let known = all.get(&client);
        if let Some(usage) = known.filter(|known| known.limits == *limits) {
            return Some(Arc::clone(usage));
        }
        let usage = Usage::new(limits.clone(), known.map(|known| &**known))?;
        if known.is_none() && all.len() >= MOST {
            Self::forget(&mut all);
        }
        all.insert(client, Arc::clone(&usage));
        Some(usage)
    }

    /// Forgets those that use nothing, or the half that has used least.
    fn forget(all: &mut HashMap<ClientKey, Arc<Usage>>) {
        all.retain(|_, usage| !usage.is_unused());
        if all.len() > MOST / 2 {
            let mut behind: Vec<_> = all.values().map(|usage| usage.behind()).collect();
            let (_, middle, _) = behind.select_nth_unstable(MOST / 2);
            let middle = *middle;
            all.retain(|_, usage| usage.behind() > middle);
        }
    }

    /// What is told the next process of rates, beside what these clients with a name use.
    pub(crate) fn used<'a>(
        &self,
        named: impl Iterator<Item = (&'a ClientName, &'a Arc<Usage>)>,
    ) -> Vec<Used> {
        let named = named.map(|(name, usage)| usage.used(&ClientKey::Named(name.clone())));
        let others = self.0.lock();
        named.chain(others.iter().map(|(client, usage)| usage.used(client))).flatten().collect()
    }

    /// Takes over what the process before has told of rates: those of a client with a name are there (`known`), or there are none.
    pub(crate) fn inherit<'a>(
        &self,
        limits: &ClientLimits,
        known: impl Fn(&ClientName) -> Option<Option<&'a Arc<Usage>>>,
        used: &[Used],
    ) {
        for Used { client, address, tool, behind_ms } in used {
            let name = client.as_deref().map(ClientName::new);
            let usage = match name.as_ref().and_then(&known) {
                Some(usage) => usage.cloned(),
                None => self.of(limits, || ClientKey::of_client(name.as_ref(), *address)),
            };
            let Some(usage) = usage else { continue };
            for (_, meter) in usage.meters().filter(|(other, _)| *other == tool.as_deref()) {
                meter.is_behind(Duration::from_millis(*behind_ms));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Limits with this rate and burst.
    fn limits(rate: &str, burst: u32) -> ClientLimits {
        let rate: Rate = rate.parse().unwrap();
        ClientLimits {
            rate: Some(Rate { burst: burst.try_into().unwrap(), ..rate }),
            ..ClientLimits::default()
        }
    }

    /// A client's address.
    fn key(number: u32) -> ClientKey {
        ClientKey::of(Some(std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).into()))
    }

    #[test]
    fn what_was_used_goes_on_with_the_same_rate_and_in_another_process() {
        let (before, limits) = (Usages::default(), limits("60/h", 3));
        let usage = before.of(&limits, || key(1)).unwrap();
        assert!((0..3).all(|_| usage.count().is_ok()));
        let exceeded = usage.count().unwrap_err();
        assert!(exceeded.wait > Duration::from_secs(50) && exceeded.wait <= Duration::from_mins(1));
        let fault = Fault::from(exceeded);
        assert_eq!((fault.status, fault.code), (StatusCode::TOO_MANY_REQUESTS, code::LIMIT_EXCEEDED));
        // A reload that changes something else, and one that changes the rate.
        let wider = ClientLimits { max_streams: Some(1), ..limits.clone() };
        let usage = before.of(&wider, || key(1)).unwrap();
        assert!(usage.count().is_err());
        assert!(usage.stream().is_ok_and(|_first| usage.stream().is_err()) && usage.stream().is_ok());
        let after = Usages::default();
        after.inherit(&wider, |_| None, &before.used(std::iter::empty()));
        assert!(after.of(&wider, || key(1)).unwrap().count().is_err());
        assert!(after.of(&wider, || key(2)).unwrap().count().is_ok());
        assert!(before.of(&self::limits("61/h", 3), || key(1)).unwrap().count().is_ok());
    }

    #[test]
    fn clients_without_a_name_take_no_more_room_than_for_so_many() {
        let (usages, limits) = (Usages::default(), limits("1/h", 2));
        let first = usages.of(&limits, || key(0)).unwrap();
        assert!(first.count().is_ok() && first.count().is_ok());
        for number in 1..40_000 {
            assert!(usages.of(&limits, || key(number)).unwrap().count().is_ok());
            assert!(usages.0.lock().len() <= MOST);
        }
        let again = usages.of(&limits, || key(0)).unwrap();
        assert!(again.count().is_err(), "who has used most is remembered for longest");
        assert!(usages.of(&limits, || ClientKey::of(None)).is_none(), "nobody in particular");
    }
}
