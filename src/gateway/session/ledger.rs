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
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// More is not read: 10,000 sessions take a tenth of it.
const LARGEST: u64 = 64 << 20;
/// The file is written anew when it has grown by so much, in bytes.
const GROWTH: u64 = 4 << 20;

/// Where sessions are remembered.
pub(crate) trait Ledger: Debug + Send + Sync {
    /// Notes a session's state, which replaces what was noted before; nothing where there is none any more. The state is
    /// asked for when nobody else can note anything, so that an older one never replaces a newer one.
    fn put(&self, id: &str, state: &dyn Fn() -> Option<String>);

    /// Forgets a session.
    fn remove(&self, id: &str);

    /// Whether it would gain from being written anew by [`Ledger::replace`].
    fn is_bloated(&self) -> bool;

    /// The process ends in order: what holds no session is removed.
    fn close(&self, empty: bool);

    /// Holds exactly these sessions from now on, which are asked for as [`Ledger::put`] does it.
    ///
    /// # Errors
    /// When they cannot be written; what was there before is still there then.
    fn replace(&self, sessions: &dyn Fn() -> Vec<(String, String)>) -> io::Result<()>;
}

/// A file with a line for each change: `+ID STATE` or `-ID`.
#[derive(Debug)]
pub(crate) struct Journal {
    /// Where it is.
    path: PathBuf,
    /// The file, and how much was appended since it was written anew; `None` before the first session.
    file: Mutex<Option<(File, u64)>>,
    /// Set when it could not be written.
    broken: AtomicBool,
}

impl Journal {
    /// The sessions that a file holds; none if there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read(path: &Path) -> io::Result<Vec<(String, String)>> {
        let mut text = Vec::new();
        match File::open(path) {
            Ok(file) => file.take(LARGEST).read_to_end(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut sessions = HashMap::new();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            // A line without an end was being written when its writer was killed.
            let Some(line) = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok()) else {
                continue;
            };
            if let Some((id, state)) = line.strip_prefix('+').and_then(|line| line.split_once(' ')) {
                sessions.insert(id.to_owned(), state.to_owned());
            } else if let Some(id) = line.strip_prefix('-') {
                sessions.remove(id);
            }
        }
        Ok(sessions.into_iter().collect())
    }

    /// A journal that is written anew with the first [`Ledger::replace`].
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path, file: Mutex::new(None), broken: AtomicBool::new(false) }
    }

    /// Appends a line, if there is one. One that cannot be written ends the journal: it would be wrong from here on.
    fn append(&self, line: impl FnOnce() -> Option<String>) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(line) = line() else { return };
        if file.is_none() && line.starts_with('+') && !self.broken.load(Ordering::Relaxed) {
            let made = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path);
            *file = made.inspect_err(|error| self.give_up(error)).ok().map(|made| (made, 0));
        }
        let Some((open, grown)) = file.as_mut() else { return };
        *grown += line.len() as u64;
        if let Err(error) = open.write_all(line.as_bytes()) {
            self.give_up(&error);
            *file = None;
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Remembers nothing any more.
    fn give_up(&self, error: &io::Error) {
        self.broken.store(true, Ordering::Relaxed);
        tracing::error!(file = %self.path.display(), %error, "sessions are no longer remembered");
    }
}

impl Ledger for Journal {
    fn put(&self, id: &str, state: &dyn Fn() -> Option<String>) {
        self.append(|| Some(format!("+{id} {}\n", state()?)));
    }

    fn remove(&self, id: &str) {
        self.append(|| Some(format!("-{id}\n")));
    }

    fn is_bloated(&self) -> bool {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.as_ref().is_some_and(|(_, grown)| *grown > GROWTH)
    }

    fn close(&self, empty: bool) {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((open, _)) = file.as_ref().filter(|_| empty) else { return };
        // After an upgrade the file of this name is another process's.
        if let (Ok(ours), Ok(theirs)) = (open.metadata(), fs::symlink_metadata(&self.path))
            && (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())
        {
            let _ = fs::remove_file(&self.path);
        }
    }

    fn replace(&self, sessions: &dyn Fn() -> Vec<(String, String)>) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let sessions = sessions();
        if sessions.is_empty() && file.is_none() {
            // Nothing is made before there is something to remember.
            match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => return Ok(()),
            }
        }
        let fresh = self.path.with_extension("sessions.new");
        let _ = fs::remove_file(&fresh);
        let mut open = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&fresh)?;
        let mut text = String::new();
        for (id, state) in &sessions {
            text.extend(["+", id, " ", state, "\n"]);
        }
        open.write_all(text.as_bytes())?;
        fs::rename(&fresh, &self.path)?;
        *file = Some((open, 0));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

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
        let mut sessions = Journal::read(&path).unwrap();
        sessions.sort();
        let expected =
            [("a", "3"), ("b", "2 with spaces")].map(|(id, state)| (id.to_owned(), state.to_owned()));
        assert_eq!(sessions, expected);
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
        assert_eq!(Journal::read(&path).unwrap(), [("a".to_owned(), "2".to_owned())]);
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
            let kept: HashMap<_, _> = Journal::read(&path).unwrap().into_iter().collect();
            assert_eq!(kept, *sessions.lock().unwrap());
        }
    }

    #[test]
    fn half_a_line_at_the_end_is_passed_over() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("mcpeg.sessions");
        let journal = Journal::new(path.clone());
        journal.replace(&|| vec![("a".to_owned(), "1".to_owned())]).unwrap();
        journal.append(|| Some("+b 2".to_owned()));
        assert_eq!(Journal::read(&path).unwrap(), [("a".to_owned(), "1".to_owned())]);
    }
}
