//! Which upstream a request is for, and the request's parameters as that upstream knows them.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::value::RawValue;

use super::connection_source::ConnectionSource;
use super::endpoint_view::EndpointView;
use super::listing::listing;
use super::tasks::{check, owner};
use crate::config::Filters;
use crate::gateway::error::Fault;
use crate::gateway::relay::{
    ClientMeta, Object, Raw, member, member_str, method, raw_string, set_member, set_path, text,
};
use crate::gateway::upstream::{Kind, Listing, Purpose, Upstream};

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

/// Finds the upstream of a request and rewrites its parameters where names are prefixed.
pub(crate) async fn route(
    view: &EndpointView,
    source: &impl ConnectionSource,
    method: &str,
    params: Option<Raw>,
    meta: &ClientMeta,
) -> Result<(Arc<Upstream>, Option<Raw>), Fault> {
    let asked = params.clone().filter(|_| view.is_narrowed());
    let (upstream, params) = match view.plain() {
        Some(upstream) => {
            if matches!(subject(method), Subject::Task)
                && let Some(params) = &params
            {
                let id = member_str(params, "taskId").ok_or_else(|| missing("taskId"))?;
                check(upstream, source, &id, meta).await?;
            }
            (Arc::clone(upstream), params)
        }
        None => search(Search { view, source, meta }, method, params).await?,
    };
    if view.is_narrowed() {
        Search { view, source, meta }.check_rights(&upstream, method, (asked, params.as_deref())).await?;
    }
    let filters = upstream.filters();
    if filters.everything() {
        return Ok((upstream, params));
    }
    let params = admitted(filters, &subject(method), params)?;
    Ok((upstream, params))
}

/// Finds the upstream of a request where there are several.
async fn search<L: ConnectionSource>(
    search: Search<'_, L>,
    method: &str,
    params: Option<Raw>,
) -> Result<(Arc<Upstream>, Option<Raw>), Fault> {
    match (subject(method), params) {
        (Subject::Nothing, _) => Err(Fault::method_not_found(method)),
        (Subject::Name(kind), Some(params)) => {
            let shown = member_str(&params, "name").ok_or_else(|| missing("name"))?;
            let (upstream, name) = search.name(kind, &shown).await?;
            let params = set_member(&params, "name", raw_string(&name).get());
            Ok((upstream, params))
        }
        (Subject::Uri, Some(params)) => {
            let uri = member_str(&params, "uri").ok_or_else(|| missing("uri"))?;
            Ok((search.uri(&uri).await?, Some(params)))
        }
        (Subject::Reference, Some(params)) => search.reference(params).await,
        (Subject::Task, Some(params)) => {
            let id = member_str(&params, "taskId").ok_or_else(|| missing("taskId"))?;
            Ok((owner(search.view, search.source, &id, search.meta).await?, Some(params)))
        }
        (_, None) => Err(missing("params")),
    }
}

/// The parameters with the name that the upstream itself knows; a fault where that is not shown.
fn admitted(selections: &Filters, subject: &Subject, params: Option<Raw>) -> Result<Option<Raw>, Fault> {
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
        method::RESOURCES_READ | method::SUBSCRIBE | method::UNSUBSCRIBE => Subject::Uri,
        method::COMPLETE => Subject::Reference,
        method::TASKS_GET | method::TASKS_UPDATE | method::TASKS_CANCEL | method::TASKS_RESULT => {
            Subject::Task
        }
        _ => Subject::Nothing,
    }
}

/// A parameter that must be there is not.
fn missing(name: &str) -> Fault {
    use http::StatusCode;
    let message = format!("the request lacks the parameter `{name}`, or it is not a text");
    Fault::downstream(crate::gateway::relay::code::INVALID_PARAMS, StatusCode::OK, message)
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

impl<L: ConnectionSource> Search<'_, L> {
    /// Refuses what may not be there of what the upstream shows, as if it were not: what the upstream does not list is
    /// refused in the same way.
    async fn check_rights(
        &self,
        upstream: &Arc<Upstream>,
        method: &str,
        (shown, theirs): (Option<Raw>, Option<&RawValue>),
    ) -> Result<(), Fault> {
        let subject = subject(method);
        let text = |params: Option<&RawValue>, path: &[&str]| {
            let value = path.iter().try_fold(params?, |value, name| member(value, name))?;
            text(value).map(std::borrow::Cow::into_owned)
        };
        let shown = shown.as_deref();
        let (kind, path) = match subject {
            Subject::Task => return Ok(()),
            // Whatever it is, it may be about something that is not there.
            Subject::Nothing if method == method::TASKS_LIST => return Ok(()),
            Subject::Nothing => return Err(Fault::method_not_found(method)),
            Subject::Uri => {
                let uri = text(shown, &["uri"]).ok_or_else(|| missing("uri"))?;
                let may = self.view.admits(Kind::Resources, &uri);
                return if may { Ok(()) } else { Err(Fault::unknown("resource", &uri)) };
            }
            Subject::Name(kind) => (kind, ["name"].as_slice()),
            Subject::Reference => {
                if let Some(uri) = text(shown, &["ref", "uri"])
                    && !self.view.admits(Kind::Resources, &uri)
                {
                    return Err(Fault::unknown("resource", &uri));
                }
                if member(shown.unwrap_or(RawValue::NULL), "ref")
                    .is_some_and(|it| member(it, "name").is_none())
                {
                    return Ok(());
                }
                (Kind::Prompts, ["ref", "name"].as_slice())
            }
        };
        let name = text(shown, path).ok_or_else(|| missing("name"))?;
        let original = text(theirs, path).ok_or_else(|| missing("name"))?;
        let listed = listing(self.source, upstream, kind, Purpose::Routing, self.meta).await?;
        let may = self.view.admits(kind, &name) && listed.has(kind, &original);
        if may { Ok(()) } else { Err(unknown_name(kind, &name)) }
    }

    /// The upstream that a shown name belongs to, and the name as that upstream knows it.
    async fn name(&self, kind: Kind, shown: &str) -> Result<(Arc<Upstream>, String), Fault> {
        if let Some((upstream, name)) = self.view.split(shown) {
            return Ok((Arc::clone(upstream), name.to_owned()));
        }
        if self.view.by_lookup()
            && let Some(upstream) = self.find(kind, |listing| listing.has(kind, shown)).await
        {
            return Ok((upstream, shown.to_owned()));
        }
        Err(unknown_name(kind, shown))
    }

    /// The upstream that lists a resource, or the first with a template that it fits.
    async fn uri(&self, uri: &str) -> Result<Arc<Upstream>, Fault> {
        let listed = |listing: &Listing| listing.has(Kind::Resources, uri);
        if let Some(upstream) = self.find(Kind::Resources, listed).await {
            return Ok(upstream);
        }
        let fits = |listing: &Listing| {
            listing
                .items
                .iter()
                .filter_map(|item| member_str(item, "uriTemplate"))
                .any(|template| fits(&template, uri))
        };
        self.find(Kind::Templates, fits).await.ok_or_else(|| Fault::unknown("resource", uri))
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
        let template = self.find(Kind::Templates, |listing| listing.has(Kind::Templates, &uri)).await;
        let upstream = match template {
            Some(upstream) => upstream,
            None => self.uri(&uri).await?,
        };
        drop(uri);
        Ok((upstream, Some(params)))
    }

    /// The first upstream whose list of this kind passes the test; ones that cannot be asked are passed over.
    async fn find(&self, kind: Kind, test: impl Fn(&Listing) -> bool) -> Option<Arc<Upstream>> {
        let upstreams = self.view.upstreams();
        // All are asked at once, so that one that hangs delays the search once; the first in order has it.
        let asked = upstreams
            .iter()
            .map(|upstream| listing(self.source, upstream, kind, Purpose::Routing, self.meta));
        let listings = join_all(asked).await;
        let mut found = upstreams.iter().zip(listings);
        let has = |listing: &Result<_, _>| listing.as_ref().is_ok_and(|listing: &Arc<_>| test(listing));
        found.find(|(_, listing)| has(listing)).map(|(upstream, _)| Arc::clone(upstream))
    }
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
