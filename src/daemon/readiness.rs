//! Readiness for supervisors that wait at a pipe: `--ready-fd`, what s6 calls `notification-fd` and dinit
//! `ready-notification = pipefd:`.
//!
//! One newline says that the gateway serves; the end of the file without it says that it does not. So no other process
//! may hold the descriptor: it is close-on-exec from the start, closed by the launcher of `--daemon` at once, and by the
//! gateway with the newline.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout};

/// Where somebody waits.
#[derive(Debug)]
pub(crate) struct Waiting(File);

impl Waiting {
    /// At this descriptor.
    pub(super) fn new(descriptor: OwnedFd) -> Self {
        Self(descriptor.into())
    }

    /// Says that the gateway serves, and closes the descriptor. A reader that is gone or does not read is not waited for.
    pub(crate) fn serves(mut self) {
        if let Err(error) = self.write() {
            tracing::warn!(%error, "cannot tell the supervisor of --ready-fd that the gateway serves");
        }
    }

    /// Writes the newline.
    fn write(&mut self) -> io::Result<()> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
        if nix::poll::poll(&mut fds, PollTimeout::ZERO)? == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.write_all(b"\n")
    }
}
