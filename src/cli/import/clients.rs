//! Where clients keep their servers in their files.
//!
//! | client | key |
//! |---|---|
//! | Claude, Cursor, Windsurf, Cline, Gemini and most others | `mcpServers` |
//! | Claude Code, `~/.claude.json` | `mcpServers`, and the same below each of `projects` |
//! | VS Code | `servers` in `mcp.json`, `mcp.servers` in settings |
//! | Zed | `context_servers` |
//! | Codex (TOML) | `mcp_servers` |
//! | opencode | `mcp` |
//! | Goose (YAML) | `extensions` |
//! | Continue (YAML) | `mcpServers`, a list |

use fieldwork::Fieldwork;

use super::document::{Node, Value};

/// The servers below one key.
#[derive(Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(super)")]
pub(super) struct Group<'a> {
    /// The key, as it is shown.
    #[field(get)]
    path: String,
    /// Each with its name, in the order of the file.
    #[field(get)]
    servers: Vec<(String, &'a Node)>,
    /// The project that they are for.
    #[field(get(copy))]
    project: Option<&'a str>,
    /// Names that are switched off elsewhere in the file.
    off: Vec<&'a str>,
    /// If there are any, only these names are switched on.
    on: Vec<&'a str>,
}

/// What a file has.
#[derive(Default, Fieldwork)]
#[fieldwork(get, vis = "pub(super)")]
pub(super) struct Found<'a> {
    /// Where servers are.
    groups: Vec<Group<'a>>,
    /// What stands where servers should be and is none: its place, its line and what is wrong.
    wrong: Vec<(String, usize, &'static str)>,
}

impl Group<'_> {
    /// Whether the file switches a server off beside its own table.
    pub(super) fn switches_off(&self, name: &str) -> bool {
        self.off.contains(&name) || !self.on.is_empty() && !self.on.contains(&name)
    }
}

/// Finds the servers of every client.
pub(super) fn find(root: &Node) -> Found<'_> {
    let mut found = Found::default();
    let gemini = root.get("mcp");
    let off = [
        list(gemini, "excluded"),
        list(Some(root), "excludeMCPServers"),
        list(Some(root), "disabledMcpServers"),
    ]
    .concat();
    let on = [list(gemini, "allowed"), list(Some(root), "allowMCPServers")].concat();
    for key in ["mcpServers", "servers", "context_servers", "mcp_servers"] {
        found.add(key.to_owned(), root.get(key), &off, &on);
    }
    for (key, node) in root.entries() {
        if key.ends_with(".mcpServers") || key == "mcp.servers" {
            found.add(segment(key), Some(node), &off, &on);
        }
    }
    if let Some(mcp) = gemini {
        for key in ["servers", "mcpServers"] {
            found.add(format!("mcp.{key}"), mcp.get(key), &off, &on);
        }
        let others = |(key, node): &&(String, Node)| {
            is_server(node) && !matches!(key.as_str(), "servers" | "mcpServers")
        };
        found.add_some("mcp", mcp.entries().iter().filter(others));
    }
    if let Some(extensions) =
        root.get("extensions").filter(|node| node.entries().iter().any(|(_, one)| is_server(one)))
    {
        found.add("extensions".to_owned(), Some(extensions), &off, &on);
    }
    for (project, node) in root.get("projects").map(Node::entries).unwrap_or_default() {
        let off =
            [list(Some(node), "disabledMcpServers"), list(Some(node), "disabledMcpjsonServers")].concat();
        let before = found.groups.len();
        found.add(format!("projects.{}.mcpServers", segment(project)), node.get("mcpServers"), &off, &[]);
        for group in &mut found.groups[before..] {
            group.project = Some(project);
        }
    }
    if found.groups.is_empty() && found.wrong.is_empty() {
        // A file with nothing but servers, as some plugins have it.
        found.add_some("", root.entries().iter().filter(|(_, node)| is_server(node)));
    }
    found
}

impl<'a> Found<'a> {
    /// Adds the servers below a key, if it is there.
    fn add(&mut self, path: String, node: Option<&'a Node>, off: &[&'a str], on: &[&'a str]) {
        let Some(node) = node else { return };
        let servers = match node.value() {
            Value::Map(entries) => entries.iter().map(|(name, node)| (name.clone(), node)).collect(),
            Value::List(items) => {
                let name = |item: &Node| item.get("name").and_then(Node::text).unwrap_or_default().to_owned();
                items.iter().map(|item| (name(item), item)).collect()
            }
            _ => return self.wrong.push((path, node.line(), "is neither an object nor a list")),
        };
        self.groups.push(Group { path, servers, project: None, off: off.to_vec(), on: on.to_vec() });
    }

    /// Adds these servers, if there are any.
    fn add_some(&mut self, path: &str, servers: impl Iterator<Item = &'a (String, Node)>) {
        let servers: Vec<_> = servers.map(|(name, node)| (name.clone(), node)).collect();
        if !servers.is_empty() {
            self.groups.push(Group {
                path: path.to_owned(),
                servers,
                project: None,
                off: Vec::new(),
                on: Vec::new(),
            });
        }
    }
}

/// The texts of a list below a key.
fn list<'a>(node: Option<&'a Node>, key: &str) -> Vec<&'a str> {
    node.and_then(|node| node.get(key)).map(names).unwrap_or_default()
}

/// The texts of a list.
fn names(node: &Node) -> Vec<&str> {
    if let Value::List(items) = node.value() {
        items.iter().filter_map(Node::text).collect()
    } else {
        Vec::new()
    }
}

/// Whether a table says how to reach a server.
fn is_server(node: &Node) -> bool {
    ["command", "cmd", "url", "httpUrl", "serverUrl", "uri"].iter().any(|key| node.get(key).is_some())
        || node.get("type").and_then(Node::text).is_some() && node.get("enabled").is_some()
}

/// A key as a part of a path that is shown.
pub(super) fn segment(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !key.is_empty() && key.chars().all(plain) { shown(key) } else { format!("\"{}\"", shown(key)) }
}

/// A name of the file as it may be shown: on one line, not too long, and not if it looks like a secret itself.
pub(super) fn shown(name: &str) -> String {
    if super::secrets::is_token(name) || super::secrets::is_random(name) {
        return "…".to_owned();
    }
    let printable = |c: char| if c.is_control() || is_direction(c) { '?' } else { c };
    let mut shown: String = name.chars().take(100).map(printable).collect();
    if name.chars().nth(100).is_some() {
        shown.push('…');
    }
    shown
}

/// Whether a character changes the direction of the text around it (UAX #9).
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
