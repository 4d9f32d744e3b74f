//! A scratch root, the binary, and pictures of a tree that can be compared.

#![expect(clippy::disallowed_methods, reason = "the tests start the real binary")]

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use walkdir::WalkDir;

/// The program under test.
pub(crate) const MCPEG: &str = env!("CARGO_BIN_EXE_mcpeg");

/// The account databases, which an uninstallation leaves as they are.
const ACCOUNTS: [&str; 9] = [
    "etc/passwd",
    "etc/passwd-",
    "etc/group",
    "etc/group-",
    "etc/shadow",
    "etc/shadow-",
    "etc/gshadow",
    "etc/gshadow-",
    "etc/.pwd.lock",
];

/// A root directory below which mcpeg is installed.
pub(crate) struct Scratch(TempDir);

/// Mode, owner, group, and content or link target of each path.
pub(crate) type Picture = BTreeMap<PathBuf, (u32, u32, u32, String)>;

impl Scratch {
    /// A root with a few things of others in it.
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let scratch = Self(root);
        scratch.put("etc/hostname", "scratch\n");
        scratch.put("usr/local/share/man/man8/other.8", ".TH OTHER 8\n");
        scratch.put("var/log/other.log", "other\n");
        scratch
    }

    /// The path below the root.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Writes a file with the directories above it.
    pub(crate) fn put(&self, path: &str, content: &str) {
        write(&self.at(path), content);
    }

    /// `mcpeg VERB --root …` with more arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(MCPEG);
        self.arguments(&mut command, arguments);
        command
    }

    /// The same behind strace(1) with one injection.
    pub(crate) fn traced(&self, inject: &str, arguments: &[&str]) -> Output {
        let call = inject.split(':').next().unwrap();
        let mut command = Command::new("strace");
        // A fault hits the programs that the installer runs too; the end by a signal is the installer's own.
        if !inject.contains(":signal=") {
            command.arg("-f");
        }
        command.args([
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={call}"),
            "-e",
            &format!("inject={inject}"),
            MCPEG,
        ]);
        self.arguments(&mut command, arguments);
        command.output().expect("strace is installed")
    }

    /// Each time that the command makes a call when nothing is injected, in order: the installer itself, which makes the
    /// most. Tells of each whether it changes something, which an `openat` does only where it makes a file.
    pub(crate) fn calls(&self, call: &str, arguments: &[&str]) -> Vec<bool> {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("strace");
        command.arg("-qq").arg("-o").arg(log.path()).args(["-e", &format!("trace={call}"), MCPEG]);
        self.arguments(&mut command, arguments);
        assert!(command.output().expect("strace is installed").status.success(), "{arguments:?}");
        let lines = std::fs::read_to_string(log.path()).unwrap();
        let calls = lines.lines().filter(|line| line.starts_with(call));
        calls.map(|line| call != "openat" || line.contains("O_CREAT")).collect()
    }

    /// Adds the arguments and the root.
    fn arguments(&self, command: &mut Command, arguments: &[&str]) {
        command.args(arguments).arg("--root").arg(self.0.path()).stdin(std::process::Stdio::null());
    }

    /// Runs to the end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs to the end, which must be a success; returns standard output and standard error.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = text(&output);
        assert!(output.status.success(), "{arguments:?}: {text}");
        text
    }

    /// What is there now.
    pub(crate) fn picture(&self) -> Picture {
        picture(self.0.path())
    }

    /// Inode and time of each file's last change.
    pub(crate) fn inodes(&self) -> BTreeMap<PathBuf, (u64, i64, i64)> {
        let identity = |path: PathBuf| {
            let metadata = path.symlink_metadata().unwrap();
            (path, (metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
        };
        WalkDir::new(self.0.path()).into_iter().map(|entry| identity(entry.unwrap().into_path())).collect()
    }
}

/// Writes a file with the directories above it.
pub(crate) fn write(path: &Path, content: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// A program of the system.
pub(crate) fn program(name: &str) -> Command {
    Command::new(name)
}

/// Everything that a run printed.
pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// What is below a root, without the account databases.
fn picture(root: &Path) -> Picture {
    let mut picture = Picture::new();
    for entry in WalkDir::new(root) {
        let path = entry.unwrap().into_path();
        let name = path.strip_prefix(root).unwrap().to_owned();
        if ACCOUNTS.iter().any(|account| Path::new(account) == name) {
            continue;
        }
        let metadata = path.symlink_metadata().unwrap();
        let content = if metadata.is_symlink() {
            std::fs::read_link(&path).unwrap().display().to_string()
        } else if metadata.is_file() {
            format!("{:x?}", Sha256::digest(std::fs::read(&path).unwrap()))
        } else {
            String::new()
        };
        picture.insert(name, (metadata.mode(), metadata.uid(), metadata.gid(), content));
    }
    picture
}

/// Fails with the paths that differ.
pub(crate) fn assert_same(before: &Picture, after: &Picture, when: &str) {
    let gone: Vec<_> = before.iter().filter(|(path, value)| after.get(*path) != Some(value)).collect();
    let new: Vec<_> = after.iter().filter(|(path, value)| before.get(*path) != Some(value)).collect();
    assert!(gone.is_empty() && new.is_empty(), "{when}: before {gone:#?}, after {new:#?}");
}
