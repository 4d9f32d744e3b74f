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
pub struct RequestId(Arc<str>);

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
        is_one.then(|| Self(text.into()))
    }

    /// A new one: a number of this process that is chosen at random, and that of the request in it.
    #[must_use]
    pub fn made() -> Self {
        static PROCESS: OnceLock<u64> = OnceLock::new();
        static LAST: AtomicU64 = AtomicU64::new(0);
        let process = PROCESS.get_or_init(|| RandomState::new().build_hasher().finish());
        let request = LAST.fetch_add(1, Ordering::Relaxed);
        let mut text = [0; 32];
        for (at, digit) in text.iter_mut().enumerate() {
            let (number, place) = if at < 16 { (*process, at) } else { (request, at - 16) };
            *digit = b"0123456789abcdef"[(number >> (60 - 4 * place) & 15) as usize];
        }
        Self(std::str::from_utf8(&text).unwrap_or_default().into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// That of the request that this thread works on, if it works on one.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|current| current.try_borrow().ok()?.clone()).ok()?
    }

    /// Shows it without a copy.
    pub(crate) fn show_current(show: impl FnOnce(&str)) {
        // A thread that ends works on nothing.
        let _ = CURRENT.try_with(|current| {
            if let Ok(current) = current.try_borrow()
                && let Some(id) = &*current
            {
                show(id.as_str());
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
            assert_eq!(RequestId::taken(text.as_bytes()).unwrap().as_str(), text);
        }
        for text in ["", "a b", "a\"", "a\\", "a,b", "ü", "a\n", &"x".repeat(129)] {
            assert_eq!(RequestId::taken(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn new_ones_differ_and_could_be_taken() {
        let (one, other) = (RequestId::made(), RequestId::made());
        assert_ne!(one, other);
        assert_eq!(RequestId::taken(one.as_str().as_bytes()), Some(one));
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
