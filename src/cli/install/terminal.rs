//! Lines for a terminal: their marks, colours and widths.

use std::time::Duration;

use anstyle::{AnsiColor, Style};

/// What is easily read at once, in columns.
const WIDEST: usize = 100;
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
    format!("      {style}{mark} {text}{style:#}")
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

/// A marked line with its time at the right end.
pub(super) fn timed(mark: char, text: &str, took: Duration, width: usize) -> String {
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
    fn times_end_where_the_terminal_ends() {
        let line = timed('+', "text", Duration::from_millis(7), 40);
        let line = anstream::adapter::strip_str(&line).to_string();
        assert!(line.starts_with("+ text ") && line.ends_with(" 7 ms") && line.len() == 40, "{line}");
        assert!(timed('+', &"x".repeat(60), Duration::from_secs(2), 40).contains("2.0 s"));
    }
}
