//! The text of a client's file as a tree of values with their lines: JSON with comments, TOML and YAML.
//!
//! Order: the bytes become text ([`text`]), the text becomes a tree ([`parse`]). Invariants: no error quotes the
//! text, which may hold secrets; what a stranger wrote ends neither the stack nor the memory: the depth and the number of
//! nodes have limits.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use fieldwork::Fieldwork;
use jsonc_parser::{CollectOptions, ParseOptions, ast, parse_to_ast};
use saphyr_parser::{Event, Parser, ScalarStyle};
use toml::de::{DeTable, DeValue};

/// How deep values may lie in one another.
const DEPTH: usize = 128;
/// How many values a file may have, those that YAML repeats by aliases counted each time.
const NODES: usize = 4 << 20;

/// One value of the file.
#[derive(Clone, Debug, PartialEq, Fieldwork)]
#[fieldwork(get, vis = "pub(super)")]
pub(super) struct Node {
    /// Where it stands, from 1.
    line: usize,
    /// What it is.
    value: Value,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Nothing.
    Null,
    /// A truth.
    Bool(bool),
    /// A number or a date, as it is written.
    Number(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A table, in the order of the file; no key is there twice.
    Map(Vec<(String, Node)>),
}

/// Why there is no tree.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{language}: {message} at line {line}")]
pub(super) struct Syntax {
    /// Where, from 1.
    line: usize,
    /// The language that was expected.
    language: &'static str,
    /// What is wrong, without any text of the file.
    message: String,
}

impl Node {
    /// A node.
    const fn new(line: usize, value: Value) -> Self {
        Self { line, value }
    }

    /// The member of a table; what is null counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let found = self.entries().iter().find(|(name, _)| name == key);
        found.map(|(_, node)| node).filter(|node| node.value != Value::Null)
    }

    /// The members of a table; none of what is no table.
    pub(super) fn entries(&self) -> &[(String, Self)] {
        if let Value::Map(entries) = &self.value { entries } else { &[] }
    }

    /// The items of a list; none of what is no list.
    pub(super) fn items(&self) -> &[Self] {
        if let Value::List(items) = &self.value { items } else { &[] }
    }

    /// Whether it has nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.entries().is_empty() && self.items().is_empty() && self.text().is_none_or(str::is_empty)
    }

    /// Whether two values are the same, wherever they stand.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::List(ours), Value::List(theirs)) => {
                ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(one, two)| one.same_as(two))
            }
            (Value::Map(ours), Value::Map(theirs)) => {
                let same = |((key, one), (other, two)): (&(String, Self), &(String, Self))| {
                    key == other && one.same_as(two)
                };
                ours.len() == theirs.len() && ours.iter().zip(theirs).all(same)
            }
            (one, two) => one == two,
        }
    }

    /// Whether it is a table.
    pub(super) const fn is_map(&self) -> bool {
        matches!(self.value, Value::Map(_))
    }

    /// A text.
    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    /// A truth, also one in words.
    pub(super) fn truth(&self) -> Option<bool> {
        match &self.value {
            Value::Bool(truth) => Some(*truth),
            Value::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }

    /// Every text in it, at any depth.
    pub(super) fn each_text(&self, visit: &mut dyn FnMut(&str)) {
        match &self.value {
            Value::Text(text) => visit(text),
            Value::List(items) => items.iter().for_each(|item| item.each_text(visit)),
            Value::Map(entries) => entries.iter().for_each(|(_, node)| node.each_text(visit)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// The text of a file: UTF-8, or UTF-16 with a mark, as some editors of other systems write it; without the mark.
pub(super) fn text(bytes: Vec<u8>) -> Result<String, usize> {
    let wide = |from: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes[2..].chunks_exact(2).map(|pair| from([pair[0], pair[1]])).collect();
        String::from_utf16(&units).map_err(|_| 1)
    };
    match bytes.as_slice() {
        [0xff, 0xfe, ..] => return wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => return wide(u16::from_be_bytes),
        _ => {}
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned)),
        Err(error) => {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            Err(line_at(&String::from_utf8_lossy(valid), valid.len()))
        }
    }
}

/// The tree of a file. Its name tells the language; without a known ending JSON is what begins like it.
pub(super) fn parse(path: &Path, text: &str) -> Result<Node, Syntax> {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    match ending.as_deref() {
        Some("toml") => toml(text),
        Some("yaml" | "yml") => yaml(text),
        Some("json" | "jsonc" | "json5") => json(text),
        _ if text.trim_start().starts_with(['{', '/']) => json(text),
        _ => toml(text).or_else(|error| yaml(text).ok().filter(Node::is_map).ok_or(error)),
    }
}

/// The line of a byte, from 1.
fn line_at(text: &str, byte: usize) -> usize {
    1 + text.as_bytes()[..byte.min(text.len())].iter().map(|&byte| usize::from(byte == b'\n')).sum::<usize>()
}

/// Where lines begin, to tell the line of many places.
struct Lines(Vec<usize>);

impl Lines {
    /// Those of a text.
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at + 1).collect())
    }

    /// The line of a byte, from 1.
    fn at(&self, byte: usize) -> usize {
        1 + self.0.partition_point(|start| *start <= byte)
    }
}

/// Adds a member to a table; a later one of the same name counts, as parsers of JSON have it.
fn put(entries: &mut Vec<(String, Node)>, index: &mut HashMap<String, usize>, key: String, node: Node) {
    if let Some(&at) = index.get(&key) {
        entries[at].1 = node;
    } else {
        index.insert(key.clone(), entries.len());
        entries.push((key, node));
    }
}

/// A table of members.
fn map(members: impl Iterator<Item = (String, Node)>) -> Value {
    let (mut entries, mut index) = (Vec::new(), HashMap::new());
    members.for_each(|(key, node)| put(&mut entries, &mut index, key, node));
    Value::Map(entries)
}

/// JSON as VS Code and Zed read it: with comments and trailing commas.
fn json(text: &str) -> Result<Node, Syntax> {
    let wrong = |line, message: String| Syntax { line, language: "JSON", message };
    let options = ParseOptions { allow_missing_commas: false, ..ParseOptions::default() };
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options).map_err(|error| {
        wrong(line_at(text, error.range().start), error.kind().to_string().to_lowercase())
    })?;
    let value = parsed.value.ok_or_else(|| wrong(1, "it is empty".to_owned()))?;
    json_node(value, &Lines::of(text), 0).ok_or_else(|| wrong(1, "it is nested too deeply".to_owned()))
}

/// One value of JSON; `None` if it lies too deep.
fn json_node(value: ast::Value<'_>, lines: &Lines, depth: usize) -> Option<Node> {
    use jsonc_parser::common::Ranged as _;
    if depth > DEPTH {
        return None;
    }
    let line = lines.at(value.start());
    let value = match value {
        ast::Value::NullKeyword(_) => Value::Null,
        ast::Value::BooleanLit(literal) => Value::Bool(literal.value),
        ast::Value::NumberLit(literal) => Value::Number(literal.value.to_owned()),
        ast::Value::StringLit(literal) => Value::Text(literal.value.into_owned()),
        ast::Value::Array(array) => {
            let items = array.elements.into_iter().map(|item| json_node(item, lines, depth + 1));
            Value::List(items.collect::<Option<_>>()?)
        }
        ast::Value::Object(object) => {
            let members = object.properties.into_iter().map(|property| {
                let line = lines.at(property.range.start);
                let node = json_node(property.value, lines, depth + 1)?;
                Some((property.name.into_string(), Node { line, ..node }))
            });
            map(members.collect::<Option<Vec<_>>>()?.into_iter())
        }
    };
    Some(Node::new(line, value))
}

/// TOML, in which Codex keeps its servers.
fn toml(text: &str) -> Result<Node, Syntax> {
    let table = DeTable::parse(text).map_err(|error| Syntax {
        line: line_at(text, error.span().unwrap_or_default().start),
        language: "TOML",
        message: error.message().trim().replace('\n', ", "),
    })?;
    let lines = Lines::of(text);
    Ok(Node::new(1, toml_table(table.into_inner(), &lines)))
}

/// A table of TOML; the parser limits its depth.
fn toml_table(table: DeTable<'_>, lines: &Lines) -> Value {
    map(table.into_iter().map(|(key, value)| {
        let line = lines.at(key.span().start);
        (key.into_inner().into_owned(), Node { line, ..toml_node(value, lines) })
    }))
}

/// One value of TOML.
fn toml_node(value: toml::Spanned<DeValue<'_>>, lines: &Lines) -> Node {
    let line = lines.at(value.span().start);
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Boolean(truth) => Value::Bool(truth),
        DeValue::Integer(number) => Value::Number(number.to_string()),
        DeValue::Float(number) => Value::Number(number.to_string()),
        DeValue::Datetime(date) => Value::Number(date.to_string()),
        DeValue::Array(items) => Value::List(items.into_iter().map(|item| toml_node(item, lines)).collect()),
        DeValue::Table(table) => toml_table(table, lines),
    };
    Node::new(line, value)
}

/// A list or table of YAML while it is being read.
struct Open {
    /// Where it began.
    line: usize,
    /// The anchor that it has, or 0.
    anchor: usize,
    /// Whether it is a table.
    is_map: bool,
    /// The key whose value comes next.
    key: Option<String>,
    /// The items of a list.
    items: Vec<Node>,
    /// The members of a table.
    entries: Vec<(String, Node)>,
    /// Where members are.
    index: HashMap<String, usize>,
}

/// A tree of YAML while it is being read.
#[derive(Default)]
struct Builder {
    /// What is open, the innermost last.
    open: Vec<Open>,
    /// What anchors stand for, and how many nodes that is.
    anchors: HashMap<usize, (Node, usize)>,
    /// The finished document.
    root: Option<Node>,
    /// How many nodes there are.
    nodes: usize,
}

/// YAML, in which Goose and Continue keep their servers: the first document.
fn yaml(text: &str) -> Result<Node, Syntax> {
    let wrong = |line, message: String| Syntax { line, language: "YAML", message };
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| wrong(error.marker().line().max(1), "it cannot be parsed".to_owned()))?;
        let line = span.start.line().max(1);
        if matches!(event, Event::DocumentEnd) {
            break;
        }
        builder.take(event, line).map_err(|message| wrong(line, message.to_owned()))?;
    }
    builder.root.ok_or_else(|| wrong(1, "it is empty".to_owned()))
}

impl Builder {
    /// Takes one event of the parser.
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), &'static str> {
        match event {
            Event::SequenceStart(anchor, _) => self.begin(line, anchor, false),
            Event::MappingStart(anchor, _) => self.begin(line, anchor, true),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Scalar(text, style, anchor, _) => {
                let node = Node::new(line, scalar(text, style));
                if anchor > 0 {
                    self.anchors.insert(anchor, (node.clone(), 1));
                }
                self.add(node, 1)
            }
            Event::Alias(anchor) => {
                let (node, size) = self.anchors.get(&anchor).ok_or("an alias stands for nothing")?;
                if self.nodes + size > NODES {
                    return Err(TOO_LARGE);
                }
                // What is repeated is deep already.
                if depth(node, DEPTH.saturating_sub(self.open.len())).is_none() {
                    return Err("it is nested too deeply");
                }
                let (node, size) = (node.clone(), *size);
                self.add(node, size)
            }
            _ => Ok(()),
        }
    }

    /// Opens a list or a table.
    fn begin(&mut self, line: usize, anchor: usize, is_map: bool) -> Result<(), &'static str> {
        if self.open.len() >= DEPTH {
            return Err("it is nested too deeply");
        }
        let (key, items, entries, index) = (None, Vec::new(), Vec::new(), HashMap::new());
        self.open.push(Open { line, anchor, is_map, key, items, entries, index });
        Ok(())
    }

    /// Closes the innermost list or table. Members that `<<` brings count where the table has none of the name.
    fn end(&mut self) -> Result<(), &'static str> {
        let Some(mut done) = self.open.pop() else { return Ok(()) };
        if let Some(at) = done.index.get("<<").copied().filter(|&at| done.entries[at].1.is_map()) {
            let (_, merged) = done.entries.remove(at);
            let known: Vec<String> = done.entries.iter().map(|(key, _)| key.clone()).collect();
            let more = merged.entries().iter().filter(|(key, _)| !known.contains(key)).cloned();
            done.entries.extend(more);
        }
        let value = if done.is_map { Value::Map(done.entries) } else { Value::List(done.items) };
        let node = Node::new(done.line, value);
        if done.anchor > 0 {
            let size = size(&node);
            // The copies that anchors keep count too.
            self.nodes += size;
            self.anchors.insert(done.anchor, (node.clone(), size));
        }
        self.add(node, 1)
    }

    /// Adds a finished node of this size to what is open.
    fn add(&mut self, node: Node, size: usize) -> Result<(), &'static str> {
        self.nodes += size;
        if self.nodes > NODES {
            return Err(TOO_LARGE);
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(open) if !open.is_map => open.items.push(node),
            Some(open) => match open.key.take() {
                Some(key) => put(&mut open.entries, &mut open.index, key, node),
                None => match node.value {
                    Value::Text(key) | Value::Number(key) => open.key = Some(key),
                    Value::Bool(truth) => open.key = Some(truth.to_string()),
                    _ => return Err("a key is not a text"),
                },
            },
        }
        Ok(())
    }
}

/// Why a file with too many values is refused.
const TOO_LARGE: &str = "it has too many values";

/// How many nodes a tree has.
fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(entries) => entries.iter().map(|(_, node)| size(node)).sum(),
        _ => 0,
    }
}

/// Whether a tree is no deeper than this.
fn depth(node: &Node, left: usize) -> Option<()> {
    let below = |node: &Node| depth(node, left.checked_sub(1)?);
    match &node.value {
        Value::List(items) => items.iter().try_for_each(below),
        Value::Map(entries) => entries.iter().try_for_each(|(_, node)| below(node)),
        _ => Some(()),
    }
}

/// A scalar of YAML's core schema (YAML 1.2.2 §10.3.2): only what has no quotes can be something else than text.
fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::Text(text.into_owned());
    }
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        number
            if number.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
                && number.parse::<f64>().is_ok() =>
        {
            Value::Number(number.to_owned())
        }
        _ => Value::Text(text.into_owned()),
    }
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
