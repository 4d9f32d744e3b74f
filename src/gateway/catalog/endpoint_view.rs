//! The upstreams behind one endpoint and how their names are told apart.

use std::collections::HashMap;
use std::sync::Arc;

use fieldwork::Fieldwork;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::config::{Filters, Prefix};
use crate::gateway::person::Person;
use crate::gateway::relay::{APPS, Era, Object, Part, Raw, SKILLS, TASKS, member, mend, raw, set_member};
use crate::gateway::upstream::{Kind, Link, Misfit, Upstream};

/// Where a server says what it can do, for people.
const HANDSHAKE: &str = "the handshake";

/// Extensions that work where several upstreams are behind an endpoint: tasks, whose owners are known, skills, which are
/// found by their addresses, and apps, which have no methods of their own.
const ROUTED: [&str; 3] = [TASKS, SKILLS, APPS];

/// The upstreams behind one endpoint.
#[derive(Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(crate)")]
pub(crate) struct EndpointView {
    /// In the order of the configuration.
    #[field(get)]
    upstreams: Vec<Arc<Upstream>>,
    /// Places in `upstreams` by name.
    by_name: HashMap<String, usize>,
    /// Whether names carry their upstream's.
    prefixed: bool,
    /// Whether it is the endpoint of one upstream, which shows what that says as it is.
    #[field(get = is_single)]
    single: bool,
    /// What may be there of what the upstreams show, by the names that are shown here; each of them.
    #[field(get)]
    rights: Vec<Arc<Filters>>,
    /// Whether some clients are shown other lists than others at the same address.
    #[field(get)]
    differs: bool,
    /// Tells the routing table that somebody still holds this.
    #[expect(dead_code, reason = "it tells by being dropped")]
    held: Option<TaskTrackerToken>,
}

impl EndpointView {
    /// An endpoint for all upstreams.
    pub(crate) fn merged(upstreams: Vec<Arc<Upstream>>, prefix: Prefix) -> Self {
        let prefixed = match prefix {
            Prefix::Auto => upstreams.len() > 1,
            Prefix::Always => true,
            Prefix::Never => false,
        };
        let by_name = upstreams.iter().enumerate().map(|(place, up)| (up.name().to_owned(), place)).collect();
        let (rights, held) = (Vec::new(), None);
        Self { upstreams, by_name, prefixed, single: false, rights, differs: false, held }
    }

    /// The same, keeping a token for as long as anybody holds it.
    pub(crate) fn held(self, token: TaskTrackerToken) -> Self {
        Self { held: Some(token), ..self }
    }

    /// The same of which only this may be there.
    pub(crate) fn narrowed(&self, filters: &Arc<Filters>, token: TaskTrackerToken) -> Self {
        let more = Some(filters).filter(|filters| !filters.everything());
        Self {
            upstreams: self.upstreams.clone(),
            by_name: self.by_name.clone(),
            rights: self.rights.iter().chain(more).cloned().collect(),
            held: Some(token),
            ..*self
        }
    }

    /// The same as one client has it of whom upstreams are shown this.
    pub(crate) fn of_person(&self, person: &Arc<Person>, token: TaskTrackerToken) -> Self {
        Self {
            upstreams: self.upstreams.iter().map(|upstream| upstream.of_person(person)).collect(),
            by_name: self.by_name.clone(),
            rights: self.rights.clone(),
            held: Some(token),
            ..*self
        }
    }

    /// The same where some clients are shown other lists than others.
    pub(crate) fn differing(self, differs: bool) -> Self {
        Self { differs, ..self }
    }

    /// Whether less may be there than what the upstreams show.
    pub(crate) fn is_narrowed(&self) -> bool {
        !self.rights.is_empty()
    }

    /// Whether what is shown under this name may be there.
    pub(crate) fn admits(&self, kind: Kind, shown: &str) -> bool {
        self.rights.iter().all(|filters| match kind {
            Kind::Tools | Kind::Prompts | Kind::Templates => kind.selection(filters).admits(shown),
            Kind::Resources | Kind::Skills => filters.resources.admits_address(shown),
        })
    }

    /// Whether something of this kind may not be there of what the upstreams show.
    pub(crate) fn hides(&self, kind: Kind) -> bool {
        self.rights.iter().any(|filters| !kind.selection(filters).everything())
    }

    /// An endpoint whose upstream is gone.
    pub(crate) fn empty() -> Self {
        Self::merged(Vec::new(), Prefix::Always)
    }

    /// What another process can tell this view from others by.
    pub(crate) fn outline(&self) -> String {
        let names: Vec<_> = self.upstreams.iter().map(|upstream| upstream.name()).collect();
        format!("{} {}", if self.prefixed { "prefixed" } else { "plain" }, names.join(" "))
    }

    /// Whether clients can see no difference between this and another view.
    pub(crate) fn shows_the_same_as(&self, other: &Self) -> bool {
        let serials =
            |view: &Self| view.upstreams.iter().map(|upstream| upstream.serial()).collect::<Vec<_>>();
        self.prefixed == other.prefixed && serials(self) == serials(other) && self.rights == other.rights
    }

    /// An endpoint for one upstream: names are as it gives them.
    pub(crate) fn single(upstream: Arc<Upstream>) -> Self {
        Self { single: true, ..Self::merged(vec![upstream], Prefix::Never) }
    }

    /// The upstream of this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.by_name.get(name).map(|place| &self.upstreams[*place])
    }

    /// The only upstream, where there is one.
    pub(crate) fn lone(&self) -> Option<&Arc<Upstream>> {
        match self.upstreams.as_slice() {
            [upstream] => Some(upstream),
            _ => None,
        }
    }

    /// The only upstream, where its name is not part of others: every request is for it.
    pub(crate) fn plain(&self) -> Option<&Arc<Upstream>> {
        self.lone().filter(|_| !self.prefixed)
    }

    /// Whether requests pass with the names that clients have written.
    pub(crate) fn keeps_names(&self) -> bool {
        self.plain().is_some_and(|upstream| upstream.filters().everything())
    }

    /// The only upstream, where whole lists can pass untouched: all of it is shown, and it need not be woken for them.
    pub(crate) fn transparent(&self) -> Option<&Arc<Upstream>> {
        let whole = self.plain().filter(|_| !self.differs && self.rights.is_empty());
        whole.filter(|upstream| {
            let looked_at = upstream.connector().pins().is_on();
            upstream.filters().everything() && !looked_at && upstream.asleep().is_none()
        })
    }

    /// A name as this endpoint shows it.
    pub(crate) fn shown(&self, upstream: &Upstream, name: &str) -> String {
        if self.prefixed { format!("{}_{name}", upstream.name()) } else { name.to_owned() }
    }

    /// Takes a shown name apart, where it can be done by looking at it.
    pub(crate) fn split<'a>(&self, shown: &'a str) -> Option<(&Arc<Upstream>, &'a str)> {
        if !self.prefixed {
            return self.lone().map(|upstream| (upstream, shown));
        }
        shown.match_indices('_').find_map(|(place, _)| {
            let upstream = self.by_name.get(&shown[..place])?;
            Some((&self.upstreams[*upstream], &shown[place + 1..]))
        })
    }

    /// Whether names must be looked up in the upstreams' lists.
    pub(crate) const fn by_lookup(&self) -> bool {
        !self.prefixed
    }

    /// The merged capabilities of the upstreams that are reachable through `links` now.
    pub(crate) fn capabilities(&self, links: &[Arc<Link>], era: Era) -> Raw {
        if let ([_], [link]) = (self.upstreams.as_slice(), links) {
            let theirs = bridged(link, era);
            if self.single {
                return theirs;
            }
            if !self.prefixed {
                return fitting(link, theirs);
            }
        }
        let mut merged = Map::new();
        for link in links {
            let theirs = fitting(link, bridged(link, era));
            let Ok(Value::Object(theirs)) = serde_json::from_str(theirs.get()) else {
                continue;
            };
            for (name, value) in theirs {
                union(merged.entry(name).or_insert_with(|| json!({})), value);
            }
        }
        route_extensions(&mut merged);
        // One that is away may have any list when it comes back. Lists change with upstreams that come and go, whether or
        // not servers tell of their own changes.
        let away = self.upstreams.len() != links.len();
        for kind in [Kind::Tools, Kind::Prompts, Kind::Resources] {
            if away {
                merged.entry(kind.capability()).or_insert_with(|| json!({}));
            }
            if let Some(capability) = merged.get_mut(kind.capability()) {
                union(capability, json!({ "listChanged": true }));
            }
        }
        raw(&Value::Object(merged))
    }

    /// The upstreams' instructions, each under its name where there are several.
    pub(crate) fn instructions(links: &[Arc<Link>]) -> Option<String> {
        let texts: Vec<_> = links
            .iter()
            .filter_map(|link| Some((link.name().as_str(), link.handshake().instructions.as_deref()?)))
            .collect();
        match texts.as_slice() {
            [] => None,
            [(_, text)] => Some((*text).to_owned()),
            texts => Some(
                texts
                    .iter()
                    .map(|(name, text)| format!("## {name}\n\n{text}"))
                    .collect::<Vec<_>>()
                    .join("\n\n"),
            ),
        }
    }
}

/// What a server can do for clients of an era: its tasks are for those of its own.
fn bridged(link: &Link, era: Era) -> Raw {
    let all = &link.handshake().capabilities;
    let without = |object: &RawValue, name: &str| Object::parse(object)?.without(|known| known == name);
    let less = match (link.era(), era) {
        (Era::Legacy, Era::Modern) => without(all, "tasks"),
        (Era::Modern, Era::Legacy) => member(all, "extensions")
            .and_then(|extensions| without(extensions, TASKS))
            .and_then(|extensions| set_member(all, "extensions", extensions.get())),
        _ => None,
    };
    less.unwrap_or_else(|| all.clone())
}

/// Leaves out extensions whose methods nobody could route, and whatever is experimental: an upstream's own endpoint has them.
fn route_extensions(merged: &mut Map<String, Value>) {
    merged.remove("experimental");
    let Some(Value::Object(extensions)) = merged.get_mut("extensions") else { return };
    extensions.retain(|name, _| ROUTED.contains(&name.as_str()));
    if extensions.is_empty() {
        merged.remove("extensions");
    }
}

/// Capabilities as the specification has them.
fn fitting(link: &Link, theirs: Raw) -> Raw {
    let mended = mend(&theirs, Part::Capabilities.shape(link.era())).ok().flatten();
    let fault = mended.as_ref().map(|mended| Misfit {
        item: "capabilities".to_owned(),
        why: mended.why.clone(),
        left_out: false,
    });
    link.remarks().misfits(link.name(), HANDSHAKE, fault.as_slice());
    mended.map_or(theirs, |mended| mended.json)
}

/// Adds the members of one capability object to another; a flag that one of them sets is set.
fn union(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                union(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) if *into == Value::Bool(true) && from == Value::Bool(false) => {}
        (into, from) => *into = from,
    }
}
