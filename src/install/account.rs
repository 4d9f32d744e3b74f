//! The service's account below the root: who it is, and what belongs to it.

use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::layout::Layout;
use super::privileged::{Access, Tree, files};

/// The file of dpkg-statoverride(1).
const OVERRIDES: &str = "/var/lib/dpkg/statoverride";

/// To whom a file belongs, by role; numbers are known only once the account exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Owner {
    /// root:root; for a user's service, the user.
    Root,
    /// root, and the service's group may read; for a user's service, the user.
    Readable,
    /// The service's account and group.
    Service,
}

/// Mode and owner as an installation wants them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rights {
    /// Permission bits.
    mode: u32,
    /// To whom.
    owner: Owner,
}

impl Rights {
    /// Such bits and such an owner.
    pub(super) const fn new(mode: u32, owner: Owner) -> Self {
        Self { mode, owner }
    }

    /// Permission bits.
    pub(super) const fn mode(self) -> u32 {
        self.mode
    }

    /// To whom.
    pub(super) const fn owner(self) -> Owner {
        self.owner
    }

    /// In words, as in the text of a step.
    pub(super) fn text(self, layout: &Layout) -> String {
        format!("({:04o} {})", self.mode, self.owner.name(layout))
    }
}

impl Owner {
    /// As ls(1) would show it.
    pub(super) fn name(self, layout: &Layout) -> String {
        match self {
            Self::Root if !layout.is_users() => "root:root".to_owned(),
            Self::Readable if !layout.is_users() => format!("root:{}", layout.group),
            _ => format!("{}:{}", layout.user, layout.group),
        }
    }
}

/// User and group number of the account below the root; `None` if either is missing.
pub(super) fn find(tree: &Tree, layout: &Layout) -> Result<Option<(u32, u32)>, Error> {
    let Layout { user, group, .. } = layout;
    if tree.is_host() {
        let user = users::get_user_by_name(user).map(|user| user.uid());
        return Ok(user.zip(users::get_group_by_name(group).map(|group| group.gid())));
    }
    let user = number(tree, "/etc/passwd", user)?;
    Ok(user.zip(number(tree, "/etc/group", group)?))
}

/// The number of a name in a file whose lines are `name:password:number:…` (passwd(5), group(5)).
fn number(tree: &Tree, file: &str, name: &str) -> Result<Option<u32>, Error> {
    let path = Path::new(file);
    let Some(mut file) = files::read(tree, path)? else { return Ok(None) };
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(Error::file("read", tree.outside(path)))?;
    let line = text.lines().find(|line| line.split(':').next() == Some(name));
    Ok(line.and_then(|line| line.split(':').nth(2)).and_then(|number| number.parse().ok()))
}

/// The rights in numbers. Fails with [`Error::NoAccount`] if they need the account and it does not exist.
pub(super) fn access(tree: &Tree, layout: &Layout, rights: Rights) -> Result<Access, Error> {
    let (uid, gid) = match rights.owner {
        _ if layout.is_users() => caller(),
        Owner::Root => (0, 0),
        owner => {
            let (uid, gid) = find(tree, layout)?.ok_or_else(|| Error::NoAccount(layout.user.clone()))?;
            if owner == Owner::Readable { (0, gid) } else { (uid, gid) }
        }
    };
    Ok(Access::new(rights.mode, uid, gid))
}

/// The rights of one path in numbers: those of the administrator, where dpkg-statoverride(1) knows some; but systemd sets
/// those of the service's own directories whenever it starts.
pub(super) fn access_of(tree: &Tree, layout: &Layout, path: &Path, rights: Rights) -> Result<Access, Error> {
    let asks = !layout.is_users() && rights.owner != Owner::Service;
    match if asks { overridden(tree, path)? } else { None } {
        Some(access) => Ok(access),
        None => access(tree, layout, rights),
    }
}

/// What dpkg-statoverride(1) says of a path. Lines of its file are `user group mode path`.
fn overridden(tree: &Tree, path: &Path) -> Result<Option<Access>, Error> {
    let place = Path::new(OVERRIDES);
    let Some(mut file) = files::read(tree, place)? else { return Ok(None) };
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(Error::file("read", tree.outside(place)))?;
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let [user, group, mode, known] = words[..] else { continue };
        if Path::new(known) != path {
            continue;
        }
        let number_of = |name: &str, file| match name.strip_prefix('#') {
            Some(number) => Ok(number.parse().ok()),
            None => number(tree, file, name),
        };
        let (uid, gid) = (number_of(user, "/etc/passwd")?, number_of(group, "/etc/group")?);
        let mode = u32::from_str_radix(mode, 8).ok();
        return Ok(uid.zip(gid).zip(mode).map(|((uid, gid), mode)| Access::new(mode, uid, gid)));
    }
    Ok(None)
}

/// User and group of this process.
fn caller() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}
