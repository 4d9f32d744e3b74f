//! The tasks that a session has begun: nobody else's exist for its client.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Tasks that one session may have; the oldest are forgotten first.
const TASKS: usize = 1000;

/// The tasks of one session, each with the name of its upstream, the oldest first.
#[derive(Debug, Default)]
pub(super) struct OwnTasks(Mutex<VecDeque<(String, String)>>);

impl OwnTasks {
    /// Adds a task; `false` if it is there.
    pub(super) fn add(&self, upstream: &str, id: &str) -> bool {
        let mut tasks = self.0.lock();
        if is_among(&tasks, upstream, id) {
            return false;
        }
        tasks.push_back((upstream.to_owned(), id.to_owned()));
        if tasks.len() > TASKS {
            tasks.pop_front();
        }
        true
    }

    /// Whether a task is the session's.
    pub(super) fn has(&self, upstream: &str, id: &str) -> bool {
        is_among(&self.0.lock(), upstream, id)
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        self.0.lock().iter().cloned().collect()
    }
}

/// Whether a task is one of these.
fn is_among(tasks: &VecDeque<(String, String)>, upstream: &str, id: &str) -> bool {
    tasks.iter().any(|(its, known)| known == id && its == upstream)
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
