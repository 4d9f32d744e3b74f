//! Who this process is, and who the users of this machine are.

use users::os::unix::UserExt as _;

/// The effective user id.
#[must_use]
pub fn effective_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// The effective group id.
#[must_use]
pub fn effective_gid() -> u32 {
    nix::unistd::getegid().as_raw()
}

/// Whether this process acts as root.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Who a child can run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user's number.
    pub uid: u32,
    /// The number of the user's own group.
    pub gid: u32,
    /// The home directory.
    pub home: std::path::PathBuf,
}

/// A user of this machine by name.
#[must_use]
pub fn find(name: &str) -> Option<Account> {
    let user = users::get_user_by_name(name)?;
    Some(Account { uid: user.uid(), gid: user.primary_group_id(), home: user.home_dir().to_owned() })
}
