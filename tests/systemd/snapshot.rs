//! Everything on a machine's disk, to be compared with a later look.
//!
//! The machine's own `find` and `sha256sum` look, so the judge shares no code with what it judges.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::machine::Machine;

/// Paths that change on a machine that only runs, each with the reason. Nothing below them is compared either.
const VOLATILE: [(&str, &str); 14] = [
    (
        "/etc/passwd",
        "accounts stay after an uninstall, so that their numbers are never given to somebody else",
    ),
    ("/etc/passwd-", "the backup of the account database"),
    ("/etc/group", "as /etc/passwd"),
    ("/etc/group-", "as /etc/passwd-"),
    ("/etc/shadow", "as /etc/passwd"),
    ("/etc/shadow-", "as /etc/passwd-"),
    ("/etc/gshadow", "as /etc/passwd"),
    ("/etc/gshadow-", "as /etc/passwd-"),
    ("/etc/.pwd.lock", "the lock of the account database, made by whoever first takes it"),
    ("/var/lib/dpkg", "what dpkg knows of packages; it removes what it knows of a purged one"),
    ("/var/log/dpkg.log", "dpkg's own log"),
    ("/var/lib/rpm", "the database of rpm"),
    ("/var/log/journal", "journald writes there whenever anything logs"),
    ("/var/cache/man", "man-db keeps its index there and updates it when a page is shown"),
];

/// Lists each path of the root file system with type, mode and owner, and where a link points.
const LIST: &str = r"find / -xdev -printf '%p\t%y %m %U:%G %l\0'";

/// Hashes each regular file of the root file system.
const HASH: &str = "find / -xdev -type f -print0 | xargs -0 sha256sum --zero";

/// Each path with what is there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Snapshot(BTreeMap<String, String>);

impl Snapshot {
    /// Looks at the whole disk; mounted file systems (/proc, /sys, /dev, /run, /tmp) are not followed.
    pub(crate) fn of(machine: &Machine) -> Self {
        let mut entries = BTreeMap::new();
        for record in machine.ok(&["sh", "-c", LIST]).split_terminator('\0') {
            let (path, facts) = record.split_once('\t').expect("find prints a tab after the path");
            if !volatile(path) {
                entries.insert(path.to_owned(), facts.to_owned());
            }
        }
        for record in machine.ok(&["sh", "-c", HASH]).split_terminator('\0') {
            let (hash, path) = record.split_once("  ").expect("sha256sum prints two spaces after the hash");
            if let Some(facts) = entries.get_mut(path) {
                facts.push_str(hash);
            }
        }
        assert!(entries.len() > 1000, "a Debian root has thousands of files, not {}", entries.len());
        Self(entries)
    }

    /// Paths that are here but were not in an earlier look.
    pub(crate) fn added_since(&self, earlier: &Self) -> Vec<&str> {
        self.0.keys().filter(|path| !earlier.0.contains_key(*path)).map(String::as_str).collect()
    }

    /// Panics with every difference unless the disk is as it was earlier.
    pub(crate) fn assert_same_as(&self, earlier: &Self) {
        let mut differences = String::new();
        for path in self.added_since(earlier) {
            let _ = writeln!(differences, "left behind: {path} ({})", self.0[path]);
        }
        for (path, before) in &earlier.0 {
            match self.0.get(path) {
                None => writeln!(differences, "missing: {path} ({before})"),
                Some(after) if after != before => {
                    writeln!(differences, "changed: {path}: {before} -> {after}")
                }
                Some(_) => Ok(()),
            }
            .expect("a String takes all that is written");
        }
        assert!(differences.is_empty(), "the disk is not as it was:\n{differences}");
    }
}

/// Whether the path, or a directory above it, is one of those that change by themselves.
fn volatile(path: &str) -> bool {
    VOLATILE.iter().any(|(prefix, _)| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}
