//! Progress tokens of requests whose answers come apart: each has a stream of its own, but the server may go by the token alone.
//!
//! No two requests in flight at one server have the same token (MCP 2026-07-28 §Progress: unique across all active requests):
//! one whose downstream has given it a token that is in use gets another one, and what is told of it has the downstream's.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::gateway::relay::{Notification, Raw, member, method, set_member, set_path, spelled_number};

/// The member that holds a token.
const MEMBER: &str = "progressToken";

/// The tokens of the requests in flight on one connection.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Mutex<HashSet<Box<str>>>);

/// The token of one request, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Token {
    /// Those of the connection.
    all: Arc<Tokens>,
    /// As the upstream knows it.
    ours: Box<str>,
    /// As the downstream does.
    theirs: Box<str>,
}

impl Tokens {
    /// The token of a request, if it has one, and its parameters with that.
    pub(crate) fn claim(self: &Arc<Self>, id: u64, params: &mut Option<Raw>) -> Option<Token> {
        let written = params.as_deref()?;
        // Most requests have none, and are not read for it.
        if !written.get().contains(MEMBER) {
            return None;
        }
        let theirs: Box<str> = member(member(written, "_meta")?, MEMBER)?.get().into();
        let mut all = self.0.lock();
        let ours = if all.contains(&theirs) { format!("\"mcpeg-{id}\"").into() } else { theirs.clone() };
        all.insert(ours.clone());
        drop(all);
        if ours != theirs {
            *params = set_path(written, &["_meta", MEMBER], &ours);
        }
        Some(Token { all: Arc::clone(self), ours, theirs })
    }
}

impl Token {
    /// A notification on the stream of a request with this token, or without any, as the downstream is to have it; `Err` for
    /// progress of another request.
    pub(crate) fn own(token: Option<&Self>, mut note: Notification) -> Result<Notification, Notification> {
        if note.method != method::PROGRESS {
            return Ok(note);
        }
        let Some(Self { ours, theirs, .. }) = token else { return Err(note) };
        let Some(params) = note.params.as_deref() else { return Err(note) };
        let told = member(params, MEMBER).map_or("", |told| told.get());
        // A server may have made a number a text, or the other way round.
        let is_spelled = || spelled_number(told).is_some_and(|number| spelled_number(ours) == Some(number));
        if told != &**ours && !is_spelled() {
            return Err(note);
        }
        if told != &**theirs {
            note.params = set_member(params, MEMBER, theirs);
        }
        Ok(note)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.all.0.lock().remove(&self.ours);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gateway::relay::raw;

    /// Progress of a token.
    fn progress(token: &serde_json::Value) -> Notification {
        let params = Some(raw(&json!({ "progressToken": token, "progress": 1 })));
        Notification { method: method::PROGRESS.into(), params }
    }

    #[test]
    fn token_is_the_downstreams_own_unless_another_request_has_it() {
        let tokens = Arc::<Tokens>::default();
        let claim = |id, token: &serde_json::Value| {
            let mut params = Some(raw(&json!({ "_meta": { "progressToken": token } })));
            let token = tokens.claim(id, &mut params).unwrap();
            (token, params.unwrap().get().to_owned())
        };
        let (first, sent) = claim(1, &json!("a"));
        assert!(sent.contains(r#""progressToken":"a""#));
        let (second, sent) = claim(2, &json!("a"));
        assert!(sent.contains(r#""progressToken":"mcpeg-2""#));
        for (token, told, own) in [
            (&first, "a", true),
            (&first, "mcpeg-2", false),
            (&second, "mcpeg-2", true),
            (&second, "a", false),
        ] {
            let note = Token::own(Some(token), progress(&json!(told)));
            assert_eq!(note.is_ok(), own, "{told}");
            assert!(note.is_err() || note.unwrap().params.unwrap().get().contains(r#""progressToken":"a""#));
        }
        drop(first);
        let (third, sent) = claim(3, &json!("a"));
        assert!(sent.contains(r#""progressToken":"a""#), "free again");
        let (number, _) = claim(4, &json!(7));
        let note = Token::own(Some(&number), progress(&json!("7"))).unwrap();
        assert!(note.params.unwrap().get().contains(r#""progressToken":7"#));
        assert!(Token::own(None, progress(&json!("a"))).is_err());
        drop((second, third, number));
        assert!(tokens.0.lock().is_empty());
        let mut without = Some(raw(&json!({ "arguments": { "progressToken": "a" } })));
        assert!(tokens.claim(5, &mut without).is_none());
    }
}
