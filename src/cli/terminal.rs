//! Lines for a terminal: their marks, colours and widths, and the characters that it can show.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use anstyle::{AnsiColor, Style};
use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};

/// What is easily read at once, in columns.
const WIDEST: usize = 100;
/// What stands above the rest.
pub(super) const HEAD: Style = Style::new().bold();
/// The names of parts.
const LABEL: Style = AnsiColor::Cyan.on_default();
/// What is less important.
const DIM: Style = Style::new().dimmed();
/// The columns of the longest name of a part.
const LABELS: usize = 14;

/// The width of a terminal in columns, as far as it is used; `None` for what is no terminal, where nothing is broken.
fn width(stream: impl IsTerminal + AsFd) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    // A terminal that does not know its size says that it has none.
    let size = rustix::termios::tcgetwinsize(stream).ok().filter(|size| size.ws_col > 0);
    Some(size.map_or(80, |size| usize::from(size.ws_col)).clamp(40, WIDEST))
}

/// Whether the locale has characters beyond ASCII (locale(7)): a terminal shows others as noise, and some screen readers read them
/// out by their numbers.
fn is_unicode() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    locale.ends_with("utf-8") || locale.ends_with("utf8")
}

/// A symbol, or what stands for it where the locale has ASCII only.
pub(super) fn symbol(unicode: &'static str, ascii: &'static str) -> &'static str {
    if is_unicode() { unicode } else { ascii }
}

/// Whether lines can be overwritten while something happens.
pub(super) fn is_lively() -> bool {
    let can_move = std::env::var("TERM").is_ok_and(|term| !matches!(term.as_str(), "" | "dumb"));
    can_move && std::io::stdout().is_terminal() && std::io::stderr().is_terminal()
}

/// A headline.
pub(super) fn headline(text: &str) -> String {
    format!("{HEAD}{}{HEAD:#}", wrapped(text, 0))
}

/// A row of a table: perhaps a mark, a name, and what there is to say of it.
pub(super) fn row(mark: Option<&str>, label: &str, text: &str) -> String {
    let style = style(mark.and_then(|mark| mark.chars().next()).unwrap_or_default());
    let before = 2 + LABELS + 2 + if mark.is_some() { 2 } else { 0 };
    let mark = mark.map(|mark| format!("{style}{mark}{style:#} ")).unwrap_or_default();
    format!("  {mark}{LABEL}{label:LABELS$}{LABEL:#}  {}", wrapped_after(text, before))
}

/// The name of a part above what belongs to it.
pub(super) fn label(text: &str) -> String {
    format!("{LABEL}{text}{LABEL:#}")
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
pub(super) fn wrapped(text: &str, indentation: usize) -> String {
    format!("{:indentation$}{}", "", wrapped_after(text, indentation))
}

/// The same where something stands before the first line.
pub(super) fn wrapped_after(text: &str, indentation: usize) -> String {
    let Some(width) = width(std::io::stdout()) else { return text.to_owned() };
    folded(text, width.saturating_sub(indentation)).join(&format!("\n{:indentation$}", ""))
}

/// Text for standard error, broken between words if that is a terminal.
pub(super) fn wrapped_aside(text: &str) -> String {
    width(std::io::stderr()).map_or_else(|| text.to_owned(), |width| folded(text, width).join("\n"))
}

/// Lines of at most this width, broken between words; a longer word, such as a path, has a line of its own.
fn folded(text: &str, width: usize) -> Vec<String> {
    let options = Options::new(width.max(1))
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    textwrap::wrap(text, options).into_iter().map(String::from).collect()
}

/// The colour of a mark.
fn style(mark: char) -> Style {
    match mark {
        '+' | '✓' | '*' => AnsiColor::Green.on_default(),
        '~' => AnsiColor::Yellow.on_default(),
        '>' => AnsiColor::Cyan.on_default(),
        '!' | '✗' => AnsiColor::Red.on_default().bold(),
        '<' => AnsiColor::Magenta.on_default(),
        _ => DIM,
    }
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
            assert!(longest <= width.max("  three-four-five".len()), "{width}: {lines:?}");
        }
        assert_eq!(folded(text, 40), [text]);
    }

    #[test]
    fn each_name_of_a_part_fits_into_its_column() {
        for part in crate::install::Part::ALL {
            assert!(part.label().len() <= LABELS, "{}", part.label());
        }
    }
}
