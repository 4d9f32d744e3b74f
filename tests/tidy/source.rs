//! The repository's Rust files, read and parsed once for each test.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// One Rust file.
pub(crate) struct Source {
    /// Its path from the repository's root, such as `src/log/mod.rs`.
    pub(crate) path: PathBuf,
    /// What it says.
    pub(crate) text: String,
    /// What it means.
    pub(crate) tree: syn::File,
    /// The module that it is: `src/log/mod.rs` is `log`, `src/sys/fork.rs` is `sys::fork`.
    pub(crate) module: Vec<String>,
}

impl Source {
    /// Parses a text as if it were the file.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let tree = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let path = PathBuf::from(path);
        Self { module: module(&path), path, text: text.to_owned(), tree }
    }

    /// The files that this one declares as modules elsewhere than by their names: `#[path = "x.rs"] mod y;`.
    fn redirected(&self) -> Vec<(PathBuf, Vec<String>)> {
        let folder = self.path.parent().expect("a file lies in a folder");
        let target = |item: &syn::Item| {
            let syn::Item::Mod(module) = item else { return None };
            let attribute = module.attrs.iter().find(|attribute| attribute.path().is_ident("path"))?;
            let syn::Expr::Lit(value) = &attribute.meta.require_name_value().ok()?.value else { return None };
            let syn::Lit::Str(file) = &value.lit else { return None };
            let name = module.ident.to_string();
            Some((folder.join(file.value()), [self.module.as_slice(), &[name]].concat()))
        };
        self.tree.items.iter().filter_map(target).collect()
    }

    /// The top-level module that the file belongs to; empty for the crate's root.
    pub(crate) fn layer(&self) -> String {
        self.module.first().cloned().unwrap_or_default()
    }
}

/// The module that a file is by its name.
fn module(path: &Path) -> Vec<String> {
    let inner = path.strip_prefix("src").unwrap_or(path).with_extension("");
    let mut module: Vec<_> = inner.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        module.pop();
    }
    module
}

/// The repository's root.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository as text.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below some folders, as paths from the repository's root.
pub(crate) fn files_below(folders: &[&str]) -> Vec<PathBuf> {
    let present = folders.iter().map(|folder| repository().join(folder)).filter(|folder| folder.exists());
    let entries = present.flat_map(walkdir::WalkDir::new).map(|entry| entry.expect("the folder can be read"));
    let files = entries.filter(|entry| entry.file_type().is_file());
    files.map(|entry| entry.path().strip_prefix(repository()).expect("below the root").to_owned()).collect()
}

/// The Rust files below some folders, parsed.
pub(crate) fn sources_below(folders: &[&str]) -> Vec<Source> {
    let files = files_below(folders);
    let rust = files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let paths = rust.map(|path| path.to_str().expect("file names are UTF-8"));
    let mut sources: Vec<_> = paths.map(|path| Source::new(path, &read(path))).collect();
    assert!(!sources.is_empty(), "no sources in {folders:?}");
    let redirected: HashMap<_, _> = sources.iter().flat_map(Source::redirected).collect();
    for source in &mut sources {
        if let Some(module) = redirected.get(&source.path) {
            source.module.clone_from(module);
        }
    }
    sources
}

/// Panics with all findings of a rule, if there are any.
pub(crate) fn assert_none(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}
