//! Merging the lists of several upstreams into one page.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::super::error::Fault;
use super::super::relay::{ClientMeta, Era, Raw, code, member, member_str};
use super::super::upstream::{Kind, Link, Listing, Upstream, renamed};
use super::scope::{Links, Scope};

/// How long one upstream may keep a merged list waiting: a person or a model waits for the others'.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// One upstream's list, if it can be had soon.
pub(crate) async fn listing(
    links: &impl Links,
    upstream: &Arc<Upstream>,
    kind: Kind,
    meta: &ClientMeta,
) -> Result<Arc<Listing>, Fault> {
    soon(links, upstream).await?.known(kind, meta, PATIENCE).await
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

/// The merged list as a result. An upstream that cannot be asked is left out: it never blanks the others' lists.
/// A cursor is refused (MCP §Pagination, "Error Handling").
pub(crate) async fn merged(
    scope: &Scope,
    links: &impl Links,
    kind: Kind,
    meta: &ClientMeta,
    era: Era,
    params: Option<&RawValue>,
) -> Result<Raw, Fault> {
    // A merged list has one page, which names no other: the cursor is from a time when one upstream's pages were passed on.
    if params.is_some_and(|params| member(params, "cursor").is_some_and(|cursor| cursor.get() != "null")) {
        let message = "the cursor leads nowhere; list from the beginning, without one";
        return Err(Fault::downstream(code::INVALID_PARAMS, StatusCode::OK, message));
    }
    let listings = join_all(scope.upstreams().iter().map(|upstream| async move {
        let listing = listing(links, upstream, kind, meta).await;
        listing
            .inspect_err(|fault| tracing::debug!(fault = fault.message, ?kind, "left out of a merged list"))
            .ok()
    }))
    .await;
    let complete = listings.iter().all(Option::is_some);
    let present =
        scope.upstreams().iter().zip(listings).filter_map(|(upstream, listing)| Some((upstream, listing?)));
    Ok(assemble(scope, kind, era, complete, &present.collect::<Vec<_>>()))
}

/// Writes the result's text.
fn assemble(
    scope: &Scope,
    kind: Kind,
    era: Era,
    complete: bool,
    present: &[(&Arc<Upstream>, Arc<Listing>)],
) -> Raw {
    let mut text = format!("{{\"{}\":[", kind.items());
    let mut seen = HashSet::new();
    let mut first = true;
    for (upstream, listing) in present {
        for item in &listing.items {
            let Some(item) = shown(scope, upstream, kind, item, &mut seen) else { continue };
            if !std::mem::take(&mut first) {
                text.push(',');
            }
            text.push_str(item.get());
        }
    }
    text.push(']');
    if era == Era::Modern {
        let ttl =
            if complete { present.iter().map(|(_, listing)| listing.ttl).min().unwrap_or(0) } else { 0 };
        let ttl = if ttl == u64::MAX { 0 } else { ttl };
        let public = present.iter().all(|(_, listing)| listing.public);
        let scope = if public { "public" } else { "private" };
        write!(text, r#","resultType":"complete","ttlMs":{ttl},"cacheScope":"{scope}""#)
            .expect("writing to a string cannot fail");
    }
    text.push('}');
    RawValue::from_string(text).expect("items of valid JSON make valid JSON")
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
