//! The run-time files of a gateway that serves: the record in the lock, the pid file, and where the control socket is.
//!
//! Invariant: the holder of the lock may touch them; of the two processes of an upgrade, which both hold it, the owner.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use fieldwork::Fieldwork;

use super::error::Error;
use crate::daemon::control::Server;
use crate::daemon::{self, Lock, Record, RunPaths};

/// The run-time files.
#[derive(Fieldwork)]
#[fieldwork(get, vis = "pub(super)")]
pub(super) struct RunFiles {
    /// Where they are.
    paths: RunPaths,
    /// The proof that we may touch them.
    #[field = false]
    lock: Lock,
    /// What is known about this process.
    record: Record,
    /// Whether they are ours.
    #[field(get = are_owned)]
    owned: bool,
}

impl RunFiles {
    /// Writes into the lock who serves, unless the files are still those of the process before this one.
    pub(super) fn new(paths: RunPaths, lock: Lock, record: Record, owned: bool) -> Result<Self, Error> {
        if owned {
            lock.describe(&record)?;
        }
        Ok(Self { paths, lock, record, owned })
    }

    /// A second handle of the lock, for the process after this one.
    pub(super) fn share_lock(&self) -> io::Result<OwnedFd> {
        self.lock.share()
    }

    /// Writes the pid file.
    pub(super) fn write_pid(&self) -> Result<(), Error> {
        Ok(daemon::write_pid_file(&self.paths.pid_file, self.record.pid)?)
    }

    /// Takes them over from the process before this one, which makes them its own again after an error.
    pub(super) fn take_over(&mut self, server: &mut Server) -> Result<(), Error> {
        self.lock.describe(&self.record)?;
        self.write_pid()?;
        server.publish()?;
        self.owned = true;
        Ok(())
    }

    /// Leaves them to the process after this one.
    pub(super) fn give_up(&mut self) {
        self.owned = false;
    }

    /// Makes them ours again, after a new process has failed and is dead; returns the control socket.
    pub(super) fn restore(&self) -> Option<Server> {
        let mended = [self.lock.describe(&self.record).map_err(Error::from), self.write_pid()];
        let server = Server::prepare(&self.paths.control).and_then(|mut server| {
            server.publish()?;
            Ok(server)
        });
        let (server, failed) = match server {
            Ok(server) => (Some(server), Ok(())),
            Err(error) => (None, Err(Error::from(error))),
        };
        for error in mended.into_iter().chain([failed]).filter_map(Result::err) {
            tracing::error!(error = crate::exit::chain(&error), "cannot restore a run-time file");
        }
        server
    }

    /// Removes what a new process may have left beside them, which has failed before it could take them over and is dead.
    pub(super) fn clear(&self) {
        if let Err(error) = Server::discard(&self.paths.control) {
            tracing::warn!(%error, "a control socket of the new process stays behind");
        }
    }

    /// Notes how long a drain may take, for those who stop this process.
    pub(super) fn set_drain_timeout(&mut self, timeout: Duration) {
        self.record.drain_timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        if let Err(error) = self.lock.describe(&self.record) {
            tracing::warn!(error = crate::exit::chain(&error), "the record in the lock stays as it was");
        }
    }

    /// Removes the control socket and the pid file, which we may as we hold the lock, unless another process has them.
    pub(super) fn remove(&self) {
        if !self.owned {
            return;
        }
        match crate::sys::fs::remove(&self.paths.control) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %self.paths.control.display(), "cannot remove the control socket");
            }
            _ => {}
        }
        if let Err(error) = daemon::remove_own(&self.paths.pid_file, self.record.pid) {
            tracing::warn!(error = crate::exit::chain(&error), "the pid file stays behind");
        }
    }
}
