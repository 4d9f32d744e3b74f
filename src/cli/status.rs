//! `mcpeg --status [--json]`: LSB exit codes, and an answer in every case.
//!
//! Whether a gateway runs is told by the lock; how it is, by the control socket. If that does not answer, the status
//! is degraded and says so. The JSON document always has `schema` and `state`: `running` and `draining` (exit code 0),
//! `dead` (1: a pid file was left behind), `stopped` (3), `unknown` (4, with `reason`). Tables are made from the JSON
//! itself, because the daemon may be older or newer than this command.
//!
//! With `--upstream` the answer is about some upstreams only: 0 if all of them can be used, 3 if one cannot, 4 if the
//! gateway does not tell, 64 if there is none of that name.

use std::path::Path;
use std::time::Instant;

use bytesize::ByteSize;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::control::{self, CLIENT_LIMIT, Request};
use crate::daemon::RunPaths;
use crate::daemon::locate::{self, Running, State};
use crate::exit::{Exit, ToExit};
use crate::gateway;
use crate::serve::SCHEMA;

use super::definition::Common;
use super::report;

/// An upstream was named that the gateway does not have.
#[derive(Debug, thiserror::Error)]
#[error("the gateway has no upstream `{name}`")]
struct Unknown {
    /// The name.
    name: String,
    /// Those that it has.
    known: Vec<String>,
}

/// What every status has. The rest may be that of another version, and is shown as it is.
#[derive(Deserialize)]
struct Schema {
    /// The schema's version.
    #[serde(rename = "schema")]
    _version: u64,
}

/// Finds out and prints, of these upstreams only if there are any.
pub(super) fn run(common: &Common, upstreams: &[String], json: bool) -> Exit {
    let deadline = Instant::now() + CLIENT_LIMIT;
    let state = RunPaths::resolve(common.pid_file.as_deref())
        .map_err(locate::Error::from)
        .and_then(|paths| locate::locate(&paths));
    match state {
        Ok(State::Running(running)) => {
            let value = ask(&running, deadline);
            if upstreams.is_empty() {
                return print(&value, json, &table(&value), Exit::Done);
            }
            match only(value, upstreams) {
                Ok((value, exit)) => print(&value, json, &table_of_upstreams(&value), exit),
                Err(unknown) => report::error(&unknown),
            }
        }
        Ok(State::Stopped) => {
            if !json && is_elsewhere(common) {
                report::note("this is about your own gateway; `sudo mcpeg --status` tells about the service");
            }
            print(&json!({ "schema": SCHEMA, "state": "stopped" }), json, "stopped", Exit::NotRunning)
        }
        Ok(State::Stale(path)) => {
            let value = json!({ "schema": SCHEMA, "state": "dead", "pid_file": path });
            let text = format!("dead: the pid file {} was left behind", path.display());
            print(&value, json, &text, Exit::StatusDeadPidFile)
        }
        // Nothing runs, but what lies in the place of the pid file is no pid file: LSB calls that dead too.
        Err(locate::Error::PidFile(error)) if !is_denied(&error) => {
            let reason = crate::exit::chain(&error);
            let value = json!({ "schema": SCHEMA, "state": "dead", "reason": reason });
            print(&value, json, &format!("dead: {reason}"), Exit::StatusDeadPidFile)
        }
        Err(error) => {
            let reason = crate::exit::chain(&error);
            let value = json!({ "schema": SCHEMA, "state": "unknown", "reason": reason });
            print(&value, json, &format!("unknown: {reason}"), Exit::StatusUnknown)
        }
    }
}

/// The upstreams of the running gateway that cannot be used, each with its state and why.
pub(super) fn unusable(common: &Common) -> Vec<String> {
    let Ok(paths) = RunPaths::resolve(common.pid_file.as_deref()) else { return Vec::new() };
    let Ok(State::Running(running)) = locate::locate(&paths) else { return Vec::new() };
    let value = ask(&running, Instant::now() + CLIENT_LIMIT);
    let all = value["upstreams"].as_array().into_iter().flatten();
    all.filter(|upstream| !can_be_used(upstream))
        .map(|upstream| {
            let [name, state] = ["name", "state"].map(|key| text(&upstream[key]));
            let error = Some(text(&upstream["last_error"])).filter(|error| !error.is_empty());
            format!("`{name}` is {state}{}", error.map(|error| format!(": {error}")).unwrap_or_default())
        })
        .collect()
}

/// Whether calls to an upstream can be answered; one that is switched off is none that is missing.
fn can_be_used(upstream: &Value) -> bool {
    let state = serde_json::from_value::<gateway::UpstreamState>(upstream["state"].clone());
    state.is_ok_and(|state| state.is_usable() || state == gateway::UpstreamState::Disabled)
}

/// Whether an ordinary user asked about their own gateway while root or the service has run one on this machine.
fn is_elsewhere(common: &Common) -> bool {
    let root = nix::unistd::Uid::effective().is_root();
    !root && common.pid_file.is_none() && Path::new("/run/mcpeg").exists()
}

/// Whether the error only says that this user may not look.
fn is_denied(error: &crate::daemon::PidFileError) -> bool {
    matches!(error, crate::daemon::PidFileError::Read(..))
}

/// Prints one of the two forms.
fn print(value: &Value, json: bool, text: &str, exit: Exit) -> Exit {
    if json { report::json(value, exit) } else { report::lines(text, exit) }
}

/// What the gateway itself tells, or what its record does.
fn ask(running: &Running, deadline: Instant) -> Value {
    // Finding it may have taken a part of the time.
    let left = deadline.saturating_duration_since(Instant::now());
    match control::ask::<Schema>(&running.record.control, Request::Status, left) {
        Ok(reply) => reply.value,
        Err(error) => degraded(running, &why(running, &error)),
    }
}

/// The answer with these upstreams only, and whether all of them can be used.
fn only(mut value: Value, names: &[String]) -> Result<(Value, Exit), Unknown> {
    let Some(all) = value["upstreams"].as_array_mut() else { return Ok((value, Exit::StatusUnknown)) };
    let name = |upstream: &Value| text(&upstream["name"]);
    if let Some(unknown) = names.iter().find(|wanted| !all.iter().any(|one| name(one) == **wanted)) {
        return Err(Unknown { name: unknown.clone(), known: all.iter().map(name).collect() });
    }
    all.retain(|upstream| names.contains(&name(upstream)));
    let usable = all.iter().all(|upstream| {
        let state = serde_json::from_value::<gateway::UpstreamState>(upstream["state"].clone());
        state.is_ok_and(gateway::UpstreamState::is_usable)
    });
    let exit = if usable { Exit::Done } else { Exit::NotRunning };
    Ok((value, exit))
}

/// What the record tells.
fn degraded(running: &Running, reason: &str) -> Value {
    let record = &running.record;
    json!({
        "schema": SCHEMA,
        "state": "running",
        "degraded": reason,
        "pid": record.pid,
        "since": record.since_text(),
        "version": record.version,
        "config": record.config.iter().collect::<Vec<_>>(),
        "pid_file": record.pid_file,
        "unit": record.unit,
    })
}

/// Why the control socket does not answer, in words.
fn why(running: &Running, error: &control::Error) -> String {
    let suspended = if running.handle.is_suspended() { " (the process is suspended)" } else { "" };
    format!("{}{suspended}", crate::exit::chain(error))
}

/// The answer for people.
fn table(value: &Value) -> String {
    let mut rows = Vec::new();
    let mut row = |label: &str, text: String| {
        if !text.is_empty() {
            rows.push(format!("{label:<12}{text}"));
        }
    };
    row("state", text(&value["state"]));
    row("degraded", text(&value["degraded"]));
    row("pid", text(&value["pid"]));
    row("since", since(value));
    row("version", text(&value["version"]));
    row("listening", text(&value["listeners"]));
    row("sessions", text(&value["sessions"]));
    row("in flight", text(&value["in_flight"]));
    row("memory", memory(&value["memory"]));
    row("config", text(&value["config"]));
    row("log file", text(&value["log_file"]));
    row("log trouble", text(&value["log"]["trouble"]));
    row("log lost", lost(&value["log"]));
    row("unit", text(&value["unit"]));
    for one in value["certificates"].as_array().into_iter().flatten() {
        row("certificate", certificate(one));
    }
    for one in value["issuers"].as_array().into_iter().flatten() {
        row("issuer", issuer(one));
    }
    let upstreams = value["upstreams"].as_array().map_or(&[][..], Vec::as_slice);
    for upstream in upstreams {
        row("upstream", upstream_row(upstream, widest(upstreams)));
        row("mend", mend(upstream));
        for warning in warnings(upstream) {
            row("warning", warning);
        }
    }
    rows.join("\n")
}

/// What mends an upstream that cannot be used, if that is known.
fn mend(upstream: &Value) -> String {
    let mend = upstream["mend"].as_str().filter(|_| !can_be_used(upstream));
    mend.map(|mend| format!("{}: {mend}", text(&upstream["name"]))).unwrap_or_default()
}

/// Some upstreams for people, and why nothing is known about them.
fn table_of_upstreams(value: &Value) -> String {
    let Some(upstreams) = value["upstreams"].as_array() else {
        return format!("unknown: {}", text(&value["degraded"]));
    };
    let row = |one| std::iter::once(upstream_row(one, widest(upstreams))).chain(warnings(one));
    upstreams.iter().flat_map(row).collect::<Vec<_>>().join("\n")
}

/// The keys of an authorization server in one line.
fn issuer(value: &Value) -> String {
    let [name, keys, age, error] =
        ["name", "keys", "age_seconds", "error"].map(|member| text(&value[member]));
    let found = if age.is_empty() { "no keys yet".to_owned() } else { format!("{keys} keys, {age} s old") };
    if error.is_empty() { format!("{name}: {found}") } else { format!("{name}: {found}; {error}") }
}

/// The certificate of a listener in one line.
fn certificate(one: &Value) -> String {
    let name = text(&one["listener"]);
    let end = match one["days_left"].as_u64() {
        Some(0) => "expires within a day, or has expired".to_owned(),
        Some(days) => format!("expires in {days} days"),
        None => String::new(),
    };
    let error = match text(&one["error"]) {
        error if error.is_empty() => error,
        error => format!("; the new one cannot be used: {error}"),
    };
    format!("{name:<16} {end}{error}")
}

/// What waits in memory, and what may.
fn memory(memory: &Value) -> String {
    let size = |key: &str| memory[key].as_u64().map(|bytes| ByteSize(bytes).display().iec().to_string());
    match (size("held"), size("limit")) {
        (Some(held), Some(limit)) => format!("{held} of {limit} wait"),
        _ => String::new(),
    }
}

/// The width of the longest name.
fn widest(upstreams: &[Value]) -> usize {
    upstreams.iter().map(|one| text(&one["name"]).chars().count()).max().unwrap_or_default().max(16)
}

/// How many records the log has lost, and of which levels; nothing if there are none.
fn lost(log: &Value) -> String {
    let Some(lost @ 1..) = log["lost"].as_u64() else { return String::new() };
    let levels = ["error", "warn", "info", "debug", "trace"];
    let counts = levels.map(|level| (level, log["lost_by_level"][level].as_u64().unwrap_or(0)));
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    let counts: Vec<String> = counts.map(|(level, count)| format!("{count} {level}")).collect();
    format!("{lost} records ({})", counts.join(", "))
}

/// The start, and how long ago that is.
fn since(value: &Value) -> String {
    let start = text(&value["since"]);
    match value["uptime_seconds"].as_u64() {
        Some(seconds) => {
            let uptime = humantime::format_duration(std::time::Duration::from_secs(seconds));
            format!("{start} ({uptime})")
        }
        None => start,
    }
}

/// One upstream in one line, its name in a column of this width.
fn upstream_row(upstream: &Value, wide: usize) -> String {
    let [name, transport, state] = ["name", "transport", "state"].map(|key| text(&upstream[key]));
    let restarts = match upstream["restarts"].as_u64() {
        Some(restarts @ 1..) => format!(", {restarts} restarts"),
        _ => String::new(),
    };
    let error = match text(&upstream["last_error"]) {
        error if error.is_empty() => error,
        error => format!(": {error}"),
    };
    format!("{name:<wide$} {transport:<8} {state}{restarts}{error}")
}

/// What is wrong with an upstream that works, one line each.
fn warnings(upstream: &Value) -> Vec<String> {
    let name = text(&upstream["name"]);
    let warnings = upstream["warnings"].as_array().into_iter().flatten();
    warnings.map(|warning| format!("{name}: {}", text(warning))).collect()
}

/// A value in words; empty for null and what is absent.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

impl ToExit for Unknown {
    fn to_exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(format!("it has {}", self.known.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_shows_what_is_there_and_nothing_else() {
        let value = json!({
            "schema": 1, "state": "running", "pid": 4711, "listeners": ["127.0.0.1:8080"], "unit": null,
            "upstreams": [{ "name": "time", "transport": "stdio", "state": "failed", "restarts": 2, "last_error": "gone" }],
        });
        let table = table(&value);
        assert!(table.contains("listening   127.0.0.1:8080"), "{table}");
        assert!(table.contains("failed, 2 restarts: gone"), "{table}");
        assert!(!table.contains("unit"), "{table}");
    }

    #[test]
    fn columns_stand_below_each_other_however_long_a_name_is() {
        let long = "a-name-of-more-than-sixteen-characters";
        let upstream = |name: &str| json!({ "name": name, "transport": "stdio", "state": "ready" });
        let value = json!({ "schema": 1, "state": "running", "upstreams": [upstream("a"), upstream(long)] });
        for table in [table(&value), table_of_upstreams(&value)] {
            let columns: Vec<_> = table.lines().filter_map(|line| line.find("stdio")).collect();
            assert!(columns.len() == 2 && columns[0] == columns[1], "{table}");
        }
    }

    /// The exit code and the names for these upstreams.
    fn asked(names: &[&str]) -> Result<(Exit, Vec<String>), String> {
        let value = json!({ "schema": 1, "upstreams": [
            { "name": "a", "state": "ready" }, { "name": "b", "state": "idle" }, { "name": "c", "state": "backing-off" },
            { "name": "d", "state": "a state of later versions" },
        ] });
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let (value, exit) = only(value, &names).map_err(|unknown| unknown.hint().unwrap())?;
        let left = value["upstreams"].as_array().unwrap().iter().map(|one| text(&one["name"])).collect();
        Ok((exit, left))
    }

    #[test]
    fn upstreams_that_are_named_decide_about_the_exit_code() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(asked(&["b", "a"]), Ok((Exit::Done, names(&["a", "b"]))));
        assert_eq!(asked(&["a", "c"]), Ok((Exit::NotRunning, names(&["a", "c"]))));
        assert_eq!(asked(&["d"]), Ok((Exit::NotRunning, names(&["d"]))));
        assert_eq!(asked(&["a", "x"]), Err("it has a, b, c, d".to_owned()));
        let degraded = only(json!({ "schema": 1, "degraded": "silent" }), &names(&["a"])).unwrap();
        assert_eq!(degraded.1, Exit::StatusUnknown);
        assert_eq!(table_of_upstreams(&degraded.0), "unknown: silent");
    }
}
