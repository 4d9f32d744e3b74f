//! Descriptors that a service manager passes at the start: `sd_listen_fds(3)`.
//!
//! Two kinds come the same way and are told apart by their names. Sockets of a socket unit take the place of the
//! configuration. Listeners that a process before us had put into the descriptor store, `sd_notify(3)` `FDSTORE=1`, are
//! ours: they were bound for the configuration, and are served if it still asks for them. Their names hold the address as
//! the configuration writes it, and for a Unix socket device and inode of its file: clients reach the socket as long as
//! that is the file at its path.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::readiness::Waiting;
use crate::config::ListenAddr;
use crate::exit::{Exit, ToExit};
use crate::sys::fd::{self, Rest};
use crate::systemd::listen_fds;

/// What the names of our own begin with in the store; a socket unit's are its own name or `FileDescriptorName=`.
const PREFIX: &str = "mcpeg-listen-";
/// The same for Unix sockets, with device and inode of the file behind it: hexadecimal numbers that end with a hyphen.
const UNIX_PREFIX: &str = "mcpeg-unix-";
/// The longest name that systemd takes: `FDNAME_MAX` of `sd_notify(3)`.
const NAME_LIMIT: usize = 255;

/// Why the descriptors cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// `LISTEN_FDS` does not fit what is open.
    #[error("cannot take over the {0} sockets that LISTEN_FDS announces")]
    Claim(u16, #[source] io::Error),
    /// `--ready-fd` names a descriptor that is of no use.
    #[error("descriptor {0} of --ready-fd {1}")]
    Ready(i32, &'static str),
}

/// Descriptors that were passed and not looked at yet.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// Of a socket unit.
    supervised: Vec<OwnedFd>,
    /// Of the store.
    stored: Vec<Stored>,
    /// Where somebody waits for readiness.
    pub(crate) waiting: Option<Waiting>,
}

/// A listener that the store held.
#[derive(Debug)]
pub(super) struct Stored {
    /// Its name there.
    name: String,
    /// What it was bound for, as the configuration writes it.
    written: String,
    /// Device and inode of a Unix socket's file.
    file: Option<(u64, u64)>,
    /// The listener.
    socket: OwnedFd,
}

/// Takes over the descriptors that `LISTEN_FDS` announces to this process and that of `--ready-fd`, and closes or shields
/// all others that the caller left open: daemon(7) SysV step 1.
pub(crate) fn claim(rest: Rest, ready: Option<RawFd>) -> Result<Passed, Error> {
    let count = listen_fds::count();
    if let Some(number) = ready {
        check_ready(number, count)?;
    }
    let claimed = fd::claim_inherited(count, ready, rest);
    let (sockets, ready) = claimed.map_err(|error| Error::Claim(count, error))?;
    let mut passed = Passed { waiting: ready.map(Waiting::new), ..Passed::default() };
    for (socket, name) in sockets.into_iter().zip(listen_fds::names()) {
        match told_by(&name) {
            Some((written, file)) => {
                passed.stored.push(Stored { name, written, file, socket });
            }
            None => passed.supervised.push(socket),
        }
    }
    Ok(passed)
}

/// Refuses a number for readiness to which nothing can be written.
fn check_ready(number: RawFd, listening: u16) -> Result<(), Error> {
    let unfit = |why| Err(Error::Ready(number, why));
    match fd::is_writable(number) {
        _ if number < fd::FIRST + RawFd::from(listening) => {
            unfit("is one of those that LISTEN_FDS announces")
        }
        Ok(true) => Ok(()),
        Ok(false) => unfit("is not open for writing"),
        Err(_) => unfit("is not open"),
    }
}

impl Stored {
    /// What it was bound for, a Unix socket's file, and the listener.
    pub(super) fn into_parts(self) -> (String, Option<(u64, u64)>, OwnedFd) {
        (self.written, self.file, self.socket)
    }
}

impl Passed {
    /// What a socket unit and the store have passed.
    pub(super) fn into_parts(self) -> (Vec<OwnedFd>, Vec<Stored>) {
        (self.supervised, self.stored)
    }

    /// Closes stored listeners that are not configured any more or that nobody can reach, and returns their names in the
    /// store, from where they have to be removed before anything is bound: the manager holds their ports as long.
    pub(crate) fn discard(&mut self, configured: &[ListenAddr]) -> Vec<String> {
        let supervised = !self.supervised.is_empty();
        let unwanted = self.stored.extract_if(.., |stored| {
            let address = configured.iter().find(|address| address.to_string() == stored.written);
            let narrow = stored.written.parse::<SocketAddr>();
            let covered = narrow.is_ok_and(|it| configured.iter().any(|address| address.takes_along(&it)));
            let reachable = match (address, stored.file) {
                (None, None) => covered,
                (Some(ListenAddr::Unix(path)), Some(file)) => is_still(path, file),
                (Some(ListenAddr::Tcp { .. }), None) => true,
                _ => false,
            };
            supervised || !reachable
        });
        let mut names: Vec<String> = unwanted.map(|stored| stored.name).collect();
        // One for each address of a host name.
        names.sort();
        names.dedup();
        names
    }
}

/// Whether the file at the path is this one.
pub(super) fn is_still(path: &Path, file: (u64, u64)) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|it| (it.dev(), it.ino()) == file)
}

/// The name in the store for an address, as the configuration writes it, and a Unix socket's file, unless it is too long.
pub(super) fn name_of(address: &str, file: Option<(u64, u64)>) -> Option<String> {
    let mut name = match file {
        Some((device, inode)) => format!("{UNIX_PREFIX}{device:x}-{inode:x}-"),
        None => PREFIX.to_owned(),
    };
    for byte in address.bytes() {
        // Names are printable ASCII without the colon, which separates them in `LISTEN_FDNAMES`.
        if byte.is_ascii_graphic() && !b":%".contains(&byte) {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "%{byte:02X}");
        }
    }
    (name.len() <= NAME_LIMIT).then_some(name)
}

/// The address that a name in the store stands for, and a Unix socket's file; `None` if the name is none of ours.
fn told_by(name: &str) -> Option<(String, Option<(u64, u64)>)> {
    if let Some(address) = name.strip_prefix(PREFIX) {
        return Some((unescaped(address)?, None));
    }
    let (device, rest) = name.strip_prefix(UNIX_PREFIX)?.split_once('-')?;
    let (inode, address) = rest.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some((unescaped(address)?, Some((number(device)?, number(inode)?))))
}

/// The address in a name.
fn unescaped(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut address = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        address.push(u8::from_str_radix(code, 16).ok()?);
        address.extend(rest.as_bytes());
    }
    String::from_utf8(address).ok()
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Claim(..) => Exit::Os,
            Self::Ready(..) => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Claim(..) => None,
            Self::Ready(..) => {
                Some("a supervisor opens it; in a shell, `--ready-fd 3 3>FILE` does".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_addresses_and_others_do_not() {
        for address in ["127.0.0.1:8080", "[::1]:8080", "localhost:0", "unix:/run/ä %41.sock", "unix:/a-b-c"]
        {
            for file in [None, Some((0, u64::MAX))] {
                let name = name_of(address, file).unwrap();
                assert!(name.is_ascii() && !name.contains([':', ' ']), "{name}");
                assert_eq!(told_by(&name), Some((address.to_owned(), file)));
            }
        }
        assert_eq!(name_of(&"x".repeat(300), None), None);
        for name in [
            "",
            "mcpeg.socket",
            "connection",
            "mcpeg-listen-%4",
            "mcpeg-listen-%zz",
            "mcpeg-listen-%FF",
            "mcpeg-unix-1-unix",
            "mcpeg-unix-x-1-unix",
        ] {
            assert_eq!(told_by(name), None, "{name}");
        }
    }

    /// A listener as the store holds it.
    fn stored(written: &str, file: Option<(u64, u64)>) -> Stored {
        let socket = OwnedFd::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        Stored { name: name_of(written, file).unwrap(), written: written.to_owned(), file, socket }
    }

    #[test]
    fn what_is_not_configured_is_discarded_and_named_once() {
        let wanted: Vec<ListenAddr> = ["a:1", "d:4"].map(|address| address.parse().unwrap()).into();
        let all = ["a:1", "b:2", "b:2", "c:3"].map(|address| stored(address, None));
        let mut passed = Passed { stored: all.into(), ..Passed::default() };
        assert_eq!(passed.discard(&wanted), ["mcpeg-listen-b%3A2", "mcpeg-listen-c%3A3"]);
        assert_eq!(passed.stored.len(), 1);
        let socket = OwnedFd::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        passed.supervised.push(socket);
        assert_eq!(passed.discard(&wanted), ["mcpeg-listen-a%3A1"]);
    }

    #[test]
    fn socket_whose_file_is_gone_or_another_is_discarded() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let metadata = file.as_file().metadata().unwrap();
        let (path, is) = (file.path().to_owned(), (metadata.dev(), metadata.ino()));
        let written = format!("unix:{}", path.display());
        let wanted = [ListenAddr::Unix(path.clone())];
        let left = |file: Option<(u64, u64)>| {
            let mut passed = Passed { stored: vec![stored(&written, file)], ..Passed::default() };
            let discarded = passed.discard(&wanted);
            assert_eq!(discarded.len() + passed.stored.len(), 1);
            passed.stored.len()
        };
        assert_eq!((left(Some(is)), left(Some((is.0, is.1 + 1))), left(None)), (1, 0, 0));
        drop(file);
        assert_eq!(left(Some(is)), 0);
    }
}
