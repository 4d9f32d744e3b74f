//! Numbers that are told apart by labels, found and added without a lock.
//!
//! prometheus-client's own `Family` and `Histogram` take a lock for each observation, and want labels as they keep them, which
//! are two or three allocations for each. Here a request finds its numbers by one hash of borrowed text.
//!
//! What is there stays there for as long as the process: counters never go back. Where all places are taken, the rest is
//! counted together.

use std::hash::BuildHasher as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::quality::RandomState;

/// What labels have where they are not told apart.
const OTHER: &str = "other";

/// Numbers with `N` labels.
#[derive(Debug)]
pub(crate) struct Family<const N: usize, V> {
    /// The places, of which about a half is used at most. Who looks for labels begins at their hash, and goes on to the next
    /// one until he finds them or a free place.
    places: Box<[OnceLock<Box<Member<N, V>>>]>,
    /// How many are taken.
    taken: AtomicUsize,
    /// How many may be.
    most: usize,
    /// Chosen by nobody outside.
    hasher: RandomState,
    /// Where those are counted that have no place.
    rest: Member<N, V>,
}

/// Where the numbers of some labels are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(usize);

/// Numbers and their labels.
#[derive(Debug)]
pub(crate) struct Member<const N: usize, V> {
    /// The values of the labels.
    labels: [Box<str>; N],
    /// The numbers.
    value: V,
}

impl<const N: usize, V: Default> Family<N, V> {
    /// Of so many labels at most.
    pub(crate) fn new(most: usize) -> Self {
        let places = (most * 2).next_power_of_two().max(2);
        Self {
            places: std::iter::repeat_with(OnceLock::new).take(places).collect(),
            taken: AtomicUsize::new(0),
            most,
            hasher: RandomState::default(),
            rest: Member::of([OTHER; N]),
        }
    }

    /// The numbers of these labels; those of the rest where there is no place for them.
    pub(crate) fn get(&self, labels: [&str; N]) -> &V {
        self.at(self.place(labels, || true))
    }

    /// The numbers at a place.
    pub(crate) fn at(&self, place: Place) -> &V {
        let member = self.places.get(place.0).and_then(OnceLock::get);
        member.map_or(&self.rest.value, |member| &member.value)
    }

    /// The labels at a place, if they are told apart.
    pub(crate) fn labels(&self, place: Place) -> Option<[&str; N]> {
        let member = self.places.get(place.0).and_then(OnceLock::get)?;
        Some(member.labels.each_ref().map(|label| &**label))
    }

    /// The place of these labels, which get one if they `may`; else that of the rest.
    pub(crate) fn place(&self, labels: [&str; N], may: impl FnOnce() -> bool) -> Place {
        let mut at = match self.look(labels) {
            Ok(at) => return Place(at),
            Err(_) if !may() => return Place::REST,
            Err(free) => free,
        };
        if self.taken.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            return Place::REST;
        }
        let mut member = Box::new(Member::of(labels));
        // Others may take the place meanwhile, also for the same labels.
        while let Err(own) = self.places[at].set(member) {
            member = own;
            match self.look(labels) {
                Ok(other) => {
                    self.taken.fetch_sub(1, Ordering::Relaxed);
                    return Place(other);
                }
                Err(next) => at = next,
            }
        }
        Place(at)
    }

    /// The place of the member with these labels, or the free one where it would be.
    fn look(&self, labels: [&str; N]) -> Result<usize, usize> {
        let mask = self.places.len() - 1;
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash are a hash")]
        let mut at = self.hasher.hash_one(labels) as usize & mask;
        while let Some(member) = self.places[at].get() {
            if member.labels.iter().zip(labels).all(|(one, other)| **one == *other) {
                return Ok(at);
            }
            at = (at + 1) & mask;
        }
        Err(at)
    }

    /// All numbers with their labels.
    pub(crate) fn all(&self) -> impl Iterator<Item = ([&str; N], &V)> {
        let known = self.places.iter().filter_map(OnceLock::get).map(|member| &**member);
        known
            .chain([&self.rest])
            .map(|member| (member.labels.each_ref().map(|label| &**label), &member.value))
    }
}

impl Place {
    /// That of what is not told apart.
    pub(crate) const REST: Self = Self(usize::MAX);
}

impl<const N: usize, V: Default> Member<N, V> {
    /// With these labels.
    fn of(labels: [&str; N]) -> Self {
        Self { labels: labels.map(Into::into), value: V::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn threads_that_count_the_same_at_once_lose_nothing_and_make_nothing_twice() {
        let family = Arc::new(Family::<2, AtomicU64>::new(20));
        let names: Arc<Vec<String>> = Arc::new((0..30).map(|number| number.to_string()).collect());
        let threads = (0..4).map(|_| {
            let (family, names) = (Arc::clone(&family), Arc::clone(&names));
            std::thread::spawn(move || {
                for round in 0..3000 {
                    family.get(["a", &names[round % 30]]).fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
        let all: Vec<_> =
            family.all().map(|(labels, value)| (labels, value.load(Ordering::Relaxed))).collect();
        assert_eq!(all.iter().map(|(_, count)| count).sum::<u64>(), 12_000);
        let known: Vec<_> = all.iter().filter(|(labels, _)| labels[0] == "a").collect();
        assert!((1..=20).contains(&known.len()), "{}", known.len());
        let mut labels: Vec<_> = known.iter().map(|(labels, _)| labels).collect();
        labels.sort();
        labels.dedup();
        assert_eq!(labels.len(), known.len());
        assert_eq!(family.place(["b", "0"], || false), Place::REST);
        let known = known[0].0;
        assert_ne!(family.place(known, || panic!("it is there")), Place::REST);
    }
}
