//! `docs/waits.md`, the table of waits for peers: its places are there, and whoever waits with a limit stands in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// Functions that wait with a limit.
const WAITS: [&str; 5] = ["timeout", "timeout_at", "recv_timeout", "set_read_timeout", "set_write_timeout"];

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The file in `src` that a row of the table begins with, and its words in code font that name something of a type.
fn places(row: &str) -> Option<(String, Vec<String>)> {
    let cell = row.strip_prefix("| `")?.split(" | ").next()?;
    let mut words = cell.split('`').step_by(2);
    let file = words.next()?.to_owned();
    let owned = words.filter(|word| word.contains("::")).map(str::to_owned);
    Some((file, owned.collect()))
}

/// The rows of the table.
fn rows() -> Vec<(String, Vec<String>)> {
    fs::read_to_string(root().join("docs/waits.md"))
        .expect("the table is there")
        .lines()
        .filter_map(places)
        .collect()
}

/// Finds waits with a limit, outside of tests.
#[derive(Default)]
struct Waits(bool);

impl<'ast> Visit<'ast> for Waits {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.ident != "tests" {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(path) = &*call.func
            && let Some(last) = path.path.segments.last()
        {
            self.0 |= WAITS.contains(&last.ident.to_string().as_str());
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.0 |= WAITS.contains(&call.method.to_string().as_str());
        visit::visit_expr_method_call(self, call);
    }
}

/// Whether a text waits with a limit.
fn waits(text: &str) -> bool {
    let mut found = Waits::default();
    found.visit_file(&syn::parse_file(text).expect("it compiles"));
    found.0
}

/// Every file of a directory.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the directory is there") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_place_in_the_table_of_waits_is_there() {
    let mut missing = Vec::new();
    for (file, words) in rows() {
        let Ok(text) = fs::read_to_string(root().join("src").join(format!("{file}.rs"))) else {
            missing.push(file);
            continue;
        };
        for word in words {
            let name = word.rsplit("::").next().unwrap_or_default();
            if !text.contains(&format!("fn {name}")) {
                missing.push(format!("{file}: {word}"));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new(), "docs/waits.md names what is not there");
}

#[test]
fn whoever_waits_with_a_limit_stands_in_the_table_of_waits() {
    let listed: BTreeSet<String> = rows().into_iter().map(|(file, _)| file).collect();
    let mut sources = Vec::new();
    files(&root().join("src"), &mut sources);
    let unlisted: Vec<_> = sources
        .into_iter()
        .filter(|path| !path.to_string_lossy().ends_with("tests.rs"))
        .filter(|path| waits(&fs::read_to_string(path).unwrap()))
        .map(|path| path.strip_prefix(root().join("src")).unwrap().with_extension("").display().to_string())
        .filter(|file| !listed.contains(file))
        .collect();
    assert_eq!(unlisted, Vec::<String>::new(), "docs/waits.md has no row for these");
}

#[test]
fn waits_are_found_in_both_forms_and_not_in_tests() {
    assert!(waits("fn a() { tokio::time::timeout(limit, work) }"));
    assert!(waits("fn a() { receiver.recv_timeout(limit); }"));
    assert!(!waits("fn a() { work() } mod tests { fn b() { timeout(limit, work) } }"));
}
