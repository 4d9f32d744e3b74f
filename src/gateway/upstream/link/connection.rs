//! One live connection to an upstream, in one era, whatever it is made of.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::config::{Filters, UpstreamName};
use crate::gateway::changes::is_change;
use crate::gateway::error::Fault;
use crate::gateway::relay::{Era, Message, Notification, Severity, member, names, names::Strictness, raw};
use crate::gateway::upstream::builtin::Builtin;
use crate::gateway::upstream::call::activity::Pulse;
use crate::gateway::upstream::call::exchange::{Exchange, Hold, Late, exchange, lost};
use crate::gateway::upstream::call::handshake::Handshake;
use crate::gateway::upstream::call::request::Call;
use crate::gateway::upstream::http::connection::Http;
use crate::gateway::upstream::inbox::Inbox;
use crate::gateway::upstream::lists::cache::ListCache;
use crate::gateway::upstream::log_limit::Allowance;
use crate::gateway::upstream::stdio::child::Process;
use crate::gateway::upstream::stdio::connection::Stdio;

/// How long the upstream may take to accept a message that is not a request.
const ACCEPT: Duration = Duration::from_secs(10);

/// Complaints about answers that are logged in a second; the rest is counted.
pub(crate) const COMPLAINTS: u32 = 5;

/// A connection that has shaken hands.
pub(crate) struct Link {
    /// The upstream's name.
    pub(crate) name: UpstreamName,
    /// The era that was agreed.
    pub(crate) era: Era,
    /// What the server said.
    pub(crate) handshake: Handshake,
    /// What it is made of.
    pub(crate) wire: Wire,
    /// What routing has learned of its lists.
    pub(crate) known: Arc<ListCache>,
    /// Where what belongs to no request goes.
    pub(crate) inbox: Inbox,
    /// Tracks requests in flight.
    pub(crate) calls: TaskTracker,
    /// What of it is shown.
    pub(crate) shows: Arc<Filters>,
    /// Unused for so long it may be ended.
    pub(crate) idle_limit: Option<Duration>,
    /// How it is used and how it does.
    pub(crate) pulse: Arc<Pulse>,
    /// The least severe log message that a legacy server was asked for.
    pub(crate) log: tokio::sync::Mutex<Option<Severity>>,
    /// How much of what is wrong with its answers may still be logged.
    pub(crate) complaints: parking_lot::Mutex<Allowance>,
}

/// What a connection is made of.
pub(crate) enum Wire {
    /// A child process.
    Stdio {
        /// The pipes.
        connection: Arc<Stdio>,
        /// The process, until it is ended.
        process: parking_lot::Mutex<Option<Process>>,
    },
    /// A Streamable HTTP endpoint.
    Http(Arc<Http>),
    /// The gateway itself.
    Builtin(Arc<Builtin>),
}

impl Wire {
    /// Sends a request and returns its events.
    pub(crate) async fn call(&self, name: &UpstreamName, mut call: Call) -> Exchange {
        let deadline = Instant::now() + call.limit;
        let late = Late { name: name.clone(), limit: call.limit };
        match self {
            Self::Stdio { connection, .. } => {
                let (id, cancel) = connection.register(&mut call);
                let (events, exchange) = exchange(cancel, deadline, late);
                if tokio::time::timeout_at(deadline, connection.send(id, call, events)).await.is_err() {
                    tracing::warn!(upstream = %name, "the upstream does not read its input");
                }
                exchange
            }
            Self::Http(http) => http.call(call, deadline, late),
            Self::Builtin(builtin) => builtin.call(&call, deadline, late),
        }
    }

    /// Sends a notification, or a response to a request of the server.
    pub(crate) async fn write(&self, name: &UpstreamName, message: &Message) -> Result<(), Fault> {
        let written = async {
            match self {
                Self::Stdio { connection, .. } => connection.write(message).await,
                Self::Http(http) => http.post(message).await,
                Self::Builtin(_) => Ok(()),
            }
        };
        let late = |_| Fault::upstream(name, "does not read what it is sent");
        tokio::time::timeout(ACCEPT, written).await.map_err(late)?
    }

    /// Whether the connection is gone.
    fn is_closed(&self) -> bool {
        match self {
            Self::Stdio { connection, .. } => connection.is_closed(),
            Self::Http(http) => http.is_closed(),
            Self::Builtin(_) => false,
        }
    }

    /// Becomes true when the connection is gone.
    pub(crate) fn closed(&self) -> watch::Receiver<bool> {
        /// What never closes.
        static OPEN: OnceLock<watch::Sender<bool>> = OnceLock::new();
        match self {
            Self::Stdio { connection, .. } => connection.closed(),
            Self::Http(http) => http.closed(),
            Self::Builtin(_) => OPEN.get_or_init(|| watch::Sender::new(false)).subscribe(),
        }
    }

    /// Ends the connection and what it is made of; returns when that is gone, with how it ended.
    pub(crate) async fn end(&self) -> String {
        match self {
            Self::Stdio { connection, process } => {
                connection.close();
                // Nobody takes the process away from a child that is on its way before another one watches over it.
                connection.settled().await;
                let process = process.lock().take();
                match process {
                    Some(process) => process.end().await,
                    None => "has been ended".to_owned(),
                }
            }
            Self::Http(http) => {
                http.end().await;
                "was closed".to_owned()
            }
            Self::Builtin(_) => "was closed".to_owned(),
        }
    }
}

impl Link {
    /// Sends a request and returns its events. It counts as in flight until the exchange is dropped.
    pub(crate) async fn call(&self, call: Call) -> Exchange {
        let hold = Hold::new(self.calls.token(), &self.pulse);
        if self.pulse.is_retired() {
            let late = Late { name: self.name.clone(), limit: call.limit };
            return lost(Fault::upstream(&self.name, "was ended while it was idle").unprocessed(), late);
        }
        self.wire.call(&self.name, call).await.held(hold)
    }

    /// Takes note of what the server tells beside an answer: a change is one for all who share the connection.
    pub(crate) fn heard(&self, note: &Notification) {
        if self.inbox.outlet().is_shared() && is_change(&note.method) {
            self.inbox.tell(note.clone());
        } else {
            self.known.forget(&note.method);
        }
    }

    /// Whether it is one over HTTP without a session: whichever server answers behind the address.
    pub(crate) fn is_without_session(&self) -> bool {
        matches!(&self.wire, Wire::Http(http) if !http.has_session())
    }

    /// Sends a request that nobody need wait for when the connection is to end.
    pub(crate) async fn call_aside(&self, call: Call) -> Exchange {
        self.wire.call(&self.name, call).await
    }

    /// Asks a legacy server for log messages of this severity and above. It is never asked for fewer than before: others
    /// may want them.
    pub(crate) async fn want_log(&self, least: Severity) {
        if self.era == Era::Modern || member(&self.handshake.capabilities, "logging").is_none() {
            return;
        }
        let mut asked = self.log.lock().await;
        if asked.is_none_or(|asked| least < asked) {
            let params = raw(&serde_json::json!({ "level": least.name() }));
            let call = Call::new("logging/setLevel", Some(params), ACCEPT);
            match self.call_aside(call).await.outcome().await {
                Ok(_) => *asked = Some(least),
                Err(fault) => tracing::debug!(upstream = %self.name, %fault, "the log level cannot be told"),
            }
        }
    }

    /// Refuses what the server has answered to this method if another reader may read it otherwise than the gateway.
    pub(crate) fn check_names(
        &self,
        method: &str,
        answer: &RawValue,
        place: &'static names::Place,
    ) -> Result<(), Fault> {
        names::check(answer, place, Strictness::Pairs).map_err(|reason| {
            let mut complaints = self.complaints.lock();
            if complaints.admits(&self.name) {
                tracing::warn!(upstream = %self.name, method, %reason, "an answer that can be read in two ways is refused");
            }
            Fault::upstream(&self.name, format_args!("sent an answer that can be read in two ways: {reason}"))
        })
    }

    /// Waits until no request is in flight.
    pub(crate) async fn idle(&self) {
        self.calls.close();
        self.calls.wait().await;
    }

    /// Sends a notification, or a response to a request of the server.
    pub(crate) async fn write(&self, message: &Message) -> Result<(), Fault> {
        self.wire.write(&self.name, message).await
    }

    /// Whether the connection still is.
    pub(crate) fn is_open(&self) -> bool {
        !self.wire.is_closed() && !self.pulse.is_retired()
    }

    /// Retires the connection if nobody uses it; `false` if somebody does. A retired one sends nothing any more, but
    /// what is known of its lists remains.
    pub(crate) fn retire_unused(&self) -> bool {
        self.pulse.retire();
        // Whoever has begun a call before has taken a token; whoever begins one after sees that it is retired.
        let unused = self.calls.is_empty();
        if !unused {
            self.pulse.unretire();
        }
        unused
    }

    /// Gives the connection the process that another one has left to this one.
    pub(crate) fn set_process(&self, adopted: Process) {
        if let Wire::Stdio { process, .. } = &self.wire {
            *process.lock() = Some(adopted);
        }
    }

    /// The child's process identifier, where there is a child.
    pub(crate) fn pid(&self) -> Option<u32> {
        match &self.wire {
            Wire::Stdio { process, .. } => {
                let process = process.lock();
                process.as_ref().map(Process::pid)
            }
            Wire::Http(_) | Wire::Builtin(_) => None,
        }
    }
}

impl Drop for Link {
    /// A link that nobody ended takes its process, or its stream, with it all the same.
    fn drop(&mut self) {
        match &self.wire {
            Wire::Stdio { connection, process } => {
                connection.close();
                process.lock().take();
            }
            Wire::Http(http) => http.abandon(),
            Wire::Builtin(_) => {}
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({}, {:?})", self.name, self.era)
    }
}
