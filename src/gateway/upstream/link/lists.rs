//! Reading the lists of one connection: what is remembered of them is in its [`ListCache`](crate::gateway::upstream::lists).
//!
//! A list is fetched once for all who wait for it, by a task of its own: a waiter that gives up does not undo the work,
//! so a slow list is there for the next one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout, timeout_at};

use super::connection::{Link, Wire};
use crate::gateway::error::Fault;
use crate::gateway::relay::{ClientMeta, Era, Notification, Outcome, member, member_str, names, raw};
use crate::gateway::upstream::call::headers::{argument_text, encode};
use crate::gateway::upstream::call::request::Call;
use crate::gateway::upstream::call::request::is_unknown_method;
use crate::gateway::upstream::lists::cache::{Fetch, Purpose, TOLD, UNTOLD};
use crate::gateway::upstream::lists::kind::Kind;
use crate::gateway::upstream::lists::listing::{ITEMS, Listing, PAGES, ParamHeader};

/// How long one page of a list may take.
const LIST_LIMIT: Duration = Duration::from_secs(20);

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
        let (asked, fetch) = { self.known.fetch(kind, || self.begin_fetch(kind, meta.clone())) };
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
        match listing.stated().filter(|_| purpose == Purpose::Showing && self.era == Era::Modern) {
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
    pub(crate) async fn read_again(&self, kind: Kind, patience: Duration) -> Result<(), Fault> {
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
        let (changes, asked) = (self.known.changes(kind), Instant::now());
        let fetched = self.fetch(kind, meta).await;
        let fetched = fetched.map(|listing| Arc::new(listing.asked_at(asked)));
        if self.known.remember(kind, changes, fetched.as_ref().ok()) {
            tracing::info!(upstream = %self.name, method = kind.method(), "the list has changed without a word");
            self.tell_found(kind);
        }
        fetched
    }

    /// Tells clients that a list has changed of which the server has not told.
    pub(crate) fn tell_found(&self, kind: Kind) {
        let method = kind.change();
        self.inbox.tell_found(Notification { method: method.to_owned(), params: None });
    }

    /// Whether the server says when the list has changed, if it can.
    pub(crate) fn tells_changes(&self, kind: Kind) -> bool {
        member(&self.handshake.capabilities, kind.capability())
            .and_then(|capability| member(capability, "listChanged"))
            .is_some_and(|told| told.get() == "true")
    }

    /// Whether a change of the list would be told now: a stream is open for it. The pipes of a legacy server are one.
    pub(crate) fn is_told(&self, kind: Kind) -> bool {
        self.tells_changes(kind)
            && match (&self.wire, self.era) {
                (Wire::Stdio { connection, .. }, Era::Legacy) => !connection.flow().is_lent(),
                _ => self.known.is_streamed(kind),
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
        let mirrored = listing.mirrored();
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
        let mut listing = Listing::none();
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
