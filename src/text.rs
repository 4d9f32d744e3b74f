//! What of a text may be shown to people as it is: the one place that knows.
//!
//! Names, versions, errors and log lines of upstreams and clients are shown in logs, in `--status`, and in messages. Three
//! kinds of characters could make them say something else than they do, and are written as escapes instead: control
//! characters, which a terminal obeys; format characters, of which those for writing from right to left reorder what stands
//! around them (CVE-2021-42574); and others that are not visible at all. Line and paragraph separators count with them.
//!
//! What is relayed between clients and upstreams is not touched.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// What is not seen or reorders others, in ascending order: `General_Category=Cf`, Zl and Zp, and
/// `Default_Ignorable_Code_Point`, of Unicode 17.
const HIDDEN: [RangeInclusive<char>; 31] = [
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{600}'..='\u{605}',
    '\u{61c}'..='\u{61c}',
    '\u{6dd}'..='\u{6dd}',
    '\u{70f}'..='\u{70f}',
    '\u{890}'..='\u{891}',
    '\u{8e2}'..='\u{8e2}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{110bd}'..='\u{110bd}',
    '\u{110cd}'..='\u{110cd}',
    '\u{13430}'..='\u{1343f}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e007f}',
    '\u{e0080}'..='\u{e00ff}',
    '\u{e0100}'..='\u{e01ef}',
    '\u{e01f0}'..='\u{e0fff}',
    // Not characters at all.
    '\u{fdd0}'..='\u{fdef}',
    '\u{fffe}'..='\u{ffff}',
    '\u{10fffe}'..='\u{10ffff}',
];

/// Whether a character must not be shown as it is.
#[must_use]
pub fn is_hidden(char: char) -> bool {
    char.is_control() || !char.is_ascii() && HIDDEN.iter().any(|range| range.contains(&char))
}

/// A text for a terminal: without what must not be shown, but with lines, tabs, and the colours of anstyle.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|char| is_hidden(char) && char != '\n') {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        if let Some(length) = colour(rest) {
            shown.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        if is_hidden(char) && !matches!(char, '\n' | '\t') {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
        rest = &rest[char.len_utf8()..];
    }
    Cow::Owned(shown)
}

/// The length of a colour sequence at the beginning: ECMA-48 §8.3.117 SGR, which changes nothing but the looks.
fn colour(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|char: char| !char.is_ascii_digit() && char != ';')?;
    parameters[end..].starts_with('m').then_some("\u{1b}[m".len() + end)
}

/// A JSON document without what must not be shown: RFC 8259 §7 escapes in its strings say the same to its readers.
#[must_use]
pub fn shown_json(document: &str) -> Cow<'_, str> {
    if !document.chars().any(|char| is_hidden(char) && char != '\n') {
        return Cow::Borrowed(document);
    }
    let mut shown = String::with_capacity(document.len());
    for char in document.chars() {
        if is_hidden(char) && char != '\n' {
            for unit in char.encode_utf16(&mut [0; 2]) {
                // Writing into a string does not fail.
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(char);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What begins a colour.
    const ESCAPE: char = '\u{1b}';

    proptest! {
        #[test]
        fn nothing_hidden_is_shown_and_all_else_is(text in "[ -~\\PC\\pC\\n\\t]{0,60}") {
            let hidden = |char: char| is_hidden(char) && !matches!(char, '\n' | '\t');
            let told = shown(&text);
            prop_assert!(!told.chars().any(|char| hidden(char) && char != ESCAPE));
            if !text.chars().any(hidden) {
                prop_assert_eq!(shown(&text), text.as_str());
            }
            let document = serde_json::to_string_pretty(&[&text]).unwrap();
            let told = shown_json(&document);
            prop_assert!(!told.chars().any(|char| is_hidden(char) && char != '\n'));
            prop_assert_eq!(serde_json::from_str::<[String; 1]>(&told).unwrap(), [text]);
        }

        #[test]
        fn each_format_character_is_hidden(text in "[\\p{Cf}\\p{Cc}\\p{Zl}\\p{Zp}]") {
            prop_assert!(text.chars().all(is_hidden), "{text:?}");
        }

        #[test]
        fn letters_digits_and_marks_of_all_scripts_are_shown(text in "[\\p{L}\\p{N}\\p{P}\\p{S}&&[^\u{115f}\u{1160}\u{3164}\u{ffa0}]]{1,20}") {
            prop_assert_eq!(shown(&text), text.as_str());
        }
    }

    #[test]
    fn colours_stay_and_other_sequences_do_not() {
        let coloured = "\u{1b}[1;31merror\u{1b}[0m: \u{1b}[m";
        assert_eq!(shown(coloured), coloured);
        for (text, told) in [
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{202e}gnp.exe\u{2066}", "\\u{202e}gnp.exe\\u{2066}"),
            ("a\u{200b}b\u{feff}\u{ad}", "a\\u{200b}b\\u{feff}\\u{ad}"),
            ("\u{e0041}\u{9b}31m", "\\u{e0041}\\u{9b}31m"),
            ("one\ntwo\tthree", "one\ntwo\tthree"),
            ("\r", "\\r"),
        ] {
            assert_eq!(shown(text), told);
        }
    }
}
