//! Which upstream a request is for, and the request's parameters as that upstream knows them.

use std::sync::Arc;

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::value::RawValue;

use super::answered::Answered;
use super::apart::{Addressed, apart, original};
use super::connection_source::{ConnectionSource, PATIENCE, awake};
use super::endpoint_view::EndpointView;
use super::one_list::listing;
use super::tasks::{check, owner};
use crate::config::Filters;
use crate::gateway::error::Fault;
use crate::gateway::relay::{
    ClientMeta, Era, Object, Outcome, Raw, code, member, member_str, method, raw, raw_string, set_member,
    set_path, text,
};
use crate::gateway::telemetry::{Operation, Reason};
use crate::gateway::upstream::{Call, Kind, Link, Listing, PAGE_SCHEME, Purpose, SKILL_SCHEME, Upstream};

/// What a request names, and where.
enum Subject {
    /// A tool or prompt, at `params.name`.
    Name(Kind),
    /// A resource, at `params.uri`.
    Uri,
    /// A prompt or template, at `params.ref`.
    Reference,
    /// A task, at `params.taskId`, which only its server knows.
    Task,
    /// Nothing that a list has.
    Nothing,
}

/// Where a request goes.
#[derive(Debug)]
pub(crate) struct Way {
    /// Its upstream.
    pub(crate) upstream: Arc<Upstream>,
    /// Its parameters as that knows them.
    pub(crate) params: Option<Raw>,
    /// What is done with the answer.
    pub(crate) answered: Answered,
    /// The name that the upstream has for what the request names, where that is another one.
    renamed: Option<Box<str>>,
}

impl Way {
    /// Has an operation know where it is sent on to.
    pub(crate) fn note(&self, operation: &Operation) {
        let listed = |tool: &str| self.upstream.lists_tool(tool);
        let name = (self.renamed.as_deref(), self.params.as_ref());
        operation.sent_to(self.upstream.connector().name(), name, listed);
    }
}

/// Finds the upstream of a request and rewrites its parameters where names are prefixed.
pub(crate) async fn route(
    view: &EndpointView,
    source: &impl ConnectionSource,
    method: &str,
    params: Option<Raw>,
    meta: &ClientMeta,
) -> Result<Way, Fault> {
    let asked = params.as_ref().filter(|_| view.is_narrowed()).cloned();
    let mut way = match view.plain() {
        Some(upstream) => {
            if matches!(subject(method), Subject::Task)
                && let Some(params) = &params
            {
                let id = member_str(params, "taskId").ok_or_else(|| missing("taskId"))?;
                check(upstream, source, &id, meta).await?;
            }
            let answered = Answered::of(method, upstream, false, view.rights());
            Way { upstream: Arc::clone(upstream), params, answered, renamed: None }
        }
        None => search(Search { view, source, meta }, method, params).await?,
    };
    if view.is_narrowed() {
        let names = (asked.as_deref(), way.params.as_deref());
        // Most endpoints are not narrowed, and need not carry what this takes.
        Box::pin(Search { view, source, meta }.check_rights(&way.upstream, method, names)).await?;
    }
    let pinned = method == method::TOOLS_CALL && way.upstream.connector().pins().enforces();
    if pinned && !view.is_narrowed() {
        Box::pin(Search { view, source, meta }.check_approved(&way.upstream, way.params.as_deref())).await?;
    }
    let filters = way.upstream.filters();
    if !filters.everything() {
        way.params = admitted(filters, &subject(method), way.params, &mut way.renamed)?;
    }
    Ok(way)
}

/// The upstream whose resource this is, as far as that can be told without asking for it: nobody else is to learn of what a
/// client follows. None if it is denied.
pub(crate) async fn followed(
    view: &EndpointView,
    source: &impl ConnectionSource,
    uri: &str,
    meta: &ClientMeta,
) -> Option<Arc<Upstream>> {
    let search = Search { view, source, meta };
    let Found { upstream, original } = match view.plain() {
        Some(upstream) => Found::plain(upstream),
        None => search.uri(method::SUBSCRIBE, uri).await.ok()?,
    };
    let may = upstream.filters().resources.admits_address(uri)
        && view.admits(Kind::Resources, original.as_deref().unwrap_or(uri));
    may.then_some(upstream)
}

/// Finds the upstream of a request where there are several.
async fn search<L: ConnectionSource>(
    search: Search<'_, L>,
    method: &str,
    params: Option<Raw>,
) -> Result<Way, Fault> {
    let several = search.view.lone().is_none();
    let way = |upstream: Arc<Upstream>, params| {
        let answered = Answered::of(method, &upstream, several, search.view.rights());
        Way { upstream, params, answered, renamed: None }
    };
    match (subject(method), params) {
        (Subject::Nothing, _) => Err(Fault::method_not_found(method)),
        (Subject::Name(kind), Some(params)) => {
            let shown = member_str(&params, "name").ok_or_else(|| missing("name"))?;
            let (upstream, name) = search.name(kind, &shown).await?;
            let edited = set_member(&params, "name", raw_string(&name).get());
            let renamed = (name != shown).then(|| name.into());
            Ok(Way { renamed, ..way(upstream, edited) })
        }
        (Subject::Uri, Some(params)) => {
            let uri = member_str(&params, "uri").ok_or_else(|| missing("uri"))?;
            // Most requests are calls, which need not carry what this takes.
            let found = Box::pin(search.uri(method, &uri)).await?;
            if let Some(original) = found.original {
                let params = set_member(&params, "uri", raw_string(&original).get());
                let answered = Answered::Sifted { rights: search.view.rights().to_vec(), apart: true };
                return Ok(Way { answered, ..way(found.upstream, params) });
            }
            drop(uri);
            Ok(way(found.upstream, Some(params)))
        }
        (Subject::Reference, Some(params)) => {
            let (upstream, params) = search.reference(params).await?;
            Ok(way(upstream, params))
        }
        (Subject::Task, Some(params)) => {
            let id = member_str(&params, "taskId").ok_or_else(|| missing("taskId"))?;
            Ok(way(owner(search.view, search.source, &id, search.meta).await?, Some(params)))
        }
        (_, None) => Err(missing("params")),
    }
}

/// The parameters with the name that the upstream itself knows; a fault where that is not shown.
fn admitted(
    selections: &Filters,
    subject: &Subject,
    params: Option<Raw>,
    renamed: &mut Option<Box<str>>,
) -> Result<Option<Raw>, Fault> {
    let Some(params) = params else { return Ok(None) };
    match subject {
        Subject::Nothing | Subject::Task => Ok(Some(params)),
        Subject::Name(kind) => {
            // A server may make a name of something else than a text, which nobody has checked.
            let shown = member_str(&params, "name").ok_or_else(|| missing("name"))?;
            let original = kind.selection(selections).original(&shown);
            let original = original.ok_or_else(|| unknown_name(*kind, &shown))?;
            let edited = set_member(&params, "name", raw_string(original).get());
            let same = original == shown;
            if !same {
                *renamed = Some(original.into());
            }
            drop(shown);
            Ok(if same { Some(params) } else { edited })
        }
        Subject::Uri => {
            let uri = member_str(&params, "uri").ok_or_else(|| missing("uri"))?;
            let may = selections.resources.admits_address(&uri);
            if may {
                drop(uri);
                Ok(Some(params))
            } else {
                Err(Fault::unknown("resource", &uri))
            }
        }
        Subject::Reference => admitted_reference(selections, params).map(Some),
    }
}

/// The parameters of `completion/complete` with the name that the upstream itself knows.
fn admitted_reference(selections: &Filters, params: Raw) -> Result<Raw, Fault> {
    let reference = member(&params, "ref").and_then(Object::parse).ok_or_else(|| missing("ref"))?;
    // Which of the two its server goes by is not known.
    let uri = reference.get("uri").map(|uri| text(uri).ok_or_else(|| missing("ref.uri"))).transpose()?;
    if let Some(uri) = &uri
        && !selections.resources.admits_address(uri)
    {
        return Err(Fault::unknown("resource", uri));
    }
    let Some(shown) = reference.get("name") else {
        return if uri.is_some() { Ok(params) } else { Err(missing("ref.name")) };
    };
    let shown = text(shown).ok_or_else(|| missing("ref.name"))?;
    let original = selections.prompts.original(&shown).ok_or_else(|| Fault::unknown("prompt", &shown))?;
    if original == shown {
        return Ok(params.clone());
    }
    Ok(set_path(&params, &["ref", "name"], raw_string(original).get()).unwrap_or_else(|| params.clone()))
}

/// Nothing is shown under this name.
fn unknown_name(kind: Kind, name: &str) -> Fault {
    Fault::unknown(if kind == Kind::Tools { "tool" } else { "prompt" }, name)
}

/// What requests of this method name.
fn subject(method: &str) -> Subject {
    match method {
        method::TOOLS_CALL => Subject::Name(Kind::Tools),
        method::PROMPTS_GET => Subject::Name(Kind::Prompts),
        method::RESOURCES_READ
        | method::SUBSCRIBE
        | method::UNSUBSCRIBE
        | method::SKILLS_GET
        | method::DIRECTORY_READ => Subject::Uri,
        method::COMPLETE => Subject::Reference,
        method::TASKS_GET | method::TASKS_UPDATE | method::TASKS_CANCEL | method::TASKS_RESULT => {
            Subject::Task
        }
        _ => Subject::Nothing,
    }
}

/// A parameter that must be there is not.
fn missing(name: &str) -> Fault {
    let message = format!("the request lacks the parameter `{name}`, or it is not a text");
    Fault::downstream(code::INVALID_PARAMS, StatusCode::OK, message)
}

/// A search through the upstreams behind an endpoint.
struct Search<'a, L> {
    /// The endpoint.
    view: &'a EndpointView,
    /// Its connections.
    source: &'a L,
    /// The asking client, for modern upstreams.
    meta: &'a ClientMeta,
}

/// An upstream that can be asked something, and its connection.
type Capable<'a> = (&'a Arc<Upstream>, Arc<Link>);

/// The upstream of an address.
struct Found {
    /// The upstream.
    upstream: Arc<Upstream>,
    /// The address that it knows, where the request named it under the upstream's name.
    original: Option<String>,
}

impl Found {
    /// One whose address is as the request named it.
    fn plain(upstream: &Arc<Upstream>) -> Self {
        Self { upstream: Arc::clone(upstream), original: None }
    }
}

impl<L: ConnectionSource> Search<'_, L> {
    /// Refuses what may not be there of what the upstream shows, as if it were not: what the upstream does not list is
    /// refused in the same way.
    async fn check_rights(
        &self,
        upstream: &Arc<Upstream>,
        method: &str,
        (shown, theirs): (Option<&RawValue>, Option<&RawValue>),
    ) -> Result<(), Fault> {
        let subject = subject(method);
        let text = |params: Option<&RawValue>, path: &[&str]| {
            let value = path.iter().try_fold(params?, |value, name| member(value, name))?;
            text(value).map(std::borrow::Cow::into_owned)
        };
        // An address that is told apart is the upstream's own to these rights, as to those of the upstream.
        let admitted = |path: &[&str], full: &str| {
            let uri = text(theirs, path).ok_or_else(|| missing(full))?;
            let may = self.view.admits(Kind::Resources, &uri);
            let hidden = || Fault::unknown("resource", &text(shown, path).unwrap_or_else(|| uri.clone()));
            if may { Ok(()) } else { Err(hidden().refusal(Reason::Rights)) }
        };
        let (kind, path) = match subject {
            Subject::Task => return Ok(()),
            // Whatever it is, it may be about something that is not there.
            Subject::Nothing if method == method::TASKS_LIST => return Ok(()),
            Subject::Nothing => return Err(Fault::method_not_found(method)),
            // What a directory has is not looked through.
            Subject::Uri if method == method::DIRECTORY_READ && self.view.hides(Kind::Resources) => {
                return Err(Fault::method_not_found(method));
            }
            Subject::Uri => return admitted(&["uri"], "uri"),
            Subject::Name(kind) => (kind, ["name"].as_slice()),
            Subject::Reference => {
                let reference = shown.and_then(|shown| member(shown, "ref")).ok_or_else(|| missing("ref"))?;
                if member(reference, "uri").is_some() {
                    admitted(&["ref", "uri"], "ref.uri")?;
                }
                if member(reference, "name").is_none() {
                    return Ok(());
                }
                (Kind::Prompts, ["ref", "name"].as_slice())
            }
        };
        let name = text(shown, path).ok_or_else(|| missing("name"))?;
        let original = text(theirs, path).ok_or_else(|| missing("name"))?;
        let listed = listing(self.source, upstream, kind, Purpose::Routing, self.meta).await?;
        if !listed.has(kind, &original) {
            return Err(unknown_name(kind, &name));
        }
        // In the same words: nobody is told what there is that he may not have.
        if self.view.admits(kind, &name) {
            Ok(())
        } else {
            Err(unknown_name(kind, &name).refusal(Reason::Rights))
        }
    }

    /// Refuses a call of a tool that is withheld, or of one that is not listed: nobody has approved it.
    async fn check_approved(&self, upstream: &Arc<Upstream>, theirs: Option<&RawValue>) -> Result<(), Fault> {
        let name = theirs.and_then(|params| member_str(params, "name")).ok_or_else(|| missing("name"))?;
        let listed = listing(self.source, upstream, Kind::Tools, Purpose::Routing, self.meta).await?;
        let unknown = || unknown_name(Kind::Tools, &self.view.shown(upstream, &name));
        listed.has(Kind::Tools, &name).then_some(()).ok_or_else(unknown)
    }

    /// The upstream that a shown name belongs to, and the name as that upstream knows it.
    async fn name(&self, kind: Kind, shown: &str) -> Result<(Arc<Upstream>, String), Fault> {
        if let Some((upstream, name)) = self.view.split(shown) {
            return Ok((Arc::clone(upstream), name.to_owned()));
        }
        let found = if self.view.by_lookup() {
            self.find(kind, |listing| listing.has(kind, shown)).await
        } else if kind == Kind::Tools {
            Box::pin(self.of_a_page(shown)).await
        } else {
            None
        };
        found.map(|upstream| (upstream, shown.to_owned())).ok_or_else(|| unknown_name(kind, shown))
    }

    /// The upstream that a page means which calls a tool of its own server by the name that this has for it (SEP-1865): the
    /// only one with such a tool, if it has pages.
    async fn of_a_page(&self, tool: &str) -> Option<Arc<Upstream>> {
        let listings = self.all(Kind::Tools).await;
        let mut having = self.view.upstreams().iter().zip(&listings).filter_map(|(upstream, listing)| {
            listing
                .as_ref()
                .filter(|listing| listing.has(Kind::Tools, tool))
                .map(|listing| (upstream, listing))
        });
        let (upstream, listing) = having.next()?;
        (having.next().is_none() && listing.addresses(Kind::Tools).has_pages()).then(|| Arc::clone(upstream))
    }

    /// The upstream of an address: the one that lists it, or has named it, or has a template that it fits, or else knows it
    /// when it is asked.
    async fn uri(&self, method: &str, uri: &str) -> Result<Found, Fault> {
        if let Some((upstream, original)) = original(self.view, uri) {
            if is_subscription(method) {
                let message = format!(
                    "`{uri}` stands for `{original}` of one of several upstreams; subscribe to that at the endpoint of `{}`",
                    upstream.name()
                );
                return Err(Fault::downstream(code::INVALID_PARAMS, StatusCode::OK, message));
            }
            return Ok(Found { upstream: Arc::clone(upstream), original: Some(original) });
        }
        if let Some(lone) = self.view.lone() {
            return Ok(Found::plain(lone));
        }
        // Only some of those with resources have the methods of the extension.
        let extended = matches!(method, method::SKILLS_GET | method::DIRECTORY_READ);
        let capable = if extended { self.capable(method).await } else { Vec::new() };
        if extended && capable.is_empty() {
            return Err(Fault::method_not_found(method));
        }
        let may = |upstream: &Arc<Upstream>| {
            !extended || capable.iter().any(|(may, _)| may.serial() == upstream.serial())
        };
        let owners = self.owners(uri).await?;
        let owners: Vec<_> = owners.into_iter().filter(|upstream| may(upstream)).collect();
        if let Some(first) = owners.first() {
            return Ok(Found::plain(first));
        }
        let upstreams = self.view.upstreams().iter();
        let named: Vec<_> = upstreams.filter(|upstream| upstream.links().has(uri) && may(upstream)).collect();
        let candidates = match named.as_slice() {
            [] if method == method::RESOURCES_READ || is_subscription(method) => self.fitting(uri).await,
            _ => named,
        };
        if let [only] = candidates.as_slice() {
            return Ok(Found::plain(only));
        }
        self.asked(method, uri, (candidates, capable)).await
    }

    /// The one of several upstreams that knows an address when it is asked, or the only one that can be asked.
    async fn asked(
        &self,
        method: &str,
        uri: &str,
        (candidates, capable): (Vec<&Arc<Upstream>>, Vec<Capable<'_>>),
    ) -> Result<Found, Fault> {
        let unknown = || Fault::unknown(if method == method::SKILLS_GET { "skill" } else { "resource" }, uri);
        let first_asked =
            if is_subscription(method) || capable.is_empty() { method::RESOURCES_READ } else { method };
        let capable = if capable.is_empty() { self.capable(first_asked).await } else { capable };
        let among = |upstream: &Arc<Upstream>| {
            candidates.is_empty()
                || candidates.iter().any(|candidate| candidate.serial() == upstream.serial())
        };
        let capable: Vec<_> = capable.into_iter().filter(|(upstream, _)| among(upstream)).collect();
        if is_subscription(method) {
            // Nobody is told of an address that is not its own. The templates of one say that it can be.
            let mut takes = capable.iter().filter(|(_, link)| link.takes(method));
            let first = if candidates.is_empty() && capable.len() > 1 { None } else { takes.next() };
            return first.map(|(upstream, _)| Found::plain(upstream)).ok_or_else(unknown);
        }
        if let [(only, _)] = capable.as_slice() {
            return Ok(Found::plain(only));
        }
        let asked = capable.iter().map(|(_, link)| knows(link, method, uri, self.meta));
        let known = join_all(asked).await;
        let (_, (upstream, _)) =
            known.into_iter().zip(&capable).find(|(knows, _)| *knows).ok_or_else(unknown)?;
        upstream.links().note(uri);
        Ok(Found::plain(upstream))
    }

    /// The upstreams that list an address, or what it is part of, the first in order first. A page or a skill that several
    /// have is nobody's under that address: which is meant cannot be told.
    async fn owners(&self, uri: &str) -> Result<Vec<Arc<Upstream>>, Fault> {
        let upstreams = self.view.upstreams();
        let of = async |kinds: &[Kind]| {
            let addressed = Addressed::of(self.view, self.source, kinds, self.meta).await;
            let places: Vec<_> = (0..upstreams.len()).filter(|place| addressed.has(*place, uri)).collect();
            (addressed, places)
        };
        let (mut addressed, mut places) = if uri.starts_with(PAGE_SCHEME) {
            of(&[Kind::Resources, Kind::Tools]).await
        } else {
            of(&[Kind::Resources]).await
        };
        if uri.starts_with(SKILL_SCHEME) || places.is_empty() && !uri.starts_with(PAGE_SCHEME) {
            (addressed, places) = of(&[Kind::Resources, Kind::Skills]).await;
        }
        if places.len() > 1 && places.iter().any(|place| addressed.is_apart(*place, uri)) {
            let each = places.iter().filter_map(|place| apart(&upstreams[*place], uri));
            let each: Vec<_> = each.map(|uri| format!("`{uri}`")).collect();
            let message = format!("several upstreams have `{uri}`; ask for {}", each.join(" or "));
            return Err(Fault::downstream(code::INVALID_PARAMS, StatusCode::OK, message));
        }
        Ok(places.into_iter().map(|place| Arc::clone(&upstreams[place])).collect())
    }

    /// The upstreams with a template that an address fits.
    async fn fitting(&self, uri: &str) -> Vec<&Arc<Upstream>> {
        let fits = |listing: &Arc<Listing>| {
            let mut templates = listing.items.iter().filter_map(|item| member_str(item, "uriTemplate"));
            templates.any(|template| fits(&template, uri))
        };
        let listings = self.all(Kind::Templates).await;
        let each = self.view.upstreams().iter().zip(listings);
        each.filter(|(_, listing)| listing.as_ref().is_some_and(fits)).map(|(upstream, _)| upstream).collect()
    }

    /// The upstreams that can be asked this, with their connections. One that sleeps is woken.
    async fn capable(&self, method: &str) -> Vec<Capable<'_>> {
        let can = |link: &Arc<Link>| link.offers(Kind::Resources) && link.takes(method);
        let awake = self.view.upstreams().iter().map(|upstream| async move {
            if upstream.asleep().is_some_and(|link| !can(&link)) {
                return None;
            }
            awake(self.source, upstream).await.ok().filter(can).map(|link| (upstream, link))
        });
        join_all(awake).await.into_iter().flatten().collect()
    }

    /// The upstream of what `completion/complete` refers to.
    async fn reference(&self, params: Raw) -> Result<(Arc<Upstream>, Option<Raw>), Fault> {
        let reference = member(&params, "ref").ok_or_else(|| missing("ref"))?;
        if let Some(shown) = member_str(reference, "name") {
            let (upstream, name) = self.name(Kind::Prompts, &shown).await?;
            let edited = set_path(&params, &["ref", "name"], raw_string(&name).get());
            return Ok((upstream, edited));
        }
        let uri = member_str(reference, "uri").ok_or_else(|| missing("ref.uri"))?;
        let listings = self.all(Kind::Templates).await;
        let having = self.view.upstreams().iter().zip(&listings).filter(|(_, listing)| {
            listing.as_ref().is_some_and(|listing| listing.has(Kind::Templates, &uri))
        });
        let having: Vec<_> = having.map(|(upstream, _)| upstream).collect();
        // Of several with the same template one can be of help that completes anything.
        let takes =
            |upstream: &&&Arc<Upstream>| upstream.present().is_some_and(|link| link.takes(method::COMPLETE));
        let found = match having.iter().find(takes).or(having.first()) {
            Some(upstream) => Found::plain(upstream),
            None => Box::pin(self.uri(method::RESOURCES_READ, &uri)).await?,
        };
        drop(uri);
        let params = match found.original {
            Some(original) => set_path(&params, &["ref", "uri"], raw_string(&original).get()),
            None => Some(params),
        };
        Ok((found.upstream, params))
    }

    /// The lists of this kind of all upstreams, in their order; all are asked at once, so that one that hangs delays the
    /// search once.
    async fn all(&self, kind: Kind) -> Vec<Option<Arc<Listing>>> {
        let asked = self.view.upstreams().iter();
        let asked = asked.map(|upstream| listing(self.source, upstream, kind, Purpose::Routing, self.meta));
        join_all(asked).await.into_iter().map(Result::ok).collect()
    }

    /// The first upstream whose list of this kind passes the test; ones that cannot be asked are passed over.
    async fn find(&self, kind: Kind, test: impl Fn(&Listing) -> bool) -> Option<Arc<Upstream>> {
        let listings = self.all(kind).await;
        let mut found = self.view.upstreams().iter().zip(&listings);
        let has = |listing: &Option<Arc<Listing>>| listing.as_ref().is_some_and(|listing| test(listing));
        found.find(|(_, listing)| has(listing)).map(|(upstream, _)| Arc::clone(upstream))
    }
}

/// Whether requests of this method begin or end a subscription.
fn is_subscription(method: &str) -> bool {
    matches!(method, method::SUBSCRIBE | method::UNSUBSCRIBE)
}

/// Whether a server has this address, as far as it answers a request of this method.
async fn knows(link: &Link, method: &str, uri: &str, meta: &ClientMeta) -> bool {
    let params = raw(&serde_json::json!({ "uri": uri }));
    let params = if link.era() == Era::Modern { meta.apply(Some(params)) } else { params };
    let asked = link.call_aside(Call::new(method, Some(params), PATIENCE)).await;
    matches!(asked.outcome().await, Ok(Outcome::Result(_)))
}

/// Whether a URI can come from a template (RFC 6570): its literal parts stand in the URI in their order.
fn fits(template: &str, uri: &str) -> bool {
    let mut literals = template.split('{').enumerate().map(|(place, part)| match part.split_once('}') {
        Some((_, literal)) if place > 0 => literal,
        _ => part,
    });
    let Some(mut rest) = literals.next().and_then(|head| uri.strip_prefix(head)) else { return false };
    let literals: Vec<_> = literals.collect();
    if literals.is_empty() {
        return rest.is_empty();
    }
    for literal in &literals {
        let Some(place) = rest.find(literal) else { return false };
        rest = &rest[place + literal.len()..];
    }
    literals.last().is_some_and(|last| last.is_empty() || rest.is_empty() || uri.ends_with(last))
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_uri_fits_a_template_by_its_literal_parts() {
        assert!(fits("test://template/{id}/data", "test://template/7/data"));
        assert!(fits("demo://{+path}", "demo://a/b"));
        assert!(fits("plain://x", "plain://x"));
        assert!(!fits("plain://x", "plain://xy"));
        assert!(!fits("test://template/{id}/data", "test://other/7/data"));
        assert!(!fits("test://template/{id}/data", "test://template/7/date"));
    }
}
