//! From the JSON file to the files in `conf.d`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use toml::Table;

use crate::cli::definition::ImportArgs;
use crate::cli::report;
use crate::config::{self, Source, UpstreamName};
use crate::exit::{Exit, ToExit};

use super::secrets::Secrets;
use super::server::{Translated, translate};
use super::write;

/// The largest JSON file, in bytes.
const LIMIT: u64 = 16 << 20;

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The JSON file cannot be read.
    #[error("cannot read `{}`", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// It is not JSON.
    #[error("`{}` is not JSON", .0.display())]
    Json(PathBuf, #[source] serde_json::Error),
    /// It has no servers.
    #[error("`{}` has no `mcpServers` object", .0.display())]
    NoServers(PathBuf),
    /// The configuration as it is cannot be loaded.
    #[error("the present configuration is not valid")]
    Present(#[source] config::Error),
    /// The configuration would not be valid with the new files.
    #[error("the configuration would not be valid with the imported servers")]
    Planned(#[source] config::Error),
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
    /// The names of the upstreams in them.
    names: Vec<String>,
    /// What the user should know.
    notes: Vec<String>,
    /// Servers that mcpeg cannot serve, and why.
    refused: Vec<String>,
    /// The variables that stand for secrets.
    secrets: Secrets,
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
    let servers = servers(&arguments.file)?;
    let source = Source { file: arguments.config.clone(), ..Source::default() };
    let present = config::preview(&source, &[]).map_err(Error::Present)?;
    let directory = config::fragment_directory(&source.file.clone().unwrap_or_else(config::default_path));
    let taken = present.upstreams.iter().map(|upstream| upstream.name.to_string()).collect();
    let origin = arguments.file.file_name().unwrap_or_default().to_string_lossy();
    let plan = plan(&servers, &directory, taken, &origin);
    let existing = plan.files.iter().map(|(path, _)| path).find(|path| path.symlink_metadata().is_ok());
    if let Some(path) = existing.filter(|_| !arguments.force) {
        return Err(Error::Exists(path.clone()));
    }
    config::preview(&source, &plan.files).map_err(Error::Planned)?;
    if !arguments.dry_run && !plan.files.is_empty() {
        write::directory(&directory).map_err(|error| Error::Write(directory.clone(), error))?;
        for (path, content) in &plan.files {
            write::file(path, content, arguments.force).map_err(|error| Error::Write(path.clone(), error))?;
        }
    }
    Ok(plan)
}

/// Reads the object of servers: `mcpServers` of most clients, `servers` of VS Code, also below `mcp` in its settings.
fn servers(path: &Path) -> Result<Map<String, Value>, Error> {
    let cannot = |error| Error::Read(path.to_owned(), error);
    let mut text = String::new();
    File::open(path).map_err(cannot)?.take(LIMIT).read_to_string(&mut text).map_err(cannot)?;
    let mut value: Value =
        serde_json::from_str(&text).map_err(|error| Error::Json(path.to_owned(), error))?;
    let found = ["/mcpServers", "/servers", "/mcp/servers"]
        .into_iter()
        .find_map(|pointer| value.pointer_mut(pointer).map(Value::take));
    match found {
        Some(Value::Object(servers)) => Ok(servers),
        _ => Err(Error::NoServers(path.to_owned())),
    }
}

/// Translates every server.
fn plan(servers: &Map<String, Value>, directory: &Path, taken: Vec<String>, origin: &str) -> Plan {
    let mut plan = Plan::default();
    let mut taken = taken;
    for (theirs, server) in servers {
        let name = match name_for(theirs, &taken) {
            Some(name) if !plan.names.contains(&name) && name != UpstreamName::BUILTIN => name,
            Some(name) => {
                plan.refused.push(format!("server `{theirs}`: the name `{name}` is taken; rename it"));
                continue;
            }
            None => {
                plan.refused.push(format!("server `{theirs}`: nothing of its name can be kept; rename it"));
                continue;
            }
        };
        match translate(&name, server, &mut plan.secrets) {
            Translated::Disabled => {
                plan.notes.push(format!("server `{theirs}` is disabled and was left out"));
            }
            Translated::Refused(why) => {
                plan.refused.push(format!("server `{theirs}` was not imported: {why}"));
            }
            Translated::Table(table, notes) => {
                if name != *theirs {
                    plan.notes.push(format!("server `{theirs}` is called `{name}` here"));
                }
                plan.notes.extend(notes.into_iter().map(|note| format!("server `{theirs}`: {note}")));
                plan.files.push((directory.join(format!("{name}.toml")), content(&name, table, origin)));
                plan.names.push(name.clone());
                taken.push(name);
            }
        }
    }
    plan
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
    let origin = origin.replace(char::is_control, "?");
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
            let written = if dry_run {
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
            Self::Read(..) | Self::Json(..) | Self::NoServers(_) | Self::Present(_) | Self::Planned(_) => {
                Exit::Config
            }
            Self::Exists(_) | Self::Write(..) => Exit::CannotCreate,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Json(..) => {
                Some("remove comments and trailing commas, which some editors allow".to_owned())
            }
            Self::NoServers(_) => {
                Some("name a client's file, such as claude_desktop_config.json or .mcp.json".to_owned())
            }
            Self::Present(error) | Self::Planned(error) => error.hint(),
            Self::Exists(_) => Some("use --force to replace files that exist".to_owned()),
            Self::Write(..) => Some("run this as a user who can write there, or use --config".to_owned()),
            Self::Read(..) => None,
        }
    }
}
