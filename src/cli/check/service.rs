//! The service that is started with a configuration, whose view of it counts.
//!
//! systemd runs the check in the place of the service ([`trial`]); variables tell it that. Root is needed for that, or, for
//! a user's service, the user. What the unit in force forbids is told beside it, since it explains what the service finds.

use std::env;
use std::path::{Path, PathBuf};

use super::answer::{Answer, Warning};
use super::place::{self, SOCKETS, UNIT};
use crate::config::{self, Source};
use crate::exit::chain;
use crate::install::{Sandbox, service_with};
use crate::sys::user::is_root;
use crate::systemd::{Manager, Unit, trial};

/// A service that is started with the configuration that is checked.
#[derive(Debug)]
pub(super) struct Service {
    /// Its unit.
    unit: Unit,
    /// The configuration.
    configuration: PathBuf,
}

impl Service {
    /// That of this configuration; `None` if there is none, if options say something else than a service would be told, and for
    /// who is in the place of the service already.
    pub(super) fn with(source: &Source, pid_file: Option<&Path>) -> Option<Self> {
        let is_asked = source.overrides == config::Overrides::default() && pid_file.is_none();
        if place::in_the_place_of().is_some() || !is_asked {
            return None;
        }
        let configuration = source.file.clone().unwrap_or_else(config::default_path);
        let configuration = std::path::absolute(configuration).ok()?;
        let unit = service_with(&configuration)?;
        unit.told("LoadState")?.is_loaded().then_some(Self { unit, configuration })
    }

    /// What the service would find.
    ///
    /// # Errors
    /// Why that cannot be told, in words.
    pub(super) fn answer(&self) -> Result<Answer, String> {
        let name = self.unit.name();
        let run = match self.unit.manager() {
            Manager::User => env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).unwrap_or_default(),
            Manager::System if is_root() => PathBuf::from("/run"),
            Manager::System => {
                return Err(format!(
                    "{name} may see something else; `sudo mcpeg --check` checks as it would run"
                ));
            }
        };
        let held = self
            .unit
            .told("TriggeredBy")
            .is_some_and(|told| told.words("TriggeredBy").any(|unit| unit.ends_with(".socket")));
        let sockets = if held { format!(" {SOCKETS}=1") } else { String::new() };
        let cannot = |why: String| format!("{name} may see something else: {why}");
        let ran = trial::run(&self.unit, &run, "--check --json", &format!("{UNIT}={name}{sockets}"))
            .map_err(|error| cannot(chain(&error)))?;
        if let Some(why) = &ran.obstacle {
            let told = self.unit.told("User").unwrap_or_default();
            return Ok(Answer::not_started(name, told.get("User"), why));
        }
        serde_json::from_str(&ran.printed).map_err(|_| {
            cannot(format!("its program has not answered a check, but `{}`", ran.printed.trim()))
        })
    }

    /// What the unit in force forbids.
    pub(super) fn doubts(&self) -> Vec<Warning> {
        let Some(sandbox) = Sandbox::of_service_with(&self.configuration) else { return Vec::new() };
        let fragments = config::fragment_directory(&self.configuration);
        let Ok(config) = config::candidate(&self.configuration, &fragments) else { return Vec::new() };
        let hidden = config.server.listen.iter().filter_map(|listener| {
            let why = sandbox.hides(listener)?;
            Some(Warning::new(None, format!("listener `{listener}`: {why}")))
        });
        let forbidden = config
            .upstreams
            .iter()
            .filter_map(|upstream| Some(Warning::new(Some(upstream), sandbox.forbids(&upstream.transport)?)));
        hidden.chain(forbidden).collect()
    }
}
