//! One table `[upstreams.NAME]` in the text of a file: nothing else of it changes.

use toml::{Table, Value};
use toml_edit::{DocumentMut, Item, TomlError};

/// The table as a file has it.
pub(super) fn written(name: &str, settings: &Table) -> String {
    let upstreams = Table::from_iter([(name.to_owned(), Value::Table(settings.clone()))]);
    let document = Table::from_iter([("upstreams".to_owned(), Value::Table(upstreams))]);
    toml::to_string(&document).expect("tables of values can be written")
}

/// A text with the table at its end.
pub(super) fn with(text: &str, name: &str, settings: &Table) -> String {
    let before = text.trim_end();
    let gap = if before.is_empty() { "" } else { "\n\n" };
    format!("{before}{gap}{}", written(name, settings))
}

/// A text without the table; `None` if nothing is left but comments.
pub(super) fn without(text: &str, name: &str) -> Result<Option<String>, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    let Some(upstreams) = document.get_mut("upstreams").and_then(Item::as_table_like_mut) else {
        return Ok(Some(text.to_owned()));
    };
    let removed = upstreams.remove(name);
    if upstreams.is_empty() {
        document.remove("upstreams");
    }
    if document.is_empty() {
        return Ok(None);
    }
    if let Some(Item::Table(removed)) = &removed {
        let prefix = removed.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default();
        // What stands above a blank line is about more than this table.
        if let Some(at) = prefix.rfind("\n\n").filter(|at| prefix[..*at].contains('#')) {
            let kept = &prefix[..at + 2];
            match next(document.as_item_mut(), removed.position()) {
                Some(next) => {
                    let own = next.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default();
                    let both = format!("{kept}{}", own.trim_start_matches('\n'));
                    next.decor_mut().set_prefix(both);
                }
                None => document.set_trailing(format!("{}\n", kept.trim_end())),
            }
        }
    }
    Ok(Some(document.to_string().trim_start_matches('\n').to_owned()))
}

/// The table that stands first after a place.
fn next(item: &mut Item, after: Option<isize>) -> Option<&mut toml_edit::Table> {
    let mut found: Option<&mut toml_edit::Table> = None;
    let mut left = vec![item];
    while let Some(item) = left.pop() {
        let Item::Table(table) = item else { continue };
        let is_behind = !table.is_implicit() && table.position() > after;
        let is_nearer = found.as_ref().is_none_or(|found| table.position() < found.position());
        if is_behind && is_nearer {
            found = Some(table);
            continue;
        }
        left.extend(table.iter_mut().map(|(_, item)| item));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with three upstreams, as a person keeps it.
    const SHARED: &str = "# Of the whole team.\n\n# The clock.\n[upstreams.time]\ncommand = \"time\" # here\n\n\
        [upstreams.time.env]\n# Why.\nTZ = \"UTC\"\n\n# The documents.\n[upstreams.docs]\nurl   =   \"http://d/\"\n\n\
        # The last.\n[upstreams.last]\ncommand = \"last\"\n# An end.\n";

    /// What is left of a text.
    fn left(text: &str, name: &str) -> String {
        without(text, name).unwrap().unwrap_or_default()
    }

    #[test]
    fn what_is_not_about_the_upstream_stays_letter_by_letter() {
        let docs = "# The documents.\n[upstreams.docs]\nurl   =   \"http://d/\"\n\n";
        let last = "# The last.\n[upstreams.last]\ncommand = \"last\"\n# An end.\n";
        let time = SHARED.split("# The documents").next().unwrap();
        assert_eq!(left(SHARED, "time"), format!("# Of the whole team.\n\n{docs}{last}"));
        assert_eq!(left(SHARED, "docs"), format!("{time}{last}"));
        assert_eq!(left(SHARED, "none"), SHARED);
        // The last one, and what was written in other ways.
        assert_eq!(left(SHARED, "last"), format!("{time}{}\n# An end.\n", docs.trim_end()));
        let dotted = "# Keys.\nupstreams.a.command = \"a\"\n# B.\nupstreams.b.command = \"b\"\n";
        assert_eq!(left(dotted, "a"), "# B.\nupstreams.b.command = \"b\"\n");
        let inline = "[upstreams]\na = { command = \"a\" }\n# B.\nb = { command = \"b\" } # b\n";
        assert_eq!(left(inline, "a"), "[upstreams]\n# B.\nb = { command = \"b\" } # b\n");
        let main = "# Main.\n[server]\nlisten = []\n\n[upstreams.a]\ncommand = \"a\"\n";
        assert_eq!(left(main, "a"), "# Main.\n[server]\nlisten = []\n");
        assert_eq!(without("# Imported.\n[upstreams.a]\ncommand = \"a\"\n", "a").unwrap(), None);
        assert!(without("[upstreams", "a").is_err());
    }

    #[test]
    fn table_that_was_added_goes_again() {
        let settings = Table::from_iter([
            ("command".to_owned(), Value::from("x \"y\"")),
            ("env".to_owned(), Value::Table(Table::from_iter([("A".to_owned(), Value::from("1"))]))),
        ]);
        for text in ["", SHARED, "# Nothing.\n[server]\n"] {
            let more = with(text, "new", &settings);
            let table: Table = more.parse().unwrap();
            assert_eq!(table["upstreams"]["new"], Value::Table(settings.clone()), "{more}");
            assert_eq!(left(&more, "new").trim_end(), text.trim_end(), "{more}");
        }
    }
}
