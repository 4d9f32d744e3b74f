//! The keys of `[upstreams.NAME]`.

use super::{Key, Kind, Table};

/// Every key of an upstream, once.
pub(super) const KEYS: &[Key] = &[
    Key {
        table: Table::Upstream,
        name: "command",
        kind: Kind::Text,
        default: None,
        example: "\"mcp-server-time\"",
        description: "The program of an upstream that speaks MCP on its standard input and output: an absolute path, \
                      or a name that is looked up in PATH. An upstream has either command or url.",
    },
    Key {
        table: Table::Upstream,
        name: "args",
        kind: Kind::TextList,
        default: Some("[]"),
        example: "[\"--local-timezone\", \"UTC\"]",
        description: "The command's arguments, one string each; no shell looks at them.",
    },
    Key {
        table: Table::Upstream,
        name: "env",
        kind: Kind::TextMap,
        default: Some("{}"),
        example: "{ TZ = \"UTC\" }",
        description: "The command's environment beside PATH, HOME, LANG, TZ and USER. Nothing else is inherited from \
                      mcpeg; a variable of mcpeg's own is handed on by NAME = \"${env:NAME}\".",
    },
    Key {
        table: Table::Upstream,
        name: "working_dir",
        kind: Kind::Path,
        default: None,
        example: "\"/srv/files\"",
        description: "The command's working directory. Left out, it is mcpeg's own.",
    },
    Key {
        table: Table::Upstream,
        name: "user",
        kind: Kind::Text,
        default: None,
        example: "\"nobody\"",
        description: "The user that the command runs as, with that user's group and no others. Only a gateway that \
                      runs as root can do that. Left out, it is mcpeg's own user.",
    },
    Key {
        table: Table::Upstream,
        name: "memory_max",
        kind: Kind::Size,
        default: None,
        example: "\"512MiB\"",
        description: "The most private memory that each process of the command may have (RLIMIT_DATA), from 16MiB to \
                      1TiB. Left out, it is what mcpeg itself may have.",
    },
    Key {
        table: Table::Upstream,
        name: "tasks_max",
        kind: Kind::Number(1, 4_194_304),
        default: None,
        example: "64",
        description: "The most processes and threads that the command's user may have (RLIMIT_NPROC), whoever began \
                      them; of use together with a user of its own. Left out, it is what mcpeg itself may have.",
    },
    Key {
        table: Table::Upstream,
        name: "open_files_max",
        kind: Kind::Number(16, 1_048_576),
        default: None,
        example: "1024",
        description: "The most files that each process of the command may have open (RLIMIT_NOFILE). Left out, it is \
                      what mcpeg itself may have.",
    },
    Key {
        table: Table::Upstream,
        name: "url",
        kind: Kind::Text,
        default: None,
        example: "\"https://mcp.example.org/mcp\"",
        description: "The endpoint of an upstream that speaks MCP over Streamable HTTP, http:// or https://.",
    },
    Key {
        table: Table::Upstream,
        name: "urls",
        kind: Kind::TextList,
        default: None,
        example: "[\"http://10.0.0.1:9000/mcp\", \"http://10.0.0.2:9000/mcp\"]",
        description: "Instead of url: several endpoints that serve the same. A request goes to the one that has the \
                      fewest in flight, a session stays where it was begun. One that cannot be reached is left out \
                      for a while that grows from 1 second to 1 minute.",
    },
    Key {
        table: Table::Upstream,
        name: "ca_file",
        kind: Kind::Path,
        default: None,
        example: "\"/etc/mcpeg/internal-ca.pem\"",
        description: "Certificates of authorities (PEM) that are trusted for this upstream instead of the system's.",
    },
    Key {
        table: Table::Upstream,
        name: "headers",
        kind: Kind::TextMap,
        default: Some("{}"),
        example: "{ Authorization = \"Bearer ${env:DOCS_TOKEN}\" }",
        description: "Headers that are sent with each request to the url.",
    },
    Key {
        table: Table::Upstream,
        name: "enabled",
        kind: Kind::Truth,
        default: Some("true"),
        example: "false",
        description: "Whether the upstream is used. One with enabled = false is checked, but neither started nor listed, \
                      and its references need not be resolved; --status shows it as disabled. A reload switches it.",
    },
    Key {
        table: Table::Upstream,
        name: "start_timeout",
        kind: Kind::Duration,
        default: Some("\"30s\""),
        example: "\"30s\"",
        description: "How long the upstream may take from its start to an answered handshake.",
    },
    Key {
        table: Table::Upstream,
        name: "request_timeout",
        kind: Kind::Duration,
        default: Some("\"5m\""),
        example: "\"5m\"",
        description: "How long one request to the upstream may take; progress does not extend it.",
    },
    Key {
        table: Table::Upstream,
        name: "sharing",
        kind: Kind::Choice(&["auto", "shared", "per-session"]),
        default: Some("\"auto\""),
        example: "\"auto\"",
        description: "Whether sessions of clients share one connection to the upstream: shared means one for all, \
                      per-session one for each, auto one for each where the client can answer requests of the \
                      server (sampling, elicitation, roots). Unless it is shared, a call of such a client of \
                      revision 2026-07-28 has one of its own while a server of the earlier revisions works on it, \
                      which then ends, so that nothing is left in it for another client: at most 16 at once of a \
                      command, 256 of a url, and half of them for one client (address and clientInfo). Further ones \
                      wait for five seconds; meanwhile the oldest unanswered question gives way: the client's own \
                      where it has its share, else that of the client that has most of them.",
    },
    Key {
        table: Table::Upstream,
        name: "start",
        kind: Kind::Choice(&["eager", "lazy"]),
        default: Some("\"eager\""),
        example: "\"lazy\"",
        description: "When the upstream is started: eager with mcpeg, lazy when somebody first lists or calls \
                      something.",
    },
    Key {
        table: Table::Upstream,
        name: "idle_timeout",
        kind: Kind::Duration,
        default: Some("\"0s\""),
        example: "\"15m\"",
        description: "An upstream without a request for this long is ended, and started again by the next call; \
                      meanwhile it is listed as it was. 0s is never.",
    },
    Key {
        table: Table::Upstream,
        name: "health_interval",
        kind: Kind::Duration,
        default: Some("\"1m\""),
        example: "\"1m\"",
        description: "How often an upstream that has nothing to do is asked whether it still answers. After one \
                      unanswered question it is degraded, after the second it is started anew. 0s is never.",
    },
    Key {
        table: Table::Upstream,
        name: "max_concurrency",
        kind: Kind::Number(1, 100_000),
        default: None,
        example: "8",
        description: "How many requests the upstream is given at once; further ones wait for their turn. Left out, \
                      there is no limit. A request does not count while its server waits for an answer of its \
                      client: others have its turn, and it goes on in the next one, before new requests (one of a \
                      session of revisions before 2026-07-28 at once). A client that does not answer within \
                      request_timeout is not waited for any longer.",
    },
    Key {
        table: Table::Upstream,
        name: "max_queue",
        kind: Kind::Number(0, 1_000_000),
        default: Some("100"),
        example: "100",
        description: "How many requests may wait for their turn; more are refused at once.",
    },
    Key {
        table: Table::Upstream,
        name: "tools",
        kind: Kind::Selection,
        default: None,
        example: "{ allow = [\"read_*\", \"list\"], deny = [\"*_secret\"], rename = { list = \"ls\" } }",
        description: "Which tools are shown and can be called. allow and deny hold patterns of the names that the \
                      upstream gives, in which * stands for any text and ? for one character; without allow all are \
                      allowed, and what is denied is denied. rename gives tools other names; one that has such a \
                      name already is hidden.",
    },
    Key {
        table: Table::Upstream,
        name: "prompts",
        kind: Kind::Selection,
        default: None,
        example: "{ deny = [\"draft_*\"] }",
        description: "Which prompts are shown and can be used, as with tools.",
    },
    Key {
        table: Table::Upstream,
        name: "resources",
        kind: Kind::Selection,
        default: None,
        example: "{ allow = [\"file:///srv/*\"] }",
        description: "Which resources are shown and can be read, by their URIs, as with tools; rename is not allowed. What \
                      is denied is denied in every spelling: percent-encoding, the case of scheme and host, the port \
                      that goes without saying, a user before the host, doubled slashes and backslashes, a fragment \
                      and the parameters of a segment (;x) make no difference; the case of the path does. A URI that \
                      climbs by .. or has a NUL is never shown where there is a pattern.",
    },
];
