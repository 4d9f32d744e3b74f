//! The new process's way from its first upstream to serving alone, as [`super::upgrade`] tells it.

use std::time::Duration;

use super::alive::ask_ourselves;
use super::error::Error;
use super::serving::Serving;
use crate::daemon::control::Server;
use crate::handover::Message;

/// How long the old process may take to its leave once the files are ours: it asks once more, and tells the service manager.
const LEAVE_LIMIT: Duration = Duration::from_secs(20);

/// Takes the place of the process before this one.
pub(super) async fn succeed(serving: &mut Serving<'_>) -> Result<(), Error> {
    talk(serving, &Message::Prepared, &Message::Go).await?;
    serving.acceptor.accept()?;
    ask_ourselves(&serving.gateway, serving.acceptor.addresses()).await?;
    let mut server = Server::prepare(&serving.files.paths().control)?;
    talk(serving, &Message::Ready, &Message::Commit).await?;
    serving.gateway.sessions().remember_in(&serving.files.paths().sessions(), false);
    // An error up to here leaves all of that to the old process, which makes it its own again.
    serving.files.take_over(&mut server)?;
    serving.control.serve(server);
    let peer = serving.peer.as_mut().expect("only a process with one before it gets here");
    serving.gateway.children().adopt(|| {
        peer.sender().send(&Message::Owned);
    });
    // If the old process dies now, nothing is missing but its word to the service manager. A signal that comes now
    // is heeded when serving has begun.
    let leave = tokio::time::timeout(LEAVE_LIMIT, peer.stage(&Message::Released)).await;
    if !matches!(leave, Ok(Ok(()))) {
        tracing::warn!("the old process did not finish the upgrade in time");
    }
    serving.acceptor.listeners_mut().own_files();
    serving.acceptor.listeners_mut().store(&serving.notifier);
    serving.notifier.status(&serving.summary());
    let version = &serving.files.record().version;
    tracing::info!(version, "serving in place of the former process");
    Ok(())
}

/// Says one stage to the old process and waits for another; given up when a signal comes.
async fn talk(serving: &mut Serving<'_>, said: &Message, wanted: &Message) -> Result<(), Error> {
    let peer = serving.peer.as_mut().expect("only a process with one before it gets here");
    peer.sender().send(said);
    tokio::select! {
        result = peer.stage(wanted) => result.map_err(|failure| failure.map_or(Error::Orphaned, Error::Upgrade)),
        received = serving.signals.stop() => Err(Error::StoppedEarly(received)),
    }
}
