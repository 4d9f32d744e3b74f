//! The requirements of the specification that bind a server, a client or an intermediary, each with the tests that prove it
//! or the reason why there is none.
//!
//! A row of `requirements/*.toml` is one requirement, in words of ours:
//!
//! - `at`: where it stands, as `REVISIONS PAGE § SECTION NUMBER`. `REVISIONS` is one, or `FIRST..LAST`; the number counts the
//!   lines of the section that have one of the key words (MUST, SHOULD and their like). Each such line of the pages is here.
//! - `level`: the key words of the line. `binds`: whom. `says`: what.
//! - `tests`: names, beginning with the suite (`lib` for those in `src`), or `conformance REVISION SCENARIO:CHECK` for a check of
//!   the official suite, which its own test looks for. A test is named only if it fails where the requirement is violated.
//! - `by_design`, `not_applicable`, `missing`: the key of a reason in `requirements/reasons.toml`. Beside one of the first or the
//!   last, tests may prove a part.
//!
//! `docs/conformance.md` is made of the rows: `MCPEG_WRITE=1 cargo nextest run --test gateway requirements`.

mod page;
mod table;
mod towards_clients;
mod towards_servers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use table::{LEVELS, Place, Table};

pub(crate) use table::checks;

/// The lines that the table had when this was last looked at; it may only grow.
const LINES: usize = 1590;

/// The name of the variable that has the page written.
const WRITE: &str = "MCPEG_WRITE";

/// A file of the repository.
fn file(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn each_line_of_the_specification_is_in_one_row() {
    let table = Table::read();
    let mut numbers: BTreeMap<(&str, &str, &str), Vec<usize>> = BTreeMap::new();
    let places: Vec<_> = table.rows.iter().flat_map(table::Row::places).collect();
    for Place { revision, page, section, number } in &places {
        numbers.entry((revision, page, section)).or_default().push(*number);
    }
    for (section, mut numbers) in numbers {
        numbers.sort_unstable();
        let whole: Vec<_> = (1..=numbers.len()).collect();
        assert_eq!(numbers, whole, "{section:?}: a line is missing or there twice");
    }
    assert!(places.len() >= LINES, "{} of {LINES} lines", places.len());
}

#[test]
fn each_row_says_what_it_is_and_has_a_test_or_a_reason() {
    let table = Table::read();
    let mut used = BTreeSet::new();
    for row in &table.rows {
        let says = &row.says;
        let levels: Vec<_> = row.level.split(" + ").collect();
        assert!(levels.iter().all(|level| LEVELS.contains(level)), "{says}: {}", row.level);
        assert!(!says.is_empty() && !says.contains('|'), "{says}");
        let reasons = row.reasons().count();
        assert!(reasons <= 1 && (reasons == 1 || !row.tests.is_empty()), "{says}: tests, or one reason");
        assert!(
            row.not_applicable.is_none() || row.tests.is_empty(),
            "{says}: both a test and not applicable"
        );
        for (class, key) in row.reasons() {
            assert!(table.reasons.get(class).is_some_and(|of| of.contains_key(key)), "{says}: {class} {key}");
            used.insert((class, key));
        }
    }
    let all =
        table.reasons.iter().flat_map(|(class, of)| of.keys().map(move |key| (class.as_str(), key.as_str())));
    let unused: Vec<_> = all.filter(|reason| !used.contains(reason)).collect();
    assert!(unused.is_empty(), "reasons that no row has: {unused:?}");
}

#[test]
fn each_test_that_a_row_names_is_there() {
    let table = Table::read();
    let mut named = BTreeSet::new();
    for row in &table.rows {
        let own: BTreeSet<_> = row.tests.iter().collect();
        assert_eq!(own.len(), row.tests.len(), "{}: a test twice", row.says);
        named.extend(own.into_iter().filter(|name| !table::is_check(name)));
    }
    let mut sources = table::Sources::default();
    let missing: Vec<_> = named.into_iter().filter(|name| !sources.have(name)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
    assert!(sources.have("gateway::requirements::each_test_that_a_row_names_is_there"));
    assert!(!sources.have("gateway::requirements::each_test"));
    assert!(!sources.have("gateway::requirements::file"), "not a test");
}

#[test]
fn page_about_conformance_is_what_the_table_says() {
    let (path, made) = (file("docs/conformance.md"), page::render(&Table::read()));
    if std::env::var_os(WRITE).is_some() {
        crate::gateway::write(&path, &made);
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == made,
        "docs/conformance.md is not what the table says; {WRITE}=1 has this test write it"
    );
}
