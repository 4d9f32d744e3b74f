//! The serving side of the control socket; what is said over it is [`crate::control`]'s.
//!
//! A connection may carry several requests. Mode (0660) and directory guard the socket; no answer holds a secret.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc};

use super::listen;
use crate::allowance::Allowance;
use crate::control::Request;
use crate::exit::{Exit, ToExit};
use crate::sys::fs::{self as files, Owners};
use crate::sys::net::Listener;

/// How long the server lets a connection be idle, or a client leave an answer unread.
const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// The longest request, in bytes.
const REQUEST_LIMIT: u64 = 64 * 1024;
/// Connections served at once; more wait.
const CONNECTIONS: usize = 16;
/// Records of failures to accept in one [`COMPLAINTS_WINDOW`].
const COMPLAINTS: u32 = 5;
/// The time that these are for.
const COMPLAINTS_WINDOW: Duration = Duration::from_secs(10);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The name is taken by something else.
    #[error("cannot make the control socket")]
    Occupied(#[source] listen::Error),
    /// The socket cannot be made.
    #[error("cannot make the control socket `{0}`")]
    Bind(PathBuf, #[source] io::Error),
}

/// The serving side.
#[derive(Debug)]
pub(crate) struct Server {
    /// The bound socket.
    listener: tokio::net::UnixListener,
    /// Held for reading from a request to its answer.
    busy: Busy,
    /// The name that it was bound under, and the one that it is to have.
    names: Option<(PathBuf, PathBuf)>,
}

/// Tells when no request waits for its answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Busy(Arc<tokio::sync::RwLock<()>>);

impl Busy {
    /// Waits until every request that was read has its answer, at most for `limit`.
    pub(crate) async fn over(&self, limit: Duration) {
        // A client that does not read its answer is not waited for.
        let _ = tokio::time::timeout(limit, self.0.write()).await;
    }
}

impl Server {
    /// Binds the socket; the caller holds the lock, so that a socket in its place is a dead gateway's.
    pub(crate) fn bind(path: &Path) -> Result<Self, Error> {
        for stale in [path, &beside(path)] {
            listen::clear_stale_socket(stale, Owners::Ours).map_err(Error::Occupied)?;
        }
        Self::bind_at(path)
    }

    /// Binds the socket under a name beside its own, while another process serves there; [`Self::publish`] puts it in
    /// that one's place.
    pub(crate) fn prepare(path: &Path) -> Result<Self, Error> {
        let beside = beside(path);
        // What a process left there that was killed at this point.
        listen::clear_stale_socket(&beside, Owners::Ours).map_err(Error::Occupied)?;
        let mut server = Self::bind_at(&beside)?;
        server.names = Some((beside, path.to_path_buf()));
        Ok(server)
    }

    /// Binds the socket under this name.
    fn bind_at(path: &Path) -> Result<Self, Error> {
        let failed = |error| Error::Bind(path.to_path_buf(), error);
        match Listener::bind_unix(path, Owners::Ours).map_err(failed)? {
            Listener::Unix(listener) => {
                let listener = tokio::net::UnixListener::from_std(listener).map_err(failed)?;
                Ok(Self { listener, busy: Busy::default(), names: None })
            }
            Listener::Tcp(_) => unreachable!("`bind_unix` makes Unix listeners"),
        }
    }

    /// Gives a prepared socket its name. A client finds the old one or the new one, never none.
    /// Fails with what rename(2) answers.
    pub(crate) fn publish(&mut self) -> Result<(), Error> {
        if let Some((beside, path)) = self.names.take() {
            files::rename(&beside, &path).map_err(|error| {
                drop(files::remove(&beside));
                Error::Bind(path, error)
            })?;
        }
        Ok(())
    }

    /// Removes a socket that another process has prepared, and not published before its end.
    /// Fails with what unlink(2) answers.
    pub(crate) fn discard(path: &Path) -> io::Result<()> {
        match files::remove(&beside(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Tells when no request waits for its answer.
    pub(crate) fn busy(&self) -> Busy {
        self.busy.clone()
    }

    /// Answers requests until it is cancelled, and with each goes the user who asks; connections for HTTP go to `http`.
    pub(crate) async fn serve<H, F>(self, handler: H, http: mpsc::Sender<UnixStream>)
    where
        H: Fn(Request, Option<u32>) -> F + Send + Sync + 'static,
        F: Future<Output = serde_json::Value> + Send,
    {
        let handler = Arc::new(handler);
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let mut complaints = Allowance::new(COMPLAINTS, COMPLAINTS_WINDOW);
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let (handler, busy, http) = (Arc::clone(&handler), self.busy.clone(), http.clone());
                    tokio::spawn(async move {
                        match converse(stream, handler.as_ref(), &busy).await {
                            // Nobody takes it where the gateway ends.
                            Ok(Some(stream)) => drop(http.send(stream).await),
                            Ok(None) => {}
                            Err(error) => tracing::debug!(%error, "a control connection broke"),
                        }
                        drop(slot);
                    });
                }
                Err(error) => {
                    let tell = |left_out| {
                        tracing::warn!(left_out, "more such failures to accept a control connection");
                    };
                    if complaints.admits(tell) {
                        tracing::warn!(%error, "cannot accept a control connection");
                    }
                    // Out of descriptors: accepting again at once would spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// The name of the next process's socket until it is published.
fn beside(path: &Path) -> PathBuf {
    let mut beside = path.to_path_buf().into_os_string();
    beside.push("~");
    beside.into()
}

/// Serves one connection; what is left of it where it is for HTTP from now on.
async fn converse<H, F>(stream: UnixStream, handler: &H, busy: &Busy) -> io::Result<Option<UnixStream>>
where
    H: Fn(Request, Option<u32>) -> F,
    F: Future<Output = serde_json::Value>,
{
    let uid = stream.peer_cred().ok().map(|peer| peer.uid());
    let (reader, mut writer) = stream.into_split();
    let mut reader = tokio::io::BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reader).take(REQUEST_LIMIT);
        let read = tokio::time::timeout(IDLE_LIMIT, limited.read_until(b'\n', &mut line));
        if read.await.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
            return Ok(None);
        }
        let whole = line.ends_with(b"\n");
        let _answering = busy.0.read().await;
        let request = serde_json::from_slice(&line);
        let is_http = matches!(request, Ok(Request::Http)) && whole && reader.buffer().is_empty();
        let answer = match request {
            _ if is_http => serde_json::json!({ "http": true }),
            Ok(Request::Http) => serde_json::json!({ "error": "HTTP may begin after the answer only" }),
            Ok(request) if whole => handler(request, uid).await,
            Ok(_) => serde_json::json!({ "error": "the request is not one whole line" }),
            Err(error) => serde_json::json!({ "error": format!("not a request: {error}") }),
        };
        let line = format!("{answer}\n");
        let written = tokio::time::timeout(IDLE_LIMIT, writer.write_all(line.as_bytes()));
        written.await.map_err(|_| io::ErrorKind::TimedOut)??;
        if is_http {
            let stream = reader.into_inner().reunite(writer).map_err(io::Error::other)?;
            return Ok(Some(stream));
        }
        if !whole {
            return Ok(None);
        }
    }
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Occupied(error) => error.to_exit(),
            Self::Bind(..) => Exit::CannotCreate,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Occupied(error) => error.hint(),
            Self::Bind(_, error) if error.kind() == io::ErrorKind::InvalidInput => {
                Some("a Unix socket's path has at most 107 bytes; name a shorter --pid-file".to_owned())
            }
            Self::Bind(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{CLIENT_LIMIT, ask, open_http};

    #[tokio::test(flavor = "multi_thread")]
    async fn each_line_is_answered_and_nonsense_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("x.sock");
        let server = Server::bind(&path).unwrap();
        let (http, mut opened) = mpsc::channel(1);
        tokio::spawn(server.serve(|_, _| async { serde_json::json!({ "state": "running" }) }, http));
        let client = path.clone();
        let ask = move || ask::<serde_json::Value>(&client, Request::Status, CLIENT_LIMIT);
        let reply = tokio::task::spawn_blocking(ask).await.unwrap().unwrap();
        assert_eq!(reply.answer["state"], "running");
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"{\"request\":\"launch\"}\nnonsense\n").await.unwrap();
        let mut lines = tokio::io::BufReader::new(stream).lines();
        for _ in 0..2 {
            let line = lines.next_line().await.unwrap().unwrap();
            assert!(line.starts_with("{\"error\":"), "{line}");
        }
        let open = move || open_http(&path, CLIENT_LIMIT);
        let mut client = tokio::task::spawn_blocking(open).await.unwrap().unwrap();
        std::io::Write::write_all(&mut client, b"GET").unwrap();
        let mut bytes = [0; 3];
        opened.recv().await.unwrap().read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"GET");
    }
}
