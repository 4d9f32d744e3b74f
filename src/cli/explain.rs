//! `mcpeg explain NAME`: why an upstream cannot be used or was restarted, and what mends it.
//!
//! The causes are the gateway's: it tells them in its status, with how a command has ended and what it has written last. Here is
//! what they mean for whoever has to mend them.

use std::time::Duration;

use serde_json::{Value, json};

use super::definition::ExplainArgs;
use super::report;
use crate::daemon::locate;
use crate::daemon::{PathsError, RunPaths};
use crate::exit::{Exit, ToExit};

/// How long the gateway may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Why nothing can be explained.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The run-time directory.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// The gateway does not tell.
    #[error("cannot ask the gateway")]
    Silent(#[source] crate::control::Error),
    /// There is no such upstream.
    #[error("the gateway has no upstream `{0}`")]
    Unknown(String),
}

/// What says that something is wrong, in lower case, and what mends it. The first that is found counts.
const MENDS: [(&str, &str); 36] = [
    (
        "is in none of the directories",
        "write the whole path of the program as `command`, or give it a PATH by `env`",
    ),
    ("its interpreter", "install the interpreter, or change the first line of the program"),
    ("is not executable", "`chmod +x` makes it executable"),
    ("exec format error", "the file is no program of this machine; name its interpreter as `command`"),
    ("is no directory", "make the directory, or change `working_dir`"),
    ("there is no user", "make the account, or change `user`"),
    ("runs as root can start it", "remove `user`, or start the gateway as root"),
    ("lets no program run", "`sudo mcpeg install` makes a unit that does"),
    ("read-only file system", "let the service write there: ReadWritePaths= by `systemctl edit mcpeg`"),
    ("no space left", "free space on the disk that it writes to"),
    ("modulenotfounderror", "install the module where this interpreter finds it"),
    ("cannot find module", "install the package, or change `args`"),
    ("command not found", "write the whole path of that program"),
    ("address already in use", "another process has its port; have the server use another one"),
    ("permission denied", "let the user that it runs as have access: `namei -l PATH` shows who has"),
    ("sigsys", "the unit forbids a system call that it makes: SystemCallFilter= by `systemctl edit mcpeg`"),
    (
        "sigkill",
        "the kernel may have been out of memory (`journalctl -k --grep oom`), or somebody has killed it",
    ),
    ("sigsegv", "it has crashed, which is a bug of the server; try another version"),
    ("sigabrt", "it has given up, which is a bug of the server or a limit such as `memory_max`"),
    (
        "what is not mcp: ",
        "standard output is for MCP only; have it log to standard error, or use `url` if it is a server by HTTP",
    ),
    ("was not ready within", "run it by hand to see what it waits for, or raise `start_timeout`"),
    ("connection refused", "nothing listens at that address; start the server, or change `url`"),
    ("dns error", "no such host; change `url`, or mend the name service"),
    ("network is unreachable", "the machine, or the unit by IPAddressDeny=, does not let it go there"),
    (
        "operation not permitted",
        "the unit forbids it, by IPAddressDeny= or another rule: `systemctl cat mcpeg`",
    ),
    ("invalidcontenttype", "the server speaks no TLS; write `http://` in `url`"),
    ("unknownissuer", "name the authority that has signed its certificate: `ca_file`"),
    ("notvalidforname", "the certificate is for another name; write that one in `url`"),
    ("certificate", "mend the server's certificate, or name its authority by `ca_file`"),
    ("status 401", "it needs a login or a token: `headers = { Authorization = \"Bearer ${env:TOKEN}\" }`"),
    ("status 403", "the credentials that it is given may not use it; change `headers`"),
    ("status 404", "the path of `url` is wrong; it often ends with /mcp"),
    ("a redirect", "write the address that it leads to as `url`"),
    ("status 5", "the server itself fails; its own log tells why"),
    ("not mcp", "the address leads to something else, such as a page to sign in; change `url`"),
    ("exit code 0", "it ends by itself; is it a server, and has it all arguments?"),
];

/// What mends an upstream of a status, if something is wrong with it that is known.
pub(super) fn mend(upstream: &Value) -> Option<&'static str> {
    let text = |member: &str| upstream[member].as_str().unwrap_or_default().to_owned();
    let lines = upstream["last_lines"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let said = lines.fold(text("last_error"), |all, line| all + "\n" + line).to_lowercase();
    if said.trim().is_empty() {
        return None;
    }
    let known = MENDS.iter().find(|(sign, _)| said.contains(sign)).map(|(_, mend)| *mend);
    known.or_else(|| {
        said.contains("exit code").then_some("what it has written to standard error says why; run it by hand")
    })
}

/// `mcpeg explain`.
pub(super) fn run(arguments: &ExplainArgs) -> Exit {
    explain(arguments).unwrap_or_else(|error| report::error(&error))
}

/// Asks the gateway, and prints what it knows.
fn explain(arguments: &ExplainArgs) -> Result<Exit, Error> {
    let place = &arguments.place;
    let paths = RunPaths::resolve(place.pid_file().as_deref())?;
    let status = locate::ask_status::<Value>(&paths, LIMIT).map_err(Error::Silent)?.value;
    let all = status["upstreams"].as_array().map_or(&[][..], Vec::as_slice);
    let upstream = all.iter().find(|one| one["name"] == arguments.upstream.as_str());
    let upstream = upstream.ok_or_else(|| Error::Unknown(arguments.upstream.clone()))?;
    let is_usable = matches!(upstream["state"].as_str(), Some("ready" | "degraded" | "idle"));
    let exit = if is_usable { Exit::Done } else { Exit::NotRunning };
    let mend = mend(upstream);
    if place.json {
        let answer = json!({ "schema": 1, "upstream": upstream, "mend": mend });
        return Ok(report::json(&answer, exit));
    }
    Ok(report::lines(text(upstream, mend), exit))
}

/// What is known, for people.
fn text(upstream: &Value, mend: Option<&str>) -> String {
    let text = |member: &str| upstream[member].as_str().unwrap_or_default();
    let mut rows = vec![format!("{:<10}{}, {}", "upstream", text("name"), text("transport"))];
    let mut row = |label: &str, text: &str| {
        if !text.is_empty() {
            rows.push(format!("{label:<10}{text}"));
        }
    };
    let restarts = upstream["restarts"].as_u64().filter(|restarts| *restarts > 0);
    let restarts = restarts.map(|restarts| format!(", {restarts} restarts")).unwrap_or_default();
    row("state", &format!("{}{restarts}", text("state")));
    row(
        "cause",
        if text("last_error").is_empty() { "nothing is known to be wrong" } else { text("last_error") },
    );
    row("mend", mend.unwrap_or_default());
    for warning in upstream["warnings"].as_array().into_iter().flatten() {
        row("warning", warning.as_str().unwrap_or_default());
    }
    for line in upstream["last_lines"].as_array().into_iter().flatten() {
        row("stderr", line.as_str().unwrap_or_default());
    }
    rows.join("\n")
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Paths(error) => error.to_exit(),
            Self::Silent(error) => error.to_exit(),
            Self::Unknown(_) => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Paths(error) => error.hint(),
            Self::Silent(_) => Some("`mcpeg status` tells whether one runs".to_owned()),
            Self::Unknown(_) => Some("`mcpeg status` lists them".to_owned()),
        }
    }
}
