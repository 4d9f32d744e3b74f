//! The parser of JSON-RPC messages, which reads what clients post and what upstreams print: it never panics, and what it
//! accepts it writes as a message that it reads again as the same.

use crate::relay::Message;

/// Holds for any input.
pub fn holds(text: &[u8]) {
    let Ok(message) = Message::parse(text) else { return };
    let line = message.to_line();
    assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
    let again = Message::parse(&line).expect("what was written can be read");
    assert_eq!(again.to_line(), line);
    let _ = message.weight();
}
