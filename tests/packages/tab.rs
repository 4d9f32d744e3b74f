//! TAB, pressed in a real shell that loads the completions from where the package for Debian has them.
//!
//! bash and zsh get a terminal and a fresh process for each case, so that it is always the first TAB that counts. fish is
//! asked by `complete --do-complete`, which is its own way to press TAB without a terminal.

#![expect(clippy::disallowed_methods, reason = "the shells are children of the test")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};

use crate::built::{VERSION, deb};
use crate::machine::text;

/// How long a shell may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Wide and high enough that nothing is wrapped or asked for.
const SIZE: Winsize = Winsize { ws_row: 200, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };

/// Printed by the shell when it waits; the set-up writes it in two parts, so that its echo is not taken for it.
const PROMPT: &str = "ready> ";

/// The key that has the shell print the line in brackets.
const PRINT: &[u8] = b"\x18\x10";

/// What a TAB makes of a line.
#[derive(Clone, Copy)]
enum Makes {
    /// The line is completed to this.
    Line(&'static str),
    /// These are shown, and those are not.
    Choice(&'static [&'static str], &'static [&'static str]),
}

/// What is typed before TAB, and what comes of it.
const CASES: [(&str, Makes); 21] = [
    ("mcpeg --da", Makes::Line("mcpeg --daemon ")),
    ("mcpeg --stat", Makes::Line("mcpeg --status ")),
    ("mcpeg --status --js", Makes::Line("mcpeg --status --json ")),
    ("mcpeg --status --", Makes::Choice(&["--json", "--pid-file"], &["--daemon"])),
    ("mcpeg --log-level d", Makes::Line("mcpeg --log-level debug ")),
    ("mcpeg --log-level=d", Makes::Line("mcpeg --log-level=debug ")),
    ("mcpeg --log-level ", Makes::Choice(&["error", "warn", "info", "debug", "trace"], &["--json"])),
    ("mcpeg --config ./ot", Makes::Line("mcpeg --config ./other.toml ")),
    ("mcpeg --config=./ot", Makes::Line("mcpeg --config=./other.toml ")),
    ("mcpeg -c ./ot", Makes::Line("mcpeg -c ./other.toml ")),
    ("mcpeg --config ./sp", Makes::Line("mcpeg --config ./sp\\ ace.toml ")),
    // Clients have JSON, TOML and YAML.
    ("mcpeg import ./other.j", Makes::Line("mcpeg import ./other.json ")),
    ("mcpeg ", Makes::Choice(&["import", "install", "uninstall"], &["generate", "complete"])),
    ("mcpeg inst", Makes::Line("mcpeg install ")),
    ("mcpeg install --root ./di", Makes::Line("mcpeg install --root ./directory/")),
    ("mcpeg uninstall --pu", Makes::Line("mcpeg uninstall --purge ")),
    ("mcpeg --status --upstream ti", Makes::Line("mcpeg --status --upstream time ")),
    ("mcpeg --status --upstream=ti", Makes::Line("mcpeg --status --upstream=time ")),
    ("mcpeg -c ./other.toml --status --upstream ", Makes::Choice(&["docs", "tools"], &["time"])),
    (
        "mcpeg -c ./sp\\ ace.toml --status --upstream st",
        Makes::Line("mcpeg -c ./sp\\ ace.toml --status --upstream star "),
    ),
    ("mcpeg install --instance bl", Makes::Line("mcpeg install --instance blue ")),
];

/// The configurations that the cases name, with their upstreams.
const CONFIGURATIONS: [(&str, &str); 3] = [
    (
        "other.toml",
        "[upstreams.docs]\nurl = \"http://127.0.0.1:1/mcp\"\n[upstreams.tools]\ncommand = \"true\"\n",
    ),
    ("sp ace.toml", "[upstreams.star]\ncommand = \"true\"\n"),
    ("etc/mcpeg/mcpeg.toml", "[upstreams.time]\ncommand = \"true\"\n"),
];

/// Has the machine's /etc show what lies in the directory `$0` too, for this command only.
const WITH_ETC: &str = "mount -t overlay -o \"lowerdir=$0:/etc\" overlay /etc && exec \"$@\"";

/// A directory with the package's files and a few to choose from.
struct Place(tempfile::TempDir);

impl Place {
    /// Unpacks the package.
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let output =
            Command::new("dpkg-deb").arg("--extract").arg(deb(VERSION)).arg(place.at("package")).output();
        assert!(output.unwrap().status.success());
        for directory in ["directory", "etc/mcpeg", "etc/mcpeg-blue"] {
            std::fs::create_dir_all(place.at(directory)).unwrap();
        }
        for file in ["other.json", "dir.toml"] {
            File::create(place.at(file)).unwrap();
        }
        for (file, text) in CONFIGURATIONS {
            File::create(place.at(file)).unwrap().write_all(text.as_bytes()).unwrap();
        }
        place
    }

    /// A path in the directory.
    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// A command in this directory that finds the package's files as it finds installed ones, nothing of the user's, and an
    /// /etc with a configuration and an instance.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", WITH_ETC]).arg(self.at("etc")).arg(program);
        let (bin, data) = (self.at("package/usr/bin"), self.at("package/usr/share"));
        command
            .current_dir(self.0.path())
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .env("XDG_DATA_DIRS", format!("{}:/usr/share", data.display()))
            // Shells make directories of their own there.
            .env("HOME", self.0.path())
            .envs([("TERM", "xterm"), ("LC_ALL", "C.UTF-8")]);
        command
    }
}

/// A shell with a terminal.
struct Shell {
    /// Its process.
    child: Child,
    /// The keyboard.
    keys: File,
    /// Everything that it has shown.
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Shell {
    /// Starts one and has it set up by these lines, of which the last one must set the prompt.
    fn start(place: &Place, arguments: &[&str], set_up: &str) -> Self {
        let pty = openpty(Some(&SIZE), None).unwrap();
        let end = |end: &std::os::fd::OwnedFd| File::from(end.try_clone().unwrap());
        let mut command = place.command("setsid");
        command.args(["--ctty"]).args(arguments);
        command.stdin(end(&pty.slave)).stdout(end(&pty.slave)).stderr(end(&pty.slave));
        let child = command.spawn().unwrap();
        drop(command);
        drop(pty.slave);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut screen, copy) = (end(&pty.master), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                copy.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
        let mut shell = Self { child, keys: File::from(pty.master), shown };
        shell.press(set_up.as_bytes());
        shell.wait_for(PROMPT);
        shell
    }

    /// Presses keys.
    fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).unwrap();
    }

    /// What has been shown up to now.
    fn screen(&self) -> String {
        text(&self.shown.lock().unwrap())
    }

    /// Waits until this is shown.
    #[track_caller]
    fn wait_for(&self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.screen().contains(what) {
            assert!(Instant::now() < deadline, "`{what}` is never shown: {:?}", self.screen());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Types a line and TAB, and tells what is wrong with what comes of it.
    fn case(mut self, line: &str, makes: Makes) -> Result<(), String> {
        self.press(line.as_bytes());
        // Shells read ahead; TAB is pressed when the line is there.
        self.press(PRINT);
        self.wait_for(&format!(">[{line}]<"));
        self.shown.lock().unwrap().clear();
        self.press(b"\t");
        if let Makes::Choice(offered, _) = makes {
            for word in offered {
                self.wait_for(word);
            }
        }
        self.press(PRINT);
        self.wait_for("]<");
        let screen = self.screen();
        let wrong = match makes {
            Makes::Line(line) => !screen.contains(&format!(">[{line}]<")),
            Makes::Choice(_, absent) => {
                let candidates = candidates(&screen.replace(line, ""));
                absent.iter().any(|word| candidates.iter().any(|candidate| candidate == word))
            }
        };
        if wrong { Err(format!("{line:?}: {screen:?}")) } else { Ok(()) }
    }
}

/// The words that a shell offers: those of a line, up to the description that zsh adds.
fn candidates(screen: &str) -> Vec<String> {
    let lines = screen.split(['\r', '\n']).map(|line| line.split(" -- ").next().unwrap_or_default());
    lines.flat_map(|line| line.split_whitespace().map(str::to_owned)).collect()
}

impl Drop for Shell {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs every case and reports all that fail.
#[expect(clippy::print_stdout, reason = "the count is what the reader of a run wants to see")]
fn all(shell: &str, case: impl Fn(&str, Makes) -> Result<(), String>) {
    let wrong: Vec<_> = CASES.into_iter().filter_map(|(line, makes)| case(line, makes).err()).collect();
    println!("{shell}: {} of {} cases of TAB pass", CASES.len() - wrong.len(), CASES.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "needs root, bash-completion, and cargo-deb from crates.io"]
fn first_tab_completes_in_bash() {
    let place = Place::new();
    let set_up = "PS1= PS2=; source /usr/share/bash-completion/bash_completion\n\
        bind 'set show-all-if-ambiguous on'; bind 'set enable-bracketed-paste off'; bind 'set bell-style none'\n\
        bind -x '\"\\C-x\\C-p\": printf \"\\n>[%s]<\\n\" \"$READLINE_LINE\"'\n\
        PS1='rea''dy> '\n";
    all("bash", |line, makes| {
        Shell::start(&place, &["bash", "--noprofile", "--norc", "-i"], set_up).case(line, makes)
    });
}

#[test]
#[ignore = "needs root, zsh, and cargo-deb from crates.io"]
fn first_tab_completes_in_zsh() {
    let place = Place::new();
    let functions = place.at("package/usr/share/zsh/vendor-completions");
    let set_up = format!(
        "PS1=; fpath=({} $fpath); autoload -U compinit; compinit -u -D; bindkey -e\n\
        print-line() {{ zle -I; print -r -- \">[$BUFFER]<\" }}; zle -N print-line; bindkey '^X^P' print-line\n\
        PS1='rea''dy> '\n",
        functions.display()
    );
    all("zsh", |line, makes| Shell::start(&place, &["zsh", "-f", "-i"], &set_up).case(line, makes));
}

#[test]
#[ignore = "needs root, fish, and cargo-deb from crates.io"]
fn tab_completes_in_fish() {
    let place = Place::new();
    all("fish", |line, makes| {
        let output =
            place.command("fish").args(["--command", "complete --do-complete $argv[1]", line]).output();
        let output = output.unwrap();
        let said = text(&output.stdout);
        let words: Vec<_> = said.lines().filter_map(|line| line.split('\t').next()).collect();
        let (before, _) = line.rsplit_once(' ').unwrap();
        let right = match makes {
            Makes::Line(whole) => words == [whole[before.len() + 1..].trim_end().replace('\\', "")],
            Makes::Choice(offered, absent) => {
                offered.iter().all(|word| words.contains(word))
                    && !absent.iter().any(|word| words.contains(word))
            }
        };
        if right { Ok(()) } else { Err(format!("{line:?}: {said:?} {}", text(&output.stderr))) }
    });
}
