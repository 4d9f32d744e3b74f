//! The tasks that carry the bytes of a stdio connection, and how they are held: each returns what it works with, whole
//! messages written and nothing read lost, so that they or those of another process can go on.

use std::future::ready;
use std::io::Cursor;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Chain};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::codec::FramedRead;
use tokio_util::sync::CancellationToken;

use super::child::Pipes;
use super::framing::{Ends, Line, Lines};
use super::stderr::{self, ChildErrors, Errors};
use crate::config::UpstreamName;

/// As much is gathered into one write(2) or taken by one read(2), in bytes.
const BLOCK: usize = 64 * 1024;

/// How long what a child has written before its end may take to be read.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(1);

/// Who uses the pipes: a connection. The tasks here know it weakly, and it is lost with each of them that ends.
pub(crate) trait PipeOwner: Send + Sync + 'static {
    /// Whose it is.
    fn name(&self) -> &UpstreamName;

    /// What the child writes to its standard error.
    fn errors(&self) -> &Arc<ChildErrors>;

    /// Takes one line of the child's standard output.
    fn receive(self: &Arc<Self>, line: &[u8]);

    /// Takes the ends of a line that was too long to be kept.
    fn cut(self: &Arc<Self>, ends: &Ends);

    /// Where lines for the child go, while it is to be sent any.
    fn lines(&self) -> Option<mpsc::Sender<Vec<u8>>>;

    /// The requests in flight.
    fn in_flight(&self) -> Vec<u64>;

    /// Becomes true when the child says nothing any more.
    fn closed(&self) -> watch::Receiver<bool>;

    /// Notes that one of the pipes is nobody's any more.
    fn lost(&self);
}

/// A child's standard input, and what waits to be written.
#[derive(Debug)]
struct Writing {
    /// The pipe.
    pipe: ChildStdin,
    /// Whole lines.
    queue: mpsc::Receiver<Vec<u8>>,
}

/// A child's standard output, after what another process has read of it, in lines.
#[derive(Debug)]
struct Reading(FramedRead<Chain<Cursor<Vec<u8>>, ChildStdout>, Lines>);

/// What was read but not yet used.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// Of standard output.
    pub(crate) stdout: Vec<u8>,
    /// Of standard error.
    pub(crate) stderr: Vec<u8>,
}

/// Everything that the tasks of a connection work with.
#[derive(Debug)]
pub(crate) struct Halves {
    /// Towards the child.
    writing: Writing,
    /// From it.
    reading: Reading,
    /// What it writes to standard error; `None` once it has closed that pipe.
    errors: Option<Errors>,
}

/// The tasks of a connection.
#[derive(Debug)]
pub(crate) struct Carriers {
    /// Holds them.
    hold: CancellationToken,
    /// Writes.
    writer: JoinHandle<Option<Writing>>,
    /// Reads.
    reader: JoinHandle<Option<Reading>>,
    /// Logs.
    logger: JoinHandle<Option<Errors>>,
}

impl Reading {
    /// Reads lines of at most `limit` bytes, those in `rest` first.
    fn new(pipe: ChildStdout, rest: Vec<u8>, limit: usize) -> Self {
        Self(FramedRead::with_capacity(Cursor::new(rest).chain(pipe), Lines::new(limit), BLOCK))
    }

    /// The pipe.
    fn pipe(&self) -> &ChildStdout {
        self.0.get_ref().get_ref().1
    }

    /// What was read but not used.
    fn rest(&self) -> Vec<u8> {
        let early = self.0.get_ref().get_ref().0;
        let unread = usize::try_from(early.position()).map_or(&[][..], |read| &early.get_ref()[read..]);
        [self.0.read_buffer(), unread].concat()
    }
}

impl Halves {
    /// The ends of a child's pipes, with what another process has read of them and what is to be written.
    pub(crate) fn new(pipes: Pipes, rest: Rest, queue: mpsc::Receiver<Vec<u8>>, limit: usize) -> Self {
        Self {
            writing: Writing { pipe: pipes.stdin, queue },
            reading: Reading::new(pipes.stdout, rest.stdout, limit),
            errors: pipes.stderr.map(|pipe| Errors::new(pipe, rest.stderr)),
        }
    }

    /// What was read but not used.
    pub(crate) fn rest(&self) -> Rest {
        let stderr = self.errors.as_ref().map(|errors| errors.begun().to_vec());
        Rest { stdout: self.reading.rest(), stderr: stderr.unwrap_or_default() }
    }

    /// The pipes: standard input, standard output, and standard error if that is open.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let pipes = [self.writing.pipe.as_fd(), self.reading.pipe().as_fd()].into_iter();
        pipes.chain(self.errors.iter().map(Errors::descriptor))
    }

    /// What waits to be written; the pipes are closed here.
    pub(crate) fn into_queue(self) -> mpsc::Receiver<Vec<u8>> {
        self.writing.queue
    }

    /// Starts the tasks of a connection.
    pub(crate) fn carry(self, connection: &Arc<impl PipeOwner>) -> Carriers {
        Carriers::done(Some(self.writing), Some(self.reading), self.errors).go_on(connection)
    }
}

impl Carriers {
    /// Tasks that have come to an end with this.
    fn done(writing: Option<Writing>, reading: Option<Reading>, errors: Option<Errors>) -> Self {
        Self {
            hold: CancellationToken::new(),
            writer: tokio::spawn(ready(writing)),
            reader: tokio::spawn(ready(reading)),
            logger: tokio::spawn(ready(errors)),
        }
    }

    /// Holds the tasks. Those are returned if the child does not read what it is sent within the limit, or does not
    /// read or speak any more; they must go on then.
    pub(crate) async fn hold(mut self, limit: Duration) -> Result<Halves, Self> {
        self.hold.cancel();
        let Ok(writing) = timeout(limit, &mut self.writer).await else { return Err(self) };
        // Neither of these waits for the child.
        let (reading, errors) = tokio::join!(self.reader, self.logger);
        let (writing, reading) = (writing.ok().flatten(), reading.ok().flatten());
        let errors = errors.ok().flatten();
        match (writing, reading) {
            (Some(writing), Some(reading)) => Ok(Halves { writing, reading, errors }),
            (writing, reading) => Err(Self::done(writing, reading, errors)),
        }
    }

    /// Goes on where the tasks were held, or will be.
    pub(crate) fn go_on(self, connection: &Arc<impl PipeOwner>) -> Self {
        let (writer, reader, logger) = (self.writer, self.reader, self.logger);
        let (hold, child) = (CancellationToken::new(), Arc::clone(connection.errors()));
        let [to_write, to_read, to_log] = [(); 3].map(|()| hold.clone());
        // A task that has ended for good has seen to the connection itself.
        let [of_writer, of_reader] = [(); 2].map(|()| Arc::downgrade(connection));
        Self {
            hold,
            writer: tokio::spawn(async move {
                write(writer.await.ok()??, to_write, Closing(Some(of_writer))).await
            }),
            reader: tokio::spawn(async move {
                read(reader.await.ok()??, to_read, Closing(Some(of_reader))).await
            }),
            logger: tokio::spawn(async move { stderr::pass_on(child, logger.await.ok()??, to_log).await }),
        }
    }
}

/// Tells a connection that it is lost when the task that owns one of its pipes ends, also by a panic.
struct Closing<C: PipeOwner>(Option<Weak<C>>);

impl<C: PipeOwner> Closing<C> {
    /// The connection, while it is used.
    fn connection(&self) -> Option<Arc<C>> {
        self.0.as_ref()?.upgrade()
    }

    /// The task ends in another way.
    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl<C: PipeOwner> Drop for Closing<C> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection() {
            connection.lost();
        }
    }
}

/// Gathers what waits into few writes. Ends when the queue's sender is dropped.
async fn write(
    mut writing: Writing,
    hold: CancellationToken,
    mut closing: Closing<impl PipeOwner>,
) -> Option<Writing> {
    let Writing { pipe, queue } = &mut writing;
    let stopped = hold.cancelled();
    tokio::pin!(stopped);
    loop {
        let block = tokio::select! {
            biased;
            () = &mut stopped => {
                closing.disarm();
                return Some(writing);
            }
            block = queue.recv() => block,
        };
        let Some(mut block) = block else { break };
        while block.len() < BLOCK
            && let Ok(line) = queue.try_recv()
        {
            block.extend_from_slice(&line);
        }
        if let Err(error) = pipe.write_all(&block).await {
            tracing::debug!(%error, "the child does not read any more");
            // From here on requests are refused. What the child has written before is still read.
            drop(writing);
            sleep(LAST_WORDS).await;
            return None;
        }
    }
    // What the child has written before is still read: only a panic here ends the connection.
    closing.disarm();
    None
}

/// Reads until the end. An over-long line is dropped whole, the connection goes on.
async fn read(
    mut reading: Reading,
    hold: CancellationToken,
    mut closing: Closing<impl PipeOwner>,
) -> Option<Reading> {
    let mut closed = closing.connection()?.closed();
    let received = hold.run_until_cancelled(async {
        tokio::select! {
            biased;
            () = receive(&mut reading, &closing) => {}
            // It has ended, whatever still holds the pipe.
            _ = closed.wait_for(|closed| *closed) => {}
        }
    });
    if received.await.is_some() {
        return None;
    }
    closing.disarm();
    Some(reading)
}

/// Hands each line to the connection, as long as both are.
async fn receive(Reading(lines): &mut Reading, closing: &Closing<impl PipeOwner>) {
    loop {
        let line = lines.next().await;
        let Some(connection) = closing.connection() else { return };
        match line {
            Some(Ok(Line::Whole(line))) if line.iter().all(u8::is_ascii_whitespace) => {}
            Some(Ok(Line::Whole(line))) => connection.receive(&line),
            Some(Ok(Line::Cut(ends))) => connection.cut(&ends),
            Some(Err(error)) => {
                tracing::warn!(upstream = %connection.name(), %error, "the child's output cannot be read");
                return;
            }
            None => return,
        }
    }
}
