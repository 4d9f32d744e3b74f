//! What each signal means to a serving process.
//!
//! | signal | meaning |
//! |---|---|
//! | TERM, INT | stop: drain, then exit with 0; the second one exits at once with 143 or 130 |
//! | HUP, USR1 | not supported by this version: logged and survived |
//! | USR2 | upgrade: a new process takes this one's place |
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
}

/// A signal that asks for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// TERM.
    Terminate,
    /// INT.
    Interrupt,
}

/// What a serving process is asked by signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// To drain and end.
    Stop(Received),
    /// To let a new process take its place: USR2.
    Upgrade,
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
        })
    }

    /// Waits for a signal that asks for something. Safe to cancel.
    pub async fn next(&mut self) -> Event {
        loop {
            let unsupported = tokio::select! {
                _ = self.terminate.recv() => return Event::Stop(Received::Terminate),
                _ = self.interrupt.recv() => return Event::Stop(Received::Interrupt),
                _ = self.user2.recv() => return Event::Upgrade,
                _ = self.hangup.recv() => "HUP",
                _ = self.user1.recv() => "USR1",
            };
            tracing::warn!(
                signal = unsupported,
                "this version cannot reload or rotate by signal; use --restart, or --stop and --daemon"
            );
        }
    }

    /// Waits for a signal that asks to stop, while nothing else can be asked for. Safe to cancel.
    pub async fn stop(&mut self) -> Received {
        loop {
            match self.next().await {
                Event::Stop(received) => return received,
                Event::Upgrade => tracing::warn!("not upgraded: the gateway is starting or stopping"),
            }
        }
    }
}
