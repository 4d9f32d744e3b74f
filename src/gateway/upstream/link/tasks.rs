//! Tasks of servers: which of them knows a task (the extension `io.modelcontextprotocol/tasks`; MCP 2025-11-25 §Tasks).
//!
//! A task's name passes as its server wrote it, so it says nothing of the server or of the client. Whose a task is decides who
//! began it: a legacy session keeps the names of its own tasks, and those of modern clients are kept here with what can
//! be told of their client. To everybody else a task does not exist. After a restart nobody is known to have begun the
//! tasks of modern clients; then, of clients without a name of their own, a name that cannot be guessed proves that it was given (MCP 2025-11-25 §Tasks, "Security").

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use serde_json::value::RawValue;

use super::connection::Link;
use crate::gateway::error::Fault;
use crate::gateway::relay::{
    ClientMeta, Era, Notification, Object, Outcome, Raw, array_items, member, member_str, method, names, raw,
};
use crate::gateway::upstream::call::caller::Caller;
use crate::gateway::upstream::call::request::Call;
use crate::gateway::upstream::lists::listing::{ITEMS, PAGES};

/// As short a name may be guessed: what nobody is known to have begun under it is nobody's.
const GUESSABLE: usize = 16;

/// Whose a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The client's that asks.
    Own,
    /// Nobody has begun it here, as far as is known, and its name cannot be guessed: a caller that knows it was given it.
    Claimed,
    /// Somebody else's, or nobody's.
    Foreign,
}

/// Tasks that are remembered of one upstream; the oldest are forgotten first.
const REMEMBERED: usize = 10_000;
/// How long a server may take to say whether it knows a task.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tasks of modern clients that an upstream is known to have, and whose they are.
#[derive(Debug, Default)]
pub(crate) struct Tasks(Mutex<Owned>);

/// Tasks by name, and the names in their order.
#[derive(Debug, Default)]
struct Owned {
    /// Whose they are.
    owners: HashMap<String, Caller>,
    /// The oldest first.
    order: VecDeque<String>,
}

impl Tasks {
    /// Whose a task is, to this client.
    pub(crate) fn standing(&self, id: &str, caller: &Caller) -> Standing {
        match self.0.lock().owners.get(id) {
            Some(owner) if owner == caller => Standing::Own,
            // Who has a name is believed by that, and not by what it knows.
            None if id.len() >= GUESSABLE && caller.key().name().is_none() => Standing::Claimed,
            _ => Standing::Foreign,
        }
    }

    /// Notes whose a task is. One that has an owner keeps it.
    pub(crate) fn own(&self, id: &str, caller: &Caller) {
        let mut owned = self.0.lock();
        let Owned { owners, order } = &mut *owned;
        if owners.contains_key(id) {
            return;
        }
        owners.insert(id.to_owned(), caller.clone());
        order.push_back(id.to_owned());
        if order.len() > REMEMBERED
            && let Some(oldest) = order.pop_front()
        {
            owners.remove(&oldest);
        }
    }

    /// Each task with its owner, the oldest first.
    pub(crate) fn all(&self) -> Vec<(String, Caller)> {
        let owned = self.0.lock();
        owned.order.iter().filter_map(|id| Some((id.clone(), owned.owners.get(id)?.clone()))).collect()
    }
}

/// The name of the task that has begun instead of a result, if one has.
pub(crate) fn task_begun(link: &Link, result: &RawValue) -> Option<String> {
    if !link.has_tasks() || link.check_names("a task", result, names::RESULT).is_err() {
        return None;
    }
    match link.era() {
        Era::Legacy => member_str(member(result, "task")?, "taskId").map(Cow::into_owned),
        Era::Modern => {
            let result = Object::parse(result)?;
            result.text("resultType").filter(|kind| kind == "task")?;
            result.text("taskId").map(Cow::into_owned)
        }
    }
}

/// Whether a legacy server tells which tasks it has.
pub(crate) fn lists_tasks(link: &Link) -> bool {
    member(&link.handshake().capabilities, "tasks").is_some_and(|tasks| member(tasks, "list").is_some())
}

/// The tasks of a legacy server, as it writes them.
pub(crate) async fn list_tasks(link: &Link) -> Result<Vec<Raw>, Fault> {
    let (mut tasks, mut bytes) = (Vec::<Raw>::new(), 0);
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES {
        let params = cursor.as_deref().map(|cursor| raw(&json!({ "cursor": cursor })));
        let page = match link.call(Call::new(method::TASKS_LIST, params, PATIENCE)).await.outcome().await? {
            Outcome::Result(page) => page,
            Outcome::Error(error) => {
                tracing::warn!(upstream = %link.name(), error = error.get(), "cannot list tasks");
                return Err(Fault::upstream(link.name(), "refused to list its tasks"));
            }
        };
        link.check_names(method::TASKS_LIST, &page, names::PAGE)?;
        let mut items = member(&page, "tasks").and_then(array_items).unwrap_or_default();
        items.retain(|item| link.check_names(method::TASKS_LIST, item, names::ITEM).is_ok());
        bytes += page.get().len();
        tasks.extend(items.into_iter().map(ToOwned::to_owned));
        cursor = member_str(&page, "nextCursor").map(Cow::into_owned);
        if cursor.is_none() || bytes > ITEMS {
            break;
        }
    }
    Ok(tasks)
}

/// Whether the server knows this task.
pub(crate) async fn knows_task(link: &Link, id: &str, client: &ClientMeta) -> bool {
    matches!(get_task(link, id, client).await, Ok(Outcome::Result(_)))
}

/// What the server says of a task.
async fn get_task(link: &Link, id: &str, client: &ClientMeta) -> Result<Outcome, Fault> {
    let params = raw(&json!({ "taskId": id }));
    let params = if link.era() == Era::Modern { client.apply(Some(params)) } else { params };
    link.call_aside(Call::new(method::TASKS_GET, Some(params), PATIENCE)).await.outcome().await
}

/// What a modern server says of a task now, as it would be told to those who listen; `None` if it does not know it.
pub(crate) async fn task_now(
    link: &Link,
    id: &str,
    client: &ClientMeta,
) -> Result<Option<Notification>, Fault> {
    let Outcome::Result(task) = get_task(link, id, client).await? else { return Ok(None) };
    let task = Object::parse(&task).and_then(|task| task.without(|key| key == "resultType")).unwrap_or(task);
    Ok(Some(Notification { method: method::TASK.into(), params: Some(task) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::client::ClientKey;

    /// A client that says this of itself.
    fn client(name: &str) -> Caller {
        Caller::of(ClientKey::of(None), &ClientMeta { info: raw(&name), ..ClientMeta::default() })
    }

    #[test]
    fn only_so_many_tasks_are_remembered_and_the_newest_of_them() {
        let tasks = Tasks::default();
        for number in 0..=REMEMBERED {
            tasks.own(&number.to_string(), &client("a"));
        }
        let standing = |id: &str| tasks.standing(id, &client("a"));
        assert_eq!(standing("0"), Standing::Foreign);
        assert_eq!([standing("1"), standing(&REMEMBERED.to_string())], [Standing::Own; 2]);
        assert_eq!(tasks.all().len(), REMEMBERED);
    }

    #[test]
    fn task_is_of_the_client_that_has_begun_it_and_of_nobody_else() {
        let (tasks, long) = (Tasks::default(), "f2b1c9e0a7d84c53");
        tasks.own("7", &client("a"));
        tasks.own("7", &client("b"));
        assert_eq!(tasks.standing("7", &client("a")), Standing::Own);
        assert_eq!(tasks.standing("7", &client("b")), Standing::Foreign);
        assert_eq!(tasks.standing("8", &client("a")), Standing::Foreign);
        assert_eq!(tasks.standing(long, &client("a")), Standing::Claimed);
        tasks.own(long, &client("b"));
        assert_eq!(tasks.standing(long, &client("a")), Standing::Foreign);
    }
}
