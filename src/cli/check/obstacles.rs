//! What would keep a gateway with this configuration from starting, beside mistakes in the files: where it may not listen,
//! where it may not log, whom it cannot become.
//!
//! The kernel is asked, without an effect: an address is bound for an instant, and nobody listens on it. In the view of a
//! service what is found is certain. A caller may be somebody else than who starts the gateway; there it is a doubt.

use std::env;
use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::answer::Obstacle;
use super::place;
use crate::config::{Config, ListenAddr};
use crate::daemon::listen;
use crate::daemon::{RunPaths, privileges};
use crate::gateway;
use crate::serve::names;
use crate::sys::{net, user};

/// The variables by which systemd names the directories that it makes for a service, each with its user as the owner.
const MADE: [&str; 4] = ["RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY", "LOGS_DIRECTORY"];

/// All that would keep it from starting; `is_service` says that this process is what the service would be.
pub(super) fn of(config: &Config, pid_file: Option<&Path>, is_service: bool) -> Vec<Obstacle> {
    let mut all = Vec::new();
    let server = &config.server;
    match privileges::wanted(server.user.as_deref(), server.group.as_deref()) {
        Err(error @ privileges::Error::NotRoot(_)) => all.push(Obstacle::of(&error, is_service)),
        Err(error) => all.push(Obstacle::of(&error, true)),
        Ok(_) => {}
    }
    if let Ok(paths) = RunPaths::resolve(pid_file)
        && let Err(error) = names::check(config, &paths)
    {
        all.push(Obstacle::of(&error, true));
    }
    if !place::has_sockets_passed() {
        all.extend(server.listen.iter().filter_map(|listener| unheard(listener, is_service)));
    }
    for listener in &server.listeners {
        let read = listener.tls.as_ref().map_or(Ok(Vec::new()), gateway::check_certificates);
        if let Err(error) = read {
            // Another user may not be able to read a key; what is in a file is the same for all.
            let certain = is_service || !matches!(error, gateway::CertificateError::Read { .. });
            all.push(Obstacle::of(&gateway::Error::Tls(listener.name.clone(), error), certain));
        }
    }
    for issuer in &config.issuers {
        if let Err(error) = gateway::check_keys(issuer) {
            let certain = is_service || !matches!(error, gateway::Error::Keys { unread: true, .. });
            all.push(Obstacle::of(&error, certain));
        }
    }
    // Where root is given up, the files of the log are given away.
    for file in config.log.files().filter(|_| server.user.is_none()) {
        let wrong = unwritable(file, "the log file");
        all.extend(wrong.map(|(message, hint)| Obstacle::new(message, Some(hint), is_service)));
    }
    all
}

/// Why nobody could be heard at this address.
fn unheard(listener: &ListenAddr, is_service: bool) -> Option<Obstacle> {
    match listener {
        ListenAddr::Unix(path) => {
            let directory = path.parent()?;
            let (why, hint) = unwritable(&directory.join(".mcpeg"), "the socket")?;
            Some(Obstacle::new(format!("cannot listen on `{listener}`: {why}"), Some(hint), is_service))
        }
        ListenAddr::Tcp { host, port } => {
            let addresses: Vec<SocketAddr> = (host.as_str(), *port).to_socket_addrs().ok()?.collect();
            let refused = |address: &SocketAddr| net::try_bind(*address).err().map(|error| (*address, error));
            let (address, error) = addresses.iter().find_map(refused)?;
            // That somebody has it may be the gateway itself; that there is none of several may be as it should.
            if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable) {
                return None;
            }
            let certain = is_service && error.kind() == ErrorKind::PermissionDenied;
            Some(Obstacle::of(&listen::Error::Bind(address.to_string(), error), certain))
        }
    }
}

/// Why this process could not write the file, or make it, and how that is mended.
fn unwritable(file: &Path, what: &str) -> Option<(String, String)> {
    if is_given_away(file) {
        return None;
    }
    let place = file.ancestors().find(|place| place.symlink_metadata().is_ok())?;
    let wanted = if place == file { AccessFlags::W_OK } else { AccessFlags::W_OK | AccessFlags::X_OK };
    let error = access(place, wanted).err()?;
    let shown = place.display();
    let message = format!("{what} cannot be written: `{shown}`: {}", error.desc());
    let hint = match env::var("LOGS_DIRECTORY") {
        Ok(directory) if place::in_the_place_of().is_some() => {
            format!(
                "put it into {directory}, or let the unit write there with ReadWritePaths= by `systemctl edit`"
            )
        }
        _ => format!("let user {} write there, or choose another place", user::name()),
    };
    Some((message, hint))
}

/// Whether the file is in a directory of the service that does not belong to its user yet: systemd makes it so, with all that
/// is in it, when it starts the service.
fn is_given_away(file: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let directories: Vec<PathBuf> = MADE
        .iter()
        .filter_map(env::var_os)
        .flat_map(|value| env::split_paths(&value).collect::<Vec<_>>())
        .collect();
    let is_foreign =
        |directory: &PathBuf| directory.metadata().map_or(true, |found| found.uid() != user::effective_uid());
    place::in_the_place_of().is_some()
        && directories.iter().any(|directory| file.starts_with(directory) && is_foreign(directory))
}
