//! What routing has learned of one connection's lists: fetched when first needed, forgotten when the server says that
//! the list has changed, or after a while where it never says so.
//!
//! A list is fetched once for all who wait for it, by a task of its own: a waiter that gives up does not undo the work,
//! so a slow list is there for the next one.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use http::{HeaderName, HeaderValue};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::error::Fault;
use super::super::relay::{
    ClientMeta, Era, Object, Outcome, Raw, array_items, code, member, member_str, names, names::Strictness,
    raw, raw_string, set_member,
};
use super::headers::{PARAM, argument_text, encode};
use super::link::{Call, Link, Wire};
use crate::config::{Selection, Shows};

/// Pages of one list that are fetched at most: a server that hands out cursors for ever must end somewhere.
pub(super) const PAGES: usize = 1000;
/// The pages of one list together, in bytes; more are not asked for.
pub(super) const ITEMS: usize = 64 << 20;
/// How long a list is remembered of a server that does not tell about changes.
const UNTOLD: Duration = Duration::from_secs(30);
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
    /// The shortest `ttlMs` of its pages.
    pub(crate) ttl: u64,
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
pub(crate) struct Known([Mutex<Recall>; 4]);

/// A list that is being fetched, for all who wait for it.
type Fetch = Shared<BoxFuture<'static, Result<Arc<Listing>, Fault>>>;

/// What is known of a list.
#[derive(Debug, Default)]
struct Recall {
    /// The list, and until when it may be used.
    listing: Option<(Arc<Listing>, Option<Instant>)>,
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
            recall.listing = None;
            // Whoever asks from now on must not get what was asked for before.
            recall.fetch = None;
            recall.changes += 1;
        }
    }

    /// The list, if it is remembered; of a connection that has been retired also if it is old.
    fn get(&self, kind: Kind, old: bool) -> Option<Arc<Listing>> {
        let recall = self.recall(kind);
        let (listing, until) = recall.listing.as_ref()?;
        (old || until.is_none_or(|until| Instant::now() < until)).then(|| Arc::clone(listing))
    }

    /// What is known of a list.
    fn recall(&self, kind: Kind) -> std::sync::MutexGuard<'_, Recall> {
        self.0[kind as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// Whether the server has this kind of list at all.
    pub(crate) fn offers(&self, kind: Kind) -> bool {
        member(&self.handshake.capabilities, kind.capability()).is_some()
    }

    /// The list, remembered or fetched. `meta` is what a modern server must be told about the asking client. Nobody
    /// waits longer than `patience`, counted from when the server was asked: one that hangs delays its first asker only.
    pub(crate) async fn known(
        self: &Arc<Self>,
        kind: Kind,
        meta: &ClientMeta,
        patience: Duration,
    ) -> Result<Arc<Listing>, Fault> {
        if let Some(listing) = self.known.get(kind, self.pulse.is_retired()) {
            return Ok(listing);
        }
        let (asked, fetch) = {
            let mut recall = self.known.recall(kind);
            recall.fetch.get_or_insert_with(|| (Instant::now(), self.begin_fetch(kind, meta.clone()))).clone()
        };
        let late = |_| Fault::upstream(&self.name, "takes too long to list what it offers");
        timeout_at(asked + patience, fetch).await.map_err(late)?
    }

    /// Learns a list that is not remembered or old, without counting as use of the connection.
    pub(crate) async fn learn_aside(&self, kind: Kind, patience: Duration) -> Result<(), Fault> {
        if self.known.get(kind, true).is_some() {
            return Ok(());
        }
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

    /// Fetches a list and remembers it.
    async fn learn(&self, kind: Kind, meta: &ClientMeta) -> Result<Arc<Listing>, Fault> {
        let changes = self.known.recall(kind).changes;
        let fetched = self.fetch(kind, meta).await.map(Arc::new);
        let mut recall = self.known.recall(kind);
        let unchanged = recall.changes == changes;
        if unchanged {
            recall.fetch = None;
        }
        let listing = fetched?;
        if unchanged {
            let until = (!self.tells_changes(kind)).then(|| Instant::now() + UNTOLD);
            recall.listing = Some((Arc::clone(&listing), until));
        }
        Ok(listing)
    }

    /// Whether the server says when the list has changed.
    fn tells_changes(&self, kind: Kind) -> bool {
        member(&self.handshake.capabilities, kind.capability())
            .and_then(|capability| member(capability, "listChanged"))
            .is_some_and(|told| told.get() == "true")
    }

    /// Runs `check` with the headers that must mirror arguments of the tool that `params` call. A list that cannot be
    /// had is no reason to refuse a call.
    pub(crate) async fn check_parameters(
        self: &Arc<Self>,
        params: &RawValue,
        meta: &ClientMeta,
        check: impl FnOnce(&[ParamHeader]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let Ok(listing) = self.known(Kind::Tools, meta, LIST_LIMIT).await else { return Ok(()) };
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
        self.ttl = self.ttl.min(member(page, "ttlMs").and_then(|ttl| ttl.get().parse().ok()).unwrap_or(0));
        self.public &= member_str(page, "cacheScope").is_some_and(|scope| scope == "public");
        dropped
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
