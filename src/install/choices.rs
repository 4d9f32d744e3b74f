//! What the operator may choose about an installation, and what holds once it is there.
//!
//! What was chosen first is kept in the receipt, so that a later `mcpeg install` without options changes nothing. What
//! decides where files lie and to whom they belong cannot be changed in place: the old ones would be orphans.

use std::path::{Component, Path, PathBuf};

use fieldwork::Fieldwork;
use serde::{Deserialize, Serialize};

use super::error::Error;
use crate::config::ListenAddr;
use crate::systemd::AccountName;

/// The account and the first part of all names.
pub(super) const NAME: &str = "mcpeg";
/// Where files that belong to no package go (hier(7)).
const PREFIX: &str = "/usr/local";
/// An instance's account is `mcpeg-NAME`, which may have 31 characters.
const INSTANCE_LENGTH: usize = 25;
/// Places that the confined service cannot see, or that the package manager owns.
const NO_PREFIX: [&str; 7] = ["/usr", "/home", "/root", "/run", "/tmp", "/var/tmp", "/proc"];

/// Which kind of service is installed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Profile {
    /// A confined service of the machine.
    #[default]
    Production,
    /// A service of the calling user, with readable logs, that follows changes of its configuration.
    Development,
}

/// Who rotates the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogRotation {
    /// mcpeg itself.
    #[default]
    Own,
    /// logrotate(8).
    Logrotate,
}

/// What the operator said; absent is what was chosen before, or else the default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Which kind of service.
    pub(crate) profile: Profile,
    /// The name of a gateway beside the first one.
    pub(crate) instance: Option<String>,
    /// Where program, manual and completions go.
    pub(crate) prefix: Option<PathBuf>,
    /// The account that the service runs under.
    pub(crate) user: Option<String>,
    /// Its group.
    pub(crate) group: Option<String>,
    /// Where the default configuration listens.
    pub(crate) listen: Vec<String>,
    /// Whether the service shall not be started at boot.
    pub(crate) no_enable: bool,
    /// Who rotates the log.
    pub(crate) log_rotation: Option<LogRotation>,
    /// Whether the service of a package shall be taken over.
    pub(crate) adopt: bool,
}

/// What holds for an installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Fieldwork)]
#[serde(deny_unknown_fields)]
#[fieldwork(get, vis = "pub(super)")]
pub(super) struct Choices {
    /// Where program, manual and completions are.
    prefix: PathBuf,
    /// The account that the service runs under.
    #[field = false]
    user: String,
    /// Its group.
    #[field = false]
    group: String,
    /// Where the default configuration listens; empty is the program's default.
    listen: Vec<String>,
    /// Whether the service is started at boot.
    enable: bool,
    /// Who rotates the log. Before version 5 of the receipt it was always mcpeg.
    #[serde(default)]
    #[field(get(copy))]
    log_rotation: LogRotation,
}

impl Asked {
    /// Refuses what a user's service cannot have.
    pub(super) fn check_development(&self, root: Option<&Path>) -> Result<(), Error> {
        let options = [
            ("--root", root.is_some()),
            ("--prefix", self.prefix.is_some()),
            ("--user", self.user.is_some()),
            ("--group", self.group.is_some()),
            ("--log-rotation", self.log_rotation.is_some()),
        ];
        match options.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Error::Choice(format!(
                "{option} is for --profile production; development is the user's own"
            ))),
            None => Ok(()),
        }
    }
}

/// Refuses what is no name for an instance.
/// Fails with [`Error::Choice`].
pub(crate) fn check_instance(instance: &str) -> Result<(), Error> {
    name(Some(instance)).map(drop)
}

/// `mcpeg`, or `mcpeg-NAME` for an instance.
/// Fails with [`Error::Choice`] for a name that not every tool would accept in an account, a unit and a path.
pub(super) fn name(instance: Option<&str>) -> Result<String, Error> {
    let Some(instance) = instance else { return Ok(NAME.to_owned()) };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = |c: char| c != '-';
    let valid = instance.chars().all(plain)
        && instance.starts_with(ends)
        && instance.ends_with(ends)
        && instance.len() <= INSTANCE_LENGTH;
    if valid {
        Ok(format!("{NAME}-{instance}"))
    } else {
        Err(Error::Choice(format!(
            "`{instance}` is no name for an instance: up to {INSTANCE_LENGTH} lower-case letters, digits and `-`"
        )))
    }
}

impl Choices {
    /// The choices before anything was chosen.
    pub(super) fn default_of(name: &str) -> Self {
        Self {
            prefix: PathBuf::from(PREFIX),
            user: name.to_owned(),
            group: name.to_owned(),
            listen: Vec::new(),
            enable: true,
            log_rotation: LogRotation::default(),
        }
    }

    /// The choices that an installation of this name was made with, as far as they can be told from its files.
    pub(super) fn found(name: &str, prefix: &Path, user: Option<String>, group: Option<String>) -> Self {
        let default = Self::default_of(name);
        let (user, group) =
            (user.unwrap_or_else(|| default.user.clone()), group.unwrap_or_else(|| default.group.clone()));
        Self { prefix: prefix.to_owned(), user, group, ..default }
    }

    /// The same with another answer to who rotates the log.
    pub(super) fn rotated_by(self, log_rotation: LogRotation) -> Self {
        Self { log_rotation, ..self }
    }

    /// The account that the service runs under, and its group.
    pub(super) fn account(&self) -> (&str, &str) {
        (&self.user, &self.group)
    }

    /// Refuses what could not have been chosen: a receipt is a file, in which anything can stand.
    pub(super) fn check(&self) -> Result<(), Error> {
        check_prefix(&self.prefix)?;
        check_account(&self.user)?;
        check_account(&self.group)?;
        self.listen.iter().try_for_each(|listener| check_listener(listener))
    }

    /// What holds if this was asked for now, and that was chosen before.
    /// Fails with [`Error::Choice`] for what cannot be, [`Error::Differs`] for what cannot be changed in place.
    pub(super) fn settle(name: &str, asked: &Asked, before: Option<&Self>) -> Result<Self, Error> {
        let mut choices = before.cloned().unwrap_or_else(|| Self::default_of(name));
        if let Some(prefix) = &asked.prefix {
            let prefix: PathBuf = prefix.components().collect();
            check_prefix(&prefix)?;
            differs(before, "--prefix", &choices.prefix.display(), &prefix.display())?;
            choices.prefix = prefix;
        }
        if let Some(user) = &asked.user {
            check_account(user)?;
            differs(before, "--user", &choices.user, user)?;
            choices.user.clone_from(user);
            choices.group.clone_from(asked.group.as_ref().unwrap_or(user));
        }
        if let Some(group) = &asked.group {
            check_account(group)?;
            differs(before, "--group", &choices.group, group)?;
            choices.group.clone_from(group);
        }
        if !asked.listen.is_empty() {
            asked.listen.iter().try_for_each(|listener| check_listener(listener))?;
            choices.listen.clone_from(&asked.listen);
        }
        choices.enable &= !asked.no_enable;
        choices.log_rotation = asked.log_rotation.unwrap_or(choices.log_rotation);
        Ok(choices)
    }
}

/// Refuses to change what an installation is built on.
fn differs(
    before: Option<&Choices>,
    option: &'static str,
    old: &dyn std::fmt::Display,
    new: &dyn std::fmt::Display,
) -> Result<(), Error> {
    let (old, new) = (old.to_string(), new.to_string());
    if before.is_some() && old != new { Err(Error::Differs { option, old }) } else { Ok(()) }
}

/// Refuses a prefix that the service could not see, or that is a package manager's.
fn check_prefix(prefix: &Path) -> Result<(), Error> {
    let plain = prefix.is_absolute()
        && prefix.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
        && prefix.to_str().is_some_and(|text| !text.contains(|c: char| c.is_control() || c == ' '));
    let shown = prefix.display();
    if !plain || prefix == Path::new("/") {
        return Err(Error::Choice(format!(
            "`{shown}` is no prefix: an absolute path without `..` and blanks"
        )));
    }
    let hidden = |place: &&str| match *place {
        "/usr" => prefix == Path::new("/usr"),
        place => prefix.starts_with(place),
    };
    match NO_PREFIX.into_iter().find(hidden) {
        Some("/usr") => Err(Error::Choice("`/usr` belongs to the package manager".to_owned())),
        Some(place) => {
            Err(Error::Choice(format!("the confined service could not see a program below {place}")))
        }
        None => Ok(()),
    }
}

/// Refuses an account name that tools disagree about, and root.
fn check_account(name: &str) -> Result<(), Error> {
    AccountName::new(name).map_err(|error| Error::Choice(error.to_string()))?;
    if name == "root" { Err(Error::Choice("the service does not run as root".to_owned())) } else { Ok(()) }
}

/// Refuses what is no listener, or one that others could reach.
fn check_listener(listener: &str) -> Result<(), Error> {
    let address: ListenAddr =
        listener.parse().map_err(|error| Error::Choice(format!("--listen {listener}: {error}")))?;
    if address.is_local() { Ok(()) } else { Err(Error::OpenListener(listener.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_names_everywhere_are_refused() {
        assert_eq!(name(None).unwrap(), "mcpeg");
        assert_eq!(name(Some("team-2")).unwrap(), "mcpeg-team-2");
        for wrong in ["", "-a", "a-", "A", "a b", "a/b", "..", "a@b", "abcdefghijklmnopqrstuvwxyz"] {
            assert!(matches!(name(Some(wrong)), Err(Error::Choice(_))), "{wrong}");
        }
    }

    #[test]
    fn prefixes_that_the_service_cannot_see_are_refused() {
        for right in ["/usr/local", "/opt/mcpeg", "/usr/lib/mcpeg"] {
            assert!(check_prefix(Path::new(right)).is_ok(), "{right}");
        }
        for wrong in ["/", "/usr", "relative", "/opt/../usr", "/home/me", "/root", "/tmp/x", "/opt/a b"] {
            assert!(matches!(check_prefix(Path::new(wrong)), Err(Error::Choice(_))), "{wrong}");
        }
    }

    #[test]
    fn what_was_chosen_holds_until_something_else_is_asked_for_and_possible() {
        let asked = Asked { user: Some("www-data".to_owned()), ..Asked::default() };
        let first = Choices::settle("mcpeg", &asked, None).unwrap();
        assert_eq!((first.user.as_str(), first.group.as_str()), ("www-data", "www-data"));
        assert_eq!(Choices::settle("mcpeg", &Asked::default(), Some(&first)).unwrap(), first);
        let other = Asked { user: Some("other".to_owned()), ..Asked::default() };
        let refused = Choices::settle("mcpeg", &other, Some(&first));
        assert!(matches!(refused, Err(Error::Differs { option: "--user", .. })));
        let listen = Asked { listen: vec!["127.0.0.1:9".to_owned()], ..Asked::default() };
        assert_eq!(Choices::settle("mcpeg", &listen, Some(&first)).unwrap().listen, ["127.0.0.1:9"]);
    }

    #[test]
    fn what_could_not_have_been_chosen_is_refused_in_a_receipt() {
        let right = Choices::default_of("mcpeg");
        assert!(right.check().is_ok());
        let wrong: [fn(&mut Choices); 5] = [
            |choices| choices.user = "root".to_owned(),
            |choices| choices.group = "root".to_owned(),
            |choices| choices.prefix = PathBuf::from("/tmp/x"),
            |choices| choices.prefix = PathBuf::from("/opt/../etc"),
            |choices| choices.listen = vec!["0.0.0.0:80".to_owned()],
        ];
        for change in wrong {
            let mut choices = right.clone();
            change(&mut choices);
            assert!(matches!(choices.check(), Err(Error::Choice(_) | Error::OpenListener(_))), "{choices:?}");
        }
    }

    #[test]
    fn listeners_that_others_reach_are_not_asked_for_by_an_option() {
        assert!(check_listener("[::1]:1").is_ok() && check_listener("unix:/run/mcpeg/x").is_ok());
        assert!(matches!(check_listener("0.0.0.0:1"), Err(Error::OpenListener(_))));
        assert!(matches!(check_listener("nonsense"), Err(Error::Choice(_))));
    }
}
