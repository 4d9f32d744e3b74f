//! What is asked of the configuration before anything is touched: that the service can start with it, where it listens, and
//! how far the service can be confined.

use std::path::Path;

use fieldwork::Fieldwork;

use super::error::Error;
use super::layout::Layout;
use super::privileged::files;
use super::receipt::Receipt;
use super::target::Target;
use super::verify::{self, Entrance};
use crate::config::{self, Config, ListenAddr, Server, Transport};
use crate::render::Confinement;

/// Refuses a file that is no valid configuration beside the `conf.d` of the target.
pub(super) fn check(target: &Target, file: &Path) -> Result<(), Error> {
    let fragments = target.tree().outside(&target.layout().drop_ins);
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
pub(super) fn check_installed(target: &Target) -> Result<(), Error> {
    let file = target.tree().outside(&target.layout().configuration);
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

/// What the service will have to do with the configuration that it will have, and where it will listen; `asked` is the file
/// to install, if one was named.
pub(super) fn needs(target: &Target, asked: Option<&Path>) -> Needs {
    let Layout { configuration, drop_ins, .. } = target.layout();
    let fragments = target.tree().outside(drop_ins);
    let installed = target.tree().outside(configuration);
    let earlier = target.receipt();
    let unedited = earlier.is_some_and(|receipt| {
        let found = files::digest(target.tree(), configuration).ok().flatten();
        found.is_some() && receipt.offered(target.layout()) == found.as_ref()
    });
    let config = match asked {
        Some(file) => config::candidate(file, &fragments),
        // A file without a word in it is the default configuration as far as needs go.
        None if unedited => config::candidate(Path::new("/dev/null"), &fragments),
        None => match config::candidate(&installed, &fragments) {
            Err(config::Error::Missing(_)) => config::candidate(Path::new("/dev/null"), &fragments),
            other => other,
        },
    };
    let Ok(config) = config else {
        // Only root can look; what was found when root last looked is the best guess. A configuration that is wrong is
        // refused elsewhere if the service is to be started with it.
        let confinement = earlier.and_then(Receipt::confinement).unwrap_or(WIDE);
        return Needs { listen: Vec::new(), server: Server::default(), confinement, log: None };
    };
    let mut needs = Needs::of(&config);
    let defaults = asked.is_none() && (unedited || !installed.exists());
    needs.log = Some(config.log).filter(|_| !defaults);
    if defaults && !target.choices().listen().is_empty() {
        needs.listen = target.choices().listen().iter().filter_map(|one| one.parse().ok()).collect();
    }
    needs
}

/// What any configuration can do with.
const WIDE: Confinement = Confinement { children: true, loopback: false };

/// What a configuration asks of the service.
#[derive(Clone, Debug, Fieldwork)]
#[fieldwork(get, vis = "pub(super)")]
pub(super) struct Needs {
    /// Where it listens; empty if that cannot be told.
    listen: Vec<ListenAddr>,
    /// What it says of that.
    #[field = false]
    server: Server,
    /// How far it can be confined.
    #[field(get(copy))]
    confinement: Confinement,
    /// The log of a configuration that stays as it is or is installed from a file, as far as it can be told.
    log: Option<config::Log>,
}

impl Needs {
    /// Where clients will reach it; empty if that cannot be told.
    pub(super) fn entrances(&self) -> Vec<Entrance> {
        self.listen.iter().map(|listener| verify::entrance_at(listener, &self.server)).collect()
    }

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
        Self {
            listen: config.server.listen.clone(),
            server: config.server.clone(),
            confinement: Confinement { children, loopback },
            log: None,
        }
    }
}
