//! Handing an upstream's children over to the process that takes this one's place.
//!
//! Order: the old process offers each child that all clients share ([`offer`]); the new one makes a connection
//! of each offer that suits its own configuration, which is ready but waits for its pipes; at the end the old one holds
//! and passes them ([`SharedChild::hand_over`]), and the new one goes on with them ([`Awaited::adopt`]). A child that was
//! not passed, since it has ended or does not read, is started anew. Children of single sessions and of single calls
//! end with the old process.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fieldwork::Fieldwork;
use parking_lot::Mutex;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::life::Life;
use crate::config::{Limits, Transport, Upstream as Settings};
use crate::gateway::relay::{Era, Severity, raw_string};
use crate::gateway::upstream::call::handshake::Handshake;
use crate::gateway::upstream::inbox::{Inbox, Outlet};
use crate::gateway::upstream::link::connection::Link;
use crate::gateway::upstream::link::negotiate::Connector;
use crate::gateway::upstream::link::wire::Wire;
use crate::gateway::upstream::stdio::child::{Pipes, Process};
use crate::gateway::upstream::stdio::connection::Stdio;
use crate::gateway::upstream::stdio::fingerprint::ExecutableFingerprint;
use crate::gateway::upstream::stdio::pipes::Rest;
use crate::gateway::upstream::stdio::transfer::Passed;
use crate::handover::channel::Sender;
use crate::handover::{self, Child, ChildMessage, ChildTransfer, LinkKind, Message, Offer};

/// The identifiers of a new process begin so much after those of the old one, which may still give some out.
const HEADROOM: u64 = 1 << 24;
/// A child whose identifiers would be larger is started anew: some servers keep them in 31 bits.
const LARGEST: u64 = (1 << 31) - HEADROOM;

/// A child's connection that waits for its pipes.
#[derive(Debug, Fieldwork)]
#[fieldwork(get, vis = "pub(crate)")]
pub(crate) struct Awaited {
    /// The child's pid.
    child: u32,
    /// What it was made of.
    #[field = false]
    files: ExecutableFingerprint,
    /// The connection.
    shared: SharedChild,
}

/// A child's connection, and what it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct SharedChild {
    /// How its upstream is reached.
    connector: Arc<Connector>,
    /// Whose it is to keep.
    life: Life,
    /// The connection.
    link: Arc<Link>,
}

/// The ways of starting that decide whether two children are the same.
#[derive(Serialize)]
struct DigestedSpec<'a> {
    /// The program.
    command: &'a str,
    /// Its arguments.
    args: &'a [String],
    /// Its environment.
    env: BTreeMap<&'a str, &'a str>,
    /// Its working directory.
    working_dir: Option<&'a PathBuf>,
    /// Memory, tasks, open files.
    limits: [Option<u64>; 3],
    /// Its user.
    user: Option<&'a str>,
}

/// A digest of how an upstream's child is started, which tells nothing of the secrets in it.
fn spec_digest(settings: &Settings) -> Option<String> {
    let Transport::Stdio { command, args, env, working_dir, limits, user } = &settings.transport else {
        return None;
    };
    let Limits { memory, tasks, open_files } = *limits;
    let spec = DigestedSpec {
        command,
        args,
        env: env.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect(),
        working_dir: working_dir.as_ref(),
        limits: [memory, tasks, open_files],
        user: user.as_deref(),
    };
    let text = serde_json::to_vec(&spec).ok()?;
    Some(BASE64_STANDARD.encode(Sha256::digest(text)))
}

/// What tells an upstream's server from any other: its name, and how it is started or reached, as a digest.
pub(crate) fn server_key(settings: &Settings) -> String {
    let how = match &settings.transport {
        Transport::Http { urls, .. } => Some(BASE64_STANDARD.encode(Sha256::digest(urls.join("\n")))),
        Transport::Stdio { .. } => spec_digest(settings),
    };
    format!("{} {}", settings.name, how.unwrap_or_default())
}

/// The offer of a connection's child, unless that was made of something that has changed.
pub(crate) fn offer(connector: &Connector, place: LinkKind, link: &Link) -> Option<Offer> {
    let Wire::Stdio { connection, process } = link.wire() else { return None };
    let process = process.lock();
    let process = process.as_ref()?;
    let last = connection.last() + HEADROOM;
    if !process.fingerprint().are_the_same() || last > LARGEST {
        tracing::info!(upstream = %connector.name(), "the new process starts the upstream anew");
        return None;
    }
    Some(Offer {
        upstream: connector.name().to_string(),
        place,
        child: process.pid(),
        spec: spec_digest(connector.settings())?,
        files: process.fingerprint().files().to_vec(),
        era: match link.era() {
            Era::Legacy => handover::Era::Legacy,
            Era::Modern => handover::Era::Modern,
        },
        version: link.handshake().version.clone(),
        capabilities: link.handshake().capabilities.clone(),
        instructions: link.handshake().instructions.clone(),
        log: link.log_level().map(|least| raw_string(least.name())),
        last,
    })
}

/// Whether the child is one that an upstream with these settings would start.
fn suits(offer: &Offer, settings: &Settings) -> bool {
    offer.upstream == settings.name.as_str() && spec_digest(settings).as_ref() == Some(&offer.spec)
}

/// Begins with the children among these offers that an upstream would have started itself, before it is supervised.
pub(crate) fn inherit(
    connector: &Arc<Connector>,
    outlet: &Outlet,
    life: &Life,
    offers: &mut Vec<Offer>,
) -> Vec<(LinkKind, Awaited)> {
    let suiting = offers.extract_if(.., |offer| suits(offer, connector.settings()));
    let awaited = suiting.map(|offer| {
        let (place, child, files) =
            (offer.place, offer.child, ExecutableFingerprint::noted(offer.files.clone()));
        let link = Arc::new(await_child(connector, offer, outlet.clone()));
        let shared = SharedChild { connector: Arc::clone(connector), life: life.clone(), link };
        (place, Awaited { child, files, shared })
    });
    awaited.collect()
}

/// A connection to a child that is to be handed over; what is sent over it waits until it is.
fn await_child(connector: &Connector, offer: Offer, outlet: Outlet) -> Link {
    let name = connector.name();
    let inbox = Inbox::new(name.clone(), outlet, Arc::clone(&connector.settings().filters));
    let connection = Stdio::awaiting(connector.stderr(), offer.last, connector.limit(), inbox.clone());
    let handshake = Handshake {
        version: offer.version,
        capabilities: offer.capabilities,
        instructions: offer.instructions,
        server: None,
    };
    let wire = Wire::Stdio { connection, process: Mutex::default() };
    let era = match offer.era {
        handover::Era::Legacy => Era::Legacy,
        handover::Era::Modern => Era::Modern,
    };
    connector.link(era, handshake, wire, inbox).logging(offer.log.as_deref().map(Severity::of))
}

impl SharedChild {
    /// The child of a connection that all clients share.
    pub(crate) const fn new(connector: Arc<Connector>, life: Life, link: Arc<Link>) -> Self {
        Self { connector, life, link }
    }

    /// The pipes.
    fn connection(&self) -> Option<&Arc<Stdio>> {
        match self.link.wire() {
            Wire::Stdio { connection, .. } => Some(connection),
            Wire::Http(_) | Wire::Builtin(_) => None,
        }
    }

    /// Takes the child's process from the connection.
    fn take_process(&self) -> Option<Process> {
        let Wire::Stdio { process, .. } = self.link.wire() else { return None };
        process.lock().take()
    }

    /// Holds the connection and packs what another process needs; `None` if the child stays here.
    pub(crate) async fn hand_over(self) -> Option<ChildTransfer> {
        let child = self.link.pid()?;
        let connection = self.connection()?;
        let passed = connection.flow().hold(connection).await?;
        let pidfd = self.connector.reaper().pidfd(child);
        let transfer = pidfd.map(|pidfd| pack(child, pidfd, passed));
        if let Err(error) = &transfer {
            tracing::warn!(upstream = %self.connector.name(), %error, "the child process cannot be handed over");
            self.go_on();
        }
        transfer.ok()
    }

    /// Takes the connection back.
    pub(crate) fn go_on(&self) {
        if let Some(connection) = self.connection() {
            connection.flow().go_on(connection);
        }
    }

    /// Leaves the child to the process that has its pipes.
    pub(crate) fn lend(&self, child: u32, peer: Sender) {
        if self.connection().is_some_and(|connection| connection.flow().lend(child, peer)) {
            self.life.left().cancel();
        }
    }

    /// Takes a message from the other process.
    pub(crate) fn told(&self, line: &str) {
        if let Some(connection) = self.connection() {
            connection.told(line);
        }
    }

    /// The other process has taken the child over.
    pub(crate) fn adopted(&self) {
        if let Some(process) = self.take_process() {
            tokio::spawn(process.leave());
        }
        if let Some(connection) = self.connection() {
            connection.flow().settle();
        }
    }

    /// The other process says that the child has ended.
    pub(crate) fn hung_up(&self) {
        if let Some(connection) = self.connection() {
            connection.hang_up(true);
        }
    }

    /// The other process has ended; whether the connection is still held for it.
    pub(crate) fn alone(&self) -> bool {
        let Some(connection) = self.connection() else { return false };
        connection.borrow_no_more();
        if connection.flow().is_lent() {
            connection.hang_up(true);
            connection.flow().settle();
        }
        connection.flow().is_held()
    }
}

impl Awaited {
    /// The connection that waits.
    pub(crate) const fn link(&self) -> &Arc<Link> {
        &self.shared.link
    }

    /// Takes the child over that the other process has passed; without a transfer the upstream starts one of its own.
    /// Whether it was taken over.
    pub(crate) fn adopt(self, transfer: Option<ChildTransfer>, peer: &Sender) -> bool {
        let Self { child, files, shared } = self;
        let (Some(connection), name) = (shared.connection(), shared.connector.name()) else { return false };
        let was_passed = transfer.is_some();
        let unpacked = transfer.ok_or_else(|| io::ErrorKind::NotFound.into()).and_then(unpack);
        let adopted = unpacked.and_then(|(manifest, pidfd, pipes)| {
            let process = Process::adopt(child, pidfd, files, shared.connector.reaper())?;
            Ok((manifest, pipes, process))
        });
        match adopted {
            Ok(((rest, calls), pipes, mut process)) => {
                tracing::info!(upstream = %name, child, "the child goes on in this process");
                if let Some(ended) = process.take_ended() {
                    connection.outlive(ended, child);
                }
                shared.link.wire().set_process(process);
                connection.borrow(child, peer.clone(), calls);
                connection.begin(pipes, rest);
                peer.send(&Message::OfChild { word: ChildMessage::Adopted { child } })
            }
            Err(error) => {
                tracing::info!(upstream = %name, child, %error, "the child was not handed over");
                connection.hang_up(false);
                if was_passed {
                    // It has ended on the way. The other process cannot see that any more.
                    peer.send(&Message::OfChild { word: ChildMessage::HungUp { child } });
                }
                false
            }
        }
    }
}

/// Packs what another process needs.
fn pack(child: u32, pidfd: OwnedFd, passed: Passed) -> ChildTransfer {
    let child = Child {
        child,
        stdout: BASE64_STANDARD.encode(&passed.rest.stdout),
        stderr: BASE64_STANDARD.encode(&passed.rest.stderr),
        calls: passed.calls,
    };
    let descriptors = std::iter::once(pidfd).chain(passed.descriptors).collect();
    ChildTransfer { child, descriptors }
}

/// What [`pack`] has packed: what was read and the requests in flight, the pidfd, the pipes.
fn unpack(transfer: ChildTransfer) -> io::Result<((Rest, Vec<u64>), OwnedFd, Pipes)> {
    let Child { stdout, stderr, calls, .. } = transfer.child;
    let decode = |text: String| BASE64_STANDARD.decode(text).map_err(io::Error::other);
    let rest = Rest { stdout: decode(stdout)?, stderr: decode(stderr)? };
    let mut descriptors = transfer.descriptors.into_iter();
    let mut next = || descriptors.next().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData));
    let (pidfd, stdin, stdout) = (next()?, next()?, next()?);
    let pipes = Pipes {
        stdin: tokio::process::ChildStdin::from_std(stdin.into())?,
        stdout: tokio::process::ChildStdout::from_std(stdout.into())?,
        stderr: descriptors
            .next()
            .map(|pipe| tokio::process::ChildStderr::from_std(pipe.into()))
            .transpose()?,
    };
    Ok(((rest, calls), pidfd, pipes))
}
