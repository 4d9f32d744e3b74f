//! What files are called: after what they own, never after the fact that others use them.

use std::path::{Path, PathBuf};

use crate::source::{assert_none, files_below};

/// Words that say nothing of what a file owns.
const EMPTY: [&str; 10] =
    ["util", "utils", "common", "helper", "helpers", "manager", "managers", "misc", "shared", "stuff"];

/// Whether a word of a file's or folder's name is one of the empty ones.
fn is_empty(path: &Path) -> bool {
    let lower = path.to_string_lossy().to_lowercase();
    lower.split(|letter: char| !letter.is_ascii_alphanumeric()).any(|word| EMPTY.contains(&word))
}

#[test]
fn no_file_is_named_after_nothing() {
    let files = files_below(&["src", "tests", "benches", "scripts", "templates", "packaging"]);
    let findings: Vec<_> =
        files.into_iter().filter(|path| is_empty(path)).map(|path| path.display().to_string()).collect();
    assert_none("names that say nothing", &findings);
}

#[test]
fn empty_names_are_found_and_others_pass() {
    for wrong in ["src/utils.rs", "src/common/mod.rs", "tests/test_helpers.rs", "src/log/file-manager.rs"] {
        assert!(is_empty(&PathBuf::from(wrong)), "{wrong}");
    }
    for right in ["src/gateway/upstream/stdio.rs", "src/render/utility.rs", "scripts/check"] {
        assert!(!is_empty(&PathBuf::from(right)), "{right}");
    }
}
