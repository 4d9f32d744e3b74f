//! From the client's file to the files in `conf.d`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use toml::Table;

use crate::cli::definition::ImportArgs;
use crate::cli::{fragment, report};
use crate::config::{self, Source, UpstreamName};
use crate::exit::{Exit, ToExit};

use super::clients::{self, Found, Group};
use super::conceal;
use super::document::{self, Node, Syntax};
use super::secrets::Secrets;
use super::server::{Translated, translate};

/// The largest file, in bytes: Claude Code keeps whole conversations beside its servers.
const LIMIT: u64 = 64 << 20;

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The file cannot be read.
    #[error("cannot read `{}`", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// It is too large.
    #[error("`{}` is larger than {} MiB", .0.display(), LIMIT >> 20)]
    TooLarge(PathBuf),
    /// It is not text.
    #[error("`{}:{line}` is not UTF-8 text", .path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// It is not in the language of its kind.
    #[error("`{}` is not {syntax}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        syntax: Syntax,
    },
    /// It has no servers.
    #[error("`{}` has no `mcpServers` object, nor what other clients have in its place", .0.display())]
    NoServers(PathBuf),
    /// The configuration as it is cannot be loaded.
    #[error("the present configuration is not valid")]
    Present(#[source] config::Error),
    /// The configuration would not be valid with the new files.
    #[error("the configuration would not be valid with the servers of `{}`", .0.display())]
    Planned(PathBuf, #[source] config::Error),
    /// A file is there already.
    #[error("`{}` exists", .0.display())]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("cannot write `{}`", .0.display())]
    Write(PathBuf, #[source] std::io::Error),
}

/// What is to be done, and what the user should know.
#[derive(Default)]
struct Plan {
    /// Files and their content.
    files: Vec<(PathBuf, String)>,
    /// Those of them that are there already, as they would be written.
    same: Vec<PathBuf>,
    /// What the servers in them are in the client's file: their names here and there, and their tables.
    taken: Vec<(String, Node)>,
    /// What the user should know.
    notes: Vec<String>,
    /// Servers that were not taken, why, and where they stand.
    refused: Vec<String>,
    /// The variables that stand for secrets.
    secrets: Secrets,
}

/// One server and what is around it.
struct Entry<'a> {
    /// Its name in the client's file.
    theirs: &'a str,
    /// The server.
    node: &'a Node,
    /// Where it stands.
    group: &'a Group<'a>,
}

/// Imports the file and reports what was done.
pub(in crate::cli) fn run(arguments: &ImportArgs) -> Exit {
    match import(arguments) {
        Ok(plan) => plan.report(arguments.dry_run),
        Err(error) => report::error(&error),
    }
}

/// Plans, checks and writes.
fn import(arguments: &ImportArgs) -> Result<Plan, Error> {
    let root = read(&arguments.file)?;
    let found = clients::find(&root);
    if found.groups().is_empty() && found.wrong().is_empty() {
        return Err(Error::NoServers(arguments.file.clone()));
    }
    let source = Source { file: arguments.config.clone(), ..Source::default() };
    let present = config::preview(&source, &[]).map_err(Error::Present)?;
    let directory = config::fragment_directory(&source.file.clone().unwrap_or_else(config::default_path));
    // Files that --force replaces take no names; neither do those that an earlier import has written.
    let mut planner =
        Planner { file: &arguments.file, source: &source, directory: &directory, plan: Plan::default() };
    let present: Vec<String> =
        present.upstreams.iter().chain(&present.disabled).map(|upstream| upstream.name.to_string()).collect();
    planner.plan(&root, &found, &present);
    let mut plan = planner.plan;
    for (path, content) in &plan.files {
        match std::fs::read_to_string(path) {
            Ok(there) if there == *content => plan.same.push(path.clone()),
            _ if path.symlink_metadata().is_ok() && !arguments.force => {
                return Err(Error::Exists(path.clone()));
            }
            _ => {}
        }
    }
    config::preview(&source, &plan.files).map_err(|error| Error::Planned(arguments.file.clone(), error))?;
    if !arguments.dry_run && plan.files.len() > plan.same.len() {
        fragment::directory(&directory).map_err(|error| Error::Write(directory.clone(), error))?;
        for (path, content) in plan.files.iter().filter(|(path, _)| !plan.same.contains(path)) {
            fragment::file(path, content, arguments.force)
                .map_err(|error| Error::Write(path.clone(), error))?;
        }
    }
    Ok(plan)
}

/// Reads the client's file.
fn read(path: &Path) -> Result<Node, Error> {
    let cannot = |error| Error::Read(path.to_owned(), error);
    let mut bytes = Vec::new();
    File::open(path).map_err(cannot)?.take(LIMIT + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > LIMIT {
        return Err(Error::TooLarge(path.to_owned()));
    }
    let text = document::text(bytes).map_err(|line| Error::NotText { path: path.to_owned(), line })?;
    document::parse(path, &text).map_err(|syntax| Error::Syntax { path: path.to_owned(), syntax })
}

/// Makes the plan.
struct Planner<'a> {
    /// The client's file.
    file: &'a Path,
    /// The configuration.
    source: &'a Source,
    /// Where new files go.
    directory: &'a Path,
    /// The plan so far.
    plan: Plan,
}

impl Planner<'_> {
    /// Translates every server.
    fn plan(&mut self, root: &Node, found: &Found<'_>, present: &[String]) {
        for input in root.get("inputs").map_or(&[][..], Node::items) {
            let default = |input: &Node| {
                Some((input.get("id")?.text()?.to_owned(), input.get("default")?.text()?.to_owned()))
            };
            let masked = input.get("password").and_then(Node::truth) == Some(true);
            if let Some((name, default)) = default(input).filter(|_| !masked) {
                self.plan.secrets.add_input(&name, &default);
            }
        }
        let servers = || {
            found.groups().iter().flat_map(|group| group.servers().iter().map(move |server| (group, server)))
        };
        for (_, (_, node)) in servers() {
            node.each_text(&mut |text| {
                conceal::names(text).for_each(|name| self.plan.secrets.reserve(&name));
            });
        }
        for (group, (theirs, node)) in servers() {
            self.entry(&Entry { theirs, node, group }, present);
        }
        for (path, line, why) in found.wrong() {
            self.plan.refused.push(format!("`{path}` {why} ({}:{line})", self.file.display()));
        }
        if servers().next().is_none() && found.wrong().is_empty() {
            let keys: Vec<String> =
                found.groups().iter().map(|group| format!("`{}`", group.path())).collect();
            self.plan.notes.push(format!(
                "{} has no servers: {} is empty",
                self.file.display(),
                keys.join(" and ")
            ));
        }
    }

    /// Translates one server.
    fn entry(&mut self, entry: &Entry<'_>, present: &[String]) {
        let theirs = clients::shown(entry.theirs);
        if self.plan.taken.iter().any(|(name, node)| name == entry.theirs && node.same_as(entry.node)) {
            let place = entry.place(self.file, entry.node.line(), "");
            return self.plan.notes.push(format!(
                "server `{theirs}` is there twice with the same content; taken once ({place})"
            ));
        }
        let off = entry.group.switches_off(entry.theirs);
        let name = match self.name(entry, present) {
            Ok(name) => name,
            Err(why) => return self.refuse(entry, entry.node.line(), "", &why),
        };
        match translate(&name, entry.node, off, &mut self.plan.secrets) {
            Translated::Left(why) => self.plan.notes.push(format!("server `{theirs}` was left out: {why}")),
            Translated::Refused(fault) => {
                self.refuse(entry, fault.line(), fault.key(), &format!("was not imported: {}", fault.why()));
            }
            Translated::Table(table, notes) => self.take(entry, &name, table, notes),
        }
    }

    /// Takes a server if the configuration would be valid with it.
    fn take(&mut self, entry: &Entry<'_>, name: &str, table: Table, notes: Vec<String>) {
        let theirs = clients::shown(entry.theirs);
        let off = table.contains_key("enabled");
        let origin = clients::shown(&self.file.file_name().unwrap_or_default().to_string_lossy());
        let file = (self.directory.join(format!("{name}.toml")), content(name, table, &origin));
        // Alone: the others are not to blame for it.
        if let Err(error) = config::preview(self.source, std::slice::from_ref(&file)) {
            self.plan.secrets.forget();
            let why = format!("was not imported: {}", in_words(&error));
            return self.refuse(entry, entry.node.line(), "", &why);
        }
        if name != entry.theirs {
            self.plan.notes.push(format!("server `{theirs}` is called `{name}` here"));
        }
        if off {
            self.plan
                .notes
                .push(format!("server `{theirs}` is disabled; it is configured with enabled = false"));
        }
        self.plan.notes.extend(notes.into_iter().map(|note| format!("server `{theirs}`: {note}")));
        self.plan.files.push(file);
        self.plan.taken.push((entry.theirs.to_owned(), entry.node.clone()));
    }

    /// Notes that a server is not taken.
    fn refuse(&mut self, entry: &Entry<'_>, line: usize, key: &str, why: &str) {
        let colon = if why.starts_with("was ") { "" } else { ":" };
        let place = entry.place(self.file, line, key);
        self.plan.refused.push(format!("server `{}`{colon} {why} ({place})", clients::shown(entry.theirs)));
    }

    /// The upstream's name for a server: one that nobody else has, or why there is none.
    fn name(&self, entry: &Entry<'_>, present: &[String]) -> Result<String, String> {
        let ours =
            |path: &(PathBuf, String)| path.0.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let mine: Vec<String> = self.plan.files.iter().filter_map(ours).collect();
        let in_files = |name: &str| self.directory.join(format!("{name}.toml")).symlink_metadata().is_ok();
        // What is in a file of the name that the server would have is replaced, or refused later.
        let others = present.iter().filter(|name| !in_files(name)).chain(&mine).cloned().collect::<Vec<_>>();
        let project = entry.group.project().and_then(|project| Path::new(project).file_name());
        let longer = project.map(|project| format!("{}-{}", entry.theirs, project.to_string_lossy()));
        let mut taken = String::new();
        for theirs in std::iter::once(entry.theirs.to_owned()).chain(longer) {
            let Some(name) = name_for(&theirs, &others) else {
                return Err("nothing of its name can be kept; rename it".to_owned());
            };
            if name != UpstreamName::BUILTIN && !others.contains(&name) {
                return Ok(name);
            }
            taken = name;
        }
        Err(format!("the name `{taken}` is taken; rename it"))
    }
}

impl Entry<'_> {
    /// Where a part of the server stands.
    fn place(&self, file: &Path, line: usize, key: &str) -> String {
        let path = [self.group.path(), &clients::segment(self.theirs), key];
        let path: Vec<&str> = path.into_iter().filter(|part| !part.is_empty()).collect();
        format!("{} at {}:{line}", path.join("."), file.display())
    }
}

/// What is wrong with a configuration, without the places in a file that is not written.
fn in_words(error: &config::Error) -> String {
    let config::Error::Invalid(problems) = error else { return crate::exit::chain(error) };
    let words = problems.as_slice().iter().map(|problem| match &problem.hint {
        Some(hint) => format!("{}; {hint}", problem.message),
        None => problem.message.clone(),
    });
    // Names of keys are quoted as the file has them.
    words.collect::<Vec<_>>().join("; ").replace(char::is_control, "?")
}

/// The upstream's name for a server's name: other characters become `-`, and so does `_` where the name could not be
/// told from another in the names of tools.
fn name_for(theirs: &str, taken: &[String]) -> Option<String> {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
    let mapped: String = theirs.chars().map(allowed).collect();
    let trimmed = mapped.trim_start_matches(['-', '_']).trim_end_matches('-');
    let name: String = trimmed.chars().take(63).collect();
    let begins = |short: &str, long: &str| long.strip_prefix(short).is_some_and(|rest| rest.starts_with('_'));
    let clash = begins(UpstreamName::BUILTIN, &name)
        || taken.iter().any(|other| begins(other, &name) || begins(&name, other));
    let name = if clash { name.replace('_', "-") } else { name };
    UpstreamName::new(&name).map(|name| name.to_string())
}

/// The content of one file.
fn content(name: &str, table: Table, origin: &str) -> String {
    let upstreams = Table::from_iter([(name.to_owned(), toml::Value::Table(table))]);
    let document = Table::from_iter([("upstreams".to_owned(), toml::Value::Table(upstreams))]);
    let text = toml::to_string(&document).expect("tables of strings can be written");
    format!("# Imported from {origin} by mcpeg import.\n{text}")
}

impl Plan {
    /// Tells what was done or would be done.
    fn report(&self, dry_run: bool) -> Exit {
        for note in &self.notes {
            report::note(note);
        }
        for refused in &self.refused {
            report::warning(refused);
        }
        let names: Vec<&str> = self.secrets.names().collect();
        if !names.is_empty() {
            report::note(format!(
                "values that look like secrets were left out; set these in the environment of mcpeg: {}",
                names.join(", ")
            ));
        }
        let exit = if self.refused.is_empty() { Exit::Done } else { Exit::Config };
        let mut text = String::new();
        for (path, content) in &self.files {
            let written = if self.same.contains(path) {
                writeln!(text, "kept {}, which is the same", path.display())
            } else if dry_run {
                writeln!(text, "would write {}:\n\n{content}", path.display())
            } else {
                writeln!(text, "wrote {}", path.display())
            };
            written.expect("a String takes every text");
        }
        if text.is_empty() { exit } else { report::lines(text, exit) }
    }
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Read(..)
            | Self::TooLarge(_)
            | Self::NotText { .. }
            | Self::Syntax { .. }
            | Self::NoServers(_)
            | Self::Present(_)
            | Self::Planned(..) => Exit::Config,
            Self::Exists(_) | Self::Write(..) => Exit::CannotCreate,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotText { .. } => Some("save the file as UTF-8 text".to_owned()),
            Self::Syntax { .. } => {
                Some("mend the file; JSON may have comments and trailing commas, TOML ends in .toml and YAML in .yaml".to_owned())
            }
            Self::TooLarge(_) => Some("copy the part with the servers into a file of its own".to_owned()),
            Self::NoServers(_) => {
                Some("name a client's file, such as claude_desktop_config.json or .mcp.json".to_owned())
            }
            Self::Present(error) | Self::Planned(_, error) => error.hint(),
            Self::Exists(_) => Some("use --force to replace files that exist".to_owned()),
            Self::Write(..) => Some("run this as a user who can write there, or use --config".to_owned()),
            Self::Read(..) => None,
        }
    }
}
