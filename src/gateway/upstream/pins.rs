//! Tools that were approved: what a server lists is held against them, and what differs is told and, if so configured, withheld.
//!
//! What is kept lies in the state directory ([`crate::pins`]), which is looked at [`EVERY`] so often once an upstream is pinned:
//! what `mcpeg tools approve` has changed is in force soon. Invariants: the first list of an upstream is approved, and nothing
//! after it but by that command; where the file cannot be used, nothing is approved; no list is shown that was not looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::lists::definitions::definitions;
use super::lists::kind::Kind;
use super::lists::listing::Listing;
use crate::config::{Filters, Pin, UpstreamName};
use crate::gateway::changes::Changes;
use crate::gateway::interval;
use crate::pins::{Definition, Draft, Store};
use crate::sys::fs::Owners;
use crate::sys::stamp::Stamp;

/// How often it is looked whether the pins are others.
const EVERY: Duration = Duration::from_millis(400);
/// Tools that a message names.
const NAMED: usize = 5;

/// The pins of all upstreams.
#[derive(Debug)]
pub(crate) struct KnownPins {
    /// The directory of the file.
    directory: PathBuf,
    /// Where changes of lists are told.
    changes: Changes,
    /// What was read of the file.
    state: Mutex<Followed>,
}

/// What was read of the file.
#[derive(Debug, Default)]
struct Followed {
    /// Which file it was; `None` before the first.
    stamp: Option<Stamp>,
    /// Whose pins are to follow it.
    all: Vec<Weak<Pins>>,
    /// Whether it is looked at.
    watched: bool,
}

/// The pins of one upstream.
#[derive(Debug)]
pub(crate) struct Pins {
    /// The upstream.
    upstream: UpstreamName,
    /// Where they are kept.
    known: Arc<KnownPins>,
    /// Whether what differs is told.
    on: AtomicBool,
    /// Whether it is withheld as well.
    enforces: AtomicBool,
    /// What is known.
    state: Mutex<State>,
}

/// What is known of the tools of one upstream.
#[derive(Debug, Default)]
struct State {
    /// The digests of what was approved, by tool; `None` where nothing was listed yet.
    approved: Option<HashMap<String, String>>,
    /// The digests of what differs from that.
    differing: BTreeMap<String, String>,
    /// What was listed last.
    listed: Option<Arc<BTreeMap<String, Definition>>>,
    /// Whether the file cannot be used.
    unusable: bool,
    /// How often any of this was changed from outside: what was found of a list before holds no longer.
    epoch: u64,
}

impl KnownPins {
    /// Those of this state directory, which is not looked at yet.
    pub(crate) fn new(directory: PathBuf, changes: Changes) -> Arc<Self> {
        Arc::new(Self { directory, changes, state: Mutex::default() })
    }

    /// Those of an upstream.
    pub(crate) fn of(self: &Arc<Self>, upstream: &UpstreamName, pin: Pin) -> Arc<Pins> {
        let (upstream, known) = (upstream.clone(), Arc::clone(self));
        let (on, enforces) = (AtomicBool::new(pin != Pin::Off), AtomicBool::new(pin == Pin::Enforce));
        let pins = Arc::new(Pins { upstream, known, on, enforces, state: Mutex::default() });
        let mut state = self.state.lock();
        state.all.retain(|one| one.strong_count() > 0);
        state.all.push(Arc::downgrade(&pins));
        drop(state);
        if pins.is_on() {
            pins.begin();
        }
        pins
    }

    /// All pins that there are; `None` where the file cannot be used.
    fn read(&self) -> Option<Store> {
        let read = Store::read(&self.directory, Owners::Ours);
        read.inspect_err(|error| {
            let error = crate::exit::chain(error);
            tracing::error!(error, "the pins of tools cannot be read: no tool counts as approved");
        })
        .ok()
    }

    /// Looks at the file again, and tells clients whose lists are others by it.
    fn look(&self) {
        let stamp = Store::stamp(&self.directory);
        if self.state.lock().stamp.replace(stamp) == Some(stamp) {
            return;
        }
        let store = self.read();
        let all: Vec<_> = self.state.lock().all.iter().filter_map(Weak::upgrade).collect();
        for pins in all.iter().filter(|pins| pins.is_on()) {
            if pins.take(store.as_ref()) {
                tracing::info!(upstream = %pins.upstream, "other pins are in force");
                self.changes.list(&pins.upstream, Kind::Tools.change());
            }
        }
    }

    /// Looks at the file from now on.
    fn watch(self: &Arc<Self>) {
        if !std::mem::replace(&mut self.state.lock().watched, true) {
            interval::repeat(self, EVERY, |known| known.look());
        }
    }
}

impl Pins {
    /// Whether lists are looked at.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Whether tools may be withheld.
    pub(crate) fn enforces(&self) -> bool {
        self.enforces.load(Ordering::Relaxed)
    }

    /// Takes what was kept, and follows it from now on.
    fn begin(&self) {
        self.take(self.known.read().as_ref());
        self.known.watch();
    }

    /// Does from now on as the configuration says.
    pub(crate) fn set(&self, pin: Pin) {
        if pin != Pin::Off && !self.on.swap(pin != Pin::Off, Ordering::Relaxed) {
            self.begin();
        }
        self.on.store(pin != Pin::Off, Ordering::Relaxed);
        if self.enforces.swap(pin == Pin::Enforce, Ordering::Relaxed) != (pin == Pin::Enforce) {
            self.state.lock().epoch += 1;
            self.known.changes.list(&self.upstream, Kind::Tools.change());
        }
    }

    /// Takes what the file has by now; whether something else is approved than before.
    fn take(&self, store: Option<&Store>) -> bool {
        let mut state = self.state.lock();
        let before = state.approved.clone();
        let tools = store.and_then(|store| store.tools(self.upstream.as_str()));
        if let Some(tools) = tools {
            let digest = |definition: &Definition| definition.digest().to_owned();
            let approved = tools.iter().filter_map(|(name, it)| Some((name.clone(), digest(it.approved()?))));
            state.approved = Some(approved.collect());
            let seen = tools.iter().filter_map(|(name, it)| Some((name.clone(), digest(it.seen()?))));
            state.differing = seen.collect();
        } else if store.is_none() {
            state.approved = Some(HashMap::new());
        } else if state.unusable {
            state.approved = None;
        }
        state.unusable = store.is_none();
        if let Some(listed) = state.listed.clone() {
            state.differing = state.differing(&listed);
        }
        let is_other = state.approved != before;
        state.epoch += u64::from(is_other);
        is_other
    }

    /// A list as it may be shown. Whatever there is of it is held against what was approved first.
    pub(crate) fn see(
        self: &Arc<Self>,
        kind: Kind,
        listing: Arc<Listing>,
        filters: &Filters,
    ) -> Arc<Listing> {
        if kind != Kind::Tools || !self.is_on() {
            return listing;
        }
        let seen = listing.sifted();
        let epoch = self.state.lock().epoch;
        let sifted = match &seen {
            Some((found, sifted)) if *found == epoch => sifted.clone(),
            _ => {
                let (epoch, withheld) = self.compare(definitions(&listing, filters), seen.is_none());
                let hides = |shown: &str| withheld.contains(filters.tools.original(shown).unwrap_or(shown));
                let sifted = (!withheld.is_empty()).then(|| Arc::new(listing.without(hides)));
                listing.set_sifted((epoch, sifted.clone()));
                sifted
            }
        };
        sifted.unwrap_or(listing)
    }

    /// Holds what a server lists against what was approved, and notes what differs if it is listed for the `first` time; the
    /// tools that are withheld.
    fn compare(
        self: &Arc<Self>,
        listed: BTreeMap<String, Definition>,
        first: bool,
    ) -> (u64, BTreeSet<String>) {
        let mut state = self.state.lock();
        if first && state.approved.is_none() {
            let digests = listed.iter().map(|(name, it)| (name.clone(), it.digest().to_owned()));
            state.approved = Some(digests.collect());
            tracing::info!(upstream = %self.upstream, tools = listed.len(), "the tools of the upstream are pinned");
            state.listed = Some(Arc::new(listed));
            self.keep();
            return (state.epoch, BTreeSet::new());
        }
        let differing = state.differing(&listed);
        let epoch = state.epoch;
        if first && !state.unusable {
            let is_new = |(name, digest): &(&String, &String)| state.differing.get(*name) != Some(digest);
            let new: Vec<_> = differing.iter().filter(is_new).map(|(name, _)| name.as_str()).collect();
            self.tell(&new);
            let is_other = differing != state.differing;
            state.listed = Some(Arc::new(listed));
            if is_other {
                state.differing.clone_from(&differing);
                self.keep();
            }
        }
        let withheld = if self.enforces() { differing.into_keys().collect() } else { BTreeSet::new() };
        (epoch, withheld)
    }

    /// Logs that these tools differ from what was approved.
    fn tell(&self, tools: &[&str]) {
        if tools.is_empty() {
            return;
        }
        let (upstream, count, withheld) = (&self.upstream, tools.len(), self.enforces());
        let tools = named(tools.iter().copied());
        tracing::warn!(
            %upstream, count, tools, withheld,
            "tools are new or have changed since they were approved; `mcpeg tools approve {upstream}` shows what differs"
        );
    }

    /// Writes down what was listed last.
    fn keep(self: &Arc<Self>) {
        let pins = Arc::clone(self);
        drop(tokio::task::spawn_blocking(move || {
            let kept = Draft::begin(&pins.known.directory, None).and_then(|draft| {
                let listed = pins.state.lock().listed.clone().unwrap_or_default();
                draft.observe(pins.upstream.as_str(), &listed)
            });
            if let Err(error) = kept {
                let error = crate::exit::chain(&error);
                tracing::error!(upstream = %pins.upstream, error, "the pins of tools cannot be kept");
            }
        }));
    }

    /// What operators are told, if anything differs.
    pub(crate) fn warning(&self) -> Option<String> {
        let state = self.state.lock();
        if !self.is_on() || state.differing.is_empty() && !state.unusable {
            return None;
        }
        let does = if self.enforces() { "withheld" } else { "shown" };
        if state.unusable {
            return Some(format!("the file of pins cannot be used; all tools are {does}"));
        }
        let (count, names) = (state.differing.len(), named(state.differing.keys().map(String::as_str)));
        let upstream = &self.upstream;
        Some(format!(
            "{count} tools are new or have changed since they were approved, and are {does} ({names}); \
             `mcpeg tools approve {upstream}` shows what differs"
        ))
    }
}

impl State {
    /// What of a list was not approved, by digests.
    fn differing(&self, listed: &BTreeMap<String, Definition>) -> BTreeMap<String, String> {
        let approved = |name: &String| self.approved.as_ref().and_then(|approved| approved.get(name));
        let differs =
            |(name, it): &(&String, &Definition)| approved(name).map(String::as_str) != Some(it.digest());
        let differing = listed.iter().filter(differs);
        differing.map(|(name, it)| (name.clone(), it.digest().to_owned())).collect()
    }
}

/// The first of these names, for people.
fn named<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names = names.peekable();
    let first: Vec<_> = names.by_ref().take(NAMED).collect();
    format!("{}{}", first.join(", "), if names.peek().is_some() { ", …" } else { "" })
}
