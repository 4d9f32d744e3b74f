//! What becomes of an upstream whose supervision has a bug.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU32;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::config::{Pin, Sharing, Transport, Upstream as Settings, UpstreamName};
use crate::gateway::changes::Changes;
use crate::gateway::status::Audience;
use crate::gateway::upstream::http::client::pool;
use crate::gateway::upstream::link::negotiate::Directories;
use crate::gateway::upstream::pins::{KnownPins, Pins};
use crate::gateway::upstream::stdio::reaper::Reaper;

/// Pins of an upstream that has none.
fn unpinned(settings: &Settings) -> Arc<Pins> {
    KnownPins::new("/".into(), Changes::default()).of(&settings.name, Pin::Off)
}

/// Settings of an upstream that may take so long to start.
fn settings(port: u16, start_timeout: Duration) -> Settings {
    Settings {
        name: UpstreamName::new("bug").unwrap(),
        transport: Transport::Http {
            urls: vec![format!("http://127.0.0.1:{port}/mcp")],
            headers: BTreeMap::new(),
            client_headers: BTreeMap::new(),
            kind: crate::config::HttpTransport::Auto,
            ca_file: None,
            oauth: None,
        },
        start_timeout,
        request_timeout: Duration::from_secs(5),
        sharing: Sharing::Shared,
        health_interval: None,
        ..Settings::builtin()
    }
}

/// An endpoint that knows nothing, so that it is taken for a legacy one; counts who asks.
async fn ignorant(asked: Arc<AtomicU32>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            asked.fetch_add(1, Ordering::Relaxed);
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream
                .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .await;
        }
    });
    port
}

/// Numbers that nobody reads.
fn ledger() -> Arc<Ledger> {
    Arc::new(Ledger::new(1, &crate::config::Log::default()))
}

/// Starts an upstream with these settings.
fn start(settings: &Settings) -> (Arc<Upstream>, TaskTracker) {
    let connector = Connector::new(
        (settings, unpinned(settings)),
        &pool(false).unwrap(),
        1 << 20,
        (&Reaper::default(), &Directories { stderr: "/".into(), state: "/".into() }),
        None,
    )
    .unwrap();
    let supervisors = TaskTracker::new();
    let known = (Changes::default(), ledger());
    (Upstream::start(connector, known, &supervisors, &mut Vec::new(), None).0, supervisors)
}

#[tokio::test]
async fn panic_of_the_supervision_makes_the_upstream_back_off_and_try_again() {
    let asked = Arc::<AtomicU32>::default();
    // With a time-out beyond what any clock can hold, which no configuration file can say, opening a connection panics.
    let settings = settings(ignorant(Arc::clone(&asked)).await, Duration::MAX);
    let (upstream, supervisors) = start(&settings);
    let mut current = upstream.current.subscribe();
    for _ in 0..2 {
        current.wait_for(|(state, _)| *state == UpstreamState::BackingOff).await.unwrap();
        let error = upstream.status(Audience::Operator).last_error.unwrap();
        assert!(error.contains("overflow"), "{error}");
        let told = upstream.status(Audience::Downstream).last_error.unwrap();
        assert_eq!(told, "upstream `bug` met a bug of the gateway");
        current.wait_for(|(state, _)| *state == UpstreamState::Starting).await.unwrap();
    }
    assert!(asked.load(Ordering::Relaxed) >= 2);
    upstream.stop();
    supervisors.close();
    supervisors.wait().await;
    assert_eq!(upstream.state(), UpstreamState::Stopped);
}

#[tokio::test]
async fn attempt_that_takes_long_to_fail_is_no_life_after_which_waits_are_short_again() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(silent.local_addr().unwrap().port(), Duration::from_millis(300));
    settings.start = Start::Lazy;
    let (upstream, supervisors) = start(&settings);
    let began = Instant::now();
    let (fault, lived) = upstream.live().await.unwrap_err();
    assert!(fault.message.contains("was not ready"), "{fault}");
    assert!(began.elapsed() >= settings.start_timeout && lived.is_zero(), "{lived:?}");
    upstream.stop();
    supervisors.close();
    supervisors.wait().await;
}
