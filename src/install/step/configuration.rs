//! What becomes of the configuration: a fresh one is written, an unedited one follows the default, and what somebody
//! edited or had before stays, with the new default beside it as `mcpeg.toml.new` if that has changed. The steps
//! themselves are those of a [`File`].

use std::borrow::Cow;
use std::path::Path;

use super::access;
use super::action::{Act, Step};
use super::file::{File, existing};
use super::rights::MendRights;
use crate::install::account::{Owner, Rights};
use crate::install::assets::Content;
use crate::install::error::Error;
use crate::install::privileged::Digest;
use crate::install::receipt::Entry;
use crate::install::target::Target;

/// Who may read the configuration.
const RIGHTS: Rights = Rights::new(0o640, Owner::Readable);

/// The steps for the configuration file and the new default beside it; `asked` is the file to install, if one was named.
pub(in crate::install) fn plan(
    target: &Target,
    asked: Option<&Path>,
    default: Content,
) -> Result<Vec<Step>, Error> {
    let layout = target.layout();
    let path = layout.configuration.as_path();
    let content = match asked {
        Some(file) => Content::Bytes(Cow::Owned(std::fs::read(file).map_err(Error::file("read", file))?)),
        None => default.clone(),
    };
    let found = match existing(target, path) {
        Err(error) if error.is_permission_denied() => {
            // Without root the plan cannot look; it says so rather than guess.
            let act = Act::Keep("only root can read it");
            return Ok(vec![File::with_act(act, path, content, RIGHTS, None)?]);
        }
        other => other?,
    };
    let Some((found, before)) = found else {
        return Ok(vec![File::plan(target, path, content, RIGHTS)?]);
    };
    let offered = target.receipt().and_then(|receipt| receipt.offered(layout).cloned());
    let rights = access::act(target, path, Some(before), RIGHTS)?;
    let as_written = is_written(target, path, &found);
    let act = match asked {
        _ if found == content.digest()? => rights.clone(),
        Some(_) if as_written => Act::Replace,
        Some(_) => Act::Keep("it was edited, and FILE is not installed over it"),
        None if offered.as_ref() == Some(&found) => Act::Replace,
        None if as_written => Act::Keep("it was installed from a file"),
        None => Act::Keep("it was edited"),
    };
    let kept = matches!(act, Act::Keep(_));
    let mut steps = vec![File::with_act(act, path, content, RIGHTS, Some((found, before)))?];
    // What is in it stays; who may read it is not a question of taste.
    let known = target.receipt().and_then(|receipt| receipt.file(path));
    if kept && rights == Act::Mend && matches!(known, Some(Entry::File { existed: false, .. })) {
        steps.push(MendRights::plan(path, RIGHTS, before));
    }
    if kept
        && let Some(offered) = offered
        && default.digest()? != offered
    {
        steps.push(new_default(target, default)?);
    }
    Ok(steps)
}

/// The new default beside the configuration. What somebody else wrote there stays.
fn new_default(target: &Target, default: Content) -> Result<Step, Error> {
    let path = target.layout().configuration_new.as_path();
    match existing(target, path)? {
        Some((found, _)) if found != default.digest()? && !is_written(target, path, &found) => {
            File::with_act(Act::Keep("`mcpeg install` did not write it"), path, default, RIGHTS, None)
        }
        _ => File::plan(target, path, default, RIGHTS),
    }
}

/// Whether this is the content that an installation wrote at the path.
fn is_written(target: &Target, path: &Path, found: &Digest) -> bool {
    let known = target.receipt().and_then(|receipt| receipt.file(path));
    matches!(known, Some(Entry::File { sha256, previous, .. })
        if found == sha256 || previous.as_ref() == Some(found))
}
