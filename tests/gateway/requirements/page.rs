//! `docs/conformance.md`, made of the rows.

use std::fmt::Write as _;

use super::table::{Binds, Class, EXTENSIONS, REVISIONS, Row, Table, is_check};

/// The classes with the words for them.
const CLASSES: [(Class, &str); 4] = [
    (Class::Proven, "proven"),
    (Class::ByDesign, "by design not"),
    (Class::NotApplicable, "not applicable"),
    (Class::Missing, "missing"),
];

/// The chapters: who is bound, and the words for it.
const CHAPTERS: [(Binds, &str); 5] = [
    (Binds::Server, "What binds a server: mcpeg towards its clients"),
    (Binds::Client, "What binds a client: mcpeg towards its upstreams"),
    (Binds::Intermediary, "What binds who stands between them"),
    (Binds::All, "What binds whoever speaks the protocol"),
    (Binds::Others, "What binds others"),
];

/// What stands before the tables.
const HEAD: &str = "\
# Conformance

Each line of the Model Context Protocol's specification that has a key word (MUST, SHOULD and their like), of the revisions and
official extensions that mcpeg speaks, with the tests that prove it or the reason why there is none. The words are ours; the
specification's are at <https://modelcontextprotocol.io/specification>. What the comments of its schema repeat is left out.

This page is made of `tests/gateway/requirements/*.toml` by `MCPEG_WRITE=1 cargo nextest run --test gateway requirements`; edit
those. A test fails if this page, a line or a named test is missing.

- *proven*: the named tests fail where the requirement is violated. A name begins with its suite, `lib` for tests in `src`;
  `conformance` is a check of the official suite, which `gateway::conformance` looks for.
- *by design not*: mcpeg does something else, for the reason that is given.
- *not applicable*: it does not bind a gateway.
- *missing*: it, or a part of it, is not met or not tested yet.

";

/// The number of lines of a class, for one revision or all.
fn count(table: &Table, class: Option<Class>, revision: Option<&str>) -> usize {
    let rows = table.rows.iter().filter(|row| class.is_none_or(|class| row.class() == class));
    let places = rows.flat_map(Row::places);
    places.filter(|place| revision.is_none_or(|revision| place.revision == revision)).count()
}

/// The table of numbers.
fn numbers(table: &Table) -> String {
    let names = CLASSES.map(|(_, name)| name).join(" | ");
    let mut text = format!("| Lines of | {names} | all |\n|---|---|---|---|---|---|\n");
    let all = REVISIONS.into_iter().chain(EXTENSIONS).map(Some).chain([None]);
    for revision in all {
        let name = match revision {
            Some(name) if EXTENSIONS.contains(&name) => format!("extension {name}"),
            Some(name) => name.to_owned(),
            None => "all".to_owned(),
        };
        let counts = CLASSES.map(|(class, _)| count(table, Some(class), revision).to_string());
        writeln!(text, "| {name} | {} | {} |", counts.join(" | "), count(table, None, revision))
            .expect("strings take all");
    }
    text
}

/// What is in the last column: tests, and reasons by their keys.
fn proof(row: &Row) -> String {
    let tests = row.tests.iter().map(|name| {
        if is_check(name) { name.clone() } else { format!("`{}`", name.trim_start_matches("gateway::")) }
    });
    let reasons = row.reasons().map(|(class, key)| {
        let word = match class {
            "by_design" => "by design not",
            "not_applicable" => "not applicable",
            _ => "missing",
        };
        format!("*{word}:* [{key}](#{class}-{key})")
    });
    reasons.chain(tests).collect::<Vec<_>>().join("<br>")
}

/// The reasons, each with a place that rows can point to.
fn reasons(table: &Table) -> String {
    let mut text = "## Reasons\n\n| Key | Class | Reason |\n|---|---|---|\n".to_owned();
    for (class, of) in &table.reasons {
        for (key, reason) in of {
            let class_name = class.replace('_', " ");
            writeln!(text, "| <a id=\"{class}-{key}\"></a>{key} | {class_name} | {reason} |")
                .expect("strings take all");
        }
    }
    text
}

/// The whole page.
pub(super) fn render(table: &Table) -> String {
    let mut text = HEAD.to_owned() + &numbers(table) + "\n" + &reasons(table);
    for (binds, title) in CHAPTERS {
        write!(text, "\n## {title}\n\n| Where | Level | What | Proof |\n|---|---|---|---|\n")
            .expect("strings take all");
        for row in table.rows.iter().filter(|row| row.binds == binds) {
            let at = row.at().join("<br>");
            writeln!(text, "| {at} | {} | {} | {} |", row.level, row.says, proof(row))
                .expect("strings take all");
        }
    }
    text
}
