//! What an operator sees, at widths and in environments that terminals have: whole screens of real runs, compared with the
//! files in `tests/fixtures/screens`. `MCPEG_WRITE=1` writes them; look at what changes.

use std::fmt::Write as _;
use std::process::Output;

use mcpeg_test::transcript::{AT_A_TERMINAL, assert_file, lasting, plain};

use crate::scratch::{MCPEG, Scratch, program, text};

/// Where the scratch root is seen, so that its name is always the same.
const PLACE: &str = "/mnt";
/// A locale with all characters, and one with ASCII only.
const LOCALES: [&str; 2] = ["LC_ALL=C.UTF-8", "LC_ALL=C"];

/// The screens of one scratch root, one after the other.
struct Screens {
    /// The root.
    scratch: Scratch,
    /// What was shown.
    text: String,
}

impl Screens {
    /// Nothing yet.
    fn new() -> Self {
        Self { scratch: Scratch::new(), text: String::new() }
    }

    /// Runs a script of sh(1) with `$1` and so on, where the root is at [`PLACE`].
    fn run(&self, environment: &[&str], script: &str, words: &[&str]) -> Output {
        let script = format!("mount --bind \"$1\" {PLACE}; shift; {script}");
        let mut command = program("unshare");
        // Nothing of the environment of the tests: CI, NO_COLOR and others change what programs show.
        let path = format!("PATH={}", std::env::var("PATH").unwrap());
        command.args(["--mount", "--propagation", "private", "env", "-i", &path]).args(environment);
        command.args(["sh", "-euc", &script, "sh"]).arg(self.scratch.at("")).args(words).output().unwrap()
    }

    /// Adds what a command shows at a terminal of this width, to which `answer` is typed.
    fn at_a_terminal(&mut self, columns: &str, environment: &[&str], words: &str, answer: &str) -> String {
        let line = format!("{MCPEG} {words} --root {PLACE}");
        let environment = [&["TERM=xterm-256color"], environment].concat();
        let output = self.run(&environment, AT_A_TERMINAL, &[columns, &line, answer]);
        let shown = lasting(&text(&output));
        // What is to be copied is not broken, and no word is.
        let whole = |line: &&str| line.starts_with('{') || line.split(' ').any(|word| word.len() > 40);
        let lines = plain(&shown);
        let widest = lines.lines().filter(|line| !whole(line)).map(|line| line.chars().count()).max();
        assert!(widest <= columns.parse().ok(), "{columns}: {shown}");
        let how = format!("{words}: {columns} columns, {}", environment.join(" "));
        self.add(&how, &plain(&shown), &output);
        shown
    }

    /// Adds what a command writes into a pipe.
    fn piped(&mut self, environment: &[&str], words: &str) {
        let script = format!("{MCPEG} {words} --root {PLACE} 2>&1 </dev/null");
        let output = self.run(environment, &script, &[]);
        self.add(&format!("{words}: a pipe, {}", environment.join(" ")), &text(&output), &output);
    }

    /// Adds a screen without what no two runs have in common.
    fn add(&mut self, how: &str, shown: &str, output: &Output) {
        let code = output.status.code().unwrap_or(-1);
        let shown = shown.replace(env!("CARGO_PKG_VERSION"), "X.Y.Z");
        let shown: String = shown.lines().map(|line| steady(line) + "\n").collect();
        writeln!(self.text, "==== {how}, exit code {code}\n{shown}").unwrap();
    }

    /// Compares all with the file.
    fn are_those_of(&self, name: &str) {
        assert_file(&format!("tests/fixtures/screens/{name}.txt"), &self.text);
    }
}

/// A line without times and digests.
fn steady(line: &str) -> String {
    let without = |line: String, key: &str| match line.split_once(key) {
        Some((before, after)) => {
            format!("{before}{key}{}", after.trim_start_matches(|char: char| char.is_ascii_hexdigit()))
        }
        None => line,
    };
    without(without(line.to_owned(), "\"milliseconds\":"), "\"sha256\":\"")
}

#[test]
#[ignore = "needs root: mounts in a namespace of its own"]
fn a_first_installation_is_one_screen_at_each_width_and_in_each_locale() {
    let mut screens = Screens::new();
    for columns in ["60", "80", "120"] {
        let shown = screens.at_a_terminal(columns, &[LOCALES[0]], "install --dry-run", "");
        assert!(shown.contains('\u{1b}') && shown.lines().count() <= 24, "{shown}");
    }
    for environment in [["NO_COLOR=1", LOCALES[0]], ["TERM=dumb", LOCALES[1]]] {
        let shown = screens.at_a_terminal("80", &environment, "install --dry-run", "");
        assert!(!shown.contains('\u{1b}') && shown.is_ascii(), "{shown}");
    }
    screens.piped(&[LOCALES[1]], "install --dry-run --details");
    screens.at_a_terminal("80", &[LOCALES[0]], "install", "n");
    screens.at_a_terminal("80", &[LOCALES[0]], "install", "");
    screens.at_a_terminal("80", &[LOCALES[0]], "install", "y");
    screens.are_those_of("install");
}

#[test]
#[ignore = "needs root: mounts in a namespace of its own"]
fn installations_without_a_terminal_say_a_line_for_each_part() {
    let mut screens = Screens::new();
    screens.piped(&[LOCALES[0]], "install --yes");
    screens.piped(&[LOCALES[1]], "uninstall --purge --yes");
    screens.piped(&[LOCALES[0]], "install --json");
    screens.are_those_of("piped");
}

#[test]
#[ignore = "needs root: mounts in a namespace of its own"]
fn what_an_installation_that_is_there_changes_is_marked() {
    let mut screens = Screens::new();
    screens.scratch.ok(&["install"]);
    screens.at_a_terminal("80", &[LOCALES[0]], "install --dry-run", "");
    screens.scratch.put("etc/mcpeg/mcpeg.toml", "[log]\nlevel = \"debug\"\n");
    screens.piped(&[LOCALES[0]], "install");
    let page = "usr/local/share/man/man8/mcpeg-uninstall.8";
    screens.scratch.put(page, ".TH OTHER 8\n");
    std::fs::remove_file(screens.scratch.at("usr/local/lib/tmpfiles.d/mcpeg.conf")).unwrap();
    screens.at_a_terminal("60", &[LOCALES[0]], "install --dry-run", "");
    let receipt = std::fs::read_to_string(screens.scratch.at("var/lib/mcpeg/install.json")).unwrap();
    let older = receipt.replace(env!("CARGO_PKG_VERSION"), "0.0.9");
    screens.scratch.put("var/lib/mcpeg/install.json", &older);
    screens.scratch.put("usr/local/bin/mcpeg", "an older one\n");
    for locale in LOCALES {
        screens.at_a_terminal("80", &[locale], "install --dry-run", "");
    }
    screens.at_a_terminal("80", &[LOCALES[0]], "install", "y");
    screens.scratch.put("usr/local/lib/tmpfiles.d/mcpeg.conf", "d /etc/mcpeg 0777 root root\n");
    screens.at_a_terminal("80", &[LOCALES[0]], "install --check", "");
    screens.piped(&[LOCALES[1]], "install --check");
    screens.are_those_of("later");
}

#[test]
#[ignore = "needs root: mounts in a namespace of its own"]
fn failure_says_what_was_taken_back_why_and_how_to_go_on() {
    let mut screens = Screens::new();
    // The disk is full when the boot link is made, which is the last step.
    let full = format!(
        "strace -f -qq -o /dev/null -e trace=symlinkat,symlink -e inject=symlinkat,symlink:error=ENOSPC {MCPEG}"
    );
    for (columns, words) in [("80", "install"), ("60", "install --details --yes")] {
        let line = format!("{full} {words} --root {PLACE}");
        let environment = ["TERM=xterm-256color", LOCALES[0]];
        let answer = if words == "install" { "y" } else { "" };
        let output = screens.run(&environment, AT_A_TERMINAL, &[columns, &line, answer]);
        let how = format!("{words}: {columns} columns, no symbolic link can be made");
        screens.add(&how, &plain(&lasting(&text(&output))), &output);
    }
    screens.piped(&[LOCALES[0]], "install --config /nowhere");
    screens.are_those_of("failure");
}

#[test]
#[ignore = "needs root: mounts in a namespace of its own"]
fn uninstallation_says_what_goes_and_what_stays() {
    let mut screens = Screens::new();
    screens.scratch.ok(&["install"]);
    screens.scratch.put("usr/local/share/zsh/site-functions/_mcpeg", "#\n");
    for columns in ["60", "80", "120"] {
        screens.at_a_terminal(columns, &[LOCALES[0]], "uninstall --dry-run", "");
    }
    screens.at_a_terminal("80", &[LOCALES[1], "NO_COLOR=1"], "uninstall --purge --dry-run", "");
    screens.piped(&[LOCALES[0]], "uninstall --dry-run --details");
    screens.at_a_terminal("80", &[LOCALES[0]], "uninstall", "");
    screens.at_a_terminal("80", &[LOCALES[0]], "uninstall", "y");
    screens.piped(&[LOCALES[0]], "uninstall --purge");
    screens.are_those_of("uninstall");
}
