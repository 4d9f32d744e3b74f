//! Requests at upstreams that take only so many at once: one of the two processes gives the permits of both.

use serde::{Deserialize, Serialize};

/// What one process tells the other of its permits at an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Permits {
    /// What tells its server from any other.
    pub(crate) upstream: String,
    /// What there is to say.
    pub(crate) word: LimitMessage,
}

/// What there is to say of permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LimitMessage {
    /// Old: from now on you give the permits. So many I have, and for so many I wait.
    Held {
        /// Permits that its requests have.
        used: usize,
        /// Requests that wait.
        wanted: usize,
    },
    /// Old: I wait for one more.
    Wanted,
    /// New: you have one more.
    Granted,
    /// Old: I have one less.
    Released,
    /// New: that upstream is none of mine; give its permits yourself.
    Unknown,
}
