//! Every key of the configuration, in one table: what the loader accepts, and what mcpeg.toml(5) and the shipped
//! example say, are both made from it.
//!
//! Order: tables in the order of the manual, keys in the order in which a reader needs them.

#[path = "reference_upstream.rs"]
mod upstream;

/// The tables of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// `[server]`.
    Server,
    /// `[log]`.
    Log,
    /// `[upstreams.NAME]`, any number of them.
    Upstream,
}

/// The type of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Truth,
    /// A string.
    Text,
    /// A string that is an absolute path.
    Path,
    /// An array of strings.
    TextList,
    /// An array of listener addresses.
    AddressList,
    /// A table of strings.
    TextMap,
    /// A string with a number and a unit of time.
    Duration,
    /// A string with a number and a unit of size.
    Size,
    /// A whole number from the first to the second.
    Number(i64, i64),
    /// A table with patterns of names in `allow` and `deny`, and new names in `rename`.
    Selection,
    /// One of these strings.
    Choice(&'static [&'static str]),
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The table that it belongs to.
    pub table: Table,
    /// Its name.
    pub name: &'static str,
    /// The type of its value.
    pub kind: Kind,
    /// Its default as it would be written in the file; `None` if leaving it out means something of its own, which
    /// the description tells.
    pub default: Option<&'static str>,
    /// A value as it would be written in the file, for the example.
    pub example: &'static str,
    /// What it does, in whole sentences.
    pub description: &'static str,
}

impl Table {
    /// All tables, in the order of the manual.
    pub const ALL: [Self; 3] = [Self::Server, Self::Log, Self::Upstream];

    /// The table's header as it is written in the file.
    #[must_use]
    pub const fn header(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Log => "log",
            Self::Upstream => "upstreams.NAME",
        }
    }

    /// The keys of this table, in the order of the manual.
    pub fn keys(self) -> impl Iterator<Item = &'static Key> {
        keys().filter(move |key| key.table == self)
    }
}

impl Kind {
    /// The type in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truth => "true or false",
            Self::Text => "a string",
            Self::Path => "a string with an absolute path",
            Self::TextList => "an array of strings",
            Self::AddressList => "an array of addresses",
            Self::TextMap => "a table of strings",
            Self::Duration => "a duration with its unit, such as \"30s\"",
            Self::Size => "a size with its unit, such as \"16MiB\"",
            Self::Number(..) => "a whole number",
            Self::Selection => "a table with `allow`, `deny` and `rename`",
            Self::Choice(_) => "one of the strings listed",
        }
    }

    /// The units that a value may have; `None` for kinds without units.
    #[must_use]
    pub const fn units(self) -> Option<&'static str> {
        match self {
            Self::Duration => Some("ms, s, m, h, d; several may be combined, as in \"1m 30s\""),
            Self::Size => Some("B, KiB, MiB, GiB (powers of 1024), kB, MB, GB (powers of 1000)"),
            _ => None,
        }
    }
}

/// Every key, once.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().chain(upstream::KEYS)
}

/// The keys of `[server]` and `[log]`.
const KEYS: &[Key] = &[
    Key {
        table: Table::Server,
        name: "listen",
        kind: Kind::AddressList,
        default: Some("[\"127.0.0.1:8080\"]"),
        example: "[\"127.0.0.1:8080\", \"unix:/run/mcpeg/http.sock\"]",
        description: "Where to listen: host:port, [IPv6]:port, or unix:/path. Port 0 lets the kernel choose. A TCP \
                      address that other machines can reach needs auth = \"none\".",
    },
    Key {
        table: Table::Server,
        name: "auth",
        kind: Kind::Choice(&["none"]),
        default: None,
        example: "\"none\"",
        description: "Write \"none\" to let anybody who can reach the listeners use every upstream. Left out, mcpeg \
                      listens only on loopback addresses and Unix sockets.",
    },
    Key {
        table: Table::Server,
        name: "prefix",
        kind: Kind::Choice(&["auto", "always", "never"]),
        default: Some("\"auto\""),
        example: "\"auto\"",
        description: "How the names of tools and prompts of several upstreams are kept apart on /mcp: with auto each \
                      carries its upstream's name and an underscore where there is more than one upstream, with \
                      always it always does, with never it never does and two equal names are an error.",
    },
    Key {
        table: Table::Server,
        name: "allowed_hosts",
        kind: Kind::TextList,
        default: Some("[]"),
        example: "[\"mcp.example.org\"]",
        description: "Values of the Host header that are accepted beside loopback names and the listeners' own \
                      addresses, as host or host:port. Others are refused, against DNS rebinding.",
    },
    Key {
        table: Table::Server,
        name: "allowed_origins",
        kind: Kind::TextList,
        default: Some("[]"),
        example: "[\"https://app.example.org\"]",
        description: "Values of the Origin header that are accepted beside loopback origins, as scheme://host or \
                      scheme://host:port. Requests from other web pages are refused.",
    },
    Key {
        table: Table::Server,
        name: "drain_timeout",
        kind: Kind::Duration,
        default: Some("\"30s\""),
        example: "\"30s\"",
        description: "How long requests in flight may take after a stop was asked for; then they are cut off. Ending the \
                      connections to upstreams and their processes may take 2 seconds more.",
    },
    Key {
        table: Table::Server,
        name: "session_timeout",
        kind: Kind::Duration,
        default: Some("\"1h\""),
        example: "\"1h\"",
        description: "A client's session without any request for this long is ended.",
    },
    Key {
        table: Table::Server,
        name: "max_connections",
        kind: Kind::Number(1, 1_000_000),
        default: None,
        example: "10000",
        description: "How many connections of clients may be open, from 1 to 1000000. Beyond, connections without a \
                      request in flight are closed for new ones, those of the client that has most of them first and of \
                      these the ones that were idle for longest; if all are in use, a new one is answered 503. Left out, it \
                      is half of the files that the gateway may have open (its hard limit, LimitNOFILE= in the unit), and \
                      32768 at most; more than all but 512 of these files cannot be had.",
    },
    Key {
        table: Table::Server,
        name: "max_sessions",
        kind: Kind::Number(1, 1_000_000),
        default: Some("10000"),
        example: "10000",
        description: "How many sessions of clients may be open, from 1 to 1000000. Beyond, one is ended whose client is not \
                      there, of the client that has most of them the one that was silent for longest; if all clients are \
                      there, a new session is refused, unless one client has more than half of all. A client has streams in half \
                      of them at most; more are answered 503.",
    },
    Key {
        table: Table::Server,
        name: "max_sessions_per_client",
        kind: Kind::Number(1, 1_000_000),
        default: None,
        example: "100",
        description: "How many of them may be those of one client, which is whoever connects from one network address, \
                      from 127.0.0.0/8, or from one IPv6 network (/64). Beyond, the client's session that was silent for longest is ended; if all are in use, a new one is \
                      refused. Left out, there is no such limit; behind a reverse proxy all clients have its address.",
    },
    Key {
        table: Table::Server,
        name: "client_timeout",
        kind: Kind::Duration,
        default: Some("\"30s\""),
        example: "\"30s\"",
        description: "How long a client may hold a connection without a request, take to send the head of one, and leave an \
                      answer unread. A body must bring 1 KiB for each second in each such time, until it is complete. Slower \
                      requests are answered with 408 and cut.",
    },
    Key {
        table: Table::Server,
        name: "max_message_size",
        kind: Kind::Size,
        default: Some("\"16MiB\""),
        example: "\"16MiB\"",
        description: "The largest message that is accepted from a client or an upstream, from 1KiB to 1GiB.",
    },
    Key {
        table: Table::Server,
        name: "user",
        kind: Kind::Text,
        default: None,
        example: "\"mcpeg\"",
        description: "The user that a gateway becomes which is started as root, for good, once it has bound its listeners; \
                      --user wins over it. It must be able to read the configuration, for reloads. Left out, the \
                      gateway stays who started it. As a service it is started as its own user anyway.",
    },
    Key {
        table: Table::Server,
        name: "group",
        kind: Kind::Text,
        default: None,
        example: "\"mcpeg\"",
        description: "The group that the gateway is in as that user. Left out, it is the user's own.",
    },
    Key {
        table: Table::Server,
        name: "metrics",
        kind: Kind::Choice(&["local", "all", "off"]),
        default: Some("\"local\""),
        example: "\"local\"",
        description: "Which listeners answer GET /metrics, with numbers in the text form that Prometheus reads: local \
                      is Unix sockets and loopback addresses, whoever connects to them. They name the upstreams, as \
                      /health does.",
    },
    Key {
        table: Table::Log,
        name: "level",
        kind: Kind::Text,
        default: Some("\"info\""),
        example: "\"info,mcpeg::gateway=debug\"",
        description: "The least severe level to log: off, error, warn, info, debug or trace; after it, separated by \
                      commas, TARGET=LEVEL for single parts of mcpeg. A reload puts it in force.",
    },
    Key {
        table: Table::Log,
        name: "file",
        kind: Kind::Path,
        default: None,
        example: "\"/var/log/mcpeg/mcpeg.log\"",
        description: "The log file. Left out, mcpeg logs to standard error only. The file is created with mode 0640; \
                      its directory is created with mode 0750 if it is missing.",
    },
    Key {
        table: Table::Log,
        name: "format",
        kind: Kind::Choice(&["json", "text", "logfmt"]),
        default: Some("\"json\""),
        example: "\"json\"",
        description: "How the file is written: one JSON object a line, text for people, or key=value pairs.",
    },
    Key {
        table: Table::Log,
        name: "spans",
        kind: Kind::Choice(&["flat", "nested"]),
        default: Some("\"flat\""),
        example: "\"nested\"",
        description: "Where JSON has what is known about the request of a record: flat puts it beside the record's own \
                      fields, nested into an array \"spans\", outermost first.",
    },
    Key {
        table: Table::Log,
        name: "instance",
        kind: Kind::Text,
        default: None,
        example: "\"gateway-1\"",
        description: "The name of this gateway in JSON and logfmt records. Left out, it is the name of the host.",
    },
    Key {
        table: Table::Log,
        name: "console_level",
        kind: Kind::Text,
        default: None,
        example: "\"warn\"",
        description: "The level of standard error, written as that of the file. Left out, both have the same.",
    },
    Key {
        table: Table::Log,
        name: "console_format",
        kind: Kind::Choice(&["auto", "text", "json", "logfmt"]),
        default: Some("\"auto\""),
        example: "\"auto\"",
        description: "How standard error is written; auto is text, and under systemd text with the priority that the \
                      journal reads.",
    },
    Key {
        table: Table::Log,
        name: "queue",
        kind: Kind::Size,
        default: Some("\"4MiB\""),
        example: "\"16MiB\"",
        description: "How much may wait for the disk, and how much is kept of the newest while it cannot be written.",
    },
    Key {
        table: Table::Log,
        name: "overflow",
        kind: Kind::Choice(&["block", "drop"]),
        default: Some("\"block\""),
        example: "\"drop\"",
        description: "What happens when the queue is full because the disk is slow: block lets the gateway wait, drop \
                      drops new records, counts them by level, and says so in a record.",
    },
    Key {
        table: Table::Log,
        name: "on_full",
        kind: Kind::Choice(&["drop", "stop"]),
        default: Some("\"drop\""),
        example: "\"stop\"",
        description: "What happens when the file cannot be written (disk full, read-only, an error): drop serves on, \
                      keeps the newest records that the queue holds, tries again, and says how many were lost; stop \
                      drains the gateway and ends it with exit code 71.",
    },
    Key {
        table: Table::Log,
        name: "fsync",
        kind: Kind::Choice(&["never", "rotate", "1s"]),
        default: Some("\"never\""),
        example: "\"1s\"",
        description: "When records are forced to the disk, against a crash of the machine: never, before each \
                      rotation, or each second.",
    },
    Key {
        table: Table::Log,
        name: "rotate",
        kind: Kind::Choice(&["own", "external"]),
        default: Some("\"own\""),
        example: "\"external\"",
        description: "Who rotates the file: own is mcpeg, by the keys below, by SIGUSR1 and by mcpeg --log-rotate. With \
                      external, for logrotate(8), mcpeg only opens the file again when it is told to or finds it moved.",
    },
    Key {
        table: Table::Log,
        name: "rotate_size",
        kind: Kind::Size,
        default: Some("\"100MiB\""),
        example: "\"1GiB\"",
        description: "The size that the file does not exceed, from 1KiB; \"never\" for no limit. A longer record has a \
                      file of its own.",
    },
    Key {
        table: Table::Log,
        name: "rotate_every",
        kind: Kind::Choice(&["never", "hourly", "daily", "weekly"]),
        default: Some("\"never\""),
        example: "\"daily\"",
        description: "How often the file is rotated whatever its size; an empty file is not.",
    },
    Key {
        table: Table::Log,
        name: "rotate_at",
        kind: Kind::Text,
        default: Some("\"00:00\""),
        example: "\"sun 03:30\"",
        description: "The time of rotate_every as HH:MM, for weekly with the day before it (mon, the default, to sun); \
                      for hourly only the minutes count.",
    },
    Key {
        table: Table::Log,
        name: "rotate_zone",
        kind: Kind::Choice(&["local", "utc"]),
        default: Some("\"local\""),
        example: "\"utc\"",
        description: "Whether rotate_at is local time or UTC.",
    },
    Key {
        table: Table::Log,
        name: "compress",
        kind: Kind::Choice(&["gzip", "none"]),
        default: Some("\"gzip\""),
        example: "\"none\"",
        description: "Whether rotated files are compressed, in a thread of low priority.",
    },
    Key {
        table: Table::Log,
        name: "compress_level",
        kind: Kind::Number(1, 9),
        default: Some("3"),
        example: "6",
        description: "The level of compression, 1 (fast) to 9 (small).",
    },
    Key {
        table: Table::Log,
        name: "keep_files",
        kind: Kind::Number(0, 100_000),
        default: Some("10"),
        example: "30",
        description: "How many rotated files are kept; 0 for no limit. Older ones are deleted after each rotation and at \
                      the start. Only files with the names that mcpeg gives are touched.",
    },
    Key {
        table: Table::Log,
        name: "keep_age",
        kind: Kind::Duration,
        default: None,
        example: "\"30d\"",
        description: "How long rotated files are kept. Left out, age does not matter.",
    },
    Key {
        table: Table::Log,
        name: "keep_size",
        kind: Kind::Size,
        default: None,
        example: "\"5GiB\"",
        description: "How much all rotated files may have together, from 1KiB. Left out, their size does not matter.",
    },
];
