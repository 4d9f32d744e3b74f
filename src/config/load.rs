//! Reading the files: the main file, then `conf.d/*.toml` beside it by name.
//!
//! A file that the user named must exist; the default file need not, and then mcpeg runs with its defaults. The
//! stages are kept apart: meaning is checked only for files whose structure is right, so that no mistake is named twice.

use std::ffi::OsString;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

use super::access::Found;
use super::diagnostic::{Place, Problems, Text, place_of};
use super::error::Error;
use super::expand::Env;
use super::keys;
use super::listener::Listener;
use super::model::{Config, Log, Server, Upstream};
use super::name::{self, UpstreamName};
use super::reader::Reader;
use super::section::Section;
use super::source::{Overrides, Source, default_path, fragment_directory};
use super::structure::{self, Role};

/// The largest configuration file, in bytes.
const LIMIT: u64 = 4 << 20;

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
    load_in(source, &[], Env::strict(&variable))
}

/// The same as a process with these variables of the environment would.
///
/// # Errors
/// Those of [`load`].
pub fn load_as(source: &Source, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Config, Error> {
    load_in(source, &[], Env::strict(variable))
}

/// Checks what [`load`] would say if these files stood in `conf.d` with their content, or in the place of the configuration
/// file, and if every reference could be resolved: the gateway may run in another environment than this process. Nothing is
/// written.
///
/// # Errors
/// Those of [`load`], except for references that cannot be resolved.
pub fn preview(source: &Source, planned: &[(PathBuf, String)]) -> Result<Config, Error> {
    let variable = |name: &str| std::env::var_os(name);
    load_in(source, planned, Env::strict(&variable).or_lenient(true))
}

/// The same as a process with these variables of the environment would find it, references included.
///
/// # Errors
/// Those of [`load`].
pub fn preview_as(
    source: &Source,
    planned: &[(PathBuf, String)],
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Config, Error> {
    load_in(source, planned, Env::strict(variable))
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
    understand(&source, documents, Env::strict(&variable).or_lenient(true))
}

/// The names of the upstreams in the configuration file, or the default one, and beside it, each with its file, as far as they
/// can be read: what is wrong with the files is no matter.
#[must_use]
pub fn upstream_files(file: Option<&Path>) -> Vec<(String, PathBuf)> {
    let source = Source { file: file.map(Path::to_owned), overrides: Overrides::default() };
    let mut all = Vec::new();
    for document in read_all(&source, &[], None).unwrap_or_default() {
        let (table, _) = DeTable::parse_recoverable(&document.content);
        let upstreams = table.get_ref().get("upstreams").and_then(|value| value.get_ref().as_table());
        let names = upstreams.into_iter().flatten().map(|(name, _)| name.get_ref().to_string());
        all.extend(names.map(|name| (name, document.path.clone())));
    }
    all
}

/// The user and group of `[server]` in the configuration file, or the default one, as far as they can be read.
#[must_use]
pub fn account(file: Option<&Path>) -> Option<(String, Option<String>)> {
    let source = Source { file: file.map(Path::to_owned), overrides: Overrides::default() };
    let documents = read_all(&source, &[], None).ok()?;
    let main = documents.iter().find(|document| document.role == Role::Main)?;
    let (table, _) = DeTable::parse_recoverable(&main.content);
    let server = table.get_ref().get("server")?.get_ref().as_table()?;
    let text = |key: &str| server.get(key)?.get_ref().as_str().map(str::to_owned);
    Some((text("user")?, text("group")))
}

/// [`load`] with planned files and a given environment.
fn load_in(source: &Source, planned: &[(PathBuf, String)], around: Env<'_>) -> Result<Config, Error> {
    understand(source, read_all(source, planned, None)?, around)
}

/// The meaning of files that were read.
fn understand(source: &Source, documents: Vec<Document>, env: Env<'_>) -> Result<Config, Error> {
    let mut problems = Problems::default();
    let (mut server, mut log, mut access) = (None, None, Found::default());
    let mut names: Vec<(Place, UpstreamName)> = Vec::new();
    let (mut upstreams, mut disabled) = (Vec::new(), Vec::new());
    for document in &documents {
        let Some(table) = document.parse(&mut problems) else { continue };
        let mut reader = Reader::of_meaning(document.text(), env, &mut problems);
        let none = DeTable::new();
        let inner =
            |name: &str| table.get(name).and_then(|value| value.get_ref().as_table()).unwrap_or(&none);
        if document.role == Role::Main {
            let issuers = inner("auth").get("oauth").and_then(|value| value.get_ref().as_table());
            let has_issuers = issuers.is_some_and(|issuers| !issuers.is_empty());
            let mut listeners = Vec::new();
            for (name, listener) in tables(inner("listeners")) {
                listeners.extend(Listener::read(
                    &name,
                    &mut Section::new(listener, &mut reader),
                    has_issuers,
                ));
            }
            let mut section = Section::new(inner("server"), &mut reader);
            server = Some(Server::read(&mut section, listeners, &source.overrides));
            let mut section = Section::new(inner("log"), &mut reader);
            log = Some(Log::read(&mut section, &source.overrides));
            for (name, issuer) in issuers.into_iter().flat_map(tables) {
                access.issuer(&name, &mut Section::new(issuer, &mut reader));
            }
            access.read(tables(inner("clients")), tables(inner("endpoints")), &mut reader);
        }
        for (name, upstream) in tables(inner("upstreams")) {
            let place = reader.place(&name.span());
            let mut section = Section::new(upstream, &mut reader);
            // What is switched off must have the right form, but its secrets need not be here.
            let enabled = section.get(&keys::ENABLED);
            section.reader().set_env(env.or_lenient(!enabled));
            let Some(upstream) = Upstream::read(&name, &mut section) else { continue };
            names.push((place, upstream.name.clone()));
            if enabled { &mut upstreams } else { &mut disabled }.push(upstream);
        }
    }
    name::distinct(&names, &mut problems);
    let (clients, endpoints, issuers) = access.settled(&names, &mut problems);
    if !problems.as_slice().is_empty() {
        return Err(Error::Invalid(problems));
    }
    let sources = documents.into_iter().filter(|document| document.exists).map(|document| document.path);
    Ok(Config {
        server: server.unwrap_or_default(),
        log: log.unwrap_or_default(),
        upstreams,
        disabled,
        clients,
        endpoints,
        issuers,
        sources: sources.collect(),
    })
}

/// The tables in a table, with their names.
fn tables<'a, 'i>(holder: &'a DeTable<'i>) -> impl Iterator<Item = (Spanned<&'a str>, &'a DeTable<'i>)> {
    holder.iter().filter_map(|(name, table)| {
        Some((Spanned::new(name.span(), name.get_ref().as_ref()), table.get_ref().as_table()?))
    })
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
    let content = |path: &Path| planned.iter().find(|(name, _)| name == path).map(|(_, content)| content);
    let read = |path: &Path| match content(path) {
        Some(content) => Ok(content.clone().into_bytes()),
        None => read(path),
    };
    let bytes = match read(&path) {
        Err(Error::Read { source: error, .. }) if error.kind() == ErrorKind::NotFound => match &source.file {
            Some(_) => return Err(Error::Missing(path)),
            None => None,
        },
        read => Some(read?),
    };
    let beside = fragment_directory(&path);
    let mut fragments = fragments(directory.unwrap_or(&beside))?;
    fragments.extend(planned.iter().map(|(path, _)| path.clone()).filter(|planned| *planned != path));
    fragments.sort();
    fragments.dedup();
    let mut documents = Vec::new();
    documents.extend(Document::new(path, bytes, Role::Main, &mut problems));
    for path in fragments {
        let bytes = read(&path)?;
        documents.extend(Document::new(path, Some(bytes), Role::Fragment, &mut problems));
    }
    if problems.as_slice().is_empty() { Ok(documents) } else { Err(Error::Invalid(problems)) }
}

/// The files of `conf.d`, in no order. Hidden files are left out: editors and atomic writers use such names.
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
        Text::new(&self.path, &self.content)
    }

    /// Reads the content; `None` if its structure is wrong, which `problems` then tells.
    fn parse(&self, problems: &mut Problems) -> Option<DeTable<'_>> {
        let (table, errors) = DeTable::parse_recoverable(&self.content);
        // After the first syntax error the parser guesses, so that only this one is sure to be the user's.
        let first = errors.iter().min_by_key(|error| error.span().map_or(usize::MAX, |span| span.start));
        if let Some(error) = first {
            self.refuse(error, problems);
            return None;
        }
        let before = problems.as_slice().len();
        structure::check(table.get_ref(), self.text(), self.role, problems);
        (problems.as_slice().len() == before).then(|| table.into_inner())
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
