//! Who may use what: clients by name, and endpoints that select of upstreams.

use std::collections::HashMap;
use std::sync::Arc;

use fieldwork::Fieldwork;
use toml::Spanned;
use toml::de::DeTable;

use super::certificate::Certificate;
use super::client_limits::ClientLimits;
use super::diagnostic::{Place, Problems};
use super::filters::Filters;
use super::issuer::Issuer;
use super::keys::{self, Prefix};
use super::name::UpstreamName;
use super::peer::{Names, Peer};
use super::proof::Proof;
use super::reader::Reader;
use super::section::Section;
use super::suggestion::suggestion;

/// `[clients.NAME]`: a party that is known by name.
#[derive(Clone, Debug, PartialEq, Eq, Fieldwork)]
#[fieldwork(get)]
pub struct Client {
    /// Its name.
    name: Arc<str>,
    /// How the kernel tells it.
    peer: Option<Peer>,
    /// What its certificate says.
    certificate: Option<Certificate>,
    /// By which tokens of authorization servers it is recognised.
    oauth: Option<Proof>,
    /// The endpoints that it may use; `None` is all of them.
    endpoints: Option<Vec<String>>,
    /// What of these it sees.
    #[field(deref = false)]
    filters: Arc<Filters>,
    /// What it may ask for.
    limits: ClientLimits,
}

/// `[endpoints.NAME]`: a selection of upstreams and of what they have.
#[derive(Clone, Debug, PartialEq, Eq, Fieldwork)]
#[fieldwork(get)]
pub struct Endpoint {
    /// Its name.
    name: String,
    /// The upstreams behind it; `None` is all of them.
    upstreams: Option<Vec<String>>,
    /// How names of several upstreams are kept apart.
    #[field(copy)]
    prefix: Prefix,
    /// What of these is there.
    #[field(deref = false)]
    filters: Arc<Filters>,
}

/// The clients and endpoints of a file, with what they name.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The clients, in the order of the file.
    clients: Vec<Client>,
    /// The endpoints, in the same order, with their places.
    endpoints: Vec<(Place, Endpoint)>,
    /// The upstreams that endpoints name.
    upstreams: Names,
    /// The endpoints that clients name.
    used: Names,
    /// The authorization servers, in the same order, with their places.
    issuers: Vec<(Place, Arc<Issuer>)>,
    /// Those that clients name.
    believed: Names,
}

/// The names without their places.
fn bare(names: &Names) -> Vec<String> {
    names.iter().map(|(_, name)| name.clone()).collect()
}

/// Reads the name of a client or endpoint.
fn name(kind: &str, name: &Spanned<&str>, reader: &mut Reader<'_>) -> Option<String> {
    let fits = UpstreamName::new(name.get_ref());
    if fits.is_none() {
        let message = format!("{kind} name `{}` is not allowed", name.get_ref());
        let hint = "use 1 to 63 letters, digits, `-` and `_`, beginning with a letter or digit";
        reader.refuse(&name.span(), message, hint);
    }
    fits.map(|name| name.to_string())
}

impl Found {
    /// Reads all of `[clients.NAME]` and `[endpoints.NAME]`.
    pub(super) fn read<'a>(
        &mut self,
        clients: impl Iterator<Item = (Spanned<&'a str>, &'a DeTable<'a>)>,
        endpoints: impl Iterator<Item = (Spanned<&'a str>, &'a DeTable<'a>)>,
        reader: &mut Reader<'_>,
    ) {
        clients.for_each(|(name, client)| self.client(&name, &mut Section::new(client, reader)));
        endpoints.for_each(|(name, endpoint)| self.endpoint(&name, &mut Section::new(endpoint, reader)));
    }

    /// Reads `[clients.NAME]`.
    fn client(&mut self, header: &Spanned<&str>, section: &mut Section<'_, '_>) {
        let endpoints = section.find(&keys::CLIENT_ENDPOINTS);
        let filters = Filters {
            tools: section.find(&keys::CLIENT_TOOLS).unwrap_or_default(),
            prompts: section.find(&keys::CLIENT_PROMPTS).unwrap_or_default(),
            resources: section.find(&keys::CLIENT_RESOURCES).unwrap_or_default(),
        };
        let (peer, limits) = (section.find(&keys::PEER), ClientLimits::of_client(section));
        let certificate = section.find(&keys::CLIENT_CERTIFICATE);
        let oauth = section.find(&keys::CLIENT_OAUTH).map(|(place, proof)| {
            self.believed.push((place, proof.issuer.clone()));
            proof
        });
        let Some(name) = name("client", header, section.reader()) else { return };
        self.used.extend(endpoints.iter().flatten().cloned());
        let endpoints = endpoints.as_ref().map(bare);
        let filters = Arc::new(filters);
        let name = name.into();
        self.clients.push(Client { name, peer, certificate, oauth, endpoints, filters, limits });
    }

    /// Reads `[auth.oauth.NAME]`.
    pub(super) fn issuer(&mut self, header: &Spanned<&str>, section: &mut Section<'_, '_>) {
        let place = section.reader().place(&header.span());
        self.issuers.extend(Issuer::read(header, section).map(|issuer| (place, issuer)));
    }

    /// Reads `[endpoints.NAME]`.
    fn endpoint(&mut self, header: &Spanned<&str>, section: &mut Section<'_, '_>) {
        let (place, upstreams) =
            (section.reader().place(&header.span()), section.find(&keys::ENDPOINT_UPSTREAMS));
        let filters = Filters {
            tools: section.find(&keys::ENDPOINT_TOOLS).unwrap_or_default(),
            prompts: section.find(&keys::ENDPOINT_PROMPTS).unwrap_or_default(),
            resources: section.find(&keys::ENDPOINT_RESOURCES).unwrap_or_default(),
        };
        let prefix = section.get(&keys::ENDPOINT_PREFIX);
        let Some(name) = name("endpoint", header, section.reader()) else { return };
        self.upstreams.extend(upstreams.iter().flatten().cloned());
        let upstreams = upstreams.as_ref().map(bare);
        self.endpoints.push((place, Endpoint { name, upstreams, prefix, filters: Arc::new(filters) }));
    }

    /// The clients, endpoints and authorization servers, where what they name is there beside these upstreams: upstreams and
    /// endpoints share the names below `/mcp/`.
    pub(super) fn settled(
        self,
        upstreams: &[(Place, UpstreamName)],
        problems: &mut Problems,
    ) -> (Vec<Client>, Vec<Endpoint>, Vec<Arc<Issuer>>) {
        let known: HashMap<&str, &Place> =
            upstreams.iter().map(|(place, name)| (name.as_str(), place)).collect();
        for (place, endpoint) in &self.endpoints {
            if let Some(other) = known.get(endpoint.name.as_str()) {
                let message = format!(
                    "endpoint `{0}` and upstream `{0}` ({other}) would both be /mcp/{0}",
                    endpoint.name
                );
                problems.push_with_hint(place.clone(), message, "rename one of them");
            } else if endpoint.name == UpstreamName::BUILTIN {
                let message = format!("endpoint name `{}` is taken by the built-in upstream", endpoint.name);
                problems.push_with_hint(place.clone(), message, "choose another name");
            }
        }
        let is_upstream = |name: &str| name == UpstreamName::BUILTIN || known.contains_key(name);
        let is_endpoint = |name: &str| self.endpoints.iter().any(|(_, endpoint)| endpoint.name == name);
        let names: Vec<&str> = known.keys().copied().collect();
        for (place, name) in self.upstreams.iter().filter(|(_, name)| !is_upstream(name)) {
            let message = format!("there is no upstream `{name}`");
            problems.push_with_hint(place.clone(), message, suggestion(name, &names));
        }
        for (place, name) in self.used.iter().filter(|(_, name)| !is_upstream(name) && !is_endpoint(name)) {
            let message = format!("there is no upstream or endpoint `{name}`");
            problems.push_with_hint(
                place.clone(),
                message,
                format!("define [endpoints.{name}], or remove it here"),
            );
        }
        self.check_issuers(problems);
        let endpoints = self.endpoints.into_iter().map(|(_, endpoint)| endpoint).collect();
        (self.clients, endpoints, self.issuers.into_iter().map(|(_, issuer)| issuer).collect())
    }

    /// Refuses authorization servers that are none beside one another, and names of others.
    fn check_issuers(&self, problems: &mut Problems) {
        for (place, other) in self.issuers.iter().skip(1) {
            if other.resource != self.issuers[0].1.resource {
                let message = format!(
                    "[auth.oauth.{}] has another `resource` than [auth.oauth.{}]",
                    other.name, self.issuers[0].1.name
                );
                problems.push_with_hint(
                    place.clone(),
                    message,
                    "a gateway is one resource; write the same URL",
                );
            } else if self.issuers.iter().any(|(_, one)| one.issuer == other.issuer && one.name != other.name)
            {
                let message = format!("[auth.oauth.{}] has the `issuer` of another table", other.name);
                problems.push_with_hint(place.clone(), message, "put both into one table");
            }
        }
        let issuers: Vec<&str> = self.issuers.iter().map(|(_, issuer)| issuer.name.as_str()).collect();
        for (place, name) in self.believed.iter().filter(|(_, name)| !issuers.contains(&name.as_str())) {
            let message = format!("there is no authorization server `{name}`");
            let hint = match issuers.as_slice() {
                [] => format!("define [auth.oauth.{name}]"),
                known => suggestion(name, known),
            };
            problems.push_with_hint(place.clone(), message, hint);
        }
    }
}
