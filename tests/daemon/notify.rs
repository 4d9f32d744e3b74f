//! `sd_notify(3)` over a real datagram socket.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::sys::signal::Signal;

use crate::support::daemon::{DEADLINE, Site, finish, send};

/// The next message that is not about the descriptor store.
pub(crate) fn message(socket: &UnixDatagram) -> String {
    loop {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
        if !text.starts_with("FDSTORE") {
            return text;
        }
    }
}

#[test]
fn manager_learns_of_ready_and_stopping() {
    let site = Site::new();
    let socket = UnixDatagram::bind(site.path("notify")).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let child = site.mcpeg(&[]).env("NOTIFY_SOCKET", site.path("notify")).spawn().unwrap();
    let ready = message(&socket);
    assert!(ready.lines().any(|line| line == "READY=1"), "{ready}");
    assert!(ready.lines().any(|line| line == format!("MAINPID={}", child.id())), "{ready}");
    assert!(ready.contains(&format!("serving on http://{}/mcp;", site.address())), "{ready}");
    assert_eq!(site.pid(), child.id().cast_signed(), "ready was announced before the pid file was there");
    assert!(ready.contains("1 of 1 upstreams ready; 0 sessions"), "{ready}");
    send(child.id().cast_signed(), Signal::SIGTERM);
    let stopping = message(&socket);
    assert!(stopping.lines().any(|line| line == "STOPPING=1"), "{stopping}");
    let extended = message(&socket);
    assert!(extended.starts_with("EXTEND_TIMEOUT_USEC="), "{extended}");
    assert_eq!(finish(child).code, Some(0));
}

#[test]
fn watchdog_is_fed_over_an_abstract_socket() {
    let site = Site::new();
    let name = format!("mcpeg-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut mcpeg = site.mcpeg(&[]);
    mcpeg.env("NOTIFY_SOCKET", format!("@{name}")).env("WATCHDOG_USEC", "200000");
    let child = mcpeg.spawn().unwrap();
    assert!(message(&socket).starts_with("READY=1"));
    for _ in 0..3 {
        assert_eq!(message(&socket), "WATCHDOG=1");
    }
    send(child.id().cast_signed(), Signal::SIGTERM);
    assert_eq!(finish(child).code, Some(0));
}

#[test]
fn signs_of_life_follow_the_listeners_of_a_reload() {
    let site = Site::new();
    let socket = UnixDatagram::bind(site.path("notify")).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let config = |also: &str| format!("[server]\nlisten = [\"127.0.0.1:0\"{also}]\n");
    site.write("mcpeg.toml", config(&format!(", \"unix:{}\"", site.path("mcp.sock").display())));
    let mut mcpeg = site.mcpeg(&["--log-file", site.path("log").to_str().unwrap()]);
    // A sign each second: the next one is waited for while the listener goes.
    let child =
        mcpeg.env("NOTIFY_SOCKET", site.path("notify")).env("WATCHDOG_USEC", "2000000").spawn().unwrap();
    assert!(message(&socket).starts_with("READY=1"));
    site.write("mcpeg.toml", config(""));
    assert_eq!(site.run(&["--reload"]).code, Some(0));
    let mut signs = 0;
    while signs < 3 {
        signs += u32::from(message(&socket) == "WATCHDOG=1");
    }
    send(child.id().cast_signed(), Signal::SIGTERM);
    assert_eq!(finish(child).code, Some(0));
    let log = std::fs::read_to_string(site.path("log")).unwrap();
    assert!(log.contains("reloaded the configuration") && !log.contains("cannot reach ourselves"), "{log}");
}

#[test]
fn absent_manager_does_not_keep_the_gateway_from_serving() {
    let site = Site::new();
    let child = site.mcpeg(&["--daemon"]).env("NOTIFY_SOCKET", site.path("nobody")).spawn().unwrap();
    assert_eq!(finish(child).code, Some(0));
    assert_eq!(site.status()["state"], "running");
}
