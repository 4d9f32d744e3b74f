//! One server of the JSON file as an upstream's table.

use serde_json::{Map, Value};
use toml::Table;

use super::secrets::{self, Secrets};

/// What became of one server.
pub(super) enum Translated {
    /// A table for `[upstreams.NAME]`, and what the user should know about it.
    Table(Table, Vec<String>),
    /// The user has switched it off.
    Disabled,
    /// mcpeg cannot serve it, and why.
    Refused(String),
}

/// Keys that are read here, or that mean nothing to a gateway.
const KNOWN: [&str; 11] = [
    "command",
    "args",
    "env",
    "cwd",
    "url",
    "serverUrl",
    "headers",
    "type",
    "transport",
    "disabled",
    "enabled",
];

/// Translates one server; `name` is the upstream's name.
pub(super) fn translate(name: &str, server: &Value, secrets: &mut Secrets) -> Translated {
    let Value::Object(server) = server else {
        return Translated::Refused("it is not an object".to_owned());
    };
    if server.get("disabled") == Some(&Value::Bool(true))
        || server.get("enabled") == Some(&Value::Bool(false))
    {
        return Translated::Disabled;
    }
    let mut reader = Reader { name, server, secrets, table: Table::new() };
    match reader.read() {
        Ok(()) => {
            let unknown = server.keys().filter(|key| !KNOWN.contains(&key.as_str()));
            let ignored: Vec<String> = unknown.map(|key| format!("`{key}`")).collect();
            let note = format!("ignored {}, which mcpeg has no key for", ignored.join(", "));
            Translated::Table(reader.table, if ignored.is_empty() { Vec::new() } else { vec![note] })
        }
        Err(why) => Translated::Refused(why),
    }
}

/// One server while it is being read.
struct Reader<'a> {
    /// The upstream's name.
    name: &'a str,
    /// The JSON object.
    server: &'a Map<String, Value>,
    /// Where secrets go.
    secrets: &'a mut Secrets,
    /// What has been read.
    table: Table,
}

impl Reader<'_> {
    /// Reads the server according to its transport.
    fn read(&mut self) -> Result<(), String> {
        let transport = self.string("type")?.or(self.string("transport")?);
        match transport.as_deref() {
            None | Some("stdio" | "local" | "http" | "streamable-http" | "streamableHttp" | "remote") => {}
            Some("sse") => {
                return Err(
                    "its transport is the old HTTP+SSE (`\"type\": \"sse\"`), which MCP replaced by \
                            Streamable HTTP; ask its maker for that endpoint, often ending in /mcp"
                        .to_owned(),
                );
            }
            Some(_) => return Err("its `type` is neither stdio nor http".to_owned()),
        }
        let url = self.string("url")?.or(self.string("serverUrl")?);
        match (self.string("command")?, url) {
            (Some(command), None) => self.stdio(&command),
            (None, Some(url)) => self.http(&url),
            (Some(_), Some(_)) => Err("it has both `command` and `url`".to_owned()),
            (None, None) => Err("it has neither `command` nor `url`".to_owned()),
        }
    }

    /// Reads a child process.
    fn stdio(&mut self, command: &str) -> Result<(), String> {
        let command = self.secrets.text(false, "COMMAND", self.name, command)?;
        self.table.insert("command".to_owned(), command.into());
        let args = self.arguments()?;
        if !args.is_empty() {
            self.table.insert("args".to_owned(), args.into());
        }
        self.map("env", |_, key| key.to_owned())?;
        if let Some(directory) = self.string("cwd")? {
            if !directory.starts_with('/') {
                return Err("its `cwd` is not an absolute path".to_owned());
            }
            self.table.insert("working_dir".to_owned(), directory.into());
        }
        Ok(())
    }

    /// Reads the arguments: secrets hide behind flags, in `NAME=value`, and in words with the form of a token.
    fn arguments(&mut self) -> Result<Vec<String>, String> {
        let wrong = || "its `args` are not an array of strings".to_owned();
        let arguments = match self.server.get("args") {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(arguments)) => arguments,
            Some(_) => return Err(wrong()),
        };
        let mut translated = Vec::new();
        let mut flag = "";
        for argument in arguments {
            let argument = argument.as_str().ok_or_else(wrong)?;
            translated.push(self.argument(flag, argument)?);
            flag = argument;
        }
        Ok(translated)
    }

    /// Reads one argument, which stands behind `before`.
    fn argument(&mut self, before: &str, argument: &str) -> Result<String, String> {
        let wanted = format!("{}_{}", self.name, before.trim_start_matches('-'));
        if let Some((key, value)) = argument.split_once('=').filter(|(key, _)| is_word(key)) {
            let secret = if key.starts_with('-') {
                secrets::is_secret_flag(key, value) || secrets::is_token(value)
            } else {
                secrets::is_secret(key, value)
            };
            let wanted = key.trim_start_matches('-');
            return Ok(format!("{key}={}", self.secrets.text(secret, wanted, self.name, value)?));
        }
        if secrets::is_secret_flag(before, argument) {
            return self.secrets.text(true, &wanted, self.name, argument);
        }
        // Bridges such as mcp-remote take whole headers: `--header "Authorization: Bearer …"`.
        if let Some((header, value)) = argument.split_once(':').filter(|(header, _)| is_word(header)) {
            let value = value.trim_start();
            if !value.starts_with("//") && secrets::is_secret(header, value) {
                return Ok(format!("{header}:{}", self.secrets.text(true, header, self.name, value)?));
            }
        }
        self.secrets.text(
            secrets::is_token(argument),
            &format!("{}_ARGUMENT", self.name),
            self.name,
            argument,
        )
    }

    /// Reads an HTTP endpoint.
    fn http(&mut self, url: &str) -> Result<(), String> {
        if secrets::has_password(url) {
            return Err(
                "its `url` has a user name and password; write them as an Authorization header".to_owned()
            );
        }
        let url = self.endpoint(url)?;
        self.table.insert("url".to_owned(), url.into());
        self.map("headers", |name, key| {
            let key = if key.eq_ignore_ascii_case("authorization") { "TOKEN" } else { key };
            format!("{name}_{key}")
        })
    }

    /// Reads a URL: secrets hide in the query and in words of the path.
    fn endpoint(&mut self, url: &str) -> Result<String, String> {
        let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
        let mut parts = Vec::new();
        for part in path.split('/') {
            let secret = secrets::is_random(part) || secrets::is_token(part);
            parts.push(self.secrets.text(secret, &format!("{}_PATH", self.name), self.name, part)?);
        }
        let mut url = parts.join("/");
        for (at, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let secret = secrets::is_secret(key, value);
            let value = self.secrets.text(secret, &format!("{}_{key}", self.name), self.name, value)?;
            let equals = if pair.contains('=') { "=" } else { "" };
            url.push(if at == 0 { '?' } else { '&' });
            url.extend([key, equals, &value]);
        }
        Ok(url)
    }

    /// Reads a table of strings; `wanted` makes the name of a variable from the upstream's name and a key.
    fn map(&mut self, key: &str, wanted: fn(&str, &str) -> String) -> Result<(), String> {
        let entries = match self.server.get(key) {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Object(entries)) => entries,
            Some(_) => return Err(format!("its `{key}` is not an object")),
        };
        let mut table = Table::new();
        for (entry, value) in entries {
            let value = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(truth) => truth.to_string(),
                Value::Null => continue,
                _ => return Err(format!("its `{key}.{entry}` is not a string")),
            };
            let secret = secrets::is_secret(entry, &value);
            let text = self.secrets.text(secret, &wanted(self.name, entry), self.name, &value)?;
            table.insert(entry.clone(), text.into());
        }
        if !table.is_empty() {
            self.table.insert(key.to_owned(), table.into());
        }
        Ok(())
    }

    /// Reads a string.
    fn string(&self, key: &str) -> Result<Option<String>, String> {
        match self.server.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(format!("its `{key}` is not a string")),
        }
    }
}

/// Whether a text could be the name of a flag, a variable or a header.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
