//! The digest of a content, by which a file is known as one of ours.

use std::io::Read;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Contents are read in pieces of this size, in bytes.
const PIECE: usize = 1 << 20;

/// The SHA-256 of a file's content, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Digest(String);

impl Digest {
    /// The digest of everything that `from` yields.
    pub(super) fn of(mut from: impl Read) -> std::io::Result<Self> {
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE];
        loop {
            let length = from.read(&mut piece)?;
            if length == 0 {
                break;
            }
            hash.update(&piece[..length]);
        }
        let hex = hash.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
            for digit in [byte >> 4, byte & 15] {
                hex.push(char::from_digit(digit.into(), 16).expect("four bits are one hexadecimal digit"));
            }
            hex
        });
        Ok(Self(hex))
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
