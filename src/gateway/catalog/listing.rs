//! Merging the lists of several upstreams, page by page.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::value::RawValue;

use super::answered::sifted;
use super::apart::Addressed;
use super::connection_source::{ConnectionSource, PATIENCE};
use super::cursor::Cursor;
use super::endpoint_view::EndpointView;
use super::one_list::listing;
use crate::config::{Filters, LONGEST_TOOL_NAME};
use crate::gateway::error::{Error, Fault};
use crate::gateway::relay::{ClientMeta, Era, Raw, member, member_str, raw_string};
use crate::gateway::upstream::{Fitted, Kind, Listing, Misfit, Purpose, Upstream, list, renamed};

/// The most items of one page.
const PAGE_ITEMS: usize = 1000;
/// As soon as a page has so many bytes, it ends.
const PAGE_BYTES: usize = 1 << 20;

/// The most characters of a tool's name (MCP 2026-07-28 §Tools, "Tool Names"): clients may refuse a list with a longer one.
const LONGEST_NAME: usize = 128;

/// The lists that can be had, each beside the place of its upstream in the endpoint's order.
type Present<'a> = [(usize, &'a Arc<Upstream>, Arc<Listing>)];

/// A page of the merged list as a result: the first, or the one that the request's cursor names. An upstream that cannot be
/// asked is left out: it never blanks the others' lists.
pub(crate) async fn merged(
    view: &EndpointView,
    source: &impl ConnectionSource,
    kind: Kind,
    meta: &ClientMeta,
    era: Era,
    params: Option<&RawValue>,
) -> Result<Raw, Fault> {
    let cursor = Cursor::of(params, view, kind)?;
    let listings = join_all(view.upstreams().iter().map(|upstream| async move {
        let listing = listing(source, upstream, kind, Purpose::Showing, meta).await;
        listing
            .inspect_err(|fault| tracing::debug!(fault = fault.message, ?kind, "left out of a merged list"))
            .ok()
    }))
    .await;
    let unknown =
        || view.upstreams().iter().all(|upstream| !upstream.present().is_some_and(|link| link.offers(kind)));
    if kind == Kind::Skills && unknown() {
        // It is a method of an extension that nobody has.
        return Err(Fault::method_not_found(kind.method()));
    }
    let addressed = Addressed::beside(view, source, kind, meta, &listings).await;
    let complete = listings.iter().all(Option::is_some);
    let each = view.upstreams().iter().zip(listings).enumerate();
    let present: Vec<_> = each.filter_map(|(place, (upstream, it))| Some((place, upstream, it?))).collect();
    let start = cursor.map_or((0, 0), |cursor| {
        let listing = present.iter().find(|(place, ..)| *place == cursor.upstream());
        (cursor.upstream(), listing.map_or(0, |(.., listing)| cursor.next(listing, kind)))
    });
    let mut text = page((view, &addressed), kind, (era, start), &present);
    // The extension is of the modern era, whose lists have these, whichever the client speaks.
    if era == Era::Modern || kind == Kind::Skills {
        hints(&mut text, (complete, view.differs()), &present);
    }
    text.push('}');
    Ok(RawValue::from_string(text).expect("items of valid JSON make valid JSON"))
}

/// A list that passes to a client as its server wrote it, if that is all of it: the first page, without another one.
pub(crate) fn passed(kind: Kind, params: Option<&RawValue>, result: &RawValue) -> Option<Arc<Listing>> {
    let is_whole = params.is_none_or(|params| member(params, "cursor").is_none())
        && member(result, "nextCursor").is_none();
    is_whole.then(|| {
        let mut listing = Listing::none();
        listing.add(kind, result, &Filters::default());
        Arc::new(listing)
    })
}

/// Refuses to start where two upstreams offer the same name and nothing tells them apart.
pub(crate) async fn check_clashes(view: &EndpointView) -> Result<(), Error> {
    if !view.by_lookup() || view.upstreams().len() < 2 {
        return Ok(());
    }
    for (kind, word) in [(Kind::Tools, "tool"), (Kind::Prompts, "prompt")] {
        let mut owners: HashMap<String, &str> = HashMap::new();
        for upstream in view.upstreams() {
            let Some(link) = upstream.ready() else { continue };
            let Ok(listing) = list(&link, kind, Purpose::Routing, &ClientMeta::default(), PATIENCE).await
            else {
                continue;
            };
            for name in listing.items.iter().filter_map(|item| member_str(item, "name")) {
                if let Some(first) = owners.insert(name.clone().into_owned(), upstream.name())
                    && first != upstream.name()
                {
                    return Err(Error::NameClash {
                        kind: word,
                        name: name.into_owned(),
                        first: first.to_owned(),
                        second: upstream.name().to_owned(),
                    });
                }
            }
        }
    }
    Ok(())
}

/// Writes the page that begins with this item of this upstream, without the brace that ends it.
fn page(
    (view, addressed): (&EndpointView, &Addressed<'_>),
    kind: Kind,
    (era, start): (Era, (usize, usize)),
    present: &Present<'_>,
) -> String {
    let mut text = format!("{{\"{}\":[", kind.items());
    let begin = text.len();
    let (mut seen, mut count, mut last, mut next) = (HashSet::new(), 0, None, None);
    let items = present.iter().flat_map(|(place, upstream, listing)| {
        let fitted = fitted(view, upstream, kind, era, listing);
        let items = listing.items.iter().enumerate().filter_map(move |(index, item)| {
            Some((index, fitted.map_or(Some(item), |fitted| fitted.item(index, item))?))
        });
        items.map(move |(index, item)| ((*place, index), *upstream, item))
    });
    for (place, upstream, item) in items {
        // A skill names what is in its directory.
        let left = (kind == Kind::Skills).then(|| sifted(upstream, view.rights(), item)).flatten();
        let entry = left.as_deref().unwrap_or(item);
        let changed = addressed.item(place.0, kind, entry);
        let item_shown = changed.as_deref().unwrap_or(entry);
        let Some(shown) = shown((view, kind), upstream, (item, item_shown), &mut seen) else { continue };
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
        let cursor =
            Cursor::after(kind, upstream.name(), index, &member_str(item, kind.key()).unwrap_or_default());
        write!(text, r#","nextCursor":{}"#, raw_string(&cursor).get())
            .expect("writing to a string cannot fail");
    }
    text
}

/// What of an upstream's list does not fit the specification, where the gateway answers for it: the endpoint of one upstream
/// shows what that says. Faults are remarked when a list is looked at for the first time, as are names that are too long.
fn fitted<'a>(
    view: &EndpointView,
    upstream: &Upstream,
    kind: Kind,
    era: Era,
    listing: &'a Listing,
) -> Option<&'a Fitted> {
    if view.is_single() {
        return None;
    }
    let (connector, method) = (upstream.connector(), kind.method());
    let (name, remarks) = (connector.name(), connector.remarks());
    Some(listing.fitted(kind, era, |misfits| {
        if kind != Kind::Tools {
            return remarks.misfits(name, method, misfits);
        }
        let names = listing.items.iter().filter_map(|item| member_str(item, "name"));
        let names = names.map(|name| (view.shown(upstream, &name), name.into_owned()));
        let long = names.filter(|(shown, _)| shown.chars().count() > LONGEST_TOOL_NAME);
        let (out, long): (Vec<_>, Vec<_>) = long.partition(|(shown, _)| is_too_long(kind, shown));
        let out = out.into_iter().map(|(shown, item)| Misfit {
            item,
            why: format!(
                "`{shown}` has more than {LONGEST_NAME} characters; `tools.rename` gives it a shorter name"
            ),
            left_out: true,
        });
        remarks.misfits(name, method, &misfits.iter().cloned().chain(out).collect::<Vec<_>>());
        remarks.long_names(name, method, &long);
    }))
}

/// Whether a shown name is longer than the specification has it.
fn is_too_long(kind: Kind, shown: &str) -> bool {
    kind == Kind::Tools && shown.len() > LONGEST_NAME && shown.chars().count() > LONGEST_NAME
}

/// Adds what a modern client is told about caching.
fn hints(text: &mut String, (complete, differs): (bool, bool), present: &Present<'_>) {
    let ttl =
        if complete { present.iter().map(|(.., listing)| listing.ttl_left()).min().unwrap_or(0) } else { 0 };
    let ttl = if ttl == u64::MAX { 0 } else { ttl };
    let public = !differs && present.iter().all(|(.., listing)| listing.public);
    let shared = if public { "public" } else { "private" };
    write!(text, r#","resultType":"complete","ttlMs":{ttl},"cacheScope":"{shared}""#)
        .expect("writing to a string cannot fail");
}

/// An item as the endpoint shows it, which has its addresses told apart; `None` where it may not be there, an earlier upstream
/// has the same name or address, or the name is too long.
fn shown(
    (view, kind): (&EndpointView, Kind),
    upstream: &Upstream,
    (listed, item): (&RawValue, &RawValue),
    seen: &mut HashSet<String>,
) -> Option<Raw> {
    let renames = matches!(kind, Kind::Tools | Kind::Prompts);
    let name = member_str(item, kind.key())?;
    let shown = if renames { view.shown(upstream, &name) } else { name.clone().into_owned() };
    let may =
        if renames { view.admits(kind, &shown) } else { view.admits(kind, &member_str(listed, kind.key())?) };
    if is_too_long(kind, &shown) || !may {
        return None;
    }
    let item = if renames && shown != name { renamed(item, &shown) } else { item.to_owned() };
    seen.insert(shown).then_some(item)
}
