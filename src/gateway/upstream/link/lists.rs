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

use super::connection::Link;
use super::wire::Wire;
use crate::gateway::error::Fault;
use crate::gateway::relay::{ClientMeta, Era, Outcome, member, member_str, names, raw};
use crate::gateway::upstream::call::headers::{argument_text, encode};
use crate::gateway::upstream::call::request::Call;
use crate::gateway::upstream::call::request::is_unknown_method;
use crate::gateway::upstream::lists::cache::{Fetch, ListCache, Purpose, TOLD, UNTOLD};
use crate::gateway::upstream::lists::kind::Kind;
use crate::gateway::upstream::lists::listing::{ITEMS, Listing, PAGES, ParamHeader};
use crate::gateway::upstream::remarks::Misfit;

/// How long one page of a list may take: nobody waits for so long.
const PAGE_LIMIT: Duration = Duration::from_secs(120);
/// How long a call waits for the list that says which headers it must have.
const LIST_LIMIT: Duration = Duration::from_secs(20);
/// A list that takes longer is late.
const IN_TIME: Duration = Duration::from_secs(5);
/// How long a list is waited for that took long before, where it is known what it was.
const SLOW: Duration = Duration::from_millis(500);

/// The list, remembered or fetched. `meta` is what a modern server must be told about the asking client. Nobody
/// waits longer than `patience`, counted from when the server was asked: one that hangs delays its first asker only. Then
/// the list is taken to be what it was, and clients that were shown it without that are told when it is there. A server that would
/// tell of a change but cannot be asked is taken to have what it had.
pub(crate) async fn get(
    link: &Arc<Link>,
    kind: Kind,
    purpose: Purpose,
    meta: &ClientMeta,
    patience: Duration,
) -> Result<Arc<Listing>, Fault> {
    let cache = &cache_for(link, meta);
    let holds = |listing: &Listing| holds_for(link, kind, purpose, listing);
    if let Some(listing) = cache.get(kind, holds) {
        return Ok(link.seen(kind, listing));
    }
    let (asked, fetch) = { cache.fetch(kind, || begin_fetch(link, Arc::clone(cache), kind, meta.clone())) };
    let limit = if cache.is_slow(kind) { patience.min(SLOW) } else { patience };
    let Ok(fetched) = timeout_at(asked + limit, fetch).await else {
        cache.set_slow(kind, true);
        link.remarks().is_late(link.name(), kind.method(), patience);
        let late = || Fault::upstream(link.name(), "takes too long to list what it offers");
        return cache.instead(kind, purpose).map(|listing| link.seen(kind, listing)).ok_or_else(late);
    };
    let fetched = fetched.or_else(|fault| {
        let stale = cache.get(kind, |_| 2 * TOLD).filter(|_| link.is_told(kind));
        stale.ok_or(fault)
    });
    fetched.map(|listing| link.seen(kind, listing))
}

/// What is remembered for such a client: a modern server is told of its extensions with each request.
fn cache_for(link: &Link, meta: &ClientMeta) -> Arc<ListCache> {
    let said = meta.extensions().filter(|_| link.era() == Era::Modern);
    said.map_or_else(|| Arc::clone(link.cache()), |said| link.cache().of(said))
}

/// How long a list holds.
fn holds_for(link: &Link, kind: Kind, purpose: Purpose, listing: &Listing) -> Duration {
    if link.activity().is_retired() {
        // There is nobody to ask.
        return Duration::MAX;
    }
    let cap = if link.is_told(kind) { TOLD } else { UNTOLD };
    match listing.stated().filter(|_| purpose == Purpose::Showing && link.era() == Era::Modern) {
        Some(stated) => cap.min(Duration::from_millis(stated)),
        None => cap,
    }
}

/// Learns a list that is not remembered or old, without counting as use of the connection.
pub(crate) async fn learn_aside(link: &Link, kind: Kind, patience: Duration) -> Result<(), Fault> {
    if link.cache().get(kind, |listing| holds_for(link, kind, Purpose::Routing, listing)).is_some() {
        return Ok(());
    }
    read_again(link, kind, patience).await
}

/// Reads a list, whatever is remembered of it.
pub(crate) async fn read_again(link: &Link, kind: Kind, patience: Duration) -> Result<(), Fault> {
    let late = |_| Fault::upstream(link.name(), "takes too long to list what it offers");
    timeout(patience, learn(link, link.cache(), kind, &ClientMeta::default())).await.map_err(late)?.map(drop)
}

/// Starts fetching a list.
fn begin_fetch(link: &Arc<Link>, cache: Arc<ListCache>, kind: Kind, meta: ClientMeta) -> Fetch {
    let link = Arc::clone(link);
    let failed = Fault::upstream(link.name(), "could not be asked what it offers");
    let fetch = tokio::spawn(async move { learn(&link, &cache, kind, &meta).await });
    fetch.map(|fetched| fetched.unwrap_or(Err(failed))).boxed().shared()
}

/// Fetches a list and remembers it. Where it differs from what it was and nobody was told so, clients are.
async fn learn(link: &Link, cache: &ListCache, kind: Kind, meta: &ClientMeta) -> Result<Arc<Listing>, Fault> {
    let (changes, asked) = (cache.changes(kind), Instant::now());
    let fetched = fetch(link, kind, meta).await;
    let fetched = fetched.map(|listing| Arc::new(listing.asked_at(asked)));
    if fetched.is_ok() {
        let (time, in_time) = (asked.elapsed(), asked.elapsed() < IN_TIME);
        cache.set_slow(kind, !in_time);
        link.remarks().took(kind.method(), time, in_time);
    }
    if let Ok(listing) = &fetched {
        drop(link.seen(kind, Arc::clone(listing)));
    }
    if cache.remember(kind, changes, fetched.as_ref().ok()) {
        tracing::info!(upstream = %link.name(), method = kind.method(), "clients are told that the list has changed");
        link.tell_found(kind);
    }
    fetched
}

/// Runs `check` with the headers that must mirror arguments of the tool that `params` call, and again with those of the list
/// as it is now where it refuses: what is remembered may be of before a change of which the server has not told. A list that
/// cannot be had is no reason to refuse a call.
pub(crate) async fn check_parameters(
    link: &Arc<Link>,
    params: &RawValue,
    meta: &ClientMeta,
    check: impl Fn(&[ParamHeader]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let Ok(listing) = get(link, Kind::Tools, Purpose::Routing, meta, LIST_LIMIT).await else {
        return Ok(());
    };
    let Err(fault) = check(mirrored(link, &listing, params)) else { return Ok(()) };
    match tools_anew(link, meta).await {
        Ok(listing) => check(mirrored(link, &listing, params)),
        Err(_) => Err(fault),
    }
}

/// The headers that mirror arguments of the tool that `params` call, as a list has it.
fn mirrored<'a>(link: &Link, listing: &'a Listing, params: &RawValue) -> &'a [ParamHeader] {
    let mirrored = listing.mirrored();
    if mirrored.is_empty() {
        return &[];
    }
    let name = member_str(params, "name");
    let found = name.and_then(|name| mirrored.get(link.filters().tools.shown(&name)?));
    found.map_or(&[], Vec::as_slice)
}

/// The list of tools as its server has it now, read once for all who ask meanwhile. Clients are told where it differs.
pub(crate) async fn tools_anew(link: &Arc<Link>, meta: &ClientMeta) -> Result<Arc<Listing>, Fault> {
    let cache = cache_for(link, meta);
    let begin = || begin_fetch(link, Arc::clone(&cache), Kind::Tools, meta.clone());
    let (asked, fetch) = { cache.fetch(Kind::Tools, begin) };
    let late = |_| Fault::upstream(link.name(), "takes too long to list what it offers");
    timeout_at(asked + LIST_LIMIT, fetch).await.map_err(late)?
}

/// Whether calls of tools are told some arguments in headers.
pub(crate) fn mirrors_arguments(link: &Link) -> bool {
    link.era() == Era::Modern && matches!(link.wire(), Wire::Http(_))
}

/// The headers that mirror arguments of the tool that `params` call, for a client that does not know of them.
pub(crate) async fn mirrored_headers(
    link: &Arc<Link>,
    params: &RawValue,
    meta: &ClientMeta,
) -> Vec<(HeaderName, HeaderValue)> {
    if !mirrors_arguments(link) {
        return Vec::new();
    }
    let header = |mirrored: &ParamHeader| {
        let value = encode(&argument_text(mirrored.argument(params)?));
        Some((HeaderName::try_from(mirrored.name.as_str()).ok()?, value))
    };
    match get(link, Kind::Tools, Purpose::Routing, meta, LIST_LIMIT).await {
        Ok(listing) => mirrored(link, &listing, params).iter().filter_map(header).collect(),
        Err(_) => Vec::new(),
    }
}

/// Fetches all pages of a list. A server that offers none has an empty one.
pub(crate) async fn fetch(link: &Link, kind: Kind, meta: &ClientMeta) -> Result<Listing, Fault> {
    let mut listing = Listing::none().mirroring(mirrors_arguments(link));
    if !link.offers(kind) {
        return Ok(listing);
    }
    let (mut cursor, mut weight): (Option<String>, _) = (None, 0);
    for _ in 0..PAGES {
        let params = cursor.as_deref().map(|cursor| raw(&serde_json::json!({ "cursor": cursor })));
        let params = if link.era() == Era::Modern { Some(meta.apply(params)) } else { params };
        let call = Call::new(kind.method(), params, PAGE_LIMIT);
        let page = match link.call_aside(call).await.outcome().await? {
            Outcome::Result(page) => page,
            // Many servers with resources have no templates, and say it like this.
            Outcome::Error(error) if is_unknown_method(&error) => break,
            Outcome::Error(error) => {
                tracing::warn!(upstream = %link.name(), method = kind.method(), error = error.get(), "cannot list");
                return Err(Fault::upstream(link.name(), "refused to list what it offers"));
            }
        };
        weight += page.get().len();
        link.check_names(kind.method(), &page, names::PAGE)?;
        if !member(&page, kind.items()).is_some_and(|items| items.get().starts_with('[')) {
            let why = format!("`{}` is no list", kind.items());
            let misfit = Misfit { item: "the list".to_owned(), why, left_out: true };
            link.remarks().misfits(link.name(), kind.method(), &[misfit]);
        }
        let dropped = listing.add(kind, &page, link.filters());
        if dropped > 0 {
            let method = kind.method();
            tracing::warn!(
                upstream = %link.name(), method, dropped,
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
        tracing::warn!(upstream = %link.name(), method, items, "the list is too long: the rest of it is not shown");
    }
    Ok(listing)
}
