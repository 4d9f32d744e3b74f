//! A stdio upstream's process: started with a clean environment in a group of its own, and ended with all its kin.
//!
//! Invariants: nothing is inherited but the named variables; the child leads its own process group; the group is
//! killed while the leader is still a zombie, so its number cannot have been given to anybody else; the leader is
//! always reaped. The guardian does the same if the gateway dies: see [`Keepers`].

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::keepers::Keepers;
use crate::config::{Limits, Secret, UpstreamName};
use crate::sys;

/// What a child gets from the gateway's own environment; all else must be named in the configuration.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "USER"];
/// How long a child may take to exit after the end of its standard input.
const AFTER_END_OF_INPUT: Duration = Duration::from_millis(1500);
/// How long its group may take to exit after SIGTERM.
const AFTER_TERM: Duration = Duration::from_millis(1500);

/// How to start a child.
#[derive(Debug)]
pub(crate) struct Recipe<'a> {
    /// The program.
    pub(crate) command: &'a str,
    /// Its arguments.
    pub(crate) args: &'a [String],
    /// Its environment beside [`INHERITED`].
    pub(crate) env: &'a BTreeMap<String, Secret>,
    /// Its working directory.
    pub(crate) working_dir: Option<&'a Path>,
    /// What it may take of the machine.
    pub(crate) limits: Limits,
    /// The user that it runs as.
    pub(crate) user: Option<&'a str>,
    /// Who ends and reaps it.
    pub(crate) keepers: &'a Keepers,
}

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    /// The process identifier, which is also the group's.
    pub(crate) pid: u32,
    /// Sent (or dropped) to ask for its end.
    stop: Option<oneshot::Sender<()>>,
    /// Ends when the child is reaped and its group is gone; tells how the child ended.
    keeper: JoinHandle<String>,
}

/// Starts a child and returns it with the ends of its pipes.
pub(crate) fn start(
    name: &UpstreamName,
    recipe: &Recipe<'_>,
) -> io::Result<(Process, ChildStdin, ChildStdout)> {
    let mut command = Command::new(recipe.command);
    command.args(recipe.args).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in INHERITED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    if let Some(name) = recipe.user {
        become_user(&mut command, name)?;
    }
    command.envs(recipe.env.iter().map(|(name, value)| (name, value.reveal())));
    if let Some(dir) = recipe.working_dir {
        command.current_dir(dir);
    }
    let Limits { memory, tasks, open_files } = recipe.limits;
    sys::process::prepare_child(command.as_std_mut());
    sys::process::limit(command.as_std_mut(), sys::process::Ceilings { memory, tasks, open_files });
    recipe.keepers.guard(command.as_std_mut());
    let mut child = command.spawn()?;
    let pid = child.id().expect("a child that was not waited for has an identifier");
    let pidfd = sys::process::exit_event(pid)?;
    recipe.keepers.enlist(pid, pidfd.as_fd())?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(io::Error::other("a standard stream of the child is missing"));
    };
    tokio::spawn(super::stderr::log(name.clone(), stderr));
    let (stop, stopped) = oneshot::channel();
    let keeper = recipe.keepers.spawn(keep(child, pidfd, stopped, recipe.keepers.clone()));
    Ok((Process { pid, stop: Some(stop), keeper }, stdin, stdout))
}

/// What to add to an error where it is the unit of a gateway without stdio upstreams that lets no program run.
pub(crate) fn forbidden_by_unit(error: &io::Error) -> Option<&'static str> {
    let forbidden = error.kind() == io::ErrorKind::PermissionDenied && sys::fs::is_root_noexec();
    forbidden.then_some("; the unit lets no program run, and `sudo mcpeg install` makes one that does")
}

/// Makes a child run as another user, in that user's own group and no other, with that user's home.
fn become_user(command: &mut Command, name: &str) -> io::Result<()> {
    let Some(account) = sys::user::find(name) else {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no user `{name}`")));
    };
    // The standard library empties the list of further groups when root gives up its user.
    command.uid(account.uid).gid(account.gid);
    command.env("HOME", account.home).env("USER", name);
    Ok(())
}

impl Process {
    /// Ends the child and its group, and waits until they are gone. The caller has closed standard input.
    pub(crate) async fn end(mut self) -> String {
        drop(self.stop.take());
        self.keeper.await.unwrap_or_else(|error| format!("was lost: {error}"))
    }
}

/// Waits for the child's exit, or ends it when asked; then kills what is left of its group and reaps it.
async fn keep(
    mut child: Child,
    pidfd: AsyncFd<OwnedFd>,
    stopped: oneshot::Receiver<()>,
    keepers: Keepers,
) -> String {
    let pid = child.id().expect("a child that was not waited for has an identifier");
    tokio::select! {
        _ = pidfd.readable() => {}
        _ = stopped => {
            if tokio::time::timeout(AFTER_END_OF_INPUT, pidfd.readable()).await.is_err() {
                signal_group(pid, sys::process::Kill::Term);
                let _ = tokio::time::timeout(AFTER_TERM, pidfd.readable()).await;
            }
        }
    }
    signal_group(pid, sys::process::Kill::Kill);
    keepers.dismiss(pid);
    match child.wait().await {
        Ok(status) => format!("ended ({status})"),
        Err(error) => format!("was lost ({error})"),
    }
}

/// Signals the group that the child leads. It exists as long as the leader is not reaped.
fn signal_group(pid: u32, signal: sys::process::Kill) {
    if let Err(error) = sys::process::signal_group(pid, signal) {
        tracing::debug!(pid, %error, "cannot signal the process group");
    }
}
