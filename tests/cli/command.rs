//! Running the real binary in a directory of its own, with an environment of its own.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The user `nobody` on Debian, for what root may always do.
const NOBODY: u32 = 65534;

/// A directory with files, and the binary to run in it.
pub(crate) struct Scratch(tempfile::TempDir);

/// What a finished command left behind.
pub(crate) struct Finished {
    /// The exit code.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Scratch {
    /// Who runs the tests.
    pub(crate) fn user() -> String {
        let uid = rustix::process::geteuid().as_raw();
        users::get_user_by_uid(uid)
            .map_or_else(|| uid.to_string(), |user| user.name().to_string_lossy().into_owned())
    }

    /// An empty directory that every user may enter.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        Self(directory)
    }

    /// A directory with this main configuration file.
    pub(crate) fn with_config(content: &str) -> Self {
        Self::new().file("mcpeg.toml", content)
    }

    /// Adds a file.
    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(path).unwrap().write_all(content.as_ref()).unwrap();
        self
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The content of a file.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The command with these arguments, in this directory, with nothing but PATH in its environment.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        self.program(Path::new(env!("CARGO_BIN_EXE_mcpeg")), arguments)
    }

    /// The same as a user who is not root, and so cannot read every file. The binary is copied, because the place
    /// where it was built may not be open to that user.
    pub(crate) fn command_of_user<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let copy = self.path("bin/mcpeg");
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_mcpeg"), &copy).unwrap();
        let mut command = self.program(&copy, arguments);
        if nix::unistd::Uid::effective().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// A program in this directory, with nothing but PATH in its environment.
    fn program<A: AsRef<OsStr>>(&self, program: &Path, arguments: &[A]) -> Command {
        #[expect(clippy::disallowed_methods, reason = "the black box under test, with a clean environment")]
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.0.path()).env_clear().env("PATH", "/usr/bin:/bin");
        command
    }

    /// Runs `mcpeg` with these arguments.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Finished {
        Finished::of(self.command(arguments))
    }

    /// Runs `mcpeg --check --config mcpeg.toml` and these arguments.
    pub(crate) fn check(&self, arguments: &[&str]) -> Finished {
        self.run(&[&["--check", "--config", "mcpeg.toml"], arguments].concat())
    }
}

impl Finished {
    /// Runs a command to its end.
    pub(crate) fn of(mut command: Command) -> Self {
        let output = command.stdin(Stdio::null()).output().unwrap();
        Self {
            code: output.status.code().expect("the command was not killed by a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Asserts that standard error has each of these parts.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is missing in: {}", self.stderr);
        }
        self
    }

    /// Asserts that standard output has each of these parts.
    #[track_caller]
    pub(crate) fn prints(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stdout.contains(part), "`{part}` is missing in: {}", self.stdout);
        }
        self
    }

    /// Asserts that neither output has this text.
    #[track_caller]
    pub(crate) fn never_shows(self, secret: &str) -> Self {
        assert!(
            !self.stdout.contains(secret) && !self.stderr.contains(secret),
            "{}{}",
            self.stdout,
            self.stderr
        );
        self
    }
}
