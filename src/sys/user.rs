//! Who this process is, and who the users of this machine are.

use users::os::unix::UserExt as _;

/// The effective user id.
pub(crate) fn effective_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// The effective group id.
pub(crate) fn effective_gid() -> u32 {
    nix::unistd::getegid().as_raw()
}

/// Whether this process acts as root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The name of the effective user, or its number where it has none.
pub(crate) fn name() -> String {
    let uid = effective_uid();
    users::get_user_by_uid(uid)
        .map_or_else(|| uid.to_string(), |user| user.name().to_string_lossy().into_owned())
}

/// Who a child can run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// The user's number.
    pub(crate) uid: u32,
    /// The number of the user's own group.
    pub(crate) gid: u32,
    /// The home directory.
    pub(crate) home: std::path::PathBuf,
}

/// A user of this machine by name.
pub(crate) fn find(name: &str) -> Option<Account> {
    let user = users::get_user_by_name(name)?;
    Some(Account { uid: user.uid(), gid: user.primary_group_id(), home: user.home_dir().to_owned() })
}

/// The number of a group of this machine.
pub(crate) fn find_group(name: &str) -> Option<u32> {
    users::get_group_by_name(name).map(|group| group.gid())
}

/// The user and group that a file or a process of /proc belongs to.
pub(crate) fn owner_of(path: &std::path::Path) -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt as _;
    path.metadata().ok().map(|metadata| (metadata.uid(), metadata.gid()))
}
