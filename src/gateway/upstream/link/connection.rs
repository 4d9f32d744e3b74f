//! One live connection to an upstream, in one era, whatever it is made of.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fieldwork::Fieldwork;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio_util::task::TaskTracker;

use super::wire::{ACCEPT, Wire};
use crate::config::{Filters, Upstream as Settings, UpstreamName};
use crate::gateway::changes::is_change;
use crate::gateway::error::Fault;
use crate::gateway::relay::{
    Era, Message, Notification, SKILLS, Severity, TASKS, member, method, names, names::Strictness, raw,
};
use crate::gateway::upstream::call::activity::Activity;
use crate::gateway::upstream::call::exchange::{Exchange, Hold, Late, lost};
use crate::gateway::upstream::call::handshake::Handshake;
use crate::gateway::upstream::call::request::Call;
use crate::gateway::upstream::inbox::Inbox;
use crate::gateway::upstream::lists::cache::ListCache;
use crate::gateway::upstream::lists::kind::{KINDS, Kind};
use crate::gateway::upstream::lists::listing::Listing;
use crate::gateway::upstream::log_limit::LogRateLimit;
use crate::gateway::upstream::pins::Pins;
use crate::gateway::upstream::remarks::Remarks;

/// The first revision in which servers declare completions.
const FIRST_WITH_COMPLETIONS: &str = "2025-03-26";
/// Warnings about answers that are logged in a second; the rest is counted.
const WARNINGS: u32 = 5;

/// What of a handshake each request asks for.
#[derive(Clone, Copy, Debug)]
struct Declared {
    /// Whether the server says when a list of each kind has changed.
    tells: [bool; KINDS],
    /// Whether it has tasks.
    tasks: bool,
}

impl Declared {
    /// Reads it.
    fn of(era: Era, handshake: &Handshake) -> Self {
        let tells = |kind: Kind| {
            kind != Kind::Skills
                && member(&handshake.capabilities, kind.capability())
                    .and_then(|capability| member(capability, "listChanged"))
                    .is_some_and(|told| told.get() == "true")
        };
        let tasks = match era {
            Era::Legacy => member(&handshake.capabilities, "tasks").is_some(),
            Era::Modern => handshake.extension(TASKS).is_some(),
        };
        Self { tells: Kind::ALL.map(tells), tasks }
    }
}

/// A connection that has shaken hands.
#[derive(Fieldwork)]
#[fieldwork(get, vis = "pub(crate)")]
pub(crate) struct Link {
    /// The upstream's name.
    name: UpstreamName,
    /// The era that was agreed.
    #[field(get(copy))]
    era: Era,
    /// What the server said.
    handshake: Handshake,
    /// What of it each request asks for.
    #[field = false]
    declared: Declared,
    /// What it is made of.
    wire: Wire,
    /// What is remembered of its lists.
    #[field(get(deref = false))]
    cache: Arc<ListCache>,
    /// Where what belongs to no request goes.
    inbox: Inbox,
    /// Tracks requests in flight.
    #[field = false]
    calls: TaskTracker,
    /// What of it is shown.
    filters: Arc<Filters>,
    /// Unused for so long it may be ended.
    #[field(get(copy))]
    idle_limit: Option<Duration>,
    /// How it is used and how it does.
    #[field(get(deref = false))]
    activity: Arc<Activity>,
    /// The least severe log message that a legacy server was asked for.
    #[field = false]
    log: tokio::sync::Mutex<Option<Severity>>,
    /// How much of what is wrong with its answers may still be logged.
    #[field = false]
    log_limit: Mutex<LogRateLimit>,
    /// What is wrong with the upstream.
    remarks: Arc<Remarks>,
    /// Which of its tools were approved; nobody asks where it is not known.
    #[field = false]
    pins: Option<Arc<Pins>>,
}

impl Link {
    /// A connection of an upstream with these settings.
    pub(crate) fn new(settings: &Settings, era: Era, handshake: Handshake, wire: Wire, inbox: Inbox) -> Self {
        Self {
            name: settings.name.clone(),
            era,
            declared: Declared::of(era, &handshake),
            handshake,
            wire,
            cache: Arc::clone(inbox.cache()),
            inbox,
            calls: TaskTracker::new(),
            filters: Arc::clone(&settings.filters),
            idle_limit: settings.idle_timeout,
            activity: Arc::default(),
            log: tokio::sync::Mutex::default(),
            log_limit: Mutex::new(LogRateLimit::new(WARNINGS)),
            remarks: Arc::default(),
            pins: None,
        }
    }

    /// The same, to a server that was asked for log messages of this severity.
    pub(crate) fn logging(self, least: Option<Severity>) -> Self {
        Self { log: tokio::sync::Mutex::new(least), ..self }
    }

    /// The same, of an upstream about which that is remarked, and whose tools are held against these pins.
    pub(crate) fn remarking(self, remarks: Arc<Remarks>, pins: Arc<Pins>) -> Self {
        Self { remarks, pins: Some(pins), ..self }
    }

    /// A list as it may be shown.
    pub(crate) fn seen(&self, kind: Kind, listing: Arc<Listing>) -> Arc<Listing> {
        match &self.pins {
            Some(pins) => pins.see(kind, listing, &self.filters),
            None => listing,
        }
    }

    /// The same, after the server has said this in this era.
    pub(crate) fn greeted(self, era: Era, handshake: Handshake) -> Self {
        Self { era, declared: Declared::of(era, &handshake), handshake, ..self }
    }

    /// Whether a request is in flight.
    pub(crate) fn is_busy(&self) -> bool {
        !self.calls.is_empty()
    }

    /// The least severe log message that a legacy server was asked for.
    pub(crate) fn log_level(&self) -> Option<Severity> {
        self.log.try_lock().ok().and_then(|log| *log)
    }

    /// Waits until there is something to send over; `false` if there will be nothing.
    pub(crate) async fn begins(&self) -> bool {
        self.wire.begins().await
    }

    /// The child's process identifier, where there is a child.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.wire.pid()
    }

    /// Whether the server has this kind of list at all.
    pub(crate) fn offers(&self, kind: Kind) -> bool {
        match kind {
            Kind::Skills => self.handshake.extension(SKILLS).is_some(),
            kind => self.handshake.offers(kind.capability()),
        }
    }

    /// Whether the server can be asked this at all: a client must not use what was not declared (MCP 2025-11-25 §Lifecycle,
    /// "Operation"). Servers of the first revision had no word for completions.
    pub(crate) fn takes(&self, method: &str) -> bool {
        let handshake = &self.handshake;
        match method {
            method::SUBSCRIBE | method::UNSUBSCRIBE => handshake.lets_subscribe(),
            method::COMPLETE => {
                handshake.offers("completions") || handshake.version.as_str() < FIRST_WITH_COMPLETIONS
            }
            method::SET_LOG_LEVEL => handshake.offers("logging"),
            method::SKILLS_GET => self.offers(Kind::Skills),
            method::DIRECTORY_READ => {
                let skills = handshake.extension(SKILLS);
                skills
                    .and_then(|skills| member(skills, "directoryRead"))
                    .is_some_and(|may| may.get() == "true")
            }
            _ => true,
        }
    }

    /// Tells clients that a list has changed of which the server has not told.
    pub(crate) fn tell_found(&self, kind: Kind) {
        let method = kind.change();
        self.inbox.tell_found(Notification { method: method.into(), params: None });
    }

    /// Whether the server says when the list has changed, if it can. Of skills none does.
    pub(crate) fn tells_changes(&self, kind: Kind) -> bool {
        self.declared.tells[kind as usize]
    }

    /// Whether the server has tasks.
    pub(crate) const fn has_tasks(&self) -> bool {
        self.declared.tasks
    }

    /// Whether a change of the list would be told now: a stream is open for it. The pipes of a legacy server are one.
    pub(crate) fn is_told(&self, kind: Kind) -> bool {
        self.tells_changes(kind)
            && match (&self.wire, self.era) {
                (Wire::Stdio { connection, .. }, Era::Legacy) => !connection.flow().is_lent(),
                _ => self.cache.is_streamed(kind),
            }
    }

    /// Sends a request and returns its events. It counts as in flight until the exchange is dropped.
    pub(crate) async fn call(&self, call: Call) -> Exchange {
        let hold = Hold::new(self.calls.token(), &self.activity);
        if self.activity.is_retired() {
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
            self.cache.forget(&note.method);
        }
    }

    /// Whether it is one over HTTP without a session: whichever server answers behind the address.
    pub(crate) fn is_without_session(&self) -> bool {
        matches!(&self.wire, Wire::Http(http) if !http.requester().has_session())
    }

    /// Whether it is a session of an HTTP server, which that may lose.
    pub(crate) fn has_session(&self) -> bool {
        matches!(&self.wire, Wire::Http(http) if http.requester().has_session())
    }

    /// Sends a request that nobody need wait for when the connection is to end.
    pub(crate) async fn call_aside(&self, call: Call) -> Exchange {
        self.wire.call(&self.name, call).await
    }

    /// Asks a legacy server for log messages of this severity and above, never for fewer than before: others may want them.
    pub(crate) async fn want_log(&self, least: Severity) {
        if self.era == Era::Modern || !self.handshake.offers("logging") {
            return;
        }
        let mut asked = self.log.lock().await;
        if asked.is_none_or(|asked| least < asked) {
            let params = raw(&serde_json::json!({ "level": least.name() }));
            let call = Call::new(method::SET_LOG_LEVEL, Some(params), ACCEPT);
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
        place: &'static names::KnownMembers,
    ) -> Result<(), Fault> {
        names::check(answer, place, Strictness::Pairs).map_err(|reason| {
            let mut log_limit = self.log_limit.lock();
            if log_limit.admits(&self.name) {
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
        !self.wire.is_closed() && !self.activity.is_retired()
    }

    /// Retires the connection if nobody uses it; `false` if somebody does. A retired one sends nothing any more, but
    /// what is known of its lists remains.
    pub(crate) fn retire_unused(&self) -> bool {
        self.activity.retire();
        // A call that has begun before has taken a token; one that begins after sees that it is retired.
        let unused = self.calls.is_empty();
        if !unused {
            self.activity.unretire();
        }
        unused
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({}, {:?})", self.name, self.era)
    }
}
