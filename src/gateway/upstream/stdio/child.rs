//! A stdio upstream's process: started with a clean environment in a group of its own, and ended with its whole process group.
//!
//! Invariants: nothing is inherited but the named variables; the child leads its own process group; the group is
//! killed while the leader is still a zombie, so its number cannot have been given to anybody else; the leader is
//! always reaped. The guardian does the same if the gateway dies: see [`Reaper`]. A child that all share may be handed
//! over to the process that takes this one's place; it is that process's to end from then on, and init's to reap.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use fieldwork::Fieldwork;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::fingerprint::ExecutableFingerprint;
use super::reaper::Reaper;
use crate::config::{Limits, Secret};
use crate::sys;
use crate::sys::group::Group;
use crate::sys::process::Kill;

/// The error of who may not become another user: `setuid(2)`.
const EPERM: i32 = nix::libc::EPERM;
/// What a child gets from the gateway's own environment; all else must be named in the configuration.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "USER"];

/// How to start a child.
#[derive(Debug)]
pub(crate) struct SpawnSpec<'a> {
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
    /// Whether all clients share it, so that it may be handed over.
    pub(crate) shared: bool,
    /// Who ends and reaps it.
    pub(crate) reaper: &'a Reaper,
}

/// A running child.
#[derive(Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(crate)")]
pub(crate) struct Process {
    /// The process identifier, which is also the group's.
    #[field(get)]
    pid: u32,
    /// What it was made of.
    #[field(get)]
    fingerprint: ExecutableFingerprint,
    /// Sent (or dropped) to ask for its end, or for leaving it alone.
    stop: Option<oneshot::Sender<Wish>>,
    /// Ends when the child is reaped and its group is gone; tells how the child ended.
    task: JoinHandle<String>,
    /// Tells how the child has ended, unless it was left to another process.
    ended: Option<oneshot::Receiver<ChildEnd>>,
}

/// The gateway's ends of a child's pipes.
#[derive(Debug)]
pub(crate) struct Pipes {
    /// What it reads.
    pub(crate) stdin: ChildStdin,
    /// What it says.
    pub(crate) stdout: ChildStdout,
    /// What it complains of.
    pub(crate) stderr: Option<ChildStderr>,
}

/// How a child has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildEnd {
    /// It has exited with this code.
    Code(i32),
    /// This signal has ended it.
    Signal(i32),
    /// The gateway has ended it.
    Killed,
    /// Only its parent could tell, an earlier process of the gateway.
    Unknown,
}

impl ChildEnd {
    /// The code, if it has exited.
    pub(crate) const fn code(self) -> Option<i32> {
        if let Self::Code(code) = self { Some(code) } else { None }
    }

    /// The name of the signal, if one has ended it.
    pub(crate) fn signal(self) -> Option<String> {
        let Self::Signal(number) = self else { return None };
        let known = nix::sys::signal::Signal::try_from(number);
        Some(known.map_or_else(|_| number.to_string(), |signal| signal.as_str().to_owned()))
    }

    /// What wait(2) tells.
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Unknown,
        }
    }
}

impl fmt::Display for ChildEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => write!(f, "signal {} ({number})", self.signal().unwrap_or_default()),
            Self::Killed => f.write_str("it was ended"),
            Self::Unknown => f.write_str("exit code not known: an earlier process of the gateway started it"),
        }
    }
}

/// What is to become of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// It is left to another process.
    Leave,
}

/// A child and its group, for its owner.
#[derive(Debug)]
struct ProcessGroup {
    /// The child's number.
    pid: u32,
    /// Its group.
    group: Group,
    /// The child, if it is this process's own.
    child: Option<Child>,
    /// Tells of the child's end.
    end: oneshot::Sender<ChildEnd>,
}

/// A child that nobody keeps yet: it is ended and reaped where nobody comes to keep it.
struct Fresh<'a> {
    /// Its number, which is also its group's.
    pid: u32,
    /// The child; `None` if another process started it, whose it stays, or once it is kept.
    child: Option<Child>,
    /// Who would end and reap it.
    reaper: &'a Reaper,
}

impl Fresh<'_> {
    /// The gateway's ends of its pipes.
    fn take_pipes(&mut self) -> (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>) {
        match &mut self.child {
            Some(child) => (child.stdin.take(), child.stdout.take(), child.stderr.take()),
            None => (None, None, None),
        }
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // It was not reaped, so that the number is its group's still.
        if let Err(error) = sys::process::signal_group(self.pid, Kill::Kill) {
            tracing::warn!(child = self.pid, %error, "cannot end a child that nobody could keep");
        }
        self.reaper.dismiss(self.pid);
        self.reaper.spawn(async move {
            // Whatever it answers, the child is gone.
            let _ = child.wait().await;
            String::new()
        });
    }
}

/// Starts a child and returns it with the ends of its pipes.
pub(crate) fn start(spec: &SpawnSpec<'_>) -> io::Result<(Process, Pipes)> {
    let mut command = Command::new(spec.command);
    command.args(spec.args).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in INHERITED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    if let Some(name) = spec.user {
        become_user(&mut command, name)?;
    }
    command.envs(spec.env.iter().map(|(name, value)| (name, value.reveal())));
    if let Some(dir) = spec.working_dir {
        command.current_dir(dir);
    }
    let Limits { memory, tasks, open_files } = spec.limits;
    let fingerprint = spec.fingerprint();
    sys::process::prepare_child(command.as_std_mut());
    sys::process::limit(command.as_std_mut(), sys::process::Ceilings { memory, tasks, open_files });
    let guarded = spec.reaper.guard(command.as_std_mut());
    if !(spec.shared && guarded) {
        sys::process::bind_to_parent(command.as_std_mut());
    }
    let child = command.spawn()?;
    let pid = child.id().expect("a child that was not waited for has an identifier");
    let mut child = Fresh { pid, child: Some(child), reaper: spec.reaper };
    let pidfd = sys::process::pidfd_open(pid)?;
    let pipes = child.take_pipes();
    let (Some(stdin), Some(stdout), stderr) = pipes else {
        return Err(io::Error::other("a standard stream of the child is missing"));
    };
    let process = Process::keep(child, pidfd, fingerprint)?;
    Ok((process, Pipes { stdin, stdout, stderr }))
}

impl SpawnSpec<'_> {
    /// What the child is made of.
    fn fingerprint(&self) -> ExecutableFingerprint {
        let path = self.env.get("PATH").map(|path| path.reveal().into());
        ExecutableFingerprint::of(self.command, self.args, path, self.working_dir)
    }

    /// Why it could not be followed. The kernel's word alone would say that the program is missing where its directory is.
    pub(crate) fn explain(&self, error: &io::Error) -> String {
        let missing = self.working_dir.filter(|dir| !dir.is_dir());
        if let Some(dir) = missing {
            return format!("its `working_dir` `{}` is no directory", dir.display());
        }
        if self.user.is_some_and(|user| sys::user::find(user).is_none()) {
            return error.to_string();
        }
        if let Some(user) = self.user.filter(|_| error.raw_os_error() == Some(EPERM)) {
            return format!("only a gateway that runs as root can start it as `user` `{user}`: {error}");
        }
        // The unit of a gateway without stdio upstreams.
        if error.kind() == io::ErrorKind::PermissionDenied && sys::fs::is_root_noexec() {
            return format!(
                "{error}; the unit lets no program run, and `sudo mcpeg install` makes one that does"
            );
        }
        match error.kind() {
            io::ErrorKind::NotFound if !self.command.contains('/') => {
                let path = self.env.get("PATH").map(|path| path.reveal().to_owned());
                let path = path.or_else(|| std::env::var("PATH").ok()).unwrap_or_default();
                format!("{error}; it is in none of the directories of PATH, {path}")
            }
            io::ErrorKind::NotFound => match interpreter(Path::new(self.command)) {
                Some(interpreter) => format!("{error}; its interpreter `{interpreter}` is missing"),
                None => error.to_string(),
            },
            io::ErrorKind::PermissionDenied if is_not_executable(self.command) => {
                format!("{error}; the file is not executable")
            }
            _ => error.to_string(),
        }
    }
}

/// What the first line of a script says it is run by: `execve(2)`, "Interpreter scripts".
fn interpreter(program: &Path) -> Option<String> {
    let begin = sys::fs::read_at_most(std::fs::File::open(program).ok()?, 256).ok()?;
    let line = begin.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    Some(String::from_utf8_lossy(line).trim().to_owned())
}

/// Whether a file is there and nobody may run it.
fn is_not_executable(program: &str) -> bool {
    std::fs::metadata(program).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 == 0)
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
    /// Takes a child over that another process has started and leaves to this one.
    pub(crate) fn adopt(
        pid: u32,
        pidfd: OwnedFd,
        fingerprint: ExecutableFingerprint,
        reaper: &Reaper,
    ) -> io::Result<Self> {
        reaper.guard_more();
        Self::keep(Fresh { pid, child: None, reaper }, pidfd, fingerprint)
    }

    /// Has a child kept.
    fn keep(mut fresh: Fresh<'_>, pidfd: OwnedFd, fingerprint: ExecutableFingerprint) -> io::Result<Self> {
        let (pid, reaper) = (fresh.pid, fresh.reaper);
        let group = Group::led_by(pid, pidfd.try_clone()?)?;
        reaper.enlist(pid, pidfd.as_fd())?;
        let event = sys::process::exit_event(pidfd)?;
        let ((stop, stopped), (end, ended)) = (oneshot::channel(), oneshot::channel());
        let family = ProcessGroup { pid, group, child: fresh.child.take(), end };
        let kept = family.keep(event, stopped, reaper.clone());
        Ok(Self { pid, fingerprint, stop: Some(stop), task: reaper.spawn(kept), ended: Some(ended) })
    }

    /// What tells how the child has ended, unless it was left to another process; it can be had once.
    pub(crate) const fn take_ended(&mut self) -> Option<oneshot::Receiver<ChildEnd>> {
        self.ended.take()
    }

    /// Ends the child and its group, and waits until they are gone. The caller has closed standard input.
    pub(crate) async fn end(mut self) -> String {
        drop(self.stop.take());
        self.wait().await
    }

    /// Leaves the child to the process that has taken it over.
    pub(crate) async fn leave(mut self) -> String {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself.
            let _ = stop.send(Wish::Leave);
        }
        self.wait().await
    }

    /// Waits until nobody here keeps it any more.
    async fn wait(self) -> String {
        self.task.await.unwrap_or_else(|error| format!("was lost: {error}"))
    }
}

impl ProcessGroup {
    /// Waits for the child's exit, or ends it when asked; then kills what is left of its group and reaps it.
    async fn keep(
        mut self,
        pidfd: AsyncFd<OwnedFd>,
        stopped: oneshot::Receiver<Wish>,
        reaper: Reaper,
    ) -> String {
        let mut was_signalled = false;
        tokio::select! {
            _ = pidfd.readable() => {}
            wish = stopped => {
                if wish == Ok(Wish::Leave) {
                    reaper.dismiss(self.pid);
                    return "goes on in another process".to_owned();
                }
                tokio::select! {
                    _ = pidfd.readable() => {}
                    () = reaper.while_it_may_end() => {
                        was_signalled = true;
                        self.signal(Kill::Term);
                        tokio::select! {
                            _ = pidfd.readable() => {}
                            () = reaper.while_told_to_end() => {}
                        }
                    }
                }
            }
        }
        self.signal(Kill::Kill);
        reaper.dismiss(self.pid);
        let (end, how) = match &mut self.child {
            None => (ChildEnd::Unknown, "ended".to_owned()),
            Some(child) => match child.wait().await {
                Ok(status) => (ChildEnd::of(status), format!("ended ({status})")),
                Err(error) => (ChildEnd::Unknown, format!("was lost ({error})")),
            },
        };
        // Whoever does not listen has closed the connection.
        let _ = self.end.send(if was_signalled { ChildEnd::Killed } else { end });
        how
    }

    /// Signals the group.
    fn signal(&self, signal: Kill) {
        if let Err(error) = self.group.signal(Some(signal)) {
            tracing::debug!(child = self.pid, %error, "cannot signal the process group");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn child_that_cannot_be_kept_is_ended_with_its_group_and_reaped() {
        let reaper = Reaper::default();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo started; wait"]).stdout(Stdio::piped());
        sys::process::prepare_child(command.as_std_mut());
        let mut child = command.spawn().unwrap();
        let pid = child.id().unwrap();
        let mut output = tokio::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        tokio::io::AsyncBufReadExt::read_line(&mut output, &mut line).await.unwrap();
        // Its end cannot be waited for: epoll_ctl(2) refuses a regular file.
        let file = OwnedFd::from(std::fs::File::open("/proc/self/exe").unwrap());
        let spec = SpawnSpec {
            command: "sh",
            args: &[],
            env: &BTreeMap::new(),
            working_dir: None,
            limits: Limits::default(),
            user: None,
            shared: false,
            reaper: &reaper,
        };
        let fresh = Fresh { pid, child: Some(child), reaper: &reaper };
        assert!(Process::keep(fresh, file, spec.fingerprint()).is_err());
        // The grandchild holds the pipe's other end: end of file proves that it is gone, too.
        let left = tokio::io::AsyncReadExt::read_to_string(&mut output, &mut line).await.unwrap();
        assert_eq!(left, 0);
        // This waits until the child is reaped.
        reaper.end().await;
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
