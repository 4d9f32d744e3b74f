//! The GET stream of a legacy session: what an HTTP server says outside of its answers.
//!
//! While it is open, what is remembered of lists can be trusted (`lists::cache`). It is opened anew when it ends, and when
//! nothing has come for [`SILENCE`]: a peer that vanished behind a proxy is noticed by nothing else. After its end the
//! session is asked whether it still is: a server that was replaced may not know it, whatever it says to GET.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderName, HeaderValue, Method, Response as HttpResponse, StatusCode, header};
use tokio::time::{Instant, timeout};

use super::connection::Http;
use super::pool::Answer;
use super::sse::{content_type, events as read_events, is_stream, note_place};
use crate::gateway::relay::Message;
use crate::gateway::upstream::call::exchange::Late;
use crate::gateway::upstream::call::request::Call;
use crate::gateway::upstream::inbox::Inbound;
use crate::gateway::upstream::lists::kind::Kind;

/// The header that resumes an event stream.
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
/// How long to wait before a broken stream is resumed, where the server does not say.
pub(crate) const RETRY: Duration = Duration::from_millis(500);
/// The longest wait after failures.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest wait where the server refuses a stream, but not for good.
const REFUSED: Duration = Duration::from_secs(300);
/// How long nothing may come, the head of the answer included, before a stream is opened anew.
pub(crate) const SILENCE: Duration = Duration::from_secs(600);
/// How long the server may take to say that the session still is.
const ASKED: Duration = Duration::from_secs(10);

/// What came of asking for a stream.
pub(crate) enum Got {
    /// The stream.
    Stream(Box<HttpResponse<Answer>>),
    /// The server has none, or the session is lost.
    Nothing,
    /// Not this one, or not now.
    Refused,
    /// It may have one another time.
    Failure,
}

impl Http {
    /// Opens the GET stream of a legacy session, and again whenever it breaks.
    pub(crate) fn listen(self: &Arc<Self>) {
        let connection = Arc::downgrade(self);
        let task = tokio::spawn(async move {
            let (mut last, mut wait): (Option<String>, _) = (None, RETRY);
            loop {
                let Some(connection) = connection.upgrade() else { return };
                match connection.get_stream(last.as_deref()).await {
                    Got::Stream(stream) => {
                        wait = RETRY;
                        connection.inbox.known().opened(&Kind::ALL);
                        connection.read_unsolicited(*stream, &mut last, &mut wait).await;
                        connection.inbox.known().closed();
                        connection.ask_whether_it_is().await;
                        if last.is_none() {
                            // A server that numbers its events tells what was missed.
                            connection.inbox.put(Inbound::AnyUpdated);
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
        });
        let _ = self.listener.set(task.abort_handle());
    }

    /// Asks whether the session still is; if the server does not know it, the connection is closed.
    async fn ask_whether_it_is(self: &Arc<Self>) {
        let (name, limit) = (self.name.clone(), ASKED);
        let ping = Call::new("ping", None, limit);
        let _ = self.call(ping, Instant::now() + limit, Late { name, limit }).outcome().await;
    }

    /// Puts the messages of the GET stream into the inbox.
    async fn read_unsolicited(
        &self,
        response: HttpResponse<Answer>,
        last: &mut Option<String>,
        wait: &mut Duration,
    ) {
        let mut stream = read_events(response.into_body(), self.limit);
        while let Ok(Some(Ok(item))) = timeout(SILENCE, stream.next()).await {
            note_place(&item, last, wait);
            match self.message(item.data) {
                Some(Message::Notification(note)) => self.inbox.put(Inbound::Notification(note)),
                Some(Message::Request(request)) => {
                    self.asked(request, |request| {
                        self.inbox.put(Inbound::Request(request));
                        true
                    })
                    .await;
                }
                Some(Message::Response(_)) | None => {}
            }
        }
    }

    /// Opens an event stream with GET.
    pub(crate) async fn get_stream(&self, last: Option<&str>) -> Got {
        let Ok(target) = self.target() else { return Got::Nothing };
        let mut request = self.request_to(&target, Method::GET, Bytes::new());
        request.headers_mut().remove(header::CONTENT_TYPE);
        if let Some(last) = last.and_then(|last| HeaderValue::from_str(last).ok()) {
            request.headers_mut().insert(LAST_EVENT, last);
        }
        let Ok(Ok(response)) = timeout(SILENCE, self.pool.request(&target, request)).await else {
            return Got::Failure;
        };
        let status = response.status();
        if status == StatusCode::NOT_FOUND && self.session.get().is_some() {
            self.closed.send_replace(true);
        }
        match status {
            _ if status.is_success() && is_stream(content_type(&response)) => Got::Stream(Box::new(response)),
            // A server without such a stream says 405 (MCP 2025-11-25 §Listening for Messages from the Server).
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED | StatusCode::NOT_FOUND => {
                Got::Nothing
            }
            // Some servers have one stream only, and have not noticed that the one before has ended.
            StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT => Got::Failure,
            _ if status.is_server_error() => Got::Failure,
            _ if status.is_client_error() => Got::Refused,
            _ => Got::Nothing,
        }
    }
}
