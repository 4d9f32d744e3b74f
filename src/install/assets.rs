//! What the installed files hold.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::choices::{Choices, LogRotation, NAME};
use super::error::Error;
use super::layout::Layout;
use super::privileged::Digest;
use crate::render::{
    Confinement, DefaultConfiguration, DevelopmentService, Logrotate, Service, Sysusers, Text as _, Tmpfiles,
    TomlString, Watch, WatchAct,
};
use crate::systemd::{AccountName, ExecWord, FieldPath, Invalid};

/// The running program, even if its file was moved or removed meanwhile (proc(5)).
const RUNNING: &str = "/proc/self/exe";

/// The content of one file.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// The program that runs now.
    Program,
    /// Text or a document.
    Bytes(Cow<'static, [u8]>),
}

impl Content {
    /// The content as a stream, from its beginning. Fails with [`Error::File`] if the running program cannot be read.
    pub(super) fn open(&self) -> Result<Box<dyn Read + '_>, Error> {
        Ok(match self {
            Self::Program => Box::new(File::open(RUNNING).map_err(Error::file("read", RUNNING))?),
            Self::Bytes(bytes) => Box::new(&bytes[..]),
        })
    }

    /// Its digest.
    pub(super) fn digest(&self) -> Result<Digest, Error> {
        Digest::of(self.open()?).map_err(Error::file("read", RUNNING))
    }
}

/// The files that are made from templates, each with its text.
#[derive(Debug, Default)]
pub(crate) struct Units {
    /// `mcpeg.service`.
    pub(crate) service: String,
    /// `mcpeg.conf` of sysusers.d(5).
    pub(crate) sysusers: String,
    /// `mcpeg.conf` of tmpfiles.d(5).
    pub(crate) tmpfiles: String,
    /// The configuration of a fresh installation.
    pub(crate) configuration: String,
    /// The units that follow the configuration in development.
    pub(crate) watcher: Option<[String; 2]>,
    /// What logrotate(8) reads; an example unless it rotates the log.
    pub(crate) logrotate: String,
}

/// Renders what packages ship, for a program at this place: a package cannot know the configuration, so that its unit
/// is the one in which stdio upstreams can run and the network can be reached.
pub(crate) fn render_units(program: &str) -> Units {
    let [mut layout, _] = Layout::documented();
    layout.program = PathBuf::from(program);
    render(&layout, &Choices::default_of(NAME), Confinement { children: true, loopback: false })
        .expect("the default layout has plain paths")
}

/// Renders everything that comes from templates. Fails with [`Error::Choice`] for a path that cannot be written into a
/// unit, such as a home directory with a line break in its name.
pub(super) fn render(layout: &Layout, choices: &Choices, confinement: Confinement) -> Result<Units, Error> {
    let invalid = |error: Invalid| Error::Choice(error.to_string());
    let word = |path: &Path| ExecWord::new(path).map_err(invalid);
    let field = |path: &Path| FieldPath::new(path).map_err(invalid);
    let account = |name: &str| AccountName::new(name).map_err(invalid);
    let (program, configuration) = (word(&layout.program)?, word(&layout.configuration)?);
    let (name, drop_ins) = (account(&layout.name)?, field(&layout.drop_ins)?);
    let text = DefaultConfiguration {
        listen: choices.listen().iter().map(TomlString::of).collect(),
        log_file: layout.log_file().map(|file| TomlString::new(&file).map_err(invalid)).transpose()?,
        external: choices.log_rotation() == LogRotation::Logrotate,
        name: name.clone(),
        drop_ins: drop_ins.clone(),
    }
    .text();
    let mut units = Units { configuration: text, ..Units::default() };
    if layout.is_users() {
        let file = field(&layout.configuration)?;
        let path = Watch { configuration: file, drop_ins, name: name.clone() }.text();
        units.watcher = Some([path, WatchAct { program: program.clone(), name: name.clone() }.text()]);
        units.service = DevelopmentService { program, configuration, name }.text();
        return Ok(units);
    }
    let (user, group) = (account(&layout.user)?, account(&layout.group)?);
    let home = field(layout.home.as_deref().unwrap_or(Path::new("/")))?;
    let programs = field(layout.program.parent().unwrap_or(Path::new("/")))?;
    let directory = field(&layout.configuration_directory)?;
    units.sysusers = Sysusers { account: user.clone(), group: group.clone(), home }.text();
    units.tmpfiles = Tmpfiles { group: group.clone(), directory }.text();
    units.logrotate = logrotate(layout, choices)?;
    units.service =
        Service { program, configuration, name, account: user, group, programs, confinement }.text();
    Ok(units)
}

/// What logrotate(8) reads.
/// Fails with [`render`].
pub(super) fn logrotate(layout: &Layout, choices: &Choices) -> Result<String, Error> {
    let invalid = |error: Invalid| Error::Choice(error.to_string());
    let Some(log_file) = layout.log_file() else { return Ok(String::new()) };
    let pid_file = (layout.name != NAME).then(|| ExecWord::new(&layout.pid_file)).transpose();
    let text = Logrotate {
        installed: choices.log_rotation() == LogRotation::Logrotate,
        name: AccountName::new(&layout.name).map_err(invalid)?,
        program: ExecWord::new(&layout.program).map_err(invalid)?,
        configuration: FieldPath::new(&layout.configuration).map_err(invalid)?,
        log_file: FieldPath::new(&log_file).map_err(invalid)?,
        pid_file: pid_file.map_err(invalid)?,
    };
    Ok(text.text())
}
