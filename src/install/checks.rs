//! What must be so before anything is touched. None of it needs root or changes anything.

use std::io::ErrorKind;
use std::net::TcpListener;

use super::error::Error;
use super::layout::Layout;
use super::ownership;
use super::privileged::exec;
use super::target::Target;
use crate::config::ListenAddr;

/// Refuses an installation that could not go well.
///
/// # Errors
/// One variant for each reason.
pub(super) fn before_install(target: &Target, start: bool) -> Result<(), Error> {
    if start && !target.booted {
        return Err(if target.layout.is_users() { Error::NoUserSystemd } else { Error::NoSystemd });
    }
    if exec::find("systemctl").is_none() {
        return Err(Error::NoTool("systemctl"));
    }
    shadows(target)?;
    state_belongs_to_root(target)?;
    writable(target)
}

/// Refuses if a unit of the same name would hide ours.
fn shadows(target: &Target) -> Result<(), Error> {
    let leftover = ownership::leftover_mask(&target.tree, &target.layout)?;
    for shadow in &target.layout.shadows {
        // What the removal of a package has left is undone by a step.
        if leftover.as_ref().is_some_and(|[mask, _]| mask == shadow) {
            continue;
        }
        if target.tree.look(shadow)?.is_some() {
            let why = "it would hide the unit that mcpeg installs";
            return Err(Error::Foreign { path: target.tree.outside(shadow), why });
        }
    }
    Ok(())
}

/// Refuses a state directory in which somebody else could change the receipt.
fn state_belongs_to_root(target: &Target) -> Result<(), Error> {
    let Layout { state, .. } = &target.layout;
    let owner = if target.layout.is_users() { rustix::process::geteuid().as_raw() } else { 0 };
    match target.tree.look(state)? {
        Some(found) if !found.is_directory() || found.uid != owner || found.mode & 0o022 != 0 => {
            let why = "it must be a directory that only its owner, root or you, can write";
            Err(Error::Foreign { path: target.tree.outside(state), why })
        }
        _ => Ok(()),
    }
}

/// Refuses if a file system that will be written to is mounted read-only.
fn writable(target: &Target) -> Result<(), Error> {
    let Layout { receipt, .. } = &target.layout;
    for place in target.layout.files().into_iter().chain([receipt.as_path()]) {
        if let Some(path) = target.tree.read_only_place(place)? {
            return Err(Error::ReadOnly(path));
        }
    }
    Ok(())
}

/// Refuses listeners that somebody else has, before anything is touched. Those that this process may not try, such as
/// ports below 1024, are left to the service.
///
/// # Errors
/// [`Error::PortInUse`].
pub(super) fn free(listeners: &[ListenAddr]) -> Result<(), Error> {
    let taken = |listener: &&ListenAddr| match listener {
        ListenAddr::Tcp { host, port } => {
            TcpListener::bind((host.as_str(), *port)).is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
        }
        ListenAddr::Unix(_) => false,
    };
    listeners.iter().find(taken).map_or(Ok(()), |listener| Err(Error::PortInUse(listener.to_string())))
}
