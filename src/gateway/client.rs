//! Who counts as one client, and which of the clients makes room where there is none.
//!
//! A client that has shown who it is has a name. Others are known by their network address only. One machine has all of 127.0.0.0/8, and
//! one IPv6 network has all of its 2^64 addresses (RFC 6177, RFC 4291 §2.5.4), so that a limit for each address
//! would limit nobody.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

/// The name of a client that has shown who it is: that of its entry in the configuration, and where many people have one entry,
/// the person by issuer and subject, apart by spaces. Two people of one entry are two clients in everything but their rights.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClientName(Arc<str>);

/// What counts as one client for every limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ClientKey {
    /// Who comes from this network, or over a Unix socket.
    At(Option<IpAddr>),
    /// Who has shown to be this client.
    Named(ClientName),
}

impl ClientName {
    /// The name of a client.
    pub(crate) fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name of a person whom an issuer knows by this subject. Neither an entry nor an issuer has a space.
    pub(crate) fn person(entry: &str, issuer: &str, subject: &str) -> Self {
        Self(format!("{entry} {issuer} {subject}").into())
    }

    /// The entry of the configuration.
    pub(crate) fn entry(&self) -> &str {
        self.0.split_once(' ').map_or(&*self.0, |(entry, _)| entry)
    }

    /// Issuer and subject of the person, if it is one of many.
    pub(crate) fn subject(&self) -> Option<(&str, &str)> {
        self.0.split_once(' ')?.1.split_once(' ')
    }

    /// Whether `other` is this one, or a person of this entry.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self == other || self.entry() == &*self.0 && self.entry() == other.entry()
    }
}

impl std::fmt::Display for ClientName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl ClientKey {
    /// The client at this address; all clients without one, over Unix sockets, are the same.
    pub(crate) fn of(address: Option<IpAddr>) -> Self {
        // An IPv4 address over an IPv6 socket is the same client.
        Self::At(address.map(|address| match address.to_canonical() {
            address if address.is_loopback() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        }))
    }

    /// The client of this name, or else at this address.
    pub(crate) fn of_client(name: Option<&ClientName>, address: Option<IpAddr>) -> Self {
        name.map_or_else(|| Self::of(address), |name| Self::Named(name.clone()))
    }

    /// The first address of the network, if that is what it is known by.
    pub(crate) const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::At(address) => *address,
            Self::Named(_) => None,
        }
    }

    /// Its name, if it has shown one.
    pub(crate) const fn name(&self) -> Option<&ClientName> {
        match self {
            Self::At(_) => None,
            Self::Named(name) => Some(name),
        }
    }

    /// Whether it can be told from others at all.
    pub(crate) const fn is_somebody(&self) -> bool {
        !matches!(self, Self::At(None))
    }
}

impl std::fmt::Display for ClientKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(name) => write!(f, "{name}"),
            Self::At(Some(IpAddr::V6(network))) => write!(f, "{network}/64"),
            Self::At(Some(address)) if address.is_loopback() => f.write_str("127.0.0.0/8"),
            Self::At(Some(address)) => write!(f, "{address}"),
            Self::At(None) => f.write_str("a Unix socket"),
        }
    }
}

/// Something of which there may only be so many: its client, for how long it was out of use if it is, and what it is.
pub(crate) type Holding<T> = (ClientKey, Option<Duration>, T);

/// Chooses as many as are to make room for something of `newcomer`, the first to go first; fewer where there are not so
/// many that may go.
///
/// The client that holds most gives first, and of what it holds, what was out of use for longest: a client that
/// has one of a thing never loses it to one that has many. What is in use only goes where its client holds more than half of
/// all, and more than the newcomer will.
pub(crate) fn who_makes_room<T>(newcomer: &ClientKey, mut all: Vec<Holding<T>>, count: usize) -> Vec<T> {
    let half = all.len() / 2;
    let mut held = HashMap::<ClientKey, usize>::new();
    // Those in use first, then from the one that was used last to the one that was out of use for longest: the higher
    // the number that each gets among those of its client, the sooner it goes.
    all.sort_by_key(|(_, idle, _)| *idle);
    let numbered = all.into_iter().map(|(client, idle, thing)| {
        let number = held.entry(client.clone()).or_default();
        *number += 1;
        (*number, client, idle, thing)
    });
    let numbered: Vec<_> = numbered.collect();
    let newcomers = held.get(newcomer).copied().unwrap_or(0) + 1;
    let may_go = |client: &ClientKey, idle: Option<Duration>| {
        idle.is_some() || held[client] > half && held[client] > newcomers && client != newcomer
    };
    let mut candidates: Vec<_> =
        numbered.into_iter().filter(|(_, client, idle, _)| may_go(client, *idle)).collect();
    candidates.sort_by_key(|(number, _, idle, _)| std::cmp::Reverse((idle.is_some(), *number, *idle)));
    candidates.truncate(count);
    candidates.into_iter().map(|(_, _, _, thing)| thing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of an address.
    fn key(address: &str) -> ClientKey {
        ClientKey::of(Some(address.parse().unwrap()))
    }

    #[test]
    fn addresses_that_one_client_can_choose_from_are_one() {
        for (one, other) in [
            ("127.0.0.1", "127.9.8.7"),
            ("127.0.0.1", "::1"),
            ("::ffff:127.0.0.2", "::1"),
            ("192.0.2.7", "::ffff:192.0.2.7"),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"),
            ("fe80::1", "fe80::2"),
        ] {
            assert_eq!(key(one), key(other), "{one} {other}");
        }
        for (one, other) in [
            ("192.0.2.7", "192.0.2.8"),
            ("2001:db8:1:2::1", "2001:db8:1:3::1"),
            ("::1", "::2"),
            ("128.0.0.1", "127.0.0.1"),
        ] {
            assert_ne!(key(one), key(other), "{one} {other}");
        }
        assert_ne!(ClientKey::of(None), key("127.0.0.1"));
    }

    /// Chooses among things named by their number.
    fn chosen(newcomer: &str, all: &[(&str, Option<u64>)], count: usize) -> Vec<usize> {
        let holding = |(at, (client, idle)): (usize, &(&str, Option<u64>))| {
            (key(client), idle.map(Duration::from_secs), at)
        };
        who_makes_room(&key(newcomer), all.iter().enumerate().map(holding).collect(), count)
    }

    #[test]
    fn client_that_holds_most_gives_what_was_out_of_use_for_longest() {
        let (one, many) = ("192.0.2.1", "192.0.2.2");
        let all = [(one, Some(900)), (many, Some(1)), (many, Some(3)), (many, Some(2)), (many, None)];
        // In this order, and the others' only one at last.
        assert_eq!(chosen("192.0.2.3", &all, 1), [2]);
        assert_eq!(chosen("192.0.2.3", &all, 9)[..4], [2, 3, 1, 0]);
    }

    #[test]
    fn what_is_in_use_only_goes_where_one_client_has_more_than_half() {
        let (one, many) = ("192.0.2.1", "192.0.2.2");
        let mut all = vec![(many, None); 6];
        all.extend([(one, None); 4]);
        assert_eq!(chosen("192.0.2.3", &all, 1).len(), 1);
        assert!(chosen("192.0.2.3", &all, 1)[0] < 6, "of the one that has most");
        assert!(chosen(many, &all, 1).is_empty(), "not to itself");
        assert!(chosen("192.0.2.3", &all[2..], 1).is_empty(), "four of eight are not more than half");
        assert!(chosen("192.0.2.3", &[(one, None)], 1).is_empty(), "one for one is no gain");
    }
}
