//! What must be so before anything is touched. None of it needs root or changes anything.

use std::path::Path;

use rustix::fs::{StatVfsMountFlags, fstatvfs};

use super::error::Error;
use super::exec;
use super::layout;
use super::target::Target;

/// Refuses an installation that could not go well.
///
/// # Errors
/// One variant for each reason.
pub(super) fn before_install(target: &Target, start: bool) -> Result<(), Error> {
    packaged(target)?;
    if start && !target.booted {
        return Err(Error::NoSystemd);
    }
    if exec::find("systemctl").is_none() {
        return Err(Error::NoTool("systemctl"));
    }
    shadows(target)?;
    state_belongs_to_root(target)?;
    writable(target)
}

/// Refuses to work where a package manager does.
///
/// # Errors
/// [`Error::Packaged`].
pub(super) fn packaged(target: &Target) -> Result<(), Error> {
    let program = Path::new(layout::PACKAGED_PROGRAM);
    if target.tree.look(program)?.is_none() {
        return Ok(());
    }
    let root = target.tree.path().display();
    let questions = [
        (
            "dpkg-query",
            format!("--admindir={}/var/lib/dpkg", root.to_string().trim_end_matches('/')),
            "--search",
            "apt",
        ),
        ("rpm", format!("--root={root}"), "-qf", "dnf"),
    ];
    for (tool, place, question, manager) in questions {
        if exec::find(tool).is_none() {
            continue;
        }
        let output = exec::output(tool, &[&place, question, layout::PACKAGED_PROGRAM])?;
        if output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout);
            let package = text.split([':', '\n']).next().unwrap_or_default().trim().to_owned();
            return Err(Error::Packaged { package, manager });
        }
    }
    Ok(())
}

/// Refuses if a unit of the same name would hide ours.
fn shadows(target: &Target) -> Result<(), Error> {
    for shadow in layout::SHADOWS.map(Path::new) {
        if target.tree.look(shadow)?.is_some() {
            let why = "it would hide the unit that mcpeg installs";
            return Err(Error::Foreign { path: target.tree.outside(shadow), why });
        }
    }
    Ok(())
}

/// Refuses a state directory in which somebody else could change the receipt.
fn state_belongs_to_root(target: &Target) -> Result<(), Error> {
    let state = Path::new(layout::STATE);
    match target.tree.look(state)? {
        Some(found) if !found.is_directory() || found.uid != 0 || found.mode & 0o022 != 0 => {
            let why = "it must be a directory that only root can write";
            Err(Error::Foreign { path: target.tree.outside(state), why })
        }
        _ => Ok(()),
    }
}

/// Refuses if a file system that will be written to is mounted read-only.
fn writable(target: &Target) -> Result<(), Error> {
    for place in layout::files().chain([Path::new(layout::RECEIPT)]) {
        let mut nearest = None;
        for path in layout::above(place) {
            match target.tree.directory(&path) {
                Ok(Some(fd)) => nearest = Some((path, fd)),
                // Below /etc/mcpeg only root may look; what is above it has been seen by then.
                Ok(None) | Err(Error::File { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        let Some((path, fd)) = nearest else { continue };
        let state = fstatvfs(&fd).map_err(Error::file("look at the file system of", &path))?;
        if state.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Err(Error::ReadOnly(target.tree.outside(&path)));
        }
    }
    Ok(())
}
