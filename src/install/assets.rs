//! What the installed files hold.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use super::error::Error;
use super::files::Digest;
use super::layout;
use crate::render::{
    AccountName, DefaultConfiguration, ExecWord, FieldPath, Logrotate, Seconds, Service, Sysusers, Tmpfiles,
    TomlString,
};

/// The running program, even if its file was moved or removed meanwhile (proc(5)).
const RUNNING: &str = "/proc/self/exe";

/// Longer than the default `drain_timeout` of 30 s and the time that upstreams get to end after it.
const STOP_TIMEOUT: Seconds = Seconds::new(Duration::from_secs(60));

/// Manual and completions, in the order of [`layout::DOCUMENTS`].
const DOCUMENTS: [&[u8]; 7] = [
    include_bytes!("../../packaging/man/mcpeg.8"),
    include_bytes!("../../packaging/man/mcpeg.toml.5"),
    include_bytes!("../../packaging/man/mcpeg-install.8"),
    include_bytes!("../../packaging/man/mcpeg-uninstall.8"),
    include_bytes!("../../completions/mcpeg.bash"),
    include_bytes!("../../completions/_mcpeg"),
    include_bytes!("../../completions/mcpeg.fish"),
];

/// The content of one file.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// The program that runs now.
    Program,
    /// Text or a document.
    Bytes(Cow<'static, [u8]>),
}

impl Content {
    /// The content as a stream, from its beginning.
    ///
    /// # Errors
    /// [`Error::File`] if the running program cannot be read.
    pub(super) fn open(&self) -> Result<Box<dyn Read + '_>, Error> {
        Ok(match self {
            Self::Program => Box::new(File::open(RUNNING).map_err(Error::file("read", RUNNING))?),
            Self::Bytes(bytes) => Box::new(&bytes[..]),
        })
    }

    /// Its digest.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(super) fn digest(&self) -> Result<Digest, Error> {
        Digest::of(self.open()?).map_err(Error::file("read", RUNNING))
    }
}

/// The files of [`render_units`], each with its text.
#[derive(Debug)]
pub struct Units {
    /// `mcpeg.service`.
    pub service: String,
    /// `mcpeg.conf` of sysusers.d(5).
    pub sysusers: String,
    /// `mcpeg.conf` of tmpfiles.d(5).
    pub tmpfiles: String,
    /// The configuration of a fresh installation.
    pub configuration: String,
    /// The snippet for logrotate(8), an example.
    pub logrotate: String,
}

/// Renders everything that comes from templates, for a program at this place.
///
/// # Panics
/// If a path of the layout could not be written into a unit; the tests render all of them.
#[must_use]
pub fn render_units(program: &str) -> Units {
    let account = AccountName::new(layout::ACCOUNT).expect("the account's name is valid");
    let word = |path| ExecWord::new(Path::new(path)).expect("paths of the layout are plain");
    let field = |path| FieldPath::new(Path::new(path)).expect("paths of the layout are plain");
    let service = Service {
        program: word(program),
        configuration: word(layout::CONFIGURATION),
        account: account.clone(),
        stop_timeout: STOP_TIMEOUT,
    };
    let configuration = DefaultConfiguration {
        log_file: TomlString::new(Path::new(layout::LOG_FILE)).expect("paths of the layout are plain"),
        drop_ins: field(layout::DROP_INS),
    };
    let logrotate = Logrotate {
        program: word(program),
        configuration: field(layout::CONFIGURATION),
        log_file: field(layout::LOG_FILE),
    };
    Units {
        service: service.text(),
        sysusers: Sysusers { account: account.clone(), home: field(layout::HOME) }.text(),
        tmpfiles: Tmpfiles { account, directory: field(layout::CONFIGURATION_DIRECTORY) }.text(),
        configuration: configuration.text(),
        logrotate: logrotate.text(),
    }
}

/// Manual and completions with their places.
pub(super) fn documents() -> impl Iterator<Item = (&'static str, Content)> {
    layout::DOCUMENTS.into_iter().zip(DOCUMENTS.map(|bytes| Content::Bytes(Cow::Borrowed(bytes))))
}
