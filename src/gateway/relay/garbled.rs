//! Text that was meant to be an answer but is no message: `NaN` and `None` where JSON has no such words, bytes of another
//! encoding, a line that was cut. Nothing of it is passed on; all that is read is whose answer it would have been, so that
//! nobody waits for it in vain.

use super::message::Id;

/// The answer that a text was meant to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// To the request of this identifier.
    To(Id),
    /// To a request whose identifier cannot be read.
    ToSomebody,
}

/// The members of an envelope, as far as they can be told apart.
#[derive(Debug, Default)]
struct Seen {
    /// The identifier, while there is only one.
    id: Option<Id>,
    /// Whether there is more than one.
    many: bool,
    /// Whether it is a request or a notification.
    method: bool,
    /// Whether it has a result or an error.
    outcome: bool,
}

/// Bytes, read from the front.
struct Bytes<'a>(&'a [u8]);

/// What answer a text that is no message was meant to be; `None` if it does not look like one.
pub(crate) fn meant(text: &[u8]) -> Option<Meant> {
    let mut rest = Bytes(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text));
    let mut seen = Seen::default();
    if rest.token() != Some(b'{') {
        return None;
    }
    rest.skip(1);
    while let Some(name) = rest.name() {
        match name {
            b"method" => seen.method = true,
            b"result" | b"error" => seen.outcome = true,
            _ => {}
        }
        let Some(value) = rest.value() else { break };
        if name == b"id" {
            let id = std::str::from_utf8(value).ok().and_then(|id| Id::from_json(id.trim()));
            seen.many |= seen.id.is_some();
            seen.id = id;
        }
    }
    match seen {
        Seen { method: true, .. } => None,
        Seen { id: Some(id), many: false, .. } => Some(Meant::To(id)),
        Seen { outcome: true, .. } => Some(Meant::ToSomebody),
        Seen { .. } => None,
    }
}

impl<'a> Bytes<'a> {
    /// Passes over so many.
    fn skip(&mut self, count: usize) {
        self.0 = &self.0[count.min(self.0.len())..];
    }

    /// The next byte that is no space, which is the next to be read then.
    fn token(&mut self) -> Option<u8> {
        self.0 = self.0.trim_ascii_start();
        self.0.first().copied()
    }

    /// The next member's name, and its colon; `None` without one.
    fn name(&mut self) -> Option<&'a [u8]> {
        if self.token() == Some(b',') {
            self.skip(1);
        }
        let quote = self.token().filter(|byte| matches!(byte, b'"' | b'\''))?;
        let text = self.0;
        let end = end_of_string(text, quote)?;
        self.skip(end);
        (self.token()? == b':').then(|| self.skip(1))?;
        Some(&text[1..end - 1])
    }

    /// The next value; `None` if its end is not there.
    fn value(&mut self) -> Option<&'a [u8]> {
        let text = self.0;
        let (mut at, mut depth, mut begins) = (0, 0_usize, true);
        while let Some(byte) = text.get(at) {
            match byte {
                // An apostrophe is a quote only where a value begins.
                b'"' | b'\'' if *byte == b'"' || begins => {
                    at += end_of_string(&text[at..], *byte)?;
                    begins = false;
                    continue;
                }
                b',' | b'}' if depth == 0 => {
                    self.skip(at);
                    return Some(&text[..at]);
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            begins = matches!(byte, b'{' | b'[' | b',' | b':') || begins && byte.is_ascii_whitespace();
            at += 1;
        }
        None
    }
}

/// Where a string that begins here ends, behind its quote.
fn end_of_string(text: &[u8], quote: u8) -> Option<usize> {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        at += match byte {
            b'\\' => 2,
            byte if *byte == quote => return Some(at + 1),
            _ => 1,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::relay::Message;

    /// What an answer to request 7 looks like with this value in its result.
    fn answer(value: &[u8]) -> Vec<u8> {
        [b"{\"jsonrpc\": \"2.0\", \"id\": 7, \"result\": {\"a\": [", value, b", 1]}}"].concat()
    }

    #[test]
    fn answers_are_known_by_their_identifier_whatever_their_result_is() {
        for value in [
            &b"NaN"[..],
            b"-Infinity",
            b"None",
            b"undefined",
            b"'it\\'s'",
            b"<object at 0x7f>",
            b"\"caf\xe9\"",
            b"\"\xed\xa0\x80\"",
            b"\"a\tb\"",
            b"{'id': 8, \"method\": 1}",
            b"\"}, \\\"id\\\": 8\", NaN",
            b"isn't it",
            b"0x10",
            b"1,,2",
        ] {
            let text = answer(value);
            assert_eq!(meant(&text), Some(Meant::To(Id::number(7))), "{}", String::from_utf8_lossy(&text));
            assert!(Message::parse(&text).is_err(), "{}", String::from_utf8_lossy(&text));
        }
        let python = b"{'jsonrpc': '2.0', 'result': {'a': \"it's\"}, 'id': 7}";
        assert_eq!(meant(python), Some(Meant::To(Id::number(7))));
        assert_eq!(meant(b"\xef\xbb\xbf{\"id\":7,\"result\":{"), Some(Meant::To(Id::number(7))));
    }

    #[test]
    fn answers_cut_anywhere_are_answers_as_soon_as_that_can_be_seen() {
        let text = answer(b"\"x\"");
        let outcome = text.windows(8).position(|window| window == b"\"result\"").unwrap() + 9;
        for end in outcome..text.len() {
            assert_eq!(meant(&text[..end]), Some(Meant::To(Id::number(7))), "{end}");
        }
        let text = br#"{"result": {"id": 7}, "id": 8, "jsonrpc": "2.0"}"#;
        for end in 10..30 {
            assert_eq!(meant(&text[..end]), Some(Meant::ToSomebody), "{end}");
        }
    }

    #[test]
    fn what_does_not_look_like_an_answer_is_none() {
        for text in [
            &b""[..],
            b"this is no JSON",
            b"{",
            b"{}",
            b"{\"hello\": 1}",
            b"{hello: id}",
            b"[{\"id\": 7, \"result\": NaN}]",
            b"{\"id\": 7, \"method\": \"ping\", \"params\": NaN}",
            b"{\"method\": \"m\", \"params\": {\"result\": NaN}}",
            b"INFO {\"id\": 7, \"result\": {}}",
            b"{\"level\": \"error\", \"message\": \"it's {\"",
        ] {
            assert_eq!(meant(text), None, "{}", String::from_utf8_lossy(text));
        }
        let twice = b"{\"id\": 7, \"id\": 8, \"result\": NaN}";
        assert_eq!(meant(twice), Some(Meant::ToSomebody));
    }

    #[test]
    fn nothing_is_read_beyond_the_end() {
        let text = answer(b"{\"b\": [\"\\\\\", '\\'', {}]}");
        for end in 0..text.len() {
            for byte in [b'"', b'\\', b'{', b'}', b'\'', 0xff] {
                let _ = meant(&[&text[..end], &[byte]].concat());
            }
        }
    }
}
