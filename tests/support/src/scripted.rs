//! Upstreams of a few lines of Python, for faults that need no server of their own.

use crate::gateway::HttpUpstream;
use crate::tools::bound;
use crate::upstreams::{PYTHON, stdio};

/// What a server over stdio is made of, with a place for the lines.
const STDIO: &str = include_str!("../../fixtures/scripted.py");
/// The same over HTTP.
const HTTP: &str = include_str!("../../fixtures/scripted_http.py");
/// The place.
const HERE: &str = "\n# HERE\n";

/// A program that ends with its test.
pub struct Script(tempfile::NamedTempFile);

impl Script {
    /// A stdio server with these lines.
    pub fn new(lines: &str) -> Self {
        let file = tempfile::Builder::new().suffix(".py").tempfile().expect("a file");
        let text = STDIO.replacen(HERE, &format!("\n{lines}\n"), 1);
        std::io::Write::write_all(&mut file.as_file(), text.as_bytes()).expect("a file");
        Self(file)
    }

    /// `[upstreams.NAME]`.
    pub fn upstream(&self, name: &str) -> String {
        stdio(name, PYTHON, &[self.0.path().to_str().expect("UTF-8")])
    }
}

/// Starts an HTTP server with these lines.
pub async fn http_script(lines: &str) -> HttpUpstream {
    HttpUpstream::start(bound(PYTHON).args(["-c", &http_text(lines)])).await
}

/// The program of such a server.
pub fn http_text(lines: &str) -> String {
    HTTP.replacen(HERE, &format!("\n{lines}\n"), 1)
}
