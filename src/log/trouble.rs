//! What is wrong with the log file at the moment.

use std::time::{Duration, Instant};

use super::batch::Counts;

/// How often what has failed is tried again.
pub(super) const RETRY: Duration = Duration::from_millis(200);

/// What can fail while the file can still be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// To move it away or to open the one at its path.
    Move,
    /// To force it to the disk.
    Sync,
}

/// A file that cannot be written.
#[derive(Debug)]
pub(super) struct Unwritable {
    /// Why.
    text: String,
    /// Since when.
    since: Instant,
    /// When it is tried again.
    again: Instant,
    /// What was lost.
    lost: Counts,
}

/// All that is wrong.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// It cannot be written.
    unwritable: Option<Unwritable>,
    /// It cannot be moved or opened: why, and when that is tried again.
    unmovable: Option<(String, Instant)>,
    /// It cannot be forced to the disk.
    unsynced: Option<(String, Instant)>,
}

impl Troubles {
    /// Whether something is to be tried again soon.
    pub(super) const fn are_there(&self) -> bool {
        self.unwritable.is_some() || self.unmovable.is_some() || self.unsynced.is_some()
    }

    /// The worst of them.
    pub(super) fn text(&self) -> Option<&str> {
        let unwritable = self.unwritable.as_ref().map(|trouble| &trouble.text);
        let others = [&self.unmovable, &self.unsynced].into_iter().flatten().map(|(text, _)| text);
        unwritable.into_iter().chain(others).next().map(String::as_str)
    }

    /// The place of one.
    const fn of(&mut self, act: Act) -> &mut Option<(String, Instant)> {
        match act {
            Act::Move => &mut self.unmovable,
            Act::Sync => &mut self.unsynced,
        }
    }

    /// Notes that something has failed; whether that is news.
    pub(super) fn fail(&mut self, act: Act, text: String) -> bool {
        let trouble = self.of(act);
        let news = trouble.as_ref().is_none_or(|(before, _)| *before != text);
        *trouble = Some((text, Instant::now() + RETRY));
        news
    }

    /// Notes that it has worked; what was wrong before.
    pub(super) fn succeed(&mut self, act: Act) -> Option<String> {
        self.of(act).take().map(|(text, _)| text)
    }

    /// Whether the file can be moved and opened as far as we know, or that may be tried again.
    pub(super) fn let_move(&self) -> bool {
        self.unmovable.as_ref().is_none_or(|(_, again)| *again <= Instant::now())
    }

    /// Whether it could not be moved or opened.
    pub(super) const fn is_unmovable(&self) -> bool {
        self.unmovable.is_some()
    }

    /// Whether the file can be written as far as we know, or that may be tried again.
    pub(super) fn let_write(&self) -> bool {
        self.unwritable.as_ref().is_none_or(|trouble| trouble.again <= Instant::now())
    }

    /// Notes that writing has failed; whether that is news.
    pub(super) fn fail_to_write(&mut self, text: String) -> bool {
        let (since, again) = (Instant::now(), Instant::now() + RETRY);
        match &mut self.unwritable {
            Some(trouble) => {
                trouble.again = again;
                false
            }
            none => {
                *none = Some(Unwritable { text, since, again, lost: Counts::default() });
                true
            }
        }
    }

    /// Counts what was lost because the file cannot be written; whether it cannot.
    pub(super) fn lose(&mut self, lost: Counts) {
        if let Some(trouble) = &mut self.unwritable {
            trouble.lost.add_all(lost);
        }
    }

    /// Whether the file cannot be written.
    pub(super) const fn is_unwritable(&self) -> bool {
        self.unwritable.is_some()
    }

    /// Notes that the file can be written; for how long it could not, and what was lost.
    pub(super) fn write(&mut self) -> Option<(Duration, Counts)> {
        self.unwritable.take().map(|trouble| (trouble.since.elapsed(), trouble.lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_ends_alone_and_the_worst_is_shown() {
        let mut troubles = Troubles::default();
        assert!(troubles.fail(Act::Sync, "cannot sync".to_owned()));
        assert!(!troubles.fail(Act::Sync, "cannot sync".to_owned()), "no news");
        assert!(troubles.fail(Act::Move, "cannot move".to_owned()));
        assert!(troubles.fail_to_write("cannot write".to_owned()));
        assert!(!troubles.fail_to_write("cannot write".to_owned()), "no news");
        assert!(!troubles.let_move() && !troubles.let_write());
        assert_eq!(troubles.text(), Some("cannot write"));
        assert_eq!(troubles.succeed(Act::Move).as_deref(), Some("cannot move"));
        let mut lost = Counts::default();
        lost.add(1);
        troubles.lose(lost);
        assert_eq!(troubles.write().unwrap().1, lost);
        assert_eq!(troubles.text(), Some("cannot sync"));
        assert_eq!(troubles.succeed(Act::Sync).as_deref(), Some("cannot sync"));
        assert!(!troubles.are_there());
    }
}
