//! One listener as its connections see it: what the configuration in force says about it, also while they are open.
//!
//! A listener without a table of its own is told by one load, so that its requests pay for nothing else. One whose table is
//! gone, and which drains, keeps what it had: what asked for a proof never stops to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use fieldwork::Fieldwork;
use parking_lot::Mutex;

use crate::config::{Listener, Server};
use crate::gateway::catalog::RoutingHandle;
use crate::gateway::certificates::{Certificates, Tls};
use crate::gateway::error::Error;
use crate::sys::net::{self, Address};

/// One listener.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Where it listens, as the configuration writes it, or as it is bound.
    written: String,
    /// Where it is bound.
    bound: Option<SocketAddr>,
    /// Whether it has a table of its own.
    is_named: AtomicBool,
    /// What the table says.
    named: Mutex<Option<Arc<Named>>>,
    /// Whether it is reached from this machine only.
    local: bool,
}

/// What a listener's own table says.
#[derive(Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(super)")]
pub(super) struct Named {
    /// The table.
    #[field(get)]
    listener: Arc<Listener>,
    /// Its certificates.
    #[field(get)]
    tls: Option<Arc<Tls>>,
}

/// The listeners that are served, and their certificates.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    /// Those that are served.
    open: Mutex<Vec<Weak<Gate>>>,
    /// Their certificates.
    certificates: Arc<Certificates>,
}

impl Gates {
    /// None yet, with the certificates that a configuration needs.
    ///
    /// # Errors
    /// If those of a listener cannot be used.
    pub(crate) fn new(server: &Server) -> Result<Self, Error> {
        let gates = Self::default();
        gates.certificates.replace(gates.prepare(server)?);
        Ok(gates)
    }

    /// The certificates that a configuration needs.
    ///
    /// # Errors
    /// If those of a listener cannot be used.
    pub(crate) fn prepare(&self, server: &Server) -> Result<Vec<Arc<Tls>>, Error> {
        self.certificates.prepare(&server.listeners).map_err(|(listener, error)| Error::Tls(listener, error))
    }

    /// Opens one, under the configuration in force.
    pub(crate) fn open(
        &self,
        socket: &net::Listener,
        written: Option<String>,
        routing: &RoutingHandle,
    ) -> Arc<Gate> {
        let gate = Arc::new(Gate::new(socket, written));
        // Under one lock with a change, which could else be missed.
        let mut open = self.open.lock();
        gate.update(&routing.current().server, &self.certificates);
        open.retain(|gate| gate.strong_count() > 0);
        open.push(Arc::downgrade(&gate));
        gate
    }

    /// Takes what `commit` puts in force, with these certificates.
    pub(crate) fn change(&self, certificates: Vec<Arc<Tls>>, routing: &RoutingHandle, commit: impl FnOnce()) {
        let open = self.open.lock();
        self.certificates.replace(certificates);
        commit();
        let server = &routing.current().server;
        open.iter().filter_map(Weak::upgrade).for_each(|gate| gate.update(server, &self.certificates));
    }

    /// Where they are, as the configuration writes it, and beside that as they are bound.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.open.lock().iter().filter_map(Weak::upgrade).map(|gate| gate.address()).collect()
    }

    /// Their certificates.
    pub(crate) const fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }
}

impl Gate {
    /// A socket that was bound for this text, or that a supervisor passed.
    fn new(socket: &net::Listener, written: Option<String>) -> Self {
        let address = socket.address().ok();
        let bound = match &address {
            Some(Address::Tcp(address)) => Some(*address),
            _ => None,
        };
        Self {
            written: written.or_else(|| address.map(|it| it.to_string())).unwrap_or_default(),
            bound,
            is_named: AtomicBool::new(false),
            named: Mutex::default(),
            local: bound.is_none_or(|address| address.ip().to_canonical().is_loopback()),
        }
    }

    /// That of operators, whom the control socket has let in. No table is about it.
    pub(crate) fn of_operators() -> Arc<Self> {
        Arc::new(Self {
            written: String::new(),
            bound: None,
            is_named: AtomicBool::new(false),
            named: Mutex::default(),
            local: true,
        })
    }

    /// Takes what a configuration says, and the certificates for it.
    fn update(&self, server: &Server, certificates: &Certificates) {
        let Some(found) = server.listener_at(&self.written, self.bound.as_ref()) else { return };
        let named = found.map(|listener| {
            let tls = certificates.of(&listener.name);
            Arc::new(Named { listener: Arc::clone(listener), tls })
        });
        let mut place = self.named.lock();
        self.is_named.store(named.is_some(), Ordering::Release);
        *place = named;
    }

    /// Where it is.
    fn address(&self) -> String {
        let named = self.named();
        let tls = named.as_ref().map_or("", |named| if named.tls.is_some() { " (TLS)" } else { "" });
        let bound = self.bound.map_or_else(|| self.written.clone(), |bound| bound.to_string());
        let name = named.as_ref().map(|named| format!("{}: ", named.listener.name)).unwrap_or_default();
        format!("{name}{bound}{tls}")
    }

    /// What its own table says, if it has one.
    pub(super) fn named(&self) -> Option<Arc<Named>> {
        self.is_named.load(Ordering::Acquire).then(|| self.named.lock().clone()).flatten()
    }

    /// Whether it is reached from this machine only.
    pub(super) const fn is_local(&self) -> bool {
        self.local
    }
}
