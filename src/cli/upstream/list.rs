//! `mcpeg upstream list`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::error::{Error, SCHEMA};
use crate::cli::definition::TokenPlace;
use crate::cli::report;
use crate::cli::site::Site;
use crate::config::{Transport, Upstream};
use crate::control::{self, CLIENT_LIMIT, Request};
use crate::exit::{Exit, chain};

/// Prints each upstream with its file and its state.
pub(super) fn run(place: &TokenPlace) -> Result<Exit, Error> {
    let site = Site::find(place)?;
    let status = control::ask::<Value>(&site.paths().control, Request::Status, CLIENT_LIMIT).ok();
    let running = status.is_some();
    let mut known: BTreeMap<String, Value> = BTreeMap::new();
    for upstream in status.iter().filter_map(|reply| reply.value["upstreams"].as_array()).flatten() {
        if let Some(name) = upstream["name"].as_str().filter(|_| upstream["transport"] != "builtin") {
            known.insert(name.to_owned(), upstream.clone());
        }
    }
    let config = site.check(&[]);
    if let Err(error) = &config {
        report::warning(format!("the configuration is not valid: {}", chain(error)));
    }
    let config = config.unwrap_or_default();
    let of =
        |name: &str| config.upstreams.iter().chain(&config.disabled).find(|one| one.name.as_str() == name);
    let mut rows: Vec<Value> = Vec::new();
    for (name, file) in site.upstreams() {
        let state = known.remove(&name);
        rows.push(row(&name, Some(&file), of(&name), state.as_ref()));
    }
    // What the gateway still has.
    rows.extend(known.iter().map(|(name, state)| row(name, None, None, Some(state))));
    if place.json {
        let answer = json!({ "schema": SCHEMA, "running": running, "upstreams": rows });
        return Ok(report::json(&answer, Exit::Done));
    }
    if rows.is_empty() {
        let text = format!("no upstream is configured in {}", site.file().display());
        report::note("`mcpeg upstream add` adds one");
        return Ok(report::lines(text, Exit::Done));
    }
    Ok(report::lines(table(&rows), Exit::Done))
}

/// One upstream, for programs.
fn row(name: &str, file: Option<&Path>, settings: Option<&Upstream>, state: Option<&Value>) -> Value {
    let of_state = |key: &str| state.map(|state| state[key].clone());
    let transport = settings.map(|settings| match settings.transport {
        Transport::Stdio { .. } => json!("stdio"),
        Transport::Http { .. } => json!("http"),
    });
    json!({
        "name": name,
        "state": of_state("state"),
        "transport": transport.or_else(|| of_state("transport")),
        "target": settings.map(|settings| settings.transport.shown()),
        "file": file,
        "last_error": of_state("last_error"),
    })
}

/// All of them, for people.
fn table(rows: &[Value]) -> String {
    const COLUMNS: [(&str, &str); 5] = [
        ("NAME", "name"),
        ("STATE", "state"),
        ("TRANSPORT", "transport"),
        ("TARGET", "target"),
        ("FILE", "file"),
    ];
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or("-").to_owned();
    let widths = COLUMNS.map(|(title, key)| {
        let widest = rows.iter().map(|row| text(row, key).chars().count()).max().unwrap_or_default();
        widest.max(title.len())
    });
    let line = |cells: [String; 5]| {
        let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head = line(COLUMNS.map(|(title, _)| title.to_owned()));
    let rows = rows.iter().map(|row| line(COLUMNS.map(|(_, key)| text(row, key))));
    std::iter::once(head).chain(rows).collect::<Vec<_>>().join("\n")
}
