//! Packages of the binary under test, built once for all tests.
//!
//! They lie in the target directory, under a name made of everything that goes into them, so that a change of any of that
//! builds them again.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};

use crate::machine::{script, text};

/// The version of the tree.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The version that comes after it and is as long: 0.1.1 after 0.1.0, 0.2.0 after 0.1.9.
pub(crate) static NEXT: LazyLock<String> = LazyLock::new(|| {
    let mut digits = VERSION.to_owned().into_bytes();
    let last =
        digits.iter().rposition(|digit| (b'0'..=b'8').contains(digit)).expect("there is a next version");
    digits[last] += 1;
    digits[last + 1..].iter_mut().filter(|digit| **digit == b'9').for_each(|digit| *digit = b'0');
    String::from_utf8(digits).expect("digits and dots")
});

/// What goes into packages beside the binary.
const SOURCES: [&str; 8] = [
    "packaging",
    "completions",
    "templates",
    "scripts/build-packages",
    "Cargo.toml",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
];

/// The repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The only file in the directory of built packages whose name begins and ends like this.
pub(crate) fn package(version: &str, kind: &str, begins: &str, ends: &str) -> PathBuf {
    let directory = built(version, kind);
    let mut found = directory.read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with(begins) && name.ends_with(ends)
    });
    let one = found.next().unwrap_or_else(|| panic!("no {begins}…{ends} in {}", directory.display()));
    assert!(found.next().is_none(), "two of {begins}…{ends} in {}", directory.display());
    one
}

/// The package for Debian.
pub(crate) fn deb(version: &str) -> PathBuf {
    package(version, "deb", &format!("mcpeg_{version}-1_"), ".deb")
}

/// The package for RPM.
pub(crate) fn rpm(version: &str) -> PathBuf {
    package(version, "rpm", &format!("mcpeg-{version}-1."), ".rpm")
}

/// Runs `scripts/build-packages` with the binary under test and these arguments.
pub(crate) fn build(arguments: &[&str]) {
    build_of(Path::new(env!("CARGO_BIN_EXE_mcpeg")), arguments);
}

/// The same with another binary.
fn build_of(binary: &Path, arguments: &[&str]) {
    let output = script("build-packages").args(["--fast", "--binary"]).arg(binary).args(arguments).output();
    let output = output.expect("scripts/build-packages can be run");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// The directory with the packages of one kind and version, built now if nobody has before. Tests are processes of their own
/// that may want the same, so the first one locks the others out until it is there.
fn built(version: &str, kind: &str) -> PathBuf {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
    let directory = cache.join(format!("{}-{kind}-{version}", key()));
    std::fs::create_dir_all(&cache).unwrap();
    let lock = std::fs::File::create(cache.join(format!("lock-{kind}-{version}"))).unwrap();
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).unwrap();
    if !directory.exists() {
        // Packages of other keys are of no use any more.
        for old in cache.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
            if old.is_dir() && old.to_string_lossy().ends_with(&format!("-{kind}-{version}")) {
                std::fs::remove_dir_all(old).unwrap();
            }
        }
        let fresh = tempfile::tempdir_in(&cache).unwrap().keep();
        let binary = tempfile::NamedTempFile::new_in(&cache).unwrap();
        write_binary_of(version, binary.as_file());
        build_of(binary.path(), &["--only", kind, "--version", version, "--output", fresh.to_str().unwrap()]);
        std::fs::rename(fresh, &directory).unwrap();
    }
    directory
}

/// The binary under test as a release of another version would be: another file, that calls itself by that version.
fn write_binary_of(version: &str, mut file: &std::fs::File) {
    let mut program = std::fs::read(env!("CARGO_BIN_EXE_mcpeg")).unwrap();
    // Both are as long, so that nothing moves.
    for start in 0..program.len() - VERSION.len() {
        if program[start..].starts_with(VERSION.as_bytes()) {
            program[start..start + VERSION.len()].copy_from_slice(version.as_bytes());
        }
    }
    file.write_all(&program).unwrap();
    file.set_permissions(PermissionsExt::from_mode(0o755)).unwrap();
}

/// A digest of the binary and of [`SOURCES`].
fn key() -> String {
    let mut all = Sha256::new();
    let sources = SOURCES.into_iter().map(|source| repository().join(source));
    for source in sources.chain([PathBuf::from(env!("CARGO_BIN_EXE_mcpeg"))]) {
        for entry in walkdir::WalkDir::new(source).sort_by_file_name() {
            let entry = entry.unwrap();
            if entry.file_type().is_file() {
                all.update(entry.path().to_string_lossy().as_bytes());
                all.update(std::fs::read(entry.path()).unwrap());
            }
        }
    }
    let digest = all.finalize();
    format!("{:016x}", u64::from_be_bytes(digest[..8].try_into().expect("eight of thirty-two bytes")))
}
