//! The GET stream of a legacy session: what an HTTP server says outside of its answers.
//!
//! While it is open, what is remembered of lists can be trusted (`lists::cache`). It is opened anew when it ends, and when
//! nothing has come for [`SILENCE`]: a peer that vanished behind a proxy is noticed by nothing else. After its end the
//! session is asked whether it still is: a server that was replaced may not know it, whatever it says to GET.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use http::Response as HttpResponse;
use tokio::time::{Instant, timeout};

use super::pool::ResponseBody;
use super::requester::{Got, Requester, SILENCE};
use super::sse::{RETRY, events as read_events, note_place};
use crate::gateway::relay::{Message, method};
use crate::gateway::upstream::call::exchange::{Exchange, Late};
use crate::gateway::upstream::call::request::Call;
use crate::gateway::upstream::inbox::Inbound;
use crate::gateway::upstream::lists::kind::Kind;

/// The longest wait after failures.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest wait where the server refuses a stream, but not for good.
const REFUSED: Duration = Duration::from_secs(300);
/// How long the server may take to say that the session still is.
const ASKED: Duration = Duration::from_secs(10);

/// How a request is sent.
type Ask = fn(&Arc<Requester>, Call, Instant, Late) -> Exchange;

/// Opens the GET stream of a legacy session, and again whenever it breaks.
pub(crate) async fn listen(requester: Weak<Requester>, ask: Ask) {
    let (mut last, mut wait): (Option<String>, _) = (None, RETRY);
    loop {
        let Some(connection) = requester.upgrade() else { return };
        match connection.open_stream(last.as_deref()).await {
            Got::Stream(stream) => {
                wait = RETRY;
                connection.inbox().cache().opened(&Kind::ALL);
                read_unsolicited(&connection, *stream, &mut last, &mut wait).await;
                connection.inbox().cache().closed();
                ask_whether_it_is(&connection, ask).await;
                if last.is_none() {
                    // A server that numbers its events tells what was missed.
                    connection.inbox().put(Inbound::AnyUpdated);
                }
            }
            Got::Nothing => return,
            Got::Refused => wait = (wait * 2).min(REFUSED),
            Got::Failure => wait = (wait * 2).min(LONGEST),
        }
        if connection.is_closed() {
            return;
        }
        drop(connection);
        tokio::time::sleep(wait).await;
    }
}

/// Asks whether the session still is; if the server does not know it, the connection is closed.
async fn ask_whether_it_is(requester: &Arc<Requester>, ask: Ask) {
    let (name, limit) = (requester.name().clone(), ASKED);
    let ping = Call::new(method::PING, None, limit);
    let _ = ask(requester, ping, Instant::now() + limit, Late { name, limit }).outcome().await;
}

/// Puts the messages of the GET stream into the inbox.
async fn read_unsolicited(
    requester: &Requester,
    response: HttpResponse<ResponseBody>,
    last: &mut Option<String>,
    wait: &mut Duration,
) {
    let mut stream = read_events(response.into_body(), requester.limit());
    while let Ok(Some(Ok(item))) = timeout(SILENCE, stream.next()).await {
        note_place(&item, last, wait);
        match requester.message(item.data) {
            Some(Message::Notification(note)) => requester.inbox().put(Inbound::Notification(note)),
            Some(Message::Request(request)) => {
                requester
                    .asked(request, |request| {
                        requester.inbox().put(Inbound::Request(request));
                        true
                    })
                    .await;
            }
            Some(Message::Response(_)) | None => {}
        }
    }
}
