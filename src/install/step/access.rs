//! Mode and owner, as the steps for directories and files compare and describe them.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::action::Act;
use crate::install::account::{self, Rights};
use crate::install::error::Error;
use crate::install::layout::Layout;
use crate::install::privileged::Access;
use crate::install::target::Target;

/// [`Act::Mend`] if mode or owner differ from what they shall be.
pub(super) fn act(
    target: &Target,
    path: &Path,
    before: Option<Access>,
    rights: Rights,
) -> Result<Act, Error> {
    let wanted = match account::access_of(target.tree(), target.layout(), path, rights) {
        Err(Error::NoAccount(_)) => None,
        other => Some(other?),
    };
    Ok(if wanted == before { Act::Same } else { Act::Mend })
}

/// Path, mode and owner for programs.
pub(super) fn describe(path: &Path, rights: Rights, layout: &Layout, data: &mut Map<String, Value>) {
    data.insert("path".to_owned(), json!(path.to_string_lossy()));
    data.insert("mode".to_owned(), json!(format!("{:04o}", rights.mode())));
    data.insert("owner".to_owned(), json!(rights.owner().name(layout)));
}
