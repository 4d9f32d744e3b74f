//! The identifier of a request of a client, in everything that is logged while the request is worked on.
//!
//! It is the client's own `x-request-id`, where that is short and plain, or else made here. What works on the request does so
//! inside of [`RequestId::around`] or [`RequestId::enter`]; the log asks for the current one with each record. That is a
//! variable of the thread and no span of tracing, so that it costs a request two writes, and is there whatever the level.

use std::cell::RefCell;
use std::future::poll_fn;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Bytes that a client's identifier may have.
const LONGEST: usize = 128;

thread_local! {
    /// That of the request that this thread works on.
    static CURRENT: RefCell<Option<RequestId>> = const { RefCell::new(None) };
}

/// An identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Kind);

/// The two kinds of them. One that is made is a number until somebody reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// A client's.
    Taken(Arc<str>),
    /// The number of the request among those of this process.
    Made(u64),
}

/// That the thread works on a request, until this is dropped.
#[must_use = "the thread works on the request until this is dropped"]
pub struct Entered(Option<RequestId>);

impl RequestId {
    /// That of a client, if it is one: from 1 to 128 letters, digits and `-_.~:/+=@`.
    #[must_use]
    pub fn taken(text: &[u8]) -> Option<Self> {
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~:/+=@".contains(byte);
        let text = std::str::from_utf8(text).ok()?;
        let is_one = (1..=LONGEST).contains(&text.len()) && text.as_bytes().iter().all(fits);
        is_one.then(|| Self(Kind::Taken(text.into())))
    }

    /// A new one: a number of this process that is chosen at random, and that of the request in it.
    #[must_use]
    pub fn made() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(Kind::Made(LAST.fetch_add(1, Ordering::Relaxed)))
    }

    /// Shows the text.
    pub fn show<T>(&self, show: impl FnOnce(&str) -> T) -> T {
        static PROCESS: OnceLock<[u8; 16]> = OnceLock::new();
        let request = match &self.0 {
            Kind::Taken(text) => return show(text),
            Kind::Made(request) => *request,
        };
        let process = PROCESS.get_or_init(|| hex(RandomState::new().build_hasher().finish()));
        let mut text = [0; 32];
        text[..16].copy_from_slice(process);
        text[16..].copy_from_slice(&hex(request));
        show(std::str::from_utf8(&text).unwrap_or_default())
    }

    /// That of the request that this thread works on, if it works on one.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|current| current.try_borrow().ok()?.clone()).ok()?
    }

    /// Shows that of the request that this thread works on, if it works on one.
    pub(crate) fn show_current(show: impl FnOnce(&str)) {
        // A thread that ends works on nothing.
        let _ = CURRENT.try_with(|current| {
            if let Ok(current) = current.try_borrow()
                && let Some(id) = &*current
            {
                id.show(show);
            }
        });
    }

    /// Has this thread work on the request.
    pub fn enter(&self) -> Entered {
        Entered(CURRENT.try_with(|current| current.replace(Some(self.clone()))).ok().flatten())
    }

    /// Has whichever thread does this work on the request meanwhile.
    pub async fn around<T>(&self, mut work: Pin<&mut impl Future<Output = T>>) -> T {
        poll_fn(|cx| {
            let _entered = self.enter();
            work.as_mut().poll(cx)
        })
        .await
    }
}

/// The digits of a number.
fn hex(number: u64) -> [u8; 16] {
    let mut shift = 64;
    [(); 16].map(|()| {
        shift -= 4;
        b"0123456789abcdef"[(number >> shift & 15) as usize]
    })
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.take();
        let _ = CURRENT.try_with(|current| current.replace(before));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_plain_identifiers_are_taken_and_others_are_not() {
        for text in ["a", "0b8c-4f_2.~:/+=@Z", &"x".repeat(128)] {
            RequestId::taken(text.as_bytes()).unwrap().show(|shown| assert_eq!(shown, text));
        }
        for text in ["", "a b", "a\"", "a\\", "a,b", "ü", "a\n", &"x".repeat(129)] {
            assert_eq!(RequestId::taken(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn new_ones_differ_and_could_be_taken() {
        let (one, other) = (RequestId::made(), RequestId::made());
        let [one, other] = [one, other].map(|id| id.show(str::to_owned));
        assert!(one != other && one.len() == 32 && one[..16] == other[..16], "{one} {other}");
        assert!(RequestId::taken(one.as_bytes()).is_some());
    }

    #[test]
    fn each_piece_of_work_has_its_own() {
        let (outer, inner) = (RequestId::made(), RequestId::made());
        let entered = outer.enter();
        {
            let _entered = inner.enter();
            assert_eq!(RequestId::current(), Some(inner.clone()));
        }
        assert_eq!(RequestId::current(), Some(outer));
        drop(entered);
        assert_eq!(RequestId::current(), None);
    }
}
