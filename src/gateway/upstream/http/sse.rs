//! Reading a server-sent event stream without trusting its sender: an event may not be longer than a message.

use std::time::Duration;

use futures_util::{FutureExt as _, Stream, StreamExt as _};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes};
use sse_stream::{Sse, SseByteStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// What an event may have beside its message, in bytes: field names, type, identifier.
const FRAME: usize = 16 << 10;
/// How long to wait before a broken stream is resumed, where the server does not say.
pub(crate) const RETRY: Duration = Duration::from_millis(500);
/// The shortest wait before a stream is opened again, whatever the server says.
const SHORTEST: Duration = Duration::from_millis(100);

/// How long a server may take to end a stream after the answer.
const LINGER: Duration = Duration::from_secs(1);
/// Streams whose ends are waited for at once; others are cut.
static LINGERING: Semaphore = Semaphore::const_new(64);

/// Why a stream ended early.
#[derive(Debug, thiserror::Error)]
enum Broken {
    /// An event was longer than a message may be.
    #[error("an event is larger than {0} bytes")]
    TooLong(usize),
    /// The connection failed.
    #[error("the connection failed")]
    Connection(#[source] hyper::Error),
}

/// Counts the bytes of the event that is being read.
#[derive(Debug)]
struct Gauge {
    /// As many are allowed.
    limit: usize,
    /// As many were read since the last event ended.
    read: usize,
    /// Whether the current line is empty up to now.
    empty_line: bool,
    /// Whether the last byte was a carriage return.
    carriage: bool,
}

/// The events of a response; ends after an error.
pub(crate) fn events(
    body: impl Body<Data = Bytes, Error = hyper::Error> + Send + Unpin,
    limit: usize,
) -> impl Stream<Item = Result<Sse, sse_stream::Error>> + Send + Unpin {
    let mut gauge = Gauge { limit: limit + FRAME, read: 0, empty_line: true, carriage: false };
    let chunks = body.into_data_stream().map(move |chunk| match chunk {
        Ok(chunk) if gauge.admits(&chunk) => Ok(chunk),
        Ok(_) => Err(Broken::TooLong(limit)),
        Err(error) => Err(Broken::Connection(error)),
    });
    SseByteStream::new(chunks)
}

/// Reads what is left of a stream after the answer, so that its connection can be used again: a server ends the stream
/// then, but often by a packet of its own. One that does not is cut.
pub(crate) fn finish(
    mut stream: impl Stream<Item = Result<Sse, sse_stream::Error>> + Send + Unpin + 'static,
) {
    match stream.next().now_or_never() {
        Some(Some(Ok(_))) | None => {}
        Some(Some(Err(_)) | None) => return,
    }
    let Ok(turn) = LINGERING.try_acquire() else { return };
    tokio::spawn(async move {
        let rest = async { while let Some(Ok(_)) = stream.next().await {} };
        let _ = timeout(LINGER, rest).await;
        drop(turn);
    });
}

/// The content type that an answer states; empty without one.
pub(crate) fn content_type<B>(response: &http::Response<B>) -> &str {
    let kind = response.headers().get(http::header::CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default()
}

/// Whether a content type is that of an event stream.
pub(crate) fn is_stream(kind: &str) -> bool {
    let essence = kind.split(';').next().unwrap_or(kind);
    essence.trim().eq_ignore_ascii_case("text/event-stream")
}

/// Whether the stream ended because of an over-long event.
pub(crate) fn is_too_long(error: &sse_stream::Error) -> bool {
    match error {
        sse_stream::Error::Body(cause) => matches!(cause.downcast_ref(), Some(Broken::TooLong(_))),
        _ => false,
    }
}

/// Whether the stream ended because of bytes that are no UTF-8.
pub(crate) const fn is_no_text(error: &sse_stream::Error) -> bool {
    matches!(error, sse_stream::Error::Utf8Parse(_))
}

/// Remembers where a stream was, and how long to wait before resuming it where the server says so.
pub(crate) fn note_place(event: &Sse, last: &mut Option<String>, wait: &mut Option<Duration>) {
    if let Some(id) = &event.id {
        *last = Some(id.clone());
    }
    if let Some(retry) = event.retry {
        // The server's word holds, however long it is (MCP 2025-11-25 §Sending Messages to the Server, 6).
        *wait = Some(Duration::from_millis(retry).max(SHORTEST));
    }
}

impl Gauge {
    /// Counts a chunk; `false` once the event in it is too long.
    fn admits(&mut self, chunk: &[u8]) -> bool {
        chunk.iter().all(|byte| {
            match byte {
                b'\n' if self.carriage => {}
                b'\n' | b'\r' if self.empty_line => self.read = 0,
                b'\n' | b'\r' => self.empty_line = true,
                _ => {
                    self.empty_line = false;
                    self.read += 1;
                }
            }
            self.carriage = *byte == b'\r';
            self.read <= self.limit
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a stream of these chunks passes a limit of ten bytes.
    fn passes(chunks: &[&str]) -> bool {
        let mut gauge = Gauge { limit: 10, read: 0, empty_line: true, carriage: false };
        chunks.iter().all(|chunk| gauge.admits(chunk.as_bytes()))
    }

    #[test]
    fn time_that_a_server_states_is_waited_for() {
        for (stated, waited) in
            [(0, 100), (99, 100), (3000, 3000), (30_001, 30_001), (86_400_000, 86_400_000)]
        {
            let event = Sse { event: None, data: None, id: None, retry: Some(stated) };
            let (mut last, mut wait) = (None, None);
            note_place(&event, &mut last, &mut wait);
            assert_eq!(wait, Some(Duration::from_millis(waited)));
        }
    }

    #[test]
    fn only_the_bytes_of_one_event_count_whatever_ends_its_lines() {
        for end in ["\n", "\r\n", "\r"] {
            let event = format!("data: abc{end}{end}");
            assert!(passes(&[&event, &event, &event]), "{end:?}");
            let lines = format!("data: ab{end}");
            assert!(!passes(&[&lines, &lines]), "{end:?}");
        }
        assert!(!passes(&["data:", "data:", "x"]));
    }
}
