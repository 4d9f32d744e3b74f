//! What a downstream is told when an upstream does not answer as it should.

use std::error::Error as StdError;
use std::time::Duration;

use http::{Response, StatusCode, Uri, header};

use super::pool::Failed;
use crate::config::UpstreamName;
use crate::exit::chain;
use crate::gateway::error::Fault;

/// When a server wants to be asked again (RFC 9110 §10.2.3): after so long, or at a moment that is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Later(Option<Duration>);

impl Later {
    /// What an answer says of it.
    pub(crate) fn of<B>(response: &Response<B>) -> Option<Self> {
        let later = response.headers().get(header::RETRY_AFTER)?;
        let seconds = later.to_str().ok().and_then(|later| later.trim().parse().ok());
        Some(Self(seconds.map(Duration::from_secs)))
    }

    /// After how long, if it says so.
    pub(crate) const fn wait(self) -> Option<Duration> {
        self.0
    }
}

/// The fault of a configuration without an address that can be used.
pub(crate) fn unusable(name: &UpstreamName) -> Fault {
    Fault::upstream(name, "is configured with an address that cannot be used")
}

/// The fault of an endpoint that cannot be reached.
pub(crate) fn unreachable(name: &UpstreamName, uri: &Uri, error: &Failed) -> Fault {
    let place = uri.authority().map_or("", |authority| authority.as_str());
    let detail = format!("cannot reach `{place}`: {}", chain(error));
    tracing::debug!(upstream = %name, detail, "the upstream cannot be reached");
    Fault::upstream(name, "cannot be reached").because(detail)
}

/// The fault of an answer that broke off.
pub(crate) fn broken(name: &UpstreamName, error: &(dyn StdError + Send + Sync + 'static)) -> Fault {
    tracing::warn!(upstream = %name, error = %chain(error), "the upstream's answer broke off");
    Fault::upstream(name, "broke off its answer")
}

/// The fault of an HTTP error without a JSON-RPC one, and what can be done. The target of a redirect is for operators only.
pub(crate) fn refused(
    name: &UpstreamName,
    status: StatusCode,
    later: Option<Later>,
    to: Option<String>,
) -> Fault {
    let hint = match (status, later) {
        (_, Some(Later(Some(wait)))) => format!(": try again in {} s", wait.as_secs()),
        (StatusCode::TOO_MANY_REQUESTS, _) | (_, Some(Later(None))) => ": try again later".to_owned(),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, None) => {
            ": its `headers` in the configuration lack the right credentials".to_owned()
        }
        (StatusCode::NOT_FOUND, None) => {
            ": its `url` in the configuration leads to no MCP endpoint".to_owned()
        }
        _ if status.is_redirection() => {
            ", a redirect: its `url` in the configuration must be the address that it leads to".to_owned()
        }
        _ => String::new(),
    };
    let reason = format!("answered with HTTP status {}{hint}", status.as_u16());
    let fault = Fault::upstream(name, &reason);
    match to.filter(|_| status.is_redirection()) {
        Some(to) => fault.because(format!("{reason}: `{}`", to.escape_debug())),
        None => fault,
    }
}
