//! Imports point down only: the table in the documentation of `src/lib.rs` is the rule.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::UseTree;
use syn::visit::{self, Visit};

use crate::source::{Source, assert_none, read, sources_below};

/// Which top-level modules each top-level module may import.
type Table = BTreeMap<String, BTreeSet<String>>;

/// Reads the rows ``//! | [`cli`] | owns | may import |`` of a crate's documentation.
///
/// `a, b and below` stands for a, b and what these may import; `everything below` for all later rows.
fn table(documentation: &str) -> Table {
    let rows: Vec<(String, String)> = documentation.lines().filter_map(row).collect();
    let mut table = Table::new();
    // From the bottom up, so that what stands below is known when it is referred to.
    for (index, (name, allowed)) in rows.iter().enumerate().rev() {
        let (named, closed) = match allowed.strip_suffix(" and below") {
            Some(named) => (named, true),
            None => (allowed.as_str(), false),
        };
        let mut set: BTreeSet<String> = match named {
            "nothing" => BTreeSet::new(),
            "everything below" => rows[index + 1..].iter().map(|(below, _)| below.clone()).collect(),
            list => list.split(", ").map(str::to_owned).collect(),
        };
        if closed {
            let more: Vec<_> = set.iter().filter_map(|named| table.get(named)).flatten().cloned().collect();
            set.extend(more);
        }
        table.insert(name.clone(), set);
    }
    table
}

/// One row's module and what it may import.
fn row(line: &str) -> Option<(String, String)> {
    let cells: Vec<&str> = line.strip_prefix("//! |")?.split('|').map(str::trim).collect();
    let [name, _, allowed, ""] = cells[..] else { return None };
    let name = name.strip_prefix("[`")?.strip_suffix("`]")?;
    Some((name.to_owned(), allowed.to_owned()))
}

/// Collects the top-level modules that a file names.
struct Imports {
    /// Where we are: the module path of the file and of inline modules.
    module: Vec<String>,
    /// Top-level modules named so far, each with a line.
    found: Vec<(String, usize)>,
}

impl Imports {
    /// Notes where a path leads if it starts at `crate`, or climbs out of its top-level module by `super`.
    fn note(&mut self, segments: &[String], line: usize) {
        let mut place = match segments.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("super" | "self") => self.module.clone(),
            _ => return,
        };
        for segment in segments {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => drop(place.pop()),
                name => place.push(name.to_owned()),
            }
        }
        self.found.extend(place.into_iter().next().map(|top| (top, line)));
    }

    /// Walks a `use` tree with the segments that lead to it.
    fn note_tree(&mut self, tree: &UseTree, mut before: Vec<String>) {
        let line = |ident: &syn::Ident| ident.span().start().line;
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.note_tree(&path.tree, before);
            }
            UseTree::Name(name) => {
                before.push(name.ident.to_string());
                self.note(&before, line(&name.ident));
            }
            UseTree::Rename(rename) => {
                before.push(rename.ident.to_string());
                self.note(&before, line(&rename.ident));
            }
            UseTree::Group(group) => group.items.iter().for_each(|item| self.note_tree(item, before.clone())),
            // A glob of the whole crate is refused by naming no module of the table.
            UseTree::Glob(glob) => {
                before.push("*".to_owned());
                self.note(&before, glob.star_token.spans[0].start().line);
            }
        }
    }

    /// Looks for `crate::name` in the arguments of a macro, which are not parsed.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for window in tokens.windows(4) {
            if let [
                TokenTree::Ident(root),
                TokenTree::Punct(one),
                TokenTree::Punct(two),
                TokenTree::Ident(name),
            ] = window
                && root == "crate"
                && one.as_char() == ':'
                && two.as_char() == ':'
            {
                self.note(&["crate".to_owned(), name.to_string()], name.span().start().line);
            }
        }
        for token in tokens {
            if let TokenTree::Group(group) = token {
                self.note_tokens(group.stream());
            }
        }
    }
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note_tree(&item.tree, Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let line = path.segments.first().map_or(0, |segment| segment.ident.span().start().line);
        self.note(&segments, line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.note_tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {
        // `pub(crate)` and `pub(super)` are no imports.
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }
}

/// The imports of one file that the table does not grant.
fn violations(source: &Source, table: &Table) -> Vec<String> {
    let layer = source.layer();
    if layer.is_empty() {
        return Vec::new();
    }
    let Some(allowed) = table.get(&layer) else {
        return vec![format!("{}: `{layer}` is not in the table of src/lib.rs", source.path.display())];
    };
    let mut imports = Imports { module: source.module.clone(), found: Vec::new() };
    imports.visit_file(&source.tree);
    let wrong = imports.found.into_iter().filter(|(name, _)| *name != layer && !allowed.contains(name));
    wrong
        .map(|(name, line)| format!("{}:{line}: `{layer}` imports `{name}`", source.path.display()))
        .collect()
}

#[test]
fn imports_point_down_only() {
    let table = table(&read("src/lib.rs"));
    let findings: Vec<_> = sources_below(&["src"]).iter().flat_map(|file| violations(file, &table)).collect();
    assert_none("imports against the table in src/lib.rs", &findings);
}

#[test]
fn table_has_a_row_for_each_module_and_no_other() {
    let root = Source::new("src/lib.rs", &read("src/lib.rs"));
    let modules: BTreeSet<String> = root.tree.items.iter().filter_map(module_name).collect();
    let rows: BTreeSet<String> = table(&root.text).into_keys().collect();
    assert_eq!(modules, rows);
}

/// The name of a module that an item declares.
fn module_name(item: &syn::Item) -> Option<String> {
    match item {
        syn::Item::Mod(module) => Some(module.ident.to_string()),
        _ => None,
    }
}

#[test]
fn siblings_never_import_one_another() {
    let table = table(&read("src/lib.rs"));
    let siblings = ["log", "daemon", "install", "gateway"];
    for one in siblings {
        let allowed = &table[one];
        assert!(siblings.iter().all(|other| !allowed.contains(*other)), "{one}: {allowed:?}");
    }
}

/// A table like the real one, for the samples.
const SAMPLE: &str = "
//! | module | owns | may import |
//! |---|---|---|
//! | [`cli`] | terminal | everything below |
//! | [`serve`] | order | log, daemon and below |
//! | [`log`] | files | exit |
//! | [`daemon`] | process | sys |
//! | [`sys`] | kernel | nothing |
//! | [`exit`] | codes | nothing |
";

#[test]
fn and_below_means_below_those_named() {
    let table = table(SAMPLE);
    assert_eq!(Vec::from_iter(&table["serve"]), ["daemon", "exit", "log", "sys"]);
    assert_eq!(Vec::from_iter(&table["cli"]), ["daemon", "exit", "log", "serve", "sys"]);
    assert!(table["exit"].is_empty());
}

#[test]
fn forbidden_imports_are_found_in_every_form() {
    for wrong in [
        "use crate::daemon::pidfile;",
        "use crate::{exit::Exit, daemon};",
        "use crate::daemon as d;",
        "use crate::*;",
        "use super::super::daemon::Lock;",
        "fn f() { crate::daemon::start(); }",
        "fn f(_: crate::daemon::Lock) {}",
        "fn f() { tracing::info!(pid = crate::daemon::pid(), \"started\"); }",
        "mod tests { use super::super::super::daemon; }",
    ] {
        let source = Source::new("src/log/file.rs", wrong);
        assert_eq!(violations(&source, &table(SAMPLE)).len(), 1, "{wrong}");
    }
}

#[test]
fn granted_imports_and_own_modules_pass() {
    let right = "
        use crate::exit::Exit;
        use crate::log::format;
        use super::format::Line;
        pub(crate) fn f() { self::g(); super::open(); std::process::id(); }
        // use crate::daemon;
    ";
    assert_eq!(violations(&Source::new("src/log/file.rs", right), &table(SAMPLE)), Vec::<String>::new());
}
