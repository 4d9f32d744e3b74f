//! The messages of one request of a legacy client, kept so that a stream that broke off can be resumed
//! (MCP 2025-11-25 §Resumability and Redelivery).
//!
//! In an upgrade the requests of the old process end there. A client that comes back for their streams to the new one waits there
//! until the old one has told what came of them.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::Notify;

use crate::gateway::memory::{Held, Of};
use crate::gateway::relay::{Id, Message, Raw};

/// Messages that one log keeps, in bytes; the oldest go first.
const MESSAGES: usize = 16 << 20;
/// Logs that one session keeps after their request was answered.
pub(super) const LOGS: usize = 32;
/// What the logs of one session keep together, in bytes, beside those of requests in flight and the newest other one.
const KEPT: usize = 16 << 20;

/// A stream of a session, by its number: no two streams of a session have the same, whatever they bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamId {
    /// What belongs to no request. Releases before this one had a single such stream, of number 0.
    Own(u64),
    /// What comes of one request.
    Answers(u64),
}

/// An event's identifier: which stream, and which of its messages. No other event of the session has the same (MCP 2025-11-25
/// §Resumability and Redelivery, 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventId {
    /// The stream.
    pub(crate) stream: StreamId,
    /// How many messages had been sent, this one included.
    pub(crate) place: u64,
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.stream {
            StreamId::Own(number) => write!(f, "0.{number}-{}", self.place),
            StreamId::Answers(number) => write!(f, "{number}-{}", self.place),
        }
    }
}

impl std::str::FromStr for EventId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| text.parse().map_err(|_| ());
        let (stream, place) = text.split_once('-').ok_or(())?;
        let stream = match stream.split_once('.') {
            Some(("0", own)) => StreamId::Own(number(own)?),
            Some(_) => return Err(()),
            None if stream == "0" => StreamId::Own(0),
            None => StreamId::Answers(number(stream)?),
        };
        Ok(Self { stream, place: number(place)? })
    }
}

/// The messages that belong to one request.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// What was sent, and whether more comes.
    state: Mutex<State>,
    /// Wakes readers.
    changed: Notify,
}

/// What a log holds.
#[derive(Debug, Default)]
struct State {
    /// The last messages.
    messages: VecDeque<Message>,
    /// What they take, in bytes.
    weight: usize,
    /// The same in the account of the process.
    held: Held,
    /// How many older ones are gone.
    gone: u64,
    /// Whether the last message is there.
    ended: bool,
    /// Whether all that is left is a last message that says so: the stream was another process's.
    lost: bool,
    /// Whether somebody has read it to its end.
    read: bool,
}

/// The place of the only message of a lost log, beyond any that was given out.
const LOST: u64 = 1 << 60;

impl Log {
    /// The log of a request that was in flight in a process which is gone: a client that comes back for it gets this message.
    fn lost(message: Message) -> Self {
        let messages = VecDeque::from([message]);
        let state = State { messages, ended: true, lost: true, ..State::default() };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Waits until no message follows.
    pub(super) async fn ended(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.state.lock().ended {
                return;
            }
            changed.await;
        }
    }

    /// What it holds, and how many messages before are gone.
    pub(super) fn content(&self) -> (u64, Vec<Message>) {
        let state = self.state.lock();
        (state.gone, state.messages.iter().cloned().collect())
    }

    /// Whether nobody has read it to its end.
    fn is_unread(&self) -> bool {
        !self.state.lock().read
    }

    /// Takes what another process has told of it; nothing if it has ended.
    fn fill(&self, gone: u64, messages: Vec<Message>) {
        let mut state = self.state.lock();
        if !state.ended {
            let weight = messages.iter().map(Message::weight).sum();
            let held = Held::new(Of::Sessions, weight);
            *state = State { messages: messages.into(), weight, held, gone, ended: true, ..State::default() };
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Adds a message.
    pub(crate) fn push(&self, message: Message) {
        let mut state = self.state.lock();
        state.weight += message.weight();
        while state.weight > MESSAGES
            && let Some(oldest) = state.messages.pop_front()
        {
            state.weight -= oldest.weight();
            state.gone += 1;
        }
        state.messages.push_back(message);
        let weight = state.weight;
        state.held.set(weight);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Notes that no message follows.
    pub(crate) fn end(&self) {
        self.state.lock().ended = true;
        self.changed.notify_waiters();
    }

    /// The message after the first `place` ones, with its own place; `None` after the last.
    pub(crate) async fn after(&self, place: u64) -> Option<(u64, Message)> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Enabled before looking, so that a message that arrives in between is not slept through.
            changed.as_mut().enable();
            {
                let mut state = self.state.lock();
                if state.lost {
                    let last = state.messages.front().filter(|_| place < LOST);
                    return last.map(|message| (LOST, message.clone()));
                }
                let from = place.max(state.gone);
                let index = usize::try_from(from - state.gone).unwrap_or(usize::MAX);
                if let Some(message) = state.messages.get(index) {
                    return Some((from + 1, message.clone()));
                }
                if state.ended {
                    state.read = true;
                    return None;
                }
            }
            changed.await;
        }
    }
}

/// The logs of one session that a client may come back to.
#[derive(Debug, Default)]
pub(crate) struct Logs(Mutex<RequestLogs>);

/// The last stream number given out, and the logs that are kept, oldest first.
type RequestLogs = (u64, VecDeque<KeptLog>);

/// A log that is kept.
#[derive(Debug)]
struct KeptLog {
    /// Its stream's number.
    number: u64,
    /// The request, if it is known.
    request: Option<Id>,
    /// The log.
    log: Arc<Log>,
    /// Whether another process is to tell what becomes of it.
    elsewhere: bool,
}

impl Logs {
    /// The number of a new stream that has no log.
    pub(crate) fn number(&self) -> u64 {
        let mut logs = self.0.lock();
        logs.0 += 1;
        logs.0
    }

    /// Keeps a log under a new stream number.
    pub(crate) fn keep(&self, request: &Id, log: &Arc<Log>) -> u64 {
        let number = self.number();
        let mut logs = self.0.lock();
        let (request, log) = (Some(request.clone()), Arc::clone(log));
        logs.1.push_back(KeptLog { number, request, log, elsewhere: false });
        number
    }

    /// Drops the oldest logs of requests that were answered, where there are too many. A reader of a log has a hold on it:
    /// only coming back to it later ends here. The log of a request in flight is there in any case.
    pub(crate) fn trim(&self) {
        let mut logs = self.0.lock();
        let states = logs.1.iter().map(|kept| {
            let state = kept.log.state.lock();
            (state.ended, state.weight)
        });
        let (mut ended, mut kept) = (0, 0);
        for (_, weight) in states.filter(|(has_ended, _)| *has_ended) {
            ended += 1;
            kept += weight;
        }
        let mut spare = move |log: &Log| {
            let state = log.state.lock();
            let spare = state.ended && (ended > LOGS || (kept > KEPT && ended > 1));
            if spare {
                ended -= 1;
                kept -= state.weight;
            }
            spare
        };
        logs.1.retain(|kept| !spare(&kept.log));
    }

    /// Bytes of logs of requests that were answered.
    pub(super) fn spare(&self) -> usize {
        let logs = self.0.lock();
        let states = logs.1.iter().map(|kept| kept.log.state.lock());
        states.filter(|state| state.ended).map(|state| state.weight).sum()
    }

    /// Drops these logs, since memory is needed. One that somebody reads is there until that ends.
    pub(super) fn drop_spare(&self) {
        self.0.lock().1.retain(|kept| !kept.log.state.lock().ended);
    }

    /// The last stream number given out, and those that are kept with their requests.
    pub(crate) fn numbers(&self) -> (u64, Vec<(u64, Raw)>) {
        let logs = self.0.lock();
        let raw = |id: &Id| RawValue::from_string(id.as_str().to_owned()).ok();
        (logs.0, logs.1.iter().filter_map(|kept| Some((kept.number, raw(kept.request.as_ref()?)?))).collect())
    }

    /// Goes on where another process has left: numbers are not given out twice, and a client that comes back for one of its
    /// streams is told what `answer` makes of the request.
    pub(crate) fn continue_from(&self, last: u64, streams: &[(u64, Raw)], answer: impl Fn(Id) -> Message) {
        let mut logs = self.0.lock();
        logs.0 = logs.0.max(last);
        for (number, id) in streams {
            if let Some(id) = Id::from_json(id.get()) {
                let log = Arc::new(Log::lost(answer(id.clone())));
                logs.1.push_back(KeptLog { number: *number, request: Some(id), log, elsewhere: false });
            }
        }
    }

    /// The same where the other process still is, and tells what becomes of these.
    pub(super) fn go_on_beside(&self, last: u64, streams: &[(u64, Raw)]) {
        let mut logs = self.0.lock();
        logs.0 = logs.0.max(last);
        for (number, id) in streams {
            let (number, request, log) = (*number, Id::from_json(id.get()), Arc::default());
            logs.1.push_back(KeptLog { number, request, log, elsewhere: true });
        }
    }

    /// The log of a stream of another process, which is asked for it: it is filled when that has told what it was.
    pub(super) fn elsewhere(&self, number: u64) -> Arc<Log> {
        let mut logs = self.0.lock();
        if let Some(kept) = logs.1.iter().find(|kept| kept.number == number) {
            return Arc::clone(&kept.log);
        }
        let log = Arc::<Log>::default();
        logs.1.push_back(KeptLog { number, request: None, log: Arc::clone(&log), elsewhere: true });
        log
    }

    /// Takes what another process has told of a stream of its own.
    pub(super) fn fill(&self, number: u64, gone: u64, messages: Vec<Message>) {
        self.elsewhere(number).fill(gone, messages);
        if let Some(kept) = self.0.lock().1.iter_mut().find(|kept| kept.number == number) {
            kept.elsewhere = false;
        }
        self.trim();
    }

    /// The other process is gone: of what it has not told, all that is known is what `answer` makes of the request.
    pub(super) fn nobody_elsewhere(&self, answer: impl Fn(Id) -> Message) {
        let mut logs = self.0.lock();
        for kept in logs.1.iter_mut().filter(|kept| kept.elsewhere) {
            kept.elsewhere = false;
            let mut state = kept.log.state.lock();
            if let Some(request) = kept.request.clone().filter(|_| !state.ended) {
                state.messages = VecDeque::from([answer(request)]);
                state.lost = true;
            }
            state.ended = true;
            drop(state);
            kept.log.changed.notify_waiters();
        }
    }

    /// The streams of this process that nobody has read to their end.
    pub(super) fn unread(&self) -> Vec<(u64, Arc<Log>)> {
        let logs = self.0.lock();
        let unread = logs.1.iter().filter(|kept| !kept.elsewhere && kept.log.is_unread());
        unread.map(|kept| (kept.number, Arc::clone(&kept.log))).collect()
    }

    /// The log of a stream number, if it is still kept and this process knows what came of it.
    pub(crate) fn get(&self, number: u64) -> Option<Arc<Log>> {
        let logs = self.0.lock();
        let mut known = logs.1.iter().filter(|kept| !kept.elsewhere);
        known.find(|kept| kept.number == number).map(|kept| Arc::clone(&kept.log))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::relay::Notification;

    #[tokio::test]
    async fn a_reader_resumes_where_it_was_and_ends_after_the_last() {
        let log = Log::default();
        for method in ["a", "b", "c"] {
            log.push(Message::Notification(Notification { method: method.into(), params: None }));
        }
        log.end();
        let (place, message) = log.after(1).await.unwrap();
        assert!(matches!(message, Message::Notification(note) if note.method == "b"));
        assert_eq!(place, 2);
        assert!(log.after(3).await.is_none());
    }

    #[tokio::test]
    async fn stream_of_a_process_that_is_gone_ends_with_what_became_of_it() {
        let (logs, before) = (Logs::default(), Logs::default());
        before.keep(&Id::number(7), &Arc::default());
        let (last, streams) = before.numbers();
        let said = |id: Id| {
            let text = format!("lost {id}");
            Message::Notification(Notification { method: text.as_str().into(), params: None })
        };
        logs.continue_from(last + 5, &streams, said);
        let log = logs.get(1).unwrap();
        let (place, message) = log.after(3).await.unwrap();
        assert!(matches!(message, Message::Notification(note) if note.method == "lost 7"));
        assert!(log.after(place).await.is_none());
        assert_eq!(logs.keep(&Id::number(8), &Arc::default()), 7);
    }

    #[test]
    fn request_in_flight_can_be_come_back_for_however_many_others_are_answered() {
        let logs = Logs::default();
        let log = |weight: usize, ends: bool| {
            let log = Arc::<Log>::default();
            let params = RawValue::from_string(format!("\"{}\"", "x".repeat(weight))).ok();
            log.push(Message::Notification(Notification { method: "m".into(), params }));
            if ends {
                log.end();
            }
            let number = logs.keep(&Id::number(1), &log);
            logs.trim();
            (number, log)
        };
        let (slow, of_slow) = log(KEPT, false);
        let answered: Vec<_> = (0..2 * LOGS).map(|_| log(1, true).0).collect();
        assert!(logs.get(slow).is_some());
        assert_eq!(answered.iter().filter(|number| logs.get(**number).is_some()).count(), LOGS);
        assert!(logs.get(*answered.last().unwrap()).is_some());
        // Large ones are fewer, but the newest is there.
        let large: Vec<_> = (0..3).map(|_| log(KEPT, true).0).collect();
        assert!(large.iter().map(|number| logs.get(*number).is_some()).eq([false, false, true]));
        assert!(logs.get(slow).is_some());
        of_slow.end();
        logs.trim();
        assert!(logs.get(slow).is_none(), "it is the older one of two");
    }

    #[tokio::test]
    async fn stream_of_a_process_that_still_is_goes_on_with_what_that_tells() {
        let (logs, before) = (Logs::default(), Logs::default());
        let note = |method: &str| Message::Notification(Notification { method: method.into(), params: None });
        let of = |message: Option<(u64, Message)>| match message {
            Some((place, Message::Notification(note))) => Some((place, note.method)),
            _ => None,
        };
        let kept = [(); 3].map(|()| {
            let log = Arc::<Log>::default();
            log.push(note("a"));
            (before.keep(&Id::number(7), &log), log)
        });
        let (last, streams) = before.numbers();
        logs.go_on_beside(last, &streams);
        assert!(logs.get(1).is_none(), "it is not known yet");
        let waiting = logs.elsewhere(1);
        let read = tokio::spawn(async move { (waiting.after(1).await, waiting.after(2).await) });
        // One was read to its end there, and one is not told of.
        kept[0].1.push(note("b"));
        kept[1].1.end();
        assert!(kept[1].1.after(1).await.is_none());
        kept[0].1.end();
        for (number, log) in before.unread().into_iter().filter(|(number, _)| *number == 1) {
            log.ended().await;
            let (gone, messages) = log.content();
            logs.fill(number, gone, messages);
        }
        assert_eq!(before.unread().iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 3]);
        let (next, end) = read.await.unwrap();
        assert_eq!((of(next), of(end)), (Some((2, "b".into())), None));
        logs.nobody_elsewhere(|_| note("lost"));
        assert_eq!(of(logs.get(3).unwrap().after(1).await), Some((LOST, "lost".into())));
        assert_eq!(of(logs.get(1).unwrap().after(1).await), Some((2, "b".into())), "what was told holds");
    }

    #[test]
    fn event_identifiers_survive_the_wire() {
        for stream in [StreamId::Own(1), StreamId::Answers(7)] {
            let id = EventId { stream, place: 3 };
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        // Of a release before this one.
        assert_eq!("0-3".parse(), Ok(EventId { stream: StreamId::Own(0), place: 3 }));
        for wrong in ["x", "1", "1.2-3", "0.x-1", "0.1-"] {
            assert_eq!(wrong.parse::<EventId>(), Err(()), "{wrong}");
        }
    }
}
