//! Tasks behind an endpoint of several upstreams: whose a task is, and all of them in one list.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::connection_source::{ConnectionSource, PATIENCE, awake};
use super::endpoint_view::EndpointView;
use crate::gateway::error::Fault;
use crate::gateway::relay::{
    ClientMeta, Era, Part, Raw, TASKS, array_items, code, member, member_str, mend, method, names,
    names::Strictness, raw, set_member,
};
use crate::gateway::upstream::{Link, Misfit, Standing, Upstream, knows_task, list_tasks, lists_tasks};

/// The connection over which an upstream can be asked about its tasks, soon; `None` if it has none. Nothing of tasks is
/// remembered of one that sleeps: it is woken, if it is known to have any.
async fn asked(source: &impl ConnectionSource, upstream: &Arc<Upstream>) -> Result<Option<Arc<Link>>, Fault> {
    if upstream.asleep().is_some_and(|link| !link.has_tasks()) {
        return Ok(None);
    }
    Ok(Some(awake(source, upstream).await?).filter(|link| link.has_tasks()))
}

/// The upstream that a task of the client is of. One whose owner is not known, but whose name cannot be guessed, is searched
/// for; somebody else's is nobody's.
pub(crate) async fn owner(
    view: &EndpointView,
    source: &impl ConnectionSource,
    id: &str,
    meta: &ClientMeta,
) -> Result<Arc<Upstream>, Fault> {
    let upstreams = view.upstreams();
    if let Some(own) = upstreams.iter().find(|upstream| source.task(upstream, id) == Standing::Own) {
        return Ok(Arc::clone(own));
    }
    let claimed = upstreams.iter().filter(|upstream| source.task(upstream, id) == Standing::Claimed);
    let asked = claimed.map(|upstream| async move {
        let link = asked(source, upstream).await.ok().flatten()?;
        knows_task(&link, id, meta).await.then_some(upstream)
    });
    let found = join_all(asked).await.into_iter().flatten().next();
    let nobody_has =
        || upstreams.iter().all(|upstream| upstream.present().is_some_and(|link| !link.has_tasks()));
    found.cloned().ok_or_else(|| {
        if nobody_has() {
            return Fault::method_not_found("tasks/…")
                .with_reason("no server behind this endpoint has tasks");
        }
        not_theirs(source.era(), id, meta)
    })
}

/// Nothing is known of this task to this client. One of the modern era that does not speak of tasks is told that first
/// (SEP-2663: every `tasks/…` of such a client is refused so).
fn not_theirs(era: Era, id: &str, meta: &ClientMeta) -> Fault {
    let unspoken = check_speaks(meta).err().filter(|_| era == Era::Modern);
    unspoken.unwrap_or_else(|| Fault::unknown("task", id))
}

/// Refuses what a modern client wants of tasks that has not declared them.
pub(crate) fn check_speaks(meta: &ClientMeta) -> Result<(), Fault> {
    if member(&meta.capabilities, "extensions").is_some_and(|has| member(has, TASKS).is_some()) {
        return Ok(());
    }
    let message = format!("the client has not declared the extension `{TASKS}`");
    let required = json!({ "requiredCapabilities": { "extensions": { TASKS: {} } } });
    let fault = Fault::downstream(code::MISSING_CAPABILITY, StatusCode::BAD_REQUEST, message);
    Err(Fault { data: Some(raw(&required)), ..fault })
}

/// Refuses a request about a task that is not the client's, where there is one upstream; tasks of the other era are refused
/// where the request is sent.
pub(super) async fn check(
    upstream: &Arc<Upstream>,
    source: &impl ConnectionSource,
    id: &str,
    meta: &ClientMeta,
) -> Result<(), Fault> {
    if source.task(upstream, id) != Standing::Foreign {
        return Ok(());
    }
    let link = source.link(upstream).await?;
    // One that has none says so itself.
    if link.era() == source.era() && link.has_tasks() {
        Err(not_theirs(source.era(), id, meta))
    } else {
        Ok(())
    }
}

/// One server's answer to `tasks/list` with the tasks of this client only.
pub(crate) fn own_tasks(upstream: &Upstream, source: &impl ConnectionSource, result: Raw) -> Raw {
    let Some(tasks) = member(&result, "tasks").and_then(array_items) else { return result };
    let is_own = |task: &&&RawValue| {
        member_str(task, "taskId").is_some_and(|id| source.task(upstream, &id) == Standing::Own)
            && names::check(task, names::ITEM, Strictness::Pairs).is_ok()
    };
    let own: Vec<_> = tasks.iter().filter(is_own).map(|task| task.get()).collect();
    if own.len() == tasks.len() {
        return result;
    }
    set_member(&result, "tasks", &format!("[{}]", own.join(","))).unwrap_or(result)
}

/// `tasks/list` of the legacy era: the session's own tasks at all upstreams that can be asked, in one page.
pub(crate) async fn all_tasks(view: &EndpointView, source: &impl ConnectionSource) -> Result<Raw, Fault> {
    let asked = view.upstreams().iter().map(|upstream| async move {
        let listed = async {
            match asked(source, upstream).await?.filter(|link| link.era() == Era::Legacy && lists_tasks(link))
            {
                Some(link) => list_tasks(&link).await.map(Some),
                None => Ok(None),
            }
        };
        let late = |_| Fault::upstream(&upstream.name(), "takes too long to list its tasks");
        timeout(PATIENCE + PATIENCE, listed).await.map_err(late)?
    });
    let listed: Vec<Result<Option<Vec<Raw>>, Fault>> = join_all(asked).await;
    if listed.iter().all(|listed| matches!(listed, Ok(None))) {
        return Err(Fault::method_not_found(method::TASKS_LIST));
    }
    let (mut seen, mut shown) = (HashSet::new(), Vec::new());
    for (upstream, listed) in view.upstreams().iter().zip(listed) {
        let mut misfits = Vec::new();
        let tasks = listed
            .inspect_err(|fault| tracing::debug!(fault = fault.message, "left out of the list of tasks"))
            .ok()
            .flatten()
            .unwrap_or_default();
        for task in tasks {
            let Some(id) = member_str(&task, "taskId").map(std::borrow::Cow::into_owned) else { continue };
            if source.task(upstream, &id) != Standing::Own || !seen.insert(id.clone()) {
                continue;
            }
            let (task, why) = match mend(&task, Part::Task.shape(Era::Legacy)) {
                Ok(None) => (Some(task), None),
                Ok(Some(mended)) => (Some(mended.json), Some(mended.why)),
                Err(why) => (None, Some(why)),
            };
            misfits.extend(why.map(|why| Misfit { item: id, why, left_out: task.is_none() }));
            shown.extend(task);
        }
        let connector = upstream.connector();
        connector.remarks().misfits(connector.name(), method::TASKS_LIST, &misfits);
    }
    let shown: Vec<_> = shown.iter().map(|task| task.get()).collect();
    let text = format!("{{\"tasks\":[{}]}}", shown.join(","));
    Ok(RawValue::from_string(text).expect("items of valid JSON make valid JSON"))
}
