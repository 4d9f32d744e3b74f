//! `import` and secrets: every kind of secret in every place of every format, and nothing of it anywhere.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use crate::command::Scratch;

/// Formats: the file's name, and the file for servers in their general form.
type Format = (&'static str, fn(&[(String, Value)]) -> String);

/// Every format.
const FORMATS: [Format; 6] = [
    ("servers.json", |servers| json!({ "mcpServers": map(servers, Value::clone) }).to_string()),
    ("mcp.json", |servers| {
        format!("\u{feff}{{ // VS Code\n \"servers\": {}, }}", map(servers, Value::clone))
    }),
    ("settings.json", |servers| json!({ "context_servers": map(servers, zed) }).to_string()),
    ("opencode.jsonc", |servers| json!({ "mcp": map(servers, opencode) }).to_string()),
    ("config.toml", |servers| {
        toml::to_string(&json!({ "mcp_servers": map(servers, Value::clone) })).unwrap()
    }),
    ("config.yaml", |servers| json!({ "extensions": map(servers, goose) }).to_string()),
];

/// The servers as one object.
fn map(servers: &[(String, Value)], form: fn(&Value) -> Value) -> Value {
    servers
        .iter()
        .map(|(name, server)| (name.clone(), form(server)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// As Zed has had them for long.
fn zed(server: &Value) -> Value {
    match server.get("command") {
        Some(command) => {
            json!({ "command": { "path": command, "args": server["args"], "env": server["env"] } })
        }
        None => server.clone(),
    }
}

/// As opencode has them.
fn opencode(server: &Value) -> Value {
    let Some(command) = server.get("command") else {
        return json!({ "type": "remote", "url": server["url"], "headers": server["headers"] });
    };
    let mut words = vec![command.clone()];
    words.extend(server["args"].as_array().into_iter().flatten().cloned());
    json!({ "type": "local", "command": words, "environment": server["env"], "enabled": true })
}

/// As Goose has them.
fn goose(server: &Value) -> Value {
    match server.get("command") {
        Some(command) => {
            json!({ "type": "stdio", "cmd": command, "args": server["args"], "envs": server["env"], "enabled": true })
        }
        None => {
            json!({ "type": "streamable_http", "uri": server["url"], "headers": server["headers"], "enabled": true })
        }
    }
}

/// Names whose values are secrets.
const NAMES: [&str; 22] = [
    "api-key",
    "token",
    "password",
    "secret",
    "key",
    "pat",
    "auth",
    "credential",
    "credentials",
    "cookie",
    "oauth2Bearer",
    "bearer",
    "access-token",
    "authToken",
    "private-key",
    "client_secret",
    "passphrase",
    "passwd",
    "pwd",
    "pw",
    "dbpass",
    "jwt",
];

/// Texts in which `§` is a secret, whatever it looks like.
const TEXTS: [&str; 58] = [
    "Server=db;Database=x;User Id=sa;Password=§;",
    "Server=db; Pwd=§; Database=x",
    "Server=db;PW=§",
    "server=db;uid=sa;pw = § ;x=y",
    "Password='§';Server=db",
    "Password=\"§;§\";Server=db",
    "Password=§;§;Server=db",
    "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=§==;EndpointSuffix=core.example.org",
    "Endpoint=sb://x.example.org/;SharedAccessKeyName=Root;SharedAccessKey=§=",
    "host=db user=app password=§ dbname=x",
    "host=db password='§' dbname=x",
    "postgresql://app:§@db/x",
    "postgresql://app:§@${DB_HOST}/x",
    "postgresql://${USER}:§@db/x",
    "postgresql://app:§/§@db/x",
    "postgresql://app:§#§@db/x",
    "postgresql://app:§?§@db:5432/x",
    "mysql://root:§@127.0.0.1:3306/x",
    "redis://:§@cache:6379/0",
    "rediss://default:§@cache/0",
    "mongodb+srv://app:§@a.example.org,b.example.org/x?w=1",
    "amqp://app:§@mq//",
    "https://§@host.example.org/mcp",
    "https://app:§@host.example.org/mcp",
    "smtp://app%40example.org:§@mail.example.org:587",
    "jdbc:sqlserver://db:1433;databaseName=x;user=sa;password=§",
    "jdbc:postgresql://db/x?user=app&password=§",
    "https://example.org/mcp?api_key=§",
    "https://example.org/mcp?a=1&token=§&b=2",
    "https://example.org/mcp?token=${A}§",
    "https://example.org/${P}/mcp?sig=§",
    "https://example.org/mcp?code=§",
    "https://example.org/mcp?password=§&§",
    "https://example.org/mcp#access_token=§",
    "https://example.org/mcp?next=https%3A%2F%2Fapp%3AS%40host%2F",
    "https://example.org/mcp?next=https://app:§@host/",
    "app:§@tcp(db:3306)/x",
    "app:§@db.example.org:5432/x",
    "{\"password\": \"§\"}",
    "{\"password\": \"§\", \"host\": \"${H}\"}",
    "{\"headers\": {\"Authorization\": \"Bearer §\"}}",
    "{\"db\": \"postgres://app:§@db/x\"}",
    "{\"args\": [\"--token\", \"§\"]}",
    "{\"env\": [\"API_KEY=§\"]}",
    "{\"nested\": \"{\\\"token\\\": \\\"§\\\"}\"}",
    "[{\"apiKey\": \"§\"}]",
    "{token: '§',}",
    "server --token § --verbose",
    "server --token=§ --verbose",
    "server --password '§'",
    "exec env API_KEY=§ server",
    "API_KEY=§ exec server",
    "curl -H 'Authorization: Bearer §' https://example.org",
    "Authorization: Bearer §",
    "Authorization: Basic ${X}§",
    "Bearer §",
    "basic §",
    "X-Api-Key: §",
];

/// Secrets that are known by their form, wherever they stand.
const FORMS: [&str; 14] = [
    "ghp_§",
    "github_pat_§",
    "sk-§",
    "sk-proj-§",
    "sk_live_§",
    "xoxb-§",
    "xapp-§",
    "AKIA§",
    "eyJ§",
    "glpat-§",
    "npm_§",
    "hf_§",
    "AIza§",
    "q7Rk2Zp9vLx4MwTt8bNc§",
];

/// Texts that may have any secret of a known form in them.
const AROUND: [&str; 16] = [
    "§",
    "prefix § suffix",
    "x=§",
    "--option=§",
    "key:§",
    "\"§\"",
    "(§)",
    "a,§,b",
    "https://example.org/§/mcp",
    "https://example.org/mcp?x=§",
    "https://example.org/mcp?§",
    "{\"x\": \"§\"}",
    "${REFERENCE} §",
    "§${REFERENCE}",
    "user/§",
    "@§",
];

/// Servers, each with a secret of its own, and the secrets.
#[derive(Default)]
struct Table {
    /// Names and servers.
    servers: Vec<(String, Value)>,
    /// Secrets.
    secrets: Vec<String>,
}

impl Table {
    /// A secret that is there once: no word of a language, and not known by its form. Its number is its server's.
    fn secret(&mut self) -> String {
        let secret = format!("huntr{}qz", self.secrets.len());
        self.secrets.push(secret.clone());
        secret
    }

    /// Adds a server.
    fn add(&mut self, server: Value) {
        self.servers.push((format!("s{}", self.servers.len()), server));
    }

    /// Adds a child with these arguments.
    fn args(&mut self, args: &[&str]) {
        let secret = self.secret();
        let args: Vec<String> = args.iter().map(|arg| arg.replace('§', &secret)).collect();
        self.add(json!({ "command": "true", "args": args, "env": {} }));
    }

    /// Adds a child with this variable.
    fn env(&mut self, name: &str, value: &str) {
        let value = value.replace('§', &self.secret());
        self.add(json!({ "command": "true", "args": [], "env": { name: value } }));
    }

    /// Adds an endpoint.
    fn http(&mut self, url: &str, name: &str, value: &str) {
        let secret = self.secret();
        let (url, value) = (url.replace('§', &secret), value.replace('§', &secret));
        self.add(json!({ "url": url, "headers": { name: value } }));
    }
}

/// Everything.
fn table() -> Table {
    let mut table = Table::default();
    for name in NAMES {
        let flag = format!("--{name}");
        table.args(&["serve", &flag, "§", "--verbose"]);
        table.args(&[&flag, "${X}§"]);
        table.args(&[&flag, "§${X}"]);
        table.args(&[&flag, "${X}:§"]);
        table.args(&[&format!("{flag}=§")]);
        table.args(&[&format!("{flag}=§${{X}}")]);
        table.args(&[&format!("{flag}=-§")]);
        table.args(&[&format!("-{name}"), "§"]);
        table.args(&["-e", &format!("{name}=§")]);
        table.args(&["--header", &format!("X-{name}: §")]);
        let variable = name.to_uppercase().replace('-', "_");
        table.env(&variable, "§");
        table.env(&format!("MY_{variable}"), "§${X}");
        table.env(&variable, "/§");
        table.http("https://example.org/mcp", &format!("X-{name}"), "§");
        table.http(&format!("https://example.org/mcp?{name}=§"), "X-Plain", "1");
    }
    for text in TEXTS {
        table.args(&[text]);
        table.env("PLAIN", text);
        table.args(&["--option", text]);
        table.args(&["-c", text]);
        table.http("https://example.org/mcp", "X-Plain", text);
    }
    for (form_of, around) in FORMS.iter().flat_map(|one| AROUND.map(|around| (*one, around))) {
        let text = around.replace('§', form_of);
        table.args(&[&text]);
        table.env("PLAIN", &text);
        table.http("https://example.org/mcp", "X-Plain", &text);
    }
    for args in [
        &["-p", "§"][..],
        &["-p§"],
        &["-u", "app:§"],
        &["-uapp:§"],
        &["--user", "app:§"],
        &["-H", "Authorization: Bearer §"],
        &["-H", "Authorization:Bearer §"],
        &["-H", "Authorization", "Bearer §"],
        &["-HAuthorization: §"],
        &["-H", "Cookie: session=§; theme=dark"],
        &["--header=Authorization: token §"],
        &["set", "password", "§"],
        &["--basic", "Basic §"],
        &["Bearer", "§"],
        &["-Dserver.password=§"],
        &["/p:Password=§"],
        &["-----BEGIN PRIVATE KEY-----\nS\n-----END PRIVATE KEY-----"],
    ] {
        table.args(args);
    }
    table
}

/// The servers of the table whose secrets a text shows.
fn shown<'a>(table: &'a Table, text: &str) -> Vec<&'a (String, Value)> {
    let upper = text.to_ascii_uppercase();
    let numbers =
        upper.split("HUNTR").skip(1).filter_map(|after| after.split_once("QZ")?.0.parse::<usize>().ok());
    numbers.map(|number| &table.servers[number]).collect()
}

/// Imports these servers, and notes in which of them a secret is printed or written; how many were taken.
fn import(
    table: &Table,
    servers: &[(String, Value)],
    format: Format,
    dry: bool,
    found: &mut String,
) -> usize {
    let (name, format) = format;
    let scratch = Scratch::with_config("").file(name, format(servers));
    let dry_run: &[&str] = if dry { &["--dry-run"] } else { &[] };
    let finished = scratch.run(&[&["import", name, "--config", "mcpeg.toml"], dry_run].concat()).exits(0);
    let mut texts = finished.stdout + &finished.stderr;
    let taken = texts.matches(if dry { "\nwould write " } else { "\nwrote " }).count() + 1;
    for entry in fs::read_dir(scratch.path("conf.d")).into_iter().flatten() {
        texts += &fs::read_to_string(entry.unwrap().path()).unwrap();
    }
    for (server, content) in shown(table, &texts) {
        writeln!(found, "{name}: {server} {content}").unwrap();
    }
    taken
}

#[test]
fn no_secret_of_any_kind_in_any_place_of_any_format_is_written_or_printed() {
    let table = table();
    let mut found = String::new();
    for format in FORMATS {
        // The plan has the content of every file.
        let taken = import(&table, &table.servers, format, true, &mut found);
        assert_eq!(taken, table.servers.len(), "{}: not all were taken", format.0);
        // Each file waits for the disk, so that some of them must do.
        let some: Vec<_> = table.servers.iter().step_by(37).cloned().collect();
        assert_eq!(import(&table, &some, format, false, &mut found), some.len());
    }
    assert!(found.is_empty(), "{found}");
}
