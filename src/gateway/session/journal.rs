//! What is remembered of sessions beyond this process: who has one, and what a client may come back for.
//!
//! [`SessionJournal`] is where it is written; [`JournalFile`] is the one that needs nothing beside the gateway: a file to which each
//! change is appended. Nothing is waited for but the kernel's own memory, so that a killed gateway loses nothing, while a
//! power cut may take the last changes.
//!
//! Invariants: the file belongs to one process, the one that holds the gateway's lock; a half-written last line is passed
//! over; the identifiers in it are secrets, so that only its owner can read it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::replay::LOGS;
use crate::handover::Session as SavedSession;
use crate::sys::fs::{Access, Directory, Owners, open_untrusted, remove};

/// The file is written anew when it has grown by so much, in bytes, and is twice as long as it was then.
const GROWTH: u64 = 4 << 20;
/// After how long it is tried again to write it.
const RETRY: Duration = Duration::from_secs(5);
/// What nobody else may do with it.
const WRITABLE: u32 = 0o022;

/// Where sessions are remembered.
pub(crate) trait SessionJournal: Debug + Send + Sync {
    /// Notes a session's state, which replaces what was noted before; nothing where there is none any more. The state is
    /// asked for when nobody else can note anything, so that an older one never replaces a newer one.
    fn put(&self, id: &str, state: &dyn Fn() -> Option<String>);

    /// Notes a change of what was noted of a session, which is asked for in the same way.
    fn note(&self, id: &str, change: &dyn Fn() -> Option<String>);

    /// Forgets a session.
    fn remove(&self, id: &str);

    /// Tells when it would gain from being written anew by [`SessionJournal::replace`].
    fn bloated(&self) -> &Notify;

    /// The process ends in order: what holds no session is removed.
    fn close(&self, empty: bool);

    /// Holds exactly these sessions from now on, which are asked for as [`SessionJournal::put`] does it.
    /// Fails when they cannot be written; what was there before is still there then.
    fn replace(&self, sessions: &dyn Fn() -> Vec<(String, String)>) -> io::Result<()>;

    /// The same, also where another process has put its own there: that one is dead and this one serves on.
    fn reclaim(&self, sessions: &dyn Fn() -> Vec<(String, String)>) -> io::Result<()>;
}

/// What was noted of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Persisted {
    /// Its state.
    pub(crate) state: String,
    /// What has changed since, in its order.
    pub(crate) changes: Vec<String>,
}

impl Persisted {
    /// The session with the changes; of its streams those that a session keeps.
    pub(crate) fn read(&self) -> Result<SavedSession, serde_json::Error> {
        SavedSession::read(&self.state, &self.changes, LOGS)
    }
}

impl From<&str> for Persisted {
    fn from(state: &str) -> Self {
        Self { state: state.to_owned(), changes: Vec::new() }
    }
}

/// A file with a line for each change: `+ID STATE`, `~ID CHANGE` or `-ID`.
///
/// What cannot be written ends the file, which would be wrong from there on. It is told once, and tried again with the
/// sessions that are open then, until it works.
#[derive(Debug)]
pub(crate) struct JournalFile {
    /// Where it is.
    path: PathBuf,
    /// The file.
    file: Mutex<FileState>,
    /// Tells that it should be written anew.
    bloated: Arc<Notify>,
    /// After how long it is tried again to write it.
    retry: Duration,
}

/// What is known of the file.
#[derive(Debug)]
enum FileState {
    /// Before the first session.
    Unused,
    /// It is written.
    Open(Written),
    /// It cannot be written for now; which file lies there, if ours could not be removed.
    Broken(Option<(u64, u64)>),
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

impl JournalFile {
    /// The sessions that a file holds; none if there is none.
    /// Fails when it cannot be read, or somebody else could have written it: it decides who has a session.
    pub(crate) fn read(path: &Path) -> io::Result<Vec<Persisted>> {
        let mut file = match open_untrusted(path, Owners::Ours) {
            Ok((file, metadata)) if metadata.mode() & WRITABLE == 0 => BufReader::new(file),
            Ok(_) => return Err(io::Error::other("others may write it")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut sessions = HashMap::<String, Persisted>::new();
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

    /// A journal that is written anew with the first [`SessionJournal::replace`].
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: Mutex::new(FileState::Unused), bloated: Arc::new(Notify::new()), retry: RETRY }
    }

    /// Appends a line, if there is one. One that cannot be written ends the file: it would be wrong from here on.
    fn append(&self, line: impl FnOnce() -> Option<String>) {
        let mut slot = self.file.lock();
        let Some(line) = line() else { return };
        if matches!(*slot, FileState::Unused) && line.starts_with('+') {
            let made = Directory::of(&self.path, Owners::Ours).and_then(|(directory, name)| {
                directory.open_or_create(name, 0o600, Access::Append, Owners::Ours)
            });
            match made {
                Ok((file, _)) => *slot = FileState::Open(Written { file, base: 0, grown: 0 }),
                Err(error) => self.give_up(&mut slot, &error),
            }
        }
        let FileState::Open(open) = &mut *slot else { return };
        open.grown += line.len() as u64;
        if open.grown > open.base.max(GROWTH) {
            self.bloated.notify_one();
        }
        if let Err(error) = open.file.write_all(line.as_bytes()) {
            self.give_up(&mut slot, &error);
        }
    }

    /// Remembers nothing until it can be written again.
    fn give_up(&self, slot: &mut FileState, error: &io::Error) {
        if !matches!(slot, FileState::Broken(_)) {
            tracing::warn!(
                file = %self.path.display(),
                %error,
                "sessions cannot be saved and would be lost in a crash; this is tried again"
            );
        }
        // What it holds is wrong from here on, unless it is another process's.
        if matches!(slot, FileState::Open(open) if !self.is_displaced(&open.file)) {
            drop(remove(&self.path));
        }
        *slot = FileState::Broken(self.lies_there());
        self.retry_later();
    }

    /// Which file lies at the path.
    fn lies_there(&self) -> Option<(u64, u64)> {
        self.path.symlink_metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
    }

    /// Asks for the sessions after a while, if there is a runtime that waits.
    fn retry_later(&self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (bloated, retry) = (Arc::clone(&self.bloated), self.retry);
            runtime.spawn(async move {
                tokio::time::sleep(retry).await;
                bloated.notify_one();
            });
        }
    }

    /// Writes another file in the place of the one that there is.
    fn rewrite(&self, sessions: &[(String, String)]) -> io::Result<Written> {
        let (directory, name) = Directory::of(&self.path, Owners::Ours)?;
        let fresh = self.path.with_extension("sessions.new");
        let fresh = fresh.file_name().unwrap_or_default();
        let _ = directory.remove(fresh);
        let mut file = directory.create_new(fresh, 0o600, Access::Append)?;
        let mut text = String::new();
        for (id, state) in sessions {
            text.extend(["+", id, " ", state, "\n"]);
        }
        let written = file.write_all(text.as_bytes()).and_then(|()| directory.rename(fresh, name));
        if let Err(error) = written {
            drop(directory.remove(fresh));
            return Err(error);
        }
        Ok(Written { file, base: text.len() as u64, grown: 0 })
    }

    /// Puts a file in the place that holds exactly these sessions; none before there is something to remember.
    fn write_anew(&self, slot: &mut FileState, sessions: &[(String, String)]) -> io::Result<()> {
        if sessions.is_empty() && matches!(slot, FileState::Unused) {
            return match remove(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        match (self.rewrite(sessions), &*slot) {
            (Ok(written), before) => {
                if matches!(before, FileState::Broken(_)) {
                    tracing::info!(file = %self.path.display(), "sessions are saved again");
                }
                *slot = FileState::Open(written);
                Ok(())
            }
            // The file that there is holds still.
            (Err(error), FileState::Open(_)) => Err(error),
            (Err(error), _) => {
                self.give_up(slot, &error);
                Ok(())
            }
        }
    }

    /// Whether another process's file has taken the place of this one, as after an upgrade.
    fn is_displaced(&self, ours: &File) -> bool {
        match (ours.metadata(), self.path.symlink_metadata()) {
            (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) != (there.dev(), there.ino()),
            _ => false,
        }
    }
}

/// Does what a line says.
fn replay(sessions: &mut HashMap<String, Persisted>, line: &str) {
    if let Some((id, state)) = line.strip_prefix('+').and_then(|line| line.split_once(' ')) {
        sessions.insert(id.to_owned(), Persisted::from(state));
    } else if let Some((id, change)) = line.strip_prefix('~').and_then(|line| line.split_once(' ')) {
        if let Some(noted) = sessions.get_mut(id) {
            noted.changes.push(change.to_owned());
        }
    } else if let Some(id) = line.strip_prefix('-') {
        sessions.remove(id);
    }
}

impl SessionJournal for JournalFile {
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
        if let FileState::Open(open) = &*self.file.lock()
            && empty
            && !self.is_displaced(&open.file)
        {
            let _ = remove(&self.path);
        }
    }

    fn replace(&self, sessions: &dyn Fn() -> Vec<(String, String)>) -> io::Result<()> {
        let mut slot = self.file.lock();
        match &mut *slot {
            FileState::Open(open) => {
                // Also where it fails: it is tried again when as much was appended once more.
                open.grown = 0;
                if self.is_displaced(&open.file) {
                    return Ok(());
                }
            }
            // The next process has put its own there since.
            FileState::Broken(left) if self.lies_there().is_some_and(|there| *left != Some(there)) => {
                return Ok(());
            }
            _ => {}
        }
        self.write_anew(&mut slot, &sessions())
    }

    fn reclaim(&self, sessions: &dyn Fn() -> Vec<(String, String)>) -> io::Result<()> {
        let mut slot = self.file.lock();
        let done = self.write_anew(&mut slot, &sessions());
        // What it was written to may have been replaced, so that it is no help any more.
        done.or_else(|error| {
            self.give_up(&mut slot, &error);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use futures_util::FutureExt as _;

    use super::*;

    /// The states that a file holds.
    fn states(path: &Path) -> Vec<String> {
        let mut states: Vec<_> =
            JournalFile::read(path).unwrap().into_iter().map(|noted| noted.state).collect();
        states.sort();
        states
    }

    #[test]
    fn what_was_put_last_is_read_and_what_was_removed_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("mcpeg.sessions");
        assert_eq!(JournalFile::read(&path).unwrap(), []);
        let journal = JournalFile::new(path.clone());
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
        let (old, new) = (JournalFile::new(path.clone()), JournalFile::new(path.clone()));
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
        let (journal, sessions) =
            (JournalFile::new(path.clone()), Mutex::new(HashMap::<String, String>::new()));
        let all = || {
            let all = sessions.lock().clone();
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
                        sessions.lock().remove(&id);
                        journal.remove(&id);
                    } else {
                        sessions.lock().insert(id.clone(), format!("{round} {number}"));
                        journal.put(&id, &|| sessions.lock().get(&id).cloned());
                    }
                    if writing.is_finished() {
                        break;
                    }
                }
            });
            let mut expected: Vec<_> = sessions.lock().values().cloned().collect();
            expected.sort();
            assert_eq!(states(&path), expected);
        }
    }

    #[test]
    fn half_a_line_at_the_end_is_passed_over() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("mcpeg.sessions");
        let journal = JournalFile::new(path.clone());
        journal.replace(&|| vec![("a".to_owned(), "1".to_owned())]).unwrap();
        journal.append(|| Some("+b 2".to_owned()));
        assert_eq!(states(&path), ["1"]);
    }

    #[test]
    fn changes_follow_the_state_that_they_are_of_and_go_with_it() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("mcpeg.sessions");
        let journal = JournalFile::new(path.clone());
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
        assert_eq!(JournalFile::read(&path).unwrap(), [Persisted { state: "2".to_owned(), changes }]);
        journal.replace(&|| vec![("a".to_owned(), "4".to_owned())]).unwrap();
        assert_eq!(JournalFile::read(&path).unwrap(), [Persisted::from("4")]);
    }

    #[test]
    fn more_than_half_of_a_large_file_is_what_holds() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("mcpeg.sessions");
        let journal = JournalFile::new(path.clone());
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

    #[tokio::test]
    async fn journal_that_cannot_be_written_is_tried_again_with_what_is_open_then() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("mcpeg.sessions");
        let journal = JournalFile { retry: Duration::from_millis(1), ..JournalFile::new(path.clone()) };
        journal.put("a", &|| Some("1".to_owned()));
        // As write(2) fails on a full disk.
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        *journal.file.lock() = FileState::Open(Written { file: full, base: 0, grown: 0 });
        fs::remove_file(&path).unwrap();
        journal.put("b", &|| Some("2".to_owned()));
        assert!(matches!(*journal.file.lock(), FileState::Broken(_)));
        journal.put("c", &|| Some("3".to_owned()));
        assert!(!path.exists(), "a part is worse than nothing");
        for _ in 0..2 {
            journal.bloated().notified().await;
            // Still no room.
            fs::create_dir(scratch.path().join("mcpeg.sessions.new")).unwrap();
            journal.replace(&|| vec![("b".to_owned(), "2".to_owned())]).unwrap();
            assert!(matches!(*journal.file.lock(), FileState::Broken(_)));
            fs::remove_dir(scratch.path().join("mcpeg.sessions.new")).unwrap();
        }
        journal.bloated().notified().await;
        journal
            .replace(&|| vec![("b".to_owned(), "2".to_owned()), ("c".to_owned(), "3".to_owned())])
            .unwrap();
        journal.put("d", &|| Some("4".to_owned()));
        assert_eq!(states(&path), ["2", "3", "4"]);
    }

    #[tokio::test]
    async fn journal_that_failed_leaves_the_next_process_its_file() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("mcpeg.sessions");
        let (old, new) = (JournalFile::new(path.clone()), JournalFile::new(path.clone()));
        old.put("a", &|| Some("1".to_owned()));
        old.give_up(&mut old.file.lock(), &io::ErrorKind::StorageFull.into());
        new.replace(&|| vec![("a".to_owned(), "2".to_owned())]).unwrap();
        old.replace(&|| vec![("a".to_owned(), "1".to_owned())]).unwrap();
        assert_eq!(states(&path), ["2"]);
    }

    #[test]
    fn file_of_somebody_else_is_neither_read_nor_written() {
        use crate::sys::fs::{Untrusted, Why, refusal};
        let scratch = tempfile::tempdir().unwrap();
        let (path, victim) = (scratch.path().join("mcpeg.sessions"), scratch.path().join("victim"));
        File::create(&victim).unwrap().write_all(b"+a 1\n").unwrap();
        let plant: [(Why, &dyn Fn()); 3] = [
            (Why::Link, &|| std::os::unix::fs::symlink(&victim, &path).unwrap()),
            (Why::Names(2), &|| fs::hard_link(&victim, &path).unwrap()),
            (Why::NotAFile, &|| nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap()),
        ];
        for (why, plant) in plant {
            plant();
            let error = JournalFile::read(&path).unwrap_err();
            assert_eq!(refusal(&error).map(Untrusted::why), Some(why), "{error}");
            let journal = JournalFile::new(path.clone());
            journal.put("b", &|| Some("2".to_owned()));
            assert!(matches!(*journal.file.lock(), FileState::Broken(_)));
            assert_eq!(fs::read_to_string(&victim).unwrap(), "+a 1\n");
            fs::remove_file(&path).unwrap();
        }
        File::create(&path).unwrap().write_all(b"+a 1\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).unwrap();
        assert!(JournalFile::read(&path).is_err(), "others can write it");
    }

    #[test]
    fn file_of_the_next_process_is_not_written_over() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("mcpeg.sessions");
        let (old, new) = (JournalFile::new(path.clone()), JournalFile::new(path.clone()));
        old.put("a", &|| Some("1".to_owned()));
        new.replace(&|| vec![("a".to_owned(), "2".to_owned())]).unwrap();
        old.replace(&|| vec![("a".to_owned(), "1".to_owned())]).unwrap();
        assert_eq!(states(&path), ["2"]);
    }
}
