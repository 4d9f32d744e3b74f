//! What has failed last, with the identifier of its request: for the person who is told that by a client.
//!
//! Failures and refusals have room each of their own, so that strangers who are refused do not push out what has failed. Only
//! what goes wrong comes here; what goes well pays nothing for it.

use std::collections::VecDeque;
use std::time::SystemTime;

use fieldwork::Fieldwork;
use parking_lot::Mutex;

use super::family::Place;
use crate::gateway::client::ClientName;
use crate::request_id::RequestId;

/// As many of each are kept.
const KEPT: usize = 25;
/// Characters of a reason that are kept.
const REASON: usize = 400;

/// What has failed last, and what was refused.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// What has failed, the latest last.
    failed: Mutex<VecDeque<Failure>>,
    /// What was refused.
    refused: Mutex<VecDeque<Failure>>,
}

/// One request that was answered with an error.
#[derive(Clone, Debug, Fieldwork)]
#[fieldwork(get, vis = "pub(crate)")]
pub(crate) struct Failure {
    /// When.
    #[field(get(copy))]
    at: SystemTime,
    /// Its identifier.
    request: RequestId,
    /// Its method, if it came so far.
    #[field(get(copy))]
    method: Option<&'static str>,
    /// Where its tool is counted, if it has called one.
    #[field(get(copy))]
    place: Option<Place>,
    /// Whose it is, if that is known.
    client: Option<ClientName>,
    /// What came of it.
    #[field(get(copy))]
    outcome: &'static str,
    /// Why, if that is known.
    #[field(option_borrow_inner = true)]
    reason: Option<Box<str>>,
}

impl Failure {
    /// That of a request which has failed now.
    pub(super) fn now(
        (request, client): (&RequestId, Option<&ClientName>),
        (method, place): (Option<&'static str>, Option<Place>),
        (outcome, reason): (&'static str, Option<&str>),
    ) -> Self {
        let (request, client) = (request.clone(), client.cloned());
        let reason = reason.map(|reason| reason.chars().take(REASON).collect::<String>().into());
        Self { at: SystemTime::now(), request, method, place, client, outcome, reason }
    }
}

impl Recent {
    /// Remembers what has failed.
    pub(super) fn failed(&self, failure: Failure) {
        keep(&self.failed, failure);
    }

    /// Remembers what was refused.
    pub(super) fn refused(&self, failure: Failure) {
        keep(&self.refused, failure);
    }

    /// All of them, the latest first.
    pub(crate) fn all(&self) -> Vec<Failure> {
        let mut all: Vec<_> = self.failed.lock().iter().chain(&*self.refused.lock()).cloned().collect();
        all.sort_by_key(|failure| std::cmp::Reverse(failure.at));
        all
    }
}

/// Adds one, in the place of the oldest if there are as many as may be.
fn keep(among: &Mutex<VecDeque<Failure>>, failure: Failure) {
    let mut among = among.lock();
    if among.len() == KEPT {
        among.pop_front();
    }
    among.push_back(failure);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_do_not_push_out_what_has_failed_and_reasons_are_cut() {
        let (recent, request) = (Recent::default(), RequestId::made());
        let long = "ä".repeat(REASON * 2);
        recent.failed(Failure::now((&request, None), (None, None), ("error", Some(&long))));
        for _ in 0..KEPT * 3 {
            recent.refused(Failure::now((&request, None), (None, None), ("refused", None)));
        }
        let all = recent.all();
        assert_eq!(all.len(), KEPT + 1);
        let failed: Vec<_> = all.iter().filter(|failure| failure.outcome == "error").collect();
        assert!(failed.len() == 1 && failed[0].reason().unwrap() == "ä".repeat(REASON), "{failed:?}");
    }
}
