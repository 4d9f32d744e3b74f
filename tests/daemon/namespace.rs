//! Hostile and stale pid files in a pid namespace of their own, where a signal to "everybody" would hit the test's victims
//! and nobody else: no action signals anything but a proved gateway, which strace(1) attests call by call.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::support::daemon::{Site, finish};

/// The exit codes of `--status`, `--stop`, `--reload` and `--restart`.
type Codes = [i32; 4];

/// What is left alone: it is no pid file.
const REFUSED: Codes = [1, 73, 73, 73];
/// What is removed or replaced: nobody has the lock.
const STALE: Codes = [1, 0, 3, 0];
/// Root removes what another user's gateway has left behind; no start puts its own file in the place of another user's.
const ANOTHERS: Codes = [1, 0, 3, 73];
/// Where nothing can be trusted.
const UNTRUSTED: Codes = [4, 73, 73, 73];
/// What runs is told by the lock, whatever the file says.
const RUNNING: Codes = [0, 0, 0, 0];

/// What is in the place of the pid file `$F`, by shell commands.
const CASES: [(&str, &str, Codes); 16] = [
    ("empty", ": > $F", STALE),
    ("text", "echo precious > $F", REFUSED),
    ("minus-one", "echo -1 > $F", REFUSED),
    ("zero", "echo 0 > $F", REFUSED),
    ("one", "echo 1 > $F", REFUSED),
    ("plus", "echo +$VICTIM > $F", REFUSED),
    ("innocent", "echo $VICTIM > $F", STALE),
    ("group-of-innocent", "echo -$VICTIM > $F", REFUSED),
    ("other-user", "echo $OTHER > $F", STALE),
    ("file-of-other-user", "echo $VICTIM > $F; chown 65534 $F", ANOTHERS),
    ("two-numbers", "echo $VICTIM $OTHER > $F", REFUSED),
    ("symlink", "echo $VICTIM > run/target; ln -s target $F", REFUSED),
    ("fifo", "mkfifo $F", REFUSED),
    ("mebibyte", "head -c 1048576 /dev/zero | tr '\\0' 7 > $F", REFUSED),
    ("world-writable-directory", "echo $VICTIM > $F; chmod 777 run", UNTRUSTED),
    ("forged-while-running", "\"$MCPEG\" --daemon > /dev/null; echo $VICTIM > $F", RUNNING),
];

/// The actions; the last is built by others, so that only its signals are looked at.
const ACTIONS: [&str; 5] = ["--status", "--stop", "--reload", "--restart", "--log-rotate"];

/// Runs one action on one case. A gateway that it has started is stopped unwatched, since strace(1) follows it.
const ROUND: &str = r#"
round() {
    rm -rf run; mkdir run; F=run/mcpeg.pid
    MCPEG_PID_FILE=$PWD/run/mcpeg.pid; export MCPEG_PID_FILE
    eval "$3"
    : > trace; : > out
    timeout 30 strace -f -qq -e signal=none -o trace \
        -e trace=kill,tkill,tgkill,pidfd_send_signal,rt_sigqueueinfo,rt_tgsigqueueinfo \
        "$MCPEG" "$2" > out 2>&1 &
    tracer=$!
    while kill -0 $tracer 2>/dev/null && ! grep -q 'is serving' out; do sleep 0.02; done
    if grep -q 'is serving' out; then
        cp trace early; MCPEG_DOWN=yes
        "$MCPEG" --stop > /dev/null
    else
        MCPEG_DOWN=no
    fi
    wait $tracer && code=0 || code=$?
    [ $MCPEG_DOWN = no ] && cp trace early
    signals=$(grep -c . early || :)
    kill -0 $VICTIM && kill -0 $OTHER && alive=yes || alive=no
    "$MCPEG" --stop > /dev/null 2>&1 || :
    echo "ROUND $1 $2 $code $signals $alive"
}
sleep 600 & VICTIM=$!
setpriv --reuid 65534 --regid 65534 --clear-groups sleep 600 & OTHER=$!
"#;

/// The script for all cases.
fn script() -> String {
    let mut script = ROUND.to_owned();
    for (case, set_up, _) in CASES {
        for action in ACTIONS {
            let _ = writeln!(script, "round {case} {action} '{set_up}'");
        }
    }
    script
}

#[test]
#[ignore = "needs root: a pid namespace of its own, and strace(1) in it"]
fn no_pid_file_makes_any_action_signal_anything_but_a_proved_gateway() {
    let site = Site::new();
    site.write("script", script());
    let run = site.shell("exec unshare --pid --fork --kill-child --mount-proc sh script").spawn().unwrap();
    let finished = finish(run);
    let mut rounds = BTreeMap::new();
    for line in finished.stdout.lines().filter_map(|line| line.strip_prefix("ROUND ")) {
        let [case, action, code, signals, alive] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        rounds.insert((case, action), (code.parse::<i32>().unwrap(), signals.parse::<u32>().unwrap(), alive));
    }
    assert_eq!(rounds.len(), CASES.len() * ACTIONS.len(), "{finished:?}");
    for ((case, action), (code, signals, alive)) in &rounds {
        assert_eq!(*alive, "yes", "{action} on {case} has ended an innocent");
        // The one signal that there may be is that to the gateway that runs; it proves that signals are seen.
        let expected = u32::from((*case, *action) == ("forged-while-running", "--stop"));
        assert_eq!(*signals, expected, "signals of {action} on {case}");
        let codes = CASES.iter().find(|(name, ..)| name == case).unwrap().2;
        if let Some(wanted) = ACTIONS.iter().position(|it| it == action).and_then(|it| codes.get(it)) {
            assert_eq!(code, wanted, "exit code of {action} on {case}: {finished:?}");
        }
    }
}
