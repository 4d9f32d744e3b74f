//! What clients were last shown of an upstream's lists, so that they are told of a change where there is one, and of none where
//! a connection has merely been opened anew.
//!
//! Invariant: of any list that some client was shown before the last one, it was told since that it has changed. So it is
//! enough to compare what an upstream has with the last one.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::gateway::upstream::lists::kind::{KINDS, Kind};
use crate::gateway::upstream::lists::listing::Listing;

/// What is known of one list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shown {
    /// The digest of what was shown last; none if nobody was shown anything.
    digest: Option<String>,
    /// Whether somebody was shown something else, or that there is nothing, and was not told since.
    stale: bool,
}

impl Shown {
    /// Something, and nobody knows what.
    const fn unknown() -> Self {
        Self { digest: Some(String::new()), stale: true }
    }
}

/// What clients were shown of one upstream, in the order of [`Kind::ALL`].
#[derive(Debug, Default)]
pub(crate) struct ShownLists {
    /// The lists.
    lists: Mutex<[Shown; KINDS]>,
    /// Whether it is known what clients of the processes before this one, or after it, were shown.
    inherited: AtomicBool,
    /// Whether a connection is used, so that whatever is learned from here on is to be compared with what it has.
    used: AtomicBool,
}

/// What clients were shown before a connection was opened, and whether one before it was lost.
#[derive(Debug)]
pub(crate) struct Before([Shown; KINDS], bool);

/// What is to be done about one list after a connection was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Todo {
    /// Nothing: nobody was shown it.
    Nothing,
    /// Clients are told: some were shown something else, or nobody knows what.
    Tell,
    /// Clients are told if there is any such list: some were shown that there is none.
    TellOfAny,
    /// It is read, and clients are told if its digest is another one.
    Compare(String),
}

impl ShownLists {
    /// Notes that a client is shown this; nothing where the upstream was left out.
    pub(crate) fn put(&self, kind: Kind, listing: Option<&Listing>) {
        let digest = listing.map(|listing| listing.digest(kind).to_owned());
        let shown = &mut self.lists.lock()[kind as usize];
        match digest {
            Some(digest) => shown.digest = Some(digest),
            None => shown.stale = true,
        }
    }

    /// What clients were shown up to now, before a connection is used; it is known from here on what they are shown. After one
    /// was lost, also clients that have not read a list may have waited for it.
    pub(crate) fn take(&self, lost: bool) -> Before {
        self.used.store(true, Ordering::SeqCst);
        let mut lists = self.lists.lock();
        let before = lists.clone();
        for shown in &mut *lists {
            shown.stale = false;
            shown.digest.take_if(|digest| digest.is_empty());
        }
        Before(before, lost)
    }

    /// Takes what clients of the process before this one were shown, of whatever nobody was shown here; whether that is
    /// to be compared.
    pub(crate) fn inherit(&self, lists: &[Option<String>]) -> bool {
        self.inherited.store(true, Ordering::SeqCst);
        for (shown, before) in self.lists.lock().iter_mut().zip(lists) {
            match before.as_deref() {
                Some("") => *shown = Shown::unknown(),
                Some(digest) if shown.digest.is_none() => shown.digest = Some(digest.to_owned()),
                Some(digest) => shown.stale |= shown.digest.as_deref() != Some(digest),
                None => {}
            }
        }
        self.used.load(Ordering::SeqCst)
    }

    /// Notes that there are clients of another process of which it is not known what they were shown, unless it is; whether
    /// that is new, and to be compared.
    pub(crate) fn distrust(&self) -> bool {
        let new = !self.inherited.swap(true, Ordering::SeqCst);
        if new {
            *self.lists.lock() = [(); KINDS].map(|()| Shown::unknown());
        }
        new && self.used.load(Ordering::SeqCst)
    }

    /// What the next process must know: the digest of what was shown last, nothing if nobody was shown anything, and an empty
    /// text where somebody was shown something else.
    pub(crate) fn known(&self) -> Vec<Option<String>> {
        // Clients of the next process are shown the same.
        self.inherited.store(true, Ordering::SeqCst);
        let known = |shown: &Shown| if shown.stale { Some(String::new()) } else { shown.digest.clone() };
        self.lists.lock().iter().map(known).collect()
    }
}

impl Before {
    /// What is to be done about a list.
    pub(crate) fn todo(&self, kind: Kind) -> Todo {
        match &self.0[kind as usize] {
            Shown { stale: true, digest: Some(_) } => Todo::Tell,
            Shown { stale: true, digest: None } => Todo::TellOfAny,
            Shown { digest: None, .. } if self.1 => Todo::TellOfAny,
            Shown { digest: Some(digest), .. } => Todo::Compare(digest.clone()),
            Shown { digest: None, .. } => Todo::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Filters;
    use crate::gateway::relay::raw;

    /// A list of these tools.
    fn tools(names: &[&str]) -> Listing {
        let tools: Vec<_> = names.iter().map(|name| serde_json::json!({ "name": name, "x": 1 })).collect();
        let mut listing = Listing::none();
        listing.add(Kind::Tools, &raw(&serde_json::json!({ "tools": tools })), &Filters::default());
        listing
    }

    #[test]
    fn clients_are_told_what_they_were_not_shown_and_nothing_else() {
        let shown = ShownLists::default();
        assert_eq!(shown.take(false).todo(Kind::Tools), Todo::Nothing, "nobody was shown anything");
        let (one, other) = (tools(&["a", "b"]), tools(&["b", "a"]));
        assert_eq!(one.digest(Kind::Tools), other.digest(Kind::Tools), "the order is nobody's concern");
        shown.put(Kind::Tools, Some(&one));
        assert_eq!(shown.take(false).todo(Kind::Tools), Todo::Compare(one.digest(Kind::Tools).to_owned()));
        shown.put(Kind::Tools, None);
        let before = shown.take(false);
        assert_eq!((before.todo(Kind::Tools), before.todo(Kind::Prompts)), (Todo::Tell, Todo::Nothing));
        // That was told.
        assert_ne!(shown.take(false).todo(Kind::Tools), Todo::Tell);
        shown.put(Kind::Prompts, None);
        assert_eq!(shown.take(false).todo(Kind::Prompts), Todo::TellOfAny);
        assert_eq!(shown.take(true).todo(Kind::Templates), Todo::TellOfAny);
    }

    #[test]
    fn next_process_knows_what_clients_were_shown_or_distrusts_it_once() {
        let (before, after) = (ShownLists::default(), ShownLists::default());
        before.put(Kind::Tools, Some(&tools(&["a"])));
        before.put(Kind::Prompts, None);
        after.inherit(&before.known());
        assert!(!after.distrust());
        let known = after.take(false);
        assert_eq!(known.todo(Kind::Tools), Todo::Compare(tools(&["a"]).digest(Kind::Tools).to_owned()));
        assert_eq!((known.todo(Kind::Prompts), known.todo(Kind::Resources)), (Todo::Tell, Todo::Nothing));
        let unknown = ShownLists::default();
        assert!(!unknown.distrust(), "there is nothing yet to compare it with");
        assert_eq!(unknown.take(false).todo(Kind::Resources), Todo::Tell);
        assert_eq!(unknown.take(false).todo(Kind::Resources), Todo::Nothing, "that was told");
        let used = ShownLists::default();
        used.take(false);
        assert!(used.distrust() && !used.distrust());
        // Somebody was shown another list here than clients of the process before.
        let mixed = ShownLists::default();
        mixed.put(Kind::Tools, Some(&tools(&["b"])));
        mixed.inherit(&before.known());
        assert_eq!(mixed.take(false).todo(Kind::Tools), Todo::Tell);
    }
}
