//! Telling systemd: `sd_notify(3)`.
//!
//! One datagram a message to `$NOTIFY_SOCKET`. A message that cannot be sent is logged and otherwise ignored: systemd
//! notices by its own time-outs, and the gateway's clients must not suffer. The socket blocks for a short while
//! only, so that a manager that hangs cannot hang us.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use tokio::io::AsyncReadExt as _;

use crate::sys::scm_rights;

/// Variables that mean one process, `sd_listen_fds(3)` and `sd_watchdog_enabled(3)`; the next one is another.
pub(crate) const PERSONAL: [&str; 5] =
    ["LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// How long one message may block.
const SEND_LIMIT: Duration = Duration::from_secs(1);

/// How often the manager's status line is brought up to date.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// How long the manager may take to confirm.
const BARRIER_LIMIT: Duration = Duration::from_secs(5);

/// The way to the service manager, if there is one.
#[derive(Debug)]
pub(crate) struct Notifier {
    /// The socket and the manager's address.
    peer: Option<(UnixDatagram, SocketAddr)>,
    /// How often the manager wants a sign of life at least: `sd_watchdog_enabled(3)`.
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub(crate) fn from_environment() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self { peer: None, watchdog: None };
        };
        let peer = connect(&name.into_vec());
        if let Err(error) = &peer {
            tracing::warn!(%error, "cannot use NOTIFY_SOCKET");
        }
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        // Absent means for every reader: sd_watchdog_enabled(3).
        let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| for_us && *usec > 0).map(Duration::from_micros);
        Self { peer: peer.ok(), watchdog }
    }

    /// Whether there is a service manager to talk to.
    pub(crate) const fn is_there(&self) -> bool {
        self.peer.is_some()
    }

    /// How often [`Self::alive`] and [`Self::status`] are due; `None` without a manager. For the watchdog, half of what
    /// the manager allows, as `sd_watchdog_enabled(3)` advises.
    pub(crate) fn interval(&self) -> Option<Duration> {
        self.peer.as_ref()?;
        Some(self.watchdog.map_or(STATUS_INTERVAL, |limit| (limit / 2).min(STATUS_INTERVAL)))
    }

    /// `READY=1` with the pid and what is served.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nMAINPID={}\nSTATUS={status}", std::process::id()));
    }

    /// `RELOADING=1`, which must be followed by [`Self::ready`] whatever becomes of the reload. The time tells the manager
    /// which reload this is: `sd_notify(3)` `MONOTONIC_USEC=`.
    pub(crate) fn reloading(&self) {
        let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
        let usec =
            time.map_or(0, |time| i128::from(time.tv_sec()) * 1_000_000 + i128::from(time.tv_nsec()) / 1000);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={usec}\nSTATUS=reading the configuration"));
    }

    /// `STOPPING=1`.
    pub(crate) fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={status}"));
    }

    /// `STATUS=`, one line for `systemctl status`.
    pub(crate) fn status(&self, status: &str) {
        self.send(&format!("STATUS={status}"));
    }

    /// `WATCHDOG=1`, if the manager wants it.
    pub(crate) fn alive(&self) {
        if self.watchdog.is_some() {
            self.send("WATCHDOG=1");
        }
    }

    /// `EXTEND_TIMEOUT_USEC=`: starting or stopping is still going on and needs this long from now.
    pub(crate) fn extend(&self, time: Duration) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}", time.as_micros()));
    }

    /// Names another process as the service's main process, and waits until the manager has taken note: from then on it
    /// listens to that one, and no longer to us. `MAINPID=` must come from the old one, `sd_notify(3)`; the barrier is
    /// `sd_notify_barrier(3)`. The sign of life covers the time until the other one sends its first.
    pub(crate) async fn hand_over(&mut self, pid: i32) {
        if self.peer.is_none() {
            return;
        }
        let watchdog = if self.watchdog.is_some() { "\nWATCHDOG=1" } else { "" };
        self.send(&format!("MAINPID={pid}{watchdog}"));
        if let Err(error) = self.barrier().await {
            tracing::warn!(%error, "the service manager has not confirmed the hand-over");
        }
        self.peer = None;
    }

    /// `BARRIER=1`: the manager closes the descriptor when it has worked through everything sent before.
    async fn barrier(&self) -> io::Result<()> {
        let mut reader = tokio::net::unix::pipe::Receiver::from_owned_fd(self.send_barrier()?)?;
        let closed = async { reader.read(&mut [0]).await };
        tokio::time::timeout(BARRIER_LIMIT, closed).await??;
        Ok(())
    }

    /// Sends the barrier, and returns what reaches its end when the manager has got there.
    fn send_barrier(&self) -> io::Result<OwnedFd> {
        let (socket, address) = self.peer.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let flags = nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_NONBLOCK;
        let (reader, writer) = nix::unistd::pipe2(flags)?;
        scm_rights::send_with(&connected(socket, address)?, b"BARRIER=1", &[writer.as_fd()])?;
        Ok(reader)
    }

    /// `FDSTORE=1`: the manager keeps these descriptors beyond our end, and passes them to the next process under this
    /// name. `FDPOLL=0`, since it is not for the manager to judge by poll(2) whether they are of use.
    pub(crate) fn store(&self, name: &str, descriptors: &[BorrowedFd<'_>]) {
        let Some((socket, address)) = &self.peer else { return };
        let message = format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0");
        let sent = connected(socket, address)
            .and_then(|connected| scm_rights::send_with(connected, message.as_bytes(), descriptors));
        if let Err(error) = sent {
            tracing::warn!(%error, name, "the service manager does not keep a listener");
        }
    }

    /// `FDSTOREREMOVE=1`: the manager closes what it keeps under this name.
    pub(crate) fn forget(&self, name: &str) {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
    }

    /// [`Self::forget`], and waits until the manager has closed them, outside of the runtime.
    pub(crate) fn forget_now(&self, names: &[String]) {
        if names.is_empty() || self.peer.is_none() {
            return;
        }
        for name in names {
            self.forget(name);
        }
        let confirmed = self.send_barrier().and_then(|barrier| {
            let timeout = PollTimeout::try_from(BARRIER_LIMIT).unwrap_or(PollTimeout::MAX);
            let ready = nix::poll::poll(&mut [PollFd::new(barrier.as_fd(), PollFlags::POLLIN)], timeout)?;
            if ready > 0 { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
        });
        if let Err(error) = confirmed {
            tracing::warn!(%error, "the service manager has not confirmed that it closes old listeners");
        }
    }

    /// Sends one message.
    fn send(&self, message: &str) {
        if let Some((socket, address)) = &self.peer
            && let Err(error) = socket.send_to_addr(message.as_bytes(), address)
        {
            tracing::warn!(%error, "cannot notify the service manager");
        }
    }
}

/// A socket that is connected to the manager, for messages with descriptors.
fn connected(like: &UnixDatagram, address: &SocketAddr) -> io::Result<UnixDatagram> {
    let connected = UnixDatagram::unbound()?;
    connected.set_write_timeout(like.write_timeout()?)?;
    connected.connect_addr(address)?;
    Ok(connected)
}

/// A socket for this address: a path, or an abstract name written with `@`.
fn connect(name: &[u8]) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix(b"@") {
        #[cfg(target_os = "linux")]
        Some(name) => SocketAddr::from_abstract_name(name)?,
        #[cfg(not(target_os = "linux"))]
        Some(_) => return Err(io::ErrorKind::Unsupported.into()),
        None => SocketAddr::from_pathname(Path::new(std::ffi::OsStr::from_bytes(name)))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(SEND_LIMIT))?;
    Ok((socket, address))
}
