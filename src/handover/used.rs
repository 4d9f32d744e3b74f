//! What clients have used of their rates.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What one client has used of one rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Used {
    /// Its name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<String>,
    /// Else its network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<IpAddr>,
    /// The pattern of tools that the rate is for; `None` for that of all requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tool: Option<String>,
    /// How long it takes until nothing is used of it, in milliseconds.
    pub(crate) behind_ms: u64,
}
