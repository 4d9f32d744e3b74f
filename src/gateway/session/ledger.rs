//! What is remembered of sessions beyond this process: who has one, and what a client may come back for.
//!
//! [`Ledger`] is where it is written; [`Journal`] is the one that needs nothing beside the gateway: a file to which each
//! change is appended. Nothing is waited for but the kernel's own memory, so that a killed gateway loses nothing, while a
//! power cut may take the last changes.
//!
//! Invariants: the file belongs to one process, the one that holds the gateway's lock; a half-written last line is passed
//! over; the identifiers in it are secrets, so that only its owner can read it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The file is written anew when it has grown by so much, in bytes, and is twice as long as it was then.
const GROWTH: u64 = 4 << 20;

/// Where sessions are remembered.
pub(crate) trait Ledger: Debug + Send + Sync {
    /// Notes a session's state, which replaces what was noted before; nothing where there is none any more. The state is
    /// asked for when nobody else can note anything, so that an older one never replaces a newer one.
    fn put(&self, id: &str, state: &dyn Fn() -> Option<String>);

    /// Notes a change of what was noted of a session, which is asked for in the same way.
    fn note(&self, id: &str, change: &dyn Fn() -> Option<String>);

    /// Forgets a session.
    fn remove(&self, id: &str);

    /// Tells when it would gain from being written anew by [`Ledger::replace`].
    fn bloated(&self) -> &Notify;

    /// The process ends in order: what holds no session is removed.
    fn close(&self, empty: bool);

    /// Holds exactly these sessions from now on, which are asked for as [`Ledger::put`] does it.
    ///
    /// # Errors
    /// When they cannot be written; what was there before is still there then.
    fn replace(&self, sessions: &dyn Fn() -> Vec<(String, String)>) -> io::Result<()>;

    /// The same, also where another process has put its own there: that one is dead and this one serves on.
    ///
    /// # Errors
    /// As [`Ledger::replace`].
    fn reclaim(&self, sessions: &dyn Fn() -> Vec<(String, String)>) -> io::Result<()>;
}

/// What was noted of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Noted {
    /// Its state.
    pub(crate) state: String,
    /// What has changed since, in its order.
    pub(crate) changes: Vec<String>,
}

impl From<&str> for Noted {
    fn from(state: &str) -> Self {
        Self { state: state.to_owned(), changes: Vec::new() }
    }
}

/// A file with a line for each change: `+ID STATE`, `~ID CHANGE` or `-ID`.
#[derive(Debug)]
pub(crate) struct Journal {
    /// Where it is.
    path: PathBuf,
    /// The file; `None` before the first session.
    file: Mutex<Option<Written>>,
    /// Tells that it should be written anew.
    bloated: Notify,
    /// Set when it could not be written.
    broken: AtomicBool,
}

/// A file that is written.
#[derive(Debug)]
struct Written {
    /// The file.
    file: File,
    /// Its length when it was written anew.
    base: u64,
    /// How much was appended since.
    grown: u64,
}

impl Journal {
    /// The sessions that a file holds; none if there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read(path: &Path) -> io::Result<Vec<Noted>> {
        let mut file = match File::open(path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut sessions = HashMap::<String, Noted>::new();
        let mut line = Vec::new();
        while file.read_until(b'\n', &mut line)? > 0 {
            // A line without an end was being written when its writer was killed.
            if let Some(text) = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok()) {
                replay(&mut sessions, text);
            }
            line.clear();
        }
        Ok(sessions.into_values().collect())
    }

    /// A journal that is written anew with the first [`Ledger::replace`].
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path, file: Mutex::new(None), bloated: Notify::const_new(), broken: AtomicBool::new(false) }
    }

    /// Appends a line, if there is one. One that cannot be written ends the journal: it would be wrong from here on.
    fn append(&self, line: impl FnOnce() -> Option<String>) {
        let mut written = self.written();
        let Some(line) = line() else { return };
        if written.is_none() && line.starts_with('+') && !self.broken.load(Ordering::Relaxed) {
            let made = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path);
            let made = made.inspect_err(|error| self.give_up(error)).ok();
            *written = made.map(|file| Written { file, base: 0, grown: 0 });
        }
        let Some(open) = written.as_mut() else { return };
        open.grown += line.len() as u64;
        if open.grown > open.base.max(GROWTH) {
            self.bloated.notify_one();
        }
        if let Err(error) = open.file.write_all(line.as_bytes()) {
            self.give_up(&error);
            *written = None;
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Remembers nothing any more.
    fn give_up(&self, error: &io::Error) {
        self.broken.store(true, Ordering::Relaxed);
        tracing::error!(file = %self.path.display(), %error, "sessions are no longer remembered");
    }

    /// Writes another file in the place of the one that there is.
    fn rewrite(&self, sessions: &[(String, String)]) -> io::Result<Written> {
        let fresh = self.path.with_extension("sessions.new");
        let _ = fs::remove_file(&fresh);
        let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&fresh)?;
        let mut text = String::new();
        for (id, state) in sessions {
            text.extend(["+", id, " ", state, "\n"]);
        }
        file.write_all(text.as_bytes())?;
        fs::rename(&fresh, &self.path)?;
        Ok(Written { file, base: text.len() as u64, grown: 0 })
    }

    /// Puts a file in the place that holds exactly these sessions; none before there is something to remember.
    fn write_anew(&self, written: &mut Option<Written>, sessions: &[(String, String)]) -> io::Result<()> {
        if sessions.is_empty() && written.is_none() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        *written = Some(self.rewrite(sessions)?);
        Ok(())
    }

    /// Whether another process's file has taken the place of this one, as after an upgrade.
    fn is_displaced(&self, ours: &File) -> bool {
        match (ours.metadata(), fs::symlink_metadata(&self.path)) {
            (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) != (there.dev(), there.ino()),
            _ => false,
        }
    }

    /// The file.
    fn written(&self) -> MutexGuard<'_, Option<Written>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does what a line says.
fn replay(sessions: &mut HashMap<String, Noted>, line: &str) {
    if let Some((id, state)) = line.strip_prefix('+').and_then(|line| line.split_once(' ')) {
        sessions.insert(id.to_owned(), Noted::from(state));
    } else if let Some((id, change)) = line.strip_prefix('~').and_then(|line| line.split_once(' ')) {
        if let Some(noted) = sessions.get_mut(id) {
            noted.changes.push(change.to_owned());
        }
    } else if let Some(id) = line.strip_prefix('-') {
        sessions.remove(id);
    }
}

impl Ledger for Journal {
    fn put(&self, id: &str, state: &dyn Fn() -> Option<String>) {
        self.append(|| Some(format!("+{id} {}\n", state()?)));
    }

    fn note(&self, id: &str, change: &dyn Fn() -> Option<String>) {
        self.append(|| Some(format!("~{id} {}\n", change()?)));
    }

    fn remove(&self, id: &str) {
        self.append(|| Some(format!("-{id}\n")));
    }

    fn bloated(&self) -> &Notify {
        &self.bloated
    }

    fn close(&self, empty: bool) {
        let written = self.written();
        let Some(open) = written.as_ref().filter(|_| empty) else { return };
        if !self.is_displaced(&open.file) {
            let _ = fs::remove_file(&self.path);
        }
    }

    fn replace(&self, sessions: &dyn Fn() -> Vec<(String, String)>) -> io::Result<()> {
        let mut written = self.written();
        if let Some(open) = written.as_mut() {
            // Also where it fails: it is tried again when as much was appended once more.
            open.grown = 0;
            if self.is_displaced(&open.file) {
                return Ok(());
            }
        }
        self.write_anew(&mut written, &sessions())
    }

    fn reclaim(&self, sessions: &dyn Fn() -> Vec<(String, String)>) -> io::Result<()> {
        self.write_anew(&mut self.written(), &sessions())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use futures_util::FutureExt as _;

    use super::*;

    /// The states that a file holds.
    fn states(path: &Path) -> Vec<String> {
        let mut states: Vec<_> = Journal::read(path).unwrap().into_iter().map(|noted| noted.state).collect();
        states.sort();
        states
    }

    #[test]
    fn what_was_put_last_is_read_and_what_was_removed_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("mcpeg.sessions");
        assert_eq!(Journal::read(&path).unwrap(), []);
        let journal = Journal::new(path.clone());
        journal.replace(&Vec::new).unwrap();
        assert!(!path.exists());
        journal.put("a", &|| Some("1".to_owned()));
        journal.put("b", &|| Some("2 with spaces".to_owned()));
        journal.put("a", &|| Some("3".to_owned()));
        journal.put("c", &|| Some("4".to_owned()));
        journal.remove("c");
        assert_eq!(states(&path), ["2 with spaces", "3"]);
        journal.close(false);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn only_the_own_file_is_removed_at_the_end() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("mcpeg.sessions");
        let (old, new) = (Journal::new(path.clone()), Journal::new(path.clone()));
        old.put("a", &|| Some("1".to_owned()));
        new.replace(&|| vec![("a".to_owned(), "2".to_owned())]).unwrap();
        old.close(true);
        assert_eq!(states(&path), ["2"]);
        new.close(true);
        assert!(!path.exists());
    }

    #[test]
    fn what_changes_while_the_file_is_written_anew_is_in_it() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("mcpeg.sessions");
        let (journal, sessions) = (Journal::new(path.clone()), Mutex::new(HashMap::<String, String>::new()));
        let all = || {
            let all = sessions.lock().unwrap().clone();
            // Others have time to change them.
            std::thread::sleep(std::time::Duration::from_millis(2));
            all.into_iter().collect()
        };
        for round in 0..20 {
            std::thread::scope(|scope| {
                let writing = scope.spawn(|| journal.replace(&all).unwrap());
                for number in 0_u32.. {
                    let id = (number % 7).to_string();
                    if number % 3 == 0 {
                        sessions.lock().unwrap().remove(&id);
                        journal.remove(&id);
                    } else {
                        sessions.lock().unwrap().insert(id.clone(), format!("{round} {number}"));
                        journal.put(&id, &|| sessions.lock().unwrap().get(&id).cloned());
                    }
                    if writing.is_finished() {
                        break;
                    }
                }
            });
            let mut expected: Vec<_> = sessions.lock().unwrap().values().cloned().collect();
            expected.sort();
            assert_eq!(states(&path), expected);
        }
    }

    #[test]
    fn half_a_line_at_the_end_is_passed_over() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("mcpeg.sessions");
        let journal = Journal::new(path.clone());
        journal.replace(&|| vec![("a".to_owned(), "1".to_owned())]).unwrap();
        journal.append(|| Some("+b 2".to_owned()));
        assert_eq!(states(&path), ["1"]);
    }

    #[test]
    fn changes_follow_the_state_that_they_are_of_and_go_with_it() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("mcpeg.sessions");
        let journal = Journal::new(path.clone());
        let note = |id: &str, change: &str| journal.note(id, &|| Some(change.to_owned()));
        note("a", "before the session");
        assert!(!path.exists());
        journal.put("a", &|| Some("1".to_owned()));
        note("a", "superseded");
        journal.put("a", &|| Some("2".to_owned()));
        note("a", "first");
        journal.put("b", &|| Some("3".to_owned()));
        note("a", "second");
        note("b", "other");
        journal.remove("b");
        note("b", "late");
        let changes = vec!["first".to_owned(), "second".to_owned()];
        assert_eq!(Journal::read(&path).unwrap(), [Noted { state: "2".to_owned(), changes }]);
        journal.replace(&|| vec![("a".to_owned(), "4".to_owned())]).unwrap();
        assert_eq!(Journal::read(&path).unwrap(), [Noted::from("4")]);
    }

    #[test]
    fn more_than_half_of_a_large_file_is_what_holds() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("mcpeg.sessions");
        let journal = Journal::new(path.clone());
        let state = "x".repeat(1 << 20);
        let all = || (0..8).map(|id| (id.to_string(), state.clone())).collect();
        let told = || journal.bloated().notified().now_or_never().is_some();
        journal.put("0", &|| Some(state.clone()));
        journal.replace(&all).unwrap();
        let base = fs::metadata(&path).unwrap().len();
        let (mut rewritten, mut written) = (0, 0);
        for _ in 0..100 {
            journal.note("0", &|| Some(state.clone()));
            written += state.len() as u64;
            if told() {
                assert!(fs::metadata(&path).unwrap().len() <= 2 * base + (2 << 20));
                journal.replace(&all).unwrap();
                rewritten += base;
            }
        }
        // However much is there already, it is not written more often than what is new.
        assert!(rewritten > 0 && rewritten <= written, "{rewritten} {written}");
    }

    #[test]
    fn file_of_the_next_process_is_not_written_over() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("mcpeg.sessions");
        let (old, new) = (Journal::new(path.clone()), Journal::new(path.clone()));
        old.put("a", &|| Some("1".to_owned()));
        new.replace(&|| vec![("a".to_owned(), "2".to_owned())]).unwrap();
        old.replace(&|| vec![("a".to_owned(), "1".to_owned())]).unwrap();
        assert_eq!(states(&path), ["2"]);
    }
}
