//! The account that the service runs under.

use std::path::Path;

use super::action::{Act, Action, Description, Listener, Step};
use crate::install::account;
use crate::install::error::Error;
use crate::install::layout::Layout;
use crate::install::privileged::exec;
use crate::install::receipt::Entry;
use crate::install::target::Target;

/// Makes the account. There is no way back: its number must not be reused while files of it may exist.
#[derive(Debug)]
pub(in crate::install) struct Account;

impl Account {
    /// The step for the account of the target.
    pub(in crate::install) fn plan(target: &Target) -> Result<Step, Error> {
        let there = account::find(target.tree(), target.layout())?.is_some();
        Ok(Step::new(if there { Act::Same } else { Act::Create }, Self))
    }
}

impl Action for Account {
    fn description(&self, _: &Act, layout: &Layout) -> Description {
        let text = format!("account {}", layout.user);
        Description::new(
            "account",
            text,
            "the service runs under an account of its own, without password, shell or rights",
        )
    }

    fn is_on_disk(&self) -> bool {
        true
    }

    fn entry(&self, act: &Act, _: &Target) -> Option<Entry> {
        Some(Entry::Account { existed: *act != Act::Create })
    }

    /// By our sysusers.d(5) file, or by useradd(8) where systemd-sysusers is missing.
    fn apply(&self, _: &Act, target: &Target, _: &mut Listener<'_>) -> Result<(), Error> {
        let (tree, layout) = (target.tree(), target.layout());
        let root = format!("--root={}", tree.path().display());
        if exec::find("systemd-sysusers").is_some() {
            exec::run("systemd-sysusers", &[&root, &format!("{}.conf", layout.name)])?;
        } else {
            let home = layout.home.as_deref().unwrap_or(Path::new("/")).to_string_lossy();
            let fixed = ["--system", "--no-create-home", "--home-dir", &home, "--shell", "/usr/sbin/nologin"];
            let path = tree.path().to_string_lossy();
            let prefix = ["--prefix", &path];
            let place: &[&str] = if tree.is_host() { &[] } else { &prefix };
            let group: &[&str] =
                if layout.user == layout.group { &["--user-group"] } else { &["--gid", &layout.group] };
            if layout.user != layout.group {
                exec::run("groupadd", &[&["--system", "--force"], place, &[&layout.group]].concat())?;
            }
            exec::run("useradd", &[&fixed, place, group, &[&layout.user]].concat())?;
        }
        account::find(tree, layout)?.map(|_| ()).ok_or_else(|| Error::NoAccount(layout.user.clone()))
    }
}
