//! For whom a trusted proxy asks: the address in `X-Forwarded-For`, or in `Forwarded` (RFC 7239).
//!
//! Each proxy adds the address that it was asked from at the end. So the list is read from its end, as long as what is named there
//! is a trusted proxy itself: what stands before that was written by whoever asked. A proxy adds to one of the two headers
//! and passes the other on as it came, so that two which do not say the same are refused: one of them is made up.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::config::Proxies;

/// The older of the two headers.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Two headers that contradict one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contradiction;

/// The address that a request comes from which a trusted proxy at this address has sent.
pub(super) fn client(
    headers: &HeaderMap,
    proxy: Option<IpAddr>,
    trusted: &Proxies,
) -> Result<Option<IpAddr>, Contradiction> {
    let old = list(headers, &X_FORWARDED_FOR).map(|all| last(all, plain, proxy, trusted));
    let new = list(headers, &header::FORWARDED).map(|all| last(all, element, proxy, trusted));
    match (old, new) {
        (Some(old), Some(new)) if old != new => Err(Contradiction),
        (old, new) => Ok(old.or(new).unwrap_or(proxy)),
    }
}

/// The items of a list in all headers of a name, from the last; `None` without any.
fn list<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<impl Iterator<Item = &'h str> + use<'h>> {
    let values = headers.get_all(name);
    values.iter().next()?;
    let text = |value: &'h HeaderValue| value.to_str().unwrap_or("unknown").rsplit(',').map(str::trim);
    let values: Vec<&HeaderValue> = values.iter().collect();
    Some(values.into_iter().rev().flat_map(text))
}

/// The last address of a list that is no trusted proxy; where one is not told, whoever told nothing.
fn last<'h>(
    all: impl Iterator<Item = &'h str>,
    read: fn(&str) -> Option<IpAddr>,
    proxy: Option<IpAddr>,
    trusted: &Proxies,
) -> Option<IpAddr> {
    let mut asker = proxy;
    for item in all {
        match read(item) {
            Some(address) => asker = Some(address),
            None => return asker,
        }
        if !trusted.have(asker) {
            break;
        }
    }
    asker
}

/// Reads an item of `X-Forwarded-For`: an address, which some proxies write with its port.
fn plain(item: &str) -> Option<IpAddr> {
    let bare = item.strip_prefix('[').and_then(|item| item.strip_suffix(']')).unwrap_or(item);
    let address = bare.parse().ok().or_else(|| item.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// Reads an element of `Forwarded`: pairs, of which one is `for`. A quoted comma would cut it in two, of which neither is
/// an address then.
fn element(item: &str) -> Option<IpAddr> {
    let mut pairs = item.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, node) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    plain(node.strip_prefix('"').and_then(|node| node.strip_suffix('"')).unwrap_or(node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Overrides, Source};

    /// Proxies as a file names them.
    fn trusted(list: &str) -> Proxies {
        use std::io::Write as _;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "[listeners.a]\naddress = \"127.0.0.1:1\"\ntrusted_proxies = [{list}]\n").unwrap();
        let source = Source { file: Some(file.path().to_owned()), overrides: Overrides::default() };
        let config: Config = crate::config::load(&source).unwrap();
        config.server.listeners[0].trusted_proxies.clone()
    }

    #[test]
    fn nobody_before_the_trusted_proxies_is_believed() {
        let trusted = trusted("\"10.0.0.0/8\", \"unix\"");
        let proxy = Some(IpAddr::from([10, 0, 0, 1]));
        for (headers, expected) in [
            (&[][..], Ok("10.0.0.1")),
            (&[("x-forwarded-for", "192.0.2.1")], Ok("192.0.2.1")),
            (&[("x-forwarded-for", "127.0.0.1, 192.0.2.1")], Ok("192.0.2.1")),
            (&[("x-forwarded-for", "127.0.0.1, 192.0.2.1, 10.9.9.9")], Ok("192.0.2.1")),
            (&[("x-forwarded-for", "127.0.0.1"), ("x-forwarded-for", "192.0.2.1")], Ok("192.0.2.1")),
            (&[("x-forwarded-for", "10.0.0.3, 10.0.0.2")], Ok("10.0.0.3")),
            (&[("x-forwarded-for", "::ffff:192.0.2.1")], Ok("192.0.2.1")),
            (&[("x-forwarded-for", "192.0.2.1:4711")], Ok("192.0.2.1")),
            (&[("x-forwarded-for", "[2001:db8::1]:4711")], Ok("2001:db8::1")),
            (&[("x-forwarded-for", "127.0.0.1, unknown")], Ok("10.0.0.1")),
            (&[("x-forwarded-for", "127.0.0.1, unknown, 10.0.0.2")], Ok("10.0.0.2")),
            (&[("x-forwarded-for", "127.0.0.1,")], Ok("10.0.0.1")),
            (&[("x-forwarded-for", "")], Ok("10.0.0.1")),
            (&[("forwarded", "for=192.0.2.1")], Ok("192.0.2.1")),
            (&[("forwarded", "for=127.0.0.1, For=\"[2001:db8::1]:4711\";proto=https")], Ok("2001:db8::1")),
            (&[("forwarded", "for=127.0.0.1, for=_hidden")], Ok("10.0.0.1")),
            (&[("forwarded", "for=127.0.0.1, by=10.0.0.1")], Ok("10.0.0.1")),
            (&[("forwarded", "for=192.0.2.1"), ("x-forwarded-for", "192.0.2.1")], Ok("192.0.2.1")),
            (&[("forwarded", "for=127.0.0.1"), ("x-forwarded-for", "192.0.2.1")], Err(Contradiction)),
            (&[("forwarded", "nonsense"), ("x-forwarded-for", "192.0.2.1")], Err(Contradiction)),
        ] {
            let map = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            let mut all = HeaderMap::new();
            for (name, value) in map {
                all.append(name, value);
            }
            let expected = expected.map(|text| Some(text.parse::<IpAddr>().unwrap()));
            assert_eq!(client(&all, proxy, &trusted), expected, "{headers:?}");
        }
    }
}
