//! Signs of life: ours, by requests to ourselves over each listener, and the launcher's.

use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::unix::pipe;

use super::Error;
use crate::probe;
use crate::sys::net::Address;

/// How long one request to ourselves may take.
const PROBE_LIMIT: Duration = Duration::from_secs(5);

/// Waits until a sign of life is due, and proves that there is life.
pub(super) async fn sign_of_life(interval: Option<Duration>, addresses: Vec<Address>) -> Result<(), Error> {
    due(interval).await;
    ask_ourselves(&addresses).await
}

/// Waits for the interval; for ever without one.
pub(super) async fn due(interval: Option<Duration>) {
    match interval {
        Some(interval) => tokio::time::sleep(interval).await,
        None => std::future::pending().await,
    }
}

/// Sends `GET /health/live` to each listener.
pub(super) async fn ask_ourselves(addresses: &[Address]) -> Result<(), Error> {
    for address in addresses {
        let target = match address {
            Address::Tcp(address) => {
                // The unspecified address cannot be a destination everywhere; its family's loopback is served by it.
                let mut address = *address;
                match address.ip() {
                    std::net::IpAddr::V4(ip) if ip.is_unspecified() => {
                        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
                    }
                    std::net::IpAddr::V6(ip) if ip.is_unspecified() => {
                        address.set_ip(std::net::Ipv6Addr::LOCALHOST.into());
                    }
                    _ => {}
                }
                probe::Target::Tcp(address.to_string())
            }
            // A passed socket without a path cannot be asked.
            Address::Unix(path) if path.as_os_str().is_empty() => continue,
            Address::Unix(path) => probe::Target::Unix(path.clone()),
        };
        let (status, _) = probe::get(&target, "/health/live", PROBE_LIMIT).await?;
        if !status.is_success() {
            return Err(Error::NotLive(address.to_string(), status.as_u16()));
        }
    }
    Ok(())
}

/// Waits until the launcher is gone; for ever without one. A pipe whose reader is gone reports an error: pipe(7).
pub(super) async fn abandoned(pipe: Option<OwnedFd>) {
    if let Some(pipe) = pipe.and_then(|pipe| pipe::Sender::from_owned_fd(pipe).ok())
        && pipe.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}
