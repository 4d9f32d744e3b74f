//! The audit: who did what, as records of their own. What is written of them, and where, is the log's.
//!
//! There is one record for each call of a tool, for each refusal, for each act upon a token or a login, and for each change of
//! the configuration. Texts are cut, so that a record has a few kilobytes at most, whatever a client has sent.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use tracing::Level;

use crate::request_id::RequestId;

/// The target by which the log knows these records.
pub const TARGET: &str = "mcpeg::audit";
/// Bytes that are kept of a text.
const LONGEST: usize = 512;

/// What a record is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Event {
    /// A call of a tool.
    #[default]
    Call,
    /// A refusal of something else.
    Refusal,
    /// An act upon a token.
    Token,
    /// An act upon what the gateway shows to an upstream.
    Login,
    /// A change of the configuration.
    Configuration,
}

/// One record; what is not known is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    /// What it is about.
    pub event: Event,
    /// The client, or the client of a token.
    pub client: Option<&'a str>,
    /// How it has shown that it is this one.
    pub proof: Option<&'a str>,
    /// Whom it stands for, where one client is several people.
    pub subject: Option<&'a str>,
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// The user at the other end of a Unix socket.
    pub uid: Option<u32>,
    /// The endpoint, as it is called in `/mcp/NAME`.
    pub endpoint: Option<&'a str>,
    /// The upstream.
    pub upstream: Option<&'a str>,
    /// The tool, as the client calls it.
    pub tool: Option<&'a str>,
    /// The same as the upstream calls it, where that differs.
    pub upstream_tool: Option<&'a str>,
    /// What came of it.
    pub outcome: &'a str,
    /// Why it was refused, or what was done.
    pub reason: Option<&'a str>,
    /// How long it took.
    pub duration: Option<Duration>,
    /// The request.
    pub request_id: Option<&'a RequestId>,
    /// The trace that it belongs to.
    pub trace_id: Option<&'a str>,
    /// The digest of the arguments.
    pub arguments: Option<&'a str>,
}

impl Event {
    /// The name in records.
    const fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Refusal => "refusal",
            Self::Token => "token",
            Self::Login => "login",
            Self::Configuration => "configuration",
        }
    }
}

/// Whether anybody reads records about what has gone well; those about the rest are read in any case where these are.
#[must_use]
pub fn is_on() -> bool {
    tracing::enabled!(target: TARGET, Level::INFO)
}

/// Whether anybody reads records about what has not gone well.
#[must_use]
pub fn is_on_for_failures() -> bool {
    tracing::enabled!(target: TARGET, Level::WARN)
}

/// The beginning of a text, as much as is kept.
fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().map(|(at, _)| at).take_while(|at| *at <= LONGEST).last() {
        Some(end) if text.len() > LONGEST => Cow::Owned(format!("{}…", &text[..end])),
        _ => Cow::Borrowed(text),
    }
}

impl Record<'_> {
    /// Whether what it tells has gone well, or was at least not the gateway's or the client's fault.
    fn is_well(&self) -> bool {
        matches!(self.outcome, "ok" | "cancelled")
    }

    /// The record in a sentence.
    fn sentence(&self) -> String {
        let who =
            self.client.map_or_else(|| "somebody".to_owned(), |client| format!("client {}", cut(client)));
        let outcome = match self.reason {
            Some(reason) => format!("{} ({})", self.outcome, cut(reason)),
            None => self.outcome.to_owned(),
        };
        match (self.event, self.tool, self.upstream) {
            (Event::Call, tool, Some(upstream)) => {
                let tool = cut(tool.unwrap_or("a tool"));
                format!("{who} called {tool} of {upstream}: {outcome}")
            }
            (Event::Call, tool, None) => format!("{who} called {}: {outcome}", cut(tool.unwrap_or("a tool"))),
            (Event::Refusal, ..) => format!("a request of {who} was refused: {outcome}"),
            (Event::Login, _, upstream) => {
                format!("the login at {} was changed: {outcome}", upstream.unwrap_or("an upstream"))
            }
            (Event::Token, ..) => format!("the tokens of {who} were changed: {outcome}"),
            (Event::Configuration, ..) => format!("the configuration was read again: {outcome}"),
        }
    }

    /// Writes it, where anybody reads it.
    pub fn write(&self) {
        if self.is_well() && is_on() || !self.is_well() && is_on_for_failures() {
            self.told();
        }
    }

    /// Hands it to the log.
    fn told(&self) {
        macro_rules! tell {
            ($level:expr) => {
                tracing::event!(
                    target: TARGET,
                    $level,
                    event = self.event.name(),
                    client = self.client.map(cut).as_deref(),
                    proof = self.proof,
                    subject = self.subject.map(cut).as_deref(),
                    address = self.address.map(tracing::field::display),
                    uid = self.uid,
                    endpoint = self.endpoint.map(cut).as_deref(),
                    upstream = self.upstream,
                    tool = self.tool.map(cut).as_deref(),
                    upstream_tool = self.upstream_tool.map(cut).as_deref(),
                    outcome = self.outcome,
                    reason = self.reason.map(cut).as_deref(),
                    duration_ms = self.duration.map(|it| it.as_secs_f64() * 1000.0),
                    trace_id = self.trace_id.map(cut).as_deref(),
                    arguments_sha256 = self.arguments,
                    "{}",
                    self.sentence()
                )
            };
        }
        // Where it is written may be none of the request's own threads.
        let _entered = self.request_id.map(RequestId::enter);
        if self.is_well() { tell!(Level::INFO) } else { tell!(Level::WARN) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = "ü".repeat(LONGEST);
        let cut = cut(&long);
        assert!(cut.len() <= LONGEST + "…".len() && cut.ends_with("ü…"), "{}", cut.len());
    }
}
