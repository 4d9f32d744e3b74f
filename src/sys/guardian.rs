//! The guardian: a process of ours that ends the groups of children when the gateway has died.
//!
//! A killed gateway can end nobody, and the kernel's `PR_SET_PDEATHSIG` reaches its direct children only, not what
//! `npx` or `sh -c` have started. So the gateway keeps one small process beside it, connected by a socket pair. Each
//! child enlists its own group there between fork and exec, so there is no moment in which it could run unguarded;
//! the gateway dismisses a group before it reaps the leader. End of file means that the gateway is gone, in whatever
//! way: then every group still listed gets TERM, and what is left half a second later gets KILL.
//!
//! It is this program executed again, known by its name in `argv`: it can then be started at any time, although a fork
//! of a process with threads may do little else than exec, and exec closes lock, listeners, log and pipes by itself. It has a session of its own,
//! holds no directory, and ignores what is sent to make gateways stop: only the end of the gateway ends it.

#![expect(unsafe_code, reason = "pre_exec hooks run between fork and exec")]

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sockopt,
};
use rustix::process::Pid;

use super::group::Group;
use super::pidfd;
use super::process::{Kill, command};

/// Its name in `argv` and in ps(1), where the gateway's pid follows, as in `mcp-guardian of 4711`. A kill of all that
/// is called mcpeg, as by `pkill -9 mcpeg`, does not reach it, so that it can do its work.
const NAME: &CStr = c"mcp-guardian";
/// How long groups may take to exit after TERM.
const GRACE: Duration = Duration::from_millis(500);
/// How often it looks whether they have.
const LOOK: Duration = Duration::from_millis(20);
/// The exit code of a wrong call: sysexits(3) `EX_USAGE`.
const USAGE: u8 = 64;
/// A message that lists a group; the leader's pidfd comes with it.
const ENLIST: i32 = 1;
/// A message that strikes a group off.
const DISMISS: i32 = 2;

/// A message: what it says, the leader's number, its session, each in the byte order of this machine.
type Words = [[u8; 4]; 3];

/// The gateway's end of the connection; the last clone to be dropped ends the guardian.
#[derive(Clone, Debug)]
pub(crate) struct Line(Arc<OwnedFd>);

/// What the guardian is told.
enum Message {
    /// Guard this group, whose leader's number comes first.
    Enlist(i32, Group),
    /// It needs no guarding any more.
    Dismiss(i32),
}

/// A command that becomes the guardian, and the line to it. Once it is spawned it should be dropped, as it holds the
/// guardian's end of the line.
/// Fails with what socketpair(2) answers.
pub(crate) fn prepare() -> io::Result<(Command, Line)> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    // Not the installed path: an upgrade may have put another version there.
    let mut guardian =
        if cfg!(target_os = "linux") { command("/proc/self/exe") } else { command(std::env::current_exe()?) };
    guardian.arg0(OsStr::from_bytes(NAME.to_bytes())).args(["of", &std::process::id().to_string()]);
    guardian.env_clear().current_dir("/");
    guardian.stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null());
    let hook = || {
        super::signal::ignore_requests_to_stop();
        rustix::process::setsid()?;
        Ok(())
    };
    // SAFETY: the hook makes the system calls signal and setsid only; it neither allocates nor takes a lock, as
    // signal-safety(7) demands between fork and exec.
    unsafe { guardian.pre_exec(hook) };
    Ok((guardian, Line(Arc::new(ours))))
}

impl Line {
    /// Makes a child that leads a process group enlist itself before it is executed. A guardian that is gone does not
    /// keep the child from starting; the gateway tells its successor.
    pub(crate) fn enlist_child(&self, command: &mut Command) {
        let line = Arc::clone(&self.0);
        let hook = move || {
            let own = rustix::process::getpid();
            match pidfd::open(own) {
                Ok(pidfd) => drop(enlist(line.as_fd(), own, pidfd.as_fd())),
                // The platform has none, nor another way to name a group for ever.
                Err(rustix::io::Errno::NOSYS) => {}
                Err(error) => return Err(error.into()),
            }
            Ok(())
        };
        // SAFETY: the hook makes the system calls getpid, pidfd_open, getsid, sendmsg and close only; its buffers are
        // on the stack, so that it neither allocates nor takes a lock, as signal-safety(7) demands between fork and
        // exec. The clone of the line that it holds is not dropped in the child.
        unsafe { command.pre_exec(hook) };
    }

    /// Lists the group of a child that was not reaped; one that is listed already stays so.
    /// Fails with `EPIPE` if the guardian is gone, `EAGAIN` if it does not read.
    pub(crate) fn enlist(&self, leader: u32, pidfd: BorrowedFd<'_>) -> io::Result<()> {
        let leader = i32::try_from(leader).ok().and_then(Pid::from_raw);
        enlist(self.0.as_fd(), leader.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?, pidfd)
    }

    /// Strikes a group off; to be called before its leader is reaped.
    /// Fails with `EPIPE` if the guardian is gone, `EAGAIN` if it does not read.
    pub(crate) fn dismiss(&self, leader: u32) -> io::Result<()> {
        let words = [DISMISS, leader.cast_signed(), 0].map(i32::to_ne_bytes);
        send(self.0.as_fd(), words, &mut SendAncillaryBuffer::default())
    }
}

/// Lists the group that `leader` leads. Async-signal-safe.
fn enlist(line: BorrowedFd<'_>, leader: Pid, pidfd: BorrowedFd<'_>) -> io::Result<()> {
    // The session's leader may live outside of our pid namespace; then its number is 0, which rustix takes for
    // impossible: pid_namespaces(7).
    let leader = leader.as_raw_nonzero().get();
    let session = nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(leader)))?.as_raw();
    let numbers = [ENLIST, leader, session];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let pidfd = [pidfd];
    control.push(SendAncillaryMessage::ScmRights(&pidfd));
    send(line, numbers.map(i32::to_ne_bytes), &mut control)
}

/// Sends one message without waiting: a guardian that does not read must not hold the gateway up.
fn send(line: BorrowedFd<'_>, words: Words, control: &mut SendAncillaryBuffer<'_, '_, '_>) -> io::Result<()> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::sendmsg(line, &[IoSlice::new(words.as_flattened())], control, flags)?;
    Ok(())
}

/// Waits for the next message; `None` when the gateway is gone.
fn receive(line: BorrowedFd<'_>) -> io::Result<Option<Message>> {
    let mut words = Words::default();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(words.as_flattened_mut())];
    let received = rustix::net::recvmsg(line, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let pidfd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    if received.bytes == 0 {
        return Ok(None);
    }
    let [kind, leader, session] = words.map(i32::from_ne_bytes);
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    match kind {
        ENLIST => {
            let group = Group::new(leader, session, pidfd).ok_or_else(invalid)?;
            Ok(Some(Message::Enlist(leader, group)))
        }
        DISMISS => Ok(Some(Message::Dismiss(leader))),
        _ => Err(invalid()),
    }
}

/// Whether this process was started to be the guardian.
pub(crate) fn is_called() -> bool {
    std::env::args_os().next().is_some_and(|name| name.as_encoded_bytes() == NAME.to_bytes())
}

/// Runs the guardian. A call by hand, without a line on standard input, ends as wrong usage.
pub(crate) fn run() -> ExitCode {
    let stdin = io::stdin();
    let line = stdin.as_fd();
    if sockopt::socket_type(line).ok() != Some(SocketType::SEQPACKET) {
        return ExitCode::from(USAGE);
    }
    // Its executable is a link in /proc, by which ps(1) would call it `exe`.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_name(NAME);
    end(&listen(line));
    ExitCode::SUCCESS
}

/// Keeps the list until the gateway is gone.
fn listen(line: BorrowedFd<'_>) -> BTreeMap<i32, Group> {
    let mut groups = BTreeMap::new();
    loop {
        match receive(line) {
            Ok(Some(Message::Enlist(leader, group))) => {
                groups.insert(leader, group);
            }
            Ok(Some(Message::Dismiss(leader))) => {
                groups.remove(&leader);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::InvalidData) => {
            }
            // A line that cannot be read is as good as a gateway that cannot be heard.
            Ok(None) | Err(_) => return groups,
        }
    }
}

/// Ends what is left of the groups. A group that may not be signalled is left alone, as there is nobody to tell.
fn end(groups: &BTreeMap<i32, Group>) {
    let asked = groups.values().filter(|group| group.signal(Some(Kill::Term)).unwrap_or(false));
    let asked: Vec<&Group> = asked.collect();
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline && asked.iter().any(|group| group.runs().unwrap_or(true)) {
        std::thread::sleep(LOOK);
    }
    // Also those that seem to have ended: /proc may hide processes of other users.
    for group in asked {
        let _ = group.signal(Some(Kill::Kill));
    }
}
