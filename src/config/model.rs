//! The validated configuration: every value in the type that its users need, with every reference resolved.
//!
//! Each struct says which keys its fields are read from. Defaults are those of the keys.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::access::{Client, Endpoint};
use super::address::ListenAddr;
use super::client_limits::ClientLimits;
use super::diagnostic::{Place, Problems};
use super::filters::Filters;
use super::header::ClientHeader;
use super::issuer::Issuer;
use super::key::{Key, OnChange};
use super::keys::{self, HttpTransport, OpenTo, Pin, Prefix, Sharing, ShownOn, Start, Stderr};
use super::listener::Listener;
use super::listeners;
use super::log::{self, Access, Audit, AuditLevel, ConsoleFormat, Fsync, LogFormat, OnFull, Overflow, Spans};
use super::name::{self, UpstreamName};
use super::oauth::{self, OAuth};
use super::rotation::{self, At, Compress, Retention, Rotation};
use super::secret::Secret;
use super::section::Section;
use super::source::Overrides;
use super::upstream::Headers;

/// The log level of `--dev`: mcpeg's own decisions, without those of its libraries.
const DEV_LEVEL: &str = "info,mcpeg=debug";

/// Everything that one gateway is told.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `[server]`.
    pub server: Server,
    /// `[log]`.
    pub log: Log,
    /// `[upstreams.NAME]`, in the order of the main file and then of `conf.d/*.toml` by file name.
    pub upstreams: Vec<Upstream>,
    /// Those with `enabled = false`, in the same order: nothing of them is started or listed.
    pub disabled: Vec<Upstream>,
    /// `[clients.NAME]`, in the order of the file: the first that fits a request is its client.
    pub clients: Vec<Client>,
    /// `[endpoints.NAME]`, in the same order.
    pub endpoints: Vec<Endpoint>,
    /// `[auth.oauth.NAME]`, in the same order.
    pub issuers: Vec<Arc<Issuer>>,
    /// The files that this was read from; empty without any file.
    pub sources: Vec<PathBuf>,
}

/// `[server]`: what faces downstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where to listen, listeners with a name included; never empty.
    pub listen: Vec<ListenAddr>,
    /// Listeners with a name, whose addresses are in `listen`, too.
    pub listeners: Vec<Arc<Listener>>,
    /// The user to become after a start as root; `None` stays who started.
    pub user: Option<String>,
    /// The group to be in as that user; `None` is the user's own.
    pub group: Option<String>,
    /// How long work in flight may take after a stop was asked for. Default 30 s.
    pub drain_timeout: Duration,
    /// `None` unless the file says `auth = "none"`; a listener off loopback needs that.
    pub auth: Option<OpenTo>,
    /// How names of several upstreams are kept apart.
    pub prefix: Prefix,
    /// Host header values that are accepted beside loopback names and the listeners' own addresses.
    pub allowed_hosts: Vec<String>,
    /// Origin header values that are accepted beside loopback origins.
    pub allowed_origins: Vec<String>,
    /// The largest message that is accepted, in bytes. Default 16 MiB.
    pub max_message_size: usize,
    /// So many bytes all that waits may take together; `None` is a share of what the process may have.
    pub memory: Option<usize>,
    /// A legacy session without any request for this long is ended. Default 1 h.
    pub session_timeout: Duration,
    /// At most so many connections of clients are open; `None` is as many as the limit on open files allows.
    pub max_connections: Option<usize>,
    /// At most so many legacy sessions are open. Default 10,000.
    pub max_sessions: usize,
    /// What each client may ask for of which `[clients.NAME]` says nothing else.
    pub per_client: ClientLimits,
    /// How long a client may take to send the head of a request, and then to begin with its body. Default 30 s.
    pub client_timeout: Duration,
    /// Whether clients of HTTP+SSE are served.
    pub legacy_sse: bool,
    /// Which listeners answer `GET /metrics`.
    pub metrics: ShownOn,
    /// Which listeners answer `GET /status`.
    pub status: ShownOn,
    /// Tools that are told apart there. Default 1000.
    pub metrics_max_tools: usize,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Filter directives as tracing-subscriber's `EnvFilter` understands them, such as `info` or `info,mcpeg::relay=debug`.
    pub level: String,
    /// The log file; `None` is console only.
    pub file: Option<PathBuf>,
    /// The format of the file.
    pub format: LogFormat,
    /// Where JSON has the fields of spans.
    pub spans: Spans,
    /// The name of this gateway in records; `None` is the host's.
    pub instance: Option<String>,
    /// The console's filter directives; `None` is [`Log::level`].
    pub console_level: Option<String>,
    /// The format of the console.
    pub console_format: ConsoleFormat,
    /// How many bytes of records may wait for the disk.
    pub queue: usize,
    /// What happens when the queue is full.
    pub overflow: Overflow,
    /// What happens when the file cannot be written.
    pub on_full: OnFull,
    /// When records are forced to the disk.
    pub fsync: Fsync,
    /// Of which requests there is a record.
    pub access: Access,
    /// Where the audit goes.
    pub audit: Audit,
    /// Which records of the audit are written.
    pub audit_level: AuditLevel,
    /// Whether these have a digest of arguments.
    pub audit_arguments: bool,
    /// When the file is rotated, and what becomes of rotated files.
    pub rotation: Rotation,
}

/// One MCP server behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The table's name.
    pub name: UpstreamName,
    /// How it is reached.
    pub transport: Transport,
    /// What becomes of a command's standard error.
    pub stderr: StderrRules,
    /// How long it may take from start to an answered handshake. Default 30 s.
    pub start_timeout: Duration,
    /// How long one relayed request may take. Default 5 min; progress does not extend it.
    pub request_timeout: Duration,
    /// Whether legacy sessions share one process.
    pub sharing: Sharing,
    /// What of it is shown, and under which names.
    pub filters: Arc<Filters>,
    /// What becomes of tools that are not as they were approved.
    pub pin: Pin,
    /// How many requests it is given at once; `None` is no limit.
    pub max_concurrency: Option<usize>,
    /// How many more may wait. Default 100.
    pub max_queue: usize,
    /// Whether it is started with the gateway.
    pub start: Start,
    /// Without a request for this long it is ended until the next one comes; `None` is never.
    pub idle_timeout: Option<Duration>,
    /// How often it is asked whether it still answers, while it has nothing to do; `None` is never. Default 1 min.
    pub health_interval: Option<Duration>,
}

/// What becomes of a command's standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StderrRules {
    /// Where it goes.
    pub to: Stderr,
    /// How many files are kept, one for each day. Default 7.
    pub keep: usize,
    /// The size in bytes that one of them does not exceed. Default 16 MiB.
    pub size: u64,
}

/// How an upstream is reached.
///
/// Arguments and the URL may hold resolved references, so `Debug` shows neither; [`Transport::shown`] is for people.
#[derive(Clone, PartialEq, Eq)]
pub enum Transport {
    /// A child process that speaks MCP on its standard input and output.
    Stdio {
        /// The program: an absolute path, or a name looked up in PATH.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Its environment beside PATH, HOME, LANG, TZ and USER; nothing else is inherited.
        env: BTreeMap<String, Secret>,
        /// Its working directory; `None` is the gateway's.
        working_dir: Option<PathBuf>,
        /// What it may take of the machine.
        limits: Limits,
        /// The user that it runs as; `None` is the gateway's.
        user: Option<String>,
    },
    /// An endpoint of Streamable HTTP, or of HTTP+SSE.
    Http {
        /// Where it is, `http://` or `https://`; never empty. Several serve the same.
        urls: Vec<String>,
        /// Headers sent with each request, names in lower case.
        headers: BTreeMap<String, Secret>,
        /// The same of those that say something of the client of a call.
        client_headers: BTreeMap<String, ClientHeader>,
        /// How messages go over it.
        kind: HttpTransport,
        /// Certificates of authorities that are trusted instead of the system's, PEM.
        ca_file: Option<PathBuf>,
        /// How mcpeg logs in, if it has to.
        oauth: Option<Box<OAuth>>,
    },
}

/// The most that a child may take of the machine; `None` is what the gateway itself may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of private memory: setrlimit(2) `RLIMIT_DATA`.
    pub memory: Option<u64>,
    /// Processes and threads of its user: `RLIMIT_NPROC`.
    pub tasks: Option<u64>,
    /// Open files: `RLIMIT_NOFILE`.
    pub open_files: Option<u64>,
}

impl Config {
    /// The tables that differ from those of `old`, such as `clients.ci`.
    #[must_use]
    pub fn changes(&self, old: &Self) -> Vec<String> {
        let named = differences("upstreams", (&old.upstreams, &self.upstreams), |it| it.name.as_str());
        let clients = differences("clients", (&old.clients, &self.clients), |it| it.name());
        let endpoints = differences("endpoints", (&old.endpoints, &self.endpoints), |it| it.name());
        let listeners =
            differences("listeners", (&old.server.listeners, &self.server.listeners), |it| it.name.as_str());
        let issuers = differences("auth.oauth", (&old.issuers, &self.issuers), |it| it.name.as_str());
        let of_server = |config: &Self| Server { listeners: Vec::new(), ..config.server.clone() };
        let server = (of_server(self) != of_server(old)).then(|| keys::SERVER.header().to_owned());
        let log = (self.log != old.log).then(|| keys::LOG.header().to_owned());
        let all = server.into_iter().chain(listeners).chain(log).chain(issuers).chain(clients);
        all.chain(endpoints).chain(named).collect()
    }

    /// Keeps what a reload cannot change as it is in `old`, and names it.
    pub fn keep_fixed(&mut self, old: &Self) -> Vec<String> {
        let mut fixed = Vec::new();
        let (server, before) = (&mut self.server, &old.server);
        let size = &mut server.max_message_size;
        keep(&keys::MAX_MESSAGE_SIZE, keys::SERVER.header(), size, &before.max_message_size, &mut fixed);
        keep(&keys::USER, keys::SERVER.header(), &mut server.user, &before.user, &mut fixed);
        keep(&keys::GROUP, keys::SERVER.header(), &mut server.group, &before.group, &mut fixed);
        let tools = &mut server.metrics_max_tools;
        keep(&keys::METRICS_MAX_TOOLS, keys::SERVER.header(), tools, &before.metrics_max_tools, &mut fixed);
        self.log.keep_fixed(&old.log, &mut fixed);
        fixed
    }
}

/// The names of tables that are there before and not after, or the other way round, or differ.
fn differences<T: PartialEq>(
    tables: &str,
    (before, after): (&[T], &[T]),
    name: impl for<'a> Fn(&'a T) -> &'a str,
) -> Vec<String> {
    let is_in = |all: &[T], one: &T| all.contains(one);
    let gone = before.iter().filter(|one| !is_in(after, one));
    let mut names: Vec<_> = gone.chain(after.iter().filter(|one| !is_in(before, one))).map(name).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| format!("{tables}.{name}")).collect()
}

/// Keeps one value if a reload cannot change it, and names its key if it would be another.
fn keep<K, T: Clone + PartialEq>(key: &Key<K>, header: &str, new: &mut T, old: &T, fixed: &mut Vec<String>) {
    if key.on_change != OnChange::Reload && new != old {
        new.clone_from(old);
        fixed.push(format!("{} in [{header}]", key.name));
    }
}

impl Server {
    /// Reads `[server]`, beside listeners with a name.
    pub(super) fn read(
        section: &mut Section<'_, '_>,
        named: Vec<(Place, Listener)>,
        overrides: &Overrides,
    ) -> Self {
        let auth = section.find(&keys::AUTH);
        let plain = section.get(&keys::LISTEN);
        let is_empty =
            |value: &&Spanned<_>| matches!(value.get_ref(), DeValue::Array(items) if items.is_empty());
        let empty = section.written(&keys::LISTEN).filter(is_empty).map(Spanned::span);
        if let Some(span) = empty.filter(|_| named.is_empty()) {
            let hint = "write listen = [\"127.0.0.1:8080\"], leave it out, or add a table [listeners.NAME]";
            section.reader().refuse(&span, "`listen` is empty", hint);
        }
        let asked = named.iter().map(|(place, it)| (place.clone(), it.address.clone(), !it.auth.is_empty()));
        let written = (plain, asked.collect());
        let listen = listeners::in_force(written, overrides, auth.is_some(), section.reader().problems());
        let named = named.into_iter().filter(|_| overrides.listen.is_empty());
        let user = section.find(&keys::USER);
        let group = section.find(&keys::GROUP);
        if let (Some(_), None, Some(span)) = (&group, section.span(&keys::USER), section.span(&keys::GROUP)) {
            section.reader().refuse(&span, "`group` has no effect without `user`", "add `user`");
        }
        Self {
            listen,
            listeners: named.map(|(_, listener)| Arc::new(listener)).collect(),
            user,
            group,
            drain_timeout: section.get(&keys::DRAIN_TIMEOUT),
            auth,
            prefix: section.get(&keys::PREFIX),
            allowed_hosts: section.get(&keys::ALLOWED_HOSTS),
            allowed_origins: section.get(&keys::ALLOWED_ORIGINS),
            max_message_size: section.get(&keys::MAX_MESSAGE_SIZE),
            memory: section.find(&keys::MEMORY),
            session_timeout: section.get(&keys::SESSION_TIMEOUT),
            max_connections: section.find(&keys::MAX_CONNECTIONS),
            max_sessions: section.get(&keys::MAX_SESSIONS),
            per_client: ClientLimits::of_each(section),
            client_timeout: section.get(&keys::CLIENT_TIMEOUT),
            legacy_sse: section.get(&keys::LEGACY_SSE),
            metrics: section.get(&keys::METRICS),
            status: section.get(&keys::STATUS),
            metrics_max_tools: section.get(&keys::METRICS_MAX_TOOLS),
        }
    }
}

impl Server {
    /// The listener that a socket belongs to, which was bound for this text and at this address: `Some(None)` for one without a
    /// name, `None` for one that is not configured any more. What a service manager passes at another address than is
    /// configured belongs to the listener with a name that has its port, so that nothing is asked less than is written.
    #[must_use]
    pub fn listener_at(&self, written: &str, bound: Option<&SocketAddr>) -> Option<Option<&Arc<Listener>>> {
        let named = |is_it: &dyn Fn(&ListenAddr) -> bool| self.listeners.iter().find(|it| is_it(&it.address));
        let same = |address: &ListenAddr| address.to_string() == written;
        let wide = |address: &ListenAddr| bound.is_some_and(|bound| address.takes_along(bound));
        let port = |address: &ListenAddr| matches!((address, bound), (ListenAddr::Tcp { port, .. }, Some(bound)) if *port == bound.port());
        if let Some(found) = named(&same) {
            return Some(Some(found));
        }
        let is_plain = self.listen.iter().any(same);
        let found = named(&wide).filter(|_| !is_plain);
        if found.is_some() || is_plain || self.listen.iter().any(wide) {
            return Some(found);
        }
        named(&port).map(Some)
    }
}

impl Default for Server {
    fn default() -> Self {
        Section::defaults(|section| Self::read(section, Vec::new(), &Overrides::default()))
    }
}

impl Log {
    /// Reads `[log]`.
    pub(super) fn read(section: &mut Section<'_, '_>, overrides: &Overrides) -> Self {
        let file = section.find(&keys::LOG_FILE).filter(|_| !overrides.dev);
        let (level, console_level) = (section.get(&keys::LEVEL), section.find(&keys::CONSOLE_LEVEL));
        let problems = section.reader().problems();
        if let Some(level) = &overrides.log_level {
            log::check_overridden_level(level, problems);
        }
        let file = overrides.log_file.as_deref().and_then(|file| absolute(file, problems)).or(file);
        let file = file.or_else(|| overrides.default_log_file.clone());
        let (given, dev) = (overrides.log_level.clone(), overrides.dev.then(|| DEV_LEVEL.to_owned()));
        let log = Self {
            level: given.clone().or(dev).unwrap_or(level),
            file,
            format: section.get(&keys::FORMAT),
            spans: section.get(&keys::SPANS),
            instance: section.find(&keys::INSTANCE),
            console_level: console_level.filter(|_| given.is_none()),
            console_format: section.get(&keys::CONSOLE_FORMAT),
            queue: section.get(&keys::QUEUE),
            overflow: section.get(&keys::OVERFLOW),
            on_full: section.get(&keys::ON_FULL),
            fsync: section.get(&keys::FSYNC),
            access: section.get(&keys::ACCESS),
            audit: section.get(&keys::AUDIT),
            audit_level: section.get(&keys::AUDIT_LEVEL),
            audit_arguments: section.get(&keys::AUDIT_ARGUMENTS),
            rotation: read_rotation(section),
        };
        log.refuse_two_rotators(section);
        log.refuse_one_file_for_both(section);
        log
    }

    /// The files: that of the log and that of the audit.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.file.as_deref().into_iter().chain(self.audit.file())
    }

    /// Refuses one file for log and audit: each would rotate what the other writes.
    fn refuse_one_file_for_both(&self, section: &mut Section<'_, '_>) {
        if let Some(span) = section.span(&keys::AUDIT)
            && self.audit.file().is_some_and(|audit| self.file.as_deref() == Some(audit))
        {
            let message = "`audit` is the log file; each of the two has a file of its own";
            section.reader().refuse(&span, message, "write another path");
        }
    }

    /// The directory of the file.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.file.as_deref()?.parent()
    }

    /// Refuses two rotators for one file: each would move what the other has just made.
    fn refuse_two_rotators(&self, section: &mut Section<'_, '_>) {
        if self.rotation.external {
            refuse_beside_external(&keys::ROTATE_SIZE, section);
            refuse_beside_external(&keys::ROTATE_EVERY, section);
            return;
        }
        for file in self.files() {
            let span = section.span(&keys::ROTATE).or_else(|| section.span(&keys::LOG_FILE));
            let place = span.map(|span| section.reader().place(&span));
            let place = || place.unwrap_or(Place::Option("--log-file"));
            rotation::refuse_logrotate(file, place, section.reader().problems());
        }
    }

    /// See [`Config::keep_fixed`].
    fn keep_fixed(&mut self, old: &Self, fixed: &mut Vec<String>) {
        let header = keys::LOG.header();
        keep(&keys::LOG_FILE, header, &mut self.file, &old.file, fixed);
        keep(&keys::FORMAT, header, &mut self.format, &old.format, fixed);
        keep(&keys::SPANS, header, &mut self.spans, &old.spans, fixed);
        keep(&keys::INSTANCE, header, &mut self.instance, &old.instance, fixed);
        keep(&keys::CONSOLE_FORMAT, header, &mut self.console_format, &old.console_format, fixed);
        keep(&keys::QUEUE, header, &mut self.queue, &old.queue, fixed);
        keep(&keys::OVERFLOW, header, &mut self.overflow, &old.overflow, fixed);
        keep(&keys::AUDIT, header, &mut self.audit, &old.audit, fixed);
    }
}

impl Default for Log {
    fn default() -> Self {
        Section::defaults(|section| Self::read(section, &Overrides::default()))
    }
}

/// Reads the keys about rotation.
fn read_rotation(section: &mut Section<'_, '_>) -> Rotation {
    let external = section.get(&keys::ROTATE);
    let level = section.get(&keys::COMPRESS_LEVEL);
    Rotation {
        external,
        size: section.get(&keys::ROTATE_SIZE).filter(|_| !external),
        every: section.get(&keys::ROTATE_EVERY),
        at: At { zone: section.get(&keys::ROTATE_ZONE), ..section.get(&keys::ROTATE_AT) },
        compress: if section.get(&keys::COMPRESS) { Compress::Gzip(level) } else { Compress::None },
        keep: Retention {
            files: section.get(&keys::KEEP_FILES),
            age: section.find(&keys::KEEP_AGE),
            bytes: section.find(&keys::KEEP_SIZE),
        },
    }
}

/// Refuses a key of our own rotation where another program rotates; it may say "never".
fn refuse_beside_external<T>(key: &Key<T>, section: &mut Section<'_, '_>) {
    let written = section.written(key).filter(|value| value.get_ref().as_str() != Some("never"));
    if let Some(span) = written.map(Spanned::span) {
        let message =
            format!("`{}` has no place beside rotate = \"external\": one of the two rotates", key.name);
        section.reader().refuse(&span, message, "leave out one of them");
    }
}

/// The log file of the command line, which may be relative to the caller's directory: detaching changes that, so it
/// is made absolute here.
fn absolute(file: &Path, problems: &mut Problems) -> Option<PathBuf> {
    std::path::absolute(file)
        .map_err(|error| problems.push(Place::Option("--log-file"), format!("`{}`: {error}", file.display())))
        .ok()
}

impl Upstream {
    /// Reads `[upstreams.NAME]`; `None` if it cannot be reached in any way.
    pub(super) fn read(name: &Spanned<&str>, section: &mut Section<'_, '_>) -> Option<Self> {
        let settings = Self::read_settings(section);
        let transport = Transport::read(name, section);
        let name = name::allowed_name(name, section.reader())?;
        Some(Self { name, transport: transport?, ..settings })
    }

    /// The built-in upstream, which has no table and is not reached by any transport: the defaults.
    #[must_use]
    pub fn builtin() -> Self {
        Section::defaults(Self::read_settings)
    }

    /// Reads what upstreams of any transport have.
    fn read_settings(section: &mut Section<'_, '_>) -> Self {
        Self {
            name: UpstreamName::builtin(),
            transport: Transport::Http {
                urls: Vec::new(),
                headers: BTreeMap::new(),
                client_headers: BTreeMap::new(),
                kind: HttpTransport::Auto,
                ca_file: None,
                oauth: None,
            },
            stderr: StderrRules::read(section),
            start_timeout: section.get(&keys::START_TIMEOUT),
            request_timeout: section.get(&keys::REQUEST_TIMEOUT),
            sharing: section.get(&keys::SHARING),
            idle_timeout: section.get(&keys::IDLE_TIMEOUT),
            health_interval: section.get(&keys::HEALTH_INTERVAL),
            max_concurrency: section.find(&keys::MAX_CONCURRENCY),
            max_queue: section.get(&keys::MAX_QUEUE),
            start: section.get(&keys::START),
            pin: section.get(&keys::PIN),
            filters: Arc::new(Filters {
                tools: section.find(&keys::TOOLS).unwrap_or_default(),
                prompts: section.find(&keys::PROMPTS).unwrap_or_default(),
                resources: section.find(&keys::RESOURCES).unwrap_or_default(),
            }),
        }
    }
}

/// Refuses tokens that anybody on the way could read, and two ways to show who mcpeg is.
fn check_oauth(urls: &[String], headers: &Headers, section: &mut Section<'_, '_>) {
    let span = section.span(&keys::OAUTH).unwrap_or_default();
    let written = section.written(&keys::URL).or_else(|| section.written(&keys::URLS));
    let is_known = !written.is_some_and(|it| section.reader().assumes(&format!("{:?}", it.get_ref())));
    if is_known && urls.iter().any(|url| !oauth::is_confidential(url)) {
        let message = "`oauth` would send tokens over a connection without encryption";
        section.reader().refuse(&span, message, "write a `url` that begins with https://");
    }
    if headers.has("authorization") {
        let message = "`oauth` and the header `Authorization` exclude each other";
        section.reader().refuse(&span, message, "remove one of them");
    }
}

impl Transport {
    /// How mcpeg logs in there, if it has to.
    #[must_use]
    pub fn oauth(&self) -> Option<&OAuth> {
        match self {
            Self::Http { oauth, .. } => oauth.as_deref(),
            Self::Stdio { .. } => None,
        }
    }

    /// Whether it is shown something else of each client, so that clients can share nothing of it.
    #[must_use]
    pub fn is_personal(&self) -> bool {
        matches!(self, Self::Http { client_headers, .. } if !client_headers.is_empty())
    }

    /// Reads how the upstream is reached.
    fn read(name: &Spanned<&str>, section: &mut Section<'_, '_>) -> Option<Self> {
        let name_span = name.span();
        let name = name.get_ref();
        let [command, url, urls] =
            [section.span(&keys::COMMAND), section.span(&keys::URL), section.span(&keys::URLS)];
        match (command, url, urls) {
            (_, Some(_), Some(urls)) => {
                let message = format!("upstream `{name}` has both `url` and `urls`");
                section.reader().refuse(&urls, message, "put all of them into urls");
                None
            }
            (Some(_), Some(span), None) | (Some(_), None, Some(span)) => {
                let message = format!("upstream `{name}` has both `command` and `url`");
                section.reader().refuse(&span, message, "keep one of them, or make two upstreams");
                None
            }
            (None, None, None) => {
                let message = format!("upstream `{name}` has neither `command` nor `url`");
                let hint = "write command = \"PROGRAM\" or url = \"https://HOST/mcp\"";
                section.reader().refuse(&name_span, message, hint);
                None
            }
            (Some(_), None, None) => {
                section.refuse_without("url", keys::UPSTREAM.only_with("url"));
                let command = section.find(&keys::COMMAND);
                let (args, env) = (section.get(&keys::ARGS), section.get(&keys::ENV));
                let working_dir = section.find(&keys::WORKING_DIR);
                let (limits, user) = (Limits::read(section), section.find(&keys::CHILD_USER));
                Some(Self::Stdio { command: command?, args, env, working_dir, limits, user })
            }
            (None, _, _) => {
                section.refuse_without("command", keys::UPSTREAM.only_with("command"));
                let headers = section.get(&keys::HEADERS);
                let urls = section.find(&keys::URL).or_else(|| section.find(&keys::URLS));
                let (kind, ca_file) = (section.get(&keys::TRANSPORT), section.find(&keys::CA_FILE));
                let (urls, oauth) = (urls?, section.find(&keys::OAUTH));
                if oauth.is_some() {
                    check_oauth(&urls, &headers, section);
                }
                let Headers { constant: headers, of_client: client_headers } = headers;
                Some(Self::Http { urls, headers, client_headers, kind, ca_file, oauth })
            }
        }
    }

    /// What may be shown of it: the command without its arguments, or the URL up to its path.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Stdio { command, .. } => command.clone(),
            Self::Http { urls, .. } => {
                let shown = |url: &String| {
                    let uri = url.parse::<http::Uri>().unwrap_or_default();
                    let scheme = uri.scheme_str().unwrap_or("http");
                    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
                    format!("{scheme}://{}{port}", uri.host().unwrap_or_default())
                };
                urls.iter().map(shown).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdio { args, env, working_dir, limits, user, .. } => f
                .debug_struct("Stdio")
                .field("command", &self.shown())
                .field("args", &format_args!("[{} arguments]", args.len()))
                .field("env", env)
                .field("working_dir", working_dir)
                .field("limits", limits)
                .field("user", user)
                .finish(),
            Self::Http { headers, client_headers, kind, ca_file, oauth, .. } => f
                .debug_struct("Http")
                .field("urls", &self.shown())
                .field("headers", headers)
                .field("client_headers", client_headers)
                .field("kind", kind)
                .field("ca_file", ca_file)
                .field("oauth", oauth)
                .finish(),
        }
    }
}

impl StderrRules {
    /// Reads what becomes of a command's standard error.
    fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            to: section.get(&keys::STDERR),
            keep: section.get(&keys::STDERR_KEEP),
            size: section.get(&keys::STDERR_SIZE),
        }
    }
}

impl Limits {
    /// Reads the limits of a child.
    fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            memory: section.find(&keys::MEMORY_MAX),
            tasks: section.find(&keys::TASKS_MAX),
            open_files: section.find(&keys::OPEN_FILES_MAX),
        }
    }
}
