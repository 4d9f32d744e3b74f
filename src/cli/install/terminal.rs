//! Lines for a terminal: their marks, colours and widths.

use std::io::IsTerminal as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};

/// What is easily read at once, in columns.
const WIDEST: usize = 100;
/// Shorter times are not told.
const WORTH_TELLING: Duration = Duration::from_millis(100);
/// What is less important.
const DIM: Style = Style::new().dimmed();

/// The width of the terminal in columns, as far as it is used.
pub(super) fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.map_or(80, |size| usize::from(size.ws_col)).clamp(40, WIDEST)
}

/// A line with its mark, which has a colour on terminals.
pub(super) fn marked(mark: char, text: &str) -> String {
    let style = style(mark);
    format!("{style}{mark}{style:#} {text}")
}

/// A line of a file that changes.
pub(super) fn changed(mark: char, text: &str) -> String {
    let style = if mark == '-' { AnsiColor::Red.on_default() } else { style(mark) };
    format!("      {style}{mark} {}{style:#}", wrapped_after(text, 8))
}

/// Text that is broken between words where the terminal ends, each line with this indentation; elsewhere nothing is broken.
pub(in crate::cli) fn wrapped(text: &str, indentation: usize) -> String {
    format!("{:indentation$}{}", "", wrapped_after(text, indentation))
}

/// The same where something stands before the first line.
pub(in crate::cli) fn wrapped_after(text: &str, indentation: usize) -> String {
    if !std::io::stdout().is_terminal() {
        return text.to_owned();
    }
    folded(text, width().saturating_sub(indentation)).join(&format!("\n{:indentation$}", ""))
}

/// Lines of at most this width, broken between words; a longer word has a line of its own.
pub(super) fn folded(text: &str, width: usize) -> Vec<String> {
    if text.chars().count() <= width {
        return vec![text.to_owned()];
    }
    let blanks = text.len() - text.trim_start().len();
    let mut lines = vec![text[..blanks].to_owned()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is a line");
        let is_first = line.trim().is_empty();
        if !is_first && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            *line += if is_first { "" } else { " " };
            *line += word;
        }
    }
    lines
}

/// The colour of a mark.
fn style(mark: char) -> Style {
    match mark {
        '+' => AnsiColor::Green.on_default(),
        '~' => AnsiColor::Yellow.on_default(),
        '>' => AnsiColor::Cyan.on_default(),
        '!' => AnsiColor::Red.on_default().bold(),
        '<' => AnsiColor::Magenta.on_default(),
        _ => DIM,
    }
}

/// A marked line with its time at the right end, if that is worth telling.
pub(super) fn timed(mark: char, text: &str, took: Duration, width: usize) -> String {
    if took < WORTH_TELLING {
        return marked(mark, text);
    }
    let time = if took < Duration::from_secs(1) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    };
    let used = 2 + text.chars().count() + time.len();
    let gap = width.saturating_sub(used).max(1);
    format!("{}{:gap$}{DIM}{time}{DIM:#}", marked(mark, text), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_at_each_width() {
        let text = "  one two three-four-five six";
        for width in 1..=40 {
            let lines = folded(text, width);
            assert_eq!(
                lines.join(" ").split_whitespace().collect::<Vec<_>>(),
                ["one", "two", "three-four-five", "six"]
            );
            let longest = lines.iter().map(|line| line.chars().count()).max().unwrap();
            assert!(longest <= width.max("three-four-five".len()), "{width}: {lines:?}");
        }
        assert_eq!(folded(text, 40), [text]);
    }

    #[test]
    fn times_end_where_the_terminal_ends() {
        let line = timed('+', "text", Duration::from_millis(170), 40);
        let line = anstream::adapter::strip_str(&line).to_string();
        assert!(line.starts_with("+ text ") && line.ends_with(" 170 ms") && line.len() == 40, "{line}");
        assert_eq!(timed('+', "text", Duration::from_millis(99), 40), marked('+', "text"));
        assert!(timed('+', &"x".repeat(60), Duration::from_secs(2), 40).contains("2.0 s"));
    }
}
