//! The endpoints of the gateway, which outlive the upstreams that are behind them.

/// An endpoint of the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Endpoint {
    /// `/mcp`.
    All,
    /// `/mcp/NAME`.
    One(String),
}

impl Endpoint {
    /// The endpoint of the upstream of this name; without one, that of all.
    pub(crate) fn named(upstream: Option<String>) -> Self {
        upstream.map_or(Self::All, Self::One)
    }

    /// The name of its upstream, unless it is that of all.
    pub(crate) fn upstream(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::One(name) => Some(name),
        }
    }
}
