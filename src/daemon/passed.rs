//! Descriptors that a service manager passes at the start: `sd_listen_fds(3)`.
//!
//! Two kinds come the same way and are told apart by their names. Sockets of a socket unit take the place of the
//! configuration. Listeners that a process before us had put into the descriptor store, `sd_notify(3)` `FDSTORE=1`, are
//! ours: they were bound for the configuration, and are served if it still asks for them. Their names hold the address as
//! the configuration writes it.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;

use super::listen::Error;
use crate::config::ListenAddr;
use crate::sys::fd::{self, Rest};

/// What the names of our own begin with in the store; a socket unit's are its own name or `FileDescriptorName=`.
const PREFIX: &str = "mcpeg-listen-";
/// The longest name that systemd takes: `FDNAME_MAX` of `sd_notify(3)`.
const NAME_LIMIT: usize = 255;

/// Descriptors that were passed and not looked at yet.
#[derive(Debug, Default)]
pub struct Passed {
    /// Of a socket unit.
    pub(super) supervised: Vec<OwnedFd>,
    /// Of the store, with what they were bound for.
    pub(super) stored: Vec<(String, OwnedFd)>,
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
    let sockets = fd::claim_inherited(count, rest).map_err(|error| Error::Claim(count, error))?;
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut passed = Passed::default();
    for (socket, name) in sockets.into_iter().zip(names.split(':').chain(std::iter::repeat(""))) {
        match address_in(name) {
            Some(address) => passed.stored.push((address, socket)),
            None => passed.supervised.push(socket),
        }
    }
    Ok(passed)
}

impl Passed {
    /// Closes stored listeners that are not configured any more, and returns their names in the store, from where they
    /// have to be removed before anything is bound: the manager holds their ports as long.
    pub fn discard(&mut self, configured: &[ListenAddr]) -> Vec<String> {
        let wanted: Vec<String> = configured.iter().map(ToString::to_string).collect();
        let supervised = !self.supervised.is_empty();
        let unwanted = self.stored.extract_if(.., |(address, _)| supervised || !wanted.contains(address));
        let mut names: Vec<String> = unwanted.filter_map(|(address, _)| name_of(&address)).collect();
        // One for each address of a host name.
        names.sort();
        names.dedup();
        names
    }
}

/// The name in the store for an address, as the configuration writes it; `None` if that is too long for one.
pub(super) fn name_of(address: &str) -> Option<String> {
    let mut name = PREFIX.to_owned();
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

/// The address that a name in the store stands for; `None` if the name is none of ours.
fn address_in(name: &str) -> Option<String> {
    let mut parts = name.strip_prefix(PREFIX)?.split('%');
    let mut address = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        address.push(u8::from_str_radix(code, 16).ok()?);
        address.extend(rest.as_bytes());
    }
    String::from_utf8(address).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_addresses_and_others_do_not() {
        for address in ["127.0.0.1:8080", "[::1]:8080", "localhost:0", "unix:/run/ä %41.sock"] {
            let name = name_of(address).unwrap();
            assert!(name.is_ascii() && !name.contains([':', ' ']), "{name}");
            assert_eq!(address_in(&name).as_deref(), Some(address));
        }
        assert_eq!(name_of(&"x".repeat(300)), None);
        for name in
            ["", "mcpeg.socket", "connection", "mcpeg-listen-%4", "mcpeg-listen-%zz", "mcpeg-listen-%FF"]
        {
            assert_eq!(address_in(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_not_configured_is_discarded_and_named_once() {
        let socket = || OwnedFd::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let stored = ["a:1", "b:2", "b:2", "c:3"].map(|address| (address.to_owned(), socket()));
        let wanted: Vec<ListenAddr> = ["a:1", "d:4"].map(|address| address.parse().unwrap()).into();
        let mut passed = Passed { supervised: Vec::new(), stored: stored.into() };
        assert_eq!(passed.discard(&wanted), ["mcpeg-listen-b%3A2", "mcpeg-listen-c%3A3"]);
        assert_eq!(passed.stored.len(), 1);
        passed.supervised.push(socket());
        assert_eq!(passed.discard(&wanted), ["mcpeg-listen-a%3A1"]);
    }
}
