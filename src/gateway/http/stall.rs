//! Cutting clients that do not read, and closing connections in order.
//!
//! What cannot be written waits in the memory of the gateway and holds the connection. A client takes what was written,
//! or at least a part of it, within a time-out between two writes, as nginx has it with `send_timeout`.
//!
//! A connection that is closed with something unread is reset, and the client may lose what it has not read. So one that a
//! drain closes is closed in stages, as RFC 9112 §9.6 has it: nothing more is written, and what still comes is read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::moment::Moment;
use super::open_connections::Writing;

/// How long a client may take to close its side after ours.
const LINGER: Duration = Duration::from_millis(500);

/// A connection on which nothing may wait to be written for longer than this.
#[derive(Debug)]
pub(super) struct Stalling<S> {
    /// The connection.
    inner: S,
    /// How long a write may wait.
    patience: Duration,
    /// Whose connection it is.
    writing: Writing,
    /// The end of that time, while one waits.
    timer: Option<Pin<Box<Sleep>>>,
    /// Cancelled when connections are closed in stages.
    draining: Moment,
    /// How long what still comes is read, once nothing more is written.
    lingers: Option<Pin<Box<Sleep>>>,
}

impl<S> Stalling<S> {
    /// Watches over a connection.
    pub(super) fn new(inner: S, patience: Duration, (writing, draining): (Writing, Moment)) -> Self {
        Self { inner, patience, writing, timer: None, draining, lingers: None }
    }

    /// Passes the result of a write on, or an error if the write has waited for too long.
    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = written {
            self.writing.goes_on(result.as_ref().copied().unwrap_or(0));
            self.timer = None;
            return Poll::Ready(result);
        }
        self.writing.is_blocked();
        let patience = self.patience;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read what it was sent")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingers.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            if !self.draining.has_come() {
                return Poll::Ready(Ok(()));
            }
        }
        let this = &mut *self;
        let timer = this.lingers.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        while timer.as_mut().poll(cx).is_pending() {
            let mut scratch = [0; 1024];
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut this.inner).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_client_that_reads_is_served_and_one_that_does_not_is_cut() {
        for (reads, patience) in [(true, Duration::from_secs(600)), (false, Duration::from_millis(100))] {
            let (mut client, server) = tokio::io::duplex(1000);
            let connections =
                std::sync::Arc::<crate::gateway::http::open_connections::OpenConnections>::default();
            let client_key = crate::gateway::client::ClientKey::of(None);
            let slot = connections.take((client_key, 0, false), 1).await.unwrap();
            let mut server = Stalling::new(server, patience, (slot.writing(), Moment::default()));
            let writing = tokio::spawn(async move { server.write_all(&[0; 10_000]).await });
            if reads {
                client.read_exact(&mut [0; 10_000]).await.unwrap();
                writing.await.unwrap().unwrap();
            } else {
                assert_eq!(writing.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
            }
        }
    }
}
