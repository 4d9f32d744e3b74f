//! The real binary in the foreground of a site, on a port of the kernel's choice.

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::output::Printed;
use crate::daemon::{Site, own_answer};
use crate::kept::keep;
use crate::program::mcpeg;
use crate::tools::{bound, run_any};

/// How long a gateway may take to serve, or to stop.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// How long upstreams may take until they were tried once.
const ATTEMPT: Duration = Duration::from_secs(30);

/// What precedes the address in the line that announces the service: in the banner for people, and in the log.
const ANNOUNCEMENTS: [&str; 2] = ["serving on http://", "listening=\""];

/// A running gateway; dropping it kills it.
pub struct Gateway {
    /// The process.
    child: Child,
    /// Its process group; `None` once it has ended by itself, since what it leaves behind is for the tests to find.
    group: Option<Pid>,
    /// `127.0.0.1:PORT`.
    address: String,
    /// Everything it has printed.
    printed: Printed,
    /// Where its files are; `None` only while they pass on to its successor.
    site: Option<Site>,
}

impl Gateway {
    /// Starts a gateway with these upstreams and waits until it serves.
    pub async fn start(upstreams: &str) -> Self {
        Self::start_with("", upstreams, &[]).await
    }

    /// Starts a gateway with further lines of `[server]` and further variables in its own environment.
    pub async fn start_with(server: &str, upstreams: &str, environment: &[(&str, &str)]) -> Self {
        let site = Site::serving(server, upstreams);
        Self::on(environment.iter().fold(site, |site, (name, value)| site.variable(name, value))).await
    }

    /// Starts the gateway of a site and waits until it serves.
    pub async fn on(site: Site) -> Self {
        let mut command = bound(mcpeg());
        site.surround(command.as_std_mut());
        let mut child = command.process_group(0).kill_on_drop(true).spawn().expect("the binary starts");
        let group = Pid::from_raw(child.id().expect("running").try_into().expect("a pid fits"));
        let (printed, mut lines) = Printed::follow(&mut child);
        let announced = tokio::time::timeout(PATIENCE, announcement(&mut lines)).await;
        let Ok(Some(address)) = announced else {
            let _ = killpg(group, Signal::SIGKILL);
            panic!("the gateway does not serve; it printed:\n{}", printed.text());
        };
        let gateway = Self { child, group: Some(group), address, printed, site: Some(site) };
        gateway.tried().await;
        gateway
    }

    /// Waits until each upstream was tried once, as far as that does not take too long.
    async fn tried(&self) {
        let begun = std::time::Instant::now();
        while begun.elapsed() < ATTEMPT {
            let status = self.status().await;
            let all = status["upstreams"].as_array().into_iter().flatten();
            if all.into_iter().all(|upstream| upstream["state"] != "starting") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs a gateway that is expected to end by itself, with this whole configuration.
    pub async fn run(configuration: &str) -> Output {
        let site = Site::with_config(configuration);
        let ended = tokio::time::timeout(PATIENCE, run_any(&mut site.mcpeg(&[]).into())).await;
        ended.expect("a gateway that cannot serve ends by itself")
    }

    /// The site.
    fn site(&self) -> &Site {
        self.site.as_ref().expect("it has no successor yet")
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The process.
    pub fn pid(&self) -> Pid {
        self.group.expect("it has not been stopped before")
    }

    /// The endpoint's URL: of all upstreams for `/mcp`, of one for `/mcp/NAME`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A file of its own.
    pub fn file(&self, name: &str) -> PathBuf {
        self.site().path(name)
    }

    /// Everything it has printed up to now.
    pub fn printed(&self) -> String {
        self.printed.text()
    }

    /// Waits until it has printed this.
    pub async fn prints(&self, text: &str) {
        let printed = async {
            while !self.printed().contains(text) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, printed).await;
        assert!(waited.is_ok(), "it does not print `{text}`: {}", self.printed());
    }

    /// Gives it another configuration and reloads; what the command printed, and how it ended.
    pub async fn reload(&self, server: &str, upstreams: &str) -> Output {
        self.site().configure(server, upstreams);
        self.control(&["--reload"]).await
    }

    /// What `--status --json` answers, once it is the gateway itself that answers: on a busy machine that may take longer
    /// than the command waits for it.
    pub async fn status(&self) -> serde_json::Value {
        let answered = async {
            loop {
                let output = self.control(&["--status", "--json"]).await;
                if let Some(status) = own_answer(&output.stdout) {
                    return status;
                }
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("the gateway answers for itself")
    }

    /// Requests in flight.
    pub async fn in_flight(&self) -> u64 {
        self.status().await["in_flight"].as_u64().expect("a number")
    }

    /// A command about it, which has not begun.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.site().mcpeg(arguments).into()
    }

    /// Runs a control action.
    pub async fn control(&self, arguments: &[&str]) -> Output {
        run_any(&mut self.command(arguments)).await
    }

    /// Waits until it has ended by itself or by a signal sent before; its exit code. What it leaves behind stays.
    pub async fn ended(mut self) -> Option<i32> {
        self.site.as_mut().expect("it has no successor yet").abandon();
        self.end("end").await
    }

    /// Waits for its end.
    async fn end(&mut self, what: &str) -> Option<i32> {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("it does not {what}; it printed:\n{}", self.printed()));
        self.group = None;
        ended.expect("a child of ours").code()
    }

    /// Stops it by TERM and insists on exit code 0.
    pub async fn stop(mut self) {
        self.terminate().await;
    }

    /// Sends TERM and insists on exit code 0.
    async fn terminate(&mut self) {
        kill(self.pid(), Signal::SIGTERM).expect("it runs");
        let code = self.end("stop").await;
        assert_eq!(code, Some(0), "it printed:\n{}", self.printed());
    }

    /// Stops it by TERM and starts it again in the same place.
    pub async fn again(mut self) -> Self {
        self.terminate().await;
        Self::on(self.site.take().expect("it has no successor yet")).await
    }

    /// Kills it without a chance to clean up. What it leaves behind stays.
    pub async fn kill(mut self) {
        self.site.as_mut().expect("it has no successor yet").abandon();
        self.group = None;
        self.child.kill().await.expect("it runs");
    }

    /// Has another process take its place, and returns when that serves.
    pub async fn restart(&self) {
        let restarted = self.control(&["--restart"]).await;
        assert!(restarted.status.success(), "{restarted:?}: {}", self.printed());
    }

    /// Stops whichever process has its place now.
    pub async fn stop_successor(self) {
        let stopped = self.control(&["--stop"]).await;
        assert!(stopped.status.success(), "{stopped:?}: {}", self.printed());
    }

    /// Kills it without a chance to clean up, and starts it again in the same place.
    pub async fn crash(mut self) -> Self {
        self.group = None;
        self.child.kill().await.expect("it runs");
        Self::on(self.site.take().expect("it has no successor yet")).await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // A gateway that crashed has no group any more, which is fine.
            let _ = killpg(group, Signal::SIGKILL);
        }
        keep(self.printed().as_bytes());
    }
}

/// The address in the line that announces the service; `None` if the process ends without one.
async fn announcement(lines: &mut mpsc::UnboundedReceiver<String>) -> Option<String> {
    while let Some(line) = lines.recv().await {
        for before in ANNOUNCEMENTS {
            if let Some((_, rest)) = line.split_once(before) {
                let end = rest.find(|c: char| "/\",".contains(c) || c.is_whitespace()).unwrap_or(rest.len());
                return Some(rest[..end].to_owned());
            }
        }
    }
    None
}
