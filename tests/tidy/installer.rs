//! What the installer does to the machine is in one small module, and nowhere else in it.

use syn::visit::{self, Visit};

use crate::source::{Source, assert_none, sources_below};

/// The module that may.
const PRIVILEGED: &str = "src/install/privileged/";
/// The most lines that can be read in one sitting, with comments and tests.
const SITTING: usize = 800;
/// Paths whose functions change files or run programs. Reading is not among them.
const DEEDS: [&[&str]; 10] = [
    &["crate", "program"],
    &["rustix", "fs"],
    &["std", "process", "Command"],
    &["std", "fs", "write"],
    &["std", "fs", "remove_file"],
    &["std", "fs", "remove_dir_all"],
    &["std", "fs", "create_dir_all"],
    &["std", "fs", "rename"],
    &["std", "fs", "OpenOptions"],
    &["nix"],
];

/// Collects the deeds of one file.
struct Deeds<'a> {
    /// The file.
    source: &'a Source,
    /// What is forbidden to it, with the line.
    found: Vec<String>,
}

impl Deeds<'_> {
    /// Notes the path if it leads to a deed.
    fn note(&mut self, names: &[String], at: proc_macro2::Span) {
        let is = |deed: &&&[&str]| names.len() >= deed.len() && deed.iter().zip(names).all(|(a, b)| a == b);
        // An error is no deed.
        let error = names.last().is_some_and(|name| name == "Error");
        if !error && DEEDS.iter().any(|deed| is(&deed)) {
            let (path, line) = (self.source.path.display(), at.start().line);
            self.found.push(format!("{path}:{line}: `{}` is for {PRIVILEGED} only", names.join("::")));
        }
    }

    /// Follows a use tree down to its leaves.
    fn follow(&mut self, tree: &syn::UseTree, above: &mut Vec<String>, at: proc_macro2::Span) {
        match tree {
            syn::UseTree::Path(path) => {
                above.push(path.ident.to_string());
                self.follow(&path.tree, above, at);
                above.pop();
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.follow(tree, above, at)),
            syn::UseTree::Name(syn::UseName { ident })
            | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                above.push(ident.to_string());
                self.note(above, at);
                above.pop();
            }
            syn::UseTree::Glob(_) => self.note(above, at),
        }
    }
}

impl<'ast> Visit<'ast> for Deeds<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        // Tests beside the code make files for themselves.
        if item.ident != "tests" {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.follow(&item.tree, &mut Vec::new(), item.use_token.span);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let Some(first) = path.segments.first() {
            self.note(&names, first.ident.span());
        }
        visit::visit_path(self, path);
    }
}

/// The deeds of a file.
fn violations(source: &Source) -> Vec<String> {
    let mut deeds = Deeds { source, found: Vec::new() };
    deeds.visit_file(&source.tree);
    deeds.found
}

#[test]
fn the_installer_acts_through_one_module_that_can_be_read_in_one_sitting() {
    let sources = sources_below(&["src/install"]);
    let is_privileged = |source: &&Source| source.path.to_string_lossy().contains(PRIVILEGED);
    let (acting, others): (Vec<_>, Vec<_>) = sources.iter().partition(is_privileged);
    let findings: Vec<_> = others.into_iter().flat_map(violations).collect();
    assert_none("privileged deeds outside of their module", &findings);
    assert!(acting.iter().flat_map(|source| violations(source)).next().is_some(), "the test sees nothing");
    let lines: usize = acting.iter().map(|source| source.text.lines().count()).sum();
    assert!(lines <= SITTING, "{PRIVILEGED} has {lines} lines, and {SITTING} are one sitting");
}

#[test]
fn deeds_are_found_in_every_form() {
    for deed in [
        "use rustix::fs;",
        "use rustix::fs::{self, Mode};",
        "use std::{fs::rename, io};",
        "use std::process::Command;",
        "use crate::program;",
        "fn f() { std::fs::write(\"x\", \"y\"); }",
        "fn f() { rustix::fs::unlink(\"x\"); }",
        "use nix::unistd::*;",
    ] {
        assert!(!violations(&Source::new("src/install/plan.rs", deed)).is_empty(), "{deed}");
    }
    for right in [
        "use std::fs::File;",
        "use rustix::process::geteuid;",
        "use crate::program::Error;",
        "mod tests { use rustix::fs; }",
    ] {
        assert_eq!(violations(&Source::new("src/install/plan.rs", right)), Vec::<String>::new(), "{right}");
    }
}
