//! Unit files of the administrator in place of the installed one, and the mask that the removal of a package leaves.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::layout::{self, Layout};
use super::privileged::{Tree, files};

/// A file of the administrator that systemd reads in place of the installed unit (systemd.unit(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shadow {
    /// The unit is masked: a link to /dev/null, or an empty file.
    Mask(PathBuf),
    /// A whole unit, as `systemctl edit --full` makes one.
    Copy(PathBuf),
}

/// What hides the installed unit. Fails with [`Error::Foreign`] for what is neither a unit nor a mask.
pub(super) fn find(tree: &Tree, layout: &Layout) -> Result<Option<Shadow>, Error> {
    let leftover = leftover_mask(tree, layout)?;
    for path in &layout.shadows {
        // What the removal of a package has left is undone by a step.
        if leftover.as_ref().is_some_and(|[mask, _]| mask == path) {
            continue;
        }
        let Some(found) = tree.look(path)? else { continue };
        if found.is_link() {
            return match tree.link(path)? {
                Some(to) if to == Path::new("/dev/null") => Ok(Some(Shadow::Mask(path.clone()))),
                _ => {
                    let why = "it is a link to a unit file elsewhere, which would hide the unit that mcpeg installs";
                    Err(Error::Foreign { path: tree.outside(path), why })
                }
            };
        }
        let is_empty = || match files::read(tree, path) {
            Ok(Some(file)) => file.metadata().is_ok_and(|metadata| metadata.len() == 0),
            _ => false,
        };
        let shadow = if is_empty() { Shadow::Mask(path.clone()) } else { Shadow::Copy(path.clone()) };
        return Ok(Some(shadow));
    }
    Ok(None)
}

/// Whether a unit file is a mask: a link to /dev/null, or empty (systemd.unit(5)).
pub(super) fn is_mask(tree: &Tree, path: &Path) -> Result<bool, Error> {
    Ok(match tree.look(path)? {
        Some(found) if found.is_file() => {
            let mut byte = [0];
            files::read(tree, path)?
                .is_some_and(|mut file| file.read(&mut byte).is_ok_and(|length| length == 0))
        }
        Some(_) => tree.link(path)?.as_deref() == Some(Path::new("/dev/null")),
        None => false,
    })
}

/// The mask that the removal of a package has left, with what deb-systemd-helper(1) has noted of it; `None` if there is
/// none, or it is the administrator's, or the package is there.
pub(super) fn leftover_mask(tree: &Tree, layout: &Layout) -> Result<Option<[PathBuf; 2]>, Error> {
    let packaged = tree.look(Path::new(layout::PACKAGED_PROGRAM))?.is_some();
    if packaged { Ok(None) } else { removal_mask(tree, layout) }
}

/// The same while the package comes again.
pub(super) fn removal_mask(tree: &Tree, layout: &Layout) -> Result<Option<[PathBuf; 2]>, Error> {
    if layout.is_users() {
        return Ok(None);
    }
    let mask = Path::new("/etc/systemd/system").join(&layout.unit);
    let note = Path::new("/var/lib/systemd/deb-systemd-helper-masked").join(&layout.unit);
    let left = is_mask(tree, &mask)? && tree.look(&note)?.is_some();
    Ok(left.then_some([mask, note]))
}
