//! The GET stream of a legacy session: what an HTTP server says outside of its answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderName, HeaderValue, Method, Response as HttpResponse, StatusCode, header};

use super::super::relay::Message;
use super::driven::Answer;
use super::events::{content_type, events as read_events, is_stream, note_place};
use super::http::Http;
use super::link::Inbound;

/// The header that resumes an event stream.
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
/// How long to wait before a broken stream is resumed, where the server does not say.
pub(super) const RETRY: Duration = Duration::from_millis(500);
/// The longest wait after failures.
const LONGEST: Duration = Duration::from_secs(30);

/// What came of asking for a stream.
pub(super) enum Got {
    /// The stream.
    Stream(Box<HttpResponse<Answer>>),
    /// The server has none, or the session is lost.
    Nothing,
    /// It may have one another time.
    Failure,
}

impl Http {
    /// Opens the GET stream of a legacy session, and again whenever it breaks.
    pub(crate) fn listen(self: &Arc<Self>) {
        let connection = Arc::downgrade(self);
        let task = tokio::spawn(async move {
            let mut last: Option<String> = None;
            let mut wait = RETRY;
            loop {
                let Some(connection) = connection.upgrade() else { return };
                match connection.get_stream(last.as_deref()).await {
                    Got::Stream(stream) => {
                        wait = RETRY;
                        connection.read_unsolicited(*stream, &mut last, &mut wait).await;
                    }
                    Got::Nothing => return,
                    Got::Failure => wait = (wait * 2).min(LONGEST),
                }
                drop(connection);
                tokio::time::sleep(wait).await;
            }
        });
        let _ = self.listener.set(task.abort_handle());
    }

    /// Puts the messages of the GET stream into the inbox.
    async fn read_unsolicited(
        &self,
        response: HttpResponse<Answer>,
        last: &mut Option<String>,
        wait: &mut Duration,
    ) {
        let mut stream = read_events(response.into_body(), self.limit);
        while let Some(Ok(item)) = stream.next().await {
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
    pub(super) async fn get_stream(&self, last: Option<&str>) -> Got {
        let Ok(target) = self.target() else { return Got::Nothing };
        let mut request = self.request_to(&target, Method::GET, Bytes::new());
        request.headers_mut().remove(header::CONTENT_TYPE);
        if let Some(last) = last.and_then(|last| HeaderValue::from_str(last).ok()) {
            request.headers_mut().insert(LAST_EVENT, last);
        }
        let Ok(response) = self.pool.request(&target, request).await else { return Got::Failure };
        let status = response.status();
        if status == StatusCode::NOT_FOUND && self.session.get().is_some() {
            self.closed.send_replace(true);
        }
        match status {
            _ if status.is_success() && is_stream(content_type(&response)) => Got::Stream(Box::new(response)),
            // A server without such a stream says 405 (MCP 2025-11-25 §Listening for Messages from the Server).
            StatusCode::TOO_MANY_REQUESTS => Got::Failure,
            _ if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED => Got::Failure,
            _ => Got::Nothing,
        }
    }
}
