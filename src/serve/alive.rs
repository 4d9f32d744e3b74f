//! Signs of life: ours, by requests to ourselves over each listener, and the launcher's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpSocket;
use tokio::net::unix::pipe;

use super::error::Error;
use crate::gateway::Gateway;
use crate::probe;
use crate::sys::net::Address;

/// How long one request to ourselves may take.
const PROBE_LIMIT: Duration = Duration::from_secs(5);
/// What is asked for.
const LIVE: &str = "/health/live";

/// Waits until a sign of life is due, and proves that there is life.
pub(super) async fn sign_of_life(
    interval: Option<Duration>,
    gateway: Gateway,
    addresses: Vec<Address>,
) -> Result<(), Error> {
    due(interval).await;
    ask_ourselves(&gateway, &addresses).await
}

/// Waits for the interval; for ever without one.
pub(super) async fn due(interval: Option<Duration>) {
    match interval {
        Some(interval) => tokio::time::sleep(interval).await,
        None => std::future::pending().await,
    }
}

/// Sends `GET /health/live` to each listener. The gateway lets us in however many clients there are.
pub(super) async fn ask_ourselves(gateway: &Gateway, addresses: &[Address]) -> Result<(), Error> {
    for address in addresses {
        let asked = match address {
            Address::Tcp(address) => {
                let address = reachable(*address);
                match bound(address) {
                    Ok((socket, own)) => {
                        let _expected = gateway.expect(own);
                        probe::get_from(socket, address, LIVE, PROBE_LIMIT).await
                    }
                    // An address that is not this machine's own cannot be bound; it is asked all the same.
                    Err(_) => probe::get(&probe::Target::Tcp(address.to_string()), LIVE, PROBE_LIMIT).await,
                }
            }
            // A passed socket without a path cannot be asked.
            Address::Unix(path) if path.as_os_str().is_empty() => continue,
            Address::Unix(path) => probe::get(&probe::Target::Unix(path.clone()), LIVE, PROBE_LIMIT).await,
        };
        let (status, _) = asked?;
        if !status.is_success() {
            return Err(Error::NotLive(address.to_string(), status.as_u16()));
        }
    }
    Ok(())
}

/// Where a listener is reached: instead of the unspecified address, its family's loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// A socket for asking ourselves at an address, and where the request will come from.
fn bound(mut address: SocketAddr) -> io::Result<(TcpSocket, SocketAddr)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    address.set_port(0);
    socket.bind(address)?;
    let own = socket.local_addr()?;
    Ok((socket, own))
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
