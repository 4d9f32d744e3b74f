//! When the file is rotated, and which process does it.
//!
//! Invariant: only the owner of the log rotates, compresses and deletes, and only if no other program is to do it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::Level;

use super::active::{Active, Rotated};
use super::archive::{Archive, newest};
use super::name::Name;
use super::owner::Owner;
use super::schedule::Schedule;
use crate::config::{Log, Rotation};
use crate::log::error::Error;
use crate::log::self_report::SelfReport;

/// How often the directory of rotated files is looked at.
const TIDY: Duration = Duration::from_secs(60);

/// The rules of rotation, and what their use needs.
pub(crate) struct Rotator {
    /// The rules.
    rules: Rotation,
    /// The next rotation by time.
    schedule: Schedule,
    /// The proof that we may rotate.
    owner: Option<Arc<Owner>>,
    /// Whether another process is to own the log.
    yielded: bool,
    /// Whether it has been told that nobody can.
    warned: bool,
    /// The newest name of a rotated file.
    last: Option<Name>,
    /// Compresses and deletes.
    archive: Archive,
    /// When the directory was looked at.
    tidied: Instant,
}

impl Rotator {
    /// For this file; the log is ours if nobody else owns it.
    pub(crate) fn new(log: &Log, active: &Active, report: &SelfReport) -> Result<Self, Error> {
        let rules = log.rotation.clone();
        let mut rotator = Self {
            schedule: Schedule::new(rules.every, rules.at, active.since()),
            rules,
            owner: None,
            yielded: false,
            warned: false,
            last: None,
            archive: Archive::start(active.path()).map_err(Error::Thread)?,
            tidied: Instant::now(),
        };
        rotator.own(active, report);
        Ok(rotator)
    }

    /// Goes by other rules from now on.
    pub(crate) fn set(&mut self, rules: Rotation, active: &Active, report: &SelfReport) {
        if (rules.every, rules.at) != (self.rules.every, self.rules.at) {
            self.schedule = Schedule::new(rules.every, rules.at, Timestamp::now());
        }
        self.rules = rules;
        if self.rules.external {
            self.owner = None;
        }
        self.own(active, report);
        self.tidy();
    }

    /// Lets another process own the log.
    pub(crate) fn give_up(&mut self) {
        self.yielded = true;
        self.owner = None;
    }

    /// Looks after the clock, the ownership, and the directory.
    pub(crate) fn look(&mut self, active: &Active, report: &SelfReport) {
        self.schedule.look_again(Timestamp::now());
        if self.owner.is_none() {
            self.own(active, report);
        } else if self.tidied.elapsed() >= TIDY {
            self.tidy();
        }
    }

    /// Becomes the log's owner if nobody else is. Without rotation of our own there is nothing to own.
    fn own(&mut self, active: &Active, report: &SelfReport) {
        if self.yielded || self.rules.external {
            return;
        }
        match Owner::take(active.path()) {
            Ok(Some(owner)) => {
                self.last = newest(active.path());
                self.owner = Some(Arc::new(owner));
                self.tidy();
            }
            Err(error) if !self.warned => {
                self.warned = true;
                let path = active.path().display();
                let text = format!("log file `{path}` is not rotated: cannot lock its directory: {error}");
                report.alarm(Level::WARN, &text);
            }
            // Another process has it: one that this one replaces, or that replaces this one.
            Ok(None) | Err(_) => {}
        }
    }

    /// Becomes the log's owner because somebody wants a rotation; whether it is, or why it cannot be.
    pub(crate) fn claim(&mut self, active: &Active, report: &SelfReport) -> Result<bool, Error> {
        self.own(active, report);
        if self.owner.is_none() {
            let path = active.path();
            let owner =
                Owner::take(path).map_err(|source| Error::Rotate { path: path.to_owned(), source })?;
            self.owner = owner.map(Arc::new);
        }
        Ok(self.owner.is_some())
    }

    /// Lets the directory be looked at.
    fn tidy(&mut self) {
        self.tidied = Instant::now();
        if let Some(owner) = &self.owner {
            self.archive.tidy(owner, &self.rules);
        }
    }

    /// Whether another program rotates.
    pub(crate) const fn is_external(&self) -> bool {
        self.rules.external
    }

    /// Whether a rotation by time is due; it is told once.
    pub(crate) fn is_due(&mut self) -> bool {
        self.schedule.is_due(Timestamp::now())
    }

    /// Whether this process rotates.
    pub(crate) const fn may_rotate(&self) -> bool {
        self.owner.is_some() && !self.rules.external
    }

    /// The size that the file should not exceed, if this process rotates.
    pub(crate) fn most(&self) -> Option<u64> {
        self.rules.size.filter(|_| self.may_rotate())
    }

    /// Moves the file away and goes on in a new one.
    pub(crate) fn rotate(&mut self, active: &mut Active) -> Result<Rotated, Error> {
        let rotated = active.rotate(&mut self.last, Timestamp::now())?;
        self.tidy();
        Ok(rotated)
    }
}
