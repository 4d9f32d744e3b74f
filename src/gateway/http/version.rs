//! Which version of HTTP a client begins with, before anything of what it sent is taken.
//!
//! HTTP/2 without TLS begins with a preface that is no request of HTTP/1.1 (RFC 9113 §3.3, "prior knowledge"). Looking
//! first, instead of wrapping the connection, leaves HTTP/1.1 as fast and as small as without HTTP/2.

use std::io;
use std::os::fd::AsFd;

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, Ready};
use tokio::net::{TcpStream, UnixStream};

/// The first bytes of the preface, `PRI * HTTP/2.0`, in which it differs from every method.
const BEGINNING: &[u8; 3] = b"PRI";

/// A connection whose first bytes can be looked at.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static {
    /// Waits until something has arrived, or the end.
    fn arrival(&self) -> impl Future<Output = io::Result<Ready>> + Send;

    /// What the client begins with. While that is not clear, `WouldBlock`, after which [`Self::arrival`] waits for more.
    fn look(&self) -> io::Result<Version>;
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// HTTP/1.1 or HTTP/1.0, or nothing that is HTTP.
    One,
    /// HTTP/2.
    Two,
}

impl Connection for TcpStream {
    async fn arrival(&self) -> io::Result<Ready> {
        self.ready(Interest::READABLE).await
    }

    fn look(&self) -> io::Result<Version> {
        self.try_io(Interest::READABLE, || peek(self))
    }
}

impl Connection for UnixStream {
    async fn arrival(&self) -> io::Result<Ready> {
        self.ready(Interest::READABLE).await
    }

    fn look(&self) -> io::Result<Version> {
        self.try_io(Interest::READABLE, || peek(self))
    }
}

/// Waits for the client's first bytes. The kernel tells of each arrival once (epoll(7), `EPOLLET`), so that some of these
/// bytes cost no more than none.
pub(super) async fn version(stream: &impl Connection) -> io::Result<Version> {
    loop {
        let ready = stream.arrival().await?;
        match stream.look() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Err(_) if ready.is_read_closed() => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(_) => {}
            Ok(version) => return Ok(version),
        }
    }
}

/// Looks at the first bytes and leaves them where they are.
fn peek(socket: impl AsFd) -> io::Result<Version> {
    let mut bytes = [0; BEGINNING.len()];
    let (length, _) = recv(socket, &mut bytes[..], RecvFlags::PEEK)?;
    tell(&bytes[..length]).ok_or_else(|| io::ErrorKind::WouldBlock.into())
}

/// The version that begins with these bytes; nothing at all is the end of the connection.
fn tell(bytes: &[u8]) -> Option<Version> {
    match BEGINNING.starts_with(bytes) {
        true if bytes.len() == BEGINNING.len() => Some(Version::Two),
        true if !bytes.is_empty() => None,
        _ => Some(Version::One),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preface_is_told_from_every_method() {
        for method in ["GET", "POS", "PRO", "PUT", "PAT", "", "G", "\x16\x03\x01"] {
            assert_eq!(tell(method.as_bytes()), Some(Version::One), "{method:?}");
        }
        assert_eq!((tell(b"P"), tell(b"PR"), tell(b"PRI")), (None, None, Some(Version::Two)));
    }

    #[tokio::test]
    async fn first_bytes_stay_where_they_are_however_they_come() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut client, mut server) = UnixStream::pair().unwrap();
        let looking = tokio::spawn(async move { (version(&server).await.unwrap(), server.read_u8().await) });
        for byte in BEGINNING {
            client.write_u8(*byte).await.unwrap();
            tokio::task::yield_now().await;
        }
        let (told, first) = looking.await.unwrap();
        assert_eq!((told, first.unwrap()), (Version::Two, b'P'));
        drop(client);
    }

    #[tokio::test]
    async fn client_that_goes_after_half_of_it_keeps_nobody() {
        use tokio::io::AsyncWriteExt as _;
        let (mut client, server) = UnixStream::pair().unwrap();
        client.write_all(b"PR").await.unwrap();
        drop(client);
        let told = tokio::time::timeout(std::time::Duration::from_secs(60), version(&server)).await;
        assert_eq!(told.unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
