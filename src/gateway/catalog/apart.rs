//! Addresses that several upstreams have for different things: clients are shown each under its upstream's name.
//!
//! `ui://chart` of the upstream `web` becomes `ui://mcpeg.web/chart`, where another upstream has a page of that address. The
//! same holds for skills (SEP-2640), each with all that is in its directory: relative references within it keep their
//! meaning. Only addresses change, and only those that more than one upstream has. What servers write in texts, pages and
//! files passes as it is, and with it the addresses there.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::value::RawValue;

use super::connection_source::ConnectionSource;
use super::endpoint_view::EndpointView;
use super::one_list::listing;
use crate::gateway::relay::{
    ClientMeta, Raw, array_items, member, member_str, raw_string, set_member, set_path,
};
use crate::gateway::upstream::{Kind, Listing, PAGE_KEYS, PAGE_SCHEME, Purpose, Upstream, page};

/// What the name of an upstream has before it in an address, so that it is no server's own.
const MARK: &str = "mcpeg.";

/// An address under the name of its upstream; `None` if it has no place for one.
pub(super) fn apart(upstream: &Upstream, uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once("://")?;
    Some(format!("{scheme}://{MARK}{}/{rest}", upstream.name()))
}

/// The upstream in whose name an address is, and the address that it knows.
pub(super) fn original<'v>(view: &'v EndpointView, uri: &str) -> Option<(&'v Arc<Upstream>, String)> {
    if view.lone().is_some() {
        return None;
    }
    let (scheme, rest) = uri.split_once("://")?;
    let (name, rest) = rest.strip_prefix(MARK)?.split_once('/')?;
    Some((view.named(name)?, format!("{scheme}://{rest}")))
}

/// What the upstreams of an endpoint have under which addresses.
pub(super) struct Addressed<'v> {
    /// The endpoint.
    view: &'v EndpointView,
    /// Lists of each upstream that have such addresses, in the order of the endpoint.
    lists: Vec<Vec<(Kind, Arc<Listing>)>>,
}

impl<'v> Addressed<'v> {
    /// What is needed to show these lists of one kind, one of each upstream that has it.
    pub(super) async fn beside(
        view: &'v EndpointView,
        source: &impl ConnectionSource,
        kind: Kind,
        meta: &ClientMeta,
        shown: &[Option<Arc<Listing>>],
    ) -> Self {
        let pages = shown.iter().flatten().any(|listing| listing.addresses(kind).has_pages());
        let others: &[Kind] = match kind {
            Kind::Tools if pages => &[Kind::Resources],
            Kind::Resources if pages => &[Kind::Tools, Kind::Skills],
            Kind::Resources => &[Kind::Skills],
            Kind::Skills => &[Kind::Resources],
            Kind::Tools | Kind::Prompts | Kind::Templates => &[],
        };
        let others = if view.lone().is_some() { &[] } else { others };
        let mut addressed = Self::of(view, source, others, meta).await;
        for (lists, shown) in addressed.lists.iter_mut().zip(shown) {
            lists.extend(shown.clone().map(|shown| (kind, shown)));
        }
        addressed
    }

    /// What the upstreams list of these kinds, as far as they can be asked.
    pub(super) async fn of(
        view: &'v EndpointView,
        source: &impl ConnectionSource,
        kinds: &[Kind],
        meta: &ClientMeta,
    ) -> Self {
        let lists = view.upstreams().iter().map(|upstream| {
            let each = kinds.iter().map(move |kind| async move {
                Some((*kind, listing(source, upstream, *kind, Purpose::Routing, meta).await.ok()?))
            });
            async { join_all(each).await.into_iter().flatten().collect() }
        });
        Self { view, lists: join_all(lists).await }
    }

    /// Whether the upstream at this place has this address: it lists it, or what it is part of.
    pub(super) fn has(&self, place: usize, uri: &str) -> bool {
        self.lists[place].iter().any(|(kind, listing)| {
            let known = listing.addresses(*kind);
            *kind == Kind::Resources && listing.has(Kind::Resources, uri)
                || known.has_page(uri)
                || known.skill_around(uri).is_some()
        })
    }

    /// Whether the address is told apart from that of another upstream.
    pub(super) fn is_apart(&self, place: usize, uri: &str) -> bool {
        // One that looks as if it were told apart would be taken for another upstream's.
        original(self.view, uri).is_some() || self.has_twin(place, uri)
    }

    /// Whether another upstream has a page or a skill where this one has one.
    fn has_twin(&self, place: usize, uri: &str) -> bool {
        let skill = |lists: &[(Kind, Arc<Listing>)], uri: &str| {
            lists
                .iter()
                .find_map(|(kind, listing)| listing.addresses(*kind).skill_around(uri).map(str::to_owned))
        };
        let own = skill(&self.lists[place], uri);
        let is_page = uri.starts_with(PAGE_SCHEME);
        self.lists.iter().enumerate().filter(|(other, _)| *other != place).any(|(_, lists)| {
            is_page && lists.iter().any(|(kind, listing)| listing.addresses(*kind).has_page(uri))
                || own.as_deref().is_some_and(|own| skill(lists, own).is_some())
        })
    }

    /// An item of a list with its addresses told apart; `None` if they need not be.
    pub(super) fn item(&self, place: usize, kind: Kind, item: &RawValue) -> Option<Raw> {
        let upstream = &self.view.upstreams()[place];
        if !matches!(kind, Kind::Tools | Kind::Resources | Kind::Skills) {
            return None;
        }
        if kind == Kind::Tools {
            // Most tools have no page.
            if !self.lists[place].iter().any(|(kind, listing)| listing.addresses(*kind).has_pages()) {
                return None;
            }
            return tool_apart(item, |uri| self.is_apart(place, uri).then(|| apart(upstream, uri)).flatten());
        }
        let uri = member_str(item, "uri")?;
        self.is_apart(place, &uri).then(|| entry_apart(upstream, item)).flatten()
    }
}

/// A tool with the addresses of its page changed; `None` if none is.
fn tool_apart(tool: &RawValue, change: impl Fn(&str) -> Option<String>) -> Option<Raw> {
    let mut changed = None;
    for path in PAGE_KEYS {
        let tool = changed.as_deref().unwrap_or(tool);
        if let Some(uri) = page(tool, path).and_then(|uri| change(&uri)) {
            changed = set_path(tool, path, raw_string(&uri).get());
        }
    }
    changed
}

/// A resource or a skill with its addresses under the upstream's name.
fn entry_apart(upstream: &Upstream, entry: &RawValue) -> Option<Raw> {
    let uri = apart(upstream, &member_str(entry, "uri")?)?;
    let entry = set_member(entry, "uri", raw_string(&uri).get())?;
    Some(each_apart(upstream, &entry, "resources").unwrap_or(entry))
}

/// An object with the addresses of the items of a list in it under the upstream's name; `None` if there is no such list.
fn each_apart(upstream: &Upstream, holder: &RawValue, list: &str) -> Option<Raw> {
    let items = member(holder, list).and_then(array_items)?;
    let items = items.into_iter().map(|item| entry_apart(upstream, item).unwrap_or_else(|| item.to_owned()));
    let items: Vec<_> = items.collect();
    let texts: Vec<_> = items.iter().map(|item| item.get()).collect();
    set_member(holder, list, &format!("[{}]", texts.join(",")))
}

/// The answer to a request about an address that was told apart, with its addresses told apart, too.
pub(super) fn answer_apart(upstream: &Upstream, result: Raw) -> Raw {
    let skill = member(&result, "skill").and_then(|skill| entry_apart(upstream, skill));
    let changed = skill.and_then(|skill| set_member(&result, "skill", skill.get()));
    let changed = changed.or_else(|| each_apart(upstream, &result, "resources"));
    changed.or_else(|| each_apart(upstream, &result, "contents")).unwrap_or(result)
}
