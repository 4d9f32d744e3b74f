//! Giving root up for good: setgroups(2), setgid(2), setuid(2), in this order, and the proof that there is no way back.
//!
//! After setgid a process may no longer change its groups, and after setuid nothing of all this: any other order leaves
//! something of root behind. As fork(2), it is refused with more than one thread, so that nothing runs under the
//! former user while this goes on, and because the environment is changed.
//!
//! The kernel marks such a process as not dumpable (prctl(2) `PR_SET_DUMPABLE`), since its memory may hold what only
//! root may know: nobody but root can attach a debugger, and it writes no core file. Its files in /proc that tell more
//! than the public ones belong to root; the process itself can read them still. An upgrade ends that state.

#![expect(unsafe_code, reason = "the environment of a process with one thread is changed")]

use std::fs;
use std::io;
use std::path::PathBuf;

use nix::libc;
use nix::unistd::{self, Gid, Uid};
use users::os::unix::UserExt as _;

use super::fork;

/// The number of root.
const ROOT: u32 = 0;

/// A user of this machine with everything that a process needs to become it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// The user's name.
    pub(crate) name: String,
    /// The user's number.
    pub(crate) uid: u32,
    /// The group's number.
    pub(crate) gid: u32,
    /// All groups, with that one.
    pub(crate) groups: Vec<u32>,
    /// The home directory.
    pub(crate) home: PathBuf,
}

impl Credentials {
    /// Those of a user, in the user's own groups; `None` without such a user.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let user = users::get_user_by_name(name)?;
        Some(Self {
            name: name.to_owned(),
            uid: user.uid(),
            gid: user.primary_group_id(),
            groups: groups(name, user.primary_group_id()),
            home: user.home_dir().to_path_buf(),
        })
    }

    /// The same user in this group in place of its own; `None` without such a group.
    pub(crate) fn in_group(self, name: &str) -> Option<Self> {
        let gid = users::get_group_by_name(name)?.gid();
        Some(Self { gid, groups: groups(&self.name, gid), ..self })
    }

    /// Whether this process runs as this user and group already.
    pub(crate) fn are_ours(&self) -> bool {
        let (uid, gid) = (unistd::geteuid().as_raw(), unistd::getegid().as_raw());
        (uid, gid) == (self.uid, self.gid)
    }

    /// Makes this process run as this user, and proves that it cannot become root again.
    /// Fails with `EBUSY` with more than one thread, else what failed; the process must end then, as it may be neither user.
    pub(crate) fn assume(&self) -> Result<(), (&'static str, io::Error)> {
        if !matches!(fork::is_alone(), Ok(true)) {
            return Err(("be alone in the process", io::Error::from_raw_os_error(libc::EBUSY)));
        }
        let groups: Vec<Gid> = self.groups.iter().map(|group| Gid::from_raw(*group)).collect();
        unistd::setgroups(&groups).map_err(|error| ("set the groups", error.into()))?;
        unistd::setgid(Gid::from_raw(self.gid)).map_err(|error| ("set the group", error.into()))?;
        unistd::setuid(Uid::from_raw(self.uid)).map_err(|error| ("set the user", error.into()))?;
        self.prove().map_err(|error| ("give root up for good", error))?;
        self.settle();
        Ok(())
    }

    /// Fails unless every number is the new one, no capability is left, and root cannot be had again.
    fn prove(&self) -> io::Result<()> {
        let (users, groups) = (unistd::getresuid()?, unistd::getresgid()?);
        let users = [users.real, users.effective, users.saved].map(Uid::as_raw);
        let groups = [groups.real, groups.effective, groups.saved].map(Gid::as_raw);
        let mut all: Vec<u32> = unistd::getgroups()?.into_iter().map(Gid::as_raw).collect();
        all.sort_unstable();
        let (root_user, root_group) = (Uid::from_raw(ROOT), Gid::from_raw(ROOT));
        let regained = unistd::setuid(root_user).is_ok()
            || unistd::seteuid(root_user).is_ok()
            || self.gid != ROOT && unistd::setgid(root_group).is_ok();
        let same = users == [self.uid; 3] && groups == [self.gid; 3] && all == self.groups;
        if same && !regained && !has_capabilities()? {
            return Ok(());
        }
        Err(io::Error::other("the kernel has kept some of it"))
    }

    /// Makes the environment that of the user, for children and for the process after this one.
    fn settle(&self) {
        let home = self.home.as_os_str();
        for (name, value) in [("HOME", home), ("USER", self.name.as_ref()), ("LOGNAME", self.name.as_ref())] {
            set_variable(name, value);
        }
    }
}

/// Sets a variable of this process.
#[expect(
    clippy::disallowed_methods,
    reason = "there is one thread, which `Credentials::assume` has made sure of"
)]
fn set_variable(name: &str, value: &std::ffi::OsStr) {
    // SAFETY: setenv(3) may not run beside another thread that reads the environment, and there is none: the caller has
    // looked, and only this thread could have started one since.
    unsafe { std::env::set_var(name, value) };
}

/// The numbers of a user's groups with this one, ascending.
fn groups(name: &str, gid: u32) -> Vec<u32> {
    let known = users::get_user_groups(name, gid).unwrap_or_default();
    let mut groups: Vec<u32> = known.iter().map(users::Group::gid).chain([gid]).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// Whether this process may do anything that is root's: capabilities(7), from `proc_pid_status(5)`.
fn has_capabilities() -> io::Result<bool> {
    let status = fs::read_to_string("/proc/self/status")?;
    let sets = status.lines().filter_map(|line| {
        let set = ["CapPrm:", "CapEff:", "CapAmb:"].into_iter().find_map(|name| line.strip_prefix(name))?;
        u64::from_str_radix(set.trim(), 16).ok()
    });
    let sets: Vec<u64> = sets.collect();
    if sets.len() < 2 {
        return Err(io::Error::other("no capabilities in /proc/self/status"));
    }
    Ok(sets.iter().any(|set| *set != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_a_user_with_its_group_and_nobody_else_is_made_up() {
        let root = Credentials::of("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0));
        assert_eq!(Credentials::of("no-such-user"), None);
        assert_eq!(root.clone().in_group("no-such-group"), None);
        let other = root.in_group("daemon").unwrap();
        assert_ne!(other.gid, 0);
        assert!(other.groups.contains(&other.gid));
    }
}
