//! Results of servers, for people: text as it is, structured content, links; images, sound and other bytes are saved to files.
//!
//! Nothing of it is obeyed by a terminal: [`report::lines`] sees to that.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::error::Error;
use crate::cli::report;
use crate::exit::Exit;
use crate::sys::fs::{Access, Directory};

/// What is less important.
const DIM: Style = Style::new().dimmed();
/// Names.
const NAME: Style = Style::new().bold();
/// Where something was saved, or is.
const PLACE: Style = AnsiColor::Cyan.on_default();

/// The endings of files by their types; others have the subtype.
const ENDINGS: [(&str, &str); 9] = [
    ("image/jpeg", "jpg"),
    ("image/svg+xml", "svg"),
    ("audio/mpeg", "mp3"),
    ("audio/x-wav", "wav"),
    ("text/plain", "txt"),
    ("text/markdown", "md"),
    ("text/html", "html"),
    ("application/octet-stream", "bin"),
    ("application/gzip", "gz"),
];

/// What is shown, and under which name bytes are saved.
pub(super) struct Shown<'a> {
    /// What of a file's name comes before its number.
    name: &'a str,
    /// The text.
    text: String,
}

impl<'a> Shown<'a> {
    /// Nothing yet.
    pub(super) const fn new(name: &'a str) -> Self {
        Self { name, text: String::new() }
    }

    /// Adds the result of a tool.
    pub(super) fn add_result(&mut self, result: &Value) -> Result<(), Error> {
        let content = result["content"].as_array().map_or(&[][..], Vec::as_slice);
        let structured = result.get("structuredContent").filter(|value| !value.is_null());
        // Servers say the same once more as text, for clients that do not know it.
        let is_same = |block: &Value| {
            let text = block["text"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
            structured.is_some() && text.as_ref() == structured
        };
        for block in content.iter().filter(|block| !is_same(block)) {
            self.add(block)?;
        }
        if let Some(structured) = structured {
            self.line(&serde_json::to_string_pretty(structured).unwrap_or_default());
        }
        Ok(())
    }

    /// Adds the messages of a prompt.
    pub(super) fn add_prompt(&mut self, result: &Value) -> Result<(), Error> {
        if let Some(text) = result["description"].as_str() {
            self.line(&format!("{DIM}{text}{DIM:#}\n"));
        }
        for message in result["messages"].as_array().into_iter().flatten() {
            let role = message["role"].as_str().unwrap_or("?");
            self.line(&format!("{NAME}{role}:{NAME:#}"));
            self.add(&message["content"])?;
        }
        Ok(())
    }

    /// Adds one content block.
    fn add(&mut self, block: &Value) -> Result<(), Error> {
        let word = |member: &str| block[member].as_str().unwrap_or_default();
        match word("type") {
            "image" | "audio" => self.save(word("data"), word("mimeType"), word("type")),
            "resource" => self.add_resource(&block["resource"]),
            "text" => {
                self.line(word("text"));
                Ok(())
            }
            "resource_link" => {
                let title = if word("title").is_empty() { word("name") } else { word("title") };
                let about: Vec<_> = [title, word("mimeType"), word("description")]
                    .into_iter()
                    .filter(|text| !text.is_empty())
                    .collect();
                self.line(&format!("{PLACE}{}{PLACE:#} {DIM}{}{DIM:#}", word("uri"), about.join(", ")));
                Ok(())
            }
            _ => {
                self.line(&serde_json::to_string_pretty(block).unwrap_or_default());
                Ok(())
            }
        }
    }

    /// Adds what a resource holds.
    pub(super) fn add_resource(&mut self, resource: &Value) -> Result<(), Error> {
        if let Some(text) = resource["text"].as_str() {
            self.line(text);
            return Ok(());
        }
        let kind = resource["mimeType"].as_str().unwrap_or("application/octet-stream");
        self.save(resource["blob"].as_str().unwrap_or_default(), kind, "resource")
    }

    /// Adds a line.
    fn line(&mut self, text: &str) {
        self.text.push_str(&text.replace("\r\n", "\n"));
        if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }

    /// Saves bytes under a name that is free, and adds where.
    fn save(&mut self, encoded: &str, kind: &str, what: &str) -> Result<(), Error> {
        let Ok(bytes) = STANDARD.decode(encoded) else {
            self.line(&format!("{what} of type {kind}, which is not base64"));
            return Ok(());
        };
        let safe = |text: &str| -> String {
            text.chars()
                .filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-'))
                .take(64)
                .collect()
        };
        let known = ENDINGS.iter().find(|(of, _)| *of == kind).map(|(_, ending)| (*ending).to_owned());
        let ending = known.unwrap_or_else(|| safe(kind.rsplit('/').next().unwrap_or_default()));
        let name = safe(self.name);
        let here = std::env::current_dir().and_then(|here| Directory::open(&here));
        let here = here.map_err(|error| Error::File(PathBuf::from("."), error))?;
        for number in 1u32.. {
            let path = format!("{name}-{number}.{ending}");
            match here.create_new(path.as_ref(), 0o600, Access::ReadWrite) {
                Ok(mut file) => {
                    file.write_all(&bytes).map_err(|error| Error::File(PathBuf::from(&path), error))?;
                    let size = bytes.len();
                    self.line(&format!("{PLACE}{path}{PLACE:#} {DIM}{kind}, {size} bytes{DIM:#}"));
                    break;
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::File(PathBuf::from(path), error)),
            }
        }
        Ok(())
    }

    /// Prints it.
    pub(super) fn print(&self, exit: Exit) -> Exit {
        if self.text.is_empty() { exit } else { report::lines(&self.text, exit) }
    }
}

/// The only bytes of a resource, as they are.
pub(super) fn bytes(contents: &[Value]) -> Option<Vec<u8>> {
    let [only] = contents else { return None };
    match (only["text"].as_str(), only["blob"].as_str()) {
        (Some(text), _) => Some(text.as_bytes().to_vec()),
        (None, Some(blob)) => STANDARD.decode(blob).ok(),
        (None, None) => None,
    }
}

/// Names with what they are for, a line each; a terminal's width cuts it.
pub(super) fn list(rows: &[(String, String)]) -> String {
    let widest = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default().min(40);
    let width = std::io::stdout().is_terminal().then(terminal_width);
    rows.iter().fold(String::new(), |mut text, (name, about)| {
        let about = about.split_whitespace().collect::<Vec<_>>().join(" ");
        let used = name.chars().count().max(widest) + 2;
        let about = match width {
            Some(width) => cut(&about, width.saturating_sub(used)),
            None => about,
        };
        let pad = widest.saturating_sub(name.chars().count());
        let line = format!("{NAME}{name}{NAME:#}{:pad$}  {about}", "");
        let _ = writeln!(text, "{}", line.trim_end());
        text
    })
}

/// The beginning of a text, as far as there is room.
fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// The columns of the terminal.
fn terminal_width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.map_or(80, |size| usize::from(size.ws_col)).max(40)
}
