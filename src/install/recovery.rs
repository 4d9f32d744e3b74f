//! A receipt in place of one that was lost, made from what lies on the disk.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::account::Owner;
use super::assets;
use super::choices::{Choices, LogRotation};
use super::error::Error;
use super::layout::Layout;
use super::privileged::{Digest, Found, Tree, files};
use super::receipt::{Entry, Receipt};
use crate::render::Confinement;

/// What any configuration can do with; the default configuration does not depend on it.
const WIDEST: Confinement = Confinement { children: true, loopback: false };

/// A receipt like the one that was lost, from what lies on the disk: an installation is known by its unit, whose head says
/// who wrote it, and everything under a name of ours that an installation writes came with that.
pub(super) fn receipt(
    tree: &Tree,
    layout_of: &dyn Fn(&Choices) -> Layout,
    name: &str,
) -> Result<Option<Receipt>, Error> {
    let unit_file = layout_of(&Choices::default_of(name)).unit_file;
    let Some(text) = text(tree, &unit_file)? else { return Ok(None) };
    if !is_generated(&text) {
        return Ok(None);
    }
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines.next_back().unwrap_or_default().to_owned()
    };
    let command = value("ExecStart");
    let program = PathBuf::from(command.split(' ').next().unwrap_or_default().trim_matches('"'));
    let prefix = program.parent().and_then(Path::parent).filter(|_| program.ends_with("bin/mcpeg"));
    let Some(prefix) = prefix else { return Ok(None) };
    let named = |key: &str| Some(value(key)).filter(|name| !name.is_empty());
    let choices = Choices::found(name, prefix, named("User"), named("Group"));
    let rotated = match &layout_of(&choices).logrotate {
        Some(path) => self::text(tree, path)?.is_some_and(|text| is_generated(&text)),
        None => false,
    };
    let choices = if rotated { choices.rotated_by(LogRotation::Logrotate) } else { choices };
    let layout = layout_of(&choices);
    of_found(tree, &layout, choices).map(Some)
}

/// A short text file, if it is one.
pub(super) fn text(tree: &Tree, path: &Path) -> Result<Option<String>, Error> {
    let mut text = String::new();
    match tree.look(path)? {
        Some(found) if found.is_file() => {}
        _ => return Ok(None),
    }
    let Some(file) = files::read(tree, path)? else { return Ok(None) };
    Ok(file.take(1 << 20).read_to_string(&mut text).is_ok().then_some(text))
}

/// Whether the head of a unit says that the installer has written it.
pub(super) fn is_generated(text: &str) -> bool {
    text.lines().take(3).any(|line| line.contains("written by mcpeg's installer"))
}

/// A receipt of what lies in the places of an installation whose own receipt was lost. The configuration counts as edited
/// unless it is this version's default.
fn of_found(tree: &Tree, layout: &Layout, choices: Choices) -> Result<Receipt, Error> {
    let units = assets::render(layout, &choices, WIDEST)?;
    let default = Digest::of(units.configuration.as_bytes()).map_err(Error::file("read", &layout.receipt))?;
    let mut receipt = Receipt::new(choices);
    receipt.complete(default.clone(), None);
    let configurations = [&layout.configuration, &layout.configuration_new];
    for path in layout.files() {
        let is_configuration = configurations.iter().any(|known| *known == path);
        // Below /etc/mcpeg only root may look.
        let found = match tree.look(path) {
            Err(error) if error.is_permission_denied() => None,
            other => other?.filter(Found::is_file),
        };
        let Some(found) = found else { continue };
        let sha256 = if is_configuration { Some(default.clone()) } else { files::digest(tree, path)? };
        let Some(sha256) = sha256 else { continue };
        let (mode, owner) =
            (found.access().mode(), if is_configuration { Owner::Readable } else { Owner::Root });
        receipt.note(Entry::File {
            path: path.to_owned(),
            existed: false,
            sha256,
            previous: None,
            mode,
            owner,
        });
    }
    for path in layout.own_directories().into_iter().chain([layout.state.as_path()]) {
        if tree.look(path).is_ok_and(|found| found.is_some()) {
            receipt.note(Entry::Directory { path: path.to_owned(), existed: false });
        }
    }
    receipt.note(Entry::Account { existed: true });
    if tree.look(&layout.wants_link)?.is_some() {
        receipt.note(Entry::Enabled { existed: false });
    }
    Ok(receipt)
}
