//! The validated configuration: every value in the type that its users need, with every reference resolved.

use super::log::Log;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::shows::Shows;

/// Everything that one gateway is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`.
    pub server: Server,
    /// `[log]`.
    pub log: Log,
    /// `[upstreams.NAME]`, in the order of the main file and then of `conf.d/*.toml` by file name.
    pub upstreams: Vec<Upstream>,
    /// Those with `enabled = false`, in the same order: nothing of them is started or listed.
    pub disabled: Vec<Upstream>,
    /// The files that this was read from; empty without any file.
    pub sources: Vec<PathBuf>,
}

/// `[server]`: what faces downstreams.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where to listen; never empty.
    pub listen: Vec<ListenAddr>,
    /// The user to become after a start as root; `None` stays who started.
    pub user: Option<String>,
    /// The group to be in as that user; `None` is the user's own.
    pub group: Option<String>,
    /// How long work in flight may take after a stop was asked for. Default 30 s.
    pub drain_timeout: Duration,
    /// `None` unless the file says `auth = "none"`; a listener off loopback needs that.
    pub auth: Option<Auth>,
    /// How names of several upstreams are kept apart.
    pub prefix: Prefix,
    /// Host header values that are accepted beside loopback names and the listeners' own addresses.
    pub allowed_hosts: Vec<String>,
    /// Origin header values that are accepted beside loopback origins.
    pub allowed_origins: Vec<String>,
    /// The largest message that is accepted, in bytes. Default 16 MiB.
    pub max_message_size: usize,
    /// A legacy session without any request for this long is ended. Default 1 h.
    pub session_timeout: Duration,
    /// As many connections of clients may be open; `None` is as many as the limit on open files allows.
    pub max_connections: Option<usize>,
    /// As many legacy sessions may be open. Default 10,000.
    pub max_sessions: usize,
    /// As many of them may be one client's, which is whoever has one network address; `None` without such a limit.
    pub max_sessions_per_client: Option<usize>,
    /// How long a client may take to send the head of a request, and then to begin with its body. Default 30 s.
    pub client_timeout: Duration,
    /// Which listeners answer `GET /metrics`.
    pub metrics: Metrics,
}

/// Which listeners answer `GET /metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metrics {
    /// Unix sockets and those of a loopback address.
    #[default]
    Local,
    /// All of them.
    All,
    /// None.
    Off,
}

/// A listener's address as it is written: `host:port` or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddr {
    /// A TCP host (name, IPv4 address, or IPv6 address without brackets) and port.
    Tcp {
        /// The host part.
        host: String,
        /// The port; 0 lets the kernel choose.
        port: u16,
    },
    /// A Unix socket's absolute path.
    Unix(PathBuf),
}

/// How downstreams are authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Anybody who reaches the listener may use it: the operator wrote that out.
    None,
}

/// Whether names of tools and prompts carry the upstream's name on the merged endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefix {
    /// `NAME_` where there is more than one upstream.
    #[default]
    Auto,
    /// `NAME_` always.
    Always,
    /// Names as they are; two equal names are an error that names both upstreams.
    Never,
}

/// One MCP server behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The table's name.
    pub name: UpstreamName,
    /// How it is reached.
    pub transport: Transport,
    /// How long it may take from start to an answered handshake. Default 30 s.
    pub start_timeout: Duration,
    /// How long one relayed request may take. Default 5 min; progress does not extend it.
    pub request_timeout: Duration,
    /// Whether legacy sessions share one process.
    pub sharing: Sharing,
    /// What of it is shown, and under which names.
    pub shows: Arc<Shows>,
    /// How many requests it is given at once; `None` is no limit.
    pub max_concurrency: Option<usize>,
    /// How many more may wait for their turn. Default 100.
    pub max_queue: usize,
    /// Whether it is started with the gateway.
    pub start: Start,
    /// Without a request for this long it is ended until the next one comes; `None` is never.
    pub idle_timeout: Option<Duration>,
    /// How often it is asked whether it still answers, while it has nothing to do; `None` is never. Default 1 min.
    pub health_interval: Option<Duration>,
}

/// When an upstream is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the gateway.
    #[default]
    Eager,
    /// When it is first needed.
    Lazy,
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

/// `[A-Za-z0-9][A-Za-z0-9_-]{0,62}`. Loading refuses two names of which one followed by `_` begins the other, so that
/// `NAME_tool` can always be taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamName(Arc<str>);

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
    /// A Streamable HTTP endpoint.
    Http {
        /// Where it is, `http://` or `https://`; never empty. Several serve the same.
        urls: Vec<String>,
        /// Headers sent with each request, names in lower case.
        headers: BTreeMap<String, Secret>,
        /// Certificates of authorities that are trusted instead of the system's, PEM.
        ca_file: Option<PathBuf>,
    },
}

/// Whether legacy sessions share one upstream connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Per session where the client can answer requests of the server (sampling, elicitation, roots), else shared.
    #[default]
    Auto,
    /// One connection for all; requests of the server to a client are refused.
    Shared,
    /// One connection for each legacy session.
    PerSession,
}

/// A value that may hold a secret: never shown by `Debug`, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub const fn new(value: String) -> Self {
        Self(value)
    }

    /// The value itself, for the one place that must hand it on.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Transport {
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
            Self::Http { headers, ca_file, .. } => f
                .debug_struct("Http")
                .field("urls", &self.shown())
                .field("headers", headers)
                .field("ca_file", ca_file)
                .finish(),
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: vec![ListenAddr::Tcp { host: "127.0.0.1".to_owned(), port: 8080 }],
            user: None,
            group: None,
            drain_timeout: Duration::from_secs(30),
            auth: None,
            prefix: Prefix::default(),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            max_message_size: 16 << 20,
            session_timeout: Duration::from_secs(3600),
            max_connections: None,
            max_sessions: 10_000,
            max_sessions_per_client: None,
            client_timeout: Duration::from_secs(30),
            metrics: Metrics::default(),
        }
    }
}

impl Upstream {
    /// The default of `start_timeout`.
    pub const START_TIMEOUT: Duration = Duration::from_secs(30);
    /// The default of `request_timeout`.
    pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
    /// The default of `max_queue`.
    pub const MAX_QUEUE: usize = 100;
    /// The default of `health_interval`.
    pub const HEALTH_INTERVAL: Duration = Duration::from_secs(60);
}

impl UpstreamName {
    /// The built-in upstream's name; also the only name with which no table may be configured.
    pub const BUILTIN: &'static str = "mcpeg";

    /// Checks the name's form; `None` if it is not allowed.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let first = name.chars().next()?;
        let fits = name.len() <= 63 && first.is_ascii_alphanumeric() && name.chars().all(allowed);
        fits.then(|| Self(name.into()))
    }

    /// The built-in upstream's name as a name.
    #[must_use]
    pub fn builtin() -> Self {
        Self(Self::BUILTIN.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UpstreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
