//! Somebody else has put something in the place of a file that the gateway makes, or on the way to it: it is refused or
//! left alone, and what it leads to is untouched. `fs.protected_symlinks` and its kin, `proc_sys_fs(5)`, may be on or off.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use crate::support::daemon::{DEADLINE, Finished, Site, lives, until};

/// The user and group of nobody.
const NOBODY: u32 = 65534;

/// What becomes of a start that finds a trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It ends with exit code 73 and names the file.
    Refused,
    /// It serves, without that file.
    Serves,
}

/// The files that a gateway makes, and what becomes of a start with a trap in the place of each.
const FILES: [(&str, Fate); 10] = [
    ("mcpeg.pid", Fate::Refused),
    ("mcpeg.lock", Fate::Refused),
    ("mcpeg.sock", Fate::Refused),
    ("http.sock", Fate::Refused),
    ("mcpeg.log", Fate::Refused),
    ("mcpeg.sessions", Fate::Serves),
    ("mcpeg.sessions.new", Fate::Serves),
    (".mcpeg.log.lock", Fate::Serves),
    ("mcpeg.log.20200101T000000Z.000000", Fate::Serves),
    ("mcpeg.log.20200101T000000Z.000000.gz.tmp", Fate::Serves),
];

/// Changes whose a directory is, and who may write it.
type Change = fn(&Path);
/// Makes a trap at a path that leads to a victim.
type Trap = fn(at: &Path, victim: &Path);

/// Each with its name.
const TRAPS: [(&str, Trap); 5] = [
    ("symbolic link", |at, victim| symlink(victim, at).unwrap()),
    ("link to nothing", |at, victim| symlink(victim.with_file_name("absent"), at).unwrap()),
    ("hard link", |at, victim| fs::hard_link(victim, at).unwrap()),
    ("fifo", |at, _| nix::unistd::mkfifo(at, nix::sys::stat::Mode::S_IRWXU).unwrap()),
    ("directory", |at, _| fs::create_dir_all(at.join("full")).unwrap()),
];

/// A victim: a file in a directory of its own.
struct Victim(tempfile::TempDir);

impl Victim {
    /// One that could pass for each of the files.
    fn new() -> Self {
        let victim = Self(tempfile::tempdir().unwrap());
        fs::File::create(victim.path()).unwrap().write_all(b"4711\n").unwrap();
        fs::set_permissions(victim.path(), Permissions::from_mode(0o600)).unwrap();
        victim
    }

    /// The file.
    fn path(&self) -> PathBuf {
        self.0.path().join("victim")
    }

    /// Insists that nothing has happened to it, and nothing beside it.
    fn check(&self, what: &str) {
        let metadata = fs::metadata(self.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let kept = (fs::read_to_string(self.path()).unwrap(), metadata.mode() & 0o7777, metadata.uid());
        assert_eq!(kept, ("4711\n".to_owned(), 0o600, nix::unistd::geteuid().as_raw()), "{what}");
        assert_eq!(fs::read_dir(self.0.path()).unwrap().count(), 1, "{what}");
    }
}

/// A site in which everything that a gateway makes lies in one directory.
fn site() -> Site {
    let site = Site::new();
    write_config(&site, &site.path(""));
    site
}

/// Has the log and a Unix listener in this directory.
fn write_config(site: &Site, directory: &Path) {
    let directory = directory.to_str().unwrap().trim_end_matches('/');
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\", \"unix:{directory}/http.sock\"]\n\
         [log]\nfile = \"{directory}/mcpeg.log\"\n"
    );
    site.write("mcpeg.toml", text);
}

/// Starts a gateway; if it serves, gives it all reasons to write its files, and stops it.
fn try_out(site: &Site, what: &str) -> (Fate, Finished) {
    let finished = site.run(&["--daemon"]);
    if finished.code != Some(0) {
        assert_eq!(finished.code, Some(73), "{what}: {finished:?}");
        assert!(site.gateways().is_empty(), "{what}");
        return (Fate::Refused, finished);
    }
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"x","version":"0"}}}"#;
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(site.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{what}: {answer}");
    site.run(&["--log-rotate"]);
    let stopped = site.run(&["--stop"]);
    assert_eq!(stopped.code, Some(0), "{what}: {stopped:?}");
    (Fate::Serves, finished)
}

#[test]
fn nothing_in_the_place_of_a_file_leads_a_gateway_to_another_one() {
    for (file, fate) in FILES {
        for (name, trap) in TRAPS {
            let (site, victim, what) = (site(), Victim::new(), format!("{name} at {file}"));
            trap(&site.path(file), &victim.path());
            let (found, finished) = try_out(&site, &what);
            victim.check(&what);
            assert_eq!(found, fate, "{what}: {finished:?}");
            if fate == Fate::Refused {
                assert!(finished.stderr.contains(site.path(file).to_str().unwrap()), "{what}: {finished:?}");
                assert!(finished.stderr.contains("hint: "), "{what}: {finished:?}");
            }
        }
    }
}

#[test]
fn link_on_the_way_below_a_directory_of_all_is_not_followed() {
    // Run-time directory, directory of the log and of a listener, each reached through a link below /tmp.
    for which in ["run", "log", "listener", "state"] {
        let (site, victim) = (Site::new(), Victim::new());
        let link = site.path("link");
        symlink(victim.0.path(), &link).unwrap();
        let (pid_file, log, socket) = (site.pid_file(), site.path("mcpeg.log"), site.path("http.sock"));
        let [pid_file, log, socket] = [("run", pid_file), ("log", log), ("listener", socket)]
            .map(|(name, path)| if name == which { link.join(path.file_name().unwrap()) } else { path });
        site.write(
            "mcpeg.toml",
            format!(
                "[server]\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]\n[log]\nfile = \"{}\"\n",
                socket.display(),
                log.display()
            ),
        );
        let mut mcpeg = site.mcpeg(&["--daemon"]);
        mcpeg.env("MCPEG_PID_FILE", &pid_file);
        if which == "state" {
            mcpeg.env("STATE_DIRECTORY", &link);
        }
        let finished = crate::support::daemon::finish(mcpeg.spawn().unwrap());
        if which == "state" {
            assert_eq!(finished.code, Some(0), "{finished:?}");
            site.run(&["--stop"]);
        } else {
            assert_eq!(finished.code, Some(73), "{which}: {finished:?}");
            assert!(finished.stderr.contains(link.to_str().unwrap()), "{which}: {finished:?}");
            assert!(finished.stderr.contains("hint: "), "{which}: {finished:?}");
        }
        victim.check(which);
    }
}

#[test]
fn log_directory_that_is_swapped_while_running_is_not_followed() {
    let (site, victim) = (Site::new(), Victim::new());
    let (log, old) = (site.path("log"), site.path("old"));
    write_config(&site, &log);
    fs::create_dir(&log).unwrap();
    let pid = site.daemon();
    fs::rename(victim.path(), victim.0.path().join("mcpeg.log")).unwrap();
    fs::rename(&log, &old).unwrap();
    symlink(victim.0.path(), &log).unwrap();
    let rotated = site.run(&["--log-rotate"]);
    assert_ne!(rotated.code, Some(0), "{rotated:?}");
    assert!(rotated.stderr.contains(log.to_str().unwrap()), "{rotated:?}");
    // What is logged now goes where the log is.
    let before = fs::metadata(old.join("mcpeg.log")).unwrap().len();
    site.run(&["--reload"]);
    until("the log goes on in its old file", || fs::metadata(old.join("mcpeg.log")).unwrap().len() > before);
    fs::rename(victim.0.path().join("mcpeg.log"), victim.path()).unwrap();
    victim.check("swapped");
    // Once it is put right, so is the log.
    fs::remove_file(&log).unwrap();
    fs::create_dir(&log).unwrap();
    let rotated = site.run(&["--log-rotate"]);
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
    assert!(log.join("mcpeg.log").exists() && lives(pid));
    site.run(&["--stop"]);
}

#[test]
#[ignore = "needs root"]
fn files_and_directories_of_somebody_else_are_refused() {
    let ending =
        |file: &str| Path::new(file).extension().and_then(|it| it.to_str()).unwrap_or_default().to_owned();
    for (file, fate) in FILES.into_iter().filter(|(file, _)| ending(file) != "sock") {
        let (site, what) = (site(), format!("foreign {file}"));
        // A session of the attacker's making.
        let content = if file == "mcpeg.pid" { "4711\n" } else { "" };
        site.write(file, content);
        chown(site.path(file), Some(NOBODY), Some(NOBODY)).unwrap();
        let (found, finished) = try_out(&site, &what);
        let expected = if ["new", "tmp"].contains(&ending(file).as_str()) { Fate::Serves } else { fate };
        assert_eq!(found, expected, "{what}: {finished:?}");
        if found == Fate::Refused {
            assert!(finished.stderr.contains(site.path(file).to_str().unwrap()), "{what}: {finished:?}");
            assert_eq!(fs::read_to_string(site.path(file)).unwrap(), content, "{what}");
        }
    }
    // The run-time directory.
    let changes: [(&str, Change, bool); 5] = [
        ("of nobody", |path| chown(path, Some(NOBODY), None).unwrap(), true),
        (
            "of nobody, sticky",
            |path| {
                chown(path, Some(NOBODY), None).unwrap();
                fs::set_permissions(path, Permissions::from_mode(0o1777)).unwrap();
            },
            true,
        ),
        (
            "of a group of others",
            |path| {
                chown(path, None, Some(NOBODY)).unwrap();
                fs::set_permissions(path, Permissions::from_mode(0o775)).unwrap();
            },
            true,
        ),
        ("of our group", |path| fs::set_permissions(path, Permissions::from_mode(0o775)).unwrap(), false),
        ("sticky", |path| fs::set_permissions(path, Permissions::from_mode(0o1777)).unwrap(), false),
    ];
    for (what, change, refused) in changes {
        let site = site();
        change(&site.path(""));
        let (found, finished) = try_out(&site, what);
        assert_eq!(found == Fate::Refused, refused, "{what}: {finished:?}");
        if refused {
            assert!(finished.stderr.contains("hint: "), "{what}: {finished:?}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn log_directory_that_somebody_else_could_have_put_there_is_refused() {
    // Below /tmp, a directory of nobody may be anything that nobody has put there.
    let site = Site::new();
    let log = site.path("log");
    write_config(&site, &log);
    fs::create_dir(&log).unwrap();
    chown(&log, Some(NOBODY), None).unwrap();
    let finished = site.run(&["--daemon"]);
    assert_eq!(finished.code, Some(73), "{finished:?}");
    assert!(finished.stderr.contains(log.to_str().unwrap()), "{finished:?}");
    assert_eq!(fs::read_dir(&log).unwrap().count(), 0);
}
