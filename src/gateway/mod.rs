//! Stand-in with the gateway's interface: `GET /health/live`, and `POST /mcp` that answers when its body is complete.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::sys::net::Listener;
use crate::{drain, exit};

/// The gateway.
#[derive(Clone, Debug)]
pub struct Gateway(Arc<Instant>);

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

impl exit::ToExit for Error {
    fn to_exit(&self) -> exit::Exit {
        exit::Exit::Bug
    }
}

/// A snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Version.
    pub version: String,
    /// Uptime.
    pub uptime_seconds: u64,
    /// Health.
    pub healthy: bool,
    /// Sessions.
    pub sessions: usize,
    /// Requests in flight.
    pub in_flight: usize,
    /// Upstreams.
    pub upstreams: Vec<serde_json::Value>,
}

impl Gateway {
    /// Starts.
    ///
    /// # Errors
    /// Never.
    pub fn start(_config: &Arc<Config>) -> Result<Self, Error> {
        Ok(Self(Arc::new(Instant::now())))
    }

    /// Serves.
    ///
    /// # Panics
    /// If a listener cannot be registered.
    pub async fn serve(&self, listener: Listener, mut drain: drain::Watch) -> usize {
        let router = Router::new()
            .route("/health/live", get(|| async { "live" }))
            .route("/mcp", post(|body: String| async move { body }));
        let mut limit = drain.clone();
        let signal = async move {
            drain.started().await;
        };
        let work = async {
            match listener {
                Listener::Tcp(listener) => {
                    let listener = tokio::net::TcpListener::from_std(listener).expect("registered");
                    axum::serve(listener, router).with_graceful_shutdown(signal).await
                }
                Listener::Unix(listener) => {
                    let listener = tokio::net::UnixListener::from_std(listener).expect("registered");
                    axum::serve(listener, router).with_graceful_shutdown(signal).await
                }
            }
        };
        tokio::select! {
            _ = work => 0,
            () = async { let at = limit.started().await; tokio::time::sleep_until(at).await } => 1,
        }
    }

    /// Settles.
    pub async fn settled(&self) {}

    /// A snapshot.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.0.elapsed().as_secs(),
            healthy: true,
            sessions: 0,
            in_flight: 0,
            upstreams: Vec::new(),
        }
    }

    /// Stops.
    pub async fn stop(&self) {}
}
