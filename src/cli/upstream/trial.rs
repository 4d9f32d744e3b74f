//! `mcpeg upstream test`, and what is told of an upstream that was tried.

use std::time::Duration;

use serde_json::{Value, json};
use toml::Table;

use super::change::text;
use super::error::{Error, SCHEMA};
use crate::cli::client::{self, Examined, Server};
use crate::cli::definition::UpstreamTestArgs;
use crate::cli::report;
use crate::cli::site::Site;
use crate::control::{self, CLIENT_LIMIT, Request};
use crate::exit::{Exit, ToExit as _, chain};

/// Tries an upstream, an address or a program.
pub(super) fn run(arguments: &UpstreamTestArgs) -> Result<Exit, Error> {
    let limit = arguments.timeout;
    let token = client::token(arguments.token_file.as_deref())?;
    let named;
    let (name, found) = match (&arguments.url, arguments.command.as_slice(), &arguments.upstream) {
        (Some(url), ..) => ("the server", client::examine_server(&Server::Address(url, token), limit)),
        (None, [_, ..], _) => {
            ("the server", client::examine_server(&Server::Program(&arguments.command), limit))
        }
        (None, [], name) => {
            let name = name.as_deref().unwrap_or_default();
            let site = Site::find(&arguments.place)?;
            let found = if is_running(&site, name) {
                of_running(&site, name, limit)
            } else {
                client::examine_server(&Server::Table(&table(&site, name)?), limit)
            };
            named = format!("`{name}`");
            (named.as_str(), found)
        }
    };
    if arguments.place.json {
        let exit = found.as_ref().map_or_else(crate::exit::ToExit::to_exit, |_| Exit::Done);
        return Ok(report::json(&document(&found), exit));
    }
    Ok(tell(name, &found?))
}

/// Whether a gateway runs that uses this upstream.
fn is_running(site: &Site, name: &str) -> bool {
    let status = control::ask::<Value>(&site.paths().control, Request::Status, CLIENT_LIMIT);
    let status = status.map(|reply| reply.value).unwrap_or_default();
    let mut all = status["upstreams"].as_array().into_iter().flatten();
    all.any(|one| one["name"] == name && one["state"] != "disabled")
}

/// The table of an upstream in the configuration, as it would be if it were switched on.
fn table(site: &Site, name: &str) -> Result<Table, Error> {
    let file = site.file_of(name)?;
    let text = text(&file)?.unwrap_or_default();
    let mut document: Table = text.parse().map_err(|_| Error::Syntax(file.clone()))?;
    let upstreams = document.get_mut("upstreams").and_then(toml::Value::as_table_mut);
    let table = upstreams.and_then(|upstreams| upstreams.remove(name));
    let Some(toml::Value::Table(mut table)) = table else { return Err(Error::Syntax(file)) };
    table.remove("enabled");
    Ok(table)
}

/// What the gateway that runs finds an upstream to be.
pub(super) fn of_running(
    site: &Site,
    name: &str,
    limit: Option<Duration>,
) -> Result<Examined, client::Error> {
    client::examine(&site.paths().control, name, limit)
}

/// What was found, for programs.
pub(super) fn document(found: &Result<Examined, client::Error>) -> Value {
    match found {
        Ok(found) => {
            json!({ "schema": SCHEMA, "usable": true, "upstream": found.upstream(), "tools": found.tools() })
        }
        Err(error) => {
            json!({ "schema": SCHEMA, "usable": false, "error": chain(error), "hint": error.hint() })
        }
    }
}

/// Tells what was found.
pub(super) fn tell(name: &str, found: &Examined) -> Exit {
    let (upstream, tools) = (found.upstream(), found.tools());
    let [state, transport] = ["state", "transport"].map(|key| upstream[key].as_str().unwrap_or_default());
    if state == "disabled" {
        return report::lines(format!("{name} is switched off by `enabled = false`"), Exit::Done);
    }
    let era = upstream["era"].as_str().map(|era| format!(", {era}")).unwrap_or_default();
    let count = match tools.len() {
        0 => "no tools".to_owned(),
        1 => "1 tool:".to_owned(),
        count => format!("{count} tools:"),
    };
    report::lines(
        format!("{name} answers ({transport}{era}): {count}\n{}", client::listed(tools)),
        Exit::Done,
    )
}
