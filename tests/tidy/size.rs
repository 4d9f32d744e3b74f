//! How long a function may be. Files have no limit: what is too long is cut into types that own their state.

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::source::{Source, assert_none, sources_below};

/// The longest function, in lines from its first to its last brace, without blank lines and comments.
const FUNCTION: usize = 60;
/// The start-up order of the daemon is one list, which is read from top to bottom: its function, and how long that may be.
const START: (&str, &str, usize) = ("src/serve/start.rs", "start", 220);

/// Collects functions that are too long.
struct Functions<'a> {
    /// The file.
    source: &'a Source,
    /// The findings.
    found: Vec<String>,
}

impl Functions<'_> {
    /// Measures one function.
    fn measure(&mut self, name: &syn::Ident, body: &syn::Block) {
        let span = body.span();
        let (first, last) = (span.start().line, span.end().line);
        let lines = self.source.text.lines().skip(first - 1).take(last + 1 - first);
        let length = lines.filter(|line| !line.trim().is_empty() && !line.trim().starts_with("//")).count();
        let (file, start, longer) = START;
        let limit = if self.source.path.ends_with(file) && name == start { longer } else { FUNCTION };
        if length > limit {
            self.found.push(format!("{}:{first}: `{name}` has {length} lines", self.source.path.display()));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.measure(&item.sig.ident, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.measure(&item.sig.ident, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.measure(&item.sig.ident, body);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

/// What is too long in one file.
fn violations(source: &Source) -> Vec<String> {
    let mut functions = Functions { source, found: Vec::new() };
    functions.visit_file(&source.tree);
    functions.found
}

#[test]
fn no_function_is_too_long() {
    let sources = sources_below(&["src", "tests", "benches"]);
    let findings: Vec<_> = sources.iter().flat_map(violations).collect();
    assert_none(&format!("functions over {FUNCTION} lines"), &findings);
}

#[test]
fn long_functions_are_found() {
    let body = |lines: usize| format!("{{\n{}}}\n", "g();\n".repeat(lines - 2));
    for (length, findings) in [(FUNCTION, 0), (FUNCTION + 1, 1)] {
        let plain = format!("fn f() {}", body(length));
        let method = format!("impl T {{ fn f() {} }}", body(length));
        let default = format!("trait T {{ fn f() {} }}", body(length));
        for text in [plain, method, default] {
            assert_eq!(violations(&Source::new("src/x.rs", &text)).len(), findings);
        }
    }
}
