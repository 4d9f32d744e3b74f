//! Whom a listener trusts: certificates, ways in which clients prove who they are, and proxies.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use toml::de::DeValue;

use super::key::{Key, Kind};
use super::kinds;
use super::reader::{Reader, Value};
use super::suggestion::suggestion;

/// What stands for all who connect to a Unix socket among trusted proxies.
const UNIX: &str = "unix";

/// Files of certificates.
pub(super) const TLS: Kind<Tls> = Kind::new("a table with `cert`, `key` and perhaps `client_ca`", tls);
/// Ways in which clients prove who they are.
pub(super) const AUTH: Kind<Vec<Auth>> = Kind::new("an array of strings", auth);
/// Networks of proxies.
pub(super) const PROXIES: Kind<Proxies> = Kind::new("an array of strings", proxies);

/// What clients may prove who they are by.
const PROOFS: [(&str, Auth); 4] = [
    ("token", Auth::Token),
    ("oauth", Auth::Oauth),
    ("certificate", Auth::Certificate),
    ("peer", Auth::Peer),
];

/// A way in which a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// A token of the gateway's own.
    Token,
    /// A token of an authorisation server.
    Oauth,
    /// A certificate that `client_ca` has signed.
    Certificate,
    /// What the kernel says of the other end of a Unix socket.
    Peer,
}

/// The files of a listener's certificates, PEM.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tls {
    /// The certificate, and those between it and its authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities of clients' certificates.
    pub client_ca: Option<PathBuf>,
}

/// Proxies that are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Where they are.
    networks: Vec<IpNet>,
    /// Whether whoever connects to a Unix socket is one.
    unix: bool,
}

impl Proxies {
    /// Whether who connects from here is one; a Unix socket has no address.
    #[must_use]
    pub fn have(&self, address: Option<IpAddr>) -> bool {
        let Some(address) = address.map(|address| address.to_canonical()) else { return self.unix };
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Whether nobody is one.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        !self.unix && self.networks.is_empty()
    }
}

/// Reads the files of certificates.
fn tls(key: &Key<Tls>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Tls> {
    let DeValue::Table(table) = value.get_ref() else {
        key.wrong_type(value, reader, format!("write {} = {}", key.name, key.example));
        return None;
    };
    let mut files = [None, None, None];
    let names = ["cert", "key", "client_ca"];
    for (entry, value) in table {
        let full = format!("{}.{}", key.name, entry.get_ref());
        let Some(place) = names.iter().position(|name| *name == entry.get_ref()) else {
            let hint = suggestion(entry.get_ref(), &names);
            reader.refuse_structure(&entry.span(), format!("unknown key `{full}`"), hint);
            continue;
        };
        let text = kinds::element(&full, value, reader)?;
        let path = PathBuf::from(text.get_ref());
        if !path.is_absolute() || text.get_ref().contains('\0') {
            let hint = "write a path that begins with /; a daemon has no directory that it starts from";
            reader.refuse(&text.span(), format!("`{full}` must be an absolute path"), hint);
        }
        files[place] = Some(path);
    }
    let [Some(cert), Some(private), client_ca] = files else {
        let hint = format!("write {} = {}", key.name, key.example);
        reader.refuse(&value.span(), "`tls` needs both `cert` and `key`", hint);
        return None;
    };
    Some(Tls { cert, key: private, client_ca })
}

/// Reads ways in which clients prove who they are.
fn auth(key: &Key<Vec<Auth>>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Vec<Auth>> {
    let mut read = Vec::new();
    let items = kinds::strings(key, value, reader)?;
    if items.is_empty() {
        reader.refuse(&value.span(), "`auth` is empty", "leave it out, or write auth = [\"token\"]");
    }
    for item in items {
        if let Some((_, proof)) = PROOFS.iter().find(|(name, _)| name == item.get_ref()) {
            read.push(*proof);
        } else {
            let known = PROOFS.map(|(name, _)| format!("\"{name}\"")).join(", ");
            let message = format!("`auth` cannot have `{}`", item.get_ref());
            reader.refuse_structure(&item.span(), message, format!("write some of {known}"));
        }
    }
    Some(read)
}

/// Reads networks of proxies.
fn proxies(key: &Key<Proxies>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Proxies> {
    let mut proxies = Proxies::default();
    for item in kinds::strings(key, value, reader)? {
        let text = *item.get_ref();
        let one = || text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
        match text.parse::<IpNet>().or_else(|_| one()) {
            _ if text == UNIX => proxies.unix = true,
            Ok(network) => proxies.networks.push(network),
            Err(_) => {
                let message = format!("`{text}` in `{}` is no address and no network", key.name);
                let hint = "write an address, a network such as \"10.0.0.0/8\", or \"unix\"";
                reader.refuse(&item.span(), message, hint);
            }
        }
    }
    Some(proxies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_known_by_any_form_of_their_address() {
        let networks = ["10.0.0.0/8", "::1/128", "192.0.2.7/32"].map(|text| text.parse().unwrap()).to_vec();
        let proxies = Proxies { networks, unix: false };
        for (address, known) in [
            ("10.9.9.9", true),
            ("::ffff:10.1.2.3", true),
            ("::1", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("11.0.0.1", false),
            ("::2", false),
        ] {
            assert_eq!(proxies.have(Some(address.parse().unwrap())), known, "{address}");
        }
        assert!(!proxies.have(None) && Proxies { networks: Vec::new(), unix: true }.have(None));
    }
}
