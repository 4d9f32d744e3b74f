//! What each signal means to a serving process.
//!
//! | signal | meaning |
//! |---|---|
//! | TERM, INT | stop: drain, then exit with 0; the second one exits at once with 143 or 130 |
//! | HUP | read the configuration again; the result is logged |
//! | USR2 | upgrade: a new process takes this one's place |
//! | USR1 | rotate the log file, or reopen it if it was moved |
//! | PIPE | ignored: a closed connection is an error value |
//!
//! All are installed by [`Signals::install`], before readiness is announced: a signal that a script sends right after
//! `--daemon` returned must not kill.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Exit;

/// The installed handlers.
#[derive(Debug)]
pub struct Signals {
    /// TERM.
    terminate: Signal,
    /// INT, such as from Ctrl-C.
    interrupt: Signal,
    /// HUP.
    hangup: Signal,
    /// USR1.
    user1: Signal,
    /// USR2.
    user2: Signal,
    /// Whether a HUP came while nobody could act on it.
    reload: bool,
    /// Whether a USR1 did.
    rotate: bool,
}

/// What a signal asks a serving gateway to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Drain and end.
    Stop(Received),
    /// Read the configuration again.
    Reload,
    /// Rotate the log file, or reopen it if it was moved.
    Rotate,
    /// Let a new process take over.
    Upgrade,
}

/// A signal that asks for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// TERM.
    Terminate,
    /// INT.
    Interrupt,
}

impl Received {
    /// The exit code when this signal cuts a drain short: 128 and the signal's number, as shells report it.
    #[must_use]
    pub const fn exit(self) -> Exit {
        match self {
            Self::Terminate => Exit::Terminated,
            Self::Interrupt => Exit::Interrupted,
        }
    }

    /// Its name without SIG.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
        }
    }
}

impl Signals {
    /// Installs the handlers; inside the runtime.
    ///
    /// # Errors
    /// What sigaction(2) answers.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            reload: false,
            rotate: false,
        })
    }

    /// Waits for a signal that asks to stop. A HUP and a USR1 are kept for [`Self::wanted`]: while the gateway starts,
    /// its configuration may have been read already. Safe to cancel.
    pub async fn stop(&mut self) -> Received {
        loop {
            match self.received().await {
                Wanted::Stop(received) => return received,
                Wanted::Reload => self.reload = true,
                Wanted::Rotate => self.rotate = true,
                Wanted::Upgrade => tracing::warn!("not upgraded: the gateway is starting or stopping"),
            }
        }
    }

    /// Waits for a signal that a serving gateway acts on. Safe to cancel.
    pub async fn wanted(&mut self) -> Wanted {
        if std::mem::take(&mut self.rotate) {
            Wanted::Rotate
        } else if std::mem::take(&mut self.reload) {
            Wanted::Reload
        } else {
            self.received().await
        }
    }

    /// Waits for a signal. Safe to cancel.
    async fn received(&mut self) -> Wanted {
        tokio::select! {
            _ = self.terminate.recv() => Wanted::Stop(Received::Terminate),
            _ = self.interrupt.recv() => Wanted::Stop(Received::Interrupt),
            _ = self.hangup.recv() => Wanted::Reload,
            _ = self.user1.recv() => Wanted::Rotate,
            _ = self.user2.recv() => Wanted::Upgrade,
        }
    }
}
