//! Requests in flight on one stdio connection, those of the process before this one among them.

use super::transfer::Lender;
use crate::gateway::relay::{Id, Message, Notification, member, method};
use crate::gateway::upstream::call::in_flight::{InFlight, subscription};
use crate::gateway::upstream::call::request::Role;

/// Requests in flight on one connection.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Those of this process.
    own: InFlight,
    /// The process that has had the pipes before and waits for answers, while there is one.
    lender: Option<Lender>,
}

impl Pending {
    /// Those of this process.
    pub(crate) const fn own(&mut self) -> &mut InFlight {
        &mut self.own
    }

    /// The request that a notification belongs to, and the notification as the downstream is to have it.
    pub(crate) fn target(&self, note: Notification, role: Role) -> (Option<u64>, Notification) {
        self.own.target(note, role, self.has_others())
    }

    /// The request that a message without any reference belongs to.
    pub(crate) fn speaker(&self, role: Role) -> Option<u64> {
        self.own.speaker(role, self.has_others())
    }

    /// Whether the process before waits for answers.
    fn has_others(&self) -> bool {
        self.lender.as_ref().is_some_and(|lender| !lender.is_idle())
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
        let serves_clients = self.own.serves_clients();
        let Some(lender) = &mut self.lender else { return false };
        let theirs = match message {
            Message::Response(response) => {
                let id = response.id.as_ref().and_then(Id::as_number);
                id.is_some_and(|id| lender.answered(id))
            }
            Message::Request(_) => false,
            Message::Notification(note) => match note.method.as_str() {
                // Tokens of this process are its own as long as it borrows.
                method::PROGRESS => {
                    let token = note.params.as_deref().and_then(|params| member(params, "progressToken"));
                    let known = token.is_some_and(|token| self.own.knows_token(token.get()));
                    !known && !lender.is_idle()
                }
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
