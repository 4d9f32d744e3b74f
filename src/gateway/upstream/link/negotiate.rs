//! Opening a connection: starting what it is made of and agreeing on an era and a revision.
//!
//! A server's era is a property of the server (MCP 2026-07-28 §Versioning): on stdio `server/discover` is asked first
//! and any error but a modern one, or silence, means legacy; on HTTP the same request's answer decides.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fieldwork::Fieldwork;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::connection::Link;
use super::wire::Wire;
use crate::config::{Transport, Upstream as Settings, UpstreamName};
use crate::gateway::error::{Error, Fault};
use crate::gateway::relay::{
    ClientMeta, Era, LATEST_LEGACY, MODERN, Message, Notification, Outcome, Raw, code, member, method, names,
    names::Strictness, raw,
};
use crate::gateway::upstream::builtin::Builtin;
use crate::gateway::upstream::call::handshake::{Greeting, Handshake};
use crate::gateway::upstream::call::request::{Call, Role};
use crate::gateway::upstream::http::balancer::Balancer;
use crate::gateway::upstream::http::client::Authorities;
use crate::gateway::upstream::http::connection::Http;
use crate::gateway::upstream::http::pool::Pool;
use crate::gateway::upstream::http::requester::Destination;
use crate::gateway::upstream::inbox::{Inbox, Outlet};
use crate::gateway::upstream::remarks::Remarks;
use crate::gateway::upstream::stdio::child::{self, SpawnSpec};
use crate::gateway::upstream::stdio::connection::Stdio;
use crate::gateway::upstream::stdio::pipes::Rest;
use crate::gateway::upstream::stdio::reaper::Reaper;
use crate::gateway::upstream::stdio::stderr::Sink;

/// How long a stdio server may be silent on `server/discover` before it is taken for a legacy one.
const SILENCE: Duration = Duration::from_secs(8);

/// Who the gateway says it is, towards a legacy upstream.
#[derive(Clone, Debug)]
pub(crate) struct ClientIdentity {
    /// Name and capabilities.
    pub(crate) meta: ClientMeta,
    /// The revision to ask for.
    pub(crate) version: String,
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
    /// Where the standard error of children goes.
    #[field(get(deref = false))]
    stderr: Arc<Sink>,
    /// What is wrong with it though it works.
    #[field(get)]
    remarks: Arc<Remarks>,
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

/// What came of asking for the modern era.
enum Discovery {
    /// The server is modern.
    Modern(Handshake),
    /// It is not.
    Legacy,
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
    /// Opens connections of an upstream with these settings. `pool` is the shared one, `directory` that of the files which
    /// children's standard error goes to.
    pub(crate) fn new(
        settings: &Settings,
        pool: &Pool,
        limit: usize,
        (reaper, directory): (&Reaper, &Path),
        builtin: Option<Arc<Builtin>>,
    ) -> Result<Self, Error> {
        let balancer = match &settings.transport {
            Transport::Http { urls, .. } => Balancer::new(urls),
            Transport::Stdio { .. } => Arc::default(),
        };
        let trusted = authorities(settings).map(Authorities::read).transpose()?;
        let pool = trusted.as_ref().map(Authorities::pool).transpose()?.unwrap_or_else(|| pool.clone());
        let stderr = Arc::new(Sink::new(settings, directory.to_owned()));
        let (settings, reaper) = (settings.clone(), reaper.clone());
        let remarks = Arc::default();
        Ok(Self { settings, pool, trusted, limit, reaper, builtin, balancer, stderr, remarks })
    }

    /// Whether connections with these settings would be the same: also the certificates that are trusted, which may have
    /// been replaced in their file. What other files hold (`${file:…}`, `${credential:…}`) is part of the settings. Where
    /// standard error goes is not: see [`Sink::set`].
    pub(crate) fn is_for(&self, settings: &Settings) -> bool {
        let same = |file| Authorities::read(file).is_ok_and(|now| Some(&now) == self.trusted.as_ref());
        let settings = &Settings { stderr: self.settings.stderr, ..settings.clone() };
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
        self.within(self.negotiate(None, Role::Shared, outlet)).await
    }

    /// Opens a legacy connection.
    pub(crate) async fn open_legacy(
        &self,
        client: &ClientIdentity,
        role: Role,
        outlet: Outlet,
    ) -> Result<Link, Fault> {
        self.within(self.negotiate(Some(client), role, outlet)).await
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
        if client.is_none() {
            let inbox = self.inbox(outlet.clone());
            let wire = self.wire(Era::Modern, role, inbox.clone())?;
            // The link is made before the question, so that giving up on it ends the process.
            let link = self.link(Era::Modern, Handshake::unknown(), wire, inbox);
            if let Discovery::Modern(handshake) = self.discover(link.wire()).await? {
                return Ok(link.greeted(Era::Modern, handshake));
            }
            if matches!(link.wire(), Wire::Stdio { .. }) && link.is_open() {
                let link = link.greeted(Era::Legacy, Handshake::unknown());
                return self.initialize(link, &ClientIdentity::default()).await;
            }
        }
        self.begin_legacy(client.unwrap_or(&ClientIdentity::default()), role, outlet).await
    }

    /// Starts and shakes hands in the legacy era, at one endpoint after the other until one can be reached.
    async fn begin_legacy(&self, client: &ClientIdentity, role: Role, outlet: Outlet) -> Result<Link, Fault> {
        let mut left = self.balancer.len().max(1);
        loop {
            left -= 1;
            let inbox = self.inbox(outlet.clone());
            let wire = self.wire(Era::Legacy, role, inbox.clone())?;
            match self.initialize(self.link(Era::Legacy, Handshake::unknown(), wire, inbox), client).await {
                Err(fault) if fault.unprocessed && left > 0 => {}
                opened => {
                    let link = opened?;
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
        Link::new(&self.settings, era, handshake, wire, inbox).remarking(Arc::clone(&self.remarks))
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
                let (pool, balancer) = (&self.pool, &self.balancer);
                let destination = Destination { name, pool, balancer, headers, limit: self.limit };
                Ok(Wire::Http(Http::new(&destination, era, inbox, role)?))
            }
        }
    }

    /// Asks for the modern era.
    async fn discover(&self, wire: &Wire) -> Result<Discovery, Fault> {
        let params = ClientMeta::default().apply(None);
        let limit = SILENCE.min(self.settings.start_timeout / 2);
        let call = Call::new(method::DISCOVER, Some(params), limit);
        let outcome = match wire.call(self.name(), call).await.outcome().await {
            Ok(outcome) => outcome,
            Err(fault) if fault.unprocessed => return Err(fault),
            Err(_) => return Ok(Discovery::Legacy),
        };
        match outcome {
            Outcome::Result(result) if names::check(&result, names::GREETING, Strictness::Pairs).is_err() => {
                Err(Fault::upstream(self.name(), "says of itself what can be read in two ways"))
            }
            Outcome::Result(result) => match Greeting::read(&result) {
                Some(greeting) if greeting.supports(MODERN) => {
                    Ok(Discovery::Modern(greeting.into_handshake(MODERN)))
                }
                _ => Ok(Discovery::Legacy),
            },
            Outcome::Error(error) => self.refusal(&error),
        }
    }

    /// A refused discovery: only a modern server without our revision is a failure.
    fn refusal(&self, error: &Raw) -> Result<Discovery, Fault> {
        let is_version_error =
            member(error, "code").is_some_and(|number| number.get() == code::UNSUPPORTED_VERSION.to_string());
        let legacy = member(error, "data")
            .and_then(|data| member(data, "supported"))
            .and_then(|versions| serde_json::from_str::<Vec<String>>(versions.get()).ok())
            .is_some_and(|versions| versions.iter().any(|version| version.as_str() <= LATEST_LEGACY));
        if is_version_error && !legacy {
            return Err(Fault::upstream(
                self.name(),
                "speaks only protocol revisions that mcpeg does not know",
            ));
        }
        Ok(Discovery::Legacy)
    }

    /// Shakes hands in the legacy era.
    async fn initialize(&self, link: Link, client: &ClientIdentity) -> Result<Link, Fault> {
        let call = Call::new(method::INITIALIZE, Some(client.hello()), self.settings.start_timeout);
        let result = match link.call(call).await.outcome().await? {
            Outcome::Result(result) => result,
            Outcome::Error(error) => {
                tracing::warn!(upstream = %self.name(), error = error.get(), "the handshake was refused");
                return Err(Fault::upstream(self.name(), "refused the handshake"));
            }
        };
        link.check_names(method::INITIALIZE, &result, names::GREETING)?;
        let greeting = Greeting::read(&result).ok_or_else(|| {
            Fault::upstream(self.name(), "answered the handshake with something that is not MCP")
        })?;
        let version = greeting.version().unwrap_or(&client.version).to_owned();
        if let Wire::Http(http) = link.wire() {
            http.requester().agreed(&version);
        }
        let link = link.greeted(Era::Legacy, greeting.into_handshake(&version));
        let initialized = Notification { method: method::INITIALIZED.to_owned(), params: None };
        link.write(&Message::Notification(initialized)).await?;
        Ok(link)
    }
}

/// The file of the authorities that TLS trusts, where the settings name one.
fn authorities(settings: &Settings) -> Option<&Path> {
    match &settings.transport {
        Transport::Http { ca_file, .. } => ca_file.as_deref(),
        Transport::Stdio { .. } => None,
    }
}
