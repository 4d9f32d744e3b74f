//! The servers in `tests/fixtures` as configuration text, and over HTTP.

use std::fmt::Write as _;

use crate::gateway::HttpUpstream;
use crate::tools::bound;

/// The interpreter of the operating system: wrappers of version managers would add variables to the environment.
pub const PYTHON: &str = "/usr/bin/python3";

/// `tests/fixtures/probe_server.py`.
pub const PROBE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/probe_server.py");

/// `tests/fixtures/odd_server.py`.
const ODD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/odd_server.py");

/// `[upstreams.NAME]` with a command.
pub fn stdio(name: &str, command: &str, args: &[&str]) -> String {
    let mut text = format!("[upstreams.{name}]\ncommand = \"{command}\"\nargs = [");
    for arg in args {
        write!(text, "\"{arg}\", ").expect("strings take all");
    }
    text + "]\n"
}

/// `[upstreams.NAME]` with a URL on loopback.
pub fn http(name: &str, port: u16) -> String {
    format!("[upstreams.{name}]\nurl = \"http://127.0.0.1:{port}/mcp\"\n")
}

/// The probe server over stdio.
pub fn probe(name: &str, args: &[&str]) -> String {
    stdio(name, PYTHON, &[&[PROBE], args].concat())
}

/// What holds calls of the probe server's `sleep` up until it is opened.
pub struct Gate(tempfile::TempDir);

impl Gate {
    /// A closed one.
    pub fn closed() -> Self {
        Self(tempfile::tempdir().expect("a scratch directory"))
    }

    /// The arguments of `sleep`.
    pub fn arguments(&self) -> String {
        format!(r#"{{"until":"{}/open"}}"#, self.0.path().display())
    }

    /// Where it is.
    pub fn directory(&self) -> &str {
        self.0.path().to_str().expect("UTF-8")
    }

    /// Waits until a server that it holds up has told something.
    pub async fn told(&self) {
        let told = async {
            while !self.0.path().join("told").exists() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), told).await.expect("it tells something");
    }

    /// Lets the calls go on.
    pub fn open(&self) {
        crate::gateway::write(&self.0.path().join("open"), "");
    }
}

/// Starts the probe server over HTTP.
pub async fn http_probe(args: &[&str]) -> HttpUpstream {
    HttpUpstream::start(bound(PYTHON).arg(PROBE).arg("--http").args(args)).await
}

/// The server that misbehaves, over stdio.
pub fn odd(name: &str, args: &[&str]) -> String {
    stdio(name, PYTHON, &[&[ODD], args].concat())
}

/// Starts the server that misbehaves over HTTP.
pub async fn http_odd() -> HttpUpstream {
    HttpUpstream::start(bound(PYTHON).arg(ODD).arg("--endless")).await
}
