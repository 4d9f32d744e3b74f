//! What routing has learned of one connection's lists: fetched when first needed, forgotten when the server says that
//! the list has changed.
//!
//! A notification can be lost, so that nothing rests on it alone. A list is trusted for longer ([`TOLD`]) only while a stream
//! is open by which the server would tell of a change ([`Known::opened`], [`Known::closed`]); whenever such a stream
//! opens, all is forgotten that was learned before. Without one a list holds for [`UNTOLD`]. What clients are shown holds no
//! longer than the server allows (`ttlMs`). A list that is read again and differs from what it was is told to clients like a
//! change that the server has told ([`super::reconcile`] reads again).
//!
//! A list is fetched once for all who wait for it, by a task of its own: a waiter that gives up does not undo the work,
//! so a slow list is there for the next one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use http::{HeaderName, HeaderValue};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::changes::LISTS;
use super::super::error::Fault;
use super::super::relay::{
    ClientMeta, Era, Notification, Object, Outcome, Raw, array_items, code, member, member_str, names,
    names::Strictness, raw, raw_string, set_member,
};
use super::headers::{PARAM, argument_text, encode};
use super::link::{Call, Link, Wire};
use crate::config::{Selection, Shows};

/// Pages of one list that are fetched at most: a server that hands out cursors for ever must end somewhere.
pub(super) const PAGES: usize = 1000;
/// The pages of one list together, in bytes; more are not asked for.
pub(super) const ITEMS: usize = 64 << 20;
/// How long a list is remembered where no stream is open by which the server would tell of a change.
pub(super) const UNTOLD: Duration = Duration::from_secs(30);
/// How long where there is one: what it tells can be lost.
pub(super) const TOLD: Duration = Duration::from_secs(300);
/// How deep in a schema annotations are looked for: no sane one nests as deep, and the stack is finite.
const DEPTH: usize = 16;

/// The lists that MCP servers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `tools/list`.
    Tools,
    /// `prompts/list`.
    Prompts,
    /// `resources/list`.
    Resources,
    /// `resources/templates/list`.
    Templates,
}

/// A complete list: its items as the server wrote them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    /// The items.
    pub(crate) items: Vec<Raw>,
    /// The shortest `ttlMs` of its pages; none for one that has nothing to say.
    pub(crate) ttl: u64,
    /// The same, where pages without it say nothing.
    stated: Option<u64>,
    /// When it was asked for.
    asked: Option<Instant>,
    /// Whether every page may be shared between users.
    pub(crate) public: bool,
    /// Which arguments of which tools are mirrored in headers; made when first needed.
    mirrored: OnceLock<HashMap<String, Vec<ParamHeader>>>,
    /// The names or addresses of the items; made when first needed.
    names: OnceLock<HashSet<Box<str>>>,
}

/// An argument of a tool that is mirrored in a header (MCP 2026-07-28 §Streamable HTTP, "Schema Extension").
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParamHeader {
    /// The header's name, in lower case.
    pub(crate) name: String,
    /// The path of properties that leads to the argument.
    pub(crate) path: Vec<String>,
}

impl ParamHeader {
    /// The argument of a call, if there is one.
    pub(crate) fn argument<'a>(&self, params: &'a RawValue) -> Option<&'a RawValue> {
        let arguments = member(params, "arguments")?;
        let argument = self.path.iter().try_fold(arguments, |value, key| member(value, key));
        argument.filter(|value| value.get() != "null")
    }

    /// Whether the way to the argument of a call has a member twice, so that the server may take another one than the
    /// header says.
    pub(crate) fn is_ambiguous(&self, params: &RawValue) -> bool {
        let Some(mut value) = member(params, "arguments") else { return false };
        for step in &self.path {
            let Some(object) = Object::parse(value) else { return value.get().starts_with('{') };
            let mut found = object.iter().filter(|(name, _)| names::is_similar(name, step));
            match (found.next(), found.next()) {
                (Some((_, inner)), None) => value = inner,
                (first, _) => return first.is_some(),
            }
        }
        false
    }
}

/// The remembered lists of one connection.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The lists.
    recalls: [Mutex<Recall>; 4],
    /// What the server would tell of.
    streams: watch::Sender<Streams>,
}

/// The streams by which a server tells of changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Streams {
    /// How often one was opened.
    pub(super) opened: u64,
    /// The kinds of which one that is open would tell, as bits.
    kinds: u8,
}

/// What a list is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To find out where requests go.
    Routing,
    /// To be shown to a client.
    Showing,
}

/// A list that is being fetched, for all who wait for it.
type Fetch = Shared<BoxFuture<'static, Result<Arc<Listing>, Fault>>>;

/// What is known of a list.
#[derive(Debug, Default)]
struct Recall {
    /// The list, unless it was forgotten.
    listing: Option<Arc<Listing>>,
    /// What the list was when it was read last.
    last: Option<Arc<Listing>>,
    /// Whether clients were told since then that it has changed.
    told: bool,
    /// When reading it was last tried by whoever reads again.
    tried: Option<Instant>,
    /// How often it was forgotten: what was asked for before is not remembered after.
    changes: u64,
    /// Since when it is being fetched, and the way to the result.
    fetch: Option<(Instant, Fetch)>,
}

impl Kind {
    /// All kinds.
    pub(crate) const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    /// The kind that a method lists.
    pub(crate) fn of_method(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.method() == method)
    }

    /// The method that lists this kind.
    pub(crate) const fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    /// The member of the result that holds the items.
    pub(crate) const fn items(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// The member of an item that names it.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    /// What of this kind is shown.
    pub(crate) const fn selection(self, shows: &Shows) -> &Selection {
        match self {
            Self::Tools => &shows.tools,
            Self::Prompts => &shows.prompts,
            Self::Resources | Self::Templates => &shows.resources,
        }
    }

    /// The server capability that goes with it.
    pub(crate) const fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::Templates => "resources",
        }
    }

    /// The notification that says that the list has changed.
    pub(crate) const fn change(self) -> &'static str {
        match self {
            Self::Tools => LISTS[0],
            Self::Prompts => LISTS[1],
            Self::Resources | Self::Templates => LISTS[2],
        }
    }

    /// Its bit in a set.
    const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// The kinds that a list-changed notification makes stale.
    pub(crate) fn changed(method: &str) -> &'static [Self] {
        match method {
            "notifications/tools/list_changed" => &[Self::Tools],
            "notifications/prompts/list_changed" => &[Self::Prompts],
            "notifications/resources/list_changed" => &[Self::Resources, Self::Templates],
            _ => &[],
        }
    }
}

impl Known {
    /// Forgets what the notification `method` says has changed.
    pub(crate) fn forget(&self, method: &str) {
        for kind in Kind::changed(method) {
            let mut recall = self.recall(*kind);
            recall.forget();
            recall.told = true;
        }
    }

    /// A stream was opened by which the server tells of changes of these kinds from now on. What was learned before may have
    /// changed without a word.
    pub(super) fn opened(&self, kinds: &[Kind]) {
        // In this order: what is asked for from now on is remembered, and would be told of.
        let kinds = kinds.iter().fold(0, |kinds, kind| kinds | kind.bit());
        for kind in Kind::ALL {
            self.recall(kind).forget();
        }
        self.streams.send_modify(|streams| *streams = Streams { opened: streams.opened + 1, kinds });
    }

    /// No such stream is open any more.
    pub(super) fn closed(&self) {
        self.streams.send_modify(|streams| streams.kinds = 0);
    }

    /// The streams, as they change.
    pub(super) fn streams(&self) -> watch::Receiver<Streams> {
        self.streams.subscribe()
    }

    /// Whether the list was read at some time.
    pub(super) fn was_read(&self, kind: Kind) -> bool {
        self.recall(kind).last.is_some()
    }

    /// When a list that was read is to be read again, if it holds for so long.
    pub(super) fn due(&self, kind: Kind, holds: Duration) -> Option<Instant> {
        let recall = self.recall(kind);
        let asked = recall.last.as_ref()?.asked;
        // One that was forgotten because of a change is read again by those who were told.
        let read = asked.filter(|_| !recall.told);
        read.max(recall.tried).map(|read| read + holds)
    }

    /// Notes that a list is about to be read again.
    pub(super) fn try_again(&self, kind: Kind) {
        self.recall(kind).tried = Some(Instant::now());
    }

    /// The list, if it is remembered and not older than `holds`.
    fn get(&self, kind: Kind, holds: impl FnOnce(&Listing) -> Duration) -> Option<Arc<Listing>> {
        let listing = self.recall(kind).listing.clone()?;
        (listing.age() < holds(&listing)).then_some(listing)
    }

    /// What is known of a list.
    fn recall(&self, kind: Kind) -> std::sync::MutexGuard<'_, Recall> {
        self.recalls[kind as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recall {
    /// Whoever asks from now on does not get what was asked for before.
    fn forget(&mut self) {
        self.listing = None;
        self.fetch = None;
        self.changes += 1;
    }
}

impl Link {
    /// Whether the server has this kind of list at all.
    pub(crate) fn offers(&self, kind: Kind) -> bool {
        member(&self.handshake.capabilities, kind.capability()).is_some()
    }

    /// The list, remembered or fetched. `meta` is what a modern server must be told about the asking client. Nobody
    /// waits longer than `patience`, counted from when the server was asked: one that hangs delays its first asker only. A
    /// server that would tell of a change but cannot be asked is taken to have what it had.
    pub(crate) async fn known(
        self: &Arc<Self>,
        kind: Kind,
        purpose: Purpose,
        meta: &ClientMeta,
        patience: Duration,
    ) -> Result<Arc<Listing>, Fault> {
        let holds = |listing: &Listing| self.holds(kind, purpose, listing);
        if let Some(listing) = self.known.get(kind, holds) {
            return Ok(listing);
        }
        let (asked, fetch) = {
            let mut recall = self.known.recall(kind);
            recall.fetch.get_or_insert_with(|| (Instant::now(), self.begin_fetch(kind, meta.clone()))).clone()
        };
        let late = |_| Fault::upstream(&self.name, "takes too long to list what it offers");
        let fetched = timeout_at(asked + patience, fetch).await.map_err(late).and_then(|fetched| fetched);
        fetched.or_else(|fault| {
            let stale = self.known.get(kind, |_| 2 * TOLD).filter(|_| self.is_told(kind));
            stale.ok_or(fault)
        })
    }

    /// How long a list holds.
    fn holds(&self, kind: Kind, purpose: Purpose, listing: &Listing) -> Duration {
        if self.pulse.is_retired() {
            // There is nobody to ask.
            return Duration::MAX;
        }
        let cap = if self.is_told(kind) { TOLD } else { UNTOLD };
        match listing.stated.filter(|_| purpose == Purpose::Showing && self.era == Era::Modern) {
            Some(stated) => cap.min(Duration::from_millis(stated)),
            None => cap,
        }
    }

    /// Learns a list that is not remembered or old, without counting as use of the connection.
    pub(crate) async fn learn_aside(&self, kind: Kind, patience: Duration) -> Result<(), Fault> {
        if self.known.get(kind, |listing| self.holds(kind, Purpose::Routing, listing)).is_some() {
            return Ok(());
        }
        self.read_again(kind, patience).await
    }

    /// Reads a list, whatever is remembered of it.
    pub(super) async fn read_again(&self, kind: Kind, patience: Duration) -> Result<(), Fault> {
        let late = |_| Fault::upstream(&self.name, "takes too long to list what it offers");
        timeout(patience, self.learn(kind, &ClientMeta::default())).await.map_err(late)?.map(drop)
    }

    /// Starts fetching a list.
    fn begin_fetch(self: &Arc<Self>, kind: Kind, meta: ClientMeta) -> Fetch {
        let link = Arc::clone(self);
        let failed = Fault::upstream(&self.name, "could not be asked what it offers");
        let fetch = tokio::spawn(async move { link.learn(kind, &meta).await });
        fetch.map(|fetched| fetched.unwrap_or(Err(failed))).boxed().shared()
    }

    /// Fetches a list and remembers it. Where it differs from what it was and nobody was told so, clients are.
    async fn learn(&self, kind: Kind, meta: &ClientMeta) -> Result<Arc<Listing>, Fault> {
        let (changes, asked) = (self.known.recall(kind).changes, Instant::now());
        let fetched = self.fetch(kind, meta).await;
        let fetched = fetched.map(|listing| Arc::new(Listing { asked: Some(asked), ..listing }));
        let mut recall = self.known.recall(kind);
        if recall.changes != changes {
            // It is of before a change, or of after it; nobody knows.
            return fetched;
        }
        recall.fetch = None;
        let listing = fetched?;
        recall.listing = Some(Arc::clone(&listing));
        let last = recall.last.replace(Arc::clone(&listing));
        let told = std::mem::take(&mut recall.told);
        drop(recall);
        if !told && last.is_some_and(|last| !last.is_the_same_as(&listing, kind)) {
            tracing::info!(upstream = %self.name, method = kind.method(), "the list has changed without a word");
            self.tell_found(kind);
        }
        Ok(listing)
    }

    /// Tells clients that a list has changed of which the server has not told.
    pub(super) fn tell_found(&self, kind: Kind) {
        let method = kind.change();
        self.inbox.tell_found(Notification { method: method.to_owned(), params: None });
    }

    /// Whether the server says when the list has changed, if it can.
    pub(super) fn tells_changes(&self, kind: Kind) -> bool {
        member(&self.handshake.capabilities, kind.capability())
            .and_then(|capability| member(capability, "listChanged"))
            .is_some_and(|told| told.get() == "true")
    }

    /// Whether a change of the list would be told now: a stream is open for it. The pipes of a legacy server are one.
    pub(crate) fn is_told(&self, kind: Kind) -> bool {
        self.tells_changes(kind)
            && match (&self.wire, self.era) {
                (Wire::Stdio { connection, .. }, Era::Legacy) => !connection.is_lent(),
                _ => self.known.streams.borrow().kinds & kind.bit() != 0,
            }
    }

    /// Runs `check` with the headers that must mirror arguments of the tool that `params` call. A list that cannot be
    /// had is no reason to refuse a call.
    pub(crate) async fn check_parameters(
        self: &Arc<Self>,
        params: &RawValue,
        meta: &ClientMeta,
        check: impl FnOnce(&[ParamHeader]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let Ok(listing) = self.known(Kind::Tools, Purpose::Routing, meta, LIST_LIMIT).await else {
            return Ok(());
        };
        let mirrored = listing.mirrored.get_or_init(|| listing.find_mirrored());
        if mirrored.is_empty() {
            return Ok(());
        }
        let name = member_str(params, "name");
        match name.and_then(|name| mirrored.get(self.shows.tools.shown(&name)?)) {
            Some(mirrored) => check(mirrored),
            None => Ok(()),
        }
    }

    /// The headers that mirror arguments of the tool that `params` call, for a client that does not know of them.
    pub(crate) async fn mirrored_headers(
        self: &Arc<Self>,
        params: &RawValue,
        meta: &ClientMeta,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let mut found = Vec::new();
        if matches!(self.wire, Wire::Http(_)) {
            let header = |mirrored: &ParamHeader| {
                let value = encode(&argument_text(mirrored.argument(params)?));
                Some((HeaderName::try_from(mirrored.name.as_str()).ok()?, value))
            };
            let collect = |mirrored: &[ParamHeader]| {
                found = mirrored.iter().filter_map(header).collect();
                Ok(())
            };
            // It refuses nothing.
            let _ = self.check_parameters(params, meta, collect).await;
        }
        found
    }

    /// Fetches all pages of a list. A server that offers none has an empty one.
    pub(crate) async fn fetch(&self, kind: Kind, meta: &ClientMeta) -> Result<Listing, Fault> {
        let mut listing = Listing { ttl: u64::MAX, public: true, ..Listing::default() };
        if !self.offers(kind) {
            return Ok(listing);
        }
        let (mut cursor, mut weight): (Option<String>, _) = (None, 0);
        for _ in 0..PAGES {
            let params = cursor.as_deref().map(|cursor| raw(&serde_json::json!({ "cursor": cursor })));
            let params = if self.era == Era::Modern { Some(meta.apply(params)) } else { params };
            let call = Call::new(kind.method(), params, LIST_LIMIT);
            let page = match self.call_aside(call).await.outcome().await? {
                Outcome::Result(page) => page,
                // Many servers with resources have no templates, and say it like this.
                Outcome::Error(error) if is_unknown_method(&error) => break,
                Outcome::Error(error) => {
                    tracing::warn!(upstream = %self.name, method = kind.method(), error = error.get(), "cannot list");
                    return Err(Fault::upstream(&self.name, "refused to list what it offers"));
                }
            };
            weight += page.get().len();
            self.check_names(kind.method(), &page, names::PAGE)?;
            let dropped = listing.add(kind, &page, &self.shows);
            if dropped > 0 {
                let method = kind.method();
                tracing::warn!(
                    upstream = %self.name, method, dropped,
                    "items whose name or address can be read in two ways are not shown"
                );
            }
            cursor = member_str(&page, "nextCursor").map(std::borrow::Cow::into_owned);
            if cursor.is_none() || weight > ITEMS {
                break;
            }
        }
        if cursor.is_some() {
            let (method, items) = (kind.method(), listing.items.len());
            tracing::warn!(upstream = %self.name, method, items, "the list is too long: the rest of it is not shown");
        }
        Ok(listing)
    }
}

/// Whether an error says that there is no such method.
pub(super) fn is_unknown_method(error: &RawValue) -> bool {
    member(error, "code").is_some_and(|number| number.get() == code::METHOD_NOT_FOUND.to_string())
}

/// How long one page of a list may take.
const LIST_LIMIT: Duration = Duration::from_secs(20);

impl Listing {
    /// Adds what of one page is shown, under the names that are shown. An item of which a client could read another name
    /// than the gateway is left out; how many there are is returned.
    fn add(&mut self, kind: Kind, page: &RawValue, selections: &Shows) -> usize {
        let mut items = member(page, kind.items()).and_then(array_items).unwrap_or_default();
        let listed = items.len();
        items.retain(|item| names::check(item, names::ITEM, Strictness::Pairs).is_ok());
        let dropped = listed - items.len();
        let selection = kind.selection(selections);
        if selection.everything() {
            self.items.extend(items.into_iter().map(ToOwned::to_owned));
        } else {
            self.items.extend(items.into_iter().filter_map(|item| {
                let name = member_str(item, kind.key())?;
                let shown = selection.shown(&name)?;
                Some(if shown == name { item.to_owned() } else { renamed(item, shown) })
            }));
        }
        let stated = member(page, "ttlMs").and_then(|ttl| ttl.get().parse().ok());
        self.ttl = self.ttl.min(stated.unwrap_or(0));
        self.stated = self.stated.into_iter().chain(stated).min();
        self.public &= member_str(page, "cacheScope").is_some_and(|scope| scope == "public");
        dropped
    }

    /// How long ago it was asked for.
    fn age(&self) -> Duration {
        self.asked.map_or(Duration::ZERO, |asked| asked.elapsed())
    }

    /// What is left of its `ttlMs`.
    pub(crate) fn ttl_left(&self) -> u64 {
        if self.ttl == u64::MAX {
            return self.ttl;
        }
        self.ttl.saturating_sub(u64::try_from(self.age().as_millis()).unwrap_or(u64::MAX))
    }

    /// Whether clients can see no difference between this and another one: neither the order of items nor that of members
    /// counts, which some servers change from answer to answer.
    fn is_the_same_as(&self, other: &Self, kind: Kind) -> bool {
        let equal = |(one, other): (&Raw, &Raw)| one.get() == other.get();
        if self.items.len() != other.items.len() {
            return false;
        }
        if self.items.iter().zip(&other.items).all(equal) {
            return true;
        }
        let by_name = |listing: &Self| -> BTreeMap<String, Value> {
            let item = |item: &Raw| {
                let name = member_str(item, kind.key()).map(std::borrow::Cow::into_owned);
                Some((name.unwrap_or_default(), serde_json::from_str(item.get()).ok()?))
            };
            listing.items.iter().filter_map(item).collect()
        };
        by_name(self) == by_name(other)
    }

    /// The tools with mirrored arguments.
    fn find_mirrored(&self) -> HashMap<String, Vec<ParamHeader>> {
        let tools = self.items.iter().filter_map(|tool| {
            let mut found = Vec::new();
            collect_mirrored(member(tool, "inputSchema")?, &mut Vec::new(), &mut found);
            let name = member_str(tool, "name")?.into_owned();
            (!found.is_empty()).then_some((name, found))
        });
        tools.collect()
    }

    /// Whether there is an item of this name, or with this address.
    pub(crate) fn has(&self, kind: Kind, name: &str) -> bool {
        let named = || {
            let names = self.items.iter().filter_map(|item| member_str(item, kind.key()));
            names.map(|name| name.into_owned().into()).collect()
        };
        self.names.get_or_init(named).contains(name)
    }
}

/// Finds annotations that are reachable through `properties` alone, as the specification demands.
fn collect_mirrored(schema: &RawValue, path: &mut Vec<String>, found: &mut Vec<ParamHeader>) {
    if path.len() >= DEPTH {
        return;
    }
    let Some(properties) = member(schema, "properties").and_then(Object::parse) else { return };
    for (name, property) in properties.iter() {
        path.push(name.to_owned());
        if let Some(header) = member_str(property, "x-mcp-header") {
            found.push(ParamHeader {
                name: format!("{PARAM}{}", header.to_ascii_lowercase()),
                path: path.clone(),
            });
        }
        collect_mirrored(property, path, found);
        path.pop();
    }
}

/// An item with its name prefixed.
pub(crate) fn renamed(item: &RawValue, name: &str) -> Raw {
    set_member(item, "name", raw_string(name).get()).unwrap_or_else(|| item.to_owned())
}
