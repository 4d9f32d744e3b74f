//! What may not stand in a line as it is.

use std::fmt;

use crate::text::is_hidden;

/// Where text goes, and so what is escaped in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// Between the quotes of JSON: RFC 8259 §7.
    Json,
    /// In text for people: what [`is_hidden`] says.
    Plain,
    /// Between quotes in text: those, quotes and backslashes.
    Quoted,
    /// In a message for the journal: those but the newline.
    Lines,
}

/// Whether a byte is escaped between the quotes of JSON.
const JSON: [bool; 256] = table(true);
/// Whether a byte may be the first one of something that is escaped: a control character, or the first byte of a
/// character beyond ASCII in UTF-8.
const SPECIAL: [bool; 256] = table(false);

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
    }
    byte = 0x7f;
    while byte < 256 {
        table[byte] = true;
        byte += 1;
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
    let special = |byte: &u8| SPECIAL[usize::from(*byte)] || quoted && matches!(byte, b'"' | b'\\');
    if !bytes.iter().any(special) {
        return out.extend_from_slice(bytes);
    }
    for char in text.chars() {
        match char {
            '\n' if rules == Rules::Lines => out.push(b'\n'),
            '"' | '\\' if quoted => out.extend_from_slice(&[b'\\', char as u8]),
            _ if is_hidden(char) => {
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
        // DEL, and bytes beyond ASCII.
        let high = word | word.wrapping_add(ONES);
        (control | quoted | high) & HIGH != 0
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
    for (at, char) in text.char_indices().filter(|(_, char)| is_escaped(*char)) {
        out.extend_from_slice(&bytes[from..at]);
        from = at + char.len_utf8();
        match char {
            '"' | '\\' => out.extend_from_slice(&[b'\\', char as u8]),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            _ => char.encode_utf16(&mut [0; 2]).iter().for_each(|unit| push_unit(out, *unit)),
        }
    }
    out.extend_from_slice(&bytes[from..]);
}

/// Whether a character is escaped between the quotes of JSON.
fn is_escaped(char: char) -> bool {
    if char.is_ascii() { JSON[usize::from(char as u8)] } else { is_hidden(char) }
}

/// Appends a UTF-16 unit as an escape of JSON.
fn push_unit(out: &mut Vec<u8>, unit: u16) {
    let hex = |shift: u16| b"0123456789abcdef"[usize::from(unit >> shift & 15)];
    out.extend_from_slice(&[b'\\', b'u', hex(12), hex(8), hex(4), hex(0)]);
}

/// Appends what a type shows of itself; a type that fails to do so has shown what it could.
pub(super) fn push_debug(out: &mut Vec<u8>, shown: &dyn fmt::Debug, rules: Rules) {
    let _ = fmt::Write::write_fmt(&mut Sink { out, rules }, format_args!("{shown:?}"));
}

/// Takes what `Debug` writes.
struct Sink<'a> {
    /// Where it goes.
    out: &'a mut Vec<u8>,
    /// What is escaped.
    rules: Rules,
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
                prop_assert!(!escaped(&text, rules).chars().any(is_hidden));
            }
            prop_assert!(!escaped(&text, Rules::Lines).chars().any(|c| is_hidden(c) && c != '\n'));
        }
    }

    #[test]
    fn ordinary_text_stays() {
        assert_eq!(escaped("a \"b\" ünï", Rules::Plain), "a \"b\" ünï");
        assert_eq!(escaped("a \"b\"", Rules::Quoted), "a \\\"b\\\"");
        assert_eq!(escaped("\u{1b}[31m\n", Rules::Plain), "\\u{1b}[31m\\n");
    }
}
