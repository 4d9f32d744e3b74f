//! Requests of servers to one client, so that its answers find their way back.
//!
//! Identifiers and progress tokens towards the client are the session's own, since several upstreams may use the same ones.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::gateway::error::Fault;
use crate::gateway::relay::{
    Id, Message, Notification, Outcome, Raw, Request, Response, legacy_question, member, method, set_member,
    set_path,
};
use crate::gateway::upstream::Link;

/// Requests of servers that may wait for the client's answer; the oldest are given up first.
const ASKED: usize = 1024;

/// Requests of servers, and whose they are.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    /// Those that the client has not answered, by the identifier that it was given.
    open: Mutex<BTreeMap<u64, Asker>>,
    /// Whose progress the client tells by these tokens of the session's own, and by which token of the server's.
    tokens: Mutex<BTreeMap<u64, (Weak<Link>, Raw)>>,
    /// The last identifier given to the client.
    last: AtomicU64,
}

/// Who waits for an answer of the client.
#[derive(Debug)]
enum Asker {
    /// A server, under its own identifier.
    Server(Arc<Link>, Id),
    /// The gateway itself, which carries the answer to a modern server.
    Gateway(oneshot::Sender<Outcome>),
}

impl Questions {
    /// Gives a server's request the identifier under which the client will know it, and a progress token in the same way.
    pub(crate) fn ask(&self, link: &Arc<Link>, request: Request) -> Message {
        let number = self.note(Asker::Server(Arc::clone(link), request.id));
        let retold = request.params.as_deref().and_then(|params| {
            let token = member(member(params, "_meta")?, "progressToken")?;
            let retold = set_path(params, &["_meta", "progressToken"], &number.to_string())?;
            let mut tokens = self.tokens.lock();
            if tokens.len() >= ASKED {
                tokens.pop_first();
            }
            tokens.insert(number, (Arc::downgrade(link), token.to_owned()));
            Some(retold)
        });
        let params = retold.or(request.params);
        Message::Request(Request { id: Id::number(number), params, ..request })
    }

    /// A question of the gateway to the client, and where the answer will be.
    pub(crate) fn ask_for_gateway(
        &self,
        method: &str,
        params: Option<Raw>,
    ) -> (Message, oneshot::Receiver<Outcome>) {
        let (sender, answer) = oneshot::channel();
        let number = self.note(Asker::Gateway(sender));
        let params = legacy_question(method, params, number);
        (Message::Request(Request { id: Id::number(number), method: method.into(), params }), answer)
    }

    /// Notes that somebody waits for an answer, and gives the question the number by which the client will know it.
    fn note(&self, waiting: Asker) -> u64 {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let mut open = self.open.lock();
        if open.len() >= ASKED {
            open.pop_first();
        }
        open.insert(number, waiting);
        number
    }

    /// Whether a server waits for this answer of the client.
    pub(crate) fn awaits(&self, response: &Response) -> bool {
        response.id.as_ref().and_then(Id::as_number).is_some_and(|id| self.open.lock().contains_key(&id))
    }

    /// Brings the client's answer to the server that asked; whether one has.
    pub(super) async fn answered(&self, response: Response) -> Result<bool, Fault> {
        let asker = response.id.as_ref().and_then(Id::as_number).and_then(|id| self.open.lock().remove(&id));
        match asker {
            Some(Asker::Server(link, id)) => {
                link.write(&Message::Response(Response { id: Some(id), ..response })).await?;
            }
            // The request may have been cancelled meanwhile.
            Some(Asker::Gateway(answer)) => drop(answer.send(response.outcome)),
            None => return Ok(false),
        }
        Ok(true)
    }

    /// The server that a client's progress is meant for, and the notification as that one knows it, if one has asked for it.
    pub(super) fn progress(&self, note: &Notification) -> Option<(Weak<Link>, Notification)> {
        let params = note.params.as_deref()?;
        let number = member(params, "progressToken")?.get().parse().ok()?;
        let (link, token) = self.tokens.lock().get(&number).cloned()?;
        let params = Some(set_member(params, "progressToken", token.get())?);
        Some((link, Notification { params, ..note.clone() }))
    }

    /// A server's notification as the client understands it: a request is taken back under the client's identifier.
    pub(crate) fn translated(&self, link: &Arc<Link>, note: Notification) -> Notification {
        if note.method != method::CANCELLED {
            return note;
        }
        let translate = |params: &RawValue| {
            let theirs = Id::from_json(member(params, "requestId")?.get())?;
            let mut open = self.open.lock();
            let same = |asker: &Asker| matches!(asker, Asker::Server(on, id) if Arc::ptr_eq(on, link) && *id == theirs);
            let number = open.iter().find(|(_, question)| same(question)).map(|(number, _)| *number)?;
            open.remove(&number);
            set_member(params, "requestId", &number.to_string())
        };
        let params = note.params.as_deref().and_then(translate).or(note.params);
        Notification { params, ..note }
    }

    /// The last identifier that was given to the client.
    pub(super) fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Goes on where another process has left: no identifier is given out twice.
    pub(super) fn continue_from(&self, last: u64) {
        self.last.store(last, Ordering::Relaxed);
    }
}
