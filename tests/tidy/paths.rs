//! The paths that a file names, whatever its `use` lines call them.

use std::collections::HashMap;

use syn::Token;
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};

use crate::source::Source;

/// One path in full, such as `std::fs::File::create`; a glob ends with `*`.
pub(crate) struct Named {
    /// The path.
    pub(crate) path: String,
    /// Where it stands.
    pub(crate) line: usize,
}

impl Named {
    /// Whether it leads to one of these, or into one; a glob, whether it could.
    pub(crate) fn is_one_of(&self, deeds: &[&str]) -> bool {
        let into = |deed: &&str| self.path == **deed || self.path.starts_with(&format!("{deed}::"));
        let hides = |deed: &&str| self.path.strip_suffix('*').is_some_and(|module| deed.starts_with(module));
        deeds.iter().any(|deed| into(deed) || hides(deed))
    }
}

/// Every path in the code and in the `use` lines of a file, without its tests.
pub(crate) fn named(source: &Source) -> Vec<Named> {
    let mut paths = Paths { meanings: HashMap::new(), found: Vec::new() };
    paths.visit_file(&source.tree);
    let Paths { meanings, found } = paths;
    let resolve = |(mut whole, line): (Vec<String>, usize)| {
        // A name may mean another one, and so on.
        for _ in 0..4 {
            match whole.first().and_then(|first| meanings.get(first)) {
                Some(meant) if whole[..1] != meant[..] => whole.splice(..1, meant.clone()),
                _ => break,
            };
        }
        Named { path: whole.join("::"), line }
    };
    found.into_iter().map(resolve).collect()
}

/// Collects paths as they are written, and what their first names mean.
struct Paths {
    /// What names mean by `use`, wherever in the file it stands.
    meanings: HashMap<String, Vec<String>>,
    /// The paths, each with its line.
    found: Vec<(Vec<String>, usize)>,
}

impl Paths {
    /// Follows a use tree down to its leaves.
    fn follow(&mut self, tree: &syn::UseTree, above: &[String], line: usize) {
        let with = |ident: &syn::Ident| [above, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.follow(&path.tree, &with(&path.ident), line),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.follow(tree, above, line)),
            syn::UseTree::Name(name) => self.learn(&name.ident, with(&name.ident), line),
            syn::UseTree::Rename(rename) => self.learn(&rename.rename, with(&rename.ident), line),
            syn::UseTree::Glob(_) => self.found.push(([above, &["*".to_owned()]].concat(), line)),
        }
    }

    /// Learns what a name means; `self` is the module before it.
    fn learn(&mut self, name: &syn::Ident, mut path: Vec<String>, line: usize) {
        let mut name = name.to_string();
        if path.last().is_some_and(|last| last == "self") {
            path.pop();
            if name == "self" {
                name = path.last().cloned().unwrap_or_default();
            }
        }
        self.found.push((path.clone(), line));
        self.meanings.insert(name, path);
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        // Tests beside the code make files for themselves.
        if item.ident != "tests" {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.follow(&item.tree, &[], item.use_token.span.start().line);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if let Ok(arguments) = call.parse_body_with(Punctuated::<syn::Expr, Token![,]>::parse_terminated) {
            arguments.iter().for_each(|argument| self.visit_expr(argument));
        }
        visit::visit_macro(self, call);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let Some(first) = path.segments.first() {
            self.found.push((names, first.ident.span().start().line));
        }
        visit::visit_path(self, path);
    }
}
