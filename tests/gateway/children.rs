//! Upstream processes: what they inherit, how they end, and what happens when they end by themselves.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::client::Client;
use crate::gateway::Gateway;
use crate::upstreams::probe;

/// How long a process may linger after its gateway is gone, in milliseconds.
const PATIENCE: u16 = 30_000;

/// The upstream's process and, if it is stubborn, its child.
async fn pids(client: &Client) -> Vec<i32> {
    pids_of(client, "pids").await
}

/// The same by the name that the endpoint gives the tool.
pub(crate) async fn pids_of(client: &Client, tool: &str) -> Vec<i32> {
    serde_json::from_str(&client.call(tool, "{}").await.text()).expect("process numbers")
}

/// Running processes by handles, since a number alone could be reused. Dropping kills those that are left, so that a
/// failed test leaves no stubborn process behind.
pub(crate) struct Processes(Vec<OwnedFd>);

impl Processes {
    /// Takes hold of processes that run.
    pub(crate) fn hold(pids: &[i32]) -> Self {
        let open = |pid: &i32| {
            let pid = Pid::from_raw(*pid).expect("not zero");
            pidfd_open(pid, PidfdFlags::empty()).expect("the process runs")
        };
        Self(pids.iter().map(open).collect())
    }

    /// Waits until all of them have ended; `pidfd_open(2)`: the descriptor becomes readable.
    pub(crate) fn gone(&self) {
        for handle in &self.0 {
            let ended =
                poll(&mut [PollFd::new(handle.as_fd(), PollFlags::POLLIN)], PollTimeout::from(PATIENCE));
            assert_eq!(ended, Ok(1), "a process outlives its gateway");
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for handle in &self.0 {
            // Those that have ended are the normal case.
            let _ = pidfd_send_signal(handle, Signal::KILL);
        }
    }
}

#[tokio::test]
async fn stubborn_child_and_grandchild_are_gone_after_term() {
    let gateway = Gateway::start(&probe("probe", &["--stubborn"])).await;
    let pids = pids(&Client::modern(gateway.address(), "/mcp")).await;
    assert_eq!(pids.len(), 2);
    let processes = Processes::hold(&pids);
    gateway.stop().await;
    processes.gone();
}

#[tokio::test]
async fn stubborn_child_and_grandchild_die_with_a_killed_gateway() {
    let gateway = Gateway::start(&probe("probe", &["--stubborn"])).await;
    let pids = pids(&Client::modern(gateway.address(), "/mcp")).await;
    let processes = Processes::hold(&pids);
    gateway.kill().await;
    processes.gone();
}

#[tokio::test]
async fn child_inherits_no_variable_that_is_not_named() {
    let upstream = probe("probe", &[]) + "env = { NAMED = \"value\" }\n";
    let gateway = Gateway::start_with("", &upstream, &[("UNNAMED_SECRET", "leak")]).await;
    let pids = pids(&Client::modern(gateway.address(), "/mcp")).await;
    // As the kernel got it: the interpreter adds variables of its own to its later environment.
    let environ = std::fs::read_to_string(format!("/proc/{}/environ", pids[0])).expect("readable");
    let variables = environ.split_terminator('\0').filter_map(|variable| variable.split_once('='));
    let (names, values): (BTreeSet<_>, Vec<_>) = variables.unzip();
    // The planted one is named too: by the support of these tests.
    let allowed = BTreeSet::from(["HOME", "LANG", "NAMED", "PATH", "PLANTED_TOKEN", "TZ", "USER"]);
    assert!(names.is_subset(&allowed), "{names:?}");
    assert!(names.contains("NAMED") && names.contains("PATH"), "{names:?}");
    assert!(values.contains(&"value") && !values.contains(&"leak"), "{values:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn child_leads_its_own_process_group() {
    let gateway = Gateway::start(&probe("probe", &[])).await;
    let pids = pids(&Client::modern(gateway.address(), "/mcp")).await;
    let pid = Pid::from_raw(pids[0]).expect("not zero");
    assert_eq!(rustix::process::getpgid(Some(pid)).expect("it runs"), pid);
    gateway.stop().await;
}

/// Makes the upstream end in the middle of a call, then waits until it answers again.
async fn comes_back_after(tool: &str) {
    let gateway = Gateway::start(&probe("probe", &[])).await;
    let client = Client::modern(gateway.address(), "/mcp");
    let first = pids(&client).await;
    let (_, message) = client.call(tool, "{}").await.error();
    assert!(message.contains("probe"), "the error names the upstream: {message}");
    let back = async {
        let mut poll = tokio::time::interval(Duration::from_millis(100));
        loop {
            poll.tick().await;
            let answer = client.call("pids", "{}").await;
            if answer.reply().contains(r#""result""#) {
                return answer.text();
            }
        }
    };
    let back = tokio::time::timeout(Duration::from_secs(30), back).await.expect("the upstream is restarted");
    assert_ne!(back, format!("{first:?}"));
    gateway.stop().await;
}

#[tokio::test]
async fn call_to_an_exiting_upstream_is_answered_and_the_upstream_restarted() {
    comes_back_after("exit").await;
}

#[tokio::test]
async fn call_to_a_crashing_upstream_is_answered_and_the_upstream_restarted() {
    comes_back_after("crash").await;
}
