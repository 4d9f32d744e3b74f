//! Starting and stopping: `mcpeg`, `mcpeg --daemon`, `mcpeg --stop`, and the actions that this version refuses.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use crate::config::Source;
use crate::daemon::RunPaths;
use crate::daemon::find::{self, Stopped};
use crate::exit::{Exit, ToExit};
use crate::log::Console;
use crate::serve::{self, Mode, Options, Outcome};
use crate::sys::net::Address;

use super::definition::{Action, Common};
use super::report;

/// An action that is on the command line because scripts will use it, and that this version does not carry out.
#[derive(Debug, thiserror::Error)]
#[error("this version cannot {0}; {1} instead")]
struct Refused(&'static str, &'static str);

impl ToExit for Refused {
    fn to_exit(&self) -> Exit {
        Exit::UNIMPLEMENTED
    }
}

/// Serves in the foreground until a signal.
pub(super) fn foreground(common: &Common) -> Exit {
    let console = Console::detect(std::io::stderr().is_terminal(), common.dev);
    start(common, &common.source(), Mode::Foreground(console))
}

/// Starts a daemon and returns when it serves.
pub(super) fn daemon(common: &Common) -> Exit {
    start(common, &common.source(), Mode::Daemon)
}

/// Serves, and prints what there is to say.
fn start(common: &Common, source: &Source, mode: Mode) -> Exit {
    let shown = matches!(mode, Mode::Foreground(_)) && (common.dev || std::io::stdout().is_terminal());
    let welcome: Option<fn(&[Address])> = shown.then_some(welcome);
    match serve::run(source, &Options { pid_file: common.pid_file.clone(), mode, welcome }) {
        Ok(Outcome::Ended(exit)) => exit,
        Ok(Outcome::Launched { pid, addresses, log_file }) => {
            if log_file.is_none() {
                report::warning("nothing is logged: there is no log file");
                report::note("name one with --log-file, or with `file` in the [log] section");
            }
            let endpoints = serve::endpoints(&addresses);
            report::lines(format!("mcpeg is serving on {endpoints}, pid {pid}"), Exit::Done)
        }
        Err(error) => report::error(&error),
    }
}

/// Tells the person at the terminal what to paste into a client's configuration.
fn welcome(addresses: &[Address]) {
    let mut text = format!("\nmcpeg is serving on {}; Ctrl-C stops it\n", serve::endpoints(addresses));
    if let Some(Address::Tcp(address)) = addresses.first() {
        text.push_str("\nFor a client's configuration:\n");
        let _ = writeln!(
            text,
            r#"  {{ "mcpServers": {{ "mcpeg": {{ "type": "http", "url": "http://{address}/mcp" }} }} }}"#
        );
    }
    // Serving goes on also when nobody can read this.
    let _ = report::lines(text, Exit::Done);
}

/// Stops the running gateway and waits for its end; that none runs is fine (LSB: stop of a stopped service succeeds).
pub(super) fn stop(common: &Common) -> Exit {
    let stopped = match RunPaths::resolve(common.pid_file.as_deref()) {
        Ok(paths) => find::stop(&paths),
        Err(error) => return report::error(&error),
    };
    match stopped {
        Ok(Stopped::Ended(pid)) => report::lines(format!("mcpeg with pid {pid} has stopped"), Exit::Done),
        Ok(Stopped::WasNot { stale_removed: false }) => report::lines("mcpeg is not running", Exit::Done),
        Ok(Stopped::WasNot { stale_removed: true }) => {
            report::lines("mcpeg is not running; removed the pid file that it left behind", Exit::Done)
        }
        Err(error) => report::error(&error),
    }
}

/// Refuses an action that this version does not carry out, and says what to do.
pub(super) fn refuse(action: Action) -> Exit {
    let refused = match action {
        Action::Restart => Refused("restart without loss", "use --stop and then --daemon"),
        _ => Refused("rotate log files", "move the file, then use --stop and --daemon"),
    };
    report::error(&refused)
}
