//! The package of mcpeg, if a package manager knows one below the root.

use std::path::Path;

use fieldwork::Fieldwork;

use super::error::Error;
use super::layout;
use super::ownership::PackageState;
use super::privileged::{Tree, exec};

/// A package that has its program in place, or has left its configuration.
#[derive(Clone, Debug, PartialEq, Eq, Fieldwork)]
#[fieldwork(get, vis = "pub(super)")]
pub(super) struct Package {
    /// Its name.
    name: String,
    /// The command to use.
    manager: &'static str,
    /// How far it is installed.
    #[field(get(copy))]
    state: PackageState,
}

/// What the package managers know of mcpeg below the root.
pub(super) fn find(tree: &Tree) -> Result<Option<Package>, Error> {
    let root = tree.path().display().to_string();
    let place = format!("--admindir={}/var/lib/dpkg", root.trim_end_matches('/'));
    let ask = |tool, arguments: &[&str]| -> Result<Option<String>, Error> {
        if exec::find(tool).is_none() {
            return Ok(None);
        }
        let output = exec::output(tool, arguments)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(output.status.success().then_some(text))
    };
    if tree.look(Path::new(layout::PACKAGED_PROGRAM))?.is_some() {
        let questions = [
            ("dpkg-query", place.clone(), "--search", "apt"),
            ("rpm", format!("--root={root}"), "-qf", "dnf"),
        ];
        for (tool, place, question, manager) in questions {
            if let Some(text) = ask(tool, &[&place, question, layout::PACKAGED_PROGRAM])? {
                let name = text.split([':', '\n']).next().unwrap_or_default().trim().to_owned();
                return Ok(Some(Package { name, manager, state: PackageState::Installed }));
            }
        }
    }
    let status = ask("dpkg-query", &[&place, "--show", "--showformat=${db:Status-Status}", "mcpeg"])?;
    Ok((status.as_deref() == Some("config-files")).then(|| Package {
        name: "mcpeg".to_owned(),
        manager: "apt",
        state: PackageState::ConfigFiles,
    }))
}
