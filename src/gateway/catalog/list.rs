//! Merging the lists of several upstreams, page by page.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::super::error::Fault;
use super::super::relay::{ClientMeta, Era, Raw, member_str, raw_string};
use super::super::upstream::{Kind, Link, Listing, Purpose, Upstream, renamed};
use super::cursor::Cursor;
use super::scope::{Links, Scope};

/// How long one upstream may keep a merged list waiting: a person or a model waits for the others'.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The most items of one page.
const PAGE_ITEMS: usize = 1000;
/// As soon as a page has so many bytes, it ends.
const PAGE_BYTES: usize = 1 << 20;

/// The lists that can be had, each beside the place of its upstream in the endpoint's order.
type Present<'a> = [(usize, &'a Arc<Upstream>, Arc<Listing>)];

/// One upstream's list, if it can be had soon.
pub(crate) async fn listing(
    links: &impl Links,
    upstream: &Arc<Upstream>,
    kind: Kind,
    purpose: Purpose,
    meta: &ClientMeta,
) -> Result<Arc<Listing>, Fault> {
    soon(links, upstream).await?.known(kind, purpose, meta, PATIENCE).await
}

/// The connection to an upstream, if it can be had soon; opening it goes on where it takes longer. One that sleeps is not
/// woken: its last connection knows what it has.
pub(crate) async fn soon(links: &impl Links, upstream: &Arc<Upstream>) -> Result<Arc<Link>, Fault> {
    if let Some(asleep) = upstream.asleep() {
        return Ok(asleep);
    }
    let patience = if upstream.is_failing() { Duration::from_millis(500) } else { PATIENCE };
    let late = |_| Fault::upstream(&upstream.name(), "is still starting; try again soon");
    timeout(patience, links.link(upstream)).await.map_err(late)?
}

/// A page of the merged list as a result: the first, or the one that the request's cursor names. An upstream that cannot be
/// asked is left out: it never blanks the others' lists.
pub(crate) async fn merged(
    scope: &Scope,
    links: &impl Links,
    kind: Kind,
    meta: &ClientMeta,
    era: Era,
    params: Option<&RawValue>,
) -> Result<Raw, Fault> {
    let cursor = Cursor::of(params, scope)?;
    let listings = join_all(scope.upstreams().iter().map(|upstream| async move {
        let listing = listing(links, upstream, kind, Purpose::Showing, meta).await;
        listing
            .inspect_err(|fault| tracing::debug!(fault = fault.message, ?kind, "left out of a merged list"))
            .ok()
    }))
    .await;
    let complete = listings.iter().all(Option::is_some);
    let each = scope.upstreams().iter().zip(listings).enumerate();
    let present: Vec<_> = each.filter_map(|(place, (upstream, it))| Some((place, upstream, it?))).collect();
    let start = cursor.map_or((0, 0), |cursor| {
        let listing = present.iter().find(|(place, ..)| *place == cursor.upstream);
        (cursor.upstream, listing.map_or(0, |(.., listing)| cursor.next(listing, kind)))
    });
    let mut text = page(scope, kind, start, &present);
    if era == Era::Modern {
        hints(&mut text, complete, &present);
    }
    text.push('}');
    Ok(RawValue::from_string(text).expect("items of valid JSON make valid JSON"))
}

/// Writes the page that begins with this item of this upstream, without the brace that ends it.
fn page(scope: &Scope, kind: Kind, start: (usize, usize), present: &Present<'_>) -> String {
    let mut text = format!("{{\"{}\":[", kind.items());
    let begin = text.len();
    let (mut seen, mut count, mut last, mut next) = (HashSet::new(), 0, None, None);
    let items = present.iter().flat_map(|(place, upstream, listing)| {
        listing.items.iter().enumerate().map(move |(index, item)| ((*place, index), *upstream, item))
    });
    for (place, upstream, item) in items {
        let Some(shown) = shown(scope, upstream, kind, item, &mut seen) else { continue };
        if place < start {
            continue;
        }
        if count == PAGE_ITEMS || text.len() - begin >= PAGE_BYTES {
            next = last;
            break;
        }
        if count > 0 {
            text.push(',');
        }
        text.push_str(shown.get());
        (count, last) = (count + 1, Some((place.1, upstream, item)));
    }
    text.push(']');
    if let Some((index, upstream, item)) = next {
        let cursor = Cursor::after(upstream.name(), index, &member_str(item, kind.key()).unwrap_or_default());
        write!(text, r#","nextCursor":{}"#, raw_string(&cursor).get())
            .expect("writing to a string cannot fail");
    }
    text
}

/// Adds what a modern client is told about caching.
fn hints(text: &mut String, complete: bool, present: &Present<'_>) {
    let ttl =
        if complete { present.iter().map(|(.., listing)| listing.ttl_left()).min().unwrap_or(0) } else { 0 };
    let ttl = if ttl == u64::MAX { 0 } else { ttl };
    let public = present.iter().all(|(.., listing)| listing.public);
    let scope = if public { "public" } else { "private" };
    write!(text, r#","resultType":"complete","ttlMs":{ttl},"cacheScope":"{scope}""#)
        .expect("writing to a string cannot fail");
}

/// An item as the endpoint shows it; `None` where an earlier upstream has the same name or address.
fn shown(
    scope: &Scope,
    upstream: &Upstream,
    kind: Kind,
    item: &RawValue,
    seen: &mut HashSet<String>,
) -> Option<Raw> {
    let renames = matches!(kind, Kind::Tools | Kind::Prompts);
    let name = member_str(item, kind.key())?;
    let shown = if renames { scope.shown(upstream, &name) } else { name.clone().into_owned() };
    let item = if renames && shown != name { renamed(item, &shown) } else { item.to_owned() };
    seen.insert(shown).then_some(item)
}
