//! Tasks of servers: which of them knows a task (the extension `io.modelcontextprotocol/tasks`; MCP 2025-11-25 §Tasks).
//!
//! A task's name passes as its server wrote it, so it says nothing of the server. Where several could have it, they are
//! asked once.

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::super::error::Fault;
use super::super::relay::{
    ClientMeta, Era, Outcome, Raw, TASKS, array_items, member, member_str, names, raw,
};
use super::known::{ITEMS, PAGES};
use super::link::{Call, Link};

/// Tasks that are remembered of one upstream; the oldest are forgotten first.
const REMEMBERED: usize = 10_000;
/// How long a server may take to say whether it knows a task.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tasks that an upstream is known to have.
#[derive(Debug, Default)]
pub(crate) struct Tasks(Mutex<(HashSet<String>, VecDeque<String>)>);

impl Tasks {
    /// Whether a task is remembered.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.contains(id)
    }

    /// Remembers a task.
    pub(crate) fn remember(&self, id: &str) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, order) = &mut *tasks;
        if known.insert(id.to_owned()) {
            order.push_back(id.to_owned());
        }
        if order.len() > REMEMBERED
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
    }
}

impl Link {
    /// Whether the server has tasks.
    pub(crate) fn has_tasks(&self) -> bool {
        let capabilities = &self.handshake.capabilities;
        match self.era {
            Era::Legacy => member(capabilities, "tasks").is_some(),
            Era::Modern => member(capabilities, "extensions").is_some_and(|has| member(has, TASKS).is_some()),
        }
    }

    /// Whether a legacy server tells which tasks it has.
    pub(crate) fn lists_tasks(&self) -> bool {
        member(&self.handshake.capabilities, "tasks").is_some_and(|tasks| member(tasks, "list").is_some())
    }

    /// The tasks of a legacy server, as it writes them.
    pub(crate) async fn tasks(&self) -> Result<Vec<Raw>, Fault> {
        let (mut tasks, mut bytes) = (Vec::<Raw>::new(), 0);
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES {
            let params = cursor.as_deref().map(|cursor| raw(&json!({ "cursor": cursor })));
            let page = match self.call(Call::new("tasks/list", params, PATIENCE)).await.outcome().await? {
                Outcome::Result(page) => page,
                Outcome::Error(error) => {
                    tracing::warn!(upstream = %self.name, error = error.get(), "cannot list tasks");
                    return Err(Fault::upstream(&self.name, "refused to list its tasks"));
                }
            };
            self.check_names("tasks/list", &page, names::PAGE)?;
            let mut items = member(&page, "tasks").and_then(array_items).unwrap_or_default();
            items.retain(|item| self.check_names("tasks/list", item, names::ITEM).is_ok());
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
    pub(crate) async fn knows_task(&self, id: &str, client: &ClientMeta) -> bool {
        let params = raw(&json!({ "taskId": id }));
        let params = if self.era == Era::Modern { client.apply(Some(params)) } else { params };
        let answer = self.call_aside(Call::new("tasks/get", Some(params), PATIENCE)).await.outcome().await;
        matches!(answer, Ok(Outcome::Result(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_tasks_are_remembered_and_the_newest_of_them() {
        let tasks = Tasks::default();
        for number in 0..=REMEMBERED {
            tasks.remember(&number.to_string());
        }
        assert!(!tasks.has("0") && tasks.has("1") && tasks.has(&REMEMBERED.to_string()));
    }
}
