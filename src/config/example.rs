//! The commented reference `mcpeg.toml.example`: every key with its type, default, units and since when it exists.
//!
//! It is a valid configuration that says nothing: each key is a comment, with its default or else an example.

use std::fmt::Write as _;

use super::key::Description;
use super::keys::Table;

/// The width of a comment in the reference, without its `# `.
const WIDTH: usize = 78;

/// The first lines.
const HEAD: &str = "\
# Every key of mcpeg's configuration, as mcpeg.toml(5) has it. Nothing in this file is in force: copy the lines that you
# want to change into mcpeg.toml, below the header of their table, without the `#`. Keys that are left out have the
# defaults shown here.
";

/// The text of the reference.
///
/// # Panics
/// Never: writing into a string does not fail.
#[must_use]
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    for table in Table::ALL {
        // An empty table of an upstream is not valid.
        let off = if table.header().contains('.') { "#" } else { "" };
        write!(text, "\n{off}[{}]\n", table.header()).expect("a string takes all that is written");
        table.keys().for_each(|key| describe(&key, &mut text));
    }
    text
}

/// One key with its comment.
fn describe(key: &Description, text: &mut String) {
    comment(key.doc, text);
    let default = key.default.map_or_else(|| "No default".to_owned(), |value| format!("Default: {value}"));
    comment(&format!("Type: {}. {default}. Since {}.", key.kind, key.since), text);
    if let Some(units) = key.units {
        comment(&format!("Units: {units}."), text);
    }
    let (value, note) = key.default.map_or((key.example, " # an example"), |value| (value, ""));
    write!(text, "#{} = {value}{note}\n\n", key.name).expect("a string takes all that is written");
    if key.default.is_some_and(|value| value != key.example) {
        text.truncate(text.len() - 1);
        write!(text, "#{} = {} # an example\n\n", key.name, key.example)
            .expect("a string takes all that is written");
    }
}

/// Adds a comment in lines of [`WIDTH`].
fn comment(sentence: &str, text: &mut String) {
    let mut column = 0;
    for word in sentence.split_whitespace() {
        if column > 0 && column + 1 + word.len() > WIDTH {
            text.push('\n');
            column = 0;
        }
        text.push_str(if column == 0 { "# " } else { " " });
        text.push_str(word);
        column += word.len() + usize::from(column > 0);
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference with these lines instead of comments: those that `pick` takes, without their `#`.
    fn uncommented(pick: impl Fn(&str) -> bool) -> String {
        reference()
            .lines()
            .filter(|line| pick(line))
            .flat_map(|line| [line.trim_start_matches('#'), "\n"])
            .collect()
    }

    /// Whether a line is a key or a header, with or without `#`.
    fn is_code(line: &str) -> bool {
        !line.is_empty() && !line.starts_with("# ")
    }

    #[test]
    fn reference_is_toml_and_so_is_each_line_of_it() {
        reference().parse::<toml::Table>().expect("comments and headers only");
        for examples in [false, true] {
            let text = uncommented(|line| {
                is_code(line) && (line.ends_with("# an example") == examples || line.contains('['))
            });
            for line in text.lines() {
                line.parse::<toml::Table>().unwrap_or_else(|error| panic!("{line}: {error}"));
            }
        }
    }

    #[test]
    fn each_key_is_there_with_type_default_and_version() {
        let text = reference();
        for table in Table::ALL {
            let section = text.split(&format!("[{}]\n", table.header())).nth(1).unwrap();
            for key in table.keys() {
                assert!(section.contains(&format!("\n#{} = ", key.name)), "{}", key.name);
            }
        }
        // Lines are wrapped anywhere.
        let words = text.replace("\n# ", " ");
        assert_eq!(
            words.matches(". Since 0.").count(),
            Table::ALL.iter().flat_map(|table| table.keys()).count()
        );
        assert!(text.lines().skip(3).all(|line| is_code(line) || line.len() <= WIDTH + 2));
    }
}
