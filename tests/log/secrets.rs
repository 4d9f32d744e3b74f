//! Values that are known to be secret are in no log, at no level.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use nix::sys::signal::Signal;

use crate::support::daemon::{Site, finish, send, until};

/// Where secrets can stand in a configuration and in a request.
const SECRETS: [&str; 6] = [
    "planted-env-value",
    "planted-argument",
    "planted-header",
    "planted-url-query",
    "planted-request-token",
    "planted-cookie",
];

/// An upstream over HTTP that refuses everything, so that errors about it are logged.
fn refusing() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream
                .write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    address
}

#[test]
fn planted_secrets_are_in_no_log() {
    let (site, upstream) = (Site::new(), refusing());
    let file = site.path("mcpeg.log");
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[log]\nlevel = \"trace\"\nfile = \"{}\"\n\
         [upstreams.child]\ncommand = \"/bin/false\"\nargs = [\"--token={}\"]\nenv = {{ TOKEN = \"{}\" }}\n\
         [upstreams.remote]\nurl = \"http://{upstream}/mcp?key={}\"\nheaders = {{ Authorization = \"Bearer {}\" }}\n",
        file.display(),
        SECRETS[1],
        SECRETS[0],
        SECRETS[3],
        SECRETS[2],
    );
    site.write("mcpeg.toml", config);
    let child = site.foreground();
    let address = site.address();
    for body in ["{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}", "nonsense"] {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Accept: application/json, text/event-stream\r\nAuthorization: Bearer {}\r\nCookie: session={}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            SECRETS[4],
            SECRETS[5],
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_to_string(&mut String::new()).unwrap();
    }
    assert_eq!(site.run(&["--reload"]).code, Some(0));
    let log = || fs::read_to_string(&file).unwrap();
    until("both upstreams have failed and the reload is over", || {
        log().contains("child") && log().contains("remote") && log().contains("reloaded the configuration")
    });
    assert_eq!(site.run(&["--restart"]).code, Some(0));
    // The new process has the standard error of the old one.
    send(site.pid(), Signal::SIGTERM);
    let finished = finish(child);
    until("every gateway has ended", || site.gateways().is_empty());
    for (name, text) in [("file", log()), ("standard error", finished.stderr)] {
        assert!(text.contains("remote"), "{name}: {text}");
        for secret in SECRETS {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} in {name}");
        }
    }
}
