//! Tasks of servers: which of them knows a task (the extension `io.modelcontextprotocol/tasks`; MCP 2025-11-25 §Tasks).
//!
//! A task's name passes as its server wrote it, so it says nothing of the server. Where several could have it, they are
//! asked once.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::super::relay::{ClientMeta, Era, Outcome, TASKS, member, raw};
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
