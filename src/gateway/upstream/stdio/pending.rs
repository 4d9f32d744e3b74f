//! Requests in flight on one stdio connection, and which of them a message belongs to.
//!
//! Invariant: a progress token is known here as long as its request is.

use std::collections::{BTreeMap, HashMap};

use super::transfer::Lender;
use crate::gateway::relay::{Id, Message, Notification, key, member, method, set_member, spelled_number};
use crate::gateway::upstream::call::exchange::Events;
use crate::gateway::upstream::call::request::Role;

/// Requests in flight on one connection.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// By our identifier; the last is the newest.
    calls: BTreeMap<u64, Waiting>,
    /// Progress tokens as the upstream knows them.
    tokens: HashMap<Box<str>, u64>,
    /// The process that has had the pipes before and waits for answers, while there is one.
    lender: Option<Lender>,
}

/// One request in flight.
#[derive(Debug)]
struct Waiting {
    /// Its queue.
    events: Events,
    /// Its progress token as the upstream knows it, and as the downstream does.
    token: Option<(Box<str>, Box<str>)>,
    /// Whether a client waits for it.
    for_client: bool,
}

impl Pending {
    /// Puts a request in flight.
    pub(crate) fn add(
        &mut self,
        id: u64,
        events: Events,
        token: Option<(Box<str>, Box<str>)>,
        for_client: bool,
    ) {
        self.calls.insert(id, Waiting { events, token, for_client });
    }

    /// Takes a request out; its queue, if it was in flight.
    pub(crate) fn take(&mut self, id: u64) -> Option<Events> {
        let Waiting { events, token, .. } = self.calls.remove(&id)?;
        if let Some((upstream, _)) = token {
            self.tokens.remove(&upstream);
        }
        Some(events)
    }

    /// Takes all requests out.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Events> + use<> {
        self.tokens.clear();
        std::mem::take(&mut self.calls).into_values().map(|waiting| waiting.events)
    }

    /// The queue of a request.
    pub(crate) fn events(&self, id: u64) -> Option<&Events> {
        self.calls.get(&id).map(|waiting| &waiting.events)
    }

    /// The identifiers of all.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.calls.keys().copied().collect()
    }

    /// Whether a request is in flight, be it of this process or of the one before.
    pub(crate) fn is_in_flight(&self, id: u64) -> bool {
        self.calls.contains_key(&id) || self.lender.as_ref().is_some_and(|lender| lender.has(id))
    }

    /// The only request in flight, where there is one and no other.
    pub(crate) fn only(&self) -> Option<u64> {
        let theirs = self.lender.iter().flat_map(Lender::calls);
        let mut all = self.calls.keys().copied().chain(theirs);
        all.next().filter(|_| all.next().is_none())
    }

    /// The progress token by which the upstream is to know a request: the downstream's own, unless another request has it or
    /// `keep` says that it must not be kept.
    pub(crate) fn claim_token(&mut self, id: u64, theirs: &str, keep: bool) -> Box<str> {
        let ours = if keep && !self.tokens.contains_key(theirs) {
            theirs.into()
        } else {
            format!("\"mcpeg-{id}\"").into_boxed_str()
        };
        self.tokens.insert(ours.clone(), id);
        ours
    }

    /// The request that a notification belongs to, and the notification as the downstream is to have it.
    pub(crate) fn target(&self, note: Notification, role: Role) -> (Option<u64>, Notification) {
        match note.method.as_str() {
            method::PROGRESS => self.progress_target(note),
            method::LOG_MESSAGE => (self.speaker(role), note),
            _ => (self.subscription_target(&note), note),
        }
    }

    /// The request that a message without any reference belongs to: on a connection of one session the newest, on a
    /// shared one only an only one.
    pub(crate) fn speaker(&self, role: Role) -> Option<u64> {
        let mut clients = self.calls.iter().filter(|(_, waiting)| waiting.for_client);
        let newest = clients.next_back().map(|(id, _)| *id);
        let others = clients.next().is_some() || self.lender.as_ref().is_some_and(|it| !it.is_idle());
        newest.filter(|_| role == Role::Dedicated || !others)
    }

    /// The request that a progress notification reports on, with the token put back.
    fn progress_target(&self, mut note: Notification) -> (Option<u64>, Notification) {
        let token = note.params.as_deref().and_then(|params| member(params, "progressToken"));
        let Some((id, upstream)) = token.and_then(|token| self.known_token(token.get())) else {
            return (None, note);
        };
        let is_spelled_alike = token.is_some_and(|token| token.get() == upstream);
        if let Some((upstream, theirs)) = self.calls.get(&id).and_then(|waiting| waiting.token.as_ref())
            && (upstream != theirs || !is_spelled_alike)
            && let Some(params) = note.params.take()
        {
            note.params = Some(set_member(&params, "progressToken", theirs).unwrap_or(params));
        }
        (Some(id), note)
    }

    /// The request that has a progress token, and the token as the upstream knows it; where the server has made a number a
    /// text or the other way round, what it can only mean.
    fn known_token(&self, token: &str) -> Option<(u64, &str)> {
        let known = self.tokens.get_key_value(token).or_else(|| {
            let number = spelled_number(token)?;
            let as_text = || self.tokens.get_key_value(&*format!("\"{number}\""));
            self.tokens.get_key_value(&*number.to_string()).or_else(as_text)
        });
        known.map(|(token, id)| (*id, &**token))
    }

    /// The `subscriptions/listen` request that a notification names.
    fn subscription_target(&self, note: &Notification) -> Option<u64> {
        subscription(note).filter(|id| self.calls.contains_key(id))
    }

    /// Answers requests of the process before, too; of none any more without one. The one before that is returned.
    pub(crate) const fn set_lender(&mut self, lender: Option<Lender>) -> Option<Lender> {
        std::mem::replace(&mut self.lender, lender)
    }

    /// The process before, while it waits for answers.
    pub(crate) const fn lender(&mut self) -> Option<&mut Lender> {
        self.lender.as_mut()
    }

    /// Leaves a message of the child to the process before, if it is for one of its requests.
    pub(crate) fn leave_to_lender(&mut self, message: &Message, line: &[u8]) -> bool {
        // Tokens of this process are its own as long as it borrows.
        let known_token = |note: &Notification| {
            let token = note.params.as_deref().and_then(|params| member(params, "progressToken"));
            token.is_some_and(|token| self.known_token(token.get()).is_some())
        };
        let is_own_progress = matches!(message, Message::Notification(note) if known_token(note));
        let serves_clients = self.calls.values().any(|waiting| waiting.for_client);
        let Some(lender) = &mut self.lender else { return false };
        let theirs = match message {
            Message::Response(response) => {
                let id = response.id.as_ref().and_then(Id::as_number);
                id.is_some_and(|id| lender.answered(id))
            }
            Message::Request(_) => false,
            Message::Notification(note) => match note.method.as_str() {
                method::PROGRESS => !is_own_progress && !lender.is_idle(),
                method::LOG_MESSAGE => lender.has_one() && !serves_clients,
                _ => subscription(note).is_some_and(|id| lender.has(id)),
            },
        };
        if theirs {
            lender.pass_on(line);
        }
        theirs
    }
}

/// The `subscriptions/listen` request that a notification names, whosever that is.
fn subscription(note: &Notification) -> Option<u64> {
    let meta = member(note.params.as_deref()?, "_meta")?;
    member(meta, key::SUBSCRIPTION)?.get().trim_matches('"').parse().ok()
}
