//! Every key of the configuration, in one table: what the reader accepts, what mcpeg.toml(5) and the shipped example
//! say, and what a reload cannot change, all come from it. The strings of a choice stand here with what they mean.
//!
//! Order: tables in the order of the manual, keys in the order in which a reader needs them. A new key is an entry here,
//! a field of the model, and its use.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::address::ListenAddr;
use super::certificate::{self, Certificate};
use super::diagnostic::Place;
use super::filters::{self, Pattern, Selection};
use super::key::{AnyKey, Description, Key, Kind, OnChange, Zero};
use super::kinds::{self, choice, number, size};
use super::listeners;
use super::log::{self, Access, Audit, AuditLevel, ConsoleFormat, Fsync, LogFormat, OnFull, Overflow, Spans};
use super::oauth::{self, OAuth};
use super::peer::{self, Names, Peer};
use super::proof::{self, Algorithm, Proof};
use super::rate::{self, Rate};
use super::reader::{Reader, Value};
use super::rotation::{self, At, Every, Zone};
use super::secret::Secret;
use super::trust::{self, Auth, Proxies, Tls};
use super::upstream::{self, Headers};

/// Powers of 1024, in bytes.
const KIB: u64 = 1 << 10;
/// See [`KIB`].
const MIB: u64 = 1 << 20;
/// See [`KIB`].
const GIB: u64 = 1 << 30;
/// See [`KIB`].
const TIB: u64 = 1 << 40;

/// One table of the file.
pub struct Table {
    /// The table's header as it is written in the file.
    header: &'static str,
    /// Its keys.
    keys: &'static [&'static dyn AnyKey],
}

impl Table {
    /// All tables, in the order of the manual.
    pub const ALL: [&'static Self; 7] = [&SERVER, &LISTENER, &ISSUER, &CLIENT, &ENDPOINT, &LOG, &UPSTREAM];

    /// The table's header as it is written in the file.
    #[must_use]
    pub const fn header(&self) -> &'static str {
        self.header
    }

    /// What people are told about its keys.
    pub fn keys(&self) -> impl Iterator<Item = Description> {
        self.keys.iter().map(|key| key.describe())
    }

    /// Notes what is wrong with the structure of a value; whether there is such a key.
    pub(super) fn check(&self, name: &str, value: &Value<'_>, reader: &mut Reader<'_>) -> bool {
        let key = self.keys.iter().find(|key| key.name() == name);
        key.inspect(|key| key.check(value, reader)).is_some()
    }

    /// Those of its keys that have no meaning without `with`.
    pub(super) fn only_with(&self, with: &str) -> impl Iterator<Item = &'static str> {
        self.keys.iter().filter(move |key| key.only_with() == Some(with)).map(|key| key.name())
    }
}

/// Makes the keys of a table, and the table.
macro_rules! table {
    ($(#[$doc:meta])* $table:ident $header:literal; $($key:ident: $value:ty = $facts:expr;)+) => {
        $(
            #[doc = concat!("A key of `[", $header, "]`; its text says what it does.")]
            pub(super) static $key: Key<$value> = $facts;
        )+
        $(#[$doc])*
        pub(super) static $table: Table = Table { header: $header, keys: &[$(&$key),+] };
    };
}

/// Which listeners answer with a page that tells of every upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShownOn {
    /// Unix sockets and those of a loopback address.
    #[default]
    Local,
    /// All of them.
    All,
    /// None.
    Off,
}

/// How that is written.
const SHOWN_ON: Kind<ShownOn> =
    choice(&[("local", ShownOn::Local), ("all", ShownOn::All), ("off", ShownOn::Off)]);

impl ShownOn {
    /// Whether somebody is answered over a listener whose own table says this, and who comes from this machine if so.
    #[must_use]
    pub fn is_open(self, listener: Option<bool>, is_local: bool) -> bool {
        listener.unwrap_or(match self {
            Self::Local => is_local,
            Self::All => true,
            Self::Off => false,
        })
    }
}

/// Who may use listeners that nothing is asked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenTo {
    /// Anybody who reaches them: the operator wrote that out.
    Anybody,
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

/// The strings of [`Prefix`].
const PREFIXES: &[(&str, Prefix)] =
    &[("auto", Prefix::Auto), ("always", Prefix::Always), ("never", Prefix::Never)];

/// When an upstream is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the gateway.
    #[default]
    Eager,
    /// When it is first needed.
    Lazy,
}

/// How messages go over HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpTransport {
    /// Streamable HTTP, or HTTP+SSE where the server refuses that.
    #[default]
    Auto,
    /// Streamable HTTP.
    StreamableHttp,
    /// HTTP+SSE of revision 2024-11-05: one event stream, and messages posted beside it.
    Sse,
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

/// What becomes of tools that are not as they were approved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pin {
    /// Nobody looks.
    #[default]
    Off,
    /// It is told.
    Warn,
    /// It is told, and they are withheld.
    Enforce,
}

/// Where a command's standard error goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stderr {
    /// To the log.
    #[default]
    Log,
    /// To a file of its own.
    File,
    /// To both.
    Both,
    /// Nowhere.
    Discard,
}

impl Stderr {
    /// Whether lines go to the log.
    #[must_use]
    pub const fn is_logged(self) -> bool {
        matches!(self, Self::Log | Self::Both)
    }

    /// Whether lines go to a file of their own.
    #[must_use]
    pub const fn is_filed(self) -> bool {
        matches!(self, Self::File | Self::Both)
    }
}

table! {
    /// `[server]`.
    SERVER "server";

    LISTEN: Vec<(Place, ListenAddr)> = Key {
        doc: "Where to listen: host:port, [IPv6]:port, or unix:/path. Port 0 lets the kernel choose. A TCP \
              address that other machines can reach needs auth = \"none\", or is one of a table [listeners.NAME], beside \
              which this key may be an empty array.",
        default: Some("[\"127.0.0.1:8080\"]"),
        example: "[\"127.0.0.1:8080\", \"unix:/run/mcpeg/http.sock\"]",
        ..Key::new("listen", listeners::ADDRESSES)
    };

    AUTH: OpenTo = Key {
        doc: "Write \"none\" to let anybody who can reach the listeners use every upstream. Left out, mcpeg \
              listens only on loopback addresses and Unix sockets.",
        example: "\"none\"",
        ..Key::new("auth", choice(&[("none", OpenTo::Anybody)]))
    };

    PREFIX: Prefix = Key {
        doc: "How the names of tools and prompts of several upstreams are kept apart on /mcp: with auto each \
              carries its upstream's name and an underscore where there is more than one upstream, with \
              always it always does, with never it never does and two equal names are an error. Addresses \
              of pages (ui://) and of skills that more than one upstream has carry the upstream's name \
              either way: ui://chart of the upstream web is ui://mcpeg.web/chart then. See SEVERAL UPSTREAMS \
              AT ONE ENDPOINT.",
        default: Some("\"auto\""),
        example: "\"auto\"",
        ..Key::new("prefix", choice(PREFIXES))
    };

    ALLOWED_HOSTS: Vec<String> = Key {
        doc: "Values of the Host header that are accepted beside loopback names and the listeners' own \
              addresses, as host or host:port. Others are refused, against DNS rebinding. A proxy that \
              passes the Host of its clients on needs that name here; see BEHIND A PROXY.",
        default: Some("[]"),
        example: "[\"mcp.example.org\"]",
        ..Key::new("allowed_hosts", kinds::HOSTS)
    };

    ALLOWED_ORIGINS: Vec<String> = Key {
        doc: "Values of the Origin header that are accepted beside loopback origins, as scheme://host or \
              scheme://host:port. Requests from other web pages are refused.",
        default: Some("[]"),
        example: "[\"https://app.example.org\"]",
        ..Key::new("allowed_origins", kinds::ORIGINS)
    };

    DRAIN_TIMEOUT: Duration = Key {
        doc: "How long requests in flight may take after a stop or restart was asked for; then they are answered \
              with an error that says so. Ending the connections to upstreams and their processes may take 2 seconds more.",
        default: Some("\"30s\""),
        example: "\"30s\"",
        zero: Zero::Allowed,
        ..Key::new("drain_timeout", kinds::DURATION)
    };

    SESSION_TIMEOUT: Duration = Key {
        doc: "A client's session without any request for this long is ended.",
        default: Some("\"1h\""),
        example: "\"1h\"",
        ..Key::new("session_timeout", kinds::DURATION)
    };

    MAX_CONNECTIONS: usize = Key {
        doc: "How many connections of clients may be open, from 1 to 1000000. Beyond, connections without \
              a request in flight are closed for new ones: of the client that has most of them, those that \
              were idle for longest. If all are in use, a new one is answered 503. Left out, it is half of \
              the files that the gateway may have open (its hard limit, LimitNOFILE= in the unit), and at \
              most 32768. All but 512 of these files are the most that can be had.",
        example: "10000",
        range: 1..=1_000_000,
        ..Key::new("max_connections", number())
    };

    MAX_SESSIONS: usize = Key {
        doc: "How many sessions of clients may be open, from 1 to 1000000. Beyond, a session is ended \
              whose client is not connected: of the client that has most of them, the one that was silent \
              for longest. If all clients are connected, a new session is refused, unless one client has \
              more than half of all. One client has streams in at most half of them; more are answered \
              503.",
        default: Some("10000"),
        example: "10000",
        range: 1..=1_000_000,
        ..Key::new("max_sessions", number())
    };

    MAX_SESSIONS_PER_CLIENT: usize = Key {
        doc: "How many of them may belong to one client: one of [clients.NAME] that does not have max_sessions; without a \
              name one network address, 127.0.0.0/8, or one IPv6 network (/64). At the limit, the client's session that was \
              silent for longest is ended; if all are in use, a new one is refused with 429. Left out, there is no such \
              limit; behind a reverse proxy all clients have its address, unless it is one of trusted_proxies.",
        example: "100",
        range: 1..=1_000_000,
        ..Key::new("max_sessions_per_client", number())
    };

    RATE_PER_CLIENT: Rate = Key {
        doc: "How many requests, notifications and event streams one client may begin in a second, minute or hour, where \
              [clients.NAME] does not have rate; who counts as one client, max_sessions_per_client says, and whoever comes \
              over a Unix socket without a name has no such limit. More are answered with 429, Retry-After, and an error \
              whose data has retryAfterMs. See LIMITS OF CLIENTS. Left out, there is no such limit.",
        example: "\"1200/m\"",
        since: "0.2.0",
        ..Key::new("rate_per_client", rate::RATE)
    };

    BURST_PER_CLIENT: u32 = Key {
        doc: "How many of these may come at once. Left out, it is the number of rate_per_client.",
        example: "100",
        range: 1..=1_000_000,
        since: "0.2.0",
        ..Key::new("burst_per_client", number())
    };

    MAX_CONCURRENCY_PER_CLIENT: usize = Key {
        doc: "How many requests of one client may be in flight at once, as with rate_per_client.",
        example: "100",
        range: 1..=1_000_000,
        since: "0.2.0",
        ..Key::new("max_concurrency_per_client", number())
    };

    MAX_STREAMS_PER_CLIENT: usize = Key {
        doc: "How many event streams one client may have open at once (GET, subscriptions/listen), as with \
              rate_per_client.",
        example: "100",
        range: 1..=1_000_000,
        since: "0.2.0",
        ..Key::new("max_streams_per_client", number())
    };

    CLIENT_TIMEOUT: Duration = Key {
        doc: "How long a client may hold a connection without a request, take to send the head of one, and \
              leave an answer unread. A body must bring at least 1 KiB for each second of each such time, \
              until it is complete. Slower requests are answered with 408 and cut.",
        default: Some("\"30s\""),
        example: "\"30s\"",
        ..Key::new("client_timeout", kinds::DURATION)
    };

    MAX_MESSAGE_SIZE: usize = Key {
        doc: "The largest message that is accepted from a client or an upstream, from 1KiB to 1GiB.",
        default: Some("\"16MiB\""),
        example: "\"16MiB\"",
        range: KIB..=GIB,
        on_change: OnChange::Restart,
        ..Key::new("max_message_size", size())
    };

    MEMORY: usize = Key {
        doc: "How much all that waits for somebody may take together, from 64MiB: messages that come, requests in flight, \
              answers that clients have not read, and what sessions keep for theirs. Beyond, what sessions keep for clients \
              that may come back for it is dropped, and messages of more than 64 KiB are answered with 503 and Retry-After \
              until there is room again; all others, too, where it is a quarter more. Left out, it is a quarter of the memory that the process may have (of the machine, or of \
              MemoryHigh= and MemoryMax= in the unit), and four times max_message_size at least. The process takes \
              more than this: copies of what is under way, upstreams' lists, and itself.",
        example: "\"1GiB\"",
        range: 64 * MIB..=TIB,
        since: "0.2.0",
        ..Key::new("memory", size())
    };

    USER: String = Key {
        doc: "The user that a gateway becomes which is started as root, for good, once it has bound its listeners; \
              --user wins over it. It must be able to read the configuration, for reloads. Left out, the \
              gateway stays who started it. As a service it is started as its own user anyway.",
        example: "\"mcpeg\"",
        on_change: OnChange::Start,
        ..Key::new("user", kinds::ACCOUNT)
    };

    GROUP: String = Key {
        doc: "The group that the gateway is in as that user. Left out, it is the user's own.",
        example: "\"mcpeg\"",
        on_change: OnChange::Start,
        ..Key::new("group", kinds::ACCOUNT)
    };

    LEGACY_SSE: bool = Key {
        doc: "Whether clients of HTTP+SSE, the transport of revision 2024-11-05, are served too: all upstreams at \
              /sse, one at /sse/NAME. A client whose event stream breaks off has 30 seconds to come back for it \
              (Last-Event-ID); then its session ends. At a restart a stream ends when what is in flight was answered, \
              and a client that comes back goes on with its session.",
        default: Some("false"),
        example: "true",
        ..Key::new("legacy_sse", kinds::TRUTH)
    };

    METRICS: ShownOn = Key {
        doc: "Which listeners answer GET /metrics, with numbers in the text form that Prometheus reads: local \
              is Unix sockets and loopback addresses, for every program that can connect to them. They name the \
              upstreams, as /health does.",
        default: Some("\"local\""),
        example: "\"local\"",
        ..Key::new("metrics", SHOWN_ON)
    };

    METRICS_MAX_TOOLS: usize = Key {
        doc: "Tools that GET /metrics tells apart; calls of the rest are counted together, as tool=\"other\".",
        default: Some("1000"),
        example: "200",
        range: 0..=100_000,
        since: "0.2.0",
        on_change: OnChange::Restart,
        ..Key::new("metrics_max_tools", number())
    };

    STATUS: ShownOn = Key {
        doc: "Which listeners answer GET /status, a page for people: as metrics. It tells the state of each upstream and what \
              mends it, and what has failed last; programs of this machine are told clients' names, too.",
        default: Some("\"local\""),
        example: "\"off\"",
        since: "0.2.0",
        ..Key::new("status", SHOWN_ON)
    };
}

table! {
    /// `[listeners.NAME]`, any number of them.
    LISTENER "listeners.NAME";

    ADDRESS: (Place, ListenAddr) = Key {
        doc: "Where to listen, as with listen in [server]. An address that other machines can reach needs auth here, or \
              auth = \"none\" in [server].",
        example: "\"0.0.0.0:8443\"",
        since: "0.2.0",
        ..Key::new("address", listeners::ADDRESS)
    };

    TLS: Tls = Key {
        doc: "Has clients connect by TLS 1.2 or 1.3: cert is the file of the certificate and of those between it and the \
              authority's, key that of its private key, both PEM. With client_ca, clients may show a certificate, which one \
              of the authorities in this file must have signed. The files are read again on a reload, and when they change; new \
              ones that cannot be used leave the old ones in use, which the log and --status tell.",
        example: "{ cert = \"/etc/mcpeg/tls/fullchain.pem\", key = \"/etc/mcpeg/tls/privkey.pem\" }",
        since: "0.2.0",
        ..Key::new("tls", trust::TLS)
    };

    LISTENER_AUTH: Vec<Auth> = Key {
        doc: "How clients may prove who they are; one of these is enough: token is what mcpeg token makes, peer \
              what the kernel says of the other end of a Unix socket, certificate one that an authority of client_ca \
              has signed (see [clients.NAME] of both), oauth a token of an authorization server (see [auth.oauth.NAME]). \
              Left out, nobody has to prove anything, which \
              needs a loopback address, a Unix socket, or auth = \"none\" in [server].",
        example: "[\"token\"]",
        since: "0.2.0",
        ..Key::new("auth", trust::AUTH)
    };

    TRUSTED_PROXIES: Proxies = Key {
        doc: "Addresses and networks of proxies that are believed when they say for whom they ask, by X-Forwarded-For, by \
              Forwarded (RFC 7239), or with proxy_protocol; \"unix\" is whoever connects to a Unix socket. Limits, the log \
              and what is told to this machine only then go by that address. Nobody else is believed.",
        default: Some("[]"),
        example: "[\"10.0.0.0/8\", \"127.0.0.1\"]",
        since: "0.2.0",
        ..Key::new("trusted_proxies", trust::PROXIES)
    };

    PROXY_PROTOCOL: bool = Key {
        doc: "Whether each connection of a trusted proxy begins with a header of the PROXY protocol, version 1 or 2. One that \
              does not is closed.",
        default: Some("false"),
        example: "true",
        since: "0.2.0",
        ..Key::new("proxy_protocol", kinds::TRUTH)
    };

    LISTENER_HOSTS: Vec<String> = Key {
        doc: "As allowed_hosts in [server], for this listener instead of those.",
        example: "[\"mcp.example.org\"]",
        since: "0.2.0",
        ..Key::new("allowed_hosts", kinds::HOSTS)
    };

    LISTENER_ORIGINS: Vec<String> = Key {
        doc: "As allowed_origins in [server], for this listener instead of those.",
        example: "[\"https://app.example.org\"]",
        since: "0.2.0",
        ..Key::new("allowed_origins", kinds::ORIGINS)
    };

    LISTENER_METRICS: bool = Key {
        doc: "Whether this listener answers GET /metrics. Left out, metrics in [server] says it.",
        example: "true",
        since: "0.2.0",
        ..Key::new("metrics", kinds::TRUTH)
    };

    LISTENER_STATUS: bool = Key {
        doc: "Whether this listener answers GET /status. Left out, status in [server] says it.",
        example: "true",
        since: "0.2.0",
        ..Key::new("status", kinds::TRUTH)
    };
}

table! {
    /// `[auth.oauth.NAME]`, any number of them.
    ISSUER "auth.oauth.NAME";

    ISSUER_URL: String = Key {
        doc: "The identifier of an authorization server whose access tokens (JWT, RFC 9068) are accepted, as it writes itself \
              in iss: https://, or http:// on loopback. Clients are told to get their tokens there.",
        example: "\"https://login.example.org\"",
        since: "0.2.0",
        ..Key::new("issuer", proof::URL)
    };

    AUDIENCE: Vec<String> = Key {
        doc: "What aud of a token must be, or have in it. Without that, tokens that were made for others would be good here, \
              so that it must be written. Some servers put the resource there, others a name or the number of an application.",
        example: "[\"https://mcp.example.org/mcp\"]",
        since: "0.2.0",
        ..Key::new("audience", proof::AUDIENCE)
    };

    RESOURCE: String = Key {
        doc: "The URL of /mcp as clients reach it (RFC 9728, RFC 8707). Its origin is where they look for the metadata. A \
              client of /mcp/NAME is told this URL with /NAME; where the URL is one of audience, a token for that longer one is good there, \
              and nowhere else.",
        example: "\"https://mcp.example.org/mcp\"",
        since: "0.2.0",
        ..Key::new("resource", proof::RESOURCE)
    };

    JWKS_URL: String = Key {
        doc: "Where the server's keys are. Left out, they are found by its metadata (RFC 8414, OpenID Connect Discovery).",
        example: "\"https://login.example.org/keys\"",
        since: "0.2.0",
        ..Key::new("jwks_url", proof::URL)
    };

    JWKS_FILE: PathBuf = Key {
        doc: "A file with the server's keys, instead of jwks_url. It is read again on a reload, and when a token names a key that is not \
              known.",
        example: "\"/etc/mcpeg/keys.json\"",
        since: "0.2.0",
        ..Key::new("jwks_file", kinds::PATH)
    };

    ISSUER_CA: PathBuf = Key {
        doc: "Certificates of authorities (PEM) that are trusted for this server instead of the system's.",
        example: "\"/etc/mcpeg/internal-ca.pem\"",
        since: "0.2.0",
        ..Key::new("ca_file", kinds::PATH)
    };

    ALGORITHMS: Vec<Algorithm> = Key {
        doc: "The algorithms of signatures that are accepted, of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA.",
        default: Some("[\"RS256\", \"ES256\", \"EdDSA\"]"),
        example: "[\"ES256\"]",
        since: "0.2.0",
        ..Key::new("algorithms", proof::ALGORITHMS)
    };

    SCOPES: Vec<String> = Key {
        doc: "Scopes that every token must have (scope, or scp); clients are told to ask for them. One without them is refused by \
              403, with what is missing.",
        default: Some("[]"),
        example: "[\"mcp\"]",
        since: "0.2.0",
        ..Key::new("scopes", proof::SCOPES)
    };

    CLOCK_SKEW: Duration = Key {
        doc: "By how much the clocks may differ, up to 5m: a token is good for so much longer, and so much earlier.",
        default: Some("\"30s\""),
        example: "\"1m\"",
        since: "0.2.0",
        zero: Zero::Allowed,
        ..Key::new("clock_skew", kinds::DURATION)
    };
}

table! {
    /// `[clients.NAME]`, any number of them.
    CLIENT "clients.NAME";

    CLIENT_OAUTH: (Place, Proof) = Key {
        doc: "Recognises the client by a token of the authorization server [auth.oauth.NAME] that issuer names, whose claims have \
              these values. A claim may be a string, a list, of which one is enough, or a table of further ones; what is written here \
              may be a list, too, of which one is enough. scope is read word by word. Without claims every token of that server fits. Each sub \
              is a person of its own: nobody meets the sessions and tasks of another one, though both are this client.",
        example: "{ issuer = \"corp\", claims = { groups = \"dev\" } }",
        since: "0.2.0",
        ..Key::new("oauth", proof::PROOF)
    };

    PEER: Peer = Key {
        doc: "Recognises the client on a Unix socket by what the kernel says of it: user, group (of the process or one of its \
              further ones) and unit, the systemd unit that the process belongs to. All that are written must fit. A unit can \
              be told only where mcpeg sees the processes of others in /proc, which the shipped unit forbids: with \
              [Service] and ProtectProc=default, written by systemctl edit mcpeg, it does; --check says so. Whatever else \
              recognises it, the client is also recognised by the token that mcpeg token create NAME makes.",
        example: "{ user = \"gitlab-runner\" }",
        since: "0.2.0",
        ..Key::new("peer", peer::PEER)
    };

    CLIENT_CERTIFICATE: Certificate = Key {
        doc: "Recognises the client by the certificate that it shows to a listener with client_ca, which one of the \
              authorities there must have signed: dns, uri and email are one of its alternative names, each as a whole, \
              fingerprint is its SHA-256 digest. All that are written must fit. A certificate of no client, and one that \
              has expired since the handshake, is refused with 403.",
        example: "{ dns = \"ci.example.org\" }",
        since: "0.2.0",
        ..Key::new("certificate", certificate::CERTIFICATE)
    };

    CLIENT_ENDPOINTS: Names = Key {
        doc: "The endpoints that the client may use, by their names in /mcp/NAME: upstreams, and those of [endpoints.NAME]. \
              If it is one, the client has it at /mcp, too; if there are more, it has nothing there. Left out, the client may \
              use all of them.",
        example: "[\"build\"]",
        since: "0.2.0",
        ..Key::new("endpoints", peer::NAMES)
    };

    CLIENT_TOOLS: Selection = Key {
        doc: "Which tools the client sees and can call, by the names that the endpoint shows, in the patterns of tools in \
              [upstreams.NAME]; beside what the endpoint and the upstream leave out. What it does not see is to it as what \
              does not exist.",
        example: "{ deny = [\"*_delete*\"] }",
        since: "0.2.0",
        ..Key::new("tools", filters::NARROWING)
    };

    CLIENT_PROMPTS: Selection = Key {
        doc: "Which prompts the client sees and can use, as with tools.",
        example: "{ allow = [\"git_*\"] }",
        since: "0.2.0",
        ..Key::new("prompts", filters::NARROWING)
    };

    CLIENT_RESOURCES: Selection = Key {
        doc: "Which resources the client sees and can read, by their URIs, as with resources in [upstreams.NAME].",
        example: "{ deny = [\"file:///etc/*\"] }",
        since: "0.2.0",
        ..Key::new("resources", filters::NARROWING)
    };

    CLIENT_RATE: Rate = Key {
        doc: "How many requests, notifications and event streams the client may begin in a second, minute or hour. More are \
              answered with 429, Retry-After, and an error whose data has retryAfterMs. See LIMITS OF CLIENTS. Left out, \
              rate_per_client in [server] says it.",
        example: "\"600/m\"",
        since: "0.2.0",
        ..Key::new("rate", rate::RATE)
    };

    CLIENT_BURST: u32 = Key {
        doc: "How many of these may come at once. Left out, it is the number of rate.",
        example: "50",
        range: 1..=1_000_000,
        since: "0.2.0",
        ..Key::new("burst", number())
    };

    CLIENT_TOOL_RATES: Vec<(Pattern, Rate)> = Key {
        doc: "How often the client may call tools, by patterns of the names that the endpoint shows; of several that fit, the \
              first counts. Tools that fit one pattern have its rate together. A call counts for rate, too.",
        example: "{ web_search = \"30/m\", \"git_*\" = \"10/s\" }",
        since: "0.2.0",
        ..Key::new("tool_rates", rate::TOOL_RATES)
    };

    CLIENT_CONCURRENCY: usize = Key {
        doc: "How many requests of the client may be in flight at once; more are answered with 429. Left out, \
              max_concurrency_per_client in [server] says it.",
        example: "20",
        range: 1..=1_000_000,
        since: "0.2.0",
        ..Key::new("max_concurrency", number())
    };

    CLIENT_SESSIONS: usize = Key {
        doc: "How many sessions the client may have, as with max_sessions_per_client in [server], which says it where this \
              is left out.",
        example: "10",
        range: 1..=1_000_000,
        since: "0.2.0",
        ..Key::new("max_sessions", number())
    };

    CLIENT_STREAMS: usize = Key {
        doc: "How many event streams the client may have open at once (GET, subscriptions/listen); more are answered with \
              429. Left out, max_streams_per_client in [server] says it.",
        example: "10",
        range: 1..=1_000_000,
        since: "0.2.0",
        ..Key::new("max_streams", number())
    };
}

table! {
    /// `[endpoints.NAME]`, any number of them.
    ENDPOINT "endpoints.NAME";

    ENDPOINT_UPSTREAMS: Names = Key {
        doc: "The upstreams whose tools, prompts and resources are at /mcp/NAME, in this order. Left out, it is all of them.",
        example: "[\"git\", \"time\"]",
        since: "0.2.0",
        ..Key::new("upstreams", peer::NAMES)
    };

    ENDPOINT_PREFIX: Prefix = Key {
        doc: "How the names of tools and prompts are kept apart there, as with prefix in [server].",
        default: Some("\"auto\""),
        example: "\"never\"",
        since: "0.2.0",
        ..Key::new("prefix", choice(PREFIXES))
    };

    ENDPOINT_TOOLS: Selection = Key {
        doc: "Which tools are there, by the names that the endpoint shows, in the patterns of tools in [upstreams.NAME]; beside \
              what the upstream leaves out.",
        example: "{ allow = [\"git_*\", \"time_now\"] }",
        since: "0.2.0",
        ..Key::new("tools", filters::NARROWING)
    };

    ENDPOINT_PROMPTS: Selection = Key {
        doc: "Which prompts are there, as with tools.",
        example: "{ deny = [\"draft_*\"] }",
        since: "0.2.0",
        ..Key::new("prompts", filters::NARROWING)
    };

    ENDPOINT_RESOURCES: Selection = Key {
        doc: "Which resources are there, by their URIs, as with resources in [upstreams.NAME].",
        example: "{ allow = [\"file:///srv/*\"] }",
        since: "0.2.0",
        ..Key::new("resources", filters::NARROWING)
    };
}

table! {
    /// `[log]`.
    LOG "log";

    LEVEL: String = Key {
        doc: "The least severe level to log: off, error, warn, info, debug or trace; after it, separated by \
              commas, TARGET=LEVEL for single parts of mcpeg. A reload puts it in force.",
        default: Some("\"info\""),
        example: "\"info,mcpeg::gateway=debug\"",
        ..Key::new("level", log::LEVEL)
    };

    LOG_FILE: PathBuf = Key {
        doc: "The log file. Left out, mcpeg logs to standard error only. The file is created with mode 0640; \
              its directory is created with mode 0750 if it is missing.",
        example: "\"/var/log/mcpeg/mcpeg.log\"",
        on_change: OnChange::Restart,
        ..Key::new("file", kinds::PATH)
    };

    FORMAT: LogFormat = Key {
        doc: "How the file is written: one JSON object a line, text for people, or key=value pairs.",
        default: Some("\"json\""),
        example: "\"json\"",
        on_change: OnChange::Restart,
        ..Key::new("format", choice(&[("json", LogFormat::Json), ("text", LogFormat::Text), ("logfmt", LogFormat::Logfmt)]))
    };

    SPANS: Spans = Key {
        doc: "Where JSON has what is known about the request of a record: flat puts it beside the record's own \
              fields, nested into an array \"spans\", outermost first.",
        default: Some("\"flat\""),
        example: "\"nested\"",
        on_change: OnChange::Restart,
        ..Key::new("spans", choice(&[("flat", Spans::Flat), ("nested", Spans::Nested)]))
    };

    INSTANCE: String = Key {
        doc: "The name of this gateway in JSON and logfmt records. Left out, it is the name of the host.",
        example: "\"gateway-1\"",
        on_change: OnChange::Restart,
        ..Key::new("instance", kinds::TEXT)
    };

    CONSOLE_LEVEL: String = Key {
        doc: "The level of standard error, written as that of the file. Left out, both have the same.",
        example: "\"warn\"",
        ..Key::new("console_level", log::LEVEL)
    };

    CONSOLE_FORMAT: ConsoleFormat = Key {
        doc: "How standard error is written; auto is text, and under systemd text with the priority that the \
              journal reads.",
        default: Some("\"auto\""),
        example: "\"auto\"",
        on_change: OnChange::Restart,
        ..Key::new("console_format", choice(&[
            ("auto", ConsoleFormat::Auto),
            ("text", ConsoleFormat::Always(LogFormat::Text)),
            ("json", ConsoleFormat::Always(LogFormat::Json)),
            ("logfmt", ConsoleFormat::Always(LogFormat::Logfmt)),
        ]))
    };

    QUEUE: usize = Key {
        doc: "How much may wait for the disk, and how much is kept of the newest while it cannot be written.",
        default: Some("\"4MiB\""),
        example: "\"16MiB\"",
        range: KIB..=GIB,
        on_change: OnChange::Restart,
        ..Key::new("queue", size())
    };

    OVERFLOW: Overflow = Key {
        doc: "What happens when the queue is full because the disk is slow: block lets the gateway wait, drop \
              drops new records, counts them by level, and says so in a record.",
        default: Some("\"block\""),
        example: "\"drop\"",
        on_change: OnChange::Restart,
        ..Key::new("overflow", choice(&[("block", Overflow::Block), ("drop", Overflow::Drop)]))
    };

    ON_FULL: OnFull = Key {
        doc: "What happens when the file cannot be written (disk full, read-only, an error): drop serves on, \
              keeps the newest records that the queue holds, tries again, and says how many were lost; stop \
              drains the gateway and ends it with exit code 71.",
        default: Some("\"drop\""),
        example: "\"stop\"",
        ..Key::new("on_full", choice(&[("drop", OnFull::Drop), ("stop", OnFull::Stop)]))
    };

    FSYNC: Fsync = Key {
        doc: "When records are forced to the disk, against a crash of the machine: never, before each \
              rotation, or each second.",
        default: Some("\"never\""),
        example: "\"1s\"",
        ..Key::new("fsync", choice(&[("never", Fsync::Never), ("rotate", Fsync::Rotate), ("1s", Fsync::Second)]))
    };

    ACCESS: Access = Key {
        doc: "Which requests have a record of their own in the log, of level info and target mcpeg::access, when \
              they have been answered: off is none, errors those that have failed or were refused, all is all.",
        default: Some("\"off\""),
        example: "\"errors\"",
        since: "0.2.0",
        ..Key::new("access", choice(&[("off", Access::Off), ("errors", Access::Errors), ("all", Access::All)]))
    };

    AUDIT: Audit = Key {
        doc: "Where the audit goes: one record for each call of a tool, each refusal, each act upon a token or a \
              login, and each change of the configuration. It is a file, with the format, queue, rotation and retention of \
              the log file; auto is the journal under systemd, with fields (see AUDIT in mcpeg(8)), and \
              elsewhere off.",
        default: Some("\"auto\""),
        example: "\"/var/log/mcpeg/audit.log\"",
        since: "0.2.0",
        on_change: OnChange::Restart,
        ..Key::new("audit", log::AUDIT)
    };

    AUDIT_LEVEL: AuditLevel = Key {
        doc: "Which records the audit has: info is all, warn those of what has not gone well.",
        default: Some("\"info\""),
        example: "\"warn\"",
        since: "0.2.0",
        ..Key::new("audit_level", choice(&[("info", AuditLevel::Info), ("warn", AuditLevel::Warn)]))
    };

    AUDIT_ARGUMENTS: bool = Key {
        doc: "What the audit has of the arguments of a call: off is nothing, digest the SHA-256 of their JSON \
              text as the client has written it. Who can guess arguments can prove by a digest that he has.",
        default: Some("\"off\""),
        example: "\"digest\"",
        since: "0.2.0",
        ..Key::new("audit_arguments", choice(&[("off", false), ("digest", true)]))
    };

    ROTATE: bool = Key {
        doc: "Who rotates the file: own is mcpeg, by the keys below, by SIGUSR1 and by mcpeg --log-rotate. With \
              external, for logrotate(8), mcpeg only opens the file again when it is told to or finds it moved.",
        default: Some("\"own\""),
        example: "\"external\"",
        ..Key::new("rotate", choice(&[("own", false), ("external", true)]))
    };

    ROTATE_SIZE: Option<u64> = Key {
        doc: "The size that the file does not exceed, from 1KiB; \"never\" for no limit. A longer record has a \
              file of its own.",
        default: Some("\"100MiB\""),
        example: "\"1GiB\"",
        range: KIB..=16 * TIB,
        ..Key::new("rotate_size", kinds::SIZE_OR_NEVER)
    };

    ROTATE_EVERY: Every = Key {
        doc: "How often the file is rotated whatever its size; an empty file is not.",
        default: Some("\"never\""),
        example: "\"daily\"",
        ..Key::new("rotate_every", choice(&[
            ("never", Every::Never),
            ("hourly", Every::Hour),
            ("daily", Every::Day),
            ("weekly", Every::Week),
        ]))
    };

    ROTATE_AT: At = Key {
        doc: "The time of rotate_every as HH:MM, for weekly with the day before it (mon, the default, to sun); \
              for hourly only the minutes count.",
        default: Some("\"00:00\""),
        example: "\"sun 03:30\"",
        ..Key::new("rotate_at", rotation::TIME)
    };

    ROTATE_ZONE: Zone = Key {
        doc: "Whether rotate_at is local time or UTC.",
        default: Some("\"local\""),
        example: "\"utc\"",
        ..Key::new("rotate_zone", choice(&[("local", Zone::Local), ("utc", Zone::Utc)]))
    };

    COMPRESS: bool = Key {
        doc: "Whether rotated files are compressed, in a thread of low priority.",
        default: Some("\"gzip\""),
        example: "\"none\"",
        ..Key::new("compress", choice(&[("gzip", true), ("none", false)]))
    };

    COMPRESS_LEVEL: u32 = Key {
        doc: "The level of compression, 1 (fast) to 9 (small).",
        default: Some("3"),
        example: "6",
        range: 1..=9,
        ..Key::new("compress_level", number())
    };

    KEEP_FILES: Option<usize> = Key {
        doc: "How many rotated files are kept; 0 for no limit. Older ones are deleted after each rotation and at \
              the start. Only files with the names that mcpeg gives are touched.",
        default: Some("10"),
        example: "30",
        range: 0..=100_000,
        ..Key::new("keep_files", kinds::COUNT_OR_ZERO)
    };

    KEEP_AGE: Duration = Key {
        doc: "How long rotated files are kept. Left out, age does not matter.",
        example: "\"30d\"",
        ..Key::new("keep_age", kinds::DURATION)
    };

    KEEP_SIZE: u64 = Key {
        doc: "How much all rotated files may have together, from 1KiB. Left out, their size does not matter.",
        example: "\"5GiB\"",
        range: KIB..=16 * TIB,
        ..Key::new("keep_size", size())
    };
}

table! {
    /// `[upstreams.NAME]`, any number of them.
    UPSTREAM "upstreams.NAME";

    COMMAND: String = Key {
        doc: "The program of an upstream that speaks MCP on its standard input and output: an absolute path, \
              or a name that is looked up in PATH. An upstream has either command or url.",
        example: "\"mcp-server-time\"",
        ..Key::new("command", upstream::COMMAND)
    };

    ARGS: Vec<String> = Key {
        doc: "The command's arguments, one string each; no shell looks at them.",
        default: Some("[]"),
        example: "[\"--local-timezone\", \"UTC\"]",
        only_with: Some("command"),
        ..Key::new("args", upstream::ARGS)
    };

    ENV: BTreeMap<String, Secret> = Key {
        doc: "The command's environment beside PATH, HOME, LANG, TZ and USER. Nothing else is inherited from \
              mcpeg; a variable of mcpeg's own is handed on by NAME = \"${env:NAME}\".",
        default: Some("{}"),
        example: "{ TZ = \"UTC\" }",
        only_with: Some("command"),
        ..Key::new("env", upstream::ENV)
    };

    WORKING_DIR: PathBuf = Key {
        doc: "The command's working directory. Left out, it is mcpeg's own.",
        example: "\"/srv/files\"",
        only_with: Some("command"),
        ..Key::new("working_dir", kinds::PATH)
    };

    CHILD_USER: String = Key {
        doc: "The user that the command runs as, with that user's group and no others. Only a gateway that \
              runs as root can do that. Left out, it is mcpeg's own user.",
        example: "\"nobody\"",
        only_with: Some("command"),
        ..Key::new("user", upstream::USER)
    };

    MEMORY_MAX: u64 = Key {
        doc: "The most private memory that each process of the command may have (RLIMIT_DATA), from 16MiB to \
              1TiB. Left out, it is what mcpeg itself may have.",
        example: "\"512MiB\"",
        range: 16 * MIB..=TIB,
        only_with: Some("command"),
        ..Key::new("memory_max", size())
    };

    TASKS_MAX: u64 = Key {
        doc: "The most processes and threads that the command's user may have (RLIMIT_NPROC), those of other \
              programs included; of use together with a user of its own. Left out, it is what mcpeg itself may have.",
        example: "64",
        range: 1..=4_194_304,
        only_with: Some("command"),
        ..Key::new("tasks_max", number())
    };

    OPEN_FILES_MAX: u64 = Key {
        doc: "The most files that each process of the command may have open (RLIMIT_NOFILE). Left out, it is \
              what mcpeg itself may have.",
        example: "1024",
        range: 16..=1_048_576,
        only_with: Some("command"),
        ..Key::new("open_files_max", number())
    };

    URL: Vec<String> = Key {
        doc: "The endpoint of an upstream that speaks MCP over Streamable HTTP, http:// or https://.",
        example: "\"https://mcp.example.org/mcp\"",
        ..Key::new("url", upstream::URL)
    };

    URLS: Vec<String> = Key {
        doc: "Instead of url: several endpoints that serve the same. A request goes to the one that has the \
              fewest in flight, a session stays where it was begun. One that cannot be reached is left out \
              for a while that grows from 1 second to 1 minute.",
        example: "[\"http://10.0.0.1:9000/mcp\", \"http://10.0.0.2:9000/mcp\"]",
        ..Key::new("urls", upstream::URLS)
    };

    TRANSPORT: HttpTransport = Key {
        doc: "How messages go to the url: streamable-http (revision 2025-03-26 and later), sse (HTTP+SSE of \
              2024-11-05; the url is that of its event stream, often /sse), or auto, which tries the first and, \
              where the server refuses that by a status such as 404 or 405, the second.",
        default: Some("\"auto\""),
        example: "\"sse\"",
        only_with: Some("url"),
        ..Key::new(
            "transport",
            choice(&[
                ("auto", HttpTransport::Auto),
                ("streamable-http", HttpTransport::StreamableHttp),
                ("sse", HttpTransport::Sse),
            ]),
        )
    };

    CA_FILE: PathBuf = Key {
        doc: "Certificates of authorities (PEM) that are trusted for this upstream instead of the system's.",
        example: "\"/etc/mcpeg/internal-ca.pem\"",
        only_with: Some("url"),
        ..Key::new("ca_file", kinds::PATH)
    };

    HEADERS: Headers = Key {
        doc: "Headers that are sent with each request to the url. A value may say something of the client of a call: \
              ${client:name} is its name, as [clients.NAME] has it (of a person whom an authorization server has named, also \
              that server and the person's subject, apart by spaces), and ${client:header:X-NAME} is what it has sent in this \
              header. An upstream with such a value has connections, sessions and lists for each client alone; it is reached \
              when a client calls. A header is left out where the client has no name or has not sent the other header, and \
              where there is no client. What clients prove themselves to mcpeg with, such as Authorization, is never passed \
              on.",
        default: Some("{}"),
        example: "{ Authorization = \"Bearer ${env:DOCS_TOKEN}\" }",
        only_with: Some("url"),
        ..Key::new("headers", upstream::HEADERS)
    };

    OAUTH: Box<OAuth> = Key {
        doc: "How mcpeg logs in at a url that wants tokens of an authorization server; an empty table is enough for most. A \
              person logs in once, by mcpeg login NAME; from then on mcpeg renews the token. issuer is the server, if it \
              is not to be what the url names. Who mcpeg is there: client_metadata_url is the https:// address of a document \
              of yours that says so, for servers that read such documents; client_id and perhaps client_secret are those of \
              a registration by hand, and without either mcpeg registers itself, where it can. scopes is what is asked for; \
              left out, what the url says that it needs. flow is how tokens are got: code by a browser that comes back to \
              mcpeg login, device by a code that is typed into a browser anywhere, client-credentials by client_id and \
              client_secret alone, without any person and without mcpeg login. A client_secret needs an issuer, which it is \
              told to and nobody else. See UPSTREAMS THAT WANT A LOGIN.",
        example: "{ scopes = [\"files:read\"], flow = \"code\" }",
        since: "0.2.0",
        only_with: Some("url"),
        ..Key::new("oauth", oauth::OAUTH)
    };

    STDERR: Stderr = Key {
        doc: "Where lines go that the command writes to standard error: log is the log, at most 200 a second; file is \
              stderr.NAME.log beside the log file (without one, in the state directory), which leads to the file of \
              this day (UTC); both is the two of them; discard is nowhere. A reload that changes this key or the next \
              two does not restart the command.",
        default: Some("\"log\""),
        example: "\"file\"",
        only_with: Some("command"),
        ..Key::new("stderr", choice(&[
            ("log", Stderr::Log),
            ("file", Stderr::File),
            ("both", Stderr::Both),
            ("discard", Stderr::Discard),
        ]))
    };

    STDERR_KEEP: usize = Key {
        doc: "How many of these files are kept, that of this day included; older files whose names begin with \
              stderr.NAME.log are deleted when a new one is begun.",
        default: Some("7"),
        example: "30",
        range: 1..=10_000,
        only_with: Some("command"),
        ..Key::new("stderr_keep", number())
    };

    STDERR_SIZE: u64 = Key {
        doc: "The size that a file of one day does not exceed, from 4KiB to 1TiB. What comes after it is counted; \
              the log and the end of the file tell how much it was.",
        default: Some("\"16MiB\""),
        example: "\"100MiB\"",
        range: 4 * KIB..=TIB,
        only_with: Some("command"),
        ..Key::new("stderr_size", size())
    };

    ENABLED: bool = Key {
        doc: "Whether the upstream is used. One with enabled = false is checked, but neither started nor listed, \
              and its references need not be resolved; --status shows it as disabled. A reload switches it.",
        default: Some("true"),
        example: "false",
        ..Key::new("enabled", kinds::TRUTH)
    };

    START_TIMEOUT: Duration = Key {
        doc: "How long the upstream may take from its start to an answered handshake.",
        default: Some("\"30s\""),
        example: "\"30s\"",
        ..Key::new("start_timeout", kinds::DURATION)
    };

    REQUEST_TIMEOUT: Duration = Key {
        doc: "How long one request to the upstream may take; progress does not extend it.",
        default: Some("\"5m\""),
        example: "\"5m\"",
        ..Key::new("request_timeout", kinds::DURATION)
    };

    SHARING: Sharing = Key {
        doc: "Whether sessions of clients share one connection to the upstream: shared is one for all, \
              per-session one for each, and auto one for each client that can answer requests of the \
              server (sampling, elicitation, roots) or that has extensions other than tasks, of which \
              the server is told. A url whose server speaks a revision up to 2025-11-25 is \
              an exception: with auto, each client of such a revision has a session of its own there, \
              whatever it can answer. Unless it is shared, a call of such a client of \
              revision 2026-07-28 to a server of an earlier revision has a connection of its own, which \
              ends with the call. At most 16 of these to a command and 256 to a url are open at once, and \
              half of them for one client (address and clientInfo). Further calls wait for up to five \
              seconds; meanwhile the oldest unanswered question is given up: the same client's if it has \
              its share, else that of the client that has most of them.",
        default: Some("\"auto\""),
        example: "\"auto\"",
        ..Key::new("sharing", choice(&[
            ("auto", Sharing::Auto),
            ("shared", Sharing::Shared),
            ("per-session", Sharing::PerSession),
        ]))
    };

    START: Start = Key {
        doc: "When the upstream is started: eager with mcpeg, lazy when somebody first lists or calls \
              something.",
        default: Some("\"eager\""),
        example: "\"lazy\"",
        ..Key::new("start", choice(&[("eager", Start::Eager), ("lazy", Start::Lazy)]))
    };

    IDLE_TIMEOUT: Option<Duration> = Key {
        doc: "An upstream without a request for this long is ended, and started again by the next call; \
              meanwhile it is listed as it was. 0s is never.",
        default: Some("\"0s\""),
        example: "\"15m\"",
        zero: Zero::Allowed,
        ..Key::new("idle_timeout", kinds::PERIOD)
    };

    HEALTH_INTERVAL: Option<Duration> = Key {
        doc: "How often an upstream that has nothing to do is asked whether it still answers. After one \
              unanswered question it is degraded, after the second it is started anew. 0s is never.",
        default: Some("\"1m\""),
        example: "\"1m\"",
        zero: Zero::Allowed,
        ..Key::new("health_interval", kinds::PERIOD)
    };

    MAX_CONCURRENCY: usize = Key {
        doc: "How many requests the upstream works on at once; further ones wait. Left out, there is no \
              limit. A request does not count while its server waits for an answer of its client; it goes \
              on as soon as there is room, before new requests (one of a session of revisions before \
              2026-07-28 at once). A client that does not answer within request_timeout is not waited for \
              any longer.",
        example: "8",
        range: 1..=100_000,
        ..Key::new("max_concurrency", number())
    };

    MAX_QUEUE: usize = Key {
        doc: "How many requests may wait; more are refused at once.",
        default: Some("100"),
        example: "100",
        range: 0..=1_000_000,
        ..Key::new("max_queue", number())
    };

    TOOLS: Selection = Key {
        doc: "Which tools are shown and can be called. allow and deny hold patterns of the names that the \
              upstream gives, in which * stands for any text and ? for one character; without allow all are \
              allowed, and what is denied is denied. rename gives tools other names; one that has such a \
              name already is hidden. The usual models refuse names with more than 64 characters, of which \
              the upstream's name and an underscore are a part on /mcp where names carry it; mcpeg warns of \
              them, and rename shortens them, as does a shorter name of the upstream.",
        example: "{ allow = [\"read_*\", \"list\"], deny = [\"*_secret\"], rename = { list = \"ls\" } }",
        ..Key::new("tools", filters::SELECTION)
    };

    PIN: Pin = Key {
        doc: "What becomes of tools that change under one's feet. With warn and enforce, each tool is held against what it \
              was when it was approved: its name, title, description, schemas and annotations. The first list of an \
              upstream is taken as approved. A tool that is new or another one after that is told by the log, --status and \
              /health, and with enforce it is withheld: it is not listed, and calls of it are answered as those of a tool \
              that is not there. mcpeg tools approve NAME shows what differs and approves it, which takes no reload. It \
              goes by the names of the upstream and of its tools as the server gives them, and by what tools lets be \
              shown; prompts and resources are not pinned.",
        default: Some("\"off\""),
        example: "\"enforce\"",
        since: "0.2.0",
        ..Key::new("pin", choice(&[("off", Pin::Off), ("warn", Pin::Warn), ("enforce", Pin::Enforce)]))
    };

    PROMPTS: Selection = Key {
        doc: "Which prompts are shown and can be used, as with tools.",
        example: "{ deny = [\"draft_*\"] }",
        ..Key::new("prompts", filters::SELECTION)
    };

    RESOURCES: Selection = Key {
        doc: "Which resources are shown and can be read, by their URIs, as with tools; rename is not \
              allowed. What is denied is denied in every spelling: percent-encoding, the case of scheme \
              and host, the default port, a user before the host, doubled slashes and backslashes, a \
              fragment and the parameters of a segment (;x) make no difference; the case of the path does. \
              With any pattern, a URI that climbs by .. or has a NUL is never shown.",
        example: "{ allow = [\"file:///srv/*\"] }",
        ..Key::new("resources", filters::RESOURCES)
    };
}
