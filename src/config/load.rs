//! Reading the files: the main file, then `conf.d/*.toml` beside it by name.
//!
//! A file that the user named must exist; the default file need not, and then mcpeg runs with its defaults. The
//! stages are kept apart: meaning is checked only for files whose structure is right, so that one mistake is not
//! reported twice.

use std::ffi::OsString;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::de::DeTable;

use super::expand::Surroundings;
use super::model::{Config, Upstream, UpstreamName};
use super::place::{Place, Problems, Text, place_of};
use super::schema::{self, Role};
use super::settings::{self, Reader};
use super::{Error, log_settings, shape, upstream};

/// The largest configuration file, in bytes.
const LIMIT: u64 = 4 << 20;

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The file that the user named; `None` is [`default_path`], which need not exist.
    pub file: Option<PathBuf>,
    /// What the command line says instead of the file.
    pub overrides: Overrides,
}

/// What the command line says instead of the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Replaces `listen` if not empty.
    pub listen: Vec<String>,
    /// Replaces `file` of `[log]`; relative to the working directory of this process.
    pub log_file: Option<PathBuf>,
    /// Replaces `level` of `[log]`.
    pub log_level: Option<String>,
    /// The development profile: loopback only, mcpeg's own log at debug level, and no log file; a log level or log
    /// file given beside it still counts.
    pub dev: bool,
}

impl Source {
    /// The same with paths that do not depend on the working directory, for a process that leaves it and loads the
    /// configuration again later.
    ///
    /// # Errors
    /// If the working directory is needed and cannot be told.
    pub fn absolute(mut self) -> std::io::Result<Self> {
        for path in [&mut self.file, &mut self.overrides.log_file].into_iter().flatten() {
            *path = std::path::absolute(&*path)?;
        }
        Ok(self)
    }
}

/// One file that was read.
struct Document {
    /// Its name.
    path: PathBuf,
    /// Its content.
    content: String,
    /// What it may hold.
    role: Role,
    /// Whether it was there; the default file need not be.
    exists: bool,
}

/// Reads and checks the whole configuration.
///
/// # Errors
/// If a file is missing or cannot be read, or with every problem that was found in the files' structure or meaning.
pub fn load(source: &Source) -> Result<Config, Error> {
    let variable = |name: &str| std::env::var_os(name);
    load_in(source, &[], Surroundings { variable: &variable, lenient: false })
}

/// Checks what [`load`] would say if these files stood in `conf.d` with their content, and if every reference could
/// be resolved: the gateway may run in another environment than this process. Nothing is written.
///
/// # Errors
/// Those of [`load`], except for references that cannot be resolved.
pub fn preview(source: &Source, planned: &[(PathBuf, String)]) -> Result<Config, Error> {
    let variable = |name: &str| std::env::var_os(name);
    load_in(source, planned, Surroundings { variable: &variable, lenient: true })
}

/// Checks what [`load`] would say if `file` were the configuration file beside this `conf.d`, and if every reference
/// could be resolved: the gateway may run in another environment than this process.
///
/// # Errors
/// Those of [`load`], except for references that cannot be resolved.
pub fn candidate(file: &Path, fragments: &Path) -> Result<Config, Error> {
    let variable = |name: &str| std::env::var_os(name);
    let source = Source { file: Some(file.to_owned()), overrides: Overrides::default() };
    let documents = read_all(&source, &[], Some(fragments))?;
    understand(&source, documents, Surroundings { variable: &variable, lenient: true })
}

/// The names of the upstreams in the configuration file, or the default one, and beside it, as far as they can be read,
/// for completion: what is wrong with the files is no matter.
#[must_use]
pub fn upstream_names(file: Option<&Path>) -> Vec<String> {
    let source = Source { file: file.map(Path::to_owned), overrides: Overrides::default() };
    let mut names = Vec::new();
    for document in read_all(&source, &[], None).unwrap_or_default() {
        let (table, _) = DeTable::parse_recoverable(&document.content);
        let upstreams = table.get_ref().get("upstreams").and_then(|value| value.get_ref().as_table());
        names.extend(upstreams.into_iter().flatten().map(|(name, _)| name.get_ref().to_string()));
    }
    names
}

/// The directory of the files that hold upstreams only, beside the configuration file.
#[must_use]
pub fn fragment_directory(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join("conf.d")
}

/// Where the configuration is if the user names no file: `/etc/mcpeg/mcpeg.toml` for root and for users without a
/// home directory (service accounts), otherwise `mcpeg/mcpeg.toml` in the place of the XDG Base Directory
/// Specification.
#[must_use]
pub fn default_path() -> PathBuf {
    let root = nix::unistd::Uid::effective().is_root();
    default_path_in(root, &|name| std::env::var_os(name))
}

/// [`default_path`] for a given user and environment.
fn default_path_in(root: bool, variable: &dyn Fn(&str) -> Option<OsString>) -> PathBuf {
    // Relative paths in these variables are invalid and must be ignored: XDG Base Directory Specification, Basics.
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = || absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    let directory = if root { None } else { user() };
    directory.unwrap_or_else(|| PathBuf::from("/etc")).join("mcpeg/mcpeg.toml")
}

/// [`load`] with planned files and a given environment.
fn load_in(
    source: &Source,
    planned: &[(PathBuf, String)],
    around: Surroundings<'_>,
) -> Result<Config, Error> {
    understand(source, read_all(source, planned, None)?, around)
}

/// The meaning of files that were read.
fn understand(source: &Source, documents: Vec<Document>, around: Surroundings<'_>) -> Result<Config, Error> {
    let mut problems = Problems::default();
    let mut server = super::Server::default();
    let mut log = super::Log::default();
    let mut found: Vec<(Place, Upstream)> = Vec::new();
    let mut off: Vec<UpstreamName> = Vec::new();
    for document in &documents {
        let Some(shape) = document.parse(&mut problems) else { continue };
        let mut reader = Reader { text: document.text(), around, problems: &mut problems };
        if document.role == Role::Main {
            server = settings::server(&shape.server, &source.overrides, &mut reader);
            log = log_settings::log(&shape.log, &source.overrides, &mut reader);
        }
        for (name, upstream) in &shape.upstreams {
            // What is switched off must have the right form, but its secrets need not be here.
            let enabled = upstream.enabled.as_ref().is_none_or(|enabled| *enabled.get_ref());
            reader.around.lenient = around.lenient || !enabled;
            let read = upstream::upstream(name, upstream, &mut reader);
            off.extend(read.iter().filter(|_| !enabled).map(|(_, upstream)| upstream.name.clone()));
            found.extend(read);
        }
    }
    upstream::distinct(&found, &mut problems);
    if !problems.as_slice().is_empty() {
        return Err(Error::Invalid(problems));
    }
    let upstreams = found.into_iter().map(|(_, upstream)| upstream);
    let (disabled, upstreams) = upstreams.partition(|upstream| off.contains(&upstream.name));
    let sources = documents.into_iter().filter(|document| document.exists).map(|document| document.path);
    Ok(Config { server, log, upstreams, disabled, sources: sources.collect() })
}

/// Reads every file: the main one first, empty if it need not exist and does not. The others are those beside it,
/// unless another directory is given.
fn read_all(
    source: &Source,
    planned: &[(PathBuf, String)],
    directory: Option<&Path>,
) -> Result<Vec<Document>, Error> {
    let mut problems = Problems::default();
    let path = source.file.clone().unwrap_or_else(default_path);
    let bytes = match read(&path) {
        Err(Error::Read { source: error, .. }) if error.kind() == ErrorKind::NotFound => match &source.file {
            Some(_) => return Err(Error::Missing(path)),
            None => None,
        },
        read => Some(read?),
    };
    let beside = fragment_directory(&path);
    let mut fragments = fragments(directory.unwrap_or(&beside))?;
    fragments.extend(planned.iter().map(|(path, _)| path.clone()));
    fragments.sort();
    fragments.dedup();
    let mut documents = Vec::new();
    documents.extend(Document::new(path, bytes, Role::Main, &mut problems));
    for path in fragments {
        let content = planned.iter().find(|(name, _)| *name == path);
        let bytes = content.map_or_else(|| read(&path), |(_, content)| Ok(content.clone().into_bytes()))?;
        documents.extend(Document::new(path, Some(bytes), Role::Fragment, &mut problems));
    }
    if problems.as_slice().is_empty() { Ok(documents) } else { Err(Error::Invalid(problems)) }
}

/// The files of `conf.d`, in no order. Hidden files are left out: editors and atomic writers use such names while they
/// work.
fn fragments(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let cannot = |source| Error::Read { path: directory.to_owned(), source };
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(cannot)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let name = entry.map_err(cannot)?.file_name();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if !hidden && Path::new(&name).extension().is_some_and(|extension| extension == "toml") {
            paths.push(directory.join(name));
        }
    }
    Ok(paths)
}

/// Reads one file.
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let cannot = |source| Error::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > LIMIT {
        return Err(Error::TooLarge { path: path.to_owned(), limit: LIMIT });
    }
    Ok(bytes)
}

impl Document {
    /// Takes a file's bytes, which must be UTF-8; `None` is a file that does not exist.
    fn new(path: PathBuf, bytes: Option<Vec<u8>>, role: Role, problems: &mut Problems) -> Option<Self> {
        let exists = bytes.is_some();
        match String::from_utf8(bytes.unwrap_or_default()) {
            Ok(content) => Some(Self { path, content, role, exists }),
            Err(error) => {
                let place = place_of(&path, error.as_bytes(), error.utf8_error().valid_up_to());
                problems.push_with_hint(place, "not valid UTF-8", "save the file as UTF-8 text");
                None
            }
        }
    }

    /// The text with its name, for places.
    fn text(&self) -> Text<'_> {
        Text { file: &self.path, content: &self.content }
    }

    /// Reads the content into the serde shape; `None` if its structure is wrong, which `problems` then tells.
    fn parse(&self, problems: &mut Problems) -> Option<shape::File> {
        let (table, errors) = DeTable::parse_recoverable(&self.content);
        // After the first syntax error the parser guesses, so that only this one is sure to be the user's.
        let first = errors.iter().min_by_key(|error| error.span().map_or(usize::MAX, |span| span.start));
        if let Some(error) = first {
            self.refuse(error, problems);
            return None;
        }
        let before = problems.as_slice().len();
        schema::check(table.get_ref(), self.text(), self.role, problems);
        if problems.as_slice().len() > before {
            return None;
        }
        let read = shape::File::deserialize(toml::de::Deserializer::from(table));
        read.map_err(|error| self.refuse(&error, problems)).ok()
    }

    /// Notes what the TOML parser says. Its `Display` would quote the line, which may hold a secret.
    fn refuse(&self, error: &toml::de::Error, problems: &mut Problems) {
        let span = error.span().unwrap_or_default();
        let place = self.text().place(&span);
        let message = error.message().trim().replace('\n', ", ");
        // A bare word is most often text without quotes; the parser guesses `inf`, `true` and so on.
        let (before, after) = self.content.split_at_checked(span.start).unwrap_or_default();
        let value = before.trim_end().ends_with(['=', '[', ',']);
        if value && after.starts_with(char::is_alphabetic) {
            // What the parser guessed, such as a number that `npx` might begin, is no help.
            problems.push_with_hint(place, "text without quotes", "put text in double quotes");
        } else {
            problems.push(place, message);
        }
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
