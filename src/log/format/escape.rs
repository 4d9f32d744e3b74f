//! What may not stand in a line as it is.

use std::fmt;

/// Where text goes, and so what is escaped in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// Between the quotes of JSON: RFC 8259 §7.
    Json,
    /// In text for people: control characters.
    Plain,
    /// Between quotes in text: those, quotes and backslashes.
    Quoted,
    /// In a message for the journal: control characters but the newline.
    Lines,
}

/// Whether a byte is escaped between the quotes of JSON.
const JSON: [bool; 256] = table(true);
/// Whether a byte may be the first one of a control character: C0, DEL, and the first byte of C1 in UTF-8.
const CONTROL: [bool; 256] = table(false);

/// Builds a table; with quotes and backslash or not.
const fn table(quotes: bool) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    if quotes {
        table[b'"' as usize] = true;
        table[b'\\' as usize] = true;
    } else {
        table[0x7f] = true;
        table[0xc2] = true;
    }
    table
}

/// Appends text.
pub(super) fn push(out: &mut Vec<u8>, text: &str, rules: Rules) {
    if rules == Rules::Json {
        return push_json(out, text);
    }
    let bytes = text.as_bytes();
    let quoted = rules == Rules::Quoted;
    let special = |byte: &u8| CONTROL[usize::from(*byte)] || quoted && matches!(byte, b'"' | b'\\');
    if !bytes.iter().any(special) {
        return out.extend_from_slice(bytes);
    }
    for char in text.chars() {
        match char {
            '\n' if rules == Rules::Lines => out.push(b'\n'),
            '"' | '\\' if quoted => out.extend_from_slice(&[b'\\', char as u8]),
            _ if char.is_control() => {
                for escaped in char.escape_default() {
                    out.push(escaped as u8);
                }
            }
            _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Whether text has nothing that is escaped between the quotes of JSON; a `false` may be wrong. Eight bytes are looked at
/// at once, by the arithmetic of "Bit Twiddling Hacks", `hasless` and `haszero`.
fn is_plain(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    let special = |bytes: &[u8; 8]| {
        let word = u64::from_ne_bytes(*bytes);
        let zero = |word: u64| word.wrapping_sub(ONES) & !word;
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quoted = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')));
        (control | quoted) & HIGH != 0
    };
    !words.iter().any(special) && !rest.iter().any(|byte| JSON[usize::from(*byte)])
}

/// Appends text to a string of JSON.
fn push_json(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    if is_plain(bytes) {
        return out.extend_from_slice(bytes);
    }
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if !JSON[usize::from(*byte)] {
            continue;
        }
        out.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let hex = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[from..]);
}

/// Takes what `Debug` and `Display` write.
pub(super) struct Sink<'a> {
    /// Where it goes.
    pub(super) out: &'a mut Vec<u8>,
    /// What is escaped.
    pub(super) rules: Rules,
}

impl fmt::Write for Sink<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        push(self.out, text, self.rules);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Escaped text.
    fn escaped(text: &str, rules: Rules) -> String {
        let mut out = Vec::new();
        push(&mut out, text, rules);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn json_reads_what_was_written(text in any::<String>()) {
            let json = format!("\"{}\"", escaped(&text, Rules::Json));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

        #[test]
        fn what_passes_as_plain_needs_no_escape(text in "[ -~\\PC\\pC]{0,40}") {
            let needed = text.bytes().any(|byte| JSON[usize::from(byte)]);
            prop_assert!(!(is_plain(text.as_bytes()) && needed));
            prop_assert!(needed || text.bytes().any(|byte| byte >= 0x80) || is_plain(text.as_bytes()));
        }

        #[test]
        fn no_text_has_a_control_character(text in any::<String>()) {
            for rules in [Rules::Plain, Rules::Quoted] {
                prop_assert!(!escaped(&text, rules).chars().any(char::is_control));
            }
            prop_assert!(!escaped(&text, Rules::Lines).chars().any(|c| c.is_control() && c != '\n'));
        }
    }

    #[test]
    fn ordinary_text_stays() {
        assert_eq!(escaped("a \"b\" ünï", Rules::Plain), "a \"b\" ünï");
        assert_eq!(escaped("a \"b\"", Rules::Quoted), "a \\\"b\\\"");
        assert_eq!(escaped("\u{1b}[31m\n", Rules::Plain), "\\u{1b}[31m\\n");
    }
}
