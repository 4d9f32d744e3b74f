//! What the gateway tells about itself: for `--status`, `/health` and the built-in tools.
//!
//! Nothing here is secret: names, states, counts and error texts. Causes with names from inside are for operators only.

use serde::{Deserialize, Serialize};

use crate::config::{Transport, Upstream as Settings};
use crate::sys::clock::seconds_now;

pub use super::relay::Era;

/// What an upstream is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpstreamState {
    /// Its handshake is under way.
    Starting,
    /// It answers.
    Ready,
    /// It has not answered the last question, but is still used.
    Degraded,
    /// It is not running, since nobody needs it; the next call starts it.
    Idle,
    /// It failed and is tried again after a wait.
    BackingOff,
    /// It wants a token that nobody has got for it: `mcpeg login`.
    NeedsLogin,
    /// The gateway has ended it.
    Stopped,
    /// The configuration switches it off.
    Disabled,
}

impl UpstreamState {
    /// Its name, as it is written everywhere.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Idle => "idle",
            Self::BackingOff => "backing-off",
            Self::NeedsLogin => "needs-login",
            Self::Stopped => "stopped",
            Self::Disabled => "disabled",
        }
    }

    /// Whether calls can be answered.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded | Self::Idle)
    }
}

/// A snapshot of the gateway.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// The gateway's version.
    pub version: String,
    /// Whole seconds since the gateway started.
    pub uptime_seconds: u64,
    /// Whether every configured upstream is ready.
    pub healthy: bool,
    /// Open legacy sessions.
    pub sessions: usize,
    /// Requests in flight.
    pub in_flight: usize,
    /// What waits in memory.
    #[serde(default)]
    pub memory: MemoryStatus,
    /// Each upstream, in the order of the configuration.
    pub upstreams: Vec<UpstreamStatus>,
    /// The certificates of listeners.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateStatus>,
    /// The keys of authorization servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<IssuerStatus>,
}

/// The keys of one authorization server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerStatus {
    /// Its name in the configuration.
    pub name: String,
    /// How many there are.
    pub keys: usize,
    /// How long ago they were found; `None` where they never were.
    pub age_seconds: Option<u64>,
    /// Why the last look has found none.
    pub error: Option<String>,
}

/// What waits in memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryStatus {
    /// What may wait.
    pub limit: usize,
    /// What waits.
    pub held: usize,
    /// Messages of clients that are not complete.
    pub bodies: usize,
    /// Messages of clients that are not answered.
    pub requests: usize,
    /// Answers that are not sent.
    pub answers: usize,
    /// What sessions keep for their clients.
    pub sessions: usize,
    /// Messages that were refused for want of room.
    pub refused: u64,
}

/// The certificate of one listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The listener's name.
    pub listener: String,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
    /// Whole days until then.
    pub days_left: u64,
    /// Why the files that are there now are not in use.
    pub error: Option<String>,
}

impl CertificateStatus {
    /// That of a certificate which ends at this time.
    pub(crate) fn new(listener: &str, expires: u64, error: Option<String>) -> Self {
        let days_left = expires.saturating_sub(seconds_now()) / (24 * 60 * 60);
        Self { listener: listener.to_owned(), expires, days_left, error }
    }
}

/// Whom a snapshot is for: only operators are told names from inside, such as commands and addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Those who can use the control socket.
    Operator,
    /// Those who can reach a listener that only this machine can reach.
    Local,
    /// Those who can reach a listener.
    Downstream,
}

/// A snapshot of one upstream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// `stdio`, `http` or `builtin`.
    pub transport: String,
    /// Its state.
    pub state: UpstreamState,
    /// The era it speaks, once known.
    pub era: Option<Era>,
    /// The process identifier of its shared process.
    pub pid: Option<u32>,
    /// How often its connection ended since the gateway started.
    pub restarts: u64,
    /// Why it is not ready, or what was wrong last.
    pub last_error: Option<String>,
    /// What mends that, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
    /// The exit code of its command, if that is why.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// The signal that has ended its command, if that is why.
    #[serde(default)]
    pub exit_signal: Option<String>,
    /// What its command has written last to standard error, without secrets that are known.
    #[serde(default)]
    pub last_line: Option<String>,
    /// The last lines that its command has written there, in the same form; for operators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
    /// What is wrong with it though it works.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl UpstreamStatus {
    /// That of an upstream which the configuration switches off.
    pub(crate) fn disabled(settings: &Settings) -> Self {
        let transport = match settings.transport {
            Transport::Stdio { .. } => "stdio",
            Transport::Http { .. } => "http",
        };
        Self {
            name: settings.name.to_string(),
            transport: transport.to_owned(),
            state: UpstreamState::Disabled,
            era: None,
            pid: None,
            restarts: 0,
            last_error: None,
            mend: None,
            exit_code: None,
            exit_signal: None,
            last_line: None,
            last_lines: Vec::new(),
            warnings: Vec::new(),
        }
    }
}
