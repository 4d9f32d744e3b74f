//! A request that the test keeps in flight.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::process::DEADLINE;

/// A request that is in flight until [`Held::complete`]: its body is not sent as a whole.
pub struct Held(TcpStream);

/// The body of a request that a gateway answers in some way.
const BODY: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

impl Held {
    /// Sends the first half, and waits until the gateway has accepted it.
    pub fn start(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            BODY.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // The gateway asks for the body only when its handler reads it: from here on the request is in flight.
        let mut answer = [0; 25];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(&BODY.as_bytes()[..10]).unwrap();
        Self(stream)
    }

    /// Waits until the connection ends, and returns what was answered to what has not come as a whole.
    pub fn given_up(mut self) -> String {
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Sends the rest and returns the beginning of the answer, without waiting for the end of the connection.
    pub fn answer(mut self) -> String {
        self.0.write_all(&BODY.as_bytes()[10..]).unwrap();
        let mut answer = [0; 64];
        let length = self.0.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    /// Sends the rest and returns the whole answer.
    pub fn complete(mut self) -> String {
        self.0.write_all(&BODY.as_bytes()[10..]).unwrap();
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).unwrap();
        answer
    }
}
