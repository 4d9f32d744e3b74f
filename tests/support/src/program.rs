//! Where the program under test is, and how children of a test are started.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The directory of the profile, such as `target/debug`. Cargo puts the program there, and the running suite into `deps` below.
static PROFILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let suite = std::env::current_exe().expect("/proc is mounted");
    suite.ancestors().nth(2).expect("cargo's directories").to_owned()
});

/// The program under test. Cargo has built it before the suite: both are of one package.
static PROGRAM: LazyLock<String> = LazyLock::new(|| {
    let path = PROFILE.join("mcpeg");
    assert!(path.exists(), "`{}` is missing: run the suites by cargo", path.display());
    path.into_os_string().into_string().expect("a path in UTF-8")
});

/// The path of the program under test.
pub fn mcpeg() -> &'static str {
    &PROGRAM
}

/// A directory below cargo's target for what outlives a test: what cargo calls `CARGO_TARGET_TMPDIR`.
pub(crate) fn outliving() -> PathBuf {
    PROFILE.parent().expect("the target directory").join("tmp")
}

/// The name of the suite: `daemon` for `target/debug/deps/daemon-0123456789abcdef`.
pub(crate) fn suite() -> String {
    let program = std::env::current_exe().unwrap_or_default();
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    name.rsplit_once('-').map_or(&*name, |(suite, _)| suite).to_owned()
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("this crate is two directories below the root")
}

/// A command with nothing set.
#[expect(clippy::disallowed_methods, reason = "these are children of the test, not of the daemon")]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// A command whose process is killed with the test's: destructors do not run when a test run is interrupted.
pub fn bound(program: impl AsRef<OsStr>) -> Command {
    let mut command = command("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}
