//! Gateways that log to a file, and requests to them.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use crate::support::daemon::Site;

/// A site whose gateway logs to `mcpeg.log` in it, with these further lines in `[log]`.
pub(crate) fn site(lines: &str) -> Site {
    let site = Site::new();
    let file = site.path("mcpeg.log");
    site.write(
        "mcpeg.toml",
        format!("[server]\nlisten = [\"127.0.0.1:0\"]\n[log]\nfile = \"{}\"\n{lines}", file.display()),
    );
    site
}

/// The status and the body of a GET.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    request(address, path, "localhost")
}

/// A request that is refused, which is logged as a warning.
pub(crate) fn warn(address: SocketAddr) {
    assert_eq!(request(address, "/health", "elsewhere.example").0, 403);
}

/// A GET with this host.
fn request(address: SocketAddr, path: &str, host: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let answer = std::io::read_to_string(stream).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
