//! Opening a connection: starting what it is made of and agreeing on an era and a revision.
//!
//! A server's era is a property of the server (MCP 2026-07-28 §Versioning): on stdio `server/discover` is asked first
//! and any error but a modern one means legacy; on HTTP the same request's answer decides. Silence means nothing: the server
//! may be legacy, or still be starting.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fieldwork::Fieldwork;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::connection::Link;
use super::known_era::{KnownEra, is_of_endpoint, is_of_era};
use super::wire::Wire;
use crate::config::{HttpTransport, Secret, Start, Transport, Upstream as Settings, UpstreamName};
use crate::gateway::error::{Error, Fault};
use crate::gateway::person::Person;
use crate::gateway::relay::{
    ClientMeta, Era, LATEST_LEGACY, LEGACY_VERSIONS, MODERN, Message, Notification, Outcome, Raw, code,
    has_code, member, member_str, method, names, names::Strictness, raw,
};
use crate::gateway::upstream::builtin::Builtin;
use crate::gateway::upstream::call::handshake::{Greeting, Handshake};
use crate::gateway::upstream::call::request::{Call, Role};
use crate::gateway::upstream::http::balancer::Balancer;
use crate::gateway::upstream::http::client::Authorities;
use crate::gateway::upstream::http::connection::Http;
use crate::gateway::upstream::http::credential::Credential;
use crate::gateway::upstream::http::event_channel::EventChannel;
use crate::gateway::upstream::http::pool::Pool;
use crate::gateway::upstream::http::requester::Destination;
use crate::gateway::upstream::inbox::{Inbox, Outlet};
use crate::gateway::upstream::pins::Pins;
use crate::gateway::upstream::remarks::Remarks;
use crate::gateway::upstream::stdio::child::{self, SpawnSpec};
use crate::gateway::upstream::stdio::connection::Stdio;
use crate::gateway::upstream::stdio::pipes::Rest;
use crate::gateway::upstream::stdio::reaper::Reaper;
use crate::gateway::upstream::stdio::stderr::Sink;
use crate::oauth::Web;

/// How long a stdio server may be silent on `server/discover` before it is taken for a legacy one.
const SILENCE: Duration = Duration::from_secs(8);
/// The longest time that a server has to answer the question about its era, however long it may take to start.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Characters of a server's own words that operators are shown.
const SHOWN: usize = 200;
/// How long it is waited for the other one of two answers that a server gives at last.
const AFTER: Duration = Duration::from_secs(2);

/// After so long without a call the connections end that one client has alone.
const UNUSED: Duration = Duration::from_secs(300);

/// Who the gateway says it is, towards a legacy upstream.
#[derive(Clone, Debug)]
pub(crate) struct ClientIdentity {
    /// Name and capabilities.
    pub(crate) meta: ClientMeta,
    /// The revision to ask for.
    pub(crate) version: String,
}

/// Where what upstreams leave behind is kept.
#[derive(Clone, Debug)]
pub(crate) struct Directories {
    /// Files which children's standard error goes to.
    pub(crate) stderr: PathBuf,
    /// What outlives the process.
    pub(crate) state: PathBuf,
}

/// Opens connections to one upstream.
#[derive(Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(crate)")]
pub(crate) struct Connector {
    /// What the configuration says.
    #[field(get)]
    settings: Settings,
    /// For HTTP upstreams.
    pool: Pool,
    /// Whom TLS trusts, if not the system's authorities.
    trusted: Option<Authorities>,
    /// The largest message, in bytes.
    #[field(get)]
    limit: usize,
    /// Who ends and reaps children.
    #[field(get)]
    reaper: Reaper,
    /// The built-in upstream, where it is this one.
    builtin: Option<Arc<Builtin>>,
    /// The endpoints of an HTTP upstream.
    #[field(get(deref = false))]
    balancer: Arc<Balancer>,
    /// The token that it is shown, if it wants one of an authorization server.
    #[field(get(deref = false))]
    credential: Option<Arc<Credential>>,
    /// Whether it was found to speak HTTP+SSE.
    found_events: AtomicBool,
    /// Whether it was found not to speak the legacy era.
    known_era: KnownEra,
    /// Where the standard error of children goes.
    #[field(get(deref = false))]
    stderr: Arc<Sink>,
    /// What is wrong with it though it works.
    #[field(get)]
    remarks: Arc<Remarks>,
    /// Which of its tools were approved.
    #[field(get)]
    pins: Arc<Pins>,
}

/// `initialize`'s parameters; the client's own members pass as it wrote them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Hello<'a> {
    /// The revision to agree on.
    protocol_version: &'a str,
    /// What the client can do.
    capabilities: &'a RawValue,
    /// Who it is.
    client_info: &'a RawValue,
}

/// What was agreed with a server.
enum Agreed {
    /// It is modern.
    Modern(Handshake),
    /// It is legacy.
    Legacy(Handshake),
    /// The same, over a connection that was opened for it.
    Elsewhere(Box<Link>),
}

/// Why a legacy handshake has failed.
enum Refusal {
    /// The server says that it speaks the modern revision.
    Modern(Fault),
    /// Something else.
    Other(Fault),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Other(fault)
    }
}

impl From<Refusal> for Fault {
    fn from((Refusal::Modern(fault) | Refusal::Other(fault)): Refusal) -> Self {
        fault
    }
}

/// What came of asking for the modern era.
enum Discovery {
    /// The server is modern.
    Modern(Handshake),
    /// It is not. The newest revision of those that it names, where it names some.
    Legacy(Option<&'static str>),
}

impl Default for ClientIdentity {
    fn default() -> Self {
        Self { meta: ClientMeta::default(), version: LATEST_LEGACY.to_owned() }
    }
}

impl ClientIdentity {
    /// The parameters of `initialize`.
    pub(crate) fn hello(&self) -> Raw {
        raw(&Hello {
            protocol_version: &self.version,
            capabilities: &self.meta.capabilities,
            client_info: &self.meta.info,
        })
    }
}

impl Connector {
    /// Opens connections of an upstream with these settings and pins. `pool` is the shared one.
    pub(crate) fn new(
        (settings, pins): (&Settings, Arc<Pins>),
        pool: &Pool,
        limit: usize,
        (reaper, Directories { stderr, state }): (&Reaper, &Directories),
        builtin: Option<Arc<Builtin>>,
    ) -> Result<Self, Error> {
        let balancer = match &settings.transport {
            Transport::Http { urls, .. } => Balancer::new(urls),
            Transport::Stdio { .. } => Arc::default(),
        };
        let trusted = authorities(settings).map(Authorities::read).transpose()?;
        let pool = trusted.as_ref().map(Authorities::pool).transpose()?.unwrap_or_else(|| pool.clone());
        let stderr = Arc::new(Sink::new(settings, stderr.to_owned()));
        let credential = credential(settings, &pool, state);
        let (settings, reaper) = (settings.clone(), reaper.clone());
        let (found_events, known_era, remarks) =
            (AtomicBool::new(false), KnownEra::default(), Arc::default());
        Ok(Self {
            settings,
            pool,
            trusted,
            limit,
            reaper,
            builtin,
            balancer,
            credential,
            found_events,
            known_era,
            stderr,
            remarks,
            pins,
        })
    }

    /// The same for one client alone, of whom the upstream is shown this. No connection is shared with others, and none is kept
    /// that nobody uses.
    pub(crate) fn of_person(&self, person: &Person) -> Self {
        let mut settings = self.settings.clone();
        settings.start = Start::Lazy;
        settings.idle_timeout = settings.idle_timeout.or(Some(UNUSED));
        if let Transport::Http { headers, client_headers, .. } = &mut settings.transport {
            let own = std::mem::take(client_headers);
            let own = own.into_iter().filter_map(|(name, header)| Some((name, person.header(&header)?)));
            headers.extend(own);
        }
        Self {
            settings,
            pool: self.pool.apart(),
            trusted: self.trusted.clone(),
            limit: self.limit,
            reaper: self.reaper.clone(),
            builtin: None,
            balancer: Arc::clone(&self.balancer),
            credential: self
                .credential
                .as_ref()
                .map(|it| it.of_other_client().unwrap_or_else(|| Arc::clone(it))),
            found_events: AtomicBool::new(false),
            known_era: KnownEra::default(),
            stderr: Arc::clone(&self.stderr),
            remarks: Arc::clone(&self.remarks),
            pins: Arc::clone(&self.pins),
        }
    }

    /// Whether connections with these settings would be the same: also the certificates that are trusted, which may have
    /// been replaced in their file. What other files hold (`${file:…}`, `${credential:…}`) is part of the settings. Where
    /// standard error goes is not ([`Sink::set`]), nor whether tools are pinned ([`Pins::set`]).
    pub(crate) fn is_for(&self, settings: &Settings) -> bool {
        let same = |file| Authorities::read(file).is_ok_and(|now| Some(&now) == self.trusted.as_ref());
        let Settings { stderr, pin, .. } = self.settings;
        let settings = &Settings { stderr, pin, ..settings.clone() };
        self.settings == *settings && authorities(settings).is_none_or(same)
    }

    /// Whether it leads to the built-in upstream.
    pub(crate) const fn is_builtin(&self) -> bool {
        self.builtin.is_some()
    }

    /// The upstream's name.
    pub(crate) const fn name(&self) -> &UpstreamName {
        &self.settings.name
    }

    /// Opens the shared connection in the server's own era.
    pub(crate) async fn open_native(&self, outlet: Outlet) -> Result<Link, Fault> {
        self.known_era.forget();
        self.within(Box::pin(self.negotiate(None, Role::Shared, outlet))).await
    }

    /// Opens a legacy connection.
    pub(crate) async fn open_legacy(
        &self,
        client: &ClientIdentity,
        role: Role,
        outlet: Outlet,
    ) -> Result<Link, Fault> {
        self.within(Box::pin(self.negotiate(Some(client), role, outlet))).await
    }

    /// Opens a legacy connection beside the native one. A modern server that has refused that is not asked again by each client.
    pub(crate) async fn open_legacy_beside(
        &self,
        native: &Link,
        client: &ClientIdentity,
        (role, outlet): (Role, Outlet),
    ) -> Result<Link, Fault> {
        match self.known_era.refusal().filter(|_| native.era() == Era::Modern) {
            Some(fault) => Err(fault),
            None => self.open_legacy(client, role, outlet).await,
        }
    }

    /// Holds opening to the start time-out.
    async fn within(&self, open: impl Future<Output = Result<Link, Fault>>) -> Result<Link, Fault> {
        let limit = self.settings.start_timeout;
        timeout(limit, open).await.unwrap_or_else(|_| {
            Err(Fault::upstream(self.name(), format_args!("was not ready within {} s", limit.as_secs())))
        })
    }

    /// Starts, then shakes hands; without a client the era is the server's choice.
    async fn negotiate(
        &self,
        client: Option<&ClientIdentity>,
        role: Role,
        outlet: Outlet,
    ) -> Result<Link, Fault> {
        if let Some(builtin) = &self.builtin {
            let wire = Wire::Builtin(Arc::clone(builtin));
            return Ok(self.link(Era::Modern, Builtin::handshake(), wire, self.inbox(outlet)));
        }
        if self.speaks_events() {
            let identity = client.cloned().unwrap_or_default();
            match Box::pin(self.begin_events(&identity, role, outlet.clone())).await {
                Err(fault) if fault.refused.is_some_and(is_of_endpoint) && !self.is_fixed() => {
                    self.found_events.store(false, Ordering::Relaxed);
                }
                opened => return opened,
            }
        }
        if let Some(client) = client {
            return Ok(self.begin_legacy(client, role, outlet).await?);
        }
        let inbox = self.inbox(outlet.clone());
        let wire = self.wire(Era::Modern, role, inbox.clone())?;
        // The link is made before the question, so that giving up on it ends the process.
        let link = self.link(Era::Modern, Handshake::unknown(), wire, inbox);
        match self.agree(&link, role, outlet).await? {
            Agreed::Modern(handshake) => Ok(link.greeted(Era::Modern, handshake)),
            Agreed::Legacy(handshake) => Ok(link.greeted(Era::Legacy, handshake)),
            Agreed::Elsewhere(link) => Ok(*link),
        }
    }

    /// Agrees with a server on an era. One that is silent for long may be one that takes long to start: then it is asked for
    /// a legacy handshake, too, and whatever it answers counts.
    async fn agree(&self, link: &Link, role: Role, outlet: Outlet) -> Result<Agreed, Fault> {
        let limit = self.settings.start_timeout.min(LONGEST);
        let refusal = {
            let mut asking = pin!(self.discover(link.wire(), limit));
            let shaking = |version: Option<&'static str>| self.shake(link, (role, outlet), version);
            let agreed = match timeout(SILENCE.min(limit / 2), &mut asking).await {
                Ok(said) => match said? {
                    Discovery::Modern(handshake) => return Ok(Agreed::Modern(handshake)),
                    Discovery::Legacy(version) => shaking(version).await,
                },
                Err(_) => late(asking, pin!(shaking(None))).await,
            };
            match agreed {
                Ok(agreed) => return Ok(agreed),
                Err(refusal) => refusal,
            }
        };
        // A server that refuses the handshake because it is modern reads by now what it is asked.
        match refusal {
            Refusal::Modern(fault) => match self.discover(link.wire(), limit).await? {
                Discovery::Modern(handshake) => Ok(Agreed::Modern(handshake)),
                Discovery::Legacy(_) => Err(fault),
            },
            Refusal::Other(fault) => Err(fault),
        }
    }

    /// Shakes hands in the legacy era with a server of which the era is not known: over the same pipes, or in a session. One
    /// that has named revisions is asked for one of them.
    async fn shake(
        &self,
        link: &Link,
        (role, outlet): (Role, Outlet),
        version: Option<&'static str>,
    ) -> Result<Agreed, Refusal> {
        let version = version.unwrap_or(LATEST_LEGACY).to_owned();
        let client = ClientIdentity { version, ..ClientIdentity::default() };
        if matches!(link.wire(), Wire::Stdio { .. }) && link.is_open() {
            return self.initialize(link, &client).await.map(Agreed::Legacy);
        }
        let link = self.begin_legacy(&client, role, outlet).await?;
        Ok(Agreed::Elsewhere(Box::new(link)))
    }

    /// How messages go over HTTP, as the configuration says.
    const fn configured(&self) -> Option<HttpTransport> {
        match &self.settings.transport {
            Transport::Http { kind, .. } => Some(*kind),
            Transport::Stdio { .. } => None,
        }
    }

    /// Whether the configuration leaves no choice.
    fn is_fixed(&self) -> bool {
        self.configured() != Some(HttpTransport::Auto)
    }

    /// Whether connections begin with HTTP+SSE.
    fn speaks_events(&self) -> bool {
        match self.configured() {
            Some(HttpTransport::Sse) => true,
            Some(HttpTransport::Auto) => self.found_events.load(Ordering::Relaxed),
            Some(HttpTransport::StreamableHttp) | None => false,
        }
    }

    /// Opens an event stream of HTTP+SSE and shakes hands over it, at one endpoint after the other until one can be reached.
    async fn begin_events(&self, client: &ClientIdentity, role: Role, outlet: Outlet) -> Result<Link, Fault> {
        let Transport::Http { headers, .. } = &self.settings.transport else {
            return Err(Fault::upstream(self.name(), "is not reached over HTTP"));
        };
        let mut left = self.balancer.len().max(1);
        loop {
            left -= 1;
            let inbox = self.inbox(outlet.clone());
            match EventChannel::open(&self.destination(headers), inbox.clone(), role).await {
                Err(fault) if fault.unprocessed && left > 0 => {}
                opened => {
                    let wire = Wire::Events(opened?);
                    let link = self.link(Era::Legacy, Handshake::unknown(), wire, inbox);
                    let handshake = self.initialize(&link, client).await?;
                    return Ok(link.greeted(Era::Legacy, handshake));
                }
            }
        }
    }

    /// Where HTTP goes.
    fn destination<'a>(&'a self, headers: &'a BTreeMap<String, Secret>) -> Destination<'a> {
        Destination {
            name: self.name(),
            pool: &self.pool,
            balancer: &self.balancer,
            headers,
            credential: self.credential(),
            limit: self.limit,
        }
    }

    /// Starts and shakes hands in the legacy era. An HTTP endpoint that refuses may be one of HTTP+SSE.
    async fn begin_legacy(
        &self,
        client: &ClientIdentity,
        role: Role,
        outlet: Outlet,
    ) -> Result<Link, Refusal> {
        match self.begin_streamable(client, role, outlet.clone()).await {
            Err(Refusal::Other(fault)) if fault.refused.is_some_and(is_of_endpoint) => {
                let opened = if self.is_fixed() {
                    None
                } else {
                    Box::pin(self.begin_events(client, role, outlet)).await.ok()
                };
                let Some(link) = opened else {
                    self.known_era.refused(&fault);
                    return Err(Refusal::Other(fault));
                };
                if !self.found_events.swap(true, Ordering::Relaxed) {
                    tracing::info!(
                        upstream = %self.name(),
                        "the server speaks HTTP+SSE, which was replaced in 2025; `transport = \"sse\"` saves the search"
                    );
                }
                Ok(link)
            }
            opened => opened,
        }
    }

    /// The same over pipes or Streamable HTTP, at one endpoint after the other until one can be reached.
    async fn begin_streamable(
        &self,
        client: &ClientIdentity,
        role: Role,
        outlet: Outlet,
    ) -> Result<Link, Refusal> {
        let mut left = self.balancer.len().max(1);
        loop {
            left -= 1;
            let inbox = self.inbox(outlet.clone());
            let wire = self.wire(Era::Legacy, role, inbox.clone())?;
            let link = self.link(Era::Legacy, Handshake::unknown(), wire, inbox);
            match self.initialize(&link, client).await {
                Err(Refusal::Other(fault)) if fault.unprocessed && left > 0 => {}
                shaken => {
                    let link = link.greeted(Era::Legacy, shaken?);
                    if let Wire::Http(http) = link.wire() {
                        http.listen();
                    }
                    return Ok(link);
                }
            }
        }
    }

    /// A link of this upstream.
    pub(crate) fn link(&self, era: Era, handshake: Handshake, wire: Wire, inbox: Inbox) -> Link {
        Link::new(&self.settings, era, handshake, wire, inbox)
            .remarking(Arc::clone(&self.remarks), Arc::clone(&self.pins))
    }

    /// Where a new connection leaves what belongs to no request.
    fn inbox(&self, outlet: Outlet) -> Inbox {
        Inbox::new(self.name().clone(), outlet, Arc::clone(&self.settings.filters))
    }

    /// Starts the child, or prepares the HTTP connection.
    fn wire(&self, era: Era, role: Role, inbox: Inbox) -> Result<Wire, Fault> {
        let name = self.name();
        match &self.settings.transport {
            Transport::Stdio { command, args, env, working_dir, limits, user } => {
                let working_dir = working_dir.as_deref().map(Path::new);
                let (user, reaper) = (user.as_deref(), &self.reaper);
                let shared = role == Role::Shared;
                let spec =
                    SpawnSpec { command, args, env, working_dir, limits: *limits, user, shared, reaper };
                if shared {
                    self.stderr.forget();
                }
                let (mut process, pipes) = child::start(&spec).map_err(|error| {
                    let detail = format!("cannot start `{command}`: {}", spec.explain(&error));
                    Fault::upstream(name, "cannot be started").unprocessed().because(detail)
                })?;
                tracing::debug!(upstream = %name, child = process.pid(), "started");
                let connection = Stdio::new(&self.stderr, 0, self.limit, inbox, role);
                connection.begin(pipes, Rest::default());
                if let Some(ended) = process.take_ended() {
                    connection.outlive(ended, process.pid());
                }
                Ok(Wire::Stdio { connection, process: Mutex::new(Some(process)) })
            }
            Transport::Http { headers, .. } => {
                Ok(Wire::Http(Http::new(&self.destination(headers), era, inbox, role)?))
            }
        }
    }

    /// Asks for the modern era.
    async fn discover(&self, wire: &Wire, limit: Duration) -> Result<Discovery, Fault> {
        let params = ClientMeta::default().apply(None);
        let call = Call::new(method::DISCOVER, Some(params), limit);
        let outcome = match wire.call(self.name(), call).await.outcome().await {
            Ok(outcome) => outcome,
            Err(fault) if fault.unprocessed => return Err(fault),
            Err(_) => return Ok(Discovery::Legacy(None)),
        };
        match outcome {
            Outcome::Result(result) if names::check(&result, names::GREETING, Strictness::Pairs).is_err() => {
                Err(Fault::upstream(self.name(), "says of itself what can be read in two ways"))
            }
            Outcome::Result(result) => match Greeting::read(&result) {
                Some(greeting) if greeting.supports(MODERN) => {
                    Ok(Discovery::Modern(greeting.into_handshake(MODERN)))
                }
                Some(greeting) => Ok(Discovery::Legacy(newest(|version| greeting.supports(version)))),
                None => Ok(Discovery::Legacy(None)),
            },
            Outcome::Error(error) => self.refusal(&error),
        }
    }

    /// A refused discovery. A modern server that refuses it is a failure (MCP 2026-07-28 §Versioning, "Backward
    /// Compatibility"), unless it also speaks a legacy revision.
    fn refusal(&self, error: &Raw) -> Result<Discovery, Fault> {
        let modern = [code::HEADER_MISMATCH, code::MISSING_CAPABILITY];
        if let Some(versions) = unsupported(error) {
            return match newest(|known| versions.iter().any(|version| version == known)) {
                Some(version) => Ok(Discovery::Legacy(Some(version))),
                None => Err(Fault::upstream(
                    self.name(),
                    "speaks only protocol revisions that mcpeg does not know",
                )),
            };
        }
        if modern.into_iter().any(|number| has_code(error, number)) {
            let message = member_str(error, "message").unwrap_or_default();
            let message: String = message.chars().take(SHOWN).collect();
            let reason = "refuses `server/discover`, which any client may send";
            return Err(
                Fault::upstream(self.name(), reason).because(format!("{reason}: {}", message.escape_debug()))
            );
        }
        Ok(Discovery::Legacy(None))
    }

    /// Shakes hands in the legacy era. A server that names the revisions it speaks instead of choosing one is asked for the
    /// newest of these.
    async fn initialize(&self, link: &Link, client: &ClientIdentity) -> Result<Handshake, Refusal> {
        let error = match self.hello(link, client).await? {
            Ok(handshake) => return Ok(handshake),
            Err(error) => error,
        };
        let versions = unsupported(&error).unwrap_or_default();
        let other =
            newest(|known| *known != *client.version && versions.iter().any(|version| version == known));
        let refused = || Fault::upstream(self.name(), "refused the handshake");
        if let Some(version) = other {
            let client = ClientIdentity { version: version.to_owned(), ..client.clone() };
            return self.hello(link, &client).await?.map_err(|_| refused().into());
        }
        if is_of_era(&error) {
            self.known_era.refused(&refused());
        }
        if versions.iter().any(|version| version == MODERN) {
            return Err(Refusal::Modern(refused()));
        }
        tracing::warn!(upstream = %self.name(), error = error.get(), "the handshake was refused");
        Err(refused().into())
    }

    /// One handshake; the error is the server's.
    async fn hello(&self, link: &Link, client: &ClientIdentity) -> Result<Result<Handshake, Raw>, Refusal> {
        let call = Call::new(method::INITIALIZE, Some(client.hello()), self.settings.start_timeout);
        let result = match link.call(call).await.outcome().await? {
            Outcome::Result(result) => result,
            Outcome::Error(error) => return Ok(Err(error)),
        };
        link.check_names(method::INITIALIZE, &result, names::GREETING)?;
        let greeting = Greeting::read(&result).ok_or_else(|| {
            Fault::upstream(self.name(), "answered the handshake with something that is not MCP")
        })?;
        let version = greeting.version().unwrap_or(&client.version).to_owned();
        // What neither side has said that it speaks is not spoken (MCP 2025-11-25 §Version Negotiation).
        if !LEGACY_VERSIONS.contains(&version.as_str()) {
            let reason = "chose a protocol revision that mcpeg does not know";
            let chosen: String = version.chars().take(SHOWN).collect();
            let fault = Fault::upstream(self.name(), reason)
                .because(format!("{reason}: `{}`", chosen.escape_debug()));
            if version == MODERN {
                self.known_era.refused(&fault);
                return Err(Refusal::Modern(fault));
            }
            return Err(Refusal::Other(fault));
        }
        match link.wire() {
            Wire::Http(http) => http.requester().agreed(&version),
            Wire::Events(channel) => channel.requester().agreed(&version),
            Wire::Stdio { .. } | Wire::Builtin(_) => {}
        }
        let initialized = Notification { method: method::INITIALIZED.into(), params: None };
        link.write(&Message::Notification(initialized)).await?;
        Ok(Ok(greeting.into_handshake(&version)))
    }
}

/// Waits for what a server that was silent says to either question: whether it is modern, and to the legacy handshake. One
/// that has accepted a handshake is in the legacy era; one that refuses it may have answered the first question all the same.
async fn late(
    mut asking: Pin<&mut impl Future<Output = Result<Discovery, Fault>>>,
    mut shaking: Pin<&mut impl Future<Output = Result<Agreed, Refusal>>>,
) -> Result<Agreed, Refusal> {
    let said = tokio::select! {
        biased;
        said = &mut asking => said,
        shaken = &mut shaking => {
            return match shaken {
                Err(Refusal::Other(fault)) => match timeout(AFTER, asking).await {
                    Ok(Ok(Discovery::Modern(handshake))) => Ok(Agreed::Modern(handshake)),
                    _ => Err(Refusal::Other(fault)),
                },
                shaken => shaken,
            };
        }
    };
    let Ok(Discovery::Modern(handshake)) = said else { return shaking.await };
    match timeout(AFTER, shaking).await {
        Ok(Ok(agreed)) => Ok(agreed),
        Ok(Err(_)) | Err(_) => Ok(Agreed::Modern(handshake)),
    }
}

/// The revisions that a server names in an error which says that it does not speak ours (MCP 2026-07-28
/// §Versioning); `None` if it is another error.
fn unsupported(error: &RawValue) -> Option<Vec<String>> {
    let versions = || serde_json::from_str(member(member(error, "data")?, "supported")?.get()).ok();
    has_code(error, code::UNSUPPORTED_VERSION).then(|| versions().unwrap_or_default())
}

/// The newest revision of the legacy era of which this holds.
fn newest(is_spoken: impl Fn(&str) -> bool) -> Option<&'static str> {
    LEGACY_VERSIONS.into_iter().find(|version| is_spoken(version))
}

/// The token that an upstream with these settings is shown, if it wants one of an authorization server. Its endpoints serve
/// the same, so that the first stands for all.
fn credential(settings: &Settings, pool: &Pool, state: &Path) -> Option<Arc<Credential>> {
    let Transport::Http { urls, oauth: Some(oauth), .. } = &settings.transport else { return None };
    let web = Web::new(pool.connector().clone());
    let place = (&settings.name, urls.first()?.as_str());
    Some(if settings.transport.exchanges_tokens() {
        Credential::of_client(place, oauth, web)
    } else {
        Credential::follow(place, oauth, web, state)
    })
}

/// The file of the authorities that TLS trusts, where the settings name one.
fn authorities(settings: &Settings) -> Option<&Path> {
    match &settings.transport {
        Transport::Http { ca_file, .. } => ca_file.as_deref(),
        Transport::Stdio { .. } => None,
    }
}
