//! Listeners: taken over from a supervisor by `sd_listen_fds(3)`, or bound as configured.
//!
//! [`super::passed::claim`] must run before anything else opens a descriptor; [`Listeners::bind`] runs under the lock, so
//! that a second start of the same gateway never gets this far.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::bind_hint;
use super::passed::{self, Passed, Stored};
use super::paths::RunPaths;
use crate::config::ListenAddr;
use crate::exit::{Exit, ToExit};
use crate::handover::{Outline, SocketFile};
use crate::sys::fd;
use crate::sys::fs::{self as files, Directory, Owners};
use crate::sys::holder;
use crate::sys::net::{Address, Listener};
use crate::systemd::Notifier;

/// The bound listeners.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    /// The sockets; never empty.
    sockets: Vec<Listener>,
    /// Where they can be reached, in the same order.
    addresses: Vec<Address>,
    /// The files of Unix sockets that we made.
    files: Vec<SocketFile>,
    /// How each is written in the configuration, in the same order; `None` for what a supervisor passed.
    written: Vec<Option<String>>,
    /// Sockets of this process, while others are bound for a configuration that comes.
    beside: Vec<Listener>,
    /// Addresses that these serve already, and so nothing was bound for.
    served: Vec<Address>,
    /// Sockets of the process before us that are not in use here, so far.
    offered: Vec<(Option<String>, Listener)>,
    /// Files that become ours when the process before us has handed over.
    offered_files: Vec<SocketFile>,
    /// What the service manager's descriptor store holds of ours, by name.
    stored: BTreeSet<String>,
    /// Whose the directories of Unix sockets may be.
    owners: Owners,
    /// Whether there is a service manager that holds it: the files of Unix sockets are left for the next process then.
    held: bool,
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// What was passed is not a listening stream socket.
    #[error("descriptor {0}, passed by LISTEN_FDS, is not a listening TCP or Unix socket")]
    Passed(usize, #[source] io::Error),
    /// The host has no address.
    #[error("cannot resolve `{0}`")]
    Resolve(ListenAddr, #[source] io::Error),
    /// Somebody else has the address, or it is not this machine's, or the port needs privileges.
    #[error("cannot listen on `{0}`")]
    Bind(String, #[source] io::Error),
    /// Another process answers on the Unix socket.
    #[error("cannot listen on `unix:{0}`: {1} serves there")]
    Served(PathBuf, String),
    /// The run-time files have the name.
    #[error("cannot listen on `unix:{0}`: that is a run-time file of the gateway itself")]
    OwnName(PathBuf),
    /// A file that is no socket has the name.
    #[error("cannot listen on `unix:{0}`: the file exists and is not a socket")]
    NotASocket(PathBuf),
}

impl Listeners {
    /// Uses the passed sockets if there are any, else binds what is configured.
    pub(crate) fn bind(configured: &[ListenAddr], passed: Passed, owners: Owners) -> Result<Self, Error> {
        Self { owners, ..Self::default() }.bind_all(configured, passed)
    }

    /// Binds what is configured beside sockets of this process, which may listen on the same ports at other addresses.
    /// Fails like [`Self::bind`].
    pub(crate) fn bind_beside(configured: &[ListenAddr], beside: Vec<Listener>) -> Result<Self, Error> {
        Self { beside, owners: Owners::Ours, ..Self::default() }.bind_all(configured, Passed::default())
    }

    /// See [`Self::bind`].
    fn bind_all(self, configured: &[ListenAddr], passed: Passed) -> Result<Self, Error> {
        let mut listeners = self;
        let (supervised, stored) = passed.into_parts();
        let result = if supervised.is_empty() {
            listeners
                .take_back(stored)
                .and_then(|()| configured.iter().try_for_each(|address| listeners.inherit_one(address)))
                .and_then(|()| listeners.inherit_covered(configured))
        } else {
            listeners.adopt(supervised)
        };
        listeners.offered.clear();
        listeners.beside.clear();
        match result {
            Ok(()) => {
                listeners.own_files();
                Ok(listeners)
            }
            Err(error) => {
                listeners.remove_files();
                Err(error)
            }
        }
    }

    /// Uses the sockets of the process before us where the configuration still wants them, and binds the others.
    pub(crate) fn inherit(
        configured: &[ListenAddr],
        (outline, sockets): (Outline, Vec<OwnedFd>),
        files: Vec<SocketFile>,
        owners: Owners,
    ) -> Result<Self, Error> {
        let written = outline.written();
        let stored =
            written.filter_map(|written| passed::name_of(written, file_of(written, &files))).collect();
        let mut listeners = Self { offered_files: files, stored, owners, ..Self::default() };
        for (index, (written, socket)) in outline.with(sockets).enumerate() {
            let listener = Listener::from_inherited(socket).map_err(|error| Error::Passed(index, error))?;
            listeners.offered.push((written, listener));
        }
        // What a supervisor passed takes the place of the configuration, as in the process before us.
        let supervised = listeners.offered.iter().any(|(written, _)| written.is_none());
        let result = if supervised {
            listeners.take_offered(|_, _| true).map(drop)
        } else {
            configured
                .iter()
                .try_for_each(|address| listeners.inherit_one(address))
                .and_then(|()| listeners.inherit_covered(configured))
        };
        listeners.offered.clear();
        match result {
            Ok(()) => Ok(listeners),
            Err(error) => {
                listeners.remove_files();
                Err(error)
            }
        }
    }

    /// Uses what was bound for the same text, so that port 0 stays the port that it is; else binds.
    fn inherit_one(&mut self, address: &ListenAddr) -> Result<(), Error> {
        let text = address.to_string();
        let same = self.take_offered(|written, _| written == Some(text.as_str()))?;
        if same { Ok(()) } else { self.add(address) }
    }

    /// Keeps offered sockets whose connections a configured one takes along: who waits there would be cut.
    fn inherit_covered(&mut self, configured: &[ListenAddr]) -> Result<(), Error> {
        let covered =
            |_: Option<&str>, socket: &Listener| socket.address().is_ok_and(|it| is_covered(&it, configured));
        self.take_offered(covered).map(drop)
    }

    /// Takes over the offered sockets that match; whether there were any.
    fn take_offered(&mut self, matches: impl Fn(Option<&str>, &Listener) -> bool) -> Result<bool, Error> {
        let (taken, left) = std::mem::take(&mut self.offered)
            .into_iter()
            .partition::<Vec<_>, _>(|(written, socket)| matches(written.as_deref(), socket));
        self.offered = left;
        let any = !taken.is_empty();
        for (written, socket) in taken {
            self.keep(socket, "an inherited socket", written)?;
        }
        Ok(any)
    }

    /// The sockets for the next process, in the order of [`Self::outline`], and the files that belong to them.
    /// Fails with what dup(2) answers.
    pub(crate) fn offer(&self) -> io::Result<(Vec<OwnedFd>, Vec<SocketFile>)> {
        let sockets = self
            .sockets
            .iter()
            .map(|socket| socket.as_fd().try_clone_to_owned())
            .collect::<io::Result<_>>()?;
        Ok((sockets, self.files.clone()))
    }

    /// The process before us has handed over: its sockets' files are ours to remove, and those of listeners that are not
    /// configured any more are removed at once.
    pub(crate) fn own_files(&mut self) {
        let offered = std::mem::take(&mut self.offered_files);
        let is_served = |path: &PathBuf| self.addresses.contains(&Address::Unix(path.clone()));
        let (served, gone) = offered.into_iter().partition::<Vec<_>, _>(|(path, ..)| is_served(path));
        self.files.extend(served);
        Self { files: gone, held: self.held, ..Self::default() }.remove_files();
    }

    /// The next process has taken over: the files are no longer ours to remove.
    pub(crate) fn give_files_up(&mut self) {
        self.files.clear();
    }

    /// Offers what the descriptor store held.
    fn take_back(&mut self, stored: Vec<Stored>) -> Result<(), Error> {
        for (index, (written, file, socket)) in stored.into_iter().map(Stored::into_parts).enumerate() {
            let listener = Listener::from_inherited(socket).map_err(|error| Error::Passed(index, error))?;
            self.stored.extend(passed::name_of(&written, file));
            if let (Ok(Address::Unix(path)), Some((device, inode))) = (listener.address(), file) {
                self.offered_files.push((path, device, inode));
            }
            self.offered.push((Some(written), listener));
        }
        Ok(())
    }

    /// Brings the service manager's descriptor store up to date: what lies there outlives this process, so that the next
    /// one serves connections that come in between. What a socket unit holds anyway is not put there, nor is a Unix
    /// socket whose file is not ours.
    pub(crate) fn store(&mut self, notifier: &Notifier) {
        let mut wanted = BTreeMap::<String, Vec<BorrowedFd<'_>>>::new();
        for (socket, written) in self.sockets.iter().zip(&self.written) {
            let Some(written) = written else { continue };
            let file = file_of(written, &self.files);
            if file.is_some() == matches!(socket, Listener::Unix(_))
                && let Some(name) = passed::name_of(written, file)
            {
                wanted.entry(name).or_default().push(socket.as_fd());
            }
        }
        for name in self.stored.iter().filter(|name| !wanted.contains_key(*name)) {
            notifier.forget(name);
        }
        for (name, sockets) in wanted.iter().filter(|(name, _)| !self.stored.contains(*name)) {
            notifier.store(name, sockets);
        }
        self.stored = wanted.into_keys().collect();
        self.held = notifier.is_there();
    }

    /// Checks and keeps what a supervisor passed.
    fn adopt(&mut self, passed: Vec<OwnedFd>) -> Result<(), Error> {
        for (index, socket) in passed.into_iter().enumerate() {
            let number = index + usize::try_from(fd::FIRST).expect("3 is not negative");
            let failed = |error| Error::Passed(number, error);
            let listener = Listener::from_inherited(socket).map_err(failed)?;
            self.addresses.push(listener.address().map_err(failed)?);
            self.sockets.push(listener);
            self.written.push(None);
        }
        Ok(())
    }

    /// Binds one configured address.
    fn add(&mut self, address: &ListenAddr) -> Result<(), Error> {
        match address {
            ListenAddr::Tcp { host, port } => self.add_tcp(address, host, *port),
            ListenAddr::Unix(path) => self.add_unix(address, path),
        }
    }

    /// Binds every address of the host. One that this machine does not have (`::1` of `localhost` without IPv6) is
    /// left out if another can be bound; port 0 binds the first only, since the kernel would choose two ports.
    fn add_tcp(&mut self, written: &ListenAddr, host: &str, port: u16) -> Result<(), Error> {
        let found = (host, port).to_socket_addrs().map_err(|error| Error::Resolve(written.clone(), error))?;
        // hosts(5) may have two lines for one.
        let mut resolved = Vec::<SocketAddr>::new();
        for address in found {
            if !resolved.contains(&address) {
                resolved.push(address);
            }
        }
        let (before, served) = (self.sockets.len(), self.served.len());
        let mut missing = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in resolved {
            // The same address may have been written in another way before.
            let same = |_: Option<&str>, socket: &Listener| {
                socket.address().is_ok_and(|it| it == Address::Tcp(address))
            };
            if self.take_offered(same)? {
                continue;
            }
            let own = Address::Tcp(address);
            if self.beside.iter().any(|socket| socket.address().is_ok_and(|it| it == own)) {
                self.served.push(own);
                continue;
            }
            match self.bind_tcp(address) {
                Ok(listener) => self.keep(listener, &address.to_string(), Some(written.to_string()))?,
                Err(error) if is_missing(&error) => missing = error,
                Err(error) => return Err(Error::Bind(address.to_string(), error)),
            }
            if port == 0 && self.sockets.len() > before {
                break;
            }
        }
        let none = (self.sockets.len(), self.served.len()) == (before, served);
        if none { Err(Error::Bind(written.to_string(), missing)) } else { Ok(()) }
    }

    /// Binds a TCP address, also where another address of the port is ours.
    fn bind_tcp(&self, address: SocketAddr) -> io::Result<Listener> {
        let ours =
            self.beside.iter().chain(self.offered.iter().map(|(_, socket)| socket)).chain(&self.sockets);
        let same_port = |socket: &&Listener| matches!(socket.address(), Ok(Address::Tcp(other)) if other.port() == address.port());
        match Listener::bind_tcp(address) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && ours.clone().any(|it| same_port(&it)) =>
            {
                Listener::bind_tcp_beside(address, &ours.filter(same_port))
            }
            other => other,
        }
    }

    /// Binds a Unix socket, in place of one that nobody serves any more.
    fn add_unix(&mut self, written: &ListenAddr, path: &Path) -> Result<(), Error> {
        let failed = |error| Error::Bind(format!("unix:{}", path.display()), error);
        clear_stale_socket(path, self.owners)?;
        let listener = Listener::bind_unix(path, self.owners).map_err(failed)?;
        let (directory, name) = Directory::of(path, self.owners).map_err(failed)?;
        let (device, inode) = files::identity(&directory.stat(name).map_err(failed)?);
        self.files.push((path.to_path_buf(), device, inode));
        self.keep(listener, &format!("unix:{}", path.display()), Some(written.to_string()))
    }

    /// Takes a bound listener in.
    fn keep(&mut self, listener: Listener, name: &str, written: Option<String>) -> Result<(), Error> {
        let address = listener.address().map_err(|error| Error::Bind(name.to_owned(), error))?;
        self.addresses.push(address);
        self.sockets.push(listener);
        self.written.push(written);
        Ok(())
    }

    /// What is bound, without the sockets.
    pub(crate) fn outline(&self) -> Outline {
        Outline::of(&self.written)
    }

    /// Takes others in.
    pub(crate) fn extend(&mut self, others: Self) {
        self.sockets.extend(others.sockets);
        self.addresses.extend(others.addresses);
        self.files.extend(others.files);
        self.written.extend(others.written);
    }

    /// Addresses for which nothing was bound, since sockets beside these serve them.
    pub(crate) fn take_served(&mut self) -> Vec<Address> {
        std::mem::take(&mut self.served)
    }

    /// Closes our handles of what is not configured any more, and removes their files; returns their addresses. What is served
    /// for the configuration under another name stays, and so does what a wider listener takes along: who waits there would
    /// be cut.
    pub(crate) fn retain(&mut self, configured: &[ListenAddr], served: &[Address]) -> Vec<Address> {
        let mut gone = Self::default();
        let wanted: Vec<String> = configured.iter().map(ToString::to_string).collect();
        for place in (0..self.sockets.len()).rev() {
            let address = &self.addresses[place];
            if self.written[place].as_ref().is_none_or(|written| wanted.contains(written))
                || served.contains(address)
                || is_covered(address, configured)
            {
                continue;
            }
            self.sockets.remove(place);
            self.written.remove(place);
            let address = self.addresses.remove(place);
            if let Address::Unix(path) = &address {
                gone.files.extend(self.files.extract_if(.., |(file, _, _)| file == path));
            }
            gone.addresses.push(address);
        }
        gone.remove_files();
        gone.addresses
    }

    /// Where they can be reached.
    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Where they can be reached, and how the configuration writes that, in the order of [`Self::handles`].
    pub(crate) fn bound(&self) -> impl Iterator<Item = (Address, Option<String>)> {
        self.addresses.iter().cloned().zip(self.written.iter().cloned())
    }

    /// Second handles of the sockets, for those who accept.
    /// Fails with what dup(2) answers.
    pub(crate) fn handles(&self) -> io::Result<Vec<Listener>> {
        self.sockets.iter().map(Listener::try_clone).collect()
    }

    /// Closes our handles, so that the kernel refuses new connections as soon as nobody accepts any more.
    pub(crate) fn close(&mut self) {
        self.sockets.clear();
    }

    /// The files of Unix sockets that are or become ours.
    pub(crate) fn made_files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().chain(&self.offered_files).map(|(path, ..)| path.as_path())
    }

    /// Removes the files of Unix sockets that we made and nobody replaced since, unless a service manager holds their
    /// sockets for the next process. Not done on drop: the launcher of a daemon holds the same listeners.
    pub(crate) fn remove_files(&mut self) {
        for (path, device, inode) in self.files.drain(..).filter(|_| !self.held) {
            let removed = files::remove_if(&path, (device, inode)).map(drop);
            if let Err(error) = removed.or_else(not_found) {
                tracing::warn!(path = %path.display(), %error, "cannot remove the socket");
            }
        }
    }
}

/// Refuses Unix listeners with the name of one of the gateway's run-time files.
/// Fails with [`Error::OwnName`].
pub(crate) fn check_names(configured: &[ListenAddr], paths: &RunPaths) -> Result<(), Error> {
    let wrong = configured.iter().find_map(|listener| match listener {
        ListenAddr::Unix(path) if paths.have(path) => Some(path),
        _ => None,
    });
    wrong.map_or(Ok(()), |path| Err(Error::OwnName(path.clone())))
}

/// Device and inode of the file that belongs to a listener, as the configuration writes it.
fn file_of(written: &str, files: &[SocketFile]) -> Option<(u64, u64)> {
    let path = Path::new(written.strip_prefix("unix:")?);
    files.iter().find(|(file, ..)| file == path).map(|(_, device, inode)| (*device, *inode))
}

/// Whether a configured listener takes connections to this address along.
fn is_covered(address: &Address, configured: &[ListenAddr]) -> bool {
    match address {
        Address::Tcp(address) => configured.iter().any(|listener| listener.takes_along(address)),
        Address::Unix(_) => false,
    }
}

/// Whether this machine does not have the address.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT)
}

/// What has gone by itself need not be removed.
fn not_found(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Makes way for a Unix socket: removes a socket that refuses connections, which its dead owner left behind.
pub(super) fn clear_stale_socket(path: &Path, owners: Owners) -> Result<(), Error> {
    let failed = |error| Error::Bind(format!("unix:{}", path.display()), error);
    let (directory, name) = Directory::of(path, owners).map_err(failed)?;
    let stat = match directory.stat(name) {
        Ok(stat) => stat,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(Error::NotASocket(path.to_path_buf()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            directory.remove(name).map_err(failed)
        }
        Ok(stream) => {
            let who = holder::of_peer(&stream).unwrap_or_else(|| "another process".to_owned());
            Err(Error::Served(path.to_path_buf(), who))
        }
        Err(error) => Err(failed(error)),
    }
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Bind(_, error) if error.kind() == io::ErrorKind::PermissionDenied => Exit::Permission,
            Self::Bind(_, error) if files::refusal(error).is_some() => Exit::CannotCreate,
            Self::NotASocket(_) => Exit::CannotCreate,
            Self::OwnName(_) => Exit::Config,
            _ => Exit::Os,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Bind(_, error) if files::mend(error).is_some() => files::mend(error),
            Self::Bind(address, error) => bind_hint::of(address, error),
            Self::Resolve(ListenAddr::Tcp { host, .. }, _) => {
                Some(format!("`getent ahosts {host}` shows what this machine knows of the name"))
            }
            Self::Served(path, _) => Some(format!("`ss -lxp src {}` names the process", path.display())),
            Self::OwnName(path) => Some(format!(
                "choose another name, such as `unix:{}`, or give the gateway another --pid-file",
                path.with_file_name("http.sock").display()
            )),
            Self::NotASocket(_) => Some("remove it, or choose another address".to_owned()),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
