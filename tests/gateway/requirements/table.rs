//! The rows, read from their files, and the tests that they name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;

use super::file;

/// The revisions and extensions of the specification, the oldest first.
pub(super) const REVISIONS: [&str; 5] =
    ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"];

/// Official extensions, which have no revisions that count here.
pub(super) const EXTENSIONS: [&str; 4] = ["tasks", "skills", "apps", "server-card"];

/// The key words (RFC 2119).
pub(super) const LEVELS: [&str; 8] =
    ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "REQUIRED", "RECOMMENDED", "NOT RECOMMENDED", "MAY NOT"];

/// Files of rows.
const FILES: [&str; 8] =
    ["lifecycle", "messages", "transports", "utilities", "server", "client", "authorization", "extensions"];

/// Whom a requirement binds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Binds {
    /// Servers: the gateway towards its clients.
    Server,
    /// Clients: the gateway towards upstreams.
    Client,
    /// Who stands between two others.
    Intermediary,
    /// Whoever speaks the protocol.
    All,
    /// Others than those: authorization servers, editors, designers of transports.
    Others,
}

/// What is said of a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Tests fail where it is violated.
    Proven,
    /// The gateway does something else, for a reason.
    ByDesign,
    /// It does not bind a gateway.
    NotApplicable,
    /// It, or a part of it, is not met or not tested.
    Missing,
}

/// One requirement.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    /// The lines that say it.
    at: Vec<String>,
    /// Its key words.
    pub(super) level: String,
    /// Whom it binds.
    pub(super) binds: Binds,
    /// What it says, in our words.
    pub(super) says: String,
    /// The tests that prove it.
    #[serde(default)]
    pub(super) tests: Vec<String>,
    /// Why it is not kept to on purpose.
    pub(super) by_design: Option<String>,
    /// Why it does not bind.
    pub(super) not_applicable: Option<String>,
    /// What is not met or not proven.
    pub(super) missing: Option<String>,
}

/// One line of the specification.
#[derive(Debug)]
pub(super) struct Place<'a> {
    /// The revision or the extension.
    pub(super) revision: &'static str,
    /// The page.
    pub(super) page: &'a str,
    /// The section.
    pub(super) section: &'a str,
    /// The number of the line among those of the section that have a key word.
    pub(super) number: usize,
}

impl Row {
    /// The lines that say it, where several revisions do.
    pub(super) fn at(&self) -> &[String] {
        &self.at
    }

    /// Each line that says it; a malformed place fails the test.
    pub(super) fn places(&self) -> Vec<Place<'_>> {
        assert!(!self.at.is_empty(), "{}: nowhere", self.says);
        self.at.iter().flat_map(|at| places(at).unwrap_or_else(|| panic!("malformed: {at}"))).collect()
    }

    /// The reasons, with their classes.
    pub(super) fn reasons(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("by_design", &self.by_design),
            ("not_applicable", &self.not_applicable),
            ("missing", &self.missing),
        ];
        all.into_iter().filter_map(|(class, key)| Some((class, key.as_deref()?)))
    }

    /// What is said of it.
    pub(super) fn class(&self) -> Class {
        match (&self.missing, &self.by_design, &self.not_applicable) {
            (Some(_), ..) => Class::Missing,
            (_, Some(_), _) => Class::ByDesign,
            (.., Some(_)) => Class::NotApplicable,
            _ => Class::Proven,
        }
    }
}

/// The lines that one place of a row names.
fn places(at: &str) -> Option<Vec<Place<'_>>> {
    let (revisions, rest) = at.split_once(' ')?;
    let (page, rest) = rest.split_once(" § ")?;
    let (section, number) = rest.rsplit_once(' ')?;
    let number = number.parse().ok().filter(|number| *number > 0)?;
    let (first, last) = revisions.split_once("..").unwrap_or((revisions, revisions));
    let revisions = if let Some(extension) = EXTENSIONS.into_iter().find(|name| *name == revisions) {
        vec![extension]
    } else {
        let place = |name| REVISIONS.iter().position(|revision| *revision == name);
        REVISIONS.get(place(first)?..=place(last)?).filter(|found| !found.is_empty())?.to_vec()
    };
    (!page.is_empty() && !section.is_empty()).then_some(())?;
    Some(revisions.into_iter().map(|revision| Place { revision, page, section, number }).collect())
}

/// A file of rows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Its rows.
    rows: Vec<Row>,
}

/// All rows and reasons.
pub(super) struct Table {
    /// The rows, in their order.
    pub(super) rows: Vec<Row>,
    /// The reasons by class and key.
    pub(super) reasons: BTreeMap<String, BTreeMap<String, String>>,
}

impl Table {
    /// Reads the files.
    pub(super) fn read() -> Self {
        let text = |name: &str| {
            let path = file(&format!("tests/gateway/requirements/{name}.toml"));
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let rows = |name: &&str| {
            toml::from_str::<File>(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}")).rows
        };
        let reasons = toml::from_str(&text("reasons")).unwrap_or_else(|error| panic!("reasons: {error}"));
        Self { rows: FILES.iter().flat_map(rows).collect(), reasons }
    }
}

/// What names of checks of the official suite begin with.
const CHECK: &str = "conformance ";

/// Whether a proof is a check of the official suite.
pub(super) fn is_check(name: &str) -> bool {
    name.starts_with(CHECK)
}

/// The checks of the official suite that rows name for a revision, as `SCENARIO:CHECK`.
pub(crate) fn checks(revision: &str) -> BTreeSet<String> {
    let names = Table::read().rows.into_iter().flat_map(|row| row.tests);
    let own = |name: String| Some(name.strip_prefix(CHECK)?.strip_prefix(revision)?.trim().to_owned());
    names.filter_map(own).collect()
}

/// The sources that tests are looked for in, each parsed once.
#[derive(Default)]
pub(super) struct Sources(BTreeMap<PathBuf, Option<syn::File>>);

impl Sources {
    /// Whether there is a test of this name: `SUITE::MODULES::FUNCTION`.
    pub(super) fn have(&mut self, name: &str) -> bool {
        let parts: Vec<_> = name.split("::").collect();
        let Some((suite, rest)) = parts.split_first() else { return false };
        let root = if *suite == "lib" { PathBuf::from("src") } else { PathBuf::from("tests").join(suite) };
        // The longest path that is a file; what is left are modules in it, and the function.
        (0..rest.len()).rev().any(|depth| {
            let below = rest[..depth].iter().fold(root.clone(), |path, part| path.join(part));
            let files = [below.with_extension("rs"), below.join("mod.rs"), below.join("main.rs")];
            files
                .into_iter()
                .any(|path| self.parsed(path).is_some_and(|tree| has(&tree.items, &rest[depth..])))
        })
    }

    /// A file; nothing where there is none.
    fn parsed(&mut self, path: PathBuf) -> Option<&syn::File> {
        let parsed = self.0.entry(path).or_insert_with_key(|path| {
            let text = std::fs::read_to_string(file(path.to_str().expect("UTF-8"))).ok()?;
            Some(syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        });
        parsed.as_ref()
    }
}

/// Whether items have the test at this path.
fn has(items: &[syn::Item], rest: &[&str]) -> bool {
    match rest {
        [function] => items.iter().any(|item| match item {
            syn::Item::Fn(item) => {
                let is_test = |attribute: &syn::Attribute| {
                    attribute.path().segments.last().is_some_and(|last| last.ident == "test")
                };
                item.sig.ident == *function && item.attrs.iter().any(is_test)
            }
            _ => false,
        }),
        [module, rest @ ..] => items.iter().any(|item| match item {
            syn::Item::Mod(item) => {
                item.ident == *module && item.content.as_ref().is_some_and(|(_, items)| has(items, rest))
            }
            _ => false,
        }),
        [] => false,
    }
}
