//! The reader of event streams, which reads what upstreams over HTTP send: it never panics, no event is larger than what may
//! be, and how the bytes are cut into pieces makes no difference.

#[path = "../../src/gateway/upstream/http/sse.rs"]
mod reader;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::body::Bytes;

/// The largest message.
const LIMIT: usize = 64;
/// As much more may an event have that is not its message.
const FRAME: usize = 16 << 10;

/// The events of a stream that comes in pieces of this length, and whether it broke off.
fn read(text: &[u8], piece: usize) -> (Vec<String>, bool) {
    let pieces: Vec<_> =
        text.chunks(piece).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    let body = StreamBody::new(stream::iter(pieces));
    let mut stream = reader::events(body, LIMIT);
    let (mut found, mut last, mut wait) = (Vec::new(), None, None);
    // Nothing here waits.
    while let Some(event) = stream.next().now_or_never().expect("all is there") {
        let Ok(event) = event else { return (found, true) };
        reader::note_place(&event, &mut last, &mut wait);
        let data = event.data.unwrap_or_default();
        assert!(data.len() <= LIMIT + FRAME);
        found.push(format!("{:?} {:?} {:?} {data}", event.event, event.id, event.retry));
    }
    (found, false)
}

/// Holds for any input.
pub fn holds(piece: u8, text: &[u8]) {
    let (whole, pieces) = (read(text, usize::MAX), read(text, usize::from(piece).max(1)));
    // Where it breaks off, what was found before in the same piece may be lost.
    assert!(whole == pieces || whole.1 && pieces.1, "{whole:?} {pieces:?}");
}
