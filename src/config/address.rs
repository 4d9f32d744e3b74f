//! Listener addresses: `host:port`, `[IPv6]:port`, or `unix:/path`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The longest path that fits into `sun_path` with its final NUL: unix(7).
const LONGEST_UNIX_PATH: usize = 107;

/// A listener's address as it is written: `host:port` or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddr {
    /// A TCP host (name, IPv4 address, or IPv6 address without brackets) and port.
    Tcp {
        /// The host part.
        host: String,
        /// The port; 0 lets the kernel choose.
        port: u16,
    },
    /// A Unix socket's absolute path.
    Unix(PathBuf),
}

/// Why a text is no listener address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no colon with a port behind it.
    #[error("address `{0}` has no port")]
    NoPort(String),
    /// The part before the port is empty.
    #[error("address `{0}` has no host")]
    NoHost(String),
    /// The port is no number from 0 to 65535.
    #[error("address `{0}` has a port that is no number from 0 to 65535")]
    BadPort(String),
    /// The host is neither an IP address nor a name.
    #[error("address `{0}` has a host that is neither an IP address nor a name")]
    BadHost(String),
    /// An IPv6 address without brackets.
    #[error("address `{0}` is an IPv6 address without brackets")]
    NoBrackets(String),
    /// A Unix socket's path that depends on the working directory.
    #[error("address `{0}` has a path that is not absolute")]
    RelativePath(String),
    /// A Unix socket's path that the kernel cannot take.
    #[error("address `{0}` has a path of more than {LONGEST_UNIX_PATH} bytes")]
    LongPath(String),
}

impl AddressError {
    /// How the address would be written.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NoPort(text) if text.parse::<u16>().is_ok() => format!("write \"127.0.0.1:{text}\""),
            Self::NoPort(text) => format!("write \"{text}:8080\""),
            Self::NoHost(text) => {
                format!("write \"127.0.0.1{text}\" for this machine only, \"0.0.0.0{text}\" for all")
            }
            Self::NoBrackets(_) => "write \"[::1]:8080\"".to_owned(),
            Self::RelativePath(_) | Self::LongPath(_) => "write \"unix:/run/mcpeg/http.sock\"".to_owned(),
            Self::BadPort(_) | Self::BadHost(_) => "write \"127.0.0.1:8080\"".to_owned(),
        }
    }
}

impl FromStr for ListenAddr {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(text, path);
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(AddressError::NoPort(text.to_owned()));
        };
        if text.parse::<Ipv6Addr>().is_ok() || host.parse::<Ipv6Addr>().is_ok() {
            return Err(AddressError::NoBrackets(text.to_owned()));
        }
        if host.is_empty() {
            return Err(AddressError::NoHost(text.to_owned()));
        }
        if port.is_empty() || !port.chars().all(|c| c.is_ascii_digit()) {
            return Err(AddressError::BadPort(text.to_owned()));
        }
        let port = port.parse().map_err(|_| AddressError::BadPort(text.to_owned()))?;
        match bare_host(host) {
            Some(host) => Ok(Self::Tcp { host, port }),
            None => Err(AddressError::BadHost(text.to_owned())),
        }
    }
}

/// Reads the path of a Unix listener.
fn unix(text: &str, path: &str) -> Result<ListenAddr, AddressError> {
    if !path.starts_with('/') || path.contains('\0') {
        Err(AddressError::RelativePath(text.to_owned()))
    } else if path.len() > LONGEST_UNIX_PATH {
        Err(AddressError::LongPath(text.to_owned()))
    } else {
        Ok(ListenAddr::Unix(PathBuf::from(path)))
    }
}

/// The host without brackets, if it is an address or a name.
fn bare_host(host: &str) -> Option<String> {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']').filter(|inner| inner.parse::<Ipv6Addr>().is_ok()).map(str::to_owned);
    }
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (host.chars().all(name) && !host.starts_with(['-', '.'])).then(|| host.to_owned())
}

impl ListenAddr {
    /// Whether only this machine can reach it. A name other than `localhost` counts as reachable from elsewhere,
    /// because what it resolves to may change after this check.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => match host.parse::<IpAddr>() {
                Ok(address) => address.to_canonical().is_loopback(),
                Err(_) => host.eq_ignore_ascii_case("localhost"),
            },
        }
    }

    /// Whether connections to this address reach a listener here. Of names only `localhost` is known, since nothing is
    /// looked up.
    #[must_use]
    pub fn takes_along(&self, address: &SocketAddr) -> bool {
        let Self::Tcp { host, port } = self else { return false };
        let narrow = canonical(*address);
        match host.parse::<IpAddr>() {
            Ok(own) => {
                let own = canonical(SocketAddr::new(own, *port));
                own == narrow || covers(&own, &narrow, !is_v6_only())
            }
            Err(_) => {
                host.eq_ignore_ascii_case("localhost") && *port == narrow.port() && narrow.ip().is_loopback()
            }
        }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why two listeners cannot be bound together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Clash {
    /// Both are this address.
    Same(String),
    /// The second takes this address of the first along, as it means all of the machine's.
    Covered(String),
}

/// What listeners come to, for finding those that cannot be bound together: names are resolved, once each.
pub(super) struct Bindings(Vec<Binding>);

/// What one listener comes to.
enum Binding {
    /// These addresses; none for a name that cannot be resolved, which binding will tell.
    Tcp(Vec<SocketAddr>),
    /// This file, whatever links and dots lead there.
    Unix(PathBuf),
}

impl Bindings {
    /// Those of these listeners.
    pub(super) fn of<'a>(listeners: impl Iterator<Item = &'a ListenAddr>) -> Self {
        Self(listeners.map(Binding::of).collect())
    }

    /// Why two of them clash, by their numbers; the wider one may be either.
    pub(super) fn clash(&self, one: usize, other: usize) -> Option<Clash> {
        let dual = !is_v6_only();
        match (self.0.get(one)?, self.0.get(other)?) {
            (Binding::Unix(one), Binding::Unix(other)) => {
                (one == other).then(|| Clash::Same(format!("unix:{}", one.display())))
            }
            (Binding::Tcp(ones), Binding::Tcp(others)) => ones
                .iter()
                .flat_map(|one| others.iter().map(move |other| (one, other)))
                .find_map(|(one, other)| {
                    let covered =
                        |wide, narrow| covers(wide, narrow, dual).then(|| Clash::Covered(narrow.to_string()));
                    if one == other {
                        return Some(Clash::Same(one.to_string()));
                    }
                    covered(one, other).or_else(|| covered(other, one))
                }),
            _ => None,
        }
    }
}

impl Binding {
    /// Where a listener will be bound.
    fn of(listener: &ListenAddr) -> Self {
        match listener {
            ListenAddr::Unix(path) => Self::Unix(resolved(path)),
            // The kernel chooses another port each time.
            ListenAddr::Tcp { port: 0, .. } => Self::Tcp(Vec::new()),
            ListenAddr::Tcp { host, port } => {
                let addresses = (host.as_str(), *port).to_socket_addrs().into_iter().flatten();
                Self::Tcp(addresses.map(canonical).collect())
            }
        }
    }
}

/// An IPv4 address that is written as one of IPv6 is the same to the kernel.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether a listener on the first address takes the second along: the unspecified one means all of its family, and that of
/// IPv6 those of IPv4, too, unless the machine says otherwise.
fn covers(wide: &SocketAddr, narrow: &SocketAddr, dual: bool) -> bool {
    let same_family = wide.is_ipv4() == narrow.is_ipv4();
    wide.port() == narrow.port() && wide.ip().is_unspecified() && (same_family || dual && wide.is_ipv6())
}

/// Whether sockets of IPv6 are for IPv6 only here: ipv6(7), `bindv6only`.
fn is_v6_only() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv6/bindv6only").is_ok_and(|text| text.trim() == "1")
}

/// The path without links, dots and repeated slashes, as far as its directory exists.
fn resolved(path: &Path) -> PathBuf {
    let whole = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => parent.canonicalize().ok().map(|parent| parent.join(name)),
        _ => None,
    };
    whole.unwrap_or_else(|| path.components().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether these two clash, in both orders.
    fn clashes(one: &str, other: &str) -> Option<Clash> {
        let both = [one, other].map(|text| text.parse::<ListenAddr>().unwrap());
        let bindings = Bindings::of(both.iter());
        assert_eq!(bindings.clash(0, 1), bindings.clash(1, 0), "{one} {other}");
        bindings.clash(0, 1)
    }

    #[test]
    fn listeners_that_cannot_be_bound_together_are_found_however_they_are_written() {
        let same = |text: &str| Some(Clash::Same(text.to_owned()));
        let covered = |text: &str| Some(Clash::Covered(text.to_owned()));
        let dual = |text: &str| covered(text).filter(|_| !is_v6_only());
        let scratch = tempfile::tempdir().unwrap();
        let (real, link) = (scratch.path().join("real"), scratch.path().join("link"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let real = format!("unix:{}", real.canonicalize().unwrap().join("x.sock").display());
        let link = format!("unix:{}", link.join("x.sock").display());
        for (one, other, expected) in [
            ("localhost:80", "127.0.0.1:80", same("127.0.0.1:80")),
            ("LOCALHOST:80", "localhost:80", same("127.0.0.1:80")),
            ("127.0.0.1:80", "[::ffff:127.0.0.1]:80", same("127.0.0.1:80")),
            ("[::1]:80", "[0:0::1]:80", same("[::1]:80")),
            ("0.0.0.0:80", "127.0.0.1:80", covered("127.0.0.1:80")),
            ("0.0.0.0:80", "localhost:80", covered("127.0.0.1:80")),
            ("[::]:80", "[::1]:80", covered("[::1]:80")),
            ("[::]:80", "0.0.0.0:80", dual("0.0.0.0:80")),
            ("[::]:80", "127.0.0.1:80", dual("127.0.0.1:80")),
            ("0.0.0.0:80", "[::1]:80", None),
            ("127.0.0.1:80", "127.0.0.2:80", None),
            ("127.0.0.1:80", "127.0.0.1:81", None),
            ("127.0.0.1:0", "0.0.0.0:0", None),
            ("no-such-host.invalid:80", "127.0.0.1:80", None),
            ("unix:/no/such//x.sock", "unix:/no/./such/x.sock", same("unix:/no/such/x.sock")),
            (&real, &link, same(&real)),
            ("unix:/x.sock", "unix:/y.sock", None),
            ("unix:/x.sock", "127.0.0.1:80", None),
        ] {
            // Where both names mean several addresses, any of them will do.
            let found = clashes(one, other).map(|found| match expected {
                Some(Clash::Same(_)) if matches!(found, Clash::Same(_)) && one.contains("ocal") => {
                    expected.clone()
                }
                _ => Some(found),
            });
            assert_eq!(found.flatten(), expected, "{one} {other}");
        }
    }

    /// What a valid text is read as, written again.
    fn again(text: &str) -> String {
        text.parse::<ListenAddr>().unwrap().to_string()
    }

    #[test]
    fn valid_addresses_are_written_as_they_were_read() {
        for text in ["127.0.0.1:8080", "[::1]:0", "localhost:80", "unix:/run/mcpeg.sock", "mcp.example.org:1"]
        {
            assert_eq!(again(text), text);
        }
    }

    #[test]
    fn each_mistake_has_its_own_error() {
        let error = |text: &str| text.parse::<ListenAddr>().unwrap_err();
        let owned = str::to_owned;
        assert_eq!(error("8080"), AddressError::NoPort(owned("8080")));
        assert_eq!(error(":8080"), AddressError::NoHost(owned(":8080")));
        assert_eq!(error("localhost:"), AddressError::BadPort(owned("localhost:")));
        assert_eq!(error("localhost:+80"), AddressError::BadPort(owned("localhost:+80")));
        assert_eq!(error("localhost:99999"), AddressError::BadPort(owned("localhost:99999")));
        assert_eq!(error("::1:8080"), AddressError::NoBrackets(owned("::1:8080")));
        assert_eq!(error("*:8080"), AddressError::BadHost(owned("*:8080")));
        assert_eq!(error("http://x:80"), AddressError::BadHost(owned("http://x:80")));
        assert_eq!(error("unix:run/x"), AddressError::RelativePath(owned("unix:run/x")));
        let long = format!("unix:/{}", "x".repeat(LONGEST_UNIX_PATH));
        assert_eq!(error(&long), AddressError::LongPath(long.clone()));
    }

    #[test]
    fn only_loopback_and_unix_are_local() {
        let local = |text: &str| text.parse::<ListenAddr>().unwrap().is_local();
        for text in ["127.8.9.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "LocalHost:1", "unix:/x"] {
            assert!(local(text), "{text}");
        }
        for text in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "localhost.example.org:1", "myhost:1"] {
            assert!(!local(text), "{text}");
        }
    }
}
