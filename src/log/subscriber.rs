//! Putting the subscriber together and making it the process's own.

use std::io;
use std::panic::{self, PanicHookInfo};
use std::path::PathBuf;

use tracing::Subscriber;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{Log, LogFormat};
use crate::exit::{Exit, ToExit};

use super::format::{FileFields, Journal, clock};
use super::{Console, file};

/// One output, whatever its format.
type Output = Box<dyn Layer<Registry> + Send + Sync>;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log file cannot be opened or made.
    #[error("cannot open log file `{}`", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The directory of the log file cannot be made.
    #[error("cannot create the log file's directory `{}`", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The filter directives cannot be read; configurations that were loaded have been checked for this.
    #[error("`{level}` is not a log level")]
    Level {
        /// The directives.
        level: String,
        /// What is wrong with them.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The process has a subscriber already.
    #[error("the log has been set up before")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Keeps the file's writer alive; dropping it writes out every queued event.
#[must_use = "dropping the guard ends the log file's writer"]
pub struct Guard {
    /// The writer's thread, if there is a file.
    file: Option<WorkerGuard>,
    /// Replaces the filter.
    replace: Box<dyn Fn(EnvFilter) + Send + Sync>,
}

impl Guard {
    /// Logs from now on what these directives let pass.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn set_level(&self, level: &str) -> Result<(), Error> {
        (self.replace)(filter(level)?);
        Ok(())
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Makes the log of this process: from here on events go to the console and the file, and a panic is an event too.
///
/// # Errors
/// If the log file cannot be opened or made, or if this is the second call in this process.
pub fn init(log: &Log, console: Console) -> Result<Guard, Error> {
    let (subscriber, guard) = build(log, console, io::stderr)?;
    subscriber.try_init().map_err(Error::Twice)?;
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        log_panic(info);
        default(info);
    }));
    Ok(guard)
}

/// Puts the subscriber together, with `stderr` for standard error.
fn build<W>(log: &Log, console: Console, stderr: W) -> Result<(impl Subscriber + Send + Sync, Guard), Error>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter(&log.level)?);
    let mut outputs: Vec<Output> = Vec::new();
    outputs.extend(console_output(console, stderr));
    // It fails only when the subscriber is gone, and with it everything that could be logged.
    let replace = Box::new(move |filter| drop(handle.reload(filter)));
    let mut guard = Guard { file: None, replace };
    if let Some(path) = &log.file {
        let builder = NonBlockingBuilder::default().lossy(false).thread_name("mcpeg-log");
        let (writer, worker) = builder.finish(file::open(path)?);
        outputs.push(file_output(log.format, writer));
        guard.file = Some(worker);
    }
    Ok((tracing_subscriber::registry().with(outputs).with(filter), guard))
}

/// Reads filter directives.
fn filter(level: &str) -> Result<EnvFilter, Error> {
    let parsed = EnvFilter::builder().parse(level);
    parsed.map_err(|source| Error::Level { level: level.to_owned(), source })
}

/// The console's output. Errors of writing are not reported, because the report would go to standard error too, and
/// panic if that is closed.
fn console_output<W>(console: Console, stderr: W) -> Option<Output>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(stderr).log_internal_errors(false);
    match console {
        Console::Off => None,
        Console::Text { colour } => Some(layer.with_ansi(colour).with_timer(clock()).boxed()),
        Console::Journal => Some(layer.with_ansi(false).event_format(Journal::new()).boxed()),
    }
}

/// The file's output.
fn file_output(format: LogFormat, writer: NonBlocking) -> Output {
    let layer = fmt::layer().with_writer(writer).with_ansi(false).log_internal_errors(false);
    match format {
        LogFormat::Text => layer.fmt_fields(FileFields::default()).with_timer(clock()).boxed(),
        LogFormat::Json => {
            layer.json().flatten_event(true).with_current_span(false).with_timer(clock()).boxed()
        }
    }
}

/// Writes a panic to the log, so that it is found where people look, also without a console.
fn log_panic(info: &PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let message = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("panic without a message");
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    tracing::error!(target: "mcpeg::panic", location, thread, "{message}");
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Open { .. } | Self::Directory { .. } => Exit::CannotCreate,
            Self::Level { .. } => Exit::Config,
            Self::Twice(_) => Exit::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        let (Self::Open { source, .. } | Self::Directory { source, .. }) = self else { return None };
        let fix = match source.raw_os_error() {
            Some(nix::libc::ELOOP) => "the log file must not be a symbolic link; name the file itself",
            Some(nix::libc::EACCES | nix::libc::EPERM | nix::libc::EROFS) => {
                "let mcpeg's user write there, or name another file with --log-file or in [log]"
            }
            _ => "name a regular file with --log-file or in [log], or leave it out to log to standard error",
        };
        Some(fix.to_owned())
    }
}

#[cfg(test)]
#[path = "subscriber_tests.rs"]
mod tests;
