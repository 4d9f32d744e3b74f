//! When records are forced to the disk.

use std::time::{Duration, Instant};

use super::active::Active;
use crate::config::Fsync;
use crate::log::error::Error;
use crate::log::self_report::SelfReport;
use crate::log::trouble::Act;

/// How often that is, if each second was asked for.
const SECOND: Duration = Duration::from_secs(1);

/// The rule, and what it has to know.
pub(crate) struct Syncer {
    /// The rule.
    rule: Fsync,
    /// When records were forced to the disk.
    last: Instant,
    /// Whether there are others since.
    dirty: bool,
}

impl Syncer {
    /// Nothing is written yet.
    pub(crate) fn new(rule: Fsync) -> Self {
        Self { rule, last: Instant::now(), dirty: false }
    }

    /// Goes by another rule from now on.
    pub(crate) const fn set(&mut self, rule: Fsync) {
        self.rule = rule;
    }

    /// Notes that records were written.
    pub(crate) const fn wrote(&mut self) {
        self.dirty = true;
    }

    /// Forces records to the disk if a second has passed and the rule is each second.
    pub(crate) fn each_second(&mut self, active: &Active, report: &mut SelfReport) {
        if self.rule == Fsync::Second && self.last.elapsed() >= SECOND {
            self.sync(active, report);
        }
    }

    /// Forces records to the disk before the file is left.
    pub(crate) fn before_leaving(&mut self, active: &Active, report: &mut SelfReport) {
        if self.rule != Fsync::Never {
            self.sync(active, report);
        }
    }

    /// Forces records to the disk if there are any.
    fn sync(&mut self, active: &Active, report: &mut SelfReport) {
        if !self.dirty {
            return;
        }
        self.last = Instant::now();
        match active.sync() {
            Ok(()) => {
                self.dirty = false;
                report.succeeded(Act::Sync);
            }
            Err(source) => {
                report.failed(Act::Sync, &Error::Sync { path: active.path().to_owned(), source });
            }
        }
    }
}
