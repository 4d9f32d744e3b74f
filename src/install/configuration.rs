//! What becomes of the configuration: a fresh one is written, an unedited one follows the default, and what somebody
//! edited or had before stays, with the new default beside it as `mcpeg.toml.new` if that has changed.
//!
//! Before anything is touched, the configuration that the service would start with must be one that it can start with.

use std::borrow::Cow;
use std::path::Path;

use super::account::{Owner, Rights};
use super::assets::Content;
use super::error::Error;
use super::files::Digest;
use super::layout::{self, CONFIGURATION, CONFIGURATION_NEW};
use super::plan::Planner;
use super::receipt::Entry;
use super::step::{Act, Object};
use super::target::Target;
use crate::config;

/// Who may read the configuration.
const RIGHTS: Rights = Rights { mode: 0o640, owner: Owner::Readable };

impl Planner<'_> {
    /// The steps for the configuration file and the new default beside it.
    pub(super) fn configuration(&mut self, asked: Option<&Path>, default: Content) -> Result<(), Error> {
        let path = Path::new(CONFIGURATION);
        let found = match self.existing(path) {
            Err(error) if error.is_permission_denied() => {
                // Without root the plan cannot look; it says so rather than guess.
                return self.kept(path, asked_or(asked, default)?, "only root can read it");
            }
            other => other?,
        };
        let Some((found, before)) = found else {
            return self.file(CONFIGURATION, asked_or(asked, default)?, RIGHTS);
        };
        let offered = self.target.receipt.as_ref().and_then(|receipt| receipt.offered().cloned());
        let unedited = offered.as_ref() == Some(&found);
        let content = asked_or(asked, default.clone())?;
        let sha256 = content.digest()?;
        let act = match asked {
            _ if found == sha256 => self.access_act(Some(before), RIGHTS)?,
            Some(_) if self.is_as_written(&found) => Act::Replace,
            Some(_) => Act::Keep("it was edited, and FILE is not installed over it"),
            None if unedited => Act::Replace,
            None if self.is_as_written(&found) => Act::Keep("it was installed from a file"),
            None => Act::Keep("it was edited"),
        };
        let beside = matches!(act, Act::Keep(_)).then(|| default.digest()).transpose()?;
        let previous = (act == Act::Replace).then_some(found);
        let object = Object::File {
            path: path.to_owned(),
            content,
            sha256,
            previous,
            rights: RIGHTS,
            before: Some(before),
        };
        self.push(act, object);
        match (beside, offered) {
            (Some(new), Some(old)) if new != old => self.new_default(default),
            _ => Ok(()),
        }
    }

    /// The new default beside the configuration. What somebody else wrote there stays.
    fn new_default(&mut self, default: Content) -> Result<(), Error> {
        let path = Path::new(CONFIGURATION_NEW);
        match self.existing(path)? {
            Some((found, _)) if found != default.digest()? && !self.is_written(path, &found) => {
                self.kept(path, default, "`mcpeg install` did not write it")
            }
            _ => self.file(CONFIGURATION_NEW, default, RIGHTS),
        }
    }

    /// A file that stays as it is.
    fn kept(&mut self, path: &Path, content: Content, why: &'static str) -> Result<(), Error> {
        let sha256 = content.digest()?;
        let object = Object::File {
            path: path.to_owned(),
            content,
            sha256,
            previous: None,
            rights: RIGHTS,
            before: None,
        };
        self.push(Act::Keep(why), object);
        Ok(())
    }

    /// Whether this is the configuration as an installation wrote it.
    fn is_as_written(&self, found: &Digest) -> bool {
        self.is_written(Path::new(CONFIGURATION), found)
    }

    /// Whether this is the content that an installation wrote at the path.
    fn is_written(&self, path: &Path, found: &Digest) -> bool {
        let known = self.target.receipt.as_ref().and_then(|receipt| receipt.file(path));
        matches!(known, Some(Entry::File { sha256, previous, .. })
            if found == sha256 || previous.as_ref() == Some(found))
    }
}

/// The file that was asked for, or else the default.
fn asked_or(asked: Option<&Path>, default: Content) -> Result<Content, Error> {
    let Some(file) = asked else { return Ok(default) };
    Ok(Content::Bytes(Cow::Owned(std::fs::read(file).map_err(Error::file("read", file))?)))
}

/// Refuses a file that is no valid configuration beside the `conf.d` of the target.
///
/// # Errors
/// [`Error::Configuration`].
pub(super) fn check(target: &Target, file: &Path) -> Result<(), Error> {
    let fragments = target.tree.outside(Path::new(layout::DROP_INS));
    match config::candidate(file, &fragments) {
        // Only root can read what is installed already; the plan of somebody else leaves it out.
        Err(config::Error::Read { source, path })
            if source.kind() == std::io::ErrorKind::PermissionDenied && path != file =>
        {
            Ok(())
        }
        other => other.map(drop).map_err(Error::Configuration),
    }
}

/// Refuses to start a service whose configuration, which stays as it is, is wrong.
///
/// # Errors
/// [`Error::Configuration`].
pub(super) fn check_installed(target: &Target) -> Result<(), Error> {
    let file = target.tree.outside(Path::new(CONFIGURATION));
    match check(target, &file) {
        Err(Error::Configuration(config::Error::Missing(_))) => Ok(()),
        Err(Error::Configuration(config::Error::Read { source, .. }))
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            Ok(())
        }
        other => other,
    }
}
