//! Sessions on their way to another process, as one line of JSON each.
//!
//! What moves: identifier, endpoint, client and its address, revision, log level, subscriptions, tasks. What does not: connections, which are
//! opened again when they are needed, and requests in flight, which end where they began. While both processes serve,
//! either may be asked for a session that it does not know; it then asks the other one.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use http::StatusCode;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::journal::Persisted;
use super::replay::LOGS;
use super::session::Session;
use crate::gateway::catalog::{ConnectionSource as _, RoutingHandle, route};
use crate::gateway::changes::{Announced, Endpoint};
use crate::gateway::error::Fault;
use crate::gateway::relay::{ClientMeta, Id, Raw, code, method, raw};
use crate::gateway::upstream::{Call, ClientIdentity};

/// Identifiers of servers' questions that are left to the old process, which may still ask some.
const HEADROOM: u64 = 1 << 20;
/// How long an upstream may take to accept a subscription again.
const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(10);
/// Subscriptions that servers are told of at once.
const AT_ONCE: usize = 16;
/// How long the other process may take to say whether it knows a session.
const FIND_LIMIT: Duration = Duration::from_secs(5);

/// What has changed of a session since its state was noted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// The client follows this resource.
    Subscribed(String),
    /// It does not.
    Unsubscribed(String),
    /// The client has begun a task at this upstream.
    Task(String, String),
    /// `logging/setLevel`'s parameters.
    LogLevel(Option<Raw>),
    /// A stream of answers has begun, which ends with the process.
    Stream {
        /// Its number.
        number: u64,
        /// The request that it answers.
        request: Raw,
        /// As in [`State`].
        last_asked: u64,
        /// As in [`State`].
        last_told: u64,
    },
}

impl Change {
    /// The change as one line of text.
    pub(super) fn to_text(&self) -> String {
        line(self)
    }
}

/// A session's state.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// Its identifier.
    pub(crate) id: String,
    /// The upstream whose endpoint it was opened at; `None` for the merged one.
    endpoint: Option<String>,
    /// The network address of who began it.
    #[serde(default)]
    address: Option<IpAddr>,
    /// `clientInfo`.
    info: Raw,
    /// The client's capabilities.
    capabilities: Raw,
    /// The agreed revision.
    version: String,
    /// `logging/setLevel`'s parameters.
    #[serde(default)]
    log_level: Option<Raw>,
    /// The URIs of subscribed resources.
    #[serde(default)]
    subscriptions: Vec<String>,
    /// The tasks that it has begun, with their upstreams.
    #[serde(default)]
    tasks: Vec<(String, String)>,
    /// The last identifier of a question to the client.
    #[serde(default)]
    last_asked: u64,
    /// The last number of a stream of answers.
    #[serde(default)]
    last_stream: u64,
    /// The place of the last message for its GET stream.
    #[serde(default)]
    last_told: u64,
    /// The streams that end with the process, with the requests that they answer.
    #[serde(default)]
    streams: Vec<(u64, Raw)>,
}

impl State {
    /// The state of a session.
    pub(crate) fn of(session: &Session) -> Self {
        let endpoint = match session.endpoint() {
            Endpoint::All => None,
            Endpoint::One(name) => Some(name.clone()),
        };
        let client = session.connections.client();
        Self {
            id: session.id.clone(),
            endpoint,
            address: session.address,
            info: client.meta.info.clone(),
            capabilities: client.meta.capabilities.clone(),
            version: client.version.clone(),
            log_level: session.connections.log_level(),
            subscriptions: session.subscriptions(),
            tasks: session.tasks(),
            last_asked: session.last_asked(),
            last_stream: session.logs.numbers().0,
            last_told: session.outbox.last(),
            streams: Vec::new(),
        }
    }

    /// The state of a session as it is to be found if this process dies: streams of answers then end unanswered.
    pub(crate) fn kept(session: &Session) -> Self {
        Self { streams: session.logs.numbers().1, ..Self::of(session) }
    }

    /// Reads a state with the changes that were noted after it.
    pub(crate) fn read(noted: &Persisted) -> Result<Self, serde_json::Error> {
        let mut state: Self = serde_json::from_str(&noted.state)?;
        let mut subscriptions: HashSet<String> = state.subscriptions.drain(..).collect();
        // What another version notes beside is no reason to lose the session.
        for change in noted.changes.iter().filter_map(|change| serde_json::from_str(change).ok()) {
            match change {
                Change::Subscribed(uri) => drop(subscriptions.insert(uri)),
                Change::Unsubscribed(uri) => drop(subscriptions.remove(&uri)),
                Change::Task(upstream, id) => state.tasks.push((upstream, id)),
                Change::LogLevel(level) => state.log_level = level,
                Change::Stream { number, request, last_asked, last_told } => {
                    state.last_stream = state.last_stream.max(number);
                    state.last_asked = state.last_asked.max(last_asked);
                    state.last_told = state.last_told.max(last_told);
                    state.streams.retain(|(known, _)| *known != number);
                    state.streams.push((number, request));
                }
            }
        }
        state.streams.sort_by_key(|(number, _)| *number);
        state.streams.drain(..state.streams.len().saturating_sub(LOGS));
        state.subscriptions.extend(subscriptions);
        Ok(state)
    }

    /// The state as one line of text.
    pub(crate) fn to_text(&self) -> String {
        line(self)
    }

    /// Where it was opened.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone().map_or(Endpoint::All, Endpoint::One)
    }

    /// The session again, in this process.
    pub(crate) fn revive(self, routing: Arc<RoutingHandle>, changes: Announced) -> Arc<Session> {
        let place = (routing, self.endpoint());
        let meta = ClientMeta { info: self.info, capabilities: self.capabilities };
        let client = ClientIdentity { meta, version: self.version };
        let session = Session::begin((self.id, self.address), place, client, changes);
        session.connections.set_log_level(self.log_level);
        session.continue_tasks(&self.tasks);
        session.continue_from(self.last_asked.saturating_add(HEADROOM), &self.subscriptions);
        let lost = |id: Id| {
            let message =
                "the gateway was restarted while this request was in flight; it may have been carried out";
            Fault::downstream(code::INTERNAL, StatusCode::OK, message).response(Some(id))
        };
        session.outbox.continue_from(self.last_told.saturating_add(HEADROOM));
        session.logs.continue_from(self.last_stream.saturating_add(HEADROOM), &self.streams, lost);
        if !self.subscriptions.is_empty() {
            tokio::spawn(subscribe_again(Arc::clone(&session), self.subscriptions));
        }
        session
    }
}

/// JSON on one line. What the client wrote is in it as it wrote it, perhaps over several lines; in strings JSON has no raw
/// newlines.
fn line(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("it has string keys only");
    text.replace(['\n', '\r'], " ")
}

/// Tells upstreams that do not know it what the client has subscribed to.
pub(super) async fn subscribe_again(session: Arc<Session>, uris: Vec<String>) {
    // Several at once: one that is not answered must not keep the others waiting.
    let session = &session;
    let each = stream::iter(uris).for_each_concurrent(AT_ONCE, |uri| async move {
        let method = method::SUBSCRIBE;
        let params = Some(raw(&serde_json::json!({ "uri": uri })));
        let meta = &session.connections.client().meta;
        let routed = route(&session.view(), &**session, method, params, meta).await;
        let result = match routed {
            Ok((upstream, _)) if session.has_subscribed(&upstream, &uri) => return,
            Ok((upstream, params)) => match session.follow(&upstream, method, params.as_deref()).await {
                Some(Ok(())) => return,
                Some(Err(fault)) => Err(fault),
                None => {
                    // Also for the connection that comes after this one, and for whoever ends the same subscription.
                    session.note_shared_subscription(&upstream, method, params.as_deref());
                    session.link(&upstream).await.map(|link| (link, params))
                }
            },
            Err(fault) => Err(fault),
        };
        match result {
            Ok((link, params)) => {
                let _ = link.call(Call::new(method, params, SUBSCRIBE_LIMIT)).await.outcome().await;
            }
            Err(fault) => tracing::debug!(session = session.label(), %fault, "a subscription is lost"),
        }
    });
    each.await;
}

/// What this process asks of the one before or after it.
#[derive(Debug)]
pub enum PeerRequest {
    /// Whether it knows a session.
    Find {
        /// The identifier.
        id: String,
        /// The session's state, if it is known.
        answer: oneshot::Sender<Option<String>>,
    },
    /// To forget a session that its client has ended.
    Ended {
        /// The identifier.
        id: String,
    },
    /// To take a message about a request that it has in flight.
    Deliver {
        /// The session's identifier.
        id: String,
        /// The JSON-RPC message.
        body: String,
    },
    /// To hear something of a child that is handed over.
    OfChild {
        /// What, as text.
        word: String,
    },
    /// To hear something of a request that one process has put aside, and the other has a repetition of.
    Round {
        /// What, as text.
        word: String,
    },
    /// To hear something of requests at an upstream that takes only so many at once.
    Turn {
        /// What, as text.
        word: String,
    },
    /// Nothing: tells when everything before is on its way.
    Nothing {
        /// Who is told.
        done: oneshot::Sender<()>,
    },
}

/// The way to the process before or after this one, while there is one.
#[derive(Debug, Default)]
pub(crate) struct Peer(Mutex<Option<mpsc::UnboundedSender<PeerRequest>>>);

impl Peer {
    /// Opens or closes the way.
    pub(crate) fn set(&self, way: Option<mpsc::UnboundedSender<PeerRequest>>) {
        *self.0.lock() = way;
    }

    /// Asks for something without an answer; whether there is anybody to ask.
    pub(crate) fn tell(&self, asked: PeerRequest) -> bool {
        self.way().is_some_and(|way| way.send(asked).is_ok())
    }

    /// Asks for a session.
    pub(crate) async fn find(&self, id: &str) -> Option<String> {
        let (answer, found) = oneshot::channel();
        self.way()?.send(PeerRequest::Find { id: id.to_owned(), answer }).ok()?;
        tokio::time::timeout(FIND_LIMIT, found).await.ok()?.ok()?
    }

    /// The way, if there is one.
    fn way(&self) -> Option<mpsc::UnboundedSender<PeerRequest>> {
        self.0.lock().clone()
    }
}
