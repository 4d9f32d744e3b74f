//! Which version of HTTP a client begins with, before anything of what it sent is taken.
//!
//! HTTP/2 without TLS begins with a preface that is no request of HTTP/1.1 (RFC 9113 §3.3, "prior knowledge"). Looking
//! first, instead of wrapping the connection, leaves HTTP/1.1 as fast and as small as without HTTP/2.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpStream, UnixStream};

/// The first bytes of the preface, `PRI * HTTP/2.0`, in which it differs from every method.
const BEGINNING: &[u8; 3] = b"PRI";
/// How long to wait for the rest of these, if only some are there; all of it is one packet in practice.
const PAUSE: Duration = Duration::from_millis(10);

/// A connection whose first bytes can be looked at.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static {
    /// What the client begins with; `None` if that is not clear yet.
    fn look(&self) -> impl Future<Output = io::Result<Option<Version>>> + Send;
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
    async fn look(&self) -> io::Result<Option<Version>> {
        self.async_io(Interest::READABLE, || peek(self)).await
    }
}

impl Connection for UnixStream {
    async fn look(&self) -> io::Result<Option<Version>> {
        self.async_io(Interest::READABLE, || peek(self)).await
    }
}

/// Waits for the client's first bytes.
pub(super) async fn version(stream: &impl Connection) -> io::Result<Version> {
    loop {
        if let Some(version) = stream.look().await? {
            return Ok(version);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Looks at the first bytes and leaves them where they are.
fn peek(socket: impl AsFd) -> io::Result<Option<Version>> {
    let mut bytes = [0; BEGINNING.len()];
    let (length, _) = recv(socket, &mut bytes[..], RecvFlags::PEEK)?;
    Ok(tell(&bytes[..length]))
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
        assert!(tokio::time::timeout(PAUSE * 5, version(&server)).await.is_err(), "it is not told");
    }
}
