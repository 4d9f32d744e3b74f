//! One listener with a name: where it is, how clients prove who they are, and whom it believes.

use toml::Spanned;

use super::address::ListenAddr;
use super::diagnostic::Place;
use super::keys;
use super::name::UpstreamName;
use super::section::Section;
use super::trust::{Auth, Proxies, Tls};

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
    /// The same of `GET /status`.
    pub status: Option<bool>,
}

impl Listener {
    /// Reads `[listeners.NAME]`, beside authorization servers or without any; `None` without an address.
    pub(super) fn read(
        name: &Spanned<&str>,
        section: &mut Section<'_, '_>,
        has_issuers: bool,
    ) -> Option<(Place, Self)> {
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
        let listener = Self {
            name: (*name.get_ref()).to_owned(),
            address,
            tls: section.find(&keys::TLS),
            auth: section.find(&keys::LISTENER_AUTH).unwrap_or_default(),
            trusted_proxies: section.get(&keys::TRUSTED_PROXIES),
            proxy_protocol: section.get(&keys::PROXY_PROTOCOL),
            allowed_hosts: section.find(&keys::LISTENER_HOSTS),
            allowed_origins: section.find(&keys::LISTENER_ORIGINS),
            metrics: section.find(&keys::LISTENER_METRICS),
            status: section.find(&keys::LISTENER_STATUS),
        };
        listener.refuse_contradictions(section, has_issuers);
        Some((place, listener))
    }

    /// Refuses what would never have an effect, or let in nobody.
    fn refuse_contradictions(&self, section: &mut Section<'_, '_>, has_issuers: bool) {
        let signed = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let is_unix = matches!(self.address, ListenAddr::Unix(_));
        if let Some(span) = section.span(&keys::LISTENER_AUTH) {
            if self.auth.contains(&Auth::Certificate) && !signed {
                let hint = "add client_ca = \"/path/to/ca.pem\" to `tls`";
                section.reader().refuse(&span, "`auth` has \"certificate\", and no `client_ca` is set", hint);
            }
            if self.auth.contains(&Auth::Oauth) && !has_issuers {
                let message = "`auth` has \"oauth\", and no authorization server is believed";
                section.reader().refuse(&span, message, "define [auth.oauth.NAME]");
            }
            if self.auth.contains(&Auth::Peer) && !is_unix {
                let message = "`auth` has \"peer\", which the kernel tells on Unix sockets only";
                section.reader().refuse(&span, message, "leave \"peer\" out, or listen on unix:/path");
            }
        }
        if let Some(span) = section.span(&keys::PROXY_PROTOCOL)
            && self.proxy_protocol
            && self.trusted_proxies.is_empty()
        {
            let hint = "write trusted_proxies = [\"ADDRESS\"] with the address that the proxy connects from";
            section.reader().refuse(&span, "`proxy_protocol` needs `trusted_proxies`", hint);
        }
    }
}
