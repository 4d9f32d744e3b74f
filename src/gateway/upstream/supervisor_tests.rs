//! What becomes of an upstream whose supervision has a bug.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU32;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::super::super::changes::changes;
use super::super::keepers::Keepers;
use super::super::pool::pool;
use super::*;
use crate::config::{Sharing, Upstream as Settings};

/// Settings with which opening a connection panics: `start_timeout` is beyond what any clock can hold, which no
/// configuration file can say.
fn settings(port: u16) -> Settings {
    Settings {
        name: UpstreamName::new("bug").unwrap(),
        transport: Transport::Http {
            urls: vec![format!("http://127.0.0.1:{port}/mcp")],
            headers: BTreeMap::new(),
            ca_file: None,
        },
        start_timeout: Duration::MAX,
        request_timeout: Duration::from_secs(5),
        sharing: Sharing::Shared,
        shows: Arc::default(),
        max_concurrency: None,
        max_queue: 0,
        start: Start::Eager,
        idle_timeout: None,
        health_interval: None,
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

#[tokio::test]
async fn panic_of_the_supervision_makes_the_upstream_back_off_and_try_again() {
    let asked = Arc::<AtomicU32>::default();
    let settings = settings(ignorant(Arc::clone(&asked)).await);
    let connector =
        Connector::new(&settings, &pool(false).unwrap(), 1 << 20, &Keepers::default(), None).unwrap();
    let supervisors = TaskTracker::new();
    let (upstream, _) = Upstream::start(connector, changes(), &supervisors, &mut Vec::new());
    let mut current = upstream.current.subscribe();
    for _ in 0..2 {
        current.wait_for(|(state, _)| *state == State::BackingOff).await.unwrap();
        let error = upstream.status(Audience::Operator).last_error.unwrap();
        assert!(error.contains("overflow"), "{error}");
        let told = upstream.status(Audience::Downstream).last_error.unwrap();
        assert_eq!(told, "upstream `bug` met a bug of the gateway");
        current.wait_for(|(state, _)| *state == State::Starting).await.unwrap();
    }
    assert!(asked.load(Ordering::Relaxed) >= 2);
    upstream.stop();
    supervisors.close();
    supervisors.wait().await;
    assert_eq!(upstream.state(), State::Stopped);
}
