//! What upstreams write to standard error: in the log, in files of one day, in both, in neither; nothing of it fills a disk.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use mcpeg::sys::process::command;
use tokio::runtime::Runtime;

use crate::client::Client;
use crate::disk::Small;
use crate::support::daemon::{Finished, Site, finish, lives, until};

/// A server whose tool writes its argument `line` to standard error so many `times`, each with a number, and then `end`.
const SERVER: &str = r#"
def call(message, name):
    arguments = message["params"]["arguments"]
    numbered = "".join("%s %d\n" % (arguments["line"], number) for number in range(arguments.get("times", 1)))
    sys.stderr.write(numbered + arguments.get("end", ""))
    sys.stderr.flush()
    return str(os.getpid())
"#;

/// A gateway with such servers.
struct Talkers {
    /// Its files.
    site: Site,
    /// For clients.
    runtime: Runtime,
}

impl Talkers {
    /// Not started yet; these are the lines of the table of each upstream.
    fn new(upstreams: &[(&str, &str)]) -> Self {
        let site = Site::new();
        let script = include_str!("../fixtures/scripted.py").replacen("\n# HERE\n", SERVER, 1);
        site.write("talker.py", script);
        let talkers = Self { site, runtime: Runtime::new().unwrap() };
        talkers.configure(upstreams);
        talkers
    }

    /// Writes the configuration with a log file.
    fn configure(&self, upstreams: &[(&str, &str)]) {
        let log = format!("[log]\nfile = '{}'\n", self.site.path("mcpeg.log").display());
        self.configure_with(&log, upstreams);
    }

    /// Writes the configuration.
    fn configure_with(&self, log: &str, upstreams: &[(&str, &str)]) {
        let mut text = format!("[server]\nlisten = [\"127.0.0.1:0\"]\n{log}");
        for (name, lines) in upstreams {
            let script = self.site.path("talker.py");
            write!(
                text,
                "[upstreams.{name}]\ncommand = \"/usr/bin/python3\"\nargs = ['{}']\n{lines}\n",
                script.display()
            )
            .unwrap();
        }
        self.site.write("mcpeg.toml", text);
    }

    /// Has the server of an upstream write; its pid.
    fn say(&self, upstream: &str, arguments: &str) -> i32 {
        self.say_at(&self.site.address().to_string(), upstream, arguments)
    }

    /// [`Self::say`] where the address is known.
    fn say_at(&self, address: &str, upstream: &str, arguments: &str) -> i32 {
        let path = format!("/mcp/{upstream}");
        let answer =
            self.runtime.block_on(async { Client::modern(address, &path).call("one", arguments).await });
        answer.text().parse().unwrap()
    }

    /// The file of today, or of another day.
    fn file(&self, upstream: &str, days: usize) -> PathBuf {
        let days = i64::try_from(days).unwrap();
        let day = today().checked_add(jiff::Span::new().days(days)).unwrap();
        self.site.path(&format!("stderr.{upstream}.log.{day}"))
    }

    /// What is in the log.
    fn log(&self) -> String {
        text(&self.site.path("mcpeg.log"))
    }

    /// The files of an upstream.
    fn files(&self, upstream: &str) -> Vec<String> {
        let names = fs::read_dir(self.site.path("")).unwrap().map(|entry| entry.unwrap().file_name());
        let names = names.map(|name| name.into_string().unwrap());
        let mut names: Vec<_> =
            names.filter(|name| name.starts_with(&format!("stderr.{upstream}.log."))).collect();
        names.sort();
        names
    }

    /// Sets the clock ahead by so many days. At no time is the file empty, which would be today.
    fn ahead(&self, days: usize) {
        self.site.write("clock.next", (days * 24 * 60 * 60).to_string());
        fs::rename(self.site.path("clock.next"), self.site.path("clock")).unwrap();
    }

    /// Starts the gateway with a clock that is ahead by what the file `clock` says.
    fn daemon_with_clock(&self) {
        let library = self.site.path("clock.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/clock.c");
        let built = command("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
        assert!(built.unwrap().success());
        self.ahead(0);
        let mut command = self.site.mcpeg(&["--daemon"]);
        command.env("LD_PRELOAD", &library).env("SHIFTED_CLOCK", self.site.path("clock"));
        done(finish(command.spawn().unwrap()));
    }
}

/// Waits until something is in a file.
fn comes(path: &Path, what: &str) {
    until(&format!("{what} is in {}", path.display()), || text(path).contains(what));
}

/// A day in UTC.
fn today() -> Date {
    Offset::UTC.to_datetime(Timestamp::now()).date()
}

/// What is in a file; nothing if it is not there.
fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Insists on success.
fn done(finished: Finished) -> Finished {
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished
}

/// Insists that a file has whole lines of these forms only, each `line NUMBER`.
fn whole_lines(text: &str, lines: &[&str]) -> usize {
    assert!(text.is_empty() || text.ends_with('\n'), "a torn line at the end");
    let numbered = |line: &&str| {
        let is_one = |form: &&str| {
            line.strip_prefix(*form).and_then(|rest| rest.strip_prefix(' ')?.parse::<u32>().ok()).is_some()
        };
        lines.iter().any(is_one)
    };
    let own = |line: &&str| line.starts_with("[mcpeg] ");
    for line in text.lines() {
        assert!(numbered(&line) || own(&line), "a torn line: {line}");
    }
    text.lines().filter(numbered).count()
}

#[test]
fn lines_go_where_each_value_says() {
    let values =
        [("log", true, false), ("file", false, true), ("both", true, true), ("discard", false, false)];
    let tables: Vec<_> = values.iter().map(|(value, ..)| (*value, format!("stderr = \"{value}\""))).collect();
    let mut tables: Vec<_> = tables.iter().map(|(name, lines)| (*name, lines.as_str())).collect();
    tables.push(("none", ""));
    let talkers = Talkers::new(&tables);
    talkers.site.daemon();
    for (name, logged, filed) in values.into_iter().chain([("none", true, false)]) {
        let said = format!("this is {name}");
        talkers.say(name, &format!(r#"{{"line":"{said}"}}"#));
        // What was said before it is there by the time that this is.
        let link = talkers.site.path(&format!("stderr.{name}.log"));
        if filed {
            comes(&link, &said);
            assert_eq!(text(&link), format!("{said} 0\n"));
            assert_eq!(fs::read_link(&link).unwrap(), talkers.file(name, 0));
            assert_eq!(fs::metadata(&link).unwrap().mode() & 0o7777 & !0o640, 0);
        } else {
            assert!(fs::symlink_metadata(&link).is_err(), "{name}");
        }
        if logged {
            comes(&talkers.site.path("mcpeg.log"), &said);
        }
    }
    done(talkers.site.run(&["--stop"]));
    for (name, logged, _) in values {
        assert_eq!(talkers.log().contains(&format!("this is {name}")), logged, "{name}");
        assert_eq!(talkers.files(name).len(), usize::from(matches!(name, "file" | "both")));
    }
}

#[test]
fn lines_of_two_children_are_whole_in_one_file() {
    let talkers = Talkers::new(&[("two", "stderr = \"file\"\nsharing = \"per-session\"")]);
    talkers.site.daemon();
    let address = talkers.site.address().to_string();
    let say = async |letter: &str| {
        let client = Client::legacy(&address, "/mcp").await;
        let line = letter.repeat(700);
        client.call("one", &format!(r#"{{"line":"{line}","times":3000}}"#)).await.text()
    };
    let pids = talkers.runtime.block_on(async { tokio::join!(say("a"), say("b")) });
    assert_ne!(pids.0, pids.1);
    let (file, forms) = (talkers.file("two", 0), ["a".repeat(700), "b".repeat(700)]);
    let forms = [forms[0].as_str(), forms[1].as_str()];
    until("all lines are there", || text(&file).lines().count() == 6000);
    assert_eq!(whole_lines(&text(&file), &forms), 6000);
    done(talkers.site.run(&["--stop"]));
}

#[test]
fn file_of_a_day_is_bounded_and_the_rest_is_counted_and_told_once() {
    let talkers = Talkers::new(&[("flood", "stderr = \"file\"\nstderr_size = \"64KiB\"")]);
    talkers.site.daemon();
    for _ in 0..3 {
        talkers.say("flood", r#"{"line":"a line of a flood","times":20000}"#);
    }
    let file = talkers.file("flood", 0);
    comes(&talkers.site.path("mcpeg.log"), "is full");
    done(talkers.site.run(&["--stop"]));
    let content = text(&file);
    assert!(content.len() <= 64 << 10, "{}", content.len());
    assert!(content.len() > 60 << 10, "{}", content.len());
    let kept = whole_lines(&content, &["a line of a flood"]);
    let (full, left_out) = ("today's file of the upstream's standard error is full", "are left out");
    assert_eq!((talkers.log().matches(full).count(), talkers.log().matches(left_out).count()), (1, 1));
    let missing = 60_000 - kept;
    let last = content.lines().last().unwrap();
    assert!(last.starts_with(&format!("[mcpeg] {missing} more lines (")), "{last}");
    assert!(talkers.log().contains(&format!("\"lines\":{missing}")), "{}", talkers.log());
    // A restart does not begin a new allowance.
    talkers.site.daemon();
    talkers.say("flood", r#"{"line":"a line of a flood","times":20000}"#);
    until("it is full again", || talkers.log().matches(full).count() == 2);
    done(talkers.site.run(&["--stop"]));
    assert!(text(&file).len() <= 64 << 10);
}

#[test]
fn each_day_has_its_file_and_as_many_are_kept_as_are_asked_for() {
    let rules = "stderr = \"file\"\nstderr_keep = 2\nstderr_size = \"4KiB\"";
    // The second one begins as the first does.
    let talkers = Talkers::new(&[("day", rules), ("day-two", rules)]);
    talkers.daemon_with_clock();
    talkers.say("day-two", r#"{"line":"other"}"#);
    comes(&talkers.file("day-two", 0), "other");
    // Not of mcpeg, whatever it resembles.
    talkers.site.write("stderr.day", "somebody's");
    for day in 0..4 {
        talkers.ahead(day);
        talkers.say("day", &format!(r#"{{"line":"day {day}","times":1000}}"#));
        let file = talkers.file("day", day);
        comes(&file, &format!("day {day} 0\n"));
        // The next day begins when this one's file is full: what is read later counts as that day's.
        until("the file is full", || text(&file).len() > 3 << 10);
        assert_eq!(fs::read_link(talkers.site.path("stderr.day.log")).unwrap(), file);
        let told = "are left out";
        until("the count of the day before is told", || talkers.log().matches(told).count() == day);
        if day > 0 {
            let before = text(&talkers.file("day", day - 1));
            assert!(before.lines().last().unwrap().contains("more lines ("), "{before}");
            assert!(before.len() <= 4 << 10 && !before.contains(&format!("day {day}")));
        }
        assert_eq!(talkers.files("day").len(), 2.min(day + 1));
    }
    // A clock that is set back: the file of that day goes on.
    talkers.ahead(2);
    talkers.say("day", r#"{"line":"set back"}"#);
    assert_eq!(talkers.files("day-two").len(), 1);
    assert_eq!(text(&talkers.site.path("stderr.day")), "somebody's");
    done(talkers.site.run(&["--stop"]));
}

#[test]
fn new_process_goes_on_in_the_same_file_with_the_child_of_the_one_before() {
    let talkers = Talkers::new(&[("moved", "stderr = \"file\"")]);
    talkers.site.daemon();
    let child = talkers.say("moved", r#"{"line":"before","times":3,"end":"half "}"#);
    comes(&talkers.file("moved", 0), "before 2");
    for round in 0..2 {
        let before = talkers.site.pid();
        done(talkers.site.run(&["--restart"]));
        until("the old process ends", || !lives(before));
        let again = talkers.say("moved", &format!(r#"{{"line":"after {round}","times":2000}}"#));
        assert_eq!(again, child);
        comes(&talkers.file("moved", 0), &format!("after {round} 1999"));
    }
    let content = text(&talkers.file("moved", 0));
    assert_eq!(whole_lines(&content, &["before", "half after 0", "after 0", "after 1"]), 4003);
    assert!(content.contains("half after 0 0\n"), "what was read before goes on in the new process");
    assert!(!talkers.log().contains("after 1"));
    done(talkers.site.run(&["--stop"]));
}

#[test]
fn reload_changes_where_lines_go_and_leaves_the_child() {
    let talkers = Talkers::new(&[("kept", "")]);
    talkers.site.daemon();
    let child = talkers.say("kept", r#"{"line":"first"}"#);
    comes(&talkers.site.path("mcpeg.log"), "first");
    let place = talkers.site.path("stderr.kept.log");
    for (round, (lines, filed)) in [
        ("stderr = \"file\"", true),
        ("stderr = \"log\"", false),
        ("stderr = \"both\"\nstderr_keep = 1", true),
    ]
    .into_iter()
    .enumerate()
    {
        talkers.configure(&[("kept", lines)]);
        let reloaded = done(talkers.site.run(&["--reload"]));
        assert!(reloaded.stdout.contains("kept"), "{reloaded:?}");
        assert_eq!(talkers.say("kept", &format!(r#"{{"line":"round {round}"}}"#)), child);
        let said = format!("round {round}");
        comes(&if filed { place.clone() } else { talkers.site.path("mcpeg.log") }, &said);
        assert!(filed || !text(&place).contains(&said));
    }
    assert!(!talkers.log().contains("round 0"));
    assert!(text(&place).contains("round 0") && text(&place).contains("round 2"));
    // Of an upstream that is reached in another way, too.
    talkers.configure(&[("kept", "stderr = \"file\"\nenv = { OTHER = \"yes\" }")]);
    done(talkers.site.run(&["--reload"]));
    assert_ne!(talkers.say("kept", r#"{"line":"other child"}"#), child);
    comes(&place, "other child");
    done(talkers.site.run(&["--stop"]));
}

#[test]
fn file_that_was_moved_or_deleted_is_there_again_and_rotation_of_the_log_leaves_it() {
    let talkers = Talkers::new(&[("again", "stderr = \"file\"")]);
    talkers.site.daemon();
    let file = talkers.file("again", 0);
    talkers.say("again", r#"{"line":"one"}"#);
    comes(&file, "one");
    done(talkers.site.run(&["--log-rotate"]));
    talkers.say("again", r#"{"line":"two"}"#);
    comes(&file, "one 0\ntwo 0\n");
    fs::remove_file(&file).unwrap();
    talkers.say("again", r#"{"line":"three"}"#);
    comes(&file, "three");
    let aside = talkers.site.path("aside");
    fs::rename(&file, &aside).unwrap();
    fs::remove_file(talkers.site.path("stderr.again.log")).unwrap();
    talkers.say("again", r#"{"line":"four"}"#);
    comes(&talkers.site.path("stderr.again.log"), "four");
    assert_eq!((text(&file), text(&aside)), ("four 0\n".to_owned(), "three 0\n".to_owned()));
    done(talkers.site.run(&["--stop"]));
}

#[test]
fn link_in_the_place_of_the_file_is_not_followed() {
    let talkers = Talkers::new(&[("link", "stderr = \"file\"")]);
    let precious = talkers.site.path("precious");
    symlink(&precious, talkers.file("link", 0)).unwrap();
    talkers.site.daemon();
    talkers.say("link", r#"{"line":"harm"}"#);
    comes(&talkers.site.path("mcpeg.log"), "the upstream's standard error cannot be kept");
    assert!(fs::symlink_metadata(&precious).is_err());
    assert!(talkers.log().contains("is a symbolic link"), "{}", talkers.log());
    // It is tried again.
    fs::remove_file(talkers.file("link", 0)).unwrap();
    until("lines are kept", || {
        talkers.say("link", r#"{"line":"no harm"}"#);
        text(&talkers.file("link", 0)).contains("no harm")
    });
    comes(&talkers.site.path("mcpeg.log"), "are lost: they could not be written");
    done(talkers.site.run(&["--stop"]));
}

#[test]
fn without_a_log_file_it_is_in_the_state_directory() {
    let talkers = Talkers::new(&[]);
    talkers.configure_with("", &[("state", "stderr = \"file\"")]);
    let mut command = talkers.site.mcpeg(&[]);
    let child = command.env("STATE_DIRECTORY", talkers.site.path("state")).spawn().unwrap();
    until("the gateway writes its pid file", || talkers.site.pid_file().exists());
    talkers.say("state", r#"{"line":"there"}"#);
    comes(&talkers.site.path("state/stderr.state.log"), "there");
    done(talkers.site.run(&["--stop"]));
    done(finish(child));
}

#[test]
#[ignore = "needs root for mount(2)"]
fn full_disk_costs_what_is_told_and_no_half_line_stays() {
    let talkers = Talkers::new(&[]);
    let disk = Small::mount(talkers.site.path("disk"), 256 << 10);
    // The log is elsewhere: what is told must be seen.
    let place = talkers.site.path("disk/state");
    talkers.configure_with("", &[("full", "stderr = \"file\"")]);
    let mut command = talkers.site.mcpeg(&[]);
    let child = command.env("STATE_DIRECTORY", &place).spawn().unwrap();
    until("the gateway writes its pid file", || talkers.site.pid_file().exists());
    let address = talkers.site.address().to_string();
    let file = place.join("stderr.full.log");
    talkers.say_at(&address, "full", r#"{"line":"before"}"#);
    comes(&file, "before");
    let ballast = disk.fill();
    for _ in 0..5 {
        talkers.say_at(&address, "full", r#"{"line":"while it is full","times":2000}"#);
    }
    assert!(text(&file).is_empty() || text(&file).ends_with('\n'));
    fs::remove_file(ballast).unwrap();
    until("lines are kept", || {
        talkers.say_at(&address, "full", r#"{"line":"after"}"#);
        text(&file).contains("after")
    });
    let kept = whole_lines(&text(&file), &["before", "while it is full", "after"]);
    done(talkers.site.run(&["--stop"]));
    let told = finish(child);
    let lost = told.stderr.lines().find(|line| line.contains("are lost: they could not be written"));
    let lost = lost.unwrap_or_else(|| panic!("{told:?}"));
    assert_eq!(told.stderr.matches("cannot be kept").count(), 1, "{}", told.stderr);
    assert!(lost.contains("lines=") && kept > 1, "{lost}");
}

#[test]
fn keys_that_cannot_work_are_refused() {
    let site = Site::new();
    for (lines, expected) in [
        (
            "url = \"http://127.0.0.1:9/mcp\"\nstderr = \"file\"",
            "`stderr` belongs to upstreams with `command`",
        ),
        ("command = \"/bin/cat\"\nstderr = \"somewhere\"", "`stderr` cannot be `somewhere`"),
        ("command = \"/bin/cat\"\nstderr_keep = 0", "`stderr_keep` cannot be 0"),
        ("command = \"/bin/cat\"\nstderr_size = \"1KiB\"", "`stderr_size` must be a size"),
    ] {
        site.write("mcpeg.toml", format!("[upstreams.x]\n{lines}\n"));
        let checked = site.run(&["--check"]);
        assert_eq!(checked.code, Some(78), "{checked:?}");
        assert!(checked.stderr.contains(expected), "{checked:?}");
    }
    let log = site.path("mcpeg.toml").join("mcpeg.log");
    let text = format!(
        "[log]\nfile = '{}'\n[upstreams.x]\ncommand = \"/bin/cat\"\nstderr = \"file\"\n",
        log.display()
    );
    site.write("mcpeg.toml", text);
    let checked = done(site.run(&["--check"]));
    assert!(checked.stderr.contains("upstream `x`: its `stderr` cannot be kept in `"), "{checked:?}");
}
