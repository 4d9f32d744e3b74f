//! `mcpeg --log-rotate` and SIGUSR1.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::site::site;
use crate::support::daemon::{Site, finish, send, suspend, until};

/// The rotated files.
fn rotated(site: &Site) -> Vec<PathBuf> {
    let entries = fs::read_dir(site.path("")).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("mcpeg.log.2");
    let mut found: Vec<_> = entries.filter(name).collect();
    found.sort();
    found
}

/// Waits until the log tells that the gateway serves, which its launcher may have said before.
fn begun(site: &Site) {
    until("the log tells", || fs::read_to_string(site.path("mcpeg.log")).unwrap().contains("serving on"));
}

#[test]
fn log_rotate_names_the_old_and_the_new_file_and_the_new_one_is_in_use() {
    let site = site("compress = \"none\"\n");
    site.daemon();
    begun(&site);
    let answer = site.run(&["--log-rotate"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let [old] = rotated(&site).try_into().unwrap();
    let new = site.path("mcpeg.log");
    let text = format!("rotated: {} is now {}; {0} is new\n", new.display(), old.display());
    assert_eq!(answer.stdout, text);
    assert!(fs::read_to_string(&old).unwrap().contains("serving on"));
    until("the rotation is in the new file", || {
        fs::read_to_string(&new).unwrap().contains("rotated the log file")
    });
    let json = site.run(&["--log-rotate", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["schema"], &json["rotate"]), (&1.into(), &"rotated".into()), "{json}");
    assert_eq!(json["old"], rotated(&site)[1].to_str().unwrap());
    assert_eq!(site.status()["log"]["rotations"], 2);
}

#[test]
fn file_that_cannot_be_compressed_keeps_no_newer_one_from_it_and_is_named() {
    let site = site("compress = \"gzip\"\n");
    // What root cannot read either: a link is never followed there.
    let odd = site.path("mcpeg.log.20260101T000000Z.000000");
    std::os::unix::fs::symlink("/nonexistent", &odd).unwrap();
    for (day, text) in [("20260102", "older\n"), ("20260103", "newer\n")] {
        site.write(&format!("mcpeg.log.{day}T000000Z.000000"), text);
    }
    site.daemon();
    begun(&site);
    assert_eq!(site.run(&["--log-rotate"]).code, Some(0));
    let is_compressed = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "gz");
    until("the others are compressed", || {
        let files = rotated(&site);
        files.len() == 4 && files.iter().filter(|file| is_compressed(file)).count() == 3
    });
    // Where the rotation took it.
    let told = |path: &PathBuf| {
        let mut text = String::new();
        let read = match fs::File::open(path) {
            Ok(file) if is_compressed(path) => flate2::read::GzDecoder::new(file).read_to_string(&mut text),
            Ok(mut file) => file.read_to_string(&mut text),
            Err(error) => Err(error),
        };
        read.is_ok() && text.contains(odd.to_str().unwrap())
    };
    until("it is named", || rotated(&site).iter().chain([&site.path("mcpeg.log")]).any(told));
    assert_eq!(site.run(&["--stop"]).code, Some(0));
}

#[test]
fn names_of_a_clock_that_was_ahead_are_not_gone_on_from_and_their_files_go_with_their_age() {
    let site = site("compress = \"none\"\nkeep_age = \"10d\"\nkeep_files = 100\n");
    let day = std::time::Duration::from_secs(24 * 60 * 60);
    let ahead = |number: u32| site.path(&format!("mcpeg.log.20990101T000000Z.{number:06}"));
    for (number, age) in [(0, 11), (1, 1)] {
        let file = fs::File::create(ahead(number)).unwrap();
        file.set_modified(std::time::SystemTime::now() - day * age).unwrap();
    }
    site.daemon();
    begun(&site);
    for _ in 0..2 {
        assert_eq!(site.run(&["--log-rotate"]).code, Some(0));
    }
    until("what is old goes", || !ahead(0).exists());
    assert!(ahead(1).exists(), "it is of yesterday");
    let names = rotated(&site);
    let of_2099 = names.iter().filter(|path| path.display().to_string().contains(".2099"));
    assert_eq!((names.len(), of_2099.count()), (3, 1), "{names:?}");
    assert_eq!(site.run(&["--stop"]).code, Some(0));
}

#[test]
fn a_moved_file_is_reopened_and_nothing_is_rotated() {
    for rotate in ["own", "external"] {
        let site = site(&format!("rotate = \"{rotate}\"\n"));
        site.daemon();
        fs::rename(site.path("mcpeg.log"), site.path("moved")).unwrap();
        let answer = site.run(&["--log-rotate"]);
        assert_eq!(answer.stdout, format!("reopened: {}\n", site.path("mcpeg.log").display()), "{answer:?}");
        assert!(site.path("mcpeg.log").exists());
        assert!(rotated(&site).is_empty());
    }
}

#[test]
fn external_rotation_leaves_the_file_where_it_is() {
    let site = site("rotate = \"external\"\n");
    let pid = site.daemon();
    let answer = site.run(&["--log-rotate"]);
    assert!(answer.stdout.starts_with("reopened: "), "{answer:?}");
    send(pid, Signal::SIGUSR1);
    let log = || fs::read_to_string(site.path("mcpeg.log")).unwrap();
    until("the signal is answered", || log().matches("reopened the log file").count() == 2);
    assert!(rotated(&site).is_empty());
}

#[test]
fn usr1_rotates_and_compresses() {
    let site = site("");
    let pid = site.daemon();
    begun(&site);
    send(pid, Signal::SIGUSR1);
    until(
        "the file is compressed",
        || matches!(&rotated(&site)[..], [one] if one.extension().is_some_and(|ending| ending == "gz")),
    );
    let file = fs::File::open(&rotated(&site)[0]).unwrap();
    let text = std::io::read_to_string(flate2::read::GzDecoder::new(file)).unwrap();
    assert!(text.contains("serving on"), "{text}");
}

#[test]
fn without_the_socket_the_process_is_signalled_and_the_command_says_so() {
    let site = site("compress = \"none\"\n");
    let pid = site.daemon();
    fs::remove_file(site.path("mcpeg.sock")).unwrap();
    let answer = site.run(&["--log-rotate"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(answer.stdout.contains(&format!("sent USR1 to mcpeg with pid {pid}")), "{answer:?}");
    assert!(answer.stderr.contains("control socket"), "{answer:?}");
    until("the file is rotated", || rotated(&site).len() == 1);
}

#[test]
fn a_reload_changes_who_rotates_and_when() {
    let site = site("rotate = \"external\"\n");
    site.daemon();
    assert!(site.run(&["--log-rotate"]).stdout.starts_with("reopened: "));
    let text = fs::read_to_string(site.path("mcpeg.toml")).unwrap();
    site.write(
        "mcpeg.toml",
        text.replace("\"external\"", "\"own\"\nrotate_size = \"1KiB\"\nspans = \"nested\""),
    );
    let reloaded = site.run(&["--reload"]);
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    assert!(reloaded.stderr.contains("spans in [log]"), "{reloaded:?}");
    until("the file is rotated by its size", || {
        site.run(&["--reload"]);
        rotated(&site).len() > 2
    });
}

#[test]
fn after_an_upgrade_the_new_process_rotates() {
    let site = site("");
    let old = site.daemon();
    assert_eq!(site.run(&["--restart"]).code, Some(0));
    assert_ne!(site.pid(), old);
    // What the old one still writes is compressed a minute later only.
    until("the old process has ended", || !Path::new(&format!("/proc/{old}")).exists());
    until("the new process rotates", || site.run(&["--log-rotate"]).stdout.starts_with("rotated: "));
    until("what both have written is compressed", || {
        rotated(&site).iter().all(|path| path.extension().is_some_and(|ending| ending == "gz"))
    });
}

#[test]
fn a_rotation_that_was_due_while_nothing_ran_is_made_at_the_start() {
    let site = site("compress = \"none\"\nrotate_every = \"daily\"\n");
    let mut file = fs::File::create(site.path("mcpeg.log")).unwrap();
    std::io::Write::write_all(&mut file, b"of the day before yesterday\n").unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(48 * 3600)).unwrap();
    site.daemon();
    until("the file is rotated", || !rotated(&site).is_empty());
    let [old] = rotated(&site).try_into().unwrap();
    assert_eq!(fs::read_to_string(old).unwrap(), "of the day before yesterday\n");
}

#[test]
fn whoever_cannot_rotate_is_told_why() {
    let site = site("");
    let answer = site.run(&["--log-rotate"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(3), "mcpeg is not running\n"));
    let pid = site.daemon();
    suspend(pid);
    let answer = site.run(&["--log-rotate"]);
    assert_eq!(answer.code, Some(75), "{answer:?}");
    assert!(answer.stderr.contains("suspended"), "{answer:?}");
    send(pid, Signal::SIGCONT);
    // A daemon without a word has a file; a gateway in the foreground has none.
    let other = Site::new();
    let foreground = other.foreground();
    let answer = other.run(&["--log-rotate"]);
    assert_eq!(answer.code, Some(78), "{answer:?}");
    assert!(answer.stderr.contains("no log file"), "{answer:?}");
    send(foreground.id().cast_signed(), Signal::SIGTERM);
    assert_eq!(finish(foreground).code, Some(0));
}
