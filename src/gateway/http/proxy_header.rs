//! The header of the PROXY protocol, by which a proxy tells for whom it connects: version 1, a line, and version 2, binary
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>). The crate for it, ppp, brings a second thiserror.
//!
//! It is read to its last byte and no further: what comes after it is the client's.

use std::io;
use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How version 2 begins.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1 with its end.
const LONGEST_LINE: usize = 107;
/// The longest rest of version 2 that is read: addresses, and what proxies add to them.
const LONGEST_REST: u16 = 4096;

/// Reads the header. `None` is a connection of the proxy's own, or one for nobody in particular.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut beginning = [0; SIGNATURE.len()];
    stream.read_exact(&mut beginning).await?;
    if beginning == SIGNATURE { read_binary(stream).await } else { read_line(stream, &beginning).await }
}

/// Reads the rest of version 2.
async fn read_binary(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [command, family, length @ ..] = head;
    let length = u16::from_be_bytes(length);
    if length > LONGEST_REST {
        return Err(malformed());
    }
    let mut rest = vec![0; length.into()];
    stream.read_exact(&mut rest).await?;
    binary(command, family, &rest)
}

/// What version 2 says.
fn binary(command: u8, family: u8, rest: &[u8]) -> io::Result<Option<IpAddr>> {
    let four = rest.first_chunk::<4>().filter(|_| rest.len() >= 12);
    let six = rest.first_chunk::<16>().filter(|_| rest.len() >= 36);
    let address = match (command, family) {
        (0x21, 0x11) => four.map(|four| IpAddr::from(*four)),
        (0x21, 0x21) => six.map(|six| IpAddr::from(*six)),
        // LOCAL, where what follows has no meaning; AF_UNSPEC, and Unix sockets at the proxy.
        (0x20, _) | (0x21, 0x00 | 0x31) => return Ok(None),
        _ => None,
    };
    address.map(Some).ok_or_else(malformed)
}

/// Reads the rest of version 1.
async fn read_line(stream: &mut (impl AsyncRead + Unpin), beginning: &[u8]) -> io::Result<Option<IpAddr>> {
    let mut text = beginning.to_vec();
    while !text.ends_with(b"\r\n") {
        if text.len() == LONGEST_LINE || !text.starts_with(b"PROXY ") {
            return Err(malformed());
        }
        text.push(stream.read_u8().await?);
    }
    let text = std::str::from_utf8(&text).map_err(|_| malformed())?;
    line(text.trim_end_matches(['\r', '\n']))
}

/// What version 1 says.
fn line(text: &str) -> io::Result<Option<IpAddr>> {
    let words: Vec<&str> = text.split(' ').collect();
    let &[_, family, source, destination, source_port, destination_port] = words.as_slice() else {
        return if words.get(1) == Some(&"UNKNOWN") { Ok(None) } else { Err(malformed()) };
    };
    let is_port = |text: &str| text.parse::<u16>().is_ok_and(|port| port.to_string() == text);
    let address = |text: &str| match family {
        "TCP4" => text.parse().ok().map(IpAddr::V4),
        "TCP6" => text.parse().ok().map(IpAddr::V6),
        _ => None,
    };
    match (address(source), address(destination)) {
        _ if family == "UNKNOWN" => Ok(None),
        (source @ Some(_), Some(_)) if is_port(source_port) && is_port(destination_port) => Ok(source),
        _ => Err(malformed()),
    }
}

/// What was read is no header.
fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the header of the PROXY protocol is malformed")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    /// What is read, and how much is left.
    async fn told(bytes: &[u8]) -> Result<(Option<String>, usize), io::ErrorKind> {
        let mut rest = bytes;
        let address = read(&mut rest).await.map_err(|error| error.kind())?;
        Ok((address.map(|address| address.to_string()), rest.len()))
    }

    /// Version 2 with this command, family and rest.
    fn two(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest, b"GET"].concat()
    }

    #[tokio::test]
    async fn both_versions_are_read_to_their_last_byte() {
        let four = [192, 0, 2, 7, 10, 0, 0, 1, 1, 1, 2, 2];
        let six = [Ipv6Addr::LOCALHOST.octets(), Ipv6Addr::LOCALHOST.octets()].concat();
        let six = [&six[..], &[1, 1, 2, 2, 3, 0, 1, 9]].concat();
        for (bytes, address) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 65535 0\r\nGET".to_vec(), Some("192.0.2.7")),
            (b"PROXY TCP6 2001:db8::1 ::1 1 2\r\nGET".to_vec(), Some("2001:db8::1")),
            (b"PROXY UNKNOWN\r\nGET".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\nGET".to_vec(), None),
            (two(0x21, 0x11, &four), Some("192.0.2.7")),
            (two(0x21, 0x21, &six), Some("::1")),
            (two(0x20, 0x00, &[]), None),
            (two(0x20, 0x11, &four), None),
            (two(0x21, 0x31, &[0; 216]), None),
        ] {
            assert_eq!(told(&bytes).await, Ok((address.map(str::to_owned), 3)), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused_and_never_taken_for_an_address() {
        let long = format!("PROXY TCP4 {} 10.0.0.1 1 2\r\n", "1".repeat(200));
        for bytes in [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2 3\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 65536\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 01 2\r\n".to_vec(),
            b"PROXY TCP4  192.0.2.7 10.0.0.1 1 2\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n".to_vec(),
            long.into_bytes(),
            two(0x21, 0x11, &[1; 11]),
            two(0x21, 0x21, &[1; 35]),
            two(0x22, 0x11, &[1; 12]),
            two(0x11, 0x11, &[1; 12]),
            two(0x21, 0x12, &[1; 12]),
            [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat(),
        ] {
            assert_eq!(told(&bytes).await, Err(io::ErrorKind::InvalidData), "{bytes:?}");
        }
        for bytes in [&b"PROXY TCP4 192.0.2.7"[..], b"\r\n\r\n", &SIGNATURE, b""] {
            assert_eq!(told(bytes).await, Err(io::ErrorKind::UnexpectedEof), "{bytes:?}");
        }
    }
}
