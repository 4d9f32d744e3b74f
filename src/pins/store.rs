//! The file of all pins in the state directory, `pins.json`.
//!
//! Who changes it holds a lock on the directory. A gateway reads it whenever it is another one ([`Store::stamp`]). Invariants:
//! nothing becomes approved but the first list of an upstream and what [`Draft::approve`] names by its digest; a reader sees a
//! whole file.

use std::collections::BTreeMap;
use std::path::Path;

use fieldwork::Fieldwork;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::exit::{Exit, ToExit};
use crate::state_file::{self, Kind, StateFile};
use crate::sys::fs::Owners;
use crate::sys::stamp::Stamp;

/// The file's name.
const FILE: &str = "pins.json";
/// Its kind.
const KIND: Kind = Kind { what: "a file of pins", is_public: true, limit: 256 << 20 };
/// The schema of the file.
const SCHEMA: u32 = 1;

/// What a server says of a tool, as far as it is pinned: canonical JSON, and its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Fieldwork)]
#[fieldwork(get, vis = "pub(crate)")]
pub(crate) struct Definition {
    /// SHA-256 of the text, in hexadecimal digits.
    digest: String,
    /// The text.
    text: String,
}

/// What is kept of one tool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Fieldwork)]
#[fieldwork(get, vis = "pub(crate)")]
pub(crate) struct Tool {
    /// What was approved; none of a tool that is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    approved: Option<Definition>,
    /// What was listed last, where that is something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<Definition>,
}

/// The tools of an upstream, by the names that its server gives them.
type Tools = BTreeMap<String, Tool>;

/// All pins, as they were read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store(BTreeMap<String, Tools>);

/// Pins that are about to change; nobody else changes them meanwhile.
#[derive(Debug)]
pub(crate) struct Draft {
    /// As they will be.
    store: Store,
    /// Where.
    file: StateFile,
    /// The lock.
    change: state_file::Change,
}

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Content {
    /// [`SCHEMA`].
    schema: u32,
    /// The pins by upstream.
    upstreams: BTreeMap<String, Tools>,
}

/// Why the pins cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The file.
    #[error(transparent)]
    File(#[from] state_file::Error),
    /// Nothing of it is known.
    #[error("nothing of an upstream `{0}` is pinned")]
    Unknown(String),
    /// There is nothing to approve of it.
    #[error("upstream `{0}` has no tool `{1}` that is new or has changed")]
    NoTool(String, String),
    /// It is something else by now.
    #[error("tool `{1}` of upstream `{0}` has changed again")]
    Changed(String, String),
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::File(error) => error.to_exit(),
            Self::Unknown(_) | Self::NoTool(..) => Exit::Usage,
            Self::Changed(..) => Exit::TryAgain,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(state_file::Error::Open { path, .. }) => {
                Some(format!("`chmod 600 {}`, and see who may have changed it", path.display()))
            }
            Self::File(state_file::Error::Content { .. }) => {
                Some("move it away: what upstreams list next is then taken as approved".to_owned())
            }
            Self::File(error) => error.hint(),
            Self::Unknown(name) => Some(format!(
                "write pin = \"enforce\" in [upstreams.{name}]; what it lists first is then taken as approved"
            )),
            Self::NoTool(name, _) => Some(format!("`mcpeg tools approve {name}` tells of all that are")),
            Self::Changed(name, _) => Some(format!("look at it: `mcpeg tools approve {name}`")),
        }
    }
}

impl Definition {
    /// That with this text.
    pub(crate) fn new(text: String) -> Self {
        use std::fmt::Write as _;
        let mut digest = String::with_capacity(64);
        for byte in Sha256::digest(&text) {
            let _ = write!(digest, "{byte:02x}");
        }
        Self { digest, text }
    }
}

/// The file of all pins.
fn file(directory: &Path) -> StateFile {
    StateFile::new(directory, FILE, &KIND)
}

impl Store {
    /// What the file is by, so that another one is seen.
    pub(crate) fn stamp(directory: &Path) -> Stamp {
        file(directory).stamp()
    }

    /// Reads all pins; there are none where nothing was ever pinned.
    pub(crate) fn read(directory: &Path, owners: Owners) -> Result<Self, Error> {
        let content = file(directory).document(owners, |content: &Content| content.schema == SCHEMA)?;
        Ok(content.map(|content| Self(content.upstreams)).unwrap_or_default())
    }

    /// The tools of an upstream; `None` of one of which nothing was ever pinned.
    pub(crate) fn tools(&self, upstream: &str) -> Option<&Tools> {
        self.0.get(upstream)
    }

    /// What of an upstream is new or has changed: these tools, or all.
    /// Fails with [`Error::Unknown`] and [`Error::NoTool`].
    pub(crate) fn differing(&self, upstream: &str, names: &[String]) -> Result<Tools, Error> {
        let tools = self.tools(upstream).ok_or_else(|| Error::Unknown(upstream.to_owned()))?;
        let mut all: Tools = tools.clone();
        all.retain(|_, tool| tool.seen.is_some());
        if let Some(missing) = names.iter().find(|name| !all.contains_key(*name)) {
            return Err(Error::NoTool(upstream.to_owned(), missing.clone()));
        }
        all.retain(|name, _| names.is_empty() || names.contains(name));
        Ok(all)
    }
}

impl Draft {
    /// Begins to change the pins of a gateway, whose file is to belong to `owner`, or else to whom the directory does.
    pub(crate) fn begin(directory: &Path, owner: Option<(u32, u32)>) -> Result<Self, Error> {
        let change = state_file::Change::of_directory(directory, owner)?;
        change.lock()?;
        let store = Store::read(directory, change.owners())?;
        Ok(Self { store, file: file(directory), change })
    }

    /// Notes what an upstream lists: what differs from what was approved, or all as approved if it is the first time.
    pub(crate) fn observe(
        mut self,
        upstream: &str,
        listed: &BTreeMap<String, Definition>,
    ) -> Result<(), Error> {
        let before = self.store.tools(upstream).cloned();
        let after = match &before {
            None => {
                let approved = |listed: &Definition| Tool { approved: Some(listed.clone()), seen: None };
                listed.iter().map(|(name, listed)| (name.clone(), approved(listed))).collect()
            }
            Some(before) => observed(before.clone(), listed),
        };
        if before.as_ref() == Some(&after) {
            return Ok(());
        }
        self.store.0.insert(upstream.to_owned(), after);
        self.save()
    }

    /// Approves these tools of an upstream as they were shown.
    /// Fails with [`Error::Changed`] where one is something else by now, and when the file cannot be written.
    pub(crate) fn approve(mut self, upstream: &str, shown: &Tools) -> Result<(), Error> {
        let tools = self.store.0.entry(upstream.to_owned()).or_default();
        for (name, shown) in shown {
            let tool = tools.get_mut(name).filter(|tool| tool.seen.is_some() && tool.seen == shown.seen);
            let tool = tool.ok_or_else(|| Error::Changed(upstream.to_owned(), name.clone()))?;
            tool.approved = tool.seen.take();
        }
        self.save()
    }

    /// Writes the file.
    fn save(self) -> Result<(), Error> {
        let content = Content { schema: SCHEMA, upstreams: self.store.0 };
        Ok(self.change.write(&self.file, &content)?)
    }
}

/// Tools that are pinned, after a server has listed these.
fn observed(mut tools: Tools, listed: &BTreeMap<String, Definition>) -> Tools {
    for tool in tools.values_mut() {
        tool.seen = None;
    }
    for (name, listed) in listed {
        let tool = tools.entry(name.clone()).or_default();
        tool.seen = Some(listed).filter(|listed| tool.approved.as_ref() != Some(*listed)).cloned();
    }
    // Of one that is gone without having been approved there is nothing to know.
    tools.retain(|_, tool| *tool != Tool::default());
    tools
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::sys::fs::{Ownership, write_atomic};

    /// What a server lists.
    fn listed(tools: &[(&str, &str)]) -> BTreeMap<String, Definition> {
        tools.iter().map(|(name, text)| ((*name).to_owned(), Definition::new((*text).to_owned()))).collect()
    }

    /// Notes what a server lists; the names of what is to be approved then.
    fn observe(directory: &Path, tools: &[(&str, &str)]) -> Vec<String> {
        Draft::begin(directory, None).unwrap().observe("up", &listed(tools)).unwrap();
        read(directory).differing("up", &[]).unwrap().into_keys().collect()
    }

    /// What is there now.
    fn read(directory: &Path) -> Store {
        Store::read(directory, Owners::Ours).unwrap()
    }

    #[test]
    fn only_the_first_list_and_what_was_shown_become_approved() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("state");
        assert!(matches!(read(&directory).differing("up", &[]), Err(Error::Unknown(_))));
        assert_eq!(observe(&directory, &[("a", "1"), ("b", "1")]), [""; 0]);
        assert_eq!(observe(&directory, &[("a", "2"), ("b", "1"), ("c", "1")]), ["a", "c"]);
        // What is as it was, and what is gone, need not be approved.
        assert_eq!(observe(&directory, &[("a", "1")]), [""; 0]);
        assert_eq!(observe(&directory, &[("a", "2"), ("c", "1")]), ["a", "c"]);
        let shown = read(&directory).differing("up", &["a".to_owned()]).unwrap();
        assert_eq!(shown["a"].seen().map(Definition::text), Some("2"));
        observe(&directory, &[("a", "3"), ("c", "1")]);
        let approved = Draft::begin(&directory, None).unwrap().approve("up", &shown);
        assert!(matches!(approved, Err(Error::Changed(..))), "something else was shown");
        let shown = read(&directory).differing("up", &["a".to_owned()]).unwrap();
        Draft::begin(&directory, None).unwrap().approve("up", &shown).unwrap();
        assert_eq!(observe(&directory, &[("a", "3"), ("b", "1"), ("c", "1")]), ["c"]);
        let missing = read(&directory).differing("up", &["b".to_owned()]);
        assert!(matches!(missing, Err(Error::NoTool(..))));
    }

    #[test]
    fn file_that_others_can_write_or_that_is_none_is_not_believed() {
        let scratch = tempfile::tempdir().unwrap();
        observe(scratch.path(), &[("a", "1")]);
        let path = scratch.path().join(FILE);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o620)).unwrap();
        assert!(matches!(
            Store::read(scratch.path(), Owners::Ours),
            Err(Error::File(state_file::Error::Open { .. }))
        ));
        write_atomic(&path, b"{}", Ownership::mode(0o600)).unwrap();
        assert!(matches!(
            Store::read(scratch.path(), Owners::Ours),
            Err(Error::File(state_file::Error::Content { .. }))
        ));
    }
}
