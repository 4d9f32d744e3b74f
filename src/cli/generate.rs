//! `mcpeg generate`: the files that the repository and the packages ship, made from the one command line definition, the
//! table of configuration keys and the unit templates.

use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::Shell;

use super::definition::{GenerateArgs, Generated, Whom};
use super::documents::COMPLETIONS;
use super::{manual, report, verbs};
use crate::config::example;
use crate::exit::{Exit, ToExit};
use crate::install;

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{}`", .path.display())]
struct Error {
    /// The file.
    path: PathBuf,
    /// What the kernel said.
    #[source]
    source: std::io::Error,
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        Exit::CannotCreate
    }
}

/// `mcpeg generate`.
pub(super) fn run(arguments: &GenerateArgs) -> Exit {
    let files = files(arguments.what, arguments.whom);
    let written = std::fs::create_dir_all(&arguments.directory)
        .map_err(|source| Error { path: arguments.directory.clone(), source })
        .and_then(|()| {
            files.iter().try_for_each(|(name, content)| write(&arguments.directory.join(name), content))
        });
    match written {
        Ok(()) => Exit::Done,
        Err(error) => report::error(&error),
    }
}

/// The files of one kind with their content.
fn files(what: Generated, whom: Whom) -> Vec<(&'static str, Vec<u8>)> {
    match what {
        Generated::Man => manual::pages().into_iter().map(|(name, text)| (name, text.into_bytes())).collect(),
        Generated::Completions => {
            let mut files: Vec<_> = COMPLETIONS.map(|(name, text)| (name, text.to_vec())).into();
            files.extend([("mcpeg.elv", script(Shell::Elvish)), ("_mcpeg.ps1", script(Shell::PowerShell))]);
            files
        }
        Generated::Units => {
            let units = install::render_units(program(whom));
            vec![
                ("mcpeg.service", units.service.into_bytes()),
                ("mcpeg.sysusers", units.sysusers.into_bytes()),
                ("mcpeg.tmpfiles", units.tmpfiles.into_bytes()),
                ("mcpeg.toml", units.configuration.into_bytes()),
                ("mcpeg.toml.example", example::reference().into_bytes()),
                ("mcpeg.logrotate", units.logrotate.into_bytes()),
            ]
        }
    }
}

/// The script of a shell that knows the options by itself, of those that are shown.
fn script(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut shown(), "mcpeg", &mut text);
    text
}

/// The command line without the commands that are hidden, which the generators would list.
fn shown() -> Command {
    let all = verbs::command();
    let shown = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new("mcpeg")
        .version(env!("CARGO_PKG_VERSION"))
        .args(all.get_arguments().cloned())
        .groups(all.get_groups().cloned())
        .subcommands(shown.collect::<Vec<_>>())
}

/// The binary's place.
const fn program(whom: Whom) -> &'static str {
    match whom {
        Whom::Deb | Whom::Rpm => install::PACKAGED_PROGRAM,
        Whom::Local => install::LOCAL_PROGRAM,
    }
}

/// Writes one file; these are rebuilt at any time, so that a plain write does.
fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    let written =
        std::fs::File::create(path).and_then(|mut file| std::io::Write::write_all(&mut file, content));
    written.map_err(|source| Error { path: path.to_owned(), source })
}
