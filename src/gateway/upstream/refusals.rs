//! What a downstream is told when an HTTP upstream does not answer as it should.

use std::error::Error as StdError;

use http::{StatusCode, Uri};

use super::super::error::Fault;
use super::driven::Failed;
use super::http::Http;
use crate::exit::chain;

impl Http {
    /// The fault of a configuration without an address that can be used.
    pub(super) fn unusable(&self) -> Fault {
        Fault::upstream(&self.name, "is configured with an address that cannot be used")
    }

    /// The fault of an endpoint that cannot be reached.
    pub(super) fn unreachable(&self, uri: &Uri, error: &Failed) -> Fault {
        let place = uri.authority().map_or("", |authority| authority.as_str());
        let detail = format!("cannot reach `{place}`: {}", chain(error));
        tracing::debug!(upstream = %self.name, detail, "the upstream cannot be reached");
        Fault::upstream(&self.name, "cannot be reached").because(detail)
    }

    /// The fault of an answer that broke off.
    pub(super) fn broken(&self, error: &(dyn StdError + Send + Sync + 'static)) -> Fault {
        tracing::warn!(upstream = %self.name, error = %chain(error), "the upstream's answer broke off");
        Fault::upstream(&self.name, "broke off its answer")
    }

    /// The fault of an answer beyond the limit.
    pub(super) fn too_long(&self) -> Fault {
        let limit = self.limit;
        let reason =
            format!("sent a message larger than {limit} bytes; `max_message_size` in [server] is the limit");
        Fault::upstream(&self.name, reason)
    }

    /// The fault of an HTTP error without a JSON-RPC one.
    pub(super) fn refused(&self, status: StatusCode) -> Fault {
        Fault::upstream(&self.name, format_args!("answered with HTTP status {}", status.as_u16()))
    }
}
