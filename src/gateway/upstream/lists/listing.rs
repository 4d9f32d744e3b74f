//! One complete list as its server wrote it, and what is found in it: names, and arguments that are mirrored in headers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fieldwork::Fieldwork;
use parking_lot::Mutex;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::addresses::Addresses;
use super::annotations;
use super::kind::Kind;
use crate::config::Filters;
use crate::gateway::relay::{
    Era, Object, Raw, array_items, member, member_str, mend, names, names::Strictness, raw_string, set_member,
};
use crate::gateway::upstream::call::headers::PARAM;
use crate::gateway::upstream::remarks::Misfit;

/// Pages of one list that are fetched at most: a server that hands out cursors for ever must end somewhere.
pub(crate) const PAGES: usize = 1000;
/// The pages of one list together, in bytes; more are not asked for.
pub(crate) const ITEMS: usize = 64 << 20;
/// How deep in a schema annotations are looked for: no sane one nests as deep, and the stack is finite.
const DEPTH: usize = 16;

/// A complete list: its items as the server wrote them.
#[derive(Clone, Debug, Default, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(crate)")]
pub(crate) struct Listing {
    /// The items.
    pub(crate) items: Vec<Raw>,
    /// The shortest `ttlMs` of its pages; none for one that has nothing to say.
    pub(crate) ttl: u64,
    /// The same, where pages without it say nothing.
    #[field(get)]
    stated: Option<u64>,
    /// When it was asked for.
    #[field(get(copy))]
    asked: Option<Instant>,
    /// Whether every page may be shared between users.
    pub(crate) public: bool,
    /// Set when its server may have another one.
    forgotten: OnceLock<()>,
    /// Which arguments of which tools are mirrored in headers; made when first needed.
    mirrored: OnceLock<HashMap<String, Vec<ParamHeader>>>,
    /// The names or addresses of the items; made when first needed.
    names: OnceLock<HashSet<Box<str>>>,
    /// Pages and skills among the items; made when first needed.
    addresses: OnceLock<Addresses>,
    /// Whether calls of its tools mirror arguments in headers on their way to the server.
    mirrors: bool,
    /// A digest of what clients can see of it; made when first needed.
    digest: OnceLock<String>,
    /// What of it does not fit the specification, for clients of each era; made when first needed.
    fitted: [OnceLock<Fitted>; 2],
    /// What is left of it where tools are withheld.
    sifted: Sifted,
}

/// What is left of a list where tools are withheld, and by which state of the pins that was found; nothing where all is left.
#[derive(Debug, Default)]
struct Sifted(Mutex<Option<(u64, Option<Arc<Listing>>)>>);

impl Clone for Sifted {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// What of a list does not fit the specification, as clients of one era read it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fitted {
    /// What becomes of items at these places: they are mended, or left out.
    changed: HashMap<usize, Option<Raw>>,
    /// What is wrong.
    misfits: Vec<Misfit>,
}

impl Fitted {
    /// The item at a place, as it fits; `None` if it is left out.
    pub(crate) fn item<'a>(&'a self, place: usize, item: &'a Raw) -> Option<&'a Raw> {
        match self.changed.get(&place) {
            None => Some(item),
            Some(changed) => changed.as_ref(),
        }
    }
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

    /// Whether the path to the argument has a member twice, so that the server may read another one than the header says.
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

impl Listing {
    /// One of which no page was read.
    pub(crate) fn none() -> Self {
        Self { ttl: u64::MAX, public: true, ..Self::default() }
    }

    /// Adds what of one page is shown, under the names that are shown. An item of which a client could read another name
    /// than the gateway is left out; how many there are is returned.
    pub(crate) fn add(&mut self, kind: Kind, page: &RawValue, selections: &Filters) -> usize {
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
        let stated = member(page, "ttlMs").and_then(|ttl| milliseconds(ttl.get()));
        self.ttl = self.ttl.min(stated.unwrap_or(0));
        self.stated = self.stated.into_iter().chain(stated).min();
        self.public &= member_str(page, "cacheScope").is_some_and(|scope| scope == "public");
        dropped
    }

    /// What was found to be left of it where tools are withheld, and by which state of the pins.
    pub(crate) fn sifted(&self) -> Option<(u64, Option<Arc<Self>>)> {
        let found = self.sifted.0.lock().clone();
        if let Some((_, Some(sifted))) = &found
            && self.forgotten.get().is_some()
        {
            sifted.forget();
        }
        found
    }

    /// Notes what is left of it.
    pub(crate) fn set_sifted(&self, found: (u64, Option<Arc<Self>>)) {
        *self.sifted.0.lock() = Some(found);
    }

    /// The same without the items of these names.
    pub(crate) fn without(&self, hides: impl Fn(&str) -> bool) -> Self {
        let stays = |item: &&Raw| !member_str(item, "name").is_some_and(|name| hides(&name));
        let items = self.items.iter().filter(stays).cloned().collect();
        let Self { ttl, stated, asked, public, mirrors, .. } = *self;
        let forgotten = self.forgotten.clone();
        Self { items, ttl, stated, asked, public, forgotten, mirrors, ..Self::default() }
    }

    /// How long ago it was asked for.
    pub(crate) fn age(&self) -> Duration {
        self.asked.map_or(Duration::ZERO, |asked| asked.elapsed())
    }

    /// Notes that its server may have another one by now: nobody is to go on using it.
    pub(crate) fn forget(&self) {
        let _ = self.forgotten.set(());
    }

    /// What is left of its `ttlMs`; nothing of one that was forgotten, and is shown while a newer one takes its time.
    pub(crate) fn ttl_left(&self) -> u64 {
        if self.ttl == u64::MAX {
            return self.ttl;
        }
        if self.forgotten.get().is_some() {
            return 0;
        }
        self.ttl.saturating_sub(u64::try_from(self.age().as_millis()).unwrap_or(u64::MAX))
    }

    /// Whether clients can see no difference between this and another one: neither the order of items nor that of members
    /// counts, which some servers change from answer to answer.
    pub(crate) fn is_the_same_as(&self, other: &Self, kind: Kind) -> bool {
        let equal = |(one, other): (&Raw, &Raw)| one.get() == other.get();
        if self.items.len() != other.items.len() {
            return false;
        }
        if self.items.iter().zip(&other.items).all(equal) {
            return true;
        }
        self.by_name(kind) == other.by_name(kind)
    }

    /// The items by their names, as far as they can be read.
    fn by_name(&self, kind: Kind) -> BTreeMap<String, Value> {
        let item = |item: &Raw| {
            let name = member_str(item, kind.key()).map(std::borrow::Cow::into_owned);
            Some((name.unwrap_or_default(), serde_json::from_str(item.get()).ok()?))
        };
        self.items.iter().filter_map(item).collect()
    }

    /// A digest that two lists have in common where clients can see no difference between them, in this process or another.
    pub(crate) fn digest(&self, kind: Kind) -> &str {
        self.digest.get_or_init(|| {
            // The members of an object are sorted, too, as `Value` has them.
            let text = serde_json::to_vec(&self.by_name(kind)).expect("keys are strings");
            BASE64_STANDARD.encode(Sha256::digest(text))
        })
    }

    /// The same list, asked for at this moment.
    pub(crate) fn asked_at(self, asked: Instant) -> Self {
        Self { asked: Some(asked), ..self }
    }

    /// The same list, of a server that is told arguments in headers where it wants that.
    pub(crate) fn mirroring(self, mirrors: bool) -> Self {
        Self { mirrors, ..self }
    }

    /// The arguments that are mirrored in headers, by tool.
    pub(crate) fn mirrored(&self) -> &HashMap<String, Vec<ParamHeader>> {
        self.mirrored.get_or_init(|| self.find_mirrored())
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

    /// What of it does not fit the specification. `tell` is called with that when it is looked for, once for each era.
    pub(crate) fn fitted(&self, kind: Kind, era: Era, tell: impl FnOnce(&[Misfit])) -> &Fitted {
        let fitted = &self.fitted[usize::from(era == Era::Modern)];
        fitted.get_or_init(|| {
            let fitted = self.fit(kind, era);
            tell(&fitted.misfits);
            fitted
        })
    }

    /// Looks for what does not fit.
    fn fit(&self, kind: Kind, era: Era) -> Fitted {
        let (shape, mut fitted) = (kind.part().shape(era), Fitted::default());
        // Legacy clients know of no such headers, and servers over pipes get none.
        let mirrors = kind == Kind::Tools && (self.mirrors || era == Era::Modern);
        for (place, item) in self.items.iter().enumerate() {
            let wrong = if mirrors { annotations::fault(item) } else { None };
            let (changed, why) = match wrong.map_or_else(|| mend(item, shape), Err) {
                Ok(None) => continue,
                Ok(Some(mended)) => (Some(mended.json), mended.why),
                Err(why) => (None, why),
            };
            let name = member_str(item, kind.key()).or_else(|| member_str(item, "name"));
            let item = name.map_or_else(|| format!("number {}", place + 1), std::borrow::Cow::into_owned);
            fitted.misfits.push(Misfit { item, why, left_out: changed.is_none() });
            fitted.changed.insert(place, changed);
        }
        fitted
    }

    /// Pages and skills among the items.
    pub(crate) fn addresses(&self, kind: Kind) -> &Addresses {
        self.addresses.get_or_init(|| Addresses::of(kind, &self.items))
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

/// A time in milliseconds, however the number is written; a negative one is none at all (MCP 2026-07-28 §Caching, "Time-to-Live
/// (TTL) Field"). `u64::MAX` is nobody's.
fn milliseconds(json: &str) -> Option<u64> {
    let whole: Option<u64> = json.parse().ok();
    let other = || {
        let number: f64 = json.parse().ok()?;
        let time = Duration::try_from_secs_f64(number.max(0.0) / 1000.0).unwrap_or(Duration::MAX);
        Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    };
    whole.or_else(other).map(|time| time.min(u64::MAX - 1))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_of_a_list_are_those_of_its_strictest_page_whatever_they_are() {
        let hints = |pages: &[&str]| {
            let mut listing = Listing::none();
            for page in pages {
                let page = RawValue::from_string(format!(r#"{{"tools":[]{page}}}"#)).unwrap();
                listing.add(Kind::Tools, &page, &Filters::default());
            }
            (listing.ttl_left(), listing.public, listing.stated())
        };
        let public = r#","ttlMs":9,"cacheScope":"public""#;
        for (page, expected) in [
            (public, (9, true, Some(9))),
            (r#","ttlMs":5,"cacheScope":"public""#, (5, true, Some(5))),
            (r#","ttlMs":5,"cacheScope":"private""#, (5, false, Some(5))),
            (r#","ttlMs":50,"cacheScope":"shared""#, (9, false, Some(9))),
            (r#","ttlMs":50"#, (9, false, Some(9))),
            (r#","cacheScope":"public""#, (0, true, Some(9))),
            (r#","ttlMs":-1,"cacheScope":"public""#, (0, true, Some(0))),
            (r#","ttlMs":-1e300,"cacheScope":"public""#, (0, true, Some(0))),
            (r#","ttlMs":7.0,"cacheScope":"public""#, (7, true, Some(7))),
            (r#","ttlMs":8e-1,"cacheScope":"public""#, (0, true, Some(0))),
            (r#","ttlMs":1e300,"cacheScope":"public""#, (9, true, Some(9))),
            (r#","ttlMs":99999999999999999999,"cacheScope":"public""#, (9, true, Some(9))),
            (r#","ttlMs":"5","cacheScope":"public""#, (0, true, Some(9))),
            (r#","ttlMs":null,"cacheScope":"public""#, (0, true, Some(9))),
        ] {
            assert_eq!(hints(&[public, page]), expected, "{page}");
            assert_eq!(hints(&[page, public]), expected, "{page}");
        }
        let listing = Listing { ttl: 60_000, ..Listing::default() };
        assert!(listing.ttl_left() > 0);
        listing.forget();
        assert_eq!(listing.ttl_left(), 0);
    }
}
