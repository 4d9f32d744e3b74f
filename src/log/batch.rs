//! Whole records one after the other, with a mark for each: its length and its level.

use serde::{Serialize, Serializer};
use tracing::Level;

/// Bits of a mark that hold the level.
const LEVEL_BITS: u32 = 3;
/// Buffers that have grown beyond this are given back when they are empty.
const USUAL: usize = 128 << 10;

/// Records in one buffer.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The records.
    bytes: Vec<u8>,
    /// Of each the length, shifted, and the level.
    marks: Vec<u32>,
    /// Where in `bytes` the first record begins that is not gone.
    start: usize,
    /// Where in `marks` that is.
    first: usize,
}

/// The levels from the most severe on, as they are named to those who read numbers.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Numbers of records by level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; 5]);

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.by_level())
    }
}

/// The place of a level in [`Counts`].
pub(super) const fn index(level: Level) -> u8 {
    match level {
        Level::ERROR => 0,
        Level::WARN => 1,
        Level::INFO => 2,
        Level::DEBUG => 3,
        Level::TRACE => 4,
    }
}

impl Batch {
    /// Adds a record; `false` if it has half a gigabyte or more, which is too long.
    pub(super) fn push(&mut self, record: &[u8], level: u8) -> bool {
        let length = u32::try_from(record.len()).ok().filter(|length| *length < 1 << (32 - LEVEL_BITS));
        if let Some(length) = length {
            self.bytes.extend_from_slice(record);
            self.marks.push(length << LEVEL_BITS | u32::from(level));
        }
        length.is_some()
    }

    /// Moves everything of another to the end; the other keeps its memory if this one was empty and has as much.
    pub(super) fn take_all(&mut self, other: &mut Self) {
        if self.is_empty() {
            self.clear();
            std::mem::swap(self, other);
        } else {
            self.bytes.extend_from_slice(other.rest());
            self.marks.extend_from_slice(&other.marks[other.first..]);
            other.clear();
        }
    }

    /// The records that are not gone.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// How many bytes they have.
    pub(super) const fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether there are none.
    pub(super) const fn is_empty(&self) -> bool {
        self.first == self.marks.len()
    }

    /// How many records begin at the first one and have no more than `most` bytes together, and how many they have.
    pub(super) fn fitting(&self, most: u64) -> (usize, usize) {
        if self.len() as u64 <= most {
            return (self.marks.len() - self.first, self.len());
        }
        let (mut records, mut bytes) = (0, 0);
        for mark in &self.marks[self.first..] {
            let length = (mark >> LEVEL_BITS) as usize;
            if (bytes + length) as u64 > most {
                break;
            }
            records += 1;
            bytes += length;
        }
        (records, bytes)
    }

    /// The length of the first record.
    pub(super) fn first_length(&self) -> usize {
        self.marks.get(self.first).map_or(0, |mark| (mark >> LEVEL_BITS) as usize)
    }

    /// Lets the first records go.
    pub(super) fn forget(&mut self, records: usize, bytes: usize) {
        self.first += records;
        self.start += bytes;
        if self.is_empty() {
            self.clear();
        }
    }

    /// Lets the oldest records go until no more than `most` bytes are left, and counts them.
    pub(super) fn shrink(&mut self, most: usize) -> Counts {
        let mut lost = Counts::default();
        while self.len() > most && !self.is_empty() {
            let mark = self.marks[self.first];
            lost.add((mark & ((1 << LEVEL_BITS) - 1)) as u8);
            self.forget(1, (mark >> LEVEL_BITS) as usize);
        }
        // What is gone stays in memory until it is more than what is left.
        if self.start > self.len() {
            self.bytes.drain(..self.start);
            self.marks.drain(..self.first);
            (self.start, self.first) = (0, 0);
        }
        lost
    }

    /// Empties it, and gives back memory beyond what is usual.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.marks.clear();
        (self.start, self.first) = (0, 0);
    }

    /// Gives memory back that an empty batch does not need when there is little to do.
    pub(super) fn relax(&mut self) {
        if self.is_empty() && self.bytes.capacity() > USUAL {
            *self = Self::default();
        }
    }
}

impl Counts {
    /// Counts one.
    pub(super) fn add(&mut self, level: u8) {
        if let Some(count) = self.0.get_mut(usize::from(level)) {
            *count += 1;
        }
    }

    /// Counts all of another.
    pub(super) fn add_all(&mut self, other: Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    /// How many that is.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Each level's name and number, most severe first.
    pub fn by_level(&self) -> impl Iterator<Item = (&'static str, u64)> {
        LEVELS.into_iter().zip(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_are_counted_by_level() {
        let mut batch = Batch::default();
        for number in 0..10_u8 {
            batch.push(&[b'0' + number, b'\n'], number % 5);
        }
        let lost = batch.shrink(5);
        assert_eq!(batch.rest(), b"8\n9\n");
        assert_eq!(lost.total(), 8);
        assert_eq!(lost.by_level().map(|(_, count)| count).collect::<Vec<_>>(), [2, 2, 2, 1, 1]);
    }

    #[test]
    fn only_whole_records_fit() {
        let mut batch = Batch::default();
        batch.push(b"one\n", 0);
        batch.push(b"two\n", 0);
        assert_eq!(batch.fitting(7), (1, 4));
        assert_eq!(batch.fitting(8), (2, 8));
        assert_eq!(batch.fitting(3), (0, 0));
        batch.forget(1, 4);
        assert_eq!(batch.rest(), b"two\n");
    }
}
