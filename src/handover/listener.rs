//! Listeners as they go over: their sockets are passed as descriptors, in the order of [`Outline`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::ListenAddr;

/// The file of a Unix socket that we made: path, device and inode.
pub(crate) type SocketFile = (PathBuf, u64, u64);

/// What is bound, as the configuration writes it; `None` for what a supervisor passed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outline(Vec<Option<String>>);

impl Outline {
    /// Of what is bound, in the order of the sockets.
    pub(crate) fn of(written: &[Option<String>]) -> Self {
        Self(written.to_vec())
    }

    /// Whether a supervisor passed the sockets, so that the configuration does not choose them.
    pub(crate) fn are_passed(&self) -> bool {
        self.0.iter().any(Option::is_none)
    }

    /// The configured addresses that nothing is bound for.
    pub(crate) fn missing(&self, configured: &[ListenAddr]) -> Vec<ListenAddr> {
        let bound = |address: &ListenAddr| self.written().any(|it| *it == address.to_string());
        configured.iter().filter(|address| !bound(address)).cloned().collect()
    }

    /// The addresses that the configuration chose.
    pub(crate) fn written(&self) -> impl Iterator<Item = &String> {
        self.0.iter().flatten()
    }

    /// Each with its socket.
    pub(crate) fn with<T>(self, sockets: Vec<T>) -> impl Iterator<Item = (Option<String>, T)> {
        self.0.into_iter().zip(sockets)
    }
}
