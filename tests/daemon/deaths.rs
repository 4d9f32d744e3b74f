//! Why an upstream's command has ended: its exit code or signal and its last line on standard error, in the log, in
//! `--status` and in `/health`.

use std::fmt::Write as _;
use std::net::SocketAddr;

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::client::{Client, send as request};
use crate::support::daemon::{Site, send, until};

/// An upstream, how it ends, and what is told of it.
struct End {
    /// Its name.
    name: &'static str,
    /// What its shell does.
    script: &'static str,
    /// The exit code.
    code: Option<i64>,
    /// The signal.
    signal: Option<&'static str>,
    /// Both in words.
    words: &'static str,
    /// The last line.
    line: Option<&'static str>,
}

/// All of them.
const ENDS: [End; 6] = [
    end("module", "echo no module named mcp >&2; exit 3", Ok(3), "exit code 3", Some("no module named mcp")),
    end("silent", "exit 0", Ok(0), "exit code 0", None),
    end("shot", "echo last >&2; kill -9 $$$$", Err("SIGKILL"), "signal SIGKILL (9)", Some("last")),
    end("aborted", "printf 'no end' >&2; kill -6 $$$$", Err("SIGABRT"), "SIGABRT (6)", Some("no end")),
    end(
        "secret",
        "echo \"wrong: $DSN for $USER_NAME, password=open-sesame\" >&2; exit 1",
        Ok(1),
        "exit code 1",
        Some("wrong: [secret] for bob, password=[secret]"),
    ),
    end("discarded", "echo private >&2; exit 4", Ok(4), "exit code 4", None),
];

/// One of them, which ends by a code or a signal.
const fn end(
    name: &'static str,
    script: &'static str,
    how: Result<i64, &'static str>,
    words: &'static str,
    line: Option<&'static str>,
) -> End {
    let (code, signal) = match how {
        Ok(code) => (Some(code), None),
        Err(signal) => (None, Some(signal)),
    };
    End { name, script, code, signal, words, line }
}

/// An upstream as `--status` or `/health` tells of it.
fn of<'a>(told: &'a Value, name: &str) -> &'a Value {
    told["upstreams"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()
}

/// What `/health` answers to a request with this header.
fn health(runtime: &Runtime, address: SocketAddr, header: (&str, &str)) -> Value {
    let answer = runtime.block_on(request(&address.to_string(), http::Method::GET, "/health", &[header], ""));
    serde_json::from_slice(&answer.body).unwrap()
}

#[test]
fn end_of_a_command_is_told_wherever_somebody_looks_for_it() {
    let site = Site::new();
    let log = site.path("mcpeg.log");
    let shown = log.display();
    let mut config = format!("[server]\nlisten = [\"127.0.0.1:0\"]\n[log]\nfile = '{shown}'\n");
    for End { name, script, .. } in ENDS {
        write!(config, "[upstreams.{name}]\ncommand = \"/bin/sh\"\nargs = [\"-c\", '''{script}''']\n")
            .unwrap();
    }
    config += "stderr = \"discard\"\n";
    config = config.replace(
        "[upstreams.secret]\n",
        "[upstreams.secret]\nenv = { DSN = \"postgresql://db/x\", USER_NAME = \"bob\" }\n",
    );
    site.write("mcpeg.toml", config);
    site.daemon();
    let runtime = Runtime::new().unwrap();
    for End { name, code, signal, words, line, .. } in ENDS {
        let complete = |told: &Value| {
            let told = of(told, name);
            (told["exit_code"].as_i64(), told["exit_signal"].as_str(), told["last_line"].as_str())
                == (code, signal, line)
        };
        until(&format!("{name} is told in status"), || complete(&site.status()));
        let error = of(&site.status(), name)["last_error"].as_str().unwrap().to_owned();
        assert!(error.contains(words), "{error}");
        assert!(line.is_none_or(|line| error.contains(&format!("standard error: {line}"))), "{error}");
        let address = site.address();
        until("health tells it", || complete(&health(&runtime, address, ("accept", "*/*"))));
        // Whoever asks by way of a proxy may be anywhere.
        until("health tells the code to others", || {
            let forwarded = health(&runtime, address, ("x-forwarded-for", "192.0.2.1"));
            assert_eq!(of(&forwarded, name)["last_line"], Value::Null);
            // Unless it is being started again.
            of(&forwarded, name)["exit_code"].as_i64() == code
        });
        let records = std::fs::read_to_string(&log).unwrap();
        let record = records
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .find(|record| record["level"] == "ERROR" && record["upstream"] == name);
        let record = record.unwrap_or_else(|| panic!("no ERROR about {name}: {records}"));
        assert!(record["end"].as_str().unwrap().contains(words), "{record}");
        assert_eq!(record["last_line"].as_str(), line, "{record}");
        // Clients are told neither.
        let path = format!("/mcp/{name}");
        let answer =
            runtime.block_on(async { Client::modern(&address.to_string(), &path).call("x", "{}").await });
        assert!(!answer.reply().contains(words), "{}", answer.reply());
        assert!(line.is_none_or(|line| !answer.reply().contains(line)), "{}", answer.reply());
    }
    let table = site.run(&["--status"]).stdout;
    assert!(table.contains("exit code 3; its last line on standard error: no module named mcp"), "{table}");
    assert_eq!(site.run(&["--stop"]).code, Some(0));
}

#[test]
fn end_of_a_command_that_served_is_told_and_one_that_was_asked_to_end_is_no_error() {
    let site = Site::new();
    let script = include_str!("../fixtures/scripted.py").replacen(
        "\n# HERE\n",
        "\ndef call(message, name):\n    sys.stderr.write('about to go\\n'); sys.stderr.flush()\n    return str(os.getpid())\n",
        1,
    );
    site.write("served.py", script);
    let (script, log) = (site.path("served.py"), site.path("mcpeg.log"));
    let (program, shown) = (script.display(), log.display());
    // It is not started again at once, so that what is told of it stays.
    let own = "sharing = \"per-session\"";
    site.write(
        "mcpeg.toml",
        format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[log]\nfile = '{shown}'\n\
             [upstreams.served]\ncommand = \"/usr/bin/python3\"\nargs = ['{program}']\n\
             [upstreams.own]\ncommand = \"/usr/bin/python3\"\nargs = ['{program}']\n{own}\n"
        ),
    );
    site.daemon();
    let runtime = Runtime::new().unwrap();
    let address = site.address().to_string();
    let records = |upstream: &str| {
        let text = std::fs::read_to_string(&log).unwrap();
        let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let ours = |record: &Value| record["level"] == "ERROR" && record["upstream"] == upstream;
        records.filter(ours).collect::<Vec<_>>()
    };
    let shared: i32 = runtime
        .block_on(async { Client::modern(&address, "/mcp/served").call("one", "{}").await })
        .text()
        .parse()
        .unwrap();
    send(shared, Signal::SIGSEGV);
    until("its end is told", || records("served").len() == 1);
    assert_eq!(records("served")[0]["last_line"], "about to go");
    assert!(records("served")[0]["end"].as_str().unwrap().contains("SIGSEGV"));
    assert_eq!(records("served")[0]["child"], shared);
    // That of one client, too.
    let client = runtime.block_on(Client::legacy(&address, "/mcp/own"));
    let pid: i32 = runtime.block_on(client.call("one", "{}")).text().parse().unwrap();
    send(pid, Signal::SIGTERM);
    until("its end is told", || records("own").iter().any(|record| record["child"] == pid));
    assert_eq!(site.run(&["--stop"]).code, Some(0));
    assert_eq!((records("served").len(), records("own").len()), (1, 1));
}

#[test]
fn after_an_upgrade_the_code_is_not_known_but_the_last_line_is() {
    let site = Site::new();
    let script = include_str!("../fixtures/scripted.py").replacen(
        "\n# HERE\n",
        "\ndef call(message, name):\n    sys.stderr.write('in the new process\\n'); sys.stderr.flush()\n    return str(os.getpid())\n",
        1,
    );
    site.write("moved.py", script);
    let (script, log) = (site.path("moved.py"), site.path("mcpeg.log"));
    let (program, shown) = (script.display(), log.display());
    site.write(
        "mcpeg.toml",
        format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[log]\nfile = '{shown}'\n\
             [upstreams.moved]\ncommand = \"/usr/bin/python3\"\nargs = ['{program}']\n"
        ),
    );
    site.daemon();
    let runtime = Runtime::new().unwrap();
    let address = site.address().to_string();
    let pid = || {
        let answer = runtime.block_on(async { Client::modern(&address, "/mcp").call("one", "{}").await });
        answer.text().parse::<i32>().unwrap()
    };
    let before = pid();
    assert_eq!(site.run(&["--restart"]).code, Some(0));
    assert_eq!(pid(), before);
    send(before, Signal::SIGKILL);
    until("its end is told", || {
        let log = std::fs::read_to_string(&log).unwrap();
        let told = |line: &&str| line.contains("\"ERROR\"") && line.contains("in the new process");
        log.lines().find(told).is_some_and(|line| line.contains("exit code not known"))
    });
    assert_eq!(site.run(&["--stop"]).code, Some(0));
}
