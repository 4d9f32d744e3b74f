//! Who ends children: tasks while the gateway lives, the guardian once it is dead.
//!
//! Each child has a task that ends its group and reaps it; [`Reaper::end`] waits for all of them. Beside them there is
//! one guardian process (see [`guardian`]), started before the first child, replaced when it dies.
//!
//! Invariants: the list here is the truth, the guardian's a copy of it; a group is on it from before its leader is
//! executed until just before it is reaped; a gateway without a guardian goes on serving, and says so in its log.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::TaskTracker;

use crate::sys::guardian::{self, Line};
use crate::sys::process;

/// How long a child may take to exit after the end of its standard input.
const AFTER_END_OF_INPUT: Duration = Duration::from_millis(1500);
/// How long its group may take to exit after SIGTERM.
const AFTER_TERM: Duration = Duration::from_millis(1500);
/// A guardian that lived for less is replaced only after this wait, so that one that cannot live costs little.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the guardian may take to see that there is nobody left to guard.
const END: Duration = Duration::from_millis(500);
/// Where there is a hurry, children are told to end so long before they are killed.
const NOTICE: Duration = Duration::from_millis(500);

/// Who ends and reaps one gateway's children; clones share the list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reaper {
    /// The tasks that end and reap children, so that the gateway does not exit before them.
    tasks: TaskTracker,
    /// The guardian and its list.
    guarded: Arc<Mutex<Guarded>>,
    /// When children are killed at the latest, once that is known.
    hurry: Arc<watch::Sender<Option<Instant>>>,
}

/// The list, and whom it was given to.
#[derive(Debug, Default)]
struct Guarded {
    /// Groups that are to be ended with the gateway, by their leaders' numbers, with pidfds of the leaders.
    groups: BTreeMap<u32, OwnedFd>,
    /// The line to the guardian; `None` while there is none.
    line: Option<Line>,
    /// A pidfd of the guardian.
    guardian: Option<OwnedFd>,
    /// The task that watches over the guardian; `None` until the first child.
    watch: Option<JoinHandle<()>>,
    /// Set when no guardian is wanted any more.
    ended: bool,
}

impl Reaper {
    /// Spawns a task that ends and reaps a child.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tasks.spawn(task)
    }

    /// Makes a child that is about to be spawned enlist itself, and starts the guardian if needed; whether there is one.
    pub(crate) fn guard(&self, command: &mut std::process::Command) -> bool {
        self.guard_more();
        let guarded = self.guarded.lock();
        if let Some(line) = &guarded.line {
            line.enlist_child(command);
        }
        guarded.line.is_some()
    }

    /// Starts the guardian, if no child needed one before.
    pub(crate) fn guard_more(&self) {
        let mut guarded = self.guarded.lock();
        if guarded.watch.is_none() && !guarded.ended {
            let child = guarded.start();
            guarded.watch = Some(tokio::spawn(self.clone().watch(child)));
        }
    }

    /// Puts a spawned child's group on the list, for this guardian and its successors.
    pub(crate) fn enlist(&self, pid: u32, pidfd: BorrowedFd<'_>) -> io::Result<()> {
        let mut guarded = self.guarded.lock();
        guarded.groups.insert(pid, pidfd.try_clone_to_owned()?);
        guarded.tell(|line| line.enlist(pid, pidfd));
        Ok(())
    }

    /// The pidfd of a group's leader on the list.
    pub(crate) fn pidfd(&self, pid: u32) -> io::Result<OwnedFd> {
        let guarded = self.guarded.lock();
        guarded.groups.get(&pid).ok_or(io::ErrorKind::NotFound)?.try_clone()
    }

    /// Takes a group off the list: it has been killed, and its leader is about to be reaped.
    pub(crate) fn dismiss(&self, pid: u32) {
        let mut guarded = self.guarded.lock();
        guarded.groups.remove(&pid);
        guarded.tell(|line| line.dismiss(pid));
    }

    /// Lets no child that is to end live beyond a moment.
    pub(crate) fn hurry(&self, last: Instant) {
        self.hurry.send_replace(Some(last));
    }

    /// Waits as long as a child may take to end by itself, before it is told to.
    pub(crate) async fn while_it_may_end(&self) {
        self.wait(AFTER_END_OF_INPUT, NOTICE).await;
    }

    /// Waits as long as a child may take that was told to end, before it is killed.
    pub(crate) async fn while_told_to_end(&self) {
        self.wait(AFTER_TERM, Duration::ZERO).await;
    }

    /// Waits for so long, but not beyond a moment before children are killed.
    async fn wait(&self, limit: Duration, before: Duration) {
        let mut hurry = self.hurry.subscribe();
        let last = async {
            let last = hurry.wait_for(Option::is_some).await.ok().and_then(|last| *last);
            match last {
                Some(last) => sleep_until(last - before).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep(limit) => {}
            () = last => {}
        }
    }

    /// Waits until every child is reaped, then until the guardian is.
    pub(crate) async fn end(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        let watch = {
            let mut guarded = self.guarded.lock();
            guarded.ended = true;
            guarded.line = None;
            guarded.watch.take()
        };
        let Some(mut watch) = watch else { return };
        if timeout(END, &mut watch).await.is_err() {
            self.guarded.lock().replace();
            let _ = watch.await;
        }
    }

    /// Waits for the guardian's end again and again, reaps it, and starts another as long as one is wanted.
    async fn watch(self, mut child: io::Result<Child>) {
        loop {
            let began = Instant::now();
            let how = match &mut child {
                Ok(child) => child.wait().await.map(|status| status.to_string()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            if !self.lost() {
                return;
            }
            match how {
                Ok(how) => tracing::warn!(how, "the guardian of the upstreams has ended; starting another"),
                Err(error) => tracing::warn!(%error, "no guardian for the upstreams; trying again"),
            }
            if began.elapsed() < AGAIN {
                sleep(AGAIN).await;
            }
            child = self.guarded.lock().start();
        }
    }

    /// Forgets a guardian that has ended; whether another is wanted.
    fn lost(&self) -> bool {
        let mut guarded = self.guarded.lock();
        (guarded.line, guarded.guardian) = (None, None);
        !guarded.ended
    }
}

impl Guarded {
    /// Starts a guardian and gives it the list.
    fn start(&mut self) -> io::Result<Child> {
        let (command, line) = guardian::prepare()?;
        let child = Command::from(command).spawn()?;
        let pid = child.id().expect("a child that was not waited for has an identifier");
        self.guardian = Some(process::pidfd_open(pid)?);
        tracing::debug!(guardian = pid, groups = self.groups.len(), "a guardian watches over the upstreams");
        self.line = Some(line);
        for (leader, pidfd) in &self.groups {
            let told = self.line.as_ref().map(|line| line.enlist(*leader, pidfd.as_fd()));
            if let Some(Err(error)) = told {
                tracing::debug!(leader, %error, "the guardian was not told of a group");
            }
        }
        Ok(child)
    }

    /// Tells the guardian something. One that cannot be told is replaced, and its successor is given the whole list.
    fn tell(&mut self, message: impl FnOnce(&Line) -> io::Result<()>) {
        let Some(Err(error)) = self.line.as_ref().map(message) else { return };
        tracing::debug!(%error, "the guardian does not listen");
        self.line = None;
        self.replace();
    }

    /// Kills the guardian: it is suspended or stuck. The task that watches over it does the rest.
    fn replace(&self) {
        if let Some(Err(error)) = self.guardian.as_ref().map(|pidfd| process::kill_exactly(pidfd.as_fd())) {
            tracing::warn!(%error, "cannot kill the guardian of the upstreams");
        }
    }
}
