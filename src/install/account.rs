//! The service's account below the root: who it is, and how it comes to be.

use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::exec;
use super::files::Access;
use super::layout::{ACCOUNT, HOME};
use super::tree::Tree;

/// To whom a file belongs, by role; numbers are known only once the account exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Owner {
    /// root:root.
    Root,
    /// root, and the service's group may read.
    Readable,
    /// The service's account and group.
    Service,
}

/// Mode and owner as an installation wants them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rights {
    /// Permission bits.
    pub(super) mode: u32,
    /// To whom.
    pub(super) owner: Owner,
}

impl Owner {
    /// As ls(1) would show it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Root => "root:root",
            Self::Readable => "root:mcpeg",
            Self::Service => "mcpeg:mcpeg",
        }
    }
}

/// User and group number of the account below the root; `None` if either is missing.
///
/// # Errors
/// [`Error::File`].
pub(super) fn find(tree: &Tree) -> Result<Option<(u32, u32)>, Error> {
    if tree.is_host() {
        let user = users::get_user_by_name(ACCOUNT).map(|user| user.uid());
        return Ok(user.zip(users::get_group_by_name(ACCOUNT).map(|group| group.gid())));
    }
    let user = number(tree, "/etc/passwd")?;
    Ok(user.zip(number(tree, "/etc/group")?))
}

/// The account's number in a file whose lines are `name:password:number:…` (passwd(5), group(5)).
fn number(tree: &Tree, file: &str) -> Result<Option<u32>, Error> {
    let path = Path::new(file);
    let Some(mut file) = tree.read(path)? else { return Ok(None) };
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(Error::file("read", tree.outside(path)))?;
    let line = text.lines().find(|line| line.split(':').next() == Some(ACCOUNT));
    Ok(line.and_then(|line| line.split(':').nth(2)).and_then(|number| number.parse().ok()))
}

/// The rights in numbers.
///
/// # Errors
/// [`Error::NoAccount`] if they need the account and it does not exist.
pub(super) fn access(tree: &Tree, rights: Rights) -> Result<Access, Error> {
    let (uid, gid) = match rights.owner {
        Owner::Root => (0, 0),
        owner => {
            let (uid, gid) = find(tree)?.ok_or(Error::NoAccount(ACCOUNT))?;
            if owner == Owner::Readable { (0, gid) } else { (uid, gid) }
        }
    };
    Ok(Access { mode: rights.mode, uid, gid })
}

/// Makes the account from our sysusers.d(5) file, or by useradd(8) where systemd-sysusers is missing.
///
/// # Errors
/// [`Error::Command`], [`Error::NoTool`], [`Error::NoAccount`].
pub(super) fn create(tree: &Tree) -> Result<(), Error> {
    let root = format!("--root={}", tree.path().display());
    if exec::find("systemd-sysusers").is_some() {
        exec::run("systemd-sysusers", &[&root, "mcpeg.conf"])?;
    } else {
        let fixed = [
            "--system",
            "--user-group",
            "--no-create-home",
            "--home-dir",
            HOME,
            "--shell",
            "/usr/sbin/nologin",
        ];
        let path = tree.path().to_string_lossy();
        let prefix = ["--prefix", &path];
        let place: &[&str] = if tree.is_host() { &[] } else { &prefix };
        exec::run("useradd", &[&fixed, place, &[ACCOUNT]].concat())?;
    }
    find(tree)?.map(|_| ()).ok_or(Error::NoAccount(ACCOUNT))
}
