//! One server of a client's file as an upstream's table.
//!
//! Clients have different keys for the same; here all are known. A setting for which mcpeg has no key is named.

use fieldwork::Fieldwork;
use http::Uri;
use toml::Table;

use super::conceal::Text;
use super::document::{Node, Value};
use super::secrets::Secrets;
use crate::config;

/// What became of one server.
pub(super) enum Translated {
    /// A table for `[upstreams.NAME]`, and what the user should know about it.
    Table(Table, Vec<String>),
    /// It is no server that anybody else could run, and why.
    Left(&'static str),
    /// mcpeg cannot serve it.
    Refused(Fault),
}

/// Why a server is not taken.
#[derive(Fieldwork)]
#[fieldwork(get, vis = "pub(super)")]
pub(super) struct Fault {
    /// Where, from 1.
    line: usize,
    /// The key below the server; empty for the server itself.
    key: String,
    /// What is wrong, and how it is mended.
    why: String,
}

/// The result of reading a part.
type Read<T> = Result<T, Fault>;

/// The program of a child process.
const COMMAND: [&str; 2] = ["command", "cmd"];
/// Its variables.
const ENV: [&str; 3] = ["env", "environment", "envs"];
/// Names of variables that are handed on.
const ENV_NAMES: [&str; 2] = ["env_vars", "env_keys"];
/// Its directory.
const DIRECTORY: [&str; 3] = ["cwd", "workingDirectory", "working_dir"];
/// An HTTP endpoint.
const URL: [&str; 5] = ["httpUrl", "url", "serverUrl", "uri", "endpoint"];
/// Its headers.
const HEADERS: [&str; 2] = ["headers", "http_headers"];
/// The transport.
const TRANSPORT: [&str; 3] = ["type", "transport", "transportType"];
/// Switches, and what they are when the server is on.
const SWITCHES: [(&str, bool); 6] = [
    ("disabled", false),
    ("enabled", true),
    ("isActive", true),
    ("isEnabled", true),
    ("active", true),
    ("is_active", true),
];
/// Tools that are shown.
const ALLOW: [&str; 4] = ["enabled_tools", "includeTools", "available_tools", "tools"];
/// Tools that are not shown.
const DENY: [&str; 3] = ["disabled_tools", "excludeTools", "disabledTools"];
/// Limits of time: the key, ours, and how many milliseconds one of its units is; 0 is to be guessed.
const TIMES: [(&str, &str, u32); 5] = [
    ("timeout", "request_timeout", 0),
    ("tool_timeout_sec", "request_timeout", 1000),
    ("startup_timeout_sec", "start_timeout", 1000),
    ("startup_timeout_ms", "start_timeout", 1),
    ("initTimeout", "start_timeout", 0),
];
/// Other keys that are read, or that only name the server.
const OTHERS: [&str; 5] = ["args", "bearer_token_env_var", "env_http_headers", "name", "source"];

/// Translates one server; `name` is the upstream's name, `off` whether it is switched off elsewhere.
pub(super) fn translate(name: &str, server: &Node, off: bool, secrets: &mut Secrets) -> Translated {
    if !server.is_map() {
        let why = "it is not an object; write { \"command\": … } or { \"url\": … }".to_owned();
        return Translated::Refused(Fault { line: server.line(), key: String::new(), why });
    }
    secrets.begin();
    let mut reader = Reader { name, server, secrets, table: Table::new(), notes: Vec::new() };
    if let Some(why) = reader.is_internal() {
        return Translated::Left(why);
    }
    match reader.read(off) {
        Ok(()) => {
            let ignored: Vec<String> = server
                .entries()
                .iter()
                .filter(|(key, _)| !is_known(key))
                .map(|(key, _)| format!("`{}`", super::clients::shown(key)))
                .collect();
            let misplaced = reader.misplaced();
            if !misplaced.is_empty() {
                reader
                    .notes
                    .push(format!("ignored {}, which mean nothing to this transport", misplaced.join(", ")));
            }
            if !ignored.is_empty() {
                reader.notes.push(format!("ignored {}, which mcpeg has no key for", ignored.join(", ")));
            }
            Translated::Table(reader.table, reader.notes)
        }
        Err(fault) => {
            reader.secrets.forget();
            Translated::Refused(fault)
        }
    }
}

/// Whether a key is read here.
fn is_known(key: &str) -> bool {
    let lists: [&[&str]; 9] =
        [&COMMAND, &ENV, &ENV_NAMES, &DIRECTORY, &URL, &HEADERS, &TRANSPORT, &ALLOW, &DENY];
    lists.iter().any(|list| list.contains(&key))
        || OTHERS.contains(&key)
        || SWITCHES.iter().any(|(switch, _)| *switch == key)
        || TIMES.iter().any(|(time, ..)| *time == key)
}

/// One server while it is being read.
struct Reader<'a> {
    /// The upstream's name.
    name: &'a str,
    /// The table of the client.
    server: &'a Node,
    /// Where secrets go.
    secrets: &'a mut Secrets,
    /// What has been read.
    table: Table,
    /// What the user should know.
    notes: Vec<String>,
}

impl<'a> Reader<'a> {
    /// The first of these keys that is there, with its value.
    fn first(&self, keys: &[&'static str]) -> Option<(&'static str, &'a Node)> {
        keys.iter().find_map(|key| self.server.get(key).map(|node| (*key, node)))
    }

    /// Keys that are known, but not read for the transport that the server has.
    fn misplaced(&self) -> Vec<String> {
        let http = self.table.contains_key("url");
        let of_http = HEADERS.iter().chain(&["bearer_token_env_var", "env_http_headers"]);
        let of_stdio = ENV.iter().chain(&ENV_NAMES).chain(&DIRECTORY).chain(&["args"]);
        let others: Vec<&str> = if http { of_stdio.copied().collect() } else { of_http.copied().collect() };
        let again = if http { &URL[..] } else { &COMMAND }
            .iter()
            .filter(|key| self.server.get(key).is_some())
            .skip(1);
        let there = |key: &&str| self.server.get(key).is_some_and(|node| !node.is_empty());
        others.into_iter().filter(there).chain(again.copied()).map(|key| format!("`{key}`")).collect()
    }

    /// Why the server is a part of its client, if it is.
    fn is_internal(&self) -> Option<&'static str> {
        let kind = self.transport().ok().flatten().map(|(_, kind)| kind);
        let way = self.first(&COMMAND).or(self.first(&URL));
        match kind.as_deref() {
            Some("builtin" | "platform" | "frontend" | "inlinepython") => Some("it is a part of its client"),
            None if way.is_none() && self.server.get("settings").is_some() => {
                Some("it comes with an extension of its editor")
            }
            _ => None,
        }
    }

    /// The transport without the signs in which its spellings differ.
    fn transport(&self) -> Read<Option<(&'static str, String)>> {
        for key in TRANSPORT {
            let Some(node) = self.server.get(key) else { continue };
            let node = if node.is_map() { node.get("type").unwrap_or(node) } else { node };
            let text = string(key, node)?;
            let plain = text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase());
            return Ok(Some((key, plain.collect())));
        }
        Ok(None)
    }

    /// Reads the server according to its transport.
    fn read(&mut self, off: bool) -> Read<()> {
        let url = self.first(&URL);
        let command = self.first(&COMMAND);
        if let Some((key, kind)) = self.transport()? {
            let node = self.server.get(key).expect("the transport was read from it");
            match kind.as_str() {
                "stdio" | "local" | "http" | "https" | "streamablehttp" | "streaming" | "remote" | "" => {}
                "sse" | "httpsse" | "legacysse" => {
                    return Err(fault(
                        key,
                        node,
                        "its transport is the old HTTP+SSE (`\"type\": \"sse\"`), which MCP replaced by \
                        Streamable HTTP; ask its operator for such an endpoint, and write \"type\": \"http\"",
                    ));
                }
                _ => {
                    return Err(fault(
                        key,
                        node,
                        "its transport is neither stdio nor http; write one of these",
                    ));
                }
            }
        }
        match (command, url) {
            (Some((key, command)), None) => self.stdio(key, command)?,
            (None, Some((key, url))) => self.http(key, url)?,
            (Some((_, _)), Some((key, url))) => {
                return Err(fault(key, url, "it has both `command` and `url`; keep one of them"));
            }
            (None, None) => {
                let why =
                    "it has neither `command` nor `url`; write the program, or the address of the endpoint";
                return Err(Fault { line: self.server.line(), key: String::new(), why: why.to_owned() });
            }
        }
        self.times();
        self.tools();
        let switched = |(key, on): &(&str, bool)| {
            self.server.get(key).and_then(Node::truth).is_some_and(|truth| truth != *on)
        };
        if off || SWITCHES.iter().any(switched) {
            self.table.insert("enabled".to_owned(), false.into());
        }
        Ok(())
    }

    /// Reads a child process. opencode has its arguments in `command`, Zed had a table there.
    fn stdio(&mut self, key: &'static str, node: &'a Node) -> Read<()> {
        let (program, mut args, env) = match node.value() {
            Value::List(items) => match items.split_first() {
                Some((program, args)) => (program, args.iter().collect(), None),
                None => return Err(fault(key, node, "its `command` is empty; write the name of a program")),
            },
            Value::Map(_) => {
                let program = node.get("path").or(node.get("command"));
                let args = list("args", node.get("args"))?;
                (
                    program
                        .ok_or_else(|| fault(key, node, "its `command` has no `path`; write a program"))?,
                    args,
                    node.get("env"),
                )
            }
            _ => (node, Vec::new(), None),
        };
        let command = string(key, program)?;
        check_program(key, node, command)?;
        let command = self.text(key, node, |text| text.plain("COMMAND", command))?;
        self.table.insert("command".to_owned(), command.into());
        args.extend(list("args", self.server.get("args"))?);
        let mut translated = Vec::with_capacity(args.len());
        let mut before = "";
        for node in args {
            let number;
            let argument = match node.value() {
                Value::Text(text) => text.as_str(),
                Value::Number(written) => {
                    number = written.clone();
                    &number
                }
                _ => {
                    return Err(fault(
                        "args",
                        node,
                        "its `args` are not an array of strings; write one string for each",
                    ));
                }
            };
            translated.push(self.text("args", node, |text| text.argument(before, argument))?);
            before = node.text().unwrap_or_default();
        }
        if !translated.is_empty() {
            self.table.insert("args".to_owned(), translated.into());
        }
        self.environment(env)?;
        self.directory()
    }

    /// Reads the variables of a child process.
    fn environment(&mut self, nested: Option<&'a Node>) -> Read<()> {
        let mut table = Table::new();
        let known = ENV.iter().filter_map(|key| self.server.get(key).map(|node| (*key, node)));
        for (key, node) in known.chain(nested.map(|node| ("env", node))).collect::<Vec<_>>() {
            self.map(key, node, &mut table, |_, entry| entry.to_owned())?;
        }
        for key in ENV_NAMES {
            for node in list(key, self.server.get(key))? {
                let name = string(key, node.get("name").unwrap_or(node))?;
                let value = format!("${{env:{name}}}");
                let value = self.text(key, node, |text| text.plain(name, &value))?;
                table.entry(name.to_owned()).or_insert_with(|| value.into());
            }
        }
        if !table.is_empty() {
            self.table.insert("env".to_owned(), table.into());
        }
        Ok(())
    }

    /// Reads the directory of a child process.
    fn directory(&mut self) -> Read<()> {
        let Some((key, node)) = self.first(&DIRECTORY) else { return Ok(()) };
        let directory = string(key, node)?;
        let fits = directory.starts_with('/') && !directory.contains("${");
        if !fits {
            return Err(fault(
                key,
                node,
                format!("its `{key}` is not an absolute path; write one that begins with /"),
            ));
        }
        let concealed = self.text(key, node, |text| text.plain("DIRECTORY", directory))?;
        if concealed != directory.replace('$', "$$") {
            return Err(fault(
                key,
                node,
                format!("its `{key}` looks like a secret; write the path of a directory"),
            ));
        }
        self.table.insert("working_dir".to_owned(), directory.into());
        Ok(())
    }

    /// Reads an HTTP endpoint.
    fn http(&mut self, key: &'static str, node: &'a Node) -> Read<()> {
        let address = string(key, node)?.trim();
        let url = self.text(key, node, |text| text.plain("URL", address))?;
        check_url(key, node, &url)?;
        self.table.insert("url".to_owned(), url.into());
        let mut table = Table::new();
        let wanted = |name: &str, entry: &str| {
            let entry = if entry.eq_ignore_ascii_case("authorization") { "TOKEN" } else { entry };
            format!("{name}_{entry}")
        };
        for key in HEADERS {
            let Some(node) = self.server.get(key) else { continue };
            self.map(key, node, &mut table, wanted)?;
        }
        if let Some(node) = self.server.get("env_http_headers") {
            for (header, node) in node.entries() {
                let value = format!("${{env:{}}}", string("env_http_headers", node)?);
                let value = self.text("env_http_headers", node, |text| text.plain(header, &value))?;
                table.insert(header.clone(), value.into());
            }
        }
        if let Some(node) = self.server.get("bearer_token_env_var") {
            let value = format!("Bearer ${{env:{}}}", string("bearer_token_env_var", node)?);
            let value =
                self.text("bearer_token_env_var", node, |text| text.keyed("Authorization", "TOKEN", &value))?;
            table.insert("Authorization".to_owned(), value.into());
        }
        if !table.is_empty() {
            self.table.insert("headers".to_owned(), table.into());
        }
        Ok(())
    }

    /// Reads a table of strings; `wanted` makes the name of a variable from the upstream's name and a key.
    fn map(
        &mut self,
        key: &'static str,
        node: &'a Node,
        table: &mut Table,
        wanted: fn(&str, &str) -> String,
    ) -> Read<()> {
        if !node.is_map() {
            return Err(fault(
                key,
                node,
                format!("its `{key}` is not an object; write {{ \"NAME\": \"value\" }}"),
            ));
        }
        let is_header = HEADERS.contains(&key);
        for (entry, node) in node.entries() {
            let below = format!("{key}.{}", super::clients::segment(entry));
            let value = match node.value() {
                Value::Text(text) | Value::Number(text) => text.clone(),
                Value::Bool(truth) => truth.to_string(),
                Value::Null => continue,
                _ => return Err(fault(&below, node, format!("its `{below}` is not a string; write one"))),
            };
            if is_header && config::is_reserved_header(entry) {
                self.notes.push(format!(
                    "ignored header `{}`, which mcpeg sets itself",
                    super::clients::shown(entry)
                ));
                continue;
            }
            if is_header && value.chars().any(|c| c.is_control() && c != '\t') {
                return Err(fault(
                    &below,
                    node,
                    format!("its `{below}` has a line break or control character; write it on one line"),
                ));
            }
            let wanted = wanted(self.name, entry);
            let text = self.text(&below, node, |text| text.keyed(entry, &wanted, &value))?;
            table.insert(entry.clone(), text.into());
        }
        Ok(())
    }

    /// Reads limits of time. Clients count `timeout` in seconds or milliseconds: from 1000 on it is the latter.
    fn times(&mut self) {
        // opencode's is the time for the first list.
        let opencode =
            matches!(self.transport(), Ok(Some((_, kind))) if matches!(kind.as_str(), "local" | "remote"));
        for (key, ours, unit) in TIMES {
            let ours = if key == "timeout" && opencode { "start_timeout" } else { ours };
            let Some(node) = self.server.get(key) else { continue };
            let number = match node.value() {
                Value::Number(number) | Value::Text(number) => number.parse::<f64>().ok(),
                _ => None,
            };
            let unit = match (unit, number) {
                (0, Some(number)) if number >= 1000.0 => 1,
                (0, _) => 1000,
                (unit, _) => unit,
            };
            let milliseconds = number
                .map(|number| number * f64::from(unit))
                .filter(|time| (1.0..=86_400_000.0).contains(time));
            let Some(milliseconds) = milliseconds else {
                self.notes.push(format!("ignored `{key}`, which is no time from 1 ms to 1 day"));
                continue;
            };
            let duration = if milliseconds % 1000.0 == 0.0 {
                format!("{}s", milliseconds / 1000.0)
            } else {
                format!("{}ms", milliseconds.round())
            };
            if unit != 1000 || key == "timeout" {
                self.notes.push(format!("`{key}` is taken as {ours} = \"{duration}\""));
            }
            self.table.insert(ours.to_owned(), duration.into());
        }
    }

    /// Reads which tools are shown.
    fn tools(&mut self) {
        let mut tools = Table::new();
        for (keys, ours) in [(&ALLOW[..], "allow"), (&DENY[..], "deny")] {
            for key in keys {
                let Some(node) = self.server.get(key) else { continue };
                let Value::List(items) = node.value() else {
                    self.notes.push(format!("ignored `{key}`, which is not a list of names"));
                    continue;
                };
                let names: Vec<&str> =
                    items.iter().filter_map(Node::text).filter(|name| !name.is_empty()).collect();
                if names.len() < items.len() {
                    self.notes.push(format!("ignored what is not a name in `{key}`"));
                }
                if !names.is_empty() && names != ["*"] {
                    tools.insert(ours.to_owned(), names.into());
                }
            }
        }
        if !tools.is_empty() {
            self.table.insert("tools".to_owned(), tools.into());
        }
    }

    /// Makes a text of the configuration.
    fn text(
        &mut self,
        key: &str,
        node: &Node,
        make: impl FnOnce(&mut Text<'_>) -> Result<String, String>,
    ) -> Read<String> {
        let mut text = Text::new(self.secrets, self.name);
        let result = make(&mut text).map_err(|why| fault(key, node, why));
        let without = text.take_without_default();
        for name in without {
            self.notes.push(format!("the default of {name} looks like a secret and was left out"));
        }
        result
    }
}

/// A fault at a value.
fn fault(key: &str, node: &Node, why: impl Into<String>) -> Fault {
    Fault { line: node.line(), key: key.to_owned(), why: why.into() }
}

/// A text.
fn string<'a>(key: &str, node: &'a Node) -> Read<&'a str> {
    node.text()
        .ok_or_else(|| fault(key, node, format!("its `{key}` is not a string; write it in double quotes")))
}

/// The items of a list; none if it is absent.
fn list<'a>(key: &str, node: Option<&'a Node>) -> Read<Vec<&'a Node>> {
    match node.map(|node| (node.value(), node)) {
        None => Ok(Vec::new()),
        Some((Value::List(items), _)) => Ok(items.iter().collect()),
        Some((_, node)) => {
            Err(fault(key, node, format!("its `{key}` are not an array of strings; write [\"…\"]")))
        }
    }
}

/// Refuses what is no program for a daemon, which has no shell and no home.
fn check_program(key: &str, node: &Node, command: &str) -> Read<()> {
    let why = if command.trim().is_empty() {
        "its `command` is empty; write the name of a program"
    } else if command.starts_with('~') {
        "its `command` begins with `~`, which only a shell knows; write the absolute path"
    } else if command.split_whitespace().nth(1).is_some()
        && (!command.starts_with('/') || command.split_whitespace().any(|word| word.starts_with('-')))
    {
        "its `command` is a whole command line; write the program in `command` and each of the other words in `args`"
    } else if command.contains('/') && !command.starts_with('/') && !command.starts_with("${") {
        "its `command` is a path that is not absolute; write one that begins with /, or a name in PATH"
    } else {
        return Ok(());
    };
    Err(fault(key, node, why))
}

/// Refuses what is no endpoint. References in the URL count as text.
fn check_url(key: &str, node: &Node, url: &str) -> Read<()> {
    let refuse = |why: String| Err(fault(key, node, why));
    let mut plain = String::new();
    let mut rest = url;
    while let Some((before, after)) = rest.split_once("${") {
        plain.push_str(before);
        let mut open = 1;
        let end = after.find(|c| {
            open += i32::from(c == '{') - i32::from(c == '}');
            open == 0
        });
        rest = end.map_or("", |end| &after[end + 1..]);
        // A whole address can stand in one variable.
        plain.push_str(match (plain.is_empty(), rest.starts_with("://")) {
            (true, true) => "http",
            (true, false) => "http://x",
            _ => "1",
        });
    }
    let plain = plain + rest;
    let authority = plain
        .split_once("://")
        .map_or("", |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    if plain.is_empty() || plain.contains(['<', '>', '{', '}']) {
        return refuse(format!(
            "its `{key}` is empty or has a placeholder; write the address of the endpoint"
        ));
    }
    if authority.contains('@') {
        return refuse(format!(
            "its `{key}` has a user name and password; write them as an Authorization header"
        ));
    }
    match plain.parse::<Uri>() {
        Ok(uri)
            if matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty()) =>
        {
            Ok(())
        }
        _ => refuse(format!(
            "its `{key}` is not the URL of an endpoint; write one such as \"https://mcp.example.org/mcp\""
        )),
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
