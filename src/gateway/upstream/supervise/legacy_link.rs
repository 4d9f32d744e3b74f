//! The legacy connection that all sessions share to a server that is modern by nature; it is opened on demand.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::gateway::error::Fault;
use crate::gateway::upstream::link::connection::Link;

/// The connection, once somebody has needed it; where the server speaks one era only, it is the native one.
#[derive(Debug, Default)]
pub(crate) struct LegacyLink(Mutex<Option<Arc<Link>>>);

impl LegacyLink {
    /// The connection, if it is open, or the one that this opens. It is opened once for all who wait.
    pub(crate) async fn get_or_open(
        &self,
        open: impl Future<Output = Result<Arc<Link>, Fault>>,
    ) -> Result<Arc<Link>, Fault> {
        let mut shared = self.0.lock().await;
        if let Some(link) = shared.as_ref().filter(|link| link.is_open()) {
            return Ok(Arc::clone(link));
        }
        let link = open.await?;
        *shared = Some(Arc::clone(&link));
        Ok(link)
    }

    /// Begins with a connection, before anybody else has it.
    pub(crate) fn put(&self, link: Arc<Link>) {
        if let Ok(mut shared) = self.0.try_lock() {
            *shared = Some(link);
        }
    }

    /// The connection, as soon as it is not being opened.
    pub(crate) async fn get(&self) -> Option<Arc<Link>> {
        self.0.lock().await.clone()
    }

    /// The connection, unless it is being opened.
    pub(crate) fn now(&self) -> Option<Arc<Link>> {
        self.0.try_lock().ok().and_then(|shared| shared.clone())
    }

    /// Ends the connection.
    pub(crate) async fn end(&self) {
        let link = self.0.lock().await.take();
        if let Some(link) = link {
            link.wire().end().await;
        }
    }

    /// For how long it was not used.
    pub(crate) fn unused(&self) -> Duration {
        match self.0.try_lock() {
            Ok(shared) => shared.as_ref().map_or(Duration::MAX, |link| {
                if link.is_busy() { Duration::ZERO } else { link.activity().unused() }
            }),
            // It is being opened for somebody.
            Err(_) => Duration::ZERO,
        }
    }
}
