//! Tasks behind an endpoint of several upstreams: whose a task is, and all of them in one list.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::super::error::Fault;
use super::super::relay::{ClientMeta, Era, Raw, member_str};
use super::super::upstream::{Link, Upstream};
use super::list::PATIENCE;
use super::scope::{Links, Scope};

/// The connection over which an upstream can be asked about its tasks, soon; `None` if it has none. Nothing of tasks is
/// remembered of one that sleeps: it is woken, if it is known to have any.
async fn awake(links: &impl Links, upstream: &Arc<Upstream>) -> Result<Option<Arc<Link>>, Fault> {
    if upstream.asleep().is_some_and(|link| !link.has_tasks()) {
        return Ok(None);
    }
    let patience = if upstream.is_failing() { Duration::from_millis(500) } else { PATIENCE };
    let late = |_| Fault::upstream(&upstream.name(), "is still starting; try again soon");
    let link = timeout(patience, links.link(upstream)).await.map_err(late)??;
    Ok(Some(link).filter(|link| link.has_tasks()))
}

/// The upstream that a task is of. A server is asked about a task that nobody has named before; what a task's server is
/// does not change.
pub(super) async fn owner(
    scope: &Scope,
    links: &impl Links,
    id: &str,
    meta: &ClientMeta,
) -> Result<Arc<Upstream>, Fault> {
    let upstreams = scope.upstreams();
    if let Some(known) = upstreams.iter().find(|upstream| upstream.tasks.has(id)) {
        return Ok(Arc::clone(known));
    }
    let asked = upstreams.iter().map(|upstream| async move {
        let link = awake(links, upstream).await.ok().flatten()?;
        link.knows_task(id, meta).await.then_some(upstream)
    });
    let found = join_all(asked).await.into_iter().flatten().next();
    let found = found.ok_or_else(|| Fault::unknown("task", id))?;
    found.tasks.remember(id);
    Ok(Arc::clone(found))
}

/// `tasks/list` of the legacy era: the tasks of all upstreams as the result, in one page. One that cannot be asked is left
/// out. A task's name says nothing of its server, which is therefore remembered.
pub(crate) async fn all_tasks(scope: &Scope, links: &impl Links) -> Result<Raw, Fault> {
    let asked = scope.upstreams().iter().map(|upstream| async move {
        let listed = async {
            match awake(links, upstream).await?.filter(|link| link.era == Era::Legacy && link.lists_tasks()) {
                Some(link) => link.tasks().await.map(Some),
                None => Ok(None),
            }
        };
        let late = |_| Fault::upstream(&upstream.name(), "takes too long to list its tasks");
        timeout(PATIENCE + PATIENCE, listed).await.map_err(late)?
    });
    let listed: Vec<Result<Option<Vec<Raw>>, Fault>> = join_all(asked).await;
    if listed.iter().all(|listed| matches!(listed, Ok(None))) {
        return Err(Fault::method_not_found("tasks/list"));
    }
    let (mut seen, mut shown) = (HashSet::new(), Vec::new());
    for (upstream, listed) in scope.upstreams().iter().zip(listed) {
        let tasks = listed
            .inspect_err(|fault| tracing::debug!(fault = fault.message, "left out of the list of tasks"))
            .ok()
            .flatten()
            .unwrap_or_default();
        for task in tasks {
            let Some(id) = member_str(&task, "taskId").map(std::borrow::Cow::into_owned) else { continue };
            upstream.tasks.remember(&id);
            if seen.insert(id) {
                shown.push(task);
            }
        }
    }
    let shown: Vec<_> = shown.iter().map(|task| task.get()).collect();
    let text = format!("{{\"tasks\":[{}]}}", shown.join(","));
    Ok(RawValue::from_string(text).expect("items of valid JSON make valid JSON"))
}
