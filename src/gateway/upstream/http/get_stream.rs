//! The GET stream of a legacy session: what an HTTP server says outside of its answers.
//!
//! While it is open, what is remembered of lists can be trusted (`lists::cache`). It is opened anew when it ends, and when
//! nothing has come for [`SILENCE`]: a peer that vanished behind a proxy is noticed by nothing else. After its end the
//! session is asked whether it still is: a server that was replaced may not know it, whatever it says to GET.

use std::sync::Weak;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::Response as HttpResponse;
use tokio::time::{Instant, timeout};

use super::pool::ResponseBody;
use super::requester::{Got, Requester, SILENCE};
use super::session_check::{Ask, is_known};
use super::sse::{RETRY, events as read_events, note_place};
use crate::gateway::relay::Message;
use crate::gateway::upstream::inbox::Inbound;
use crate::gateway::upstream::lists::kind::Kind;

/// The longest wait after failures.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest wait where the server refuses a stream, but not for good.
const REFUSED: Duration = Duration::from_secs(300);
/// The shortest wait before a stream is opened again after one that has told nothing, whatever the server says.
const PAUSE: Duration = Duration::from_secs(1);
/// A stream that lasted for so long has not ended at once.
const STEADY: Duration = Duration::from_secs(10);

/// When a stream is opened again.
struct Pace {
    /// The next wait.
    wait: Duration,
    /// What the server has asked for, once it has.
    stated: Option<Duration>,
}

/// What came of one stream.
struct Heard {
    /// Whether there was a message in it.
    something: bool,
    /// How long it lasted.
    lasted: Duration,
}

impl Pace {
    /// The one with which a session begins.
    const fn new() -> Self {
        Self { wait: RETRY, stated: None }
    }

    /// After an attempt that has failed.
    fn failed(&mut self, longest: Duration) {
        self.wait = (self.wait * 2).min(longest);
    }

    /// After a stream has ended. Where it has told nothing and ended at once, the next one may do the same; a server that
    /// says when to come back means it (MCP 2025-11-25 §Listening for Messages from the Server, 6).
    fn ended(&mut self, heard: &Heard) {
        let idle = !heard.something && heard.lasted < STEADY;
        self.wait = match (self.stated, idle) {
            (Some(stated), true) => stated.max(PAUSE),
            (Some(stated), false) => stated,
            (None, true) => (self.wait * 2).min(REFUSED),
            (None, false) => RETRY,
        };
    }
}

/// Opens the GET stream of a legacy session, and again whenever it breaks.
///
/// The server may have none. Before there was one, a refusal says no more than that: the session has just begun.
pub(crate) async fn listen(requester: Weak<Requester>, ask: Ask) {
    let (mut last, mut pace, mut had): (Option<String>, _, _) = (None, Pace::new(), false);
    loop {
        let Some(connection) = requester.upgrade() else { return };
        match connection.open_stream(last.as_deref()).await {
            Got::Stream(stream) => {
                had = true;
                connection.inbox().cache().opened(&Kind::ALL);
                let heard = read_unsolicited(&connection, *stream, &mut last, &mut pace.stated).await;
                connection.inbox().cache().closed();
                is_known(&connection, ask).await;
                if last.is_none() {
                    // A server that numbers its events tells what was missed.
                    connection.inbox().put(Inbound::AnyUpdated);
                }
                pace.ended(&heard);
            }
            Got::Nothing if !had || is_known(&connection, ask).await => return,
            Got::Nothing => {}
            Got::Refused => {
                if had {
                    is_known(&connection, ask).await;
                }
                pace.failed(REFUSED);
            }
            Got::Failure => pace.failed(LONGEST),
        }
        if connection.is_closed() {
            return;
        }
        drop(connection);
        tokio::time::sleep(pace.wait).await;
    }
}

/// Puts the messages of the GET stream into the inbox.
async fn read_unsolicited(
    requester: &Requester,
    response: HttpResponse<ResponseBody>,
    last: &mut Option<String>,
    stated: &mut Option<Duration>,
) -> Heard {
    let (began, mut something) = (Instant::now(), false);
    let mut stream = read_events(response.into_body(), requester.limit());
    while let Ok(Some(Ok(item))) = timeout(SILENCE, stream.next()).await {
        note_place(&item, last, stated);
        for message in item.data.iter().flat_map(|text| requester.messages(text)) {
            something = true;
            match message {
                Message::Notification(note) => requester.inbox().put(Inbound::Notification(note)),
                Message::Request(request) => {
                    let hand_on = |request| {
                        requester.inbox().put(Inbound::Request(request));
                        true
                    };
                    requester.asked(request, hand_on).await;
                }
                Message::Response(_) => {}
            }
        }
    }
    Heard { something, lasted: began.elapsed() }
}
