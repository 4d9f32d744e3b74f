//! What only one module may do: unsafe code in `sys`, printing in `cli`, the HTTP framework in `gateway`, talking to systemd in
//! `systemd`.

use syn::visit::{self, Visit};

use crate::source::{Source, assert_none, read, sources_below};

/// Macros that write to the terminal.
const PRINTING: [&str; 5] = ["print", "println", "eprint", "eprintln", "dbg"];

/// Crates that one module only may use, since they shape everything that touches them.
const CONFINED: [(&str, &str); 2] = [("axum", "gateway"), ("clap", "cli")];

/// Programs and variables by which one talks to systemd, as a string of their own.
const SYSTEMDS: [&str; 10] = [
    "systemctl",
    "journalctl",
    "JOURNAL_STREAM",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "INVOCATION_ID",
];

/// Collects what the file does of all this.
struct Deeds<'a> {
    /// The file.
    source: &'a Source,
    /// Its top-level module.
    layer: String,
    /// What is forbidden to it, with the line.
    found: Vec<String>,
}

impl Deeds<'_> {
    /// Notes a deed unless the file belongs to the module that may do it.
    fn note(&mut self, owner: &str, what: &str, at: proc_macro2::Span) {
        if self.layer != owner {
            let (path, line) = (self.source.path.display(), at.start().line);
            self.found.push(format!("{path}:{line}: {what} is for `{owner}` only"));
        }
    }

    /// Notes the first segment of a path if it is a confined crate.
    fn note_crate(&mut self, ident: &syn::Ident) {
        for (name, owner) in CONFINED {
            if ident == name {
                self.note(owner, &format!("the crate `{name}`"), ident.span());
            }
        }
    }
}

impl<'ast> Visit<'ast> for Deeds<'_> {
    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.note("sys", "unsafe code", block.unsafe_token.span);
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if let syn::Safety::Unsafe(token) = &signature.safety {
            self.note("sys", "unsafe code", token.span);
        }
        visit::visit_signature(self, signature);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let Some(token) = &item.unsafety {
            self.note("sys", "unsafe code", token.span);
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        self.note("sys", "a foreign function", item.abi.extern_token.span);
        visit::visit_item_foreign_mod(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        // Tests beside the code may play systemd's part.
        if item.ident != "tests" {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_lit_str(&mut self, literal: &'ast syn::LitStr) {
        if SYSTEMDS.contains(&literal.value().as_str()) {
            self.note("systemd", &format!("`{}`", literal.value()), literal.span());
        }
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if let Some(name) = call.path.segments.last().map(|segment| &segment.ident)
            && PRINTING.iter().any(|printing| name == printing)
        {
            self.note("cli", "printing", name.span());
        }
        visit::visit_macro(self, call);
    }

    fn visit_use_path(&mut self, path: &'ast syn::UsePath) {
        // Only the first segment can be a crate, so the tree below is not visited.
        self.note_crate(&path.ident);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let Some(first) = path.segments.first().filter(|_| path.segments.len() > 1) {
            self.note_crate(&first.ident);
        }
        visit::visit_path(self, path);
    }
}

/// What one file does that it may not do.
fn violations(source: &Source) -> Vec<String> {
    let mut deeds = Deeds { source, layer: source.layer(), found: Vec::new() };
    deeds.visit_file(&source.tree);
    deeds.found
}

#[test]
fn only_sys_is_unsafe_only_cli_prints_only_gateway_has_a_framework_only_systemd_talks_to_it() {
    let findings: Vec<_> = sources_below(&["src"]).iter().flat_map(violations).collect();
    assert_none("deeds of the wrong module", &findings);
}

#[test]
fn confined_crates_are_dependencies() {
    let manifest = read("Cargo.toml");
    for (name, _) in CONFINED {
        assert!(manifest.lines().any(|line| line.starts_with(&format!("{name} = "))), "{name}");
    }
}

#[test]
fn each_deed_is_found_outside_its_module_and_passes_inside() {
    for (owner, deed) in [
        ("sys", "fn f() { unsafe { g() } }"),
        ("sys", "unsafe fn f() {}"),
        ("sys", "unsafe impl Send for X {}"),
        ("cli", "fn f() { println!(\"x\"); }"),
        ("cli", "fn f() { std::eprint!(\"x\"); }"),
        ("cli", "use clap::Parser;"),
        ("gateway", "use axum::{Router, routing::get};"),
        ("gateway", "fn f() -> axum::Router { g() }"),
        ("systemd", "fn f() { g(\"systemctl\", &[]); }"),
        ("systemd", "const SOCKET: &str = \"NOTIFY_SOCKET\";"),
    ] {
        assert_eq!(violations(&Source::new("src/log/x.rs", deed)).len(), 1, "{deed}");
        assert_eq!(violations(&Source::new(&format!("src/{owner}/x.rs"), deed)), Vec::<String>::new());
    }
}
