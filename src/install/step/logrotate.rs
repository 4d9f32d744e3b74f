//! Who rotates the log: what logrotate(8) reads is written where it was chosen, and taken away where mcpeg was chosen after
//! that. mcpeg refuses a configuration by which both would rotate, so that the file is there only beside one with
//! `rotate = "external"`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::action::{Act, Action, Description, Listener, Step};
use super::file::{File, existing};
use crate::install::account::{Owner, Rights};
use crate::install::assets::Content;
use crate::install::choices::LogRotation;
use crate::install::error::Error;
use crate::install::layout::Layout;
use crate::install::privileged::{files, removal};
use crate::install::receipt::Entry;
use crate::install::target::Target;

/// Takes the file away.
#[derive(Debug)]
struct TakeAway {
    /// Where it is.
    path: PathBuf,
}

/// The step for what logrotate(8) reads, which shall hold this text; none if mcpeg rotates and always has.
/// Fails with [`Error::Foreign`], and those of looking.
pub(in crate::install) fn plan(target: &Target, path: &Path, text: String) -> Result<Option<Step>, Error> {
    if target.choices().log_rotation() == LogRotation::Logrotate {
        let content = Content::Bytes(Cow::Owned(text.into_bytes()));
        return File::plan(target, path, content, Rights::new(0o644, Owner::Root)).map(Some);
    }
    let Some(Entry::File { sha256, previous, .. }) = target.receipt().and_then(|receipt| receipt.file(path))
    else {
        return Ok(None);
    };
    let Some((found, _)) = existing(target, path)? else { return Ok(None) };
    let ours = found == *sha256 || previous.as_ref() == Some(&found);
    let act = if ours { Act::Remove } else { Act::Keep("its content is not what `mcpeg install` wrote") };
    Ok(Some(Step::new(act, TakeAway { path: path.to_owned() })))
}

impl Action for TakeAway {
    fn description(&self, _: &Act, _: &Layout) -> Description {
        Description::new("file", self.path.display().to_string(), "mcpeg rotates its log itself")
    }

    fn describe(&self, _: &Layout, data: &mut Map<String, Value>) {
        data.insert("path".to_owned(), json!(self.path));
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn is_on_disk(&self) -> bool {
        true
    }

    fn apply(&self, _: &Act, target: &Target, _: &mut Listener<'_>) -> Result<(), Error> {
        files::keep_old(target.tree(), &self.path)?;
        removal::remove_file(target.tree(), &self.path)
    }

    fn revert(&self, _: &Act, target: &Target) -> Result<bool, Error> {
        files::put_back(target.tree(), &self.path)?;
        files::tidy(target.tree(), &self.path).map(|()| true)
    }
}
