//! systemd's descriptor store, `sd_notify(3)` `FDSTORE=1`, over a real notify socket: what is put there, and what the
//! next process makes of it.

use std::io::{IoSliceMut, Read, Write as _};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Child, Stdio};

use nix::sys::signal::Signal;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use crate::support::daemon::{DEADLINE, Site, finish, send};
use crate::support::port::Port;

/// A service manager's end of the notify socket.
struct Manager {
    /// The socket.
    socket: UnixDatagram,
    /// The site.
    site: Site,
}

impl Manager {
    /// Waits for messages of gateways of the site.
    fn new(site: Site) -> Self {
        let socket = UnixDatagram::bind(site.path("notify")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, site }
    }

    /// Starts a gateway, with descriptors that the store held.
    fn start(&self, stored: Option<(&str, OwnedFd)>) -> Child {
        let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ exec \"$MCPEG\"";
        let mut shell = self.site.shell(if stored.is_some() { script } else { "exec \"$MCPEG\"" });
        shell.env("NOTIFY_SOCKET", self.site.path("notify"));
        if let Some((name, descriptor)) = stored {
            shell.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name).stdin(Stdio::from(descriptor));
        }
        shell.spawn().unwrap()
    }

    /// The next message that is not the line for `systemctl status`, with its descriptors.
    fn next(&self) -> (String, Vec<OwnedFd>) {
        loop {
            let mut buffer = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::CMSG_CLOEXEC;
            let parts = &mut [IoSliceMut::new(&mut buffer)];
            let length = rustix::net::recvmsg(&self.socket, parts, &mut control, flags).unwrap().bytes;
            let rights = control.drain().filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            });
            let descriptors = rights.flatten().collect();
            let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
            if !text.starts_with("STATUS=") {
                return (text, descriptors);
            }
        }
    }

    /// Insists on the next message.
    fn expect(&self, wanted: &str) -> Vec<OwnedFd> {
        let (text, descriptors) = self.next();
        assert!(text.starts_with(wanted), "waited for {wanted}, got {text}");
        descriptors
    }

    /// Insists that the next message puts one listener into the store.
    fn expect_stored(&self, name: &str) -> OwnedFd {
        let descriptors = self.expect(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"));
        let [descriptor] = <[OwnedFd; 1]>::try_from(descriptors).unwrap();
        descriptor
    }
}

/// A configuration with this listener.
fn config(address: &str) -> String {
    format!("[server]\nlisten = [\"{address}\"]\n")
}

/// Begins a connection with a request, which waits until somebody accepts it.
fn ask(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

/// Whether the connection's request is answered well.
fn is_answered(mut stream: impl Read) -> bool {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.starts_with("HTTP/1.1 200 ")
}

/// Ends a gateway in good order.
fn stop(manager: &Manager, gateway: Child) {
    send(gateway.id().cast_signed(), Signal::SIGTERM);
    manager.expect("STOPPING=1");
    manager.expect("EXTEND_TIMEOUT_USEC=");
    assert_eq!(finish(gateway).code, Some(0));
}

#[test]
fn connections_wait_in_the_store_while_the_gateway_is_killed_or_restarted() {
    let manager = Manager::new(Site::new());
    let name = "mcpeg-listen-127.0.0.1%3A0";
    let gateway = manager.start(None);
    let mut stored = manager.expect_stored(name);
    manager.expect("READY=1");
    let address = manager.site.address();

    send(gateway.id().cast_signed(), Signal::SIGKILL);
    assert_eq!(finish(gateway).signal, Some(9));
    let waiting = ask(address);
    let gateway = manager.start(Some((name, stored.try_clone().unwrap())));
    // It is there already, and stays.
    manager.expect("READY=1");
    assert!(is_answered(waiting), "a connection was lost with the killed process");
    assert_eq!(manager.site.address(), address, "port 0 stays the port that it was");

    stop(&manager, gateway);
    let waiting = ask(address);
    // Somebody has changed the configuration in the meantime, but not the listener.
    manager.site.write("mcpeg.toml", config("127.0.0.1:0") + "drain_timeout = \"5s\"\n");
    let gateway = manager.start(Some((name, stored)));
    manager.expect("READY=1");
    assert!(is_answered(waiting), "a connection was lost during the restart");

    // A reload that exchanges the listener exchanges what is stored.
    let unused = Port::free();
    manager.site.write("mcpeg.toml", config(&unused.address.to_string()));
    let reload = manager.site.mcpeg(&["--reload"]).spawn().unwrap();
    manager.expect("RELOADING=1");
    manager.expect(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
    stored = manager.expect_stored(&format!("mcpeg-listen-127.0.0.1%3A{}", unused.address.port()));
    manager.expect("READY=1");
    assert_eq!(finish(reload).code, Some(0));
    stop(&manager, gateway);
    drop(stored);
}

#[test]
fn port_is_refused_to_clients_and_given_to_whoever_names_it() {
    let port = Port::free();
    assert!(std::net::TcpStream::connect(port.address).is_err());
    let listener = std::net::TcpListener::bind(port.address).unwrap();
    assert!(std::net::TcpStream::connect(port.address).is_ok());
    drop(listener);
}

#[test]
fn stored_listener_that_is_not_configured_any_more_is_removed_before_others_are_bound() {
    let manager = Manager::new(Site::new());
    let stored = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = stored.local_addr().unwrap().port();
    // The one address cannot be bound while the manager holds the port at all of them.
    manager.site.write("mcpeg.toml", config(&format!("127.0.0.1:{port}")));
    let name = format!("mcpeg-listen-0.0.0.0%3A{port}");
    let passed = stored.try_clone().unwrap();
    let gateway = manager.start(Some((&name, passed.into())));
    manager.expect(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
    drop(stored);
    // Closing the descriptor that comes with it confirms.
    drop(manager.expect("BARRIER=1"));
    manager.expect_stored(&format!("mcpeg-listen-127.0.0.1%3A{port}"));
    manager.expect("READY=1");
    stop(&manager, gateway);
}

#[test]
fn stored_listener_whose_address_a_wide_one_has_too_stays_with_those_who_wait_there() {
    let manager = Manager::new(Site::new());
    let stored = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stored.local_addr().unwrap();
    let waiting = ask(address);
    manager.site.write("mcpeg.toml", config(&format!("0.0.0.0:{}", address.port())) + "auth = \"none\"\n");
    let name = format!("mcpeg-listen-127.0.0.1%3A{}", address.port());
    let gateway = manager.start(Some((&name, stored.into())));
    manager.expect_stored(&format!("mcpeg-listen-0.0.0.0%3A{}", address.port()));
    manager.expect("READY=1");
    assert!(is_answered(waiting), "a connection was lost with the narrow address");
    stop(&manager, gateway);
}

#[test]
fn upgraded_process_exchanges_what_is_stored_when_it_is_the_main_process() {
    let manager = Manager::new(Site::new());
    let name = "mcpeg-listen-127.0.0.1%3A0";
    let gateway = manager.start(None);
    manager.expect_stored(name);
    manager.expect("READY=1");
    let unused = Port::free();
    manager.site.write("mcpeg.toml", config(&unused.address.to_string()));
    let restart = manager.site.mcpeg(&["--restart"]).spawn().unwrap();
    manager.expect("MAINPID=");
    drop(manager.expect("BARRIER=1"));
    manager.expect(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
    manager.expect_stored(&format!("mcpeg-listen-127.0.0.1%3A{}", unused.address.port()));
    assert_eq!(finish(restart).code, Some(0));
    assert_eq!(manager.site.run(&["--stop"]).code, Some(0));
    assert_eq!(finish(gateway).code, Some(0));
}

/// The name in the store of a site's Unix listener.
fn unix_name(socket: &Path) -> String {
    let file = std::fs::symlink_metadata(socket).unwrap();
    let path = socket.display().to_string();
    assert!(path.bytes().all(|byte| byte.is_ascii_graphic() && !b":%".contains(&byte)), "{path}");
    format!("mcpeg-unix-{:x}-{:x}-unix%3A{path}", file.dev(), file.ino())
}

/// Begins a connection with a request to a Unix socket.
fn ask_unix(socket: &Path) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

#[test]
fn unix_socket_and_its_file_outlive_the_gateway_and_go_with_the_listener() {
    let manager = Manager::new(Site::new());
    let socket = manager.site.path("mcp.sock");
    let listen = |also: &str| format!("[server]\nlisten = [\"unix:{}\"{also}]\n", socket.display());
    manager.site.write("mcpeg.toml", listen(""));
    let gateway = manager.start(None);
    let (text, mut descriptors) = manager.next();
    let name = unix_name(&socket);
    assert_eq!(text, format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"));
    let stored = descriptors.pop().unwrap();
    manager.expect("READY=1");
    let file = std::fs::metadata(&socket).unwrap().ino();

    send(gateway.id().cast_signed(), Signal::SIGKILL);
    assert_eq!(finish(gateway).signal, Some(9));
    let waiting = ask_unix(&socket);
    let gateway = manager.start(Some((&name, stored.try_clone().unwrap())));
    manager.expect("READY=1");
    assert!(is_answered(waiting), "a connection was lost with the killed process");

    stop(&manager, gateway);
    let waiting = ask_unix(&socket);
    let gateway = manager.start(Some((&name, stored.try_clone().unwrap())));
    manager.expect("READY=1");
    assert!(is_answered(waiting), "a connection was lost during the restart");
    assert_eq!(std::fs::metadata(&socket).unwrap().ino(), file, "it is another file");

    // The next process of an upgrade knows what lies in the store too, and a reload that removes the listener removes all.
    let restart = manager.site.mcpeg(&["--restart"]).spawn().unwrap();
    manager.expect("MAINPID=");
    drop(manager.expect("BARRIER=1"));
    assert_eq!(finish(restart).code, Some(0));
    manager.site.write("mcpeg.toml", config("127.0.0.1:0"));
    let reload = manager.site.mcpeg(&["--reload"]).spawn().unwrap();
    manager.expect("RELOADING=1");
    manager.expect(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
    manager.expect_stored("mcpeg-listen-127.0.0.1%3A0");
    manager.expect("READY=1");
    assert_eq!(finish(reload).code, Some(0));
    assert!(!socket.exists(), "nobody can reach it any more");
    assert_eq!(manager.site.run(&["--stop"]).code, Some(0));
    assert_eq!(finish(gateway).code, Some(0));
}

#[test]
fn stored_unix_socket_that_nobody_can_reach_is_bound_anew() {
    let manager = Manager::new(Site::new());
    let socket = manager.site.path("mcp.sock");
    manager.site.write("mcpeg.toml", format!("[server]\nlisten = [\"unix:{}\"]\n", socket.display()));
    let gateway = manager.start(None);
    let stored = manager.next().1.pop().unwrap();
    let name = unix_name(&socket);
    manager.expect("READY=1");
    stop(&manager, gateway);
    assert!(socket.exists(), "systemd holds the socket, so its file stays");
    std::fs::remove_file(&socket).unwrap();
    let gateway = manager.start(Some((&name, stored)));
    manager.expect(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
    drop(manager.expect("BARRIER=1"));
    let (text, _) = manager.next();
    assert_eq!(text, format!("FDSTORE=1\nFDNAME={}\nFDPOLL=0", unix_name(&socket)));
    manager.expect("READY=1");
    assert!(is_answered(ask_unix(&socket)));
    stop(&manager, gateway);
}
