//! What each signal means to a serving process: [`TABLE`], which the handlers and the manual are made from.
//!
//! All are installed by [`Signals::install`], before readiness is announced: a signal that a script sends right after
//! `--daemon` returned must not kill.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Exit;

/// What a serving process makes of one signal.
#[derive(Clone, Copy, Debug)]
pub struct Meaning {
    /// Its name.
    pub name: &'static str,
    /// What happens, in words.
    pub(crate) words: &'static str,
    /// The signal.
    kind: SignalKind,
    /// What it asks for; nothing where there is no handler here.
    wanted: Option<SignalRequest>,
}

/// Every signal whose effect is not the kernel's own, in the order in which those that come at once are heard.
pub const TABLE: [Meaning; 7] = [
    Meaning {
        name: "SIGTERM",
        words: "Drain and stop: new requests are refused, those in flight are finished until drain_timeout has \
                passed, then the upstreams are ended. A second one ends the process at once.",
        kind: SignalKind::terminate(),
        wanted: Some(SignalRequest::Stop(Received::Terminate)),
    },
    Meaning {
        name: "SIGINT",
        words: "The same; Ctrl-C on a terminal.",
        kind: SignalKind::interrupt(),
        wanted: Some(SignalRequest::Stop(Received::Interrupt)),
    },
    Meaning {
        name: "SIGHUP",
        words: "Read the configuration again, as --reload does; the result is in the log.",
        kind: SignalKind::hangup(),
        wanted: Some(SignalRequest::Reload),
    },
    Meaning {
        name: "SIGUSR1",
        words: "Rotate the log file, or open it again if it was moved, as --log-rotate does; the result is in the log.",
        kind: SignalKind::user_defined1(),
        wanted: Some(SignalRequest::Rotate),
    },
    Meaning {
        name: "SIGUSR2",
        words: "Let a new process of the executable take over, as --restart does; the result is in the log.",
        kind: SignalKind::user_defined2(),
        wanted: Some(SignalRequest::Upgrade),
    },
    // sys::at_exit has a handler for it.
    Meaning {
        name: "SIGABRT",
        words: "End at once, as every program does, but not before what the log holds has been written, within a second.",
        kind: SignalKind::from_raw(nix::libc::SIGABRT),
        wanted: None,
    },
    // Rust's runtime has it ignored before main, and sys::signal leaves that alone.
    Meaning {
        name: "SIGPIPE",
        words: "Ignored: that a peer has closed a connection is no reason to end.",
        kind: SignalKind::pipe(),
        wanted: None,
    },
];

/// The installed handlers.
#[derive(Debug)]
pub(crate) struct Signals {
    /// One for each signal of [`TABLE`] that asks for something.
    handlers: Vec<(Signal, SignalRequest)>,
    /// Whether a HUP came while nobody could act on it.
    reload: bool,
    /// Whether a USR1 did.
    rotate: bool,
}

/// What a signal asks a serving gateway to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignalRequest {
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
pub(crate) enum Received {
    /// TERM.
    Terminate,
    /// INT.
    Interrupt,
}

impl Received {
    /// The exit code when this signal cuts a drain short: 128 and the signal's number, as shells report it.
    pub(crate) const fn exit(self) -> Exit {
        match self {
            Self::Terminate => Exit::Terminated,
            Self::Interrupt => Exit::Interrupted,
        }
    }

    /// Its name without SIG.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
        }
    }
}

impl Signals {
    /// Installs the handlers; inside the runtime.
    /// Fails with what sigaction(2) answers.
    pub(crate) fn install() -> io::Result<Self> {
        let handled = TABLE.iter().filter_map(|meaning| Some((meaning.kind, meaning.wanted?)));
        let handlers =
            handled.map(|(kind, wanted)| Ok((signal(kind)?, wanted))).collect::<io::Result<_>>()?;
        Ok(Self { handlers, reload: false, rotate: false })
    }

    /// Waits for a signal that asks to stop. A HUP and a USR1 are kept for [`Self::wanted`]: while the gateway starts,
    /// its configuration may have been read already. Safe to cancel.
    pub(crate) async fn stop(&mut self) -> Received {
        loop {
            match self.received().await {
                SignalRequest::Stop(received) => return received,
                SignalRequest::Reload => self.reload = true,
                SignalRequest::Rotate => self.rotate = true,
                SignalRequest::Upgrade => tracing::warn!("not upgraded: the gateway is starting or stopping"),
            }
        }
    }

    /// Waits for a signal that a serving gateway acts on. Safe to cancel.
    pub(crate) async fn wanted(&mut self) -> SignalRequest {
        if std::mem::take(&mut self.rotate) {
            SignalRequest::Rotate
        } else if std::mem::take(&mut self.reload) {
            SignalRequest::Reload
        } else {
            self.received().await
        }
    }

    /// Waits for a signal. Safe to cancel.
    async fn received(&mut self) -> SignalRequest {
        poll_fn(|context| {
            let mut handlers = self.handlers.iter_mut();
            let come =
                handlers.find_map(|(signal, wanted)| signal.poll_recv(context).is_ready().then_some(*wanted));
            come.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
