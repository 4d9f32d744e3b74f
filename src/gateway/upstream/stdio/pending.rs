//! Requests in flight on one stdio connection: those of this process, and of the one before while that waits for answers.

use fieldwork::Fieldwork;

use super::transfer::Lender;
use crate::gateway::relay::{Id, Message, Notification, ParseError, method};
use crate::gateway::upstream::call::in_flight::{InFlight, subscription};
use crate::gateway::upstream::call::request::Role;

/// Requests in flight on one connection.
#[derive(Debug, Default, Fieldwork)]
#[fieldwork(get, get_mut, vis = "pub(crate)")]
pub(crate) struct Pending {
    /// Those of this process.
    calls: InFlight,
    /// The process that has had the pipes before and waits for answers, while there is one.
    #[field = false]
    lender: Option<Lender>,
}

impl Pending {
    /// The request that a line which cannot be read was meant to answer, be it of this process or of the one before.
    pub(crate) fn unread(&self, line: &[u8], error: &ParseError) -> Option<u64> {
        self.calls.unread(line, error, self.lender.iter().flat_map(Lender::calls))
    }

    /// The request that a notification belongs to, and the notification as the downstream is to have it.
    pub(crate) fn target(&self, note: Notification, role: Role) -> (Option<u64>, Notification) {
        self.calls.target(note, role, self.lends())
    }

    /// The request that a message without any reference belongs to.
    pub(crate) fn speaker(&self, role: Role) -> Option<u64> {
        self.calls.speaker(role, self.lends())
    }

    /// Whether the process before waits for anything.
    fn lends(&self) -> bool {
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
        let Self { calls, lender: Some(lender) } = self else { return false };
        let theirs = match message {
            Message::Response(response) => {
                let id = response.id.as_ref().and_then(Id::as_number);
                id.is_some_and(|id| lender.answered(id))
            }
            Message::Request(_) => false,
            Message::Notification(note) => match note.method.as_str() {
                // Tokens of this process are its own as long as it borrows.
                method::PROGRESS => calls.reported(note).is_none() && !lender.is_idle(),
                method::LOG_MESSAGE => lender.has_one() && !calls.serves_clients(),
                _ => subscription(note).is_some_and(|id| lender.has(id)),
            },
        };
        if theirs {
            lender.pass_on(line);
        }
        theirs
    }
}
