//! The journal of an installation: what was intended, written and made durable before it was done.
//!
//! It lies in root's own directory, and what it names is still held against [`layout`] when it is read: a receipt can
//! never lead an uninstallation to a path that is not mcpeg's.
//!
//! The directory of the receipt and the receipt appear in one rename, so that there is no moment at which a directory of
//! ours exists that no receipt knows; they vanish the same way.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use fieldwork::Fieldwork;
use serde::{Deserialize, Serialize};

use super::account::{self, Owner, Rights};
use super::choices::{self, Choices};
use super::error::Error;
use super::layout::{self, Layout};
use super::privileged::{Digest, Emptied, Tree, files, removal};
use crate::render::Confinement;

/// The version of the format that this program writes.
const VERSION: u32 = 5;
/// The name under which the receipt's directory is made and unmade.
const UNFINISHED: &str = ".mcpeg-receipt";
/// The receipt's directory is for root to write and for all to read.
const DIRECTORY_RIGHTS: Rights = Rights::new(0o755, Owner::Root);
/// The receipt may be read by all, so that a plan can be shown without root; it holds digests, no content.
const RECEIPT_RIGHTS: Rights = Rights::new(0o644, Owner::Root);

/// The receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Fieldwork)]
#[serde(deny_unknown_fields)]
#[fieldwork(opt_in, get, vis = "pub(super)")]
pub(super) struct Receipt {
    /// The version of this format.
    version: u32,
    /// The version of the mcpeg that wrote it.
    #[field(get)]
    program: String,
    /// How far the last command came.
    #[field(get(copy))]
    state: State,
    /// The digest of the default configuration that the operator was last given, in place or beside an edited one.
    /// Version 1 did not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default_configuration: Option<Digest>,
    /// What was chosen. Before version 3 there was no choice.
    #[serde(default = "no_choice")]
    #[field(get)]
    choices: Choices,
    /// How the unit is confined. Version 3 has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[field(get(copy))]
    confinement: Option<Confinement>,
    /// What was intended, in the order of the steps.
    #[field(get)]
    entries: Vec<Entry>,
}

/// How far the last command came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// An installation runs, or was killed.
    Installing,
    /// An installation is complete.
    Installed,
    /// An uninstallation runs, or was killed.
    Removing,
    /// Uninstalled, with configuration, state and logs kept.
    Removed,
}

/// One thing that an installation answers for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Entry {
    /// A directory.
    Directory {
        /// Where.
        path: PathBuf,
        /// Whether it was there before mcpeg.
        existed: bool,
    },
    /// A file.
    File {
        /// Where.
        path: PathBuf,
        /// Whether it was there before mcpeg, with the same content.
        existed: bool,
        /// The digest of what we write.
        sha256: Digest,
        /// The digest of what we wrote before, while it is being replaced.
        previous: Option<Digest>,
        /// Its permission bits.
        mode: u32,
        /// To whom it belongs.
        owner: Owner,
    },
    /// The account.
    Account {
        /// Whether it was there before mcpeg.
        existed: bool,
    },
    /// The link that starts the service at boot.
    Enabled {
        /// Whether it was there before mcpeg.
        existed: bool,
    },
    /// The mask that the removal of a package had left, and that was taken away. Version 4 has it.
    Unmasked,
}

/// What holds where nothing could be chosen.
fn no_choice() -> Choices {
    Choices::default_of(choices::NAME)
}

impl Entry {
    /// The path, of entries that have one.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Directory { path, .. } | Self::File { path, .. } => Some(path),
            Self::Account { .. } | Self::Enabled { .. } | Self::Unmasked => None,
        }
    }

    /// Whether both are about the same thing.
    fn is_same_thing(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other) && self.path() == other.path()
    }
}

impl Receipt {
    /// A receipt without entries.
    pub(super) fn new(choices: Choices) -> Self {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        Self {
            version: VERSION,
            program,
            state: State::Installing,
            default_configuration: None,
            choices,
            confinement: None,
            entries: Vec::new(),
        }
    }

    /// An installation by this program begins.
    pub(super) fn begin(&mut self, choices: &Choices) {
        self.state = State::Installing;
        self.choices.clone_from(choices);
        env!("CARGO_PKG_VERSION").clone_into(&mut self.program);
    }

    /// The installation is complete: nothing is being replaced any more.
    pub(super) fn complete(&mut self, default_configuration: Digest, confinement: Option<Confinement>) {
        self.state = State::Installed;
        self.default_configuration = Some(default_configuration);
        self.confinement = confinement;
        for entry in &mut self.entries {
            if let Entry::File { previous, .. } = entry {
                *previous = None;
            }
        }
    }

    /// An uninstallation begins.
    pub(super) fn begin_removal(&mut self) {
        self.state = State::Removing;
    }

    /// The uninstallation is complete, and has left these.
    pub(super) fn complete_removal(&mut self, left: Vec<Entry>) {
        self.state = State::Removed;
        self.entries = left;
    }

    /// Reads the receipt below the root; `None` if there is none.
    pub(super) fn read(tree: &Tree, path: &Path) -> Result<Option<Self>, Error> {
        /// The part of the format that no version changes.
        #[derive(Deserialize)]
        struct Versioned {
            /// See [`Receipt`].
            version: u32,
        }
        let Some(mut file) = files::read(tree, path)? else { return Ok(None) };
        let path = tree.outside(path);
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(Error::file("read", &path))?;
        let wrong = |source| Error::Receipt { path: path.clone(), source };
        let Versioned { version } = serde_json::from_str(&text).map_err(wrong)?;
        if version > VERSION {
            return Err(Error::NewerReceipt { path, found: version, known: VERSION });
        }
        // Version 1 is version 2 without the digest of the default configuration; version 2 is version 3 without choices,
        // which is version 4 without masks, which is version 5 without a choice of who rotates the log.
        Ok(Some(Self { version: VERSION, ..serde_json::from_str(&text).map_err(wrong)? }))
    }

    /// Refuses a receipt that names something which an installation with this layout does not write.
    /// Fails with [`Error::StrangePath`], and [`Error::Choice`] for choices that could not have been made.
    pub(super) fn check(&self, layout: &Layout) -> Result<(), Error> {
        if !layout.is_users() {
            self.choices.check()?;
        }
        let strange = self.entries.iter().find(|entry| match entry {
            Entry::Directory { path, .. } => !layout.knows_directory(path),
            Entry::File { path, .. } => !layout.knows_file(path),
            Entry::Account { .. } | Entry::Enabled { .. } | Entry::Unmasked => false,
        });
        match strange.and_then(Entry::path) {
            Some(path) => Err(Error::StrangePath(path.to_owned())),
            None => Ok(()),
        }
    }

    /// The entry of this kind and path.
    pub(super) fn directory(&self, wanted: &Path) -> Option<bool> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::Directory { path, existed } if path == wanted => Some(*existed),
            _ => None,
        })
    }

    /// The entry of this file.
    pub(super) fn file(&self, wanted: &Path) -> Option<&Entry> {
        self.entries.iter().find(|entry| matches!(entry, Entry::File { path, .. } if path == wanted))
    }

    /// Whether the boot link is ours; `None` if no installation came that far.
    pub(super) fn enabled(&self) -> Option<bool> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::Enabled { existed } => Some(*existed),
            _ => None,
        })
    }

    /// The digest of the default configuration that the operator was last given. Before version 2 that was what stood
    /// in the entry of the configuration, unless it was installed from a file.
    pub(super) fn offered(&self, layout: &Layout) -> Option<&Digest> {
        let entry = || match self.file(&layout.configuration) {
            Some(Entry::File { sha256, .. }) => Some(sha256),
            _ => None,
        };
        self.default_configuration.as_ref().or_else(entry)
    }

    /// Takes an entry up, in place of an earlier one about the same thing.
    pub(super) fn note(&mut self, entry: Entry) {
        match self.entries.iter_mut().find(|known| known.is_same_thing(&entry)) {
            Some(known) => *known = entry,
            None => self.entries.push(entry),
        }
    }

    /// Forgets a file, which is not ours any more.
    pub(super) fn forget(&mut self, gone: &Path) {
        self.entries.retain(|entry| !matches!(entry, Entry::File { path, .. } if path == gone));
    }

    /// Writes the receipt, durably. On the first call, its directory appears with it.
    pub(super) fn save(&mut self, tree: &Tree, layout: &Layout) -> Result<(), Error> {
        let Layout { state, receipt, .. } = layout;
        let directory = account::access(tree, layout, DIRECTORY_RIGHTS)?;
        let file = account::access(tree, layout, RECEIPT_RIGHTS)?;
        let mut chain = layout::above(state);
        chain.push(state.clone());
        let mut missing = None;
        for path in &chain {
            if tree.directory(path)?.is_none() {
                missing = Some(path.clone());
                break;
            }
        }
        let Some(top) = missing else {
            return files::overwrite(tree, receipt, &self.bytes(), file);
        };
        chain.retain(|path| path.starts_with(&top));
        for path in &chain {
            self.note(Entry::Directory { path: path.clone(), existed: false });
        }
        let unfinished = top.with_file_name(UNFINISHED);
        removal::remove_tree(tree, &unfinished)?;
        for path in &chain {
            files::make_directory(tree, &moved(path, &top, &unfinished), directory)?;
        }
        files::overwrite(tree, &moved(receipt, &top, &unfinished), &self.bytes(), file)?;
        removal::rename(tree, &unfinished, &top)
    }

    /// Writes the receipt of a removal, which is never longer than the one that is there: without room for a second file,
    /// over the bytes of the first.
    pub(super) fn save_shorter(&mut self, tree: &Tree, layout: &Layout) -> Result<(), Error> {
        match self.save(tree, layout) {
            Err(error) if error.is_full() => {
                files::tidy(tree, &layout.receipt)?;
                files::write_over(tree, &layout.receipt, &self.bytes())
            }
            other => other,
        }
    }

    /// The file's content.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes =
            serde_json::to_vec_pretty(self).expect("a receipt holds nothing that JSON cannot hold");
        bytes.push(b'\n');
        bytes
    }

    /// Removes the receipt with those directories of its own that were made for it.
    pub(super) fn destroy(&self, tree: &Tree, layout: &Layout) -> Result<(), Error> {
        let state = layout.state.as_path();
        if tree.look(state)?.is_none() {
            return Ok(());
        }
        let mut ours = layout::above(state);
        ours.push(state.to_owned());
        ours.retain(|path| self.directory(path) == Some(false));
        if ours.is_empty() {
            return removal::remove_file(tree, &layout.receipt);
        }
        // The highest directory that holds nothing but the way to the receipt takes everything along in one rename.
        let mut whole = state;
        for path in ours.iter().rev().skip(1) {
            if removal::names(tree, path)?.len() != 1 {
                break;
            }
            whole = path;
        }
        let unfinished = whole.with_file_name(UNFINISHED);
        removal::remove_tree(tree, &unfinished)?;
        removal::rename(tree, whole, &unfinished)?;
        removal::remove_tree(tree, &unfinished)?;
        for path in ours.iter().rev().filter(|path| whole.starts_with(path)) {
            if removal::remove_directory(tree, path)? == Emptied::NotEmpty {
                break;
            }
        }
        Ok(())
    }
}

/// Whether a killed command left a receipt's directory that was coming or going.
pub(super) fn is_untidy(tree: &Tree, layout: &Layout) -> Result<bool, Error> {
    for path in layout::above(&layout.receipt) {
        if tree.look(&path.with_file_name(UNFINISHED))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes what a killed command left of a receipt's directory that was coming or going.
pub(super) fn tidy(tree: &Tree, layout: &Layout) -> Result<(), Error> {
    for path in layout::above(&layout.receipt) {
        removal::remove_tree(tree, &path.with_file_name(UNFINISHED))?;
    }
    files::tidy(tree, &layout.receipt)
}

/// The receipts of the other instances, by their names.
pub(super) fn others(tree: &Tree, layout: &Layout) -> Result<Vec<(String, Receipt)>, Error> {
    let place = layout.state.parent().unwrap_or(Path::new("/"));
    let mut names: Vec<String> =
        removal::names(tree, place)?.into_iter().filter_map(|name| name.into_string().ok()).collect();
    names.retain(|name| name == choices::NAME || name.starts_with("mcpeg-"));
    names.retain(|name| *name != layout.name);
    names.sort();
    let mut receipts = Vec::new();
    for name in names {
        if let Some(receipt) = Receipt::read(tree, &place.join(&name).join("install.json"))? {
            receipts.push((name, receipt));
        }
    }
    Ok(receipts)
}

/// `path` as it is called while `top` is called `instead`.
fn moved(path: &Path, top: &Path, instead: &Path) -> PathBuf {
    match path.strip_prefix(top) {
        Ok(rest) if rest.as_os_str().is_empty() => instead.to_owned(),
        Ok(rest) => instead.join(rest),
        Err(_) => path.to_owned(),
    }
}
