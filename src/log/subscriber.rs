//! Putting the subscriber together and making it the process's own.

use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::console::Console;
use super::console_writer;
use super::error::Error;
use super::file::{Active, Rotated};
use super::format::{Context, Style};
use super::health::{Health, Shared};
use super::journal_writer::{self, JournalWriter};
use super::output::Output;
use super::queue::Queue;
use super::self_report::{SelfReport, Told};
use super::worker::{Order, Rules, Worker};
use crate::audit;
use crate::config::{Audit, AuditLevel, ConsoleFormat, Log};
use crate::sys::at_exit;

/// How long the end of the process waits for the disk.
const END_LIMIT: Duration = Duration::from_secs(10);
/// How long it waits for the reader of standard error.
const CONSOLE_LIMIT: Duration = Duration::from_secs(1);
/// How long a panic waits for the disk.
const PANIC_LIMIT: Duration = Duration::from_secs(2);

/// The number of the audit's output.
const AUDIT: usize = 2;

/// One output, whatever its format.
type Boxed = Box<dyn Layer<Registry> + Send + Sync>;
/// Replaces the filter of one output.
type Replace = Box<dyn Fn(EnvFilter) + Send + Sync>;

/// Keeps the writers alive; dropping it writes out every queued event.
#[must_use = "dropping the guard ends the log's writers"]
pub struct Guard {
    /// The file's writer.
    file: Option<Writer<Order>>,
    /// The console's writer.
    console: Option<Writer<std::convert::Infallible>>,
    /// The audit's writer.
    audit: Option<Writer<Order>>,
    /// What the file's writer and the audit's share.
    shared: [Option<Arc<Shared>>; 2],
    /// Replace the filters of the file, of the console and of the audit.
    filters: [Option<Replace>; 3],
}

/// The way to the log for those who outlive the guard's scope.
#[derive(Clone, Debug)]
pub struct Handle {
    /// The file's queue and the audit's.
    queues: [Option<Arc<Queue<Order>>>; 2],
    /// What their writers share.
    shared: [Option<Arc<Shared>>; 2],
    /// Whether the audit has a file.
    audit_is_file: bool,
}

/// A writing thread.
struct Writer<T> {
    /// What it reads.
    queue: Arc<Queue<T>>,
    /// Closed when it ends.
    end: mpsc::Receiver<std::convert::Infallible>,
}

impl Guard {
    /// Goes by these settings from now on, as far as they can change while the file is open: levels, rotation, what is
    /// kept, when records are forced to the disk, and what a full disk means.
    ///
    /// # Errors
    /// If filter directives cannot be read; nothing is changed then.
    pub fn apply(&self, log: &Log) -> Result<(), Error> {
        let filters = [filter(&log.level)?, filter(console_level(log))?, filter(&audit_level(log))?];
        for (replace, filter) in self.filters.iter().zip(filters) {
            if let Some(replace) = replace {
                replace(filter);
            }
        }
        for writer in [&self.file, &self.audit].into_iter().flatten() {
            writer.queue.order(Order::Rules(Box::new(Rules::of(log))));
        }
        Ok(())
    }

    /// Lets another process own the log, which has taken this one's place.
    pub fn yield_rotation(&self) {
        for writer in [&self.file, &self.audit].into_iter().flatten() {
            writer.queue.order(Order::Yield);
        }
    }

    /// The way to the log for those who outlive this scope.
    #[must_use]
    pub fn handle(&self) -> Handle {
        let queues = [&self.file, &self.audit].map(|writer| writer.as_ref().map(|it| Arc::clone(&it.queue)));
        let is_file = |shared: &Arc<Shared>| shared.health().file != Path::new(journal_writer::SOCKET);
        let audit_is_file = self.shared[1].as_ref().is_some_and(is_file);
        Handle { queues, shared: self.shared.clone(), audit_is_file }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        for writer in [self.file.take(), self.audit.take()].into_iter().flatten() {
            writer.end(END_LIMIT);
        }
        if let Some(writer) = self.console.take() {
            writer.end(CONSOLE_LIMIT);
        }
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl Handle {
    /// Moves the log file away and opens a new one, or opens it again if it was moved; answers when the new file is in
    /// use.
    ///
    /// # Errors
    /// If there is no file, or if it cannot be moved or opened; the log then goes on in the one that is open.
    pub async fn rotate(&self) -> Result<Rotated, Error> {
        let [file, audit] = &self.queues;
        let file = rotated(file.as_ref()).await;
        match rotated(audit.as_ref().filter(|_| self.audit_is_file)).await {
            Err(Error::NoFile) => file,
            // What is asked for is the log; without one, it is the audit.
            audit if matches!(file, Err(Error::NoFile)) => audit,
            Err(error) => file.and(Err(error)),
            Ok(_) => file,
        }
    }

    /// Waits until everything that was logged before is in the file, and the audit where it goes; whether it is.
    #[must_use]
    pub fn flush(&self, limit: Duration) -> bool {
        self.queues.iter().flatten().all(|queue| queue.flush(limit))
    }

    /// How the file is.
    #[must_use]
    pub fn health(&self) -> Option<Health> {
        self.health_of(0)
    }

    /// How the audit is.
    #[must_use]
    pub fn audit_health(&self) -> Option<Health> {
        self.health_of(1)
    }

    /// How one of the two is.
    fn health_of(&self, which: usize) -> Option<Health> {
        let mut health = self.shared[which].as_ref()?.health().clone();
        health.waiting = self.queues[which].as_ref().map_or(0, |queue| queue.progress().pending());
        Some(health)
    }

    /// Waits until the gateway must stop because the log or the audit cannot be written and `on_full` is `stop`. Safe to
    /// cancel.
    pub async fn demands_stop(&self) {
        let demanded = async |shared: &Option<Arc<Shared>>| match shared {
            Some(shared) => shared.stop_demanded().await,
            None => std::future::pending().await,
        };
        tokio::select! {
            () = demanded(&self.shared[0]) => {}
            () = demanded(&self.shared[1]) => {}
        }
    }
}

/// Has the writer behind a queue rotate its file.
async fn rotated(queue: Option<&Arc<Queue<Order>>>) -> Result<Rotated, Error> {
    let queue = queue.ok_or(Error::NoFile)?;
    let (reply, answer) = oneshot::channel();
    if !queue.order(Order::Rotate(reply)) {
        return Err(Error::Ended);
    }
    answer.await.unwrap_or(Err(Error::Ended))
}

impl<T> Writer<T> {
    /// Lets the thread write the rest and end, at most for `limit`.
    fn end(self, limit: Duration) {
        self.queue.close();
        // The thread drops its end of the channel as the last thing that it does.
        let _ = self.end.recv_timeout(limit);
    }
}

impl<T: Send + 'static> Writer<T> {
    /// Starts a thread that works until the queue is closed.
    fn start(name: &str, queue: Arc<Queue<T>>, work: impl FnOnce() + Send + 'static) -> Result<Self, Error> {
        let (alive, end) = mpsc::channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            work();
            drop(alive);
        });
        thread.map_err(Error::Thread)?;
        Ok(Self { queue, end })
    }
}

/// Makes the log of this process: from here on events go to the console and the file, a panic is an event too, and
/// exit(3) and abort(3) wait until what was logged is written.
///
/// # Errors
/// If the log file cannot be opened or made, or if this is the second call in this process.
pub fn init(log: &Log, console: Console) -> Result<Guard, Error> {
    let (subscriber, guard) = build(log, console, io::stderr())?;
    subscriber.try_init().map_err(Error::Twice)?;
    let files = guard.file.iter().chain(&guard.audit);
    let queues = files.map(|writer| Arc::clone(writer.queue.progress()));
    let queues = queues.chain(guard.console.iter().map(|writer| Arc::clone(writer.queue.progress())));
    at_exit::wait_at_end(queues.collect()).map_err(Error::AtEnd)?;
    let (default, handle) = (panic::take_hook(), guard.handle());
    panic::set_hook(Box::new(move |info| {
        log_panic(info);
        let _ = handle.flush(PANIC_LIMIT);
        default(info);
    }));
    Ok(guard)
}

/// Has the journal know what `tell` tells the audit, where there is a journal: of a process that has no log.
pub fn audit_now(tell: impl FnOnce()) {
    let log = Log { audit: Audit::Auto, file: None, ..Log::default() };
    let quiet = Console::Journal;
    if !Path::new(journal_writer::SOCKET).exists() {
        return;
    }
    if let Ok((subscriber, guard)) = build(&log, quiet, io::sink()) {
        tracing::subscriber::with_default(subscriber, tell);
        drop(guard);
    }
}

/// Puts the subscriber together, with `stderr` for standard error.
fn build<W>(
    log: &Log,
    console: Console,
    stderr: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, Guard), Error>
where
    W: Write + Send + 'static,
{
    let instance = log.instance.clone().unwrap_or_else(host);
    let mut guard =
        Guard { file: None, console: None, audit: None, shared: [None, None], filters: [None, None, None] };
    let mut outputs: Vec<Boxed> = Vec::new();
    let (file_filter, console_filter) = (filter(&log.level)?, filter(console_level(log))?);
    let mut told = None;
    if let Some(style) = console_style(log, console) {
        let (context, queue) = (Arc::new(Context::new(style, &instance)), console_writer::queue());
        told = Some((Arc::clone(&context), Arc::clone(&queue)));
        let (layer, replace) =
            filtered(Output::<_, 0>::new(Arc::clone(&context), Arc::clone(&queue)), console_filter);
        outputs.push(layer);
        guard.filters[1] = Some(replace);
        let source = Arc::clone(&queue);
        let work = move || console_writer::run(&source, &context, stderr);
        guard.console = Some(Writer::start("mcpeg-console", queue, work)?);
    }
    if let Some(path) = &log.file {
        let (writer, context, shared) = to_file((log, path), &instance, ("mcpeg-log", told.clone()))?;
        guard.shared[0] = Some(shared);
        let (layer, replace) = filtered(Output::<_, 1>::new(context, Arc::clone(&writer.queue)), file_filter);
        outputs.push(layer);
        guard.filters[0] = Some(replace);
        guard.file = Some(writer);
    }
    let audit = match &log.audit {
        Audit::File(path) => Some(to_file((log, path), &instance, ("mcpeg-audit", told))?),
        Audit::Auto if console == Console::Journal => Some(to_journal(log, &instance)?),
        Audit::Auto | Audit::Off => None,
    };
    if let Some((writer, context, shared)) = audit {
        guard.shared[1] = Some(shared);
        let (layer, replace) =
            filtered(Output::<_, AUDIT>::new(context, Arc::clone(&writer.queue)), filter(&audit_level(log))?);
        outputs.push(layer);
        guard.filters[2] = Some(replace);
        guard.audit = Some(writer);
    }
    Ok((tracing_subscriber::registry().with(outputs), guard))
}

/// A writer that has begun, how its records are written, and what it shares.
type Begun = (Writer<Order>, Arc<Context>, Arc<Shared>);

/// Begins to write a file in a thread of this name, which tells a person what is wrong.
fn to_file(
    (log, path): (&Log, &Path),
    instance: &str,
    (thread, told): (&str, Option<Told>),
) -> Result<Begun, Error> {
    let context = Arc::new(Context::new(Style::of(log.format, log.spans), instance));
    let queue = Arc::new(Queue::new(log.queue, log.overflow));
    let report = SelfReport::new(Arc::clone(&context), told, path);
    let shared = Arc::clone(report.shared());
    let worker = Worker::new(log, Active::open(path)?, Arc::clone(&queue), report)?;
    Ok((Writer::start(thread, queue, move || worker.run())?, context, shared))
}

/// Begins to hand records to the journal.
fn to_journal(log: &Log, instance: &str) -> Result<Begun, Error> {
    let context = Arc::new(Context::new(Style::Fields, instance));
    let queue = Arc::new(Queue::new(log.queue, log.overflow));
    let shared = Arc::new(Shared::of(journal_writer::SOCKET.into()));
    let writer = JournalWriter::new(Arc::clone(&queue), log.queue, Arc::clone(&shared));
    Ok((Writer::start("mcpeg-audit", queue, move || writer.run())?, context, shared))
}

/// An output behind its filter, and what replaces that. The audit goes to its own output only.
fn filtered<T: Send + 'static, const NUMBER: usize>(
    output: Output<T, NUMBER>,
    filter: EnvFilter,
) -> (Boxed, Replace)
where
    Registry: for<'lookup> LookupSpan<'lookup>,
{
    let (filter, handle) = reload::Layer::new(filter);
    // It fails only when the subscriber is gone, and with it everything that could be logged.
    let replace = Box::new(move |filter| drop(handle.reload(filter)));
    let is_its_own =
        |metadata: &tracing::Metadata<'_>| (metadata.target() == audit::TARGET) == (NUMBER == AUDIT);
    let own = filter_fn(is_its_own).with_max_level_hint(LevelFilter::TRACE);
    (output.with_filter(filter.and(own)).boxed(), replace)
}

/// The directives of the audit.
fn audit_level(log: &Log) -> String {
    let level = match log.audit_level {
        AuditLevel::Info => Level::INFO,
        AuditLevel::Warn => Level::WARN,
    };
    format!("{}={level}", audit::TARGET)
}

/// Reads filter directives.
fn filter(level: &str) -> Result<EnvFilter, Error> {
    let parsed = EnvFilter::builder().parse(level);
    parsed.map_err(|source| Error::Level { level: level.to_owned(), source })
}

/// The directives of the console.
fn console_level(log: &Log) -> &str {
    log.console_level.as_deref().unwrap_or(&log.level)
}

/// How the console is written, if there is one.
fn console_style(log: &Log, console: Console) -> Option<Style> {
    match (console, log.console_format) {
        (Console::Off, _) => None,
        (_, ConsoleFormat::Always(format)) => Some(match Style::of(format, log.spans) {
            Style::Text { .. } => Style::Text { colour: console == Console::Text { colour: true } },
            style => style,
        }),
        (Console::Text { colour }, ConsoleFormat::Auto) => Some(Style::Text { colour }),
        (Console::Journal, ConsoleFormat::Auto) => Some(Style::Journal),
    }
}

/// The host's name.
fn host() -> String {
    nix::unistd::gethostname()
        .map_or_else(|_| "localhost".to_owned(), |name| name.to_string_lossy().into_owned())
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

#[cfg(test)]
#[path = "subscriber_tests.rs"]
mod tests;
