//! The gateway that is meant: where its configuration is, and whether it runs.

use std::path::{Path, PathBuf};

use super::definition::TokenPlace;
use super::state_place::Place;
use crate::config::{self, Config, Source};
use crate::daemon::{PathsError, RunPaths};
use crate::exit::{Exit, ToExit};

/// There is no such upstream.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has no upstream `{name}`")]
pub(super) struct Unknown {
    /// The name.
    name: String,
    /// Those that there are.
    known: Vec<String>,
}

/// The gateway that is meant.
pub(super) struct Site {
    /// Its files and its environment.
    place: Place,
    /// Its configuration.
    source: Source,
    /// Where it is found while it runs.
    paths: RunPaths,
}

impl Site {
    /// The one that the options name, or the usual one.
    pub(super) fn find(place: &TokenPlace) -> Result<Self, PathsError> {
        let paths = RunPaths::resolve(place.pid_file().as_deref())?;
        let place = Place::find(place)?;
        // What has only files in conf.d has no other.
        let file = place.configuration().map(Path::to_owned).filter(|file| *file != config::default_path());
        Ok(Self { place, source: Source { file, ..Source::default() }, paths })
    }

    /// Where it is found while it runs.
    pub(super) const fn paths(&self) -> &RunPaths {
        &self.paths
    }

    /// The configuration file.
    pub(super) fn file(&self) -> PathBuf {
        self.source.file.clone().unwrap_or_else(config::default_path)
    }

    /// Where what outlives it is kept.
    pub(super) fn state_directory(&self) -> PathBuf {
        self.place.directory().to_owned()
    }

    /// Where the file of an upstream of its own is.
    pub(super) fn fragment(&self, name: &str) -> PathBuf {
        config::fragment_directory(&self.file()).join(format!("{name}.toml"))
    }

    /// Each upstream and its file.
    pub(super) fn upstreams(&self) -> Vec<(String, PathBuf)> {
        config::upstream_files(self.source.file.as_deref())
    }

    /// The file of an upstream.
    pub(super) fn file_of(&self, name: &str) -> Result<PathBuf, Unknown> {
        let all = self.upstreams();
        let found = all.iter().find(|(one, _)| one == name).map(|(_, file)| file.clone());
        found.ok_or_else(|| {
            let known = all.into_iter().map(|(name, _)| name).collect();
            Unknown { name: name.to_owned(), known }
        })
    }

    /// What the gateway would find if these files had this content: with its environment if that is known, else whatever the
    /// references come to.
    pub(super) fn check(&self, planned: &[(PathBuf, String)]) -> Result<Config, config::Error> {
        if self.place.is_environment_known() {
            config::preview_as(&self.source, planned, &|name| self.place.variable(name))
        } else {
            config::preview(&self.source, planned)
        }
    }
}

impl ToExit for Unknown {
    fn to_exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(match self.known.as_slice() {
            [] => "it has none; `mcpeg upstream add` adds one".to_owned(),
            known => format!("it has {}", known.join(", ")),
        })
    }
}
