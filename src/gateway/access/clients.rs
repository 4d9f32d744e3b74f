//! The clients of a configuration, and which of them a request is of: the first that fits, in the order of the file.

use std::sync::Arc;

use fieldwork::Fieldwork;
use tokio_util::sync::CancellationToken;

use super::certificate::Certificate;
use super::oauth::Verified;
use super::usage::Usage;
use crate::config::{self, ClientLimits};
use crate::gateway::client::ClientName;
use crate::sys::{peer, user};

/// The clients of a configuration.
#[derive(Debug, Default)]
pub(crate) struct Clients(Vec<Arc<Client>>);

/// One of them.
#[derive(Debug, Fieldwork)]
#[fieldwork(get, vis = "pub(crate)")]
pub(crate) struct Client {
    /// Its name.
    name: ClientName,
    /// What the configuration says.
    settings: config::Client,
    /// What the kernel must say of its process, if it is known by that.
    #[field = false]
    peer: Option<Peer>,
    /// What it uses of its limits, if it has any.
    #[field(get(deref = false))]
    usage: Option<Arc<Usage>>,
    /// Cancelled when the configuration has it no longer.
    gone: CancellationToken,
}

/// What the kernel must say of a process.
#[derive(Debug)]
struct Peer {
    /// The number of its user.
    uid: Option<u32>,
    /// The number of one of its groups.
    gid: Option<u32>,
    /// Its unit.
    unit: Option<String>,
}

/// What a request shows of who has sent it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shown<'a> {
    /// Whose token it has.
    pub(crate) token: Option<&'a ClientName>,
    /// What the kernel says.
    pub(crate) kernel: Option<&'a peer::Peer>,
    /// The certificate of its connection.
    pub(crate) certificate: Option<&'a Certificate>,
    /// What a token of an authorization server has proven.
    pub(crate) oauth: Option<&'a Verified>,
}

impl Peer {
    /// What the configuration says, by numbers; `None` where a user or group does not exist, whom nobody can be.
    fn of(settings: &config::Peer) -> Option<Self> {
        let uid = settings.user.as_deref().map(|name| user::find(name).map(|user| user.uid));
        let gid = settings.group.as_deref().map(user::find_group);
        let (uid, gid) = (
            uid.map_or(Some(None), |found| found.map(Some))?,
            gid.map_or(Some(None), |found| found.map(Some))?,
        );
        Some(Self { uid, gid, unit: settings.unit.clone() })
    }

    /// Whether the kernel says all of this.
    fn fits(&self, process: &peer::Peer) -> bool {
        self.uid.is_none_or(|uid| uid == process.uid)
            && self.gid.is_none_or(|gid| process.groups.contains(&gid))
            && (self.unit.is_none() || self.unit == process.unit)
    }
}

impl Client {
    /// A client of a configuration, which uses this of its limits, and whose end this tells.
    fn new(settings: &config::Client, usage: Option<Arc<Usage>>, gone: CancellationToken) -> Self {
        let name = ClientName::new(settings.name());
        let peer = settings.peer().and_then(Peer::of);
        if settings.peer().is_some() && peer.is_none() {
            tracing::warn!(client = %name, "the client can never be recognised by `peer`: there is no such user or group");
        }
        if peer.as_ref().is_some_and(|peer| peer.unit.is_some()) && !peer::sees_units() {
            let why = peer::HIDDEN;
            tracing::warn!(client = %name, why, "the client can never be recognised by its unit");
        }
        Self { name, settings: settings.clone(), peer, usage, gone }
    }

    /// Whether what the kernel says shows this client.
    pub(crate) fn is_shown_by(&self, kernel: Option<&peer::Peer>) -> bool {
        self.peer.as_ref().zip(kernel).is_some_and(|(peer, process)| peer.fits(process))
    }

    /// Whether a request is of this client.
    fn fits(&self, shown: Shown<'_>) -> bool {
        shown.token == Some(&self.name)
            || self.is_shown_by(shown.kernel)
            || self
                .settings
                .certificate()
                .zip(shown.certificate)
                .is_some_and(|(wanted, shown)| shown.fits(wanted))
            || self.settings.oauth().zip(shown.oauth).is_some_and(|(proof, verified)| verified.fits(proof))
    }

    /// Whether the kernel and a certificate say the same of it as with other settings.
    fn is_shown_as(&self, settings: &config::Client) -> bool {
        self.settings.peer() == settings.peer() && self.settings.certificate() == settings.certificate()
    }

    /// Whether it may not use everything.
    pub(crate) fn is_restricted(&self) -> bool {
        self.settings.endpoints().is_some() || !self.settings.filters().everything()
    }
}

impl Clients {
    /// The clients of a configuration, each with these limits where it has none of its own. Those that were there before are the
    /// same as long as they are recognised alike, and have used what they had.
    pub(crate) fn new(settings: &[config::Client], per_client: &ClientLimits, former: Option<&Self>) -> Self {
        let client = |settings: &config::Client| {
            let limits = settings.limits().or(per_client);
            let former = former.and_then(|former| former.get(&ClientName::new(settings.name())));
            let is_same = |former: &&Arc<Client>| {
                former.settings == *settings
                    && former.usage.as_ref().map_or(limits.is_empty(), |usage| *usage.limits() == limits)
            };
            let new = || {
                let used = former.and_then(|former| former.usage.as_deref());
                // What it has open ends with it, also where something else about it has changed meanwhile.
                let alike = former.filter(|former| former.is_shown_as(settings));
                let gone = alike.map_or_else(CancellationToken::new, |former| former.gone.clone());
                Arc::new(Client::new(settings, Usage::new(limits.clone(), used), gone))
            };
            former.filter(is_same).map_or_else(new, Arc::clone)
        };
        Self(settings.iter().map(client).collect())
    }

    /// Whether there are none: then nobody needs a name.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.0.iter()
    }

    /// The client of this name.
    pub(crate) fn get(&self, name: &ClientName) -> Option<&Arc<Client>> {
        self.0.iter().find(|client| client.name.entry() == name.entry())
    }

    /// The client that a request is of.
    pub(crate) fn recognise(&self, shown: Shown<'_>) -> Option<&Arc<Client>> {
        self.0.iter().find(|client| client.fits(shown))
    }

    /// The entry whose client a token of an authorization server proves, or the name of that server where nobody has one.
    pub(crate) fn entry(&self, verified: &Verified) -> Option<String> {
        if self.is_empty() {
            return Some(verified.server().to_owned());
        }
        let shown = Shown { oauth: Some(verified), ..Shown::default() };
        self.recognise(shown).map(|client| client.settings.name().to_owned())
    }

    /// Whether what the kernel says may make a client known.
    pub(crate) fn ask_kernel(&self) -> bool {
        self.0.iter().any(|client| client.settings.peer().is_some())
    }

    /// Ends what clients have open that are no longer recognised as they were; the names of those that are gone.
    pub(crate) fn retire(&self, new: &Self) -> Vec<ClientName> {
        let recognised = |one: &Client| new.get(&one.name).filter(|new| new.is_shown_as(&one.settings));
        let gone = self.0.iter().filter(|client| recognised(client).is_none());
        gone.map(|client| {
            client.gone.cancel();
            client.name.clone()
        })
        .collect()
    }
}
