//! What a downstream is told when an upstream does not answer as it should.

use std::error::Error as StdError;
use std::time::Duration;

use http::{Response, StatusCode, Uri, header};

use super::pool::Failed;
use super::redirect::NotFollowed;
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
    if let Failed::Token(trouble) = error {
        let detail = format!("{trouble} ({})", trouble.why());
        return Fault::upstream(name, trouble).because(detail).unprocessed();
    }
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

/// The fault of an HTTP error without a JSON-RPC one, and what can be done about it. Where a redirect leads is for
/// operators only.
pub(crate) fn refused(name: &UpstreamName, response: &Refusal) -> Fault {
    let Refusal { status, later, to, not_followed, advice } = response;
    let hint = match (*status, later) {
        (_, Some(Later(Some(wait)))) => format!(": try again in {} s", wait.as_secs()),
        (StatusCode::TOO_MANY_REQUESTS, _) | (_, Some(Later(None))) => ": try again later".to_owned(),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, None) if advice.is_some() => {
            format!(": it {}", advice.as_deref().unwrap_or_default())
        }
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, None) => {
            ": its `headers` in the configuration lack the right credentials".to_owned()
        }
        (StatusCode::NOT_FOUND, None) => {
            ": its `url` in the configuration leads to no MCP endpoint".to_owned()
        }
        _ if status.is_redirection() => redirected(*not_followed).to_owned(),
        _ => String::new(),
    };
    let reason = format!("answered with HTTP status {}{hint}", status.as_u16());
    let fault = Fault::upstream(name, &reason).by(*status);
    match to.as_ref().filter(|_| status.is_redirection()) {
        Some(to) => fault.because(format!("{reason}: `{}`", to.escape_debug())),
        None => fault,
    }
}

/// What can be done about a redirect that is not followed.
const fn redirected(why: Option<NotFollowed>) -> &'static str {
    match why {
        Some(NotFollowed::Elsewhere) => {
            ", a redirect to another server, which is not followed: its `url` in the configuration must be the address \
             that it leads to"
        }
        Some(NotFollowed::Circle) => {
            ", a redirect after several others, which lead in a circle: its `url` in the configuration must be the \
             address of its MCP endpoint"
        }
        Some(NotFollowed::Unclear) | None => {
            ", a redirect: its `url` in the configuration must be the address that it leads to"
        }
    }
}

/// The head of an answer that is none of the protocol's.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Its status.
    status: StatusCode,
    /// When the server wants to be asked again.
    later: Option<Later>,
    /// Where a redirect leads.
    to: Option<String>,
    /// Why that is not followed.
    not_followed: Option<NotFollowed>,
    /// What can be done about a token that is not enough.
    advice: Option<String>,
}

/// What can be done about a refusal, put aside with the answer.
#[derive(Clone, Debug)]
pub(crate) struct Advice(pub(crate) String);

impl Refusal {
    /// Whether something can be done about it that the server does not know.
    pub(crate) const fn has_advice(&self) -> bool {
        self.advice.is_some()
    }

    /// What is told of an answer, should it be one.
    pub(crate) fn of<B>(response: &Response<B>) -> Self {
        let to = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
        Self {
            status: response.status(),
            later: Later::of(response),
            to: to.map(str::to_owned),
            not_followed: response.extensions().get().copied(),
            advice: response.extensions().get().map(|Advice(advice)| advice.clone()),
        }
    }
}
