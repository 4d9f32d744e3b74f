//! `mcpeg logs`, of the gateway and of upstreams whose standard error goes to the log, to a file and nowhere.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::commands::{Case, check};
use crate::gateway::Gateway;
use crate::upstreams::{PROBE, PYTHON};

/// An upstream that says something before it serves, with further keys.
fn upstream(name: &str, keys: &str) -> String {
    let script = format!("echo hello from {name} >&2; exec {PYTHON} {PROBE}");
    format!("[upstreams.{name}]\ncommand = \"sh\"\nargs = [\"-c\", \"{script}\"]\n{keys}\n")
}

#[tokio::test]
async fn what_is_written_is_shown_wherever_it_goes_and_followed_over_a_rotation() {
    let scratch = tempfile::tempdir().unwrap();
    let log = format!("[log]\nfile = \"{}/the.log\"\nformat = \"json\"\n", scratch.path().display());
    let upstreams = upstream("one", "")
        + &upstream("two", "stderr = \"file\"")
        + &upstream("three", "stderr = \"discard\"");
    let gateway = Gateway::start(&(log + &upstreams)).await;
    let cases: &[Case<'_>] = &[
        (&["logs"], 0, &["\"message\":\"hello from one\""], &[]),
        (&["logs", "one"], 0, &[" INFO hello from one\n", "the upstream is ready"], &[]),
        (&["logs", "one", "--json", "-n", "1"], 0, &["{", "\"upstream\":\"one\""], &[]),
        (&["logs", "two"], 0, &["hello from two\n"], &[]),
        (&["logs", "two", "--json"], 0, &["{\"text\":\"hello from two\"}"], &[]),
        (&["logs", "three"], 69, &[], &["nothing is kept", "`stderr = \"log\"`"]),
        (&["logs", "four"], 64, &[], &["no upstream `four`", "one"]),
        (&["complete", "--", "logs", "t"], 0, &["\nthree\n", "\ntwo\n"], &[]),
    ];
    check(cases, async |words| gateway.control(words).await).await;
    let mut follow = gateway.command(&["logs", "-f", "-n", "1"]).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut seen = async |text: &str| {
        let found = async { while !lines.next_line().await.unwrap().expect("it goes on").contains(text) {} };
        tokio::time::timeout(Duration::from_secs(60), found).await.expect(text);
    };
    // The last line that there was says that it follows.
    seen("{").await;
    for _ in 0..2 {
        gateway.control(&["rotate"]).await;
        seen("rotated the log file").await;
        gateway.control(&["reload"]).await;
        seen("reloaded the configuration").await;
    }
    follow.kill().await.unwrap();
    gateway.stop().await;
}
