//! The reader of lines, which reads what stdio upstreams write: it never panics, no line is longer than what may be, and how
//! the bytes are cut into pieces makes no difference.

#[path = "../../src/gateway/upstream/stdio/framing.rs"]
mod reader;

use bytes::BytesMut;
use tokio_util::codec::Decoder as _;

/// The longest line.
const LIMIT: usize = 64;

/// What comes of this text in pieces of this length: lines, and the requests that over-long ones answer.
fn read(text: &[u8], piece: usize) -> Vec<Result<Vec<u8>, Option<u64>>> {
    let (mut reader, mut buffer, mut found) = (reader::Lines::new(LIMIT), BytesMut::new(), Vec::new());
    let mut add = |line| {
        found.push(match line {
            reader::Line::Whole(line) => {
                assert!(line.len() <= LIMIT);
                Ok(line.to_vec())
            }
            reader::Line::Cut(ends) => Err(ends.answered()),
        });
    };
    for piece in text.chunks(piece) {
        buffer.extend_from_slice(piece);
        while let Some(line) = reader.decode(&mut buffer).expect("nothing is read here") {
            add(line);
        }
    }
    while let Some(line) = reader.decode_eof(&mut buffer).expect("nothing is read here") {
        add(line);
    }
    found
}

/// Holds for any input.
pub fn holds(piece: u8, text: &[u8]) {
    assert_eq!(read(text, usize::MAX), read(text, usize::from(piece).max(1)));
}
