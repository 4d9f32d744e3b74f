//! What changes in a text file, as lines that are taken out and put in.

use std::io::Read;

use similar::{ChangeTag, TextDiff};

use super::assets::Content;

/// Longer files are not shown, in bytes: programs, and what is no text.
const LIMIT: u64 = 64 << 10;
/// More lines than these are not shown; the last one then says how many there are.
const LINES: usize = 40;

/// The difference between what is there and what shall be; `None` if either is no text.
pub(super) fn of_texts(old: Option<impl Read>, new: &Content) -> Option<Vec<(char, String)>> {
    let old = text(old?)?;
    let new = text(new.open().ok()?)?;
    Some(of(&old, &new))
}

/// The content as text, if it is one and not too long.
fn text(from: impl Read) -> Option<String> {
    let mut text = String::new();
    let length = from.take(LIMIT + 1).read_to_string(&mut text).ok()?;
    (u64::try_from(length).ok()? <= LIMIT).then_some(text)
}

/// The lines that differ.
fn of(old: &str, new: &str) -> Vec<(char, String)> {
    let differences = TextDiff::from_lines(old, new);
    let mut lines: Vec<_> = differences
        .iter_all_changes()
        .filter_map(|change| match change.tag() {
            ChangeTag::Delete => Some(('-', printable(change.value()))),
            ChangeTag::Insert => Some(('+', printable(change.value()))),
            ChangeTag::Equal => None,
        })
        .collect();
    if lines.len() > LINES {
        let more = lines.len() - LINES;
        lines.truncate(LINES);
        lines.push(('~', format!("and {more} more lines")));
    }
    lines
}

/// A line without what a terminal would take for commands.
fn printable(line: &str) -> String {
    line.trim_end().chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_differ_are_shown_and_no_others() {
        let shown = of("a\nb\nc\n", "a\nB\nc\n");
        assert_eq!(shown, [('-', "b".to_owned()), ('+', "B".to_owned())]);
    }

    #[test]
    fn a_terminal_is_given_no_commands_and_no_flood() {
        assert_eq!(of("", "x\u{1b}[2Jy\n"), [('+', "x\u{fffd}[2Jy".to_owned())]);
        let long = "line\n".repeat(100);
        let shown = of("", &long);
        assert_eq!(shown.len(), LINES + 1);
        assert_eq!(shown.last().map(|(_, text)| text.as_str()), Some("and 60 more lines"));
    }
}
