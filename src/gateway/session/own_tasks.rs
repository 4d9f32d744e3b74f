//! The tasks that a session has begun: nobody else's exist for its client.

use std::collections::VecDeque;

use super::session::Session;
use super::transfer::Change;

/// Tasks that one session may have; the oldest are forgotten first.
const TASKS: usize = 1000;

/// The tasks of one session, each with the name of its upstream, the oldest first.
#[derive(Debug, Default)]
pub(super) struct OwnTasks(VecDeque<(String, String)>);

impl OwnTasks {
    /// Adds a task; `false` if it is there.
    fn add(&mut self, upstream: &str, id: &str) -> bool {
        if self.has(upstream, id) {
            return false;
        }
        self.0.push_back((upstream.to_owned(), id.to_owned()));
        if self.0.len() > TASKS {
            self.0.pop_front();
        }
        true
    }

    /// Whether a task is the session's.
    fn has(&self, upstream: &str, id: &str) -> bool {
        self.0.iter().any(|(its, known)| known == id && its == upstream)
    }
}

impl Session {
    /// Notes that a task was begun; `false` if that was known.
    pub(crate) fn begin_task(&self, upstream: &str, id: &str) -> bool {
        let added = self.begun.lock().add(upstream, id);
        if added {
            self.note(|| Change::Task(upstream.to_owned(), id.to_owned()));
        }
        added
    }

    /// Whether a task is the session's.
    pub(super) fn has_task(&self, upstream: &str, id: &str) -> bool {
        self.begun.lock().has(upstream, id)
    }

    /// The session's tasks.
    pub(super) fn tasks(&self) -> Vec<(String, String)> {
        self.begun.lock().0.iter().cloned().collect()
    }

    /// Goes on with the tasks of the session in another process.
    pub(super) fn continue_tasks(&self, tasks: &[(String, String)]) {
        let mut begun = self.begun.lock();
        for (upstream, id) in tasks {
            begun.add(upstream, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_is_known_by_its_upstream_and_the_oldest_are_forgotten() {
        let mut begun = OwnTasks::default();
        assert!(begun.add("a", "1") && !begun.add("a", "1") && begun.add("b", "1"));
        assert!(begun.has("a", "1") && !begun.has("a", "2") && !begun.has("c", "1"));
        for id in 0..TASKS - 1 {
            begun.add("c", &id.to_string());
        }
        assert!(!begun.has("a", "1") && begun.has("b", "1") && begun.0.len() == TASKS);
    }
}
