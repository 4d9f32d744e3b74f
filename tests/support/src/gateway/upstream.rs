//! An upstream over HTTP that the test starts.

use std::process::Stdio;

use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::output::Printed;
use super::running::PATIENCE;

/// An upstream over HTTP, started by the test; dropping it kills it.
pub struct HttpUpstream {
    /// The process.
    child: Child,
    /// Its port.
    pub port: u16,
    /// Keeps reading what the process prints.
    _lines: mpsc::UnboundedReceiver<String>,
}

impl HttpUpstream {
    /// Starts a command that serves on loopback and prints a line that ends with its port.
    pub async fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("the upstream starts");
        let (printed, mut lines) = Printed::follow(&mut child);
        let first = tokio::time::timeout(PATIENCE, lines.recv()).await.ok().flatten();
        let port = first.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        let port = port.unwrap_or_else(|| panic!("the upstream names no port: {}", printed.text()));
        Self { child, port, _lines: lines }
    }

    /// The number of the process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }
}
