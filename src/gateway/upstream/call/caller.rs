//! Whom a modern request comes from, as far as that can be told: until clients have names, by their address and by what they
//! say of themselves.
//!
//! Two clients that are the same in both cannot be told apart. What must not reach the wrong one does not rest on this.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::gateway::relay::ClientMeta;
use crate::handover;

/// A client of the modern era.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Caller {
    /// The network that one client has for itself; none over a Unix socket.
    network: Option<IpAddr>,
    /// `clientInfo` as it writes it.
    info: Box<str>,
}

impl Caller {
    /// Reads it from a request.
    pub(crate) fn of(address: Option<IpAddr>, client: &ClientMeta) -> Self {
        Self { network: address.map(network), info: client.info.get().into() }
    }

    /// Whether both are of one network.
    pub(crate) fn is_near(&self, other: &Self) -> bool {
        self.network == other.network
    }
}

impl From<&Caller> for handover::Caller {
    fn from(caller: &Caller) -> Self {
        Self { network: caller.network, info: caller.info.clone() }
    }
}

impl From<handover::Caller> for Caller {
    fn from(caller: handover::Caller) -> Self {
        Self { network: caller.network, info: caller.info }
    }
}

/// The network whose addresses one client can have all of: a /64 of IPv6 (RFC 4291 §2.5.4), and all of loopback.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) if address.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if !address.is_loopback() => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_one_client_can_have_are_one_network() {
        for (one, other, same) in [
            ("127.0.0.1", "127.9.9.9", true),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
            ("2001:db8::1", "2001:db8::ffff:2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("192.0.2.1", "192.0.2.2", false),
            ("::1", "::2", false),
        ] {
            let [one, other] = [one, other].map(|address| network(address.parse().unwrap()));
            assert_eq!(one == other, same, "{one} {other}");
        }
    }
}
