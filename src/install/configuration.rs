//! What becomes of the configuration: a fresh one is written, an unedited one follows the default, and what somebody
//! edited or had before stays, with the new default beside it as `mcpeg.toml.new` if that has changed.
//!
//! Before anything is touched, the configuration that the service would start with must be one that it can start with.

use std::borrow::Cow;
use std::path::Path;

use super::account::{Owner, Rights};
use super::assets::Content;
use super::error::Error;
use super::layout::Layout;
use super::plan::{InstallOptions, Planner};
use super::privileged::Digest;
use super::receipt::Entry;
use super::step::{Act, Object};
use super::target::Target;
use crate::config::{self, Config, ListenAddr, Transport};
use crate::render::Confinement;

/// Who may read the configuration.
const RIGHTS: Rights = Rights { mode: 0o640, owner: Owner::Readable };

impl Planner<'_> {
    /// The steps for the configuration file and the new default beside it.
    pub(super) fn configuration(&mut self, asked: Option<&Path>, default: Content) -> Result<(), Error> {
        let layout = &self.target.layout;
        let path = layout.configuration.as_path();
        let found = match self.existing(path) {
            Err(error) if error.is_permission_denied() => {
                // Without root the plan cannot look; it says so rather than guess.
                return self.kept(path, asked_or(asked, default)?, "only root can read it");
            }
            other => other?,
        };
        let Some((found, before)) = found else {
            return self.file(path, asked_or(asked, default)?, RIGHTS);
        };
        let offered = self.target.receipt.as_ref().and_then(|receipt| receipt.offered(layout).cloned());
        let unedited = offered.as_ref() == Some(&found);
        let content = asked_or(asked, default.clone())?;
        let sha256 = content.digest()?;
        let act = match asked {
            _ if found == sha256 => self.access_act(path, Some(before), RIGHTS)?,
            Some(_) if self.is_as_written(&found) => Act::Replace,
            Some(_) => Act::Keep("it was edited, and FILE is not installed over it"),
            None if unedited => Act::Replace,
            None if self.is_as_written(&found) => Act::Keep("it was installed from a file"),
            None => Act::Keep("it was edited"),
        };
        let beside = matches!(act, Act::Keep(_)).then(|| default.digest()).transpose()?;
        let previous = (act == Act::Replace).then_some(found);
        let object = Object::File {
            path: path.to_owned(),
            content,
            sha256,
            previous,
            rights: RIGHTS,
            before: Some(before),
        };
        // What is in it stays; who may read it is not a question of taste.
        let known = self.target.receipt.as_ref().and_then(|receipt| receipt.file(path));
        let ours = matches!(known, Some(Entry::File { existed: false, .. }));
        let rights = match (&act, self.access_act(path, Some(before), RIGHTS)?) {
            (Act::Keep(_), Act::Mend) if ours => {
                Some(Object::Rights { path: path.to_owned(), rights: RIGHTS, before })
            }
            _ => None,
        };
        self.push(act, object);
        if let Some(object) = rights {
            self.push(Act::Mend, object);
        }
        match (beside, offered) {
            (Some(new), Some(old)) if new != old => self.new_default(default),
            _ => Ok(()),
        }
    }

    /// The new default beside the configuration. What somebody else wrote there stays.
    fn new_default(&mut self, default: Content) -> Result<(), Error> {
        let path = self.target.layout.configuration_new.as_path();
        match self.existing(path)? {
            Some((found, _)) if found != default.digest()? && !self.is_written(path, &found) => {
                self.kept(path, default, "`mcpeg install` did not write it")
            }
            _ => self.file(path, default, RIGHTS),
        }
    }

    /// A file that stays as it is.
    fn kept(&mut self, path: &Path, content: Content, why: &'static str) -> Result<(), Error> {
        let sha256 = content.digest()?;
        let object = Object::File {
            path: path.to_owned(),
            content,
            sha256,
            previous: None,
            rights: RIGHTS,
            before: None,
        };
        self.push(Act::Keep(why), object);
        Ok(())
    }

    /// Whether this is the configuration as an installation wrote it.
    fn is_as_written(&self, found: &Digest) -> bool {
        self.is_written(&self.target.layout.configuration, found)
    }

    /// Whether this is the content that an installation wrote at the path.
    fn is_written(&self, path: &Path, found: &Digest) -> bool {
        let known = self.target.receipt.as_ref().and_then(|receipt| receipt.file(path));
        matches!(known, Some(Entry::File { sha256, previous, .. })
            if found == sha256 || previous.as_ref() == Some(found))
    }
}

/// The file that was asked for, or else the default.
fn asked_or(asked: Option<&Path>, default: Content) -> Result<Content, Error> {
    let Some(file) = asked else { return Ok(default) };
    Ok(Content::Bytes(Cow::Owned(std::fs::read(file).map_err(Error::file("read", file))?)))
}

/// Refuses a file that is no valid configuration beside the `conf.d` of the target.
///
/// # Errors
/// [`Error::Configuration`].
pub(super) fn check(target: &Target, file: &Path) -> Result<(), Error> {
    let fragments = target.tree.outside(&target.layout.drop_ins);
    match config::candidate(file, &fragments) {
        // Only root can read what is installed already; the plan of somebody else leaves it out.
        Err(config::Error::Read { source, path })
            if source.kind() == std::io::ErrorKind::PermissionDenied && path != file =>
        {
            Ok(())
        }
        other => other.map(drop).map_err(Error::Configuration),
    }
}

/// Refuses to start a service whose configuration, which stays as it is, is wrong.
///
/// # Errors
/// [`Error::Configuration`].
pub(super) fn check_installed(target: &Target) -> Result<(), Error> {
    let file = target.tree.outside(&target.layout.configuration);
    match check(target, &file) {
        Err(Error::Configuration(config::Error::Missing(_))) => Ok(()),
        Err(Error::Configuration(config::Error::Read { source, .. }))
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            Ok(())
        }
        other => other,
    }
}

/// What the service will have to do with the configuration that it will have, and where it will listen.
pub(super) fn needs(target: &Target, options: &InstallOptions) -> Needs {
    let Layout { configuration, drop_ins, .. } = &target.layout;
    let fragments = target.tree.outside(drop_ins);
    let installed = target.tree.outside(configuration);
    let earlier = target.receipt.as_ref();
    let unedited = earlier.is_some_and(|receipt| {
        let found = target.tree.digest(configuration).ok().flatten();
        found.is_some() && receipt.offered(&target.layout) == found.as_ref()
    });
    let config = match &options.configuration {
        Some(file) => config::candidate(file, &fragments),
        // A file without a word in it is the default configuration as far as needs go.
        None if unedited => config::candidate(Path::new("/dev/null"), &fragments),
        None => match config::candidate(&installed, &fragments) {
            Err(config::Error::Missing(_)) => config::candidate(Path::new("/dev/null"), &fragments),
            other => other,
        },
    };
    match config {
        Ok(config) => {
            let mut needs = Needs::of(&config);
            let defaults = options.configuration.is_none() && (unedited || !installed.exists());
            if defaults && !target.choices.listen.is_empty() {
                needs.listen = target.choices.listen.iter().filter_map(|one| one.parse().ok()).collect();
            }
            needs
        }
        // Only root can look; what was found when root last looked is the best guess. A configuration that is wrong is
        // refused elsewhere if the service is to be started with it.
        Err(_) => Needs {
            listen: Vec::new(),
            confinement: earlier.and_then(|receipt| receipt.confinement).unwrap_or(WIDE),
        },
    }
}

/// What any configuration can do with.
const WIDE: Confinement = Confinement { children: true, loopback: false };

/// What a configuration asks of the service.
#[derive(Clone, Debug)]
pub(super) struct Needs {
    /// Where it listens; empty if that cannot be told.
    pub(super) listen: Vec<ListenAddr>,
    /// How far it can be confined.
    pub(super) confinement: Confinement,
}

impl Needs {
    /// Those of a configuration.
    fn of(config: &Config) -> Self {
        let children =
            config.upstreams.iter().any(|upstream| matches!(upstream.transport, Transport::Stdio { .. }));
        let is_local = |url: &String| {
            url.parse::<http::Uri>().is_ok_and(|url| {
                let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
                ListenAddr::Tcp { host, port: 0 }.is_local()
            })
        };
        let is_near = |transport: &Transport| match transport {
            Transport::Stdio { .. } => false,
            Transport::Http { urls, .. } => urls.iter().all(is_local),
        };
        let loopback = config.server.listen.iter().all(ListenAddr::is_local)
            && config.upstreams.iter().all(|upstream| is_near(&upstream.transport));
        Self { listen: config.server.listen.clone(), confinement: Confinement { children, loopback } }
    }
}
