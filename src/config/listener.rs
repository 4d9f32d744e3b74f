//! One listener with a name: where it is, how clients prove who they are, and whom it believes.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

use super::address::ListenAddr;
use super::diagnostic::Place;
use super::key::{Key, Kind};
use super::keys::{self, Auth};
use super::kinds;
use super::name::UpstreamName;
use super::reader::{Reader, Value};
use super::section::Section;
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

/// `[listeners.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The table's name.
    pub name: String,
    /// Where it listens.
    pub address: ListenAddr,
    /// The files of its certificates; `None` is without TLS.
    pub tls: Option<Tls>,
    /// How clients prove who they are, of which one is enough; empty where nobody has to.
    pub auth: Vec<Auth>,
    /// Who is believed about whom it asks for.
    pub trusted_proxies: Proxies,
    /// Whether their connections begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Host header values instead of the server's.
    pub allowed_hosts: Option<Vec<String>>,
    /// Origin header values instead of the server's.
    pub allowed_origins: Option<Vec<String>>,
    /// Whether it answers `GET /metrics`; `None` is what the server says.
    pub metrics: Option<bool>,
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
    /// Whether a client must show one.
    pub demanded: bool,
}

/// Proxies that are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Where they are.
    networks: Vec<IpNet>,
    /// Whether whoever connects to a Unix socket is one.
    unix: bool,
}

impl Listener {
    /// Reads `[listeners.NAME]`; `None` without an address.
    pub(super) fn read(name: &Spanned<&str>, section: &mut Section<'_, '_>) -> Option<(Place, Self)> {
        if UpstreamName::new(name.get_ref()).is_none() {
            let message = format!("listener name `{}` is not allowed", name.get_ref());
            let hint = "use 1 to 63 letters, digits, `-` and `_`, beginning with a letter or digit";
            section.reader().refuse(&name.span(), message, hint);
        }
        if section.written(&keys::ADDRESS).is_none() {
            let message = format!("listener `{}` has no `address`", name.get_ref());
            section.reader().refuse(&name.span(), message, "write address = \"127.0.0.1:8443\"");
        }
        let (place, address) = section.find(&keys::ADDRESS)?;
        let mut listener = Self {
            name: (*name.get_ref()).to_owned(),
            address,
            tls: section.find(&keys::TLS),
            auth: section.find(&keys::LISTENER_AUTH).unwrap_or_default(),
            trusted_proxies: section.get(&keys::TRUSTED_PROXIES),
            proxy_protocol: section.get(&keys::PROXY_PROTOCOL),
            allowed_hosts: section.find(&keys::LISTENER_HOSTS),
            allowed_origins: section.find(&keys::LISTENER_ORIGINS),
            metrics: section.find(&keys::LISTENER_METRICS),
        };
        if let Some(tls) = &mut listener.tls {
            tls.demanded = tls.client_ca.is_some() && listener.auth == [Auth::Certificate];
        }
        listener.refuse_contradictions(section);
        Some((place, listener))
    }

    /// Refuses what would never have an effect, or let in nobody.
    fn refuse_contradictions(&self, section: &mut Section<'_, '_>) {
        let signed = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let is_unix = matches!(self.address, ListenAddr::Unix(_));
        if let Some(span) = section.span(&keys::LISTENER_AUTH) {
            if self.auth.contains(&Auth::Certificate) && !signed {
                let hint = "add client_ca = \"/path/to/ca.pem\" to `tls`";
                section.reader().refuse(&span, "`auth` has \"certificate\", and no `client_ca` is set", hint);
            }
            if self.auth.contains(&Auth::Peer) && !is_unix {
                let message = "`auth` has \"peer\", which the kernel tells on Unix sockets only";
                section.reader().refuse(&span, message, "leave \"peer\" out, or listen on unix:/path");
            }
        }
        if let Some(span) = section.span(&keys::PROXY_PROTOCOL)
            && self.proxy_protocol
            && self.trusted_proxies == Proxies::default()
        {
            let hint = "write trusted_proxies = [\"ADDRESS\"] with the address that the proxy connects from";
            section.reader().refuse(&span, "`proxy_protocol` needs `trusted_proxies`", hint);
        }
    }
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
    Some(Tls { cert, key: private, client_ca, demanded: false })
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
