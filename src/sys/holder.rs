//! Who holds a TCP port of this machine, from `proc_pid_net(5)`.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::net::UnixStream;

/// The state of a socket that listens, `TCP_LISTEN` in the kernel's `tcp_states.h`.
const LISTENS: &str = "0A";

/// The process or, where this one may not look at it, the user that listens on the port, in words; `None` if nobody does,
/// or it lies in another network namespace.
pub(crate) fn of_port(port: u16) -> Option<String> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let (uid, inode) = tables.iter().flat_map(|table| table.lines()).find_map(|line| listener(line, port))?;
    let user = users::get_user_by_uid(uid)
        .map_or_else(|| uid.to_string(), |user| user.name().to_string_lossy().into_owned());
    let mut words = String::new();
    if let Some((pid, name)) = process(inode) {
        let _ = write!(words, "`{name}` with pid {pid} of ");
    }
    let _ = write!(words, "user `{user}`");
    Some(words)
}

/// The process at the other end of a connection to a Unix socket, in words: unix(7) `SO_PEERCRED`.
pub(crate) fn of_peer(stream: &UnixStream) -> Option<String> {
    let peer = rustix::net::sockopt::socket_peercred(stream).ok()?;
    let pid = peer.pid.as_raw_nonzero();
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("`{}` with pid {pid}", name.trim()))
}

/// User and inode of a line about a socket that listens on the port.
fn listener(line: &str, port: u16) -> Option<(u32, u64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (_, local) = words.get(1)?.rsplit_once(':')?;
    let here = u16::from_str_radix(local, 16).ok()? == port && *words.get(3)? == LISTENS;
    here.then_some(())?;
    Some((words.get(7)?.parse().ok()?, words.get(9)?.parse().ok()?))
}

/// The first process that has the socket open, with its name.
fn process(inode: u64) -> Option<(u32, String)> {
    let wanted = format!("socket:[{inode}]");
    let has = |pid: &u32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.map(|fd| fd.path()).any(|fd| fs::read_link(fd).is_ok_and(|to| to.as_os_str() == wanted.as_str()))
    };
    let all = fs::read_dir("/proc").ok()?.flatten();
    let pid = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(has)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some((pid, name.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_that_listens_is_named_and_a_free_port_has_nobody() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(taken) = std::net::TcpListener::bind(address) else { continue };
            let port = taken.local_addr().unwrap().port();
            let who = of_port(port).unwrap();
            assert!(who.contains(&format!("with pid {} of user `", std::process::id())), "{who}");
            drop(taken);
            assert_eq!(of_port(port), None);
        }
    }
}
