//! Progress tokens of requests that become tasks: such a token holds until its task has ended, long after its request was
//! answered (MCP 2025-11-25 §Progress, "Behavior Requirements").
//!
//! What is told of a request after its answer belongs to no request on the connection. So these tokens are the gateway's own
//! ones, which nobody can take for others and no two requests have, and what has one goes to whoever has begun the task,
//! with the downstream's. Nothing comes of one that is not known any more: its task has ended.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

use crate::gateway::relay::{Notification, Raw, member, method, set_member, set_path};

/// How each of these tokens begins, as it is written. What follows differs between processes.
static BEGINNING: LazyLock<String> = LazyLock::new(|| {
    // Without random bytes they may be those of another process, which is told of the same connection by nobody.
    format!("\"mcpeg-task-{:08x}-", getrandom::u32().unwrap_or_default())
});
/// The last number that was given out.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Where what is told goes after the answer.
pub(crate) type Later = Arc<dyn Fn(Notification) + Send + Sync>;

/// The tokens of one connection, each with that of the downstream and the way to it.
#[derive(Default)]
pub(crate) struct LastingTokens(Mutex<HashMap<Box<str>, Whose>>);

/// Whose a token is: the downstream's own one, and where it is told.
type Whose = (Box<str>, Later);

/// One of them, which nobody knows any more when this is dropped.
#[derive(Debug)]
pub(crate) struct LastingToken {
    /// All of the connection.
    all: Arc<LastingTokens>,
    /// As the upstream knows it.
    ours: Box<str>,
    /// As the downstream does.
    theirs: Box<str>,
}

/// Whether a token is one of these.
pub(crate) fn is_lasting(token: &str) -> bool {
    token.starts_with(BEGINNING.as_str())
}

impl fmt::Debug for LastingTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.lock().keys()).finish()
    }
}

impl LastingTokens {
    /// A token for a request that asks for a task and for progress, and its parameters with it; `None` for others.
    pub(crate) fn claim(
        self: &Arc<Self>,
        params: &mut Option<Raw>,
        later: impl FnOnce() -> Option<Later>,
    ) -> Option<LastingToken> {
        const TOKEN: [&str; 2] = ["_meta", "progressToken"];
        let written = params.as_deref()?;
        if !written.get().contains(TOKEN[1]) || member(written, "task").is_none() {
            return None;
        }
        let theirs: Box<str> = member(member(written, TOKEN[0])?, TOKEN[1])?.get().into();
        let later = later()?;
        let ours: Box<str> = format!("{}{}\"", *BEGINNING, LAST.fetch_add(1, Ordering::Relaxed)).into();
        *params = Some(set_path(written, &TOKEN, &ours)?);
        self.0.lock().insert(ours.clone(), (theirs.clone(), later));
        Some(LastingToken { all: Arc::clone(self), ours, theirs })
    }

    /// Brings what has such a token to whoever has begun the task; `Err` with what has none.
    pub(crate) fn bring(&self, note: Notification) -> Result<(), Notification> {
        let params = note.params.as_deref().filter(|_| note.method == method::PROGRESS);
        let token = params.and_then(|params| member(params, "progressToken"));
        let Some(token) = token.filter(|token| is_lasting(token.get())) else { return Err(note) };
        let known = self.0.lock().get(token.get()).cloned();
        if let Some((theirs, later)) = known {
            later(with_token(note, &theirs));
        }
        Ok(())
    }
}

impl LastingToken {
    /// What is told on the way of the request, as the downstream is to have it.
    pub(crate) fn put_back(&self, note: Notification) -> Notification {
        let token = note.params.as_deref().and_then(|params| member(params, "progressToken"));
        let is_own = note.method == method::PROGRESS && token.is_some_and(|token| token.get() == &*self.ours);
        if is_own { with_token(note, &self.theirs) } else { note }
    }
}

/// A notification with another token.
fn with_token(mut note: Notification, token: &str) -> Notification {
    note.params = note.params.map(|params| set_member(&params, "progressToken", token).unwrap_or(params));
    note
}

impl Drop for LastingToken {
    fn drop(&mut self) {
        self.all.0.lock().remove(&self.ours);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gateway::relay::raw;

    /// Where what is told is kept.
    fn heard() -> (Arc<Mutex<Vec<String>>>, impl Fn() -> Option<Later>) {
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&heard);
        let later = move || {
            let kept = Arc::clone(&kept);
            let later: Later = Arc::new(move |note| kept.lock().push(note.params.unwrap().get().to_owned()));
            Some(later)
        };
        (heard, later)
    }

    #[test]
    fn token_of_a_task_is_known_until_it_is_dropped_and_says_nothing_after() {
        let (tokens, (heard, later)) = (Arc::<LastingTokens>::default(), heard());
        let claim = |params: serde_json::Value| {
            let mut params = Some(raw(&params));
            let token = tokens.claim(&mut params, &later);
            (token, params.unwrap())
        };
        let (first, sent) = claim(json!({ "task": {}, "_meta": { "progressToken": "a" } }));
        let (second, other) = claim(json!({ "task": {}, "_meta": { "progressToken": "a" } }));
        let token = |sent: &Raw| member(member(sent, "_meta").unwrap(), "progressToken").unwrap().to_owned();
        let [own, other] = [token(&sent), token(&other)];
        assert!(is_lasting(own.get()) && own.get() != other.get());
        let progress = |token: &Raw| {
            let params = format!(r#"{{"progressToken":{token},"progress":1}}"#);
            let params = serde_json::value::RawValue::from_string(params).ok();
            Notification { method: method::PROGRESS.into(), params }
        };
        tokens.bring(progress(&own)).unwrap();
        assert_eq!(*heard.lock(), [r#"{"progressToken":"a","progress":1}"#]);
        let back = first.as_ref().unwrap().put_back(progress(&own));
        assert_eq!(back.params.unwrap().get(), r#"{"progressToken":"a","progress":1}"#);
        assert!(
            first.as_ref().unwrap().put_back(progress(&other)).params.unwrap().get().contains(other.get())
        );
        drop(first);
        tokens.bring(progress(&own)).unwrap();
        assert_eq!(heard.lock().len(), 1, "its task has ended");
        assert!(tokens.bring(progress(&raw(&"a"))).is_err(), "another's own");
        drop(second);
        for others in [json!({ "_meta": { "progressToken": "a" } }), json!({ "task": {} })] {
            assert!(claim(others).0.is_none());
        }
        assert!(tokens.0.lock().is_empty());
    }
}
