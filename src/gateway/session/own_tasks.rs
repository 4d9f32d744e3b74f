//! The tasks that a session has begun: nobody else's exist for its client.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::gateway::upstream::LastingToken;

/// Tasks that one session may have; the oldest are forgotten first.
const TASKS: usize = 1000;

/// The tasks of one session, the oldest first.
#[derive(Debug, Default)]
pub(super) struct OwnTasks(Mutex<VecDeque<OwnTask>>);

/// One of them.
#[derive(Debug)]
struct OwnTask {
    /// The name of its upstream.
    upstream: String,
    /// Its own.
    id: String,
    /// Its progress token, until it has ended.
    token: Option<LastingToken>,
}

impl OwnTask {
    /// Whether it is this one.
    fn is(&self, upstream: &str, id: &str) -> bool {
        self.id == id && self.upstream == upstream
    }
}

impl OwnTasks {
    /// Adds a task; `false` if it is there.
    pub(super) fn add(&self, upstream: &str, id: &str) -> bool {
        let mut tasks = self.0.lock();
        if tasks.iter().any(|task| task.is(upstream, id)) {
            return false;
        }
        tasks.push_back(OwnTask { upstream: upstream.to_owned(), id: id.to_owned(), token: None });
        if tasks.len() > TASKS {
            tasks.pop_front();
        }
        true
    }

    /// Whether a task is the session's.
    pub(super) fn has(&self, upstream: &str, id: &str) -> bool {
        self.0.lock().iter().any(|task| task.is(upstream, id))
    }

    /// Notes the progress token of a task from now on; `None` where it has ended.
    pub(super) fn set_token(&self, upstream: &str, id: &str, token: Option<LastingToken>) {
        if let Some(task) = self.0.lock().iter_mut().find(|task| task.is(upstream, id)) {
            task.token = token;
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        self.0.lock().iter().map(|task| (task.upstream.clone(), task.id.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_is_known_by_its_upstream_and_the_oldest_are_forgotten() {
        let begun = OwnTasks::default();
        assert!(begun.add("a", "1") && !begun.add("a", "1") && begun.add("b", "1"));
        assert!(begun.has("a", "1") && !begun.has("a", "2") && !begun.has("c", "1"));
        for id in 0..TASKS - 1 {
            begun.add("c", &id.to_string());
        }
        assert!(!begun.has("a", "1") && begun.has("b", "1") && begun.all().len() == TASKS);
    }
}
