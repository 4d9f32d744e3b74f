//! What a connection is made of: the one place that knows all kinds of transport.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::UpstreamName;
use crate::gateway::error::Fault;
use crate::gateway::relay::Message;
use crate::gateway::upstream::builtin::Builtin;
use crate::gateway::upstream::call::exchange::{Exchange, Late, exchange};
use crate::gateway::upstream::call::request::Call;
use crate::gateway::upstream::http::connection::Http;
use crate::gateway::upstream::stdio::child::Process;
use crate::gateway::upstream::stdio::connection::Stdio;

/// How long the upstream may take to accept a message that is not a request.
pub(crate) const ACCEPT: Duration = Duration::from_secs(10);

/// What a connection is made of.
pub(crate) enum Wire {
    /// A child process.
    Stdio {
        /// The pipes.
        connection: Arc<Stdio>,
        /// The process, until it is ended.
        process: Mutex<Option<Process>>,
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
                if timeout_at(deadline, connection.send(id, call, events)).await.is_err() {
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
        timeout(ACCEPT, written).await.map_err(late)?
    }

    /// Whether the connection is gone.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Stdio { connection, .. } => connection.is_closed(),
            Self::Http(http) => http.requester().is_closed(),
            Self::Builtin(_) => false,
        }
    }

    /// Becomes true when the connection is gone.
    pub(crate) fn closed(&self) -> watch::Receiver<bool> {
        /// What never closes.
        static OPEN: OnceLock<watch::Sender<bool>> = OnceLock::new();
        match self {
            Self::Stdio { connection, .. } => connection.closed(),
            Self::Http(http) => http.requester().closed(),
            Self::Builtin(_) => OPEN.get_or_init(|| watch::Sender::new(false)).subscribe(),
        }
    }

    /// Ends the connection and what it is made of; returns when that is gone, with how it ended.
    pub(crate) async fn end(&self) -> String {
        match self {
            Self::Stdio { connection, process } => {
                connection.close();
                // Nobody takes the process away from a child that is on its way before another one watches over it.
                connection.flow().settled(&**connection).await;
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

    /// Waits until there is something to send over; `false` if there will be nothing.
    pub(crate) async fn begins(&self) -> bool {
        match self {
            Self::Stdio { connection, .. } => connection.flow().begins(&**connection).await,
            Self::Http(_) | Self::Builtin(_) => false,
        }
    }

    /// Gives the connection the process that another one has left to this one.
    pub(crate) fn set_process(&self, adopted: Process) {
        if let Self::Stdio { process, .. } = self {
            *process.lock() = Some(adopted);
        }
    }

    /// The child's process identifier, where there is a child.
    pub(crate) fn pid(&self) -> Option<u32> {
        match self {
            Self::Stdio { process, .. } => process.lock().as_ref().map(Process::pid),
            Self::Http(_) | Self::Builtin(_) => None,
        }
    }
}

impl Drop for Wire {
    /// One that nobody ended takes its process, or its stream, with it all the same.
    fn drop(&mut self) {
        match self {
            Self::Stdio { connection, process } => {
                connection.close();
                process.lock().take();
            }
            Self::Http(http) => http.abandon(),
            Self::Builtin(_) => {}
        }
    }
}
