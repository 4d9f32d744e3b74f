//! No test escapes the gate: every folder of tests is a target, and what is ignored in an ordinary run is run there.

use std::path::Path;

use syn::visit::{self, Visit};

use crate::source::{Source, assert_none, files_below, read, sources_below};

/// How scripts/check runs tests, as the words of the two calls.
const ORDINARY: &str = "cargo nextest run --no-fail-fast";
/// The same for ignored tests; there is no filter, so every one of them is run.
const IGNORED: &str = "cargo nextest run --no-fail-fast --run-ignored only";

/// The same for what is slow and seldom.
const RELEASE: &str = "cargo nextest run --no-fail-fast --profile release --run-ignored all";

/// Collects ignored tests whose attribute does not say what they need.
struct Ignored<'a> {
    /// The file.
    source: &'a Source,
    /// The findings.
    found: Vec<String>,
}

impl<'ast> Visit<'ast> for Ignored<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        for attribute in item.attrs.iter().filter(|attribute| attribute.path().is_ident("ignore")) {
            if attribute.meta.require_name_value().is_err() {
                self.found.push(format!("{}: `{}`", self.source.path.display(), item.sig.ident));
            }
        }
        visit::visit_item_fn(self, item);
    }
}

/// Ignored tests without a reason in one file.
fn without_reason(source: &Source) -> Vec<String> {
    let mut ignored = Ignored { source, found: Vec::new() };
    ignored.visit_file(&source.tree);
    ignored.found
}

/// Test folders whose `main.rs` is no target of the manifest; with `autotests = false` cargo would not see them.
fn missing_targets(manifest: &str, files: &[impl AsRef<Path>]) -> Vec<String> {
    let mains = files.iter().filter(|path| {
        let path = path.as_ref();
        path.components().count() == 3 && path.starts_with("tests") && path.ends_with("main.rs")
    });
    let paths = mains.map(|path| path.as_ref().display().to_string());
    paths.filter(|path| !manifest.contains(&format!("path = \"{path}\""))).collect()
}

/// Tests in a file of the crate that the suites stand on, where nobody would run them.
fn tests_of(source: &Source) -> Vec<String> {
    /// Collects tests.
    struct Tests(Vec<String>);
    impl<'ast> Visit<'ast> for Tests {
        fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
            let last =
                |attribute: &syn::Attribute| attribute.path().segments.last().map(|it| it.ident.to_string());
            if item.attrs.iter().any(|attribute| last(attribute).is_some_and(|name| name == "test")) {
                self.0.push(item.sig.ident.to_string());
            }
            visit::visit_item_fn(self, item);
        }
    }
    let mut tests = Tests(Vec::new());
    tests.visit_file(&source.tree);
    tests.0.iter().map(|name| format!("{}: `{name}`", source.path.display())).collect()
}

/// Fuzz targets that the gate does not compile and run: no target of the manifest, without a test, or without seeds.
fn forgotten_fuzz_targets(manifest: &str, tests: &str, files: &[impl AsRef<Path>]) -> Vec<String> {
    let names = |folder: &'static str| {
        files.iter().filter_map(move |path| path.as_ref().strip_prefix(folder).ok()?.iter().next()?.to_str())
    };
    let targets = names("fuzz/fuzz_targets").filter_map(|file| file.strip_suffix(".rs"));
    let known = |name: &&str| {
        manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\""))
            && tests.contains(&format!("\nfn {name}() {{"))
            && names("fuzz/corpus").any(|seeds| seeds == *name)
    };
    targets.filter(|name| !known(name)).map(ToOwned::to_owned).collect()
}

/// The lines of a script that run tests, without comments, and with runs of blanks made one.
fn test_runs(script: &str) -> Vec<String> {
    let code = script.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    code.filter(|line| !line.starts_with('#') && line.contains("cargo nextest run")).collect()
}

#[test]
fn every_test_folder_is_a_target() {
    assert_none("not in Cargo.toml", &missing_targets(&read("Cargo.toml"), &files_below(&["tests"])));
}

#[test]
fn check_runs_all_tests_and_all_ignored_tests_without_a_filter() {
    let runs = test_runs(&read("scripts/check"));
    assert!(runs.iter().any(|run| run.ends_with(ORDINARY)), "{runs:?}");
    assert!(runs.iter().any(|run| run.ends_with(IGNORED)), "{runs:?}");
    assert!(runs.iter().any(|run| run.ends_with(RELEASE)), "{runs:?}");
}

/// Whether what an ordinary run leaves out, `not A`, is among what a release runs, `A | B`.
fn release_runs_what_is_left_out(settings: &str) -> bool {
    let settings: toml::Table = settings.parse().expect("TOML");
    let filter =
        |profile: &str| settings["profile"][profile].get("default-filter").and_then(toml::Value::as_str);
    let Some(left_out) = filter("default") else { return true };
    let Some(left_out) = left_out.strip_prefix("not ") else { return false };
    filter("release").is_some_and(|filter| filter.split(" | ").any(|part| part == left_out))
}

#[test]
fn what_an_ordinary_run_leaves_out_is_run_before_a_release() {
    assert!(release_runs_what_is_left_out(&read(".config/nextest.toml")));
    let settings = |default: &str, release: &str| {
        format!(
            "[profile.default]\ndefault-filter = \"{default}\"\n[profile.release]\ndefault-filter = \"{release}\"\n"
        )
    };
    assert!(release_runs_what_is_left_out(&settings("not test(a)", "test(b) | test(a)")));
    assert!(!release_runs_what_is_left_out(&settings("not test(c)", "test(b) | test(a)")));
    assert!(!release_runs_what_is_left_out(&settings("test(a)", "test(a)")));
}

#[test]
fn every_ignored_test_says_what_it_needs() {
    let findings: Vec<_> = sources_below(&["src", "tests"]).iter().flat_map(without_reason).collect();
    assert_none("ignored without a reason", &findings);
}

#[test]
fn what_the_suites_stand_on_has_no_tests_that_nobody_runs() {
    let findings: Vec<_> = sources_below(&["tests/support"]).iter().flat_map(tests_of).collect();
    assert_none("tests that no target runs", &findings);
    let forgotten =
        Source::new("tests/support/src/x.rs", "mod t { #[tokio::test] async fn f() {} #[test] fn g() {} }");
    assert_eq!(tests_of(&forgotten).len(), 2);
}

#[test]
fn every_fuzz_target_is_compiled_and_run_on_its_seeds() {
    let (manifest, tests, check) = (read("fuzz/Cargo.toml"), read("fuzz/seeds.rs"), read("scripts/check"));
    assert_none(
        "forgotten by the gate",
        &forgotten_fuzz_targets(&manifest, &tests, &files_below(&["fuzz/fuzz_targets", "fuzz/corpus"])),
    );
    for call in ["fuzzed check --bins", "fuzzed test --example seeds"] {
        assert!(check.contains(call), "{call}");
    }
    let files = ["fuzz/fuzz_targets/new.rs", "fuzz/corpus/old/seed"];
    assert_eq!(forgotten_fuzz_targets(&manifest, &tests, &files), ["new"]);
}

#[test]
fn forgotten_folders_and_silent_ignores_are_found() {
    let files = ["tests/cli/main.rs", "tests/new/main.rs", "tests/new/more/main.rs"];
    assert_eq!(missing_targets("path = \"tests/cli/main.rs\"", &files), ["tests/new/main.rs"]);
    let silent = Source::new("tests/x.rs", "#[test] #[ignore] fn f() {}");
    assert_eq!(without_reason(&silent).len(), 1);
    let speaking = Source::new("tests/x.rs", "#[test] #[ignore = \"needs root\"] fn f() {}");
    assert_eq!(without_reason(&speaking).len(), 0);
    assert_eq!(test_runs("# cargo nextest run\n  x  cargo nextest run -E y\n"), ["x cargo nextest run -E y"]);
}
