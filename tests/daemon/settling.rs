//! Ready is when the gateway serves: upstreams have states of their own, and are waited for by those who ask for it.

use std::fs;
use std::net::TcpListener;
use std::time::Instant;

use crate::support::daemon::{Site, finish, lives, until};

/// An upstream that takes connections and never answers; it goes with the value.
struct Silent(TcpListener);

impl Silent {
    /// Begins to listen.
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// Its table.
    fn table(&self, name: &str) -> String {
        format!("[upstreams.{name}]\nurl = \"http://{}/mcp\"\n", self.0.local_addr().unwrap())
    }
}

/// The state of an upstream.
fn state(site: &Site, name: &str) -> String {
    let status = site.status();
    let upstreams = status["upstreams"].as_array().unwrap();
    upstreams.iter().find(|one| one["name"] == name).unwrap()["state"].as_str().unwrap().to_owned()
}

/// A site with a server that works, and one that hangs.
fn site(silent: &Silent) -> Site {
    let site = Site::new();
    site.write("fine.py", include_str!("../fixtures/scripted.py"));
    let (script, log) = (site.path("fine.py"), site.path("mcpeg.log"));
    let (program, shown) = (script.display(), log.display());
    site.write(
        "mcpeg.toml",
        format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[log]\nfile = '{shown}'\n\
             [upstreams.fine]\ncommand = \"/usr/bin/python3\"\nargs = ['{program}']\n{}",
            silent.table("hangs")
        ),
    );
    site
}

#[test]
fn daemon_restart_and_notification_do_not_wait_for_an_upstream_that_hangs() {
    let silent = Silent::new();
    let site = site(&silent);
    let begun = Instant::now();
    let started = site.run(&["--daemon"]);
    assert_eq!(started.code, Some(0), "{started:?}");
    // Its first attempt is still under way: nobody has waited for the end of that.
    assert_eq!(state(&site, "hangs"), "starting");
    until("the other one is ready", || state(&site, "fine") == "ready");
    let old = site.pid();
    let finished = site.run(&["--restart"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!((state(&site, "hangs").as_str(), state(&site, "fine").as_str()), ("starting", "ready"));
    until("the old process ends", || !lives(old));
    // Each of the two would have taken all of the time-out.
    assert!(begun.elapsed().as_secs() < 50, "{:?}", begun.elapsed());
    assert_eq!(site.run(&["--stop"]).code, Some(0));
}

#[test]
fn whoever_waits_for_upstreams_is_told_which_are_missing() {
    let silent = Silent::new();
    let site = site(&silent);
    let finished = site.run(&["--daemon", "--wait-upstreams=2s"]);
    assert_eq!(finished.code, Some(69), "{finished:?}");
    assert!(finished.stdout.starts_with("mcpeg is serving on "), "{finished:?}");
    assert!(finished.stderr.contains("upstream `hangs` is starting"), "{finished:?}");
    assert!(!finished.stderr.contains("`fine`"), "{finished:?}");
    assert_eq!(state(&site, "fine"), "ready");
    assert_eq!(site.run(&["--stop"]).code, Some(0));
    // Where all are there, that is success, and so it is without any.
    let text = fs::read_to_string(site.path("mcpeg.toml")).unwrap();
    let fine = text.split("[upstreams.hangs]").next().unwrap().to_owned();
    for config in [fine.as_str(), "[server]\nlisten = [\"127.0.0.1:0\"]\n"] {
        site.write("mcpeg.toml", config);
        let finished = site.run(&["--daemon", "--wait-upstreams"]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(!config.contains("fine") || state(&site, "fine") == "ready");
        assert_eq!(site.run(&["--stop"]).code, Some(0));
    }
    let refused = site.run(&["--reload", "--wait-upstreams"]);
    assert_eq!(refused.code, Some(64), "{refused:?}");
}

#[test]
fn daemon_without_a_log_file_has_the_default_one_also_after_reload_and_upgrade() {
    let site = Site::new();
    let pid = site.daemon();
    let log = site.logs().join("mcpeg.log");
    assert_eq!(site.status()["log_file"], log.to_str().unwrap());
    let records = || fs::read_to_string(&log).unwrap();
    until("it is written", || records().contains("serving on"));
    let reloaded = site.run(&["--reload"]);
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    assert!(!reloaded.stdout.contains("restart") && !records().contains("need a restart"), "{reloaded:?}");
    assert_eq!(site.run(&["--restart"]).code, Some(0));
    until("the old process ends", || !lives(pid));
    assert_eq!(site.status()["log_file"], log.to_str().unwrap());
    until("it is written", || records().contains("serving in place of"));
    let rotated = site.run(&["--log-rotate"]);
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
    let mut names = fs::read_dir(site.logs()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.any(|name| name.to_str().unwrap().starts_with("mcpeg.log.")));
    assert_eq!(site.run(&["--stop"]).code, Some(0));
    // In the foreground there is none.
    fs::remove_dir_all(site.logs()).unwrap();
    let child = site.foreground();
    assert!(site.status()["log_file"].is_null());
    assert_eq!(site.run(&["--stop"]).code, Some(0));
    drop(finish(child));
    assert!(!site.logs().exists());
}

#[test]
fn ordinary_user_logs_below_the_state_directory() {
    let site = Site::new();
    // Users without rights for it: 0 is told apart by the kernel.
    let script = "unset LOGS_DIRECTORY; XDG_STATE_HOME=$PWD/state HOME=$PWD exec \"$MCPEG\" --daemon";
    let root = nix::unistd::Uid::effective().is_root();
    let finished = if root {
        fs::set_permissions(site.path(""), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        fs::set_permissions(site.path(""), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
        let mut shell =
            site.shell(&format!("setpriv --reuid=65534 --regid=65534 --clear-groups sh -c '{script}'"));
        finish(shell.spawn().unwrap())
    } else {
        finish(site.shell(script).spawn().unwrap())
    };
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let log = site.path("state/mcpeg/mcpeg.log");
    until("it is written", || fs::read_to_string(&log).unwrap_or_default().contains("serving on"));
    assert_eq!(site.run(&["--stop"]).code, Some(0));
}
