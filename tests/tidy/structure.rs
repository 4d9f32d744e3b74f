//! How files hang together: none import each other in a ring, and a type's `impl` blocks stand in the type's file.
//!
//! An arrow leads from a file to each file that it names by a path from `crate`, `super` or `self`, or by the name of a
//! module below it, in a `use` or anywhere else. A path leads to the deepest module on it that is a file, so that what a
//! `mod.rs` re-exports is the `mod.rs`'s. Tests are left out: they may look at everything.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::UseTree;
use syn::visit::{self, Visit};

use crate::source::{Source, assert_none, sources_below};

/// The files by their module paths.
type Modules = BTreeMap<Vec<String>, String>;

/// Which files each file names.
type Arrows = BTreeMap<String, BTreeSet<String>>;

/// Whether an item is there for tests only.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

/// Finds the files that one file names.
struct Names<'a> {
    /// All files.
    modules: &'a Modules,
    /// Where we are: the module path of the file and of inline modules.
    module: Vec<String>,
    /// The module path of the file alone.
    file: &'a [String],
    /// The files named so far.
    found: BTreeSet<String>,
}

impl Names<'_> {
    /// Notes the file that a path leads to.
    fn note(&mut self, segments: &[String]) {
        let mut place = match segments.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("super" | "self") => self.module.clone(),
            // A module below this one is named without a root.
            Some(first)
                if self.modules.contains_key(&[self.module.as_slice(), &[first.to_owned()]].concat()) =>
            {
                self.module.clone()
            }
            _ => return,
        };
        for segment in segments {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => drop(place.pop()),
                name => place.push(name.to_owned()),
            }
        }
        while !place.is_empty() && !self.modules.contains_key(&place) {
            place.pop();
        }
        if place != self.file {
            self.found.extend(self.modules.get(&place).cloned());
        }
    }

    /// Walks a `use` tree with the segments that lead to it.
    fn note_tree(&mut self, tree: &UseTree, mut before: Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.note_tree(&path.tree, before);
            }
            UseTree::Name(syn::UseName { ident }) | UseTree::Rename(syn::UseRename { ident, .. }) => {
                before.push(ident.to_string());
                self.note(&before);
            }
            UseTree::Group(group) => group.items.iter().for_each(|item| self.note_tree(item, before.clone())),
            UseTree::Glob(_) => self.note(&before),
        }
    }

    /// Looks for paths in the arguments of a macro, which are not parsed.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if colons == 2 && !path.is_empty() => {
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => colons += 1,
                other => {
                    if path.len() > 1 {
                        self.note(&path);
                    }
                    (path, colons) = (Vec::new(), 0);
                    match other {
                        TokenTree::Ident(ident) => path.push(ident.to_string()),
                        TokenTree::Group(group) => self.note_tokens(group.stream()),
                        TokenTree::Punct(_) | TokenTree::Literal(_) => {}
                    }
                }
            }
        }
        if path.len() > 1 {
            self.note(&path);
        }
    }
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.note_tree(&item.tree, Vec::new());
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.note(&segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.note_tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {
        // A path in an attribute, such as `serde(with = "…")`, is a macro's or a string.
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {
        // `pub(crate)` and `pub(super)` are no imports.
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !is_test(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            self.module.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }
}

/// The module paths that a file declares for tests only: `#[cfg(test)] mod tests;`.
fn test_modules(source: &Source) -> Vec<Vec<String>> {
    let declared = |item: &syn::Item| match item {
        syn::Item::Mod(module) if module.content.is_none() && is_test(&module.attrs) => {
            Some([source.module.as_slice(), &[module.ident.to_string()]].concat())
        }
        _ => None,
    };
    source.tree.items.iter().filter_map(declared).collect()
}

/// The sources without those that are for tests only.
fn without_tests(sources: Vec<Source>) -> Vec<Source> {
    let tests: BTreeSet<_> = sources.iter().flat_map(test_modules).collect();
    let is_product = |source: &Source| !tests.iter().any(|test| source.module.starts_with(test));
    sources.into_iter().filter(is_product).collect()
}

/// Who names whom. The crate's root names everything and is left out.
fn arrows(sources: &[Source]) -> Arrows {
    let inner = sources.iter().filter(|source| !source.module.is_empty());
    let modules: Modules =
        inner.clone().map(|source| (source.module.clone(), source.path.display().to_string())).collect();
    inner
        .map(|source| {
            let mut names = Names {
                modules: &modules,
                module: source.module.clone(),
                file: &source.module,
                found: BTreeSet::new(),
            };
            names.visit_file(&source.tree);
            (source.path.display().to_string(), names.found)
        })
        .collect()
}

/// Every file that can be reached from one by arrows.
fn reached<'a>(arrows: &'a Arrows, from: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = arrows[from].iter().map(String::as_str).collect();
    while let Some(file) = open.pop() {
        if found.insert(file) {
            open.extend(arrows[file].iter().map(String::as_str));
        }
    }
    found
}

/// The groups of files that reach each other.
fn rings(sources: &[Source]) -> Vec<String> {
    let arrows = arrows(sources);
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        arrows.keys().map(|file| (file.as_str(), reached(&arrows, file))).collect();
    let ring = |file: &&str| -> BTreeSet<&str> {
        reach[*file].iter().copied().filter(|other| reach[other].contains(*file)).collect()
    };
    let rings: BTreeSet<_> = reach.keys().map(ring).filter(|ring| ring.len() > 1).collect();
    let shown = |ring: BTreeSet<&str>| Vec::from_iter(ring).join(" ↔ ");
    rings.into_iter().map(shown).collect()
}

/// The name of a type that a block implements, if it is written as a name alone.
fn implemented(item: &syn::ItemImpl) -> Option<String> {
    let syn::Type::Path(path) = &*item.self_ty else { return None };
    path.path
        .get_ident()
        .cloned()
        .or_else(|| Some(path.path.segments.last()?.ident.clone()))
        .map(|name| name.to_string())
}

/// The types that a file defines, those of inline modules too.
#[derive(Default)]
struct Types {
    /// Their names.
    defined: BTreeSet<String>,
    /// What is implemented without a trait, with a line.
    implemented: Vec<(String, usize)>,
}

impl<'ast> Visit<'ast> for Types {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.defined.insert(item.ident.to_string());
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.defined.insert(item.ident.to_string());
    }

    fn visit_item_union(&mut self, item: &'ast syn::ItemUnion) {
        self.defined.insert(item.ident.to_string());
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        // A macro may define the type, `bitflags!` for one.
        let tokens: Vec<_> = call.tokens.clone().into_iter().collect();
        for pair in tokens.windows(2) {
            if let [TokenTree::Ident(word), TokenTree::Ident(name)] = pair
                && (word == "struct" || word == "enum")
            {
                self.defined.insert(name.to_string());
            }
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if item.trait_.is_none() && !is_test(&item.attrs) {
            let line = item.impl_token.span.start().line;
            self.implemented.extend(implemented(item).map(|name| (name, line)));
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }
}

/// The `impl` blocks of a file whose type is defined in another one.
fn foreign_impls(source: &Source) -> Vec<String> {
    let mut types = Types::default();
    types.visit_file(&source.tree);
    let foreign = types.implemented.iter().filter(|(name, _)| !types.defined.contains(name));
    foreign.map(|(name, line)| format!("{}:{line}: `impl {name}`", source.path.display())).collect()
}

#[test]
fn no_files_import_each_other_in_a_ring() {
    let rings = rings(&without_tests(sources_below(&["src"])));
    assert_none("files that import each other in a ring; move what both need below them", &rings);
}

#[test]
fn a_type_is_implemented_in_its_file() {
    let sources = without_tests(sources_below(&["src"]));
    let findings: Vec<_> = sources.iter().flat_map(foreign_impls).collect();
    assert_none("`impl` blocks of a type of another file", &findings);
}

/// Files by path and text.
fn sample(files: &[(&str, &str)]) -> Vec<Source> {
    files.iter().map(|(path, text)| Source::new(path, text)).collect()
}

#[test]
fn rings_are_found_in_every_form() {
    for (one, two) in [
        ("use super::b::B;", "use super::a::A;"),
        ("use crate::x::b::{self, B};", "fn f(_: crate::x::a::A) {}"),
        ("use super::{b as other};", "use crate::{x::{a::*}};"),
        ("fn f() { tracing::info!(pid = crate::x::b::pid(), \"started\"); }", "use super::a;"),
        ("mod inner { use super::super::b; }", "impl super::a::T for () {}"),
    ] {
        let files = sample(&[("src/x/a.rs", one), ("src/x/b.rs", two), ("src/x/mod.rs", "mod a; mod b;")]);
        assert_eq!(rings(&files), ["src/x/a.rs ↔ src/x/b.rs"], "{one} {two}");
    }
    // Three files, and a folder with what lies in it.
    let three = [("src/a.rs", "use crate::b;"), ("src/b.rs", "use crate::c;"), ("src/c.rs", "use crate::a;")];
    assert_eq!(rings(&sample(&three)).len(), 1);
    let folder = [
        ("src/x/mod.rs", "mod a; pub use a::A; pub struct S;"),
        ("src/x/a.rs", "use super::S; pub struct A;"),
    ];
    assert_eq!(rings(&sample(&folder)), ["src/x/a.rs ↔ src/x/mod.rs"]);
    let unrooted = [("src/x/mod.rs", "mod a; fn f() { a::f(); }"), ("src/x/a.rs", "use super::S;")];
    assert_eq!(rings(&sample(&unrooted)).len(), 1);
}

#[test]
fn arrows_that_come_back_only_in_tests_are_no_ring() {
    let files = sample(&[
        ("src/x/a.rs", "use super::b::B;"),
        (
            "src/x/b.rs",
            "#[cfg(test)] mod tests { use crate::x::a::A; } #[cfg(test)] use super::a; // use super::a;",
        ),
        ("src/x/mod.rs", "mod a; mod b; #[cfg(test)] mod tests;"),
        ("src/x/tests.rs", "use super::a; use super::*;"),
    ]);
    assert_eq!(rings(&without_tests(files)), Vec::<String>::new());
}

#[test]
fn foreign_impls_are_found() {
    for (text, findings) in [
        ("use super::b::B; impl B { fn f() {} }", 1),
        ("impl super::b::B<'_> { fn f() {} }", 1),
        ("impl<T> crate::x::B<T> { fn f() {} }", 1),
        ("fn f() { impl crate::x::B {} }", 1),
        ("struct B; impl B { fn f() {} }", 0),
        ("enum B<T> { A(T) } impl<T> B<T> { fn f() {} }", 0),
        ("use super::b::B; impl Drop for B { fn drop(&mut self) {} }", 0),
        ("#[cfg(test)] mod tests { impl super::b::B { fn f() {} } }", 0),
        ("flags! { pub struct B: u32 { } } impl B { }", 0),
    ] {
        assert_eq!(foreign_impls(&Source::new("src/x/a.rs", text)).len(), findings, "{text}");
    }
}
