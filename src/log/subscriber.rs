//! Putting the subscriber together and making it the process's own.

use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::Subscriber;
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
use super::output::Output;
use super::queue::Queue;
use super::self_report::SelfReport;
use super::worker::{Order, Rules, Worker};
use crate::config::{ConsoleFormat, Log};
use crate::sys::at_exit;

/// How long the end of the process waits for the disk.
const END_LIMIT: Duration = Duration::from_secs(10);
/// How long it waits for the reader of standard error.
const CONSOLE_LIMIT: Duration = Duration::from_secs(1);
/// How long a panic waits for the disk.
const PANIC_LIMIT: Duration = Duration::from_secs(2);

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
    /// What the file's writer shares.
    shared: Option<Arc<Shared>>,
    /// Replace the filters of the file and of the console.
    filters: [Option<Replace>; 2],
}

/// The way to the log for those who outlive the guard's scope.
#[derive(Clone, Debug)]
pub struct Handle {
    /// The file's queue.
    queue: Option<Arc<Queue<Order>>>,
    /// What its writer shares.
    shared: Option<Arc<Shared>>,
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
        let (file, console) = (filter(&log.level)?, filter(console_level(log))?);
        for (replace, filter) in self.filters.iter().zip([file, console]) {
            if let Some(replace) = replace {
                replace(filter);
            }
        }
        if let Some(writer) = &self.file {
            writer.queue.order(Order::Rules(Box::new(Rules::of(log))));
        }
        Ok(())
    }

    /// Lets another process own the log, which has taken this one's place.
    pub fn yield_rotation(&self) {
        if let Some(writer) = &self.file {
            writer.queue.order(Order::Yield);
        }
    }

    /// The way to the log for those who outlive this scope.
    #[must_use]
    pub fn handle(&self) -> Handle {
        let queue = self.file.as_ref().map(|writer| Arc::clone(&writer.queue));
        Handle { queue, shared: self.shared.clone() }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(writer) = self.file.take() {
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
        let queue = self.queue.as_ref().ok_or(Error::NoFile)?;
        let (reply, answer) = oneshot::channel();
        if !queue.order(Order::Rotate(reply)) {
            return Err(Error::Ended);
        }
        answer.await.unwrap_or(Err(Error::Ended))
    }

    /// Waits until everything that was logged before is in the file; whether it is.
    #[must_use]
    pub fn flush(&self, limit: Duration) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.flush(limit))
    }

    /// How the file is.
    #[must_use]
    pub fn health(&self) -> Option<Health> {
        let mut health = self.shared.as_ref()?.health().clone();
        health.waiting = self.queue.as_ref().map_or(0, |queue| queue.progress().pending());
        Some(health)
    }

    /// Waits until the gateway must stop because the log cannot be written and `on_full` is `stop`. Safe to cancel.
    pub async fn demands_stop(&self) {
        match &self.shared {
            Some(shared) => shared.stop_demanded().await,
            None => std::future::pending().await,
        }
    }
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
    let queues = guard.file.iter().map(|writer| Arc::clone(writer.queue.progress()));
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
    let mut guard = Guard { file: None, console: None, shared: None, filters: [None, None] };
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
        let context = Arc::new(Context::new(Style::of(log.format, log.spans), &instance));
        let queue = Arc::new(Queue::new(log.queue, log.overflow));
        let report = SelfReport::new(Arc::clone(&context), told, path);
        guard.shared = Some(Arc::clone(report.shared()));
        let worker = Worker::new(log, Active::open(path)?, Arc::clone(&queue), report)?;
        let (layer, replace) = filtered(Output::<_, 1>::new(context, Arc::clone(&queue)), file_filter);
        outputs.push(layer);
        guard.filters[0] = Some(replace);
        guard.file = Some(Writer::start("mcpeg-log", queue, move || worker.run())?);
    }
    Ok((tracing_subscriber::registry().with(outputs), guard))
}

/// An output behind its filter, and what replaces that.
fn filtered<L>(output: L, filter: EnvFilter) -> (Boxed, Replace)
where
    L: Layer<Registry> + Send + Sync,
    Registry: for<'lookup> LookupSpan<'lookup>,
{
    let (filter, handle) = reload::Layer::new(filter);
    // It fails only when the subscriber is gone, and with it everything that could be logged.
    let replace = Box::new(move |filter| drop(handle.reload(filter)));
    (output.with_filter(filter).boxed(), replace)
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
