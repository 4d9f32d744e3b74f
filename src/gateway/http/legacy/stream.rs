//! Streams of messages to a legacy client, which can be resumed.
//!
//! A stream of messages that belong to no request ends when the gateway drains, and its client has to come back for it. From
//! 2025-11-25 on clients do that after an orderly end, when `retry` says so (§Sending Messages to the Server, 6). SDKs of
//! the revisions before only do it after a broken stream, and some only where an event has told them a place.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use futures_util::stream::{self, Stream, StreamExt as _};

use crate::gateway::http::answer::{self, BrokenOff, Item};
use crate::gateway::http::cutoff::StreamEnd;
use crate::gateway::relay::LATEST_LEGACY;
use crate::gateway::session::{EventId, Listening, Log, Session, StreamId};

/// How long what was said before may take to be sent, before a stream is broken off.
const SENT: Duration = Duration::from_millis(100);

/// How far the stream of messages that belong to no request is.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// It is open.
    Open,
    /// Its client was told where it can go on.
    Parted,
    /// It is broken off.
    Broken,
}

/// The stream of messages that belong to no request.
struct Own {
    /// Whose it is.
    session: Arc<Session>,
    /// Keeps the session from idling.
    _listening: Listening,
    /// When it is to end.
    end: StreamEnd,
    /// Its ticket for the session's outbox.
    ticket: u64,
    /// Where it is.
    place: EventId,
    /// How far it is.
    stage: Stage,
}

impl Drop for Own {
    fn drop(&mut self) {
        self.session.outbox().close(self.ticket);
    }
}

impl Own {
    /// What comes next.
    async fn next(mut self) -> Option<(Result<Item, BrokenOff>, Self)> {
        let orderly = self.session.connections().client().version.as_str() >= LATEST_LEGACY;
        match self.stage {
            Stage::Open => {}
            Stage::Parted if !orderly => {
                tokio::time::sleep(SENT).await;
                self.stage = Stage::Broken;
                return Some((Err(BrokenOff), self));
            }
            Stage::Parted | Stage::Broken => return None,
        }
        let item = tokio::select! {
            biased;
            next = self.session.outbox().next(self.ticket, self.place.place) => {
                let (place, message) = next?;
                self.place.place = place;
                Item::message(&message, Some(&self.place))
            }
            () = self.session.ended().cancelled() => return None,
            () = self.end.reached() => {
                self.stage = Stage::Parted;
                if orderly { Item::place(self.place) } else { Item::parting(&self.place) }
            }
        };
        Some((Ok(item), self))
    }
}

/// A stream of messages that belong to no request: a new one, or the one of this number after the place of the last message
/// that the client has.
pub(super) fn own(
    session: Arc<Session>,
    listening: Listening,
    end: StreamEnd,
    last: Option<(u64, u64)>,
) -> Response {
    let number = last.map_or_else(|| session.logs().number(), |(number, _)| number);
    let (ticket, place) = session.outbox().open(number, last.map(|(_, place)| place));
    let place = EventId { stream: StreamId::Own(number), place };
    let prime = prime(&session, place).map(Ok);
    let own = Own { session, _listening: listening, end, ticket, place, stage: Stage::Open };
    answer::breakable(stream::iter(prime).chain(stream::unfold(own, Own::next)))
}

/// An event to resume from, before there is a message. Clients of older revisions parse the data of every event, so only
/// the newest gets an empty one.
pub(super) fn prime(session: &Session, place: EventId) -> Option<Item> {
    let primed = session.connections().client().version == LATEST_LEGACY;
    primed.then(|| Item::place(place))
}

/// The messages of a log after a place, each with its identifier. The guard keeps the session from idling.
pub(super) fn resumable(
    log: Arc<Log>,
    place: EventId,
    guard: Option<Listening>,
) -> impl Stream<Item = Item> + Send {
    stream::unfold((log, place, guard), |(log, place, guard)| async move {
        let (number, message) = log.after(place.place).await?;
        let id = EventId { place: number, ..place };
        Some((Item::message(&message, Some(&id)), (log, id, guard)))
    })
}
