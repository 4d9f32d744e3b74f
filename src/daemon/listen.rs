//! Listeners: taken over from a supervisor by `sd_listen_fds(3)`, or bound as configured.
//!
//! [`claim`] must run before anything else opens a descriptor; [`Listeners::bind`] runs under the lock, so that a
//! second start of the same gateway never gets this far.

use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::ListenAddr;
use crate::exit::{Exit, ToExit};
use crate::sys::fd::{self, Rest};
use crate::sys::net::{Address, Listener};

/// Descriptors that a supervisor passed and that were not looked at yet.
#[derive(Debug)]
pub struct Passed(Vec<OwnedFd>);

/// The file of a Unix socket that we made: path, device and inode.
pub type SocketFile = (PathBuf, u64, u64);

/// The bound listeners.
#[derive(Debug, Default)]
pub struct Listeners {
    /// The sockets; never empty.
    sockets: Vec<Listener>,
    /// Where they can be reached, in the same order.
    addresses: Vec<Address>,
    /// The files of Unix sockets that we made.
    files: Vec<SocketFile>,
    /// How each is written in the configuration, in the same order; `None` for what a supervisor passed.
    written: Vec<Option<String>>,
    /// Sockets of the process before us that are not in use here, so far.
    offered: Vec<(Option<String>, Listener)>,
    /// Files that become ours when the process before us has handed over.
    offered_files: Vec<SocketFile>,
}

/// What is bound, as the configuration writes it; `None` for what a supervisor passed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outline(Vec<Option<String>>);

impl Outline {
    /// Whether a supervisor passed the sockets, so that the configuration does not choose them.
    #[must_use]
    pub fn are_passed(&self) -> bool {
        self.0.iter().any(Option::is_none)
    }

    /// The configured addresses that nothing is bound for.
    #[must_use]
    pub fn missing(&self, configured: &[ListenAddr]) -> Vec<ListenAddr> {
        let bound = |address: &ListenAddr| self.0.iter().flatten().any(|it| *it == address.to_string());
        configured.iter().filter(|address| !bound(address)).cloned().collect()
    }
}

impl Passed {
    /// No descriptors: everything is to be bound as configured.
    #[must_use]
    pub const fn nothing() -> Self {
        Self(Vec::new())
    }
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `LISTEN_FDS` does not fit what is open.
    #[error("cannot take over the {0} sockets that LISTEN_FDS announces")]
    Claim(u16, #[source] io::Error),
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
    #[error("cannot listen on `unix:{0}`: another process serves there")]
    Served(PathBuf),
    /// A file that is no socket has the name.
    #[error("cannot listen on `unix:{0}`: the file exists and is not a socket")]
    NotASocket(PathBuf),
}

/// Takes over the descriptors that `LISTEN_FDS` announces to this process, and closes or shields all others that
/// the caller left open: daemon(7) SysV step 1.
///
/// # Errors
/// When they are not open.
pub fn claim(rest: Rest) -> Result<Passed, Error> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    // The variables are meant for one process; a child of it may inherit them too.
    let ours = number("LISTEN_PID") == Some(std::process::id());
    let count =
        number("LISTEN_FDS").filter(|_| ours).and_then(|count| u16::try_from(count).ok()).unwrap_or(0);
    fd::claim_inherited(count, rest).map(Passed).map_err(|error| Error::Claim(count, error))
}

impl Listeners {
    /// Uses the passed sockets if there are any, else binds what is configured.
    ///
    /// # Errors
    /// When one of them cannot be used; the others are released again.
    pub fn bind(configured: &[ListenAddr], passed: Passed) -> Result<Self, Error> {
        let mut listeners = Self::default();
        let result = if passed.0.is_empty() {
            configured.iter().try_for_each(|address| listeners.add(address))
        } else {
            listeners.adopt(passed)
        };
        match result {
            Ok(()) => Ok(listeners),
            Err(error) => {
                listeners.remove_files();
                Err(error)
            }
        }
    }

    /// Uses the sockets of the process before us where the configuration still wants them, and binds the others.
    ///
    /// # Errors
    /// When one cannot be used; the files of those that were passed stay as they are.
    pub fn inherit(
        configured: &[ListenAddr],
        (outline, sockets): (Outline, Vec<OwnedFd>),
        files: Vec<SocketFile>,
    ) -> Result<Self, Error> {
        let mut listeners = Self { offered_files: files, ..Self::default() };
        for (index, (written, socket)) in outline.0.into_iter().zip(sockets).enumerate() {
            let listener = Listener::from_inherited(socket).map_err(|error| Error::Passed(index, error))?;
            listeners.offered.push((written, listener));
        }
        // What a supervisor passed takes the place of the configuration, as in the process before us.
        let supervised = listeners.offered.iter().any(|(written, _)| written.is_none());
        let result = if supervised {
            listeners.take_offered(|_, _| true).map(drop)
        } else {
            configured.iter().try_for_each(|address| listeners.inherit_one(address))
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
    ///
    /// # Errors
    /// What dup(2) answers.
    pub fn offer(&self) -> io::Result<(Vec<OwnedFd>, Vec<SocketFile>)> {
        let sockets = self
            .sockets
            .iter()
            .map(|socket| socket.as_fd().try_clone_to_owned())
            .collect::<io::Result<_>>()?;
        Ok((sockets, self.files.clone()))
    }

    /// The process before us has handed over: its sockets' files are ours to remove.
    pub fn own_files(&mut self) {
        self.files.append(&mut self.offered_files);
    }

    /// The next process has taken over: the files are no longer ours to remove.
    pub fn give_files_up(&mut self) {
        self.files.clear();
    }

    /// Checks and keeps what a supervisor passed.
    fn adopt(&mut self, passed: Passed) -> Result<(), Error> {
        for (index, socket) in passed.0.into_iter().enumerate() {
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
        let resolved: Vec<SocketAddr> =
            (host, port).to_socket_addrs().map_err(|error| Error::Resolve(written.clone(), error))?.collect();
        let before = self.sockets.len();
        let mut missing = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in resolved {
            // The same address may have been written in another way before.
            let same = |_: Option<&str>, socket: &Listener| {
                socket.address().is_ok_and(|it| it == Address::Tcp(address))
            };
            if self.take_offered(same)? {
                continue;
            }
            match Listener::bind_tcp(address) {
                Ok(listener) => self.keep(listener, &address.to_string(), Some(written.to_string()))?,
                Err(error) if is_missing(&error) => missing = error,
                Err(error) => return Err(Error::Bind(address.to_string(), error)),
            }
            if port == 0 && self.sockets.len() > before {
                break;
            }
        }
        if self.sockets.len() == before { Err(Error::Bind(written.to_string(), missing)) } else { Ok(()) }
    }

    /// Binds a Unix socket, in place of one that nobody serves any more.
    fn add_unix(&mut self, written: &ListenAddr, path: &Path) -> Result<(), Error> {
        let failed = |error| Error::Bind(format!("unix:{}", path.display()), error);
        clear_stale_socket(path)?;
        let listener = Listener::bind_unix(path).map_err(failed)?;
        let metadata = fs::symlink_metadata(path).map_err(failed)?;
        self.files.push((path.to_path_buf(), metadata.dev(), metadata.ino()));
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
    #[must_use]
    pub fn outline(&self) -> Outline {
        Outline(self.written.clone())
    }

    /// Takes others in.
    pub fn extend(&mut self, others: Self) {
        self.sockets.extend(others.sockets);
        self.addresses.extend(others.addresses);
        self.files.extend(others.files);
        self.written.extend(others.written);
    }

    /// Closes our handles of what is not configured any more, and removes their files; returns their addresses.
    pub fn retain(&mut self, configured: &[ListenAddr]) -> Vec<Address> {
        let mut gone = Self::default();
        let wanted: Vec<String> = configured.iter().map(ToString::to_string).collect();
        for place in (0..self.sockets.len()).rev() {
            if self.written[place].as_ref().is_none_or(|written| wanted.contains(written)) {
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
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Second handles of the sockets, for those who accept.
    ///
    /// # Errors
    /// What dup(2) answers.
    pub fn handles(&self) -> io::Result<Vec<Listener>> {
        self.sockets.iter().map(Listener::try_clone).collect()
    }

    /// Closes our handles, so that the kernel refuses new connections as soon as nobody accepts any more.
    pub fn close(&mut self) {
        self.sockets.clear();
    }

    /// Removes the files of Unix sockets that we made and nobody replaced since. Not done on drop: the launcher of a
    /// daemon holds the same listeners.
    pub fn remove_files(&mut self) {
        for (path, device, inode) in self.files.drain(..) {
            let same = fs::symlink_metadata(&path).is_ok_and(|it| (it.dev(), it.ino()) == (device, inode));
            if same && let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove the socket");
            }
        }
    }
}

/// Whether this machine does not have the address.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT)
}

/// Makes way for a Unix socket: removes a socket that refuses connections, which its dead owner left behind.
pub(super) fn clear_stale_socket(path: &Path) -> Result<(), Error> {
    let failed = |error| Error::Bind(format!("unix:{}", path.display()), error);
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(Error::NotASocket(path.to_path_buf()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Ok(_) => Err(Error::Served(path.to_path_buf())),
        Err(error) => Err(failed(error)),
    }
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Bind(_, error) if error.kind() == io::ErrorKind::PermissionDenied => Exit::Permission,
            Self::NotASocket(_) => Exit::CannotCreate,
            _ => Exit::Os,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Bind(address, error) if error.kind() == io::ErrorKind::AddrInUse => {
                let port = address.rsplit_once(':')?.1;
                Some(format!(
                    "`ss -ltnp 'sport = :{port}'` names the process; --listen chooses another address"
                ))
            }
            Self::Bind(_, error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Some("ports below 1024 need root or CAP_NET_BIND_SERVICE".to_owned())
            }
            Self::Bind(_, error) if is_missing(error) => {
                Some("the address is not one of this machine's; `ip address` lists them".to_owned())
            }
            Self::Served(path) => Some(format!("`ss -lxp src {}` names the process", path.display())),
            Self::NotASocket(_) => Some("remove it, or choose another address".to_owned()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn stale_socket_is_replaced_and_gets_its_mode_and_a_served_one_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let address = [ListenAddr::Unix(path.clone())];
        let mut first = Listeners::bind(&address, Passed(Vec::new())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let second = Listeners::bind(&address, Passed(Vec::new())).unwrap_err();
        assert!(matches!(second, Error::Served(_)));
        first.remove_files();
        assert!(!path.exists());
    }

    #[test]
    fn ordinary_file_in_the_place_of_a_socket_survives() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        crate::sys::fs::write_atomic(&path, b"precious", crate::sys::fs::Ownership::mode(0o600)).unwrap();
        let refused = Listeners::bind(&[ListenAddr::Unix(path.clone())], Passed(Vec::new())).unwrap_err();
        assert!(matches!(refused, Error::NotASocket(_)));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn taken_port_is_named_with_a_hint() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let address = ListenAddr::Tcp { host: "127.0.0.1".to_owned(), port };
        let error = Listeners::bind(&[address], Passed(Vec::new())).unwrap_err();
        assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
        assert!(error.hint().unwrap().contains(&format!("sport = :{port}")));
        assert_eq!(error.to_exit(), Exit::Os);
    }
}
