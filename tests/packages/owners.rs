//! The table of owners on booted machines: what each combination of receipt, package and unit does with each act, made by real
//! commands and held against [`decide`]. What is left alone or refused is compared as a whole before and after.
//!
//! A run takes one state in eleven on each suite, other ones on each; `MCPEG_TEST_STRIDE=1` takes all, and
//! `MCPEG_TEST_TURN=1` and so on the elevenths after those.

#![expect(clippy::print_stdout, reason = "the number of combinations is a result")]

use mcpeg::install::ownership::{
    Act, PackageState, ReceiptState, Situation, UnitState, Verdict, decide, table, words,
};

use crate::built::{NEXT, VERSION, deb, rpm};
use crate::machine::{Machine, text};

/// How many states there are for one that is tried.
const STRIDE: usize = 11;
/// The parts of a state that commands make; the unit is `Packages` where nothing is done to it.
type Parts = (ReceiptState, PackageState, UnitState);
/// Takes everything away, whoever it belongs to.
const RESET: &str = "systemctl unmask mcpeg; rm -rf /etc/systemd/system/mcpeg.service /etc/systemd/system/mcpeg.service.d; \
    rm -f /var/lib/mcpeg/install.json.kept; systemctl daemon-reload; systemctl stop mcpeg; rm -f /var/lib/mcpeg/install.json; \
    rpm --erase --nodeps mcpeg; dpkg --purge --no-triggers mcpeg; systemctl disable mcpeg; \
    rm -rf /etc/mcpeg* /var/lib/mcpeg /var/log/mcpeg /var/cache/mcpeg /usr/local/bin/mcpeg \
    /usr/local/lib/systemd/system/mcpeg.service /usr/local/lib/*.d/mcpeg.conf /etc/fish/completions/mcpeg.fish \
    /usr/local/share/man/man?/mcpeg* /usr/local/share/mcpeg /usr/local/share/bash-completion/completions/mcpeg \
    /usr/local/share/zsh/site-functions/_mcpeg /var/lib/systemd/deb-systemd-helper-*/mcpeg.service* \
    /var/lib/systemd/deb-systemd-helper-*/*/mcpeg.service /etc/systemd/system/*.wants/mcpeg.service; \
    systemctl daemon-reload; systemctl reset-failed mcpeg; true";
/// Everything that has an owner, a line each: first how the service is, then files.
const PICTURE: &str = "systemctl show --property=MainPID,ActiveState mcpeg; systemctl is-enabled mcpeg 2>&1; \
    for f in /usr/bin/mcpeg /usr/local/bin/mcpeg /usr/local/lib/systemd/system/mcpeg.service \
    /usr/lib/systemd/system/mcpeg.service /etc/systemd/system/mcpeg.service /etc/systemd/system/mcpeg.service.d/own.conf \
    /etc/mcpeg/mcpeg.toml /etc/mcpeg/conf.d/mine.toml /var/lib/mcpeg/home/mine /var/lib/mcpeg/install.json; do \
    if [ -h $f ]; then echo \"$f $(readlink $f)\"; elif [ -e $f ]; then \
    echo \"$f $(stat --format='%Y %s' $f)\"; else echo \"$f -\"; fi; done";

/// The line of a picture that tells of a mask.
const MASK: &str = "/etc/systemd/system/mcpeg.service /dev/null";

/// Runs a line of a shell; exit code and what it printed.
fn sh(machine: &Machine, line: &str) -> (i32, String) {
    let output = machine.run(&["sh", "-c", line]);
    (output.status.code().unwrap_or(-1), text(&output.stdout) + &text(&output.stderr))
}

/// The same for a line that must succeed.
#[track_caller]
fn ok(machine: &Machine, line: &str) {
    let (code, said) = sh(machine, line);
    assert_eq!(code, 0, "{line}: {said}");
}

/// Makes the state.
fn set_up(machine: &Machine, (receipt, package, unit): Parts) {
    sh(machine, RESET);
    if package == PackageState::ConfigFiles {
        ok(machine, "dpkg --install --no-triggers /root/first && dpkg --remove --no-triggers mcpeg");
    }
    if receipt == ReceiptState::Removed {
        ok(machine, "/root/mcpeg install --yes && /root/mcpeg uninstall --yes");
    }
    match package {
        PackageState::Installed => ok(machine, "dpkg --install --no-triggers /root/first"),
        PackageState::OtherFormat => ok(machine, "rpm --upgrade --nodeps /root/first.rpm"),
        PackageState::None | PackageState::ConfigFiles => {}
    }
    match receipt {
        ReceiptState::Live => ok(machine, "/root/mcpeg install --adopt --yes"),
        ReceiptState::Lost => {
            ok(machine, "/root/mcpeg install --adopt --yes && rm /var/lib/mcpeg/install.json");
        }
        ReceiptState::Foreign => {
            ok(machine, "mkdir -p /var/lib/mcpeg && echo '{\"version\":99}' >/var/lib/mcpeg/install.json");
        }
        ReceiptState::None | ReceiptState::Removed => {}
    }
    let own = "/etc/systemd/system/mcpeg.service";
    match unit {
        UnitState::Copy => ok(
            machine,
            &format!(
                "from=$(systemctl show --value --property=FragmentPath mcpeg); rm -f {own}; \
                 if [ -f \"$from\" ]; then cp \"$from\" {own}; else printf '[Service]\\nType=oneshot\\nExecStart=/bin/true\\n' >{own}; fi; \
                 systemctl daemon-reload"
            ),
        ),
        UnitState::Masked => ok(machine, "systemctl mask mcpeg"),
        UnitState::DropIn => ok(
            machine,
            &format!(
                "mkdir {own}.d && printf '[Service]\\nNice=1\\n' >{own}.d/own.conf && systemctl daemon-reload"
            ),
        ),
        UnitState::Ours | UnitState::Packages => {}
    }
    for (directory, file) in [("/etc/mcpeg/conf.d", "mine.toml"), ("/var/lib/mcpeg/home", "mine")] {
        sh(machine, &format!("[ ! -d {directory} ] || echo '# mine' >{directory}/{file}"));
    }
}

/// The state as the rule sees it.
fn situation((receipt, package, unit): Parts) -> Situation {
    let serves = matches!(receipt, ReceiptState::Live | ReceiptState::Lost);
    let unit = if unit == UnitState::Packages && serves { UnitState::Ours } else { unit };
    Situation { receipt, package, unit }
}

/// The command of an act.
const fn command(act: Act) -> &'static str {
    match act {
        Act::Install | Act::Reinstall | Act::Upgrade => "/root/mcpeg install --yes",
        Act::Adopt => "/root/mcpeg install --adopt --yes",
        Act::Uninstall => "/root/mcpeg uninstall --yes",
        Act::Purge => "/root/mcpeg uninstall --purge --yes",
        Act::PackageInstall => "dpkg --install --no-triggers /root/first",
        Act::PackageUpgrade => "dpkg --install --no-triggers /root/next",
        Act::PackageRemove => "dpkg --remove --no-triggers mcpeg",
        Act::PackagePurge => "dpkg --purge --no-triggers mcpeg",
    }
}

/// Whether commands can make this combination: dpkg upgrades what is there and installs what is not, purges an installed
/// package by removing it first, and a mask that a removal has left is not the administrator's.
fn is_real((receipt, package, unit): Parts, act: Act) -> bool {
    let there = package == PackageState::Installed;
    let possible = match act {
        Act::Reinstall | Act::Upgrade => false,
        Act::PackageInstall => !there,
        Act::PackageUpgrade => there,
        _ => true,
    };
    let serves = matches!(receipt, ReceiptState::Live | ReceiptState::Lost);
    possible && (package != PackageState::ConfigFiles || unit != UnitState::Masked || serves)
}

/// What there is, with an owner.
fn picture(machine: &Machine) -> Vec<String> {
    sh(machine, PICTURE).1.lines().map(str::to_owned).collect()
}

/// Lines of a picture that are the package's own files, which come and go with it.
fn is_packages(line: &str) -> bool {
    line.starts_with("/usr/bin/") || line.starts_with("/usr/lib/")
}

/// Does one act and judges it; whether the state is as before.
fn try_act(machine: &Machine, parts: Parts, act: Act) -> bool {
    let (situation, before) = (situation(parts), picture(machine));
    let verdict = decide(situation, act);
    let (code, said) = sh(machine, command(act));
    let after = picture(machine);
    let what = format!(
        "{situation:?} {act:?}: {verdict:?}, ended with {code}: {said}\nbefore {before:#?}\nafter {after:#?}"
    );
    let refused = match verdict {
        Verdict::Refuse(_) if act.is_packages() => code != 0,
        Verdict::Refuse(exit) => code == i32::from(exit.code()),
        _ => code == 0,
    };
    assert!(refused, "exit code: {what}");
    let same = |begins: &str| assert_eq!(line(&before, begins), line(&after, begins), "{what}");
    judge(situation, act, [&before, &after], &said, &what);
    // The administrator's own unit stays in each case; what dpkg's helper has masked or unmasked is not that.
    if matches!(parts.2, UnitState::Copy | UnitState::DropIn) {
        same("/etc/systemd/system/mcpeg.service.d/own.conf");
        if parts.2 == UnitState::Copy {
            same("/etc/systemd/system/mcpeg.service ");
        }
    }
    before == after
}

/// One line of a picture.
fn line(picture: &[String], begin: &str) -> String {
    picture.iter().find(|line| line.starts_with(begin)).cloned().unwrap_or_default()
}

/// Holds what was before an act against what is after it.
fn judge(situation: Situation, act: Act, [before, after]: [&[String]; 2], said: &str, what: &str) {
    let same = |begins: &str| assert_eq!(line(before, begins), line(after, begins), "{what}");
    let gone = |path: &str| assert!(line(after, path).ends_with(" -"), "{path}: {what}");
    match decide(situation, act) {
        Verdict::Refuse(_) | Verdict::Nothing => assert_eq!(before, after, "{what}"),
        Verdict::Leave => {
            // A purge of what is installed is a removal first, which stops a service that is the package's.
            let removes = act == Act::PackagePurge
                && situation.package == PackageState::Installed
                && decide(situation, Act::PackageRemove) != Verdict::Leave;
            // A purge of what was removed before takes the removal's mask back, never the administrator's.
            let unmasks = act == Act::PackagePurge
                && situation.package == PackageState::ConfigFiles
                && situation.unit != UnitState::Masked;
            // Its unit goes as well; that nothing masks another one is a file of the picture.
            let services = |line: &str| !line.starts_with('/');
            let own = |picture: &[String]| -> Vec<String> {
                let lines = picture
                    .iter()
                    .filter(|line| !(is_packages(line) || (removes || unmasks) && services(line)));
                lines.cloned().collect()
            };
            let mut expected = own(before);
            if unmasks && let Some(mask) = expected.iter_mut().find(|line| **line == MASK) {
                "/etc/systemd/system/mcpeg.service -".clone_into(mask);
            }
            assert_eq!(expected, own(after), "{what}");
            let told = words(situation, act).unwrap_or_default();
            assert!(
                said.contains(&told)
                    || ["left as they are", "isn't installed"].iter().any(|words| said.contains(words)),
                "not said: {what}"
            );
        }
        Verdict::Files => same("MainPID="),
        Verdict::TakeOver => {
            [
                "ActiveState=",
                "/etc/mcpeg/conf.d/mine.toml",
                "/var/lib/mcpeg/home/mine",
                "/etc/mcpeg/mcpeg.toml",
            ]
            .into_iter()
            .for_each(same);
            if act != Act::Adopt {
                gone("/var/lib/mcpeg/install.json");
                gone("/usr/local/lib/systemd/system/mcpeg.service");
            }
        }
        Verdict::Proceed => match act {
            Act::Uninstall => {
                gone("/usr/local/lib/systemd/system/mcpeg.service");
                same("/etc/mcpeg/conf.d/mine.toml");
            }
            Act::Purge | Act::PackagePurge => gone("/etc/mcpeg/conf.d/mine.toml"),
            Act::PackageRemove => {
                gone("/usr/bin/mcpeg");
                same("/etc/mcpeg/conf.d/mine.toml");
            }
            _ => same("/etc/mcpeg/conf.d/mine.toml"),
        },
    }
}

/// Every act in every state that is this suite's turn.
fn combinations(suite: &str, turn: usize) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let stride = number("MCPEG_TEST_STRIDE").unwrap_or(STRIDE).max(1);
    let turn = turn + number("MCPEG_TEST_TURN").unwrap_or(0);
    let machine = Machine::boot(suite);
    for (package, name) in
        [(deb(VERSION), "/root/first"), (deb(&NEXT), "/root/next"), (rpm(VERSION), "/root/first.rpm")]
    {
        machine.copy_in(package, name);
    }
    machine.copy_in(env!("CARGO_BIN_EXE_mcpeg"), "/root/mcpeg");
    ok(&machine, "mkdir -p /etc/rpm && echo '%_dbpath /var/lib/rpm' >/etc/rpm/macros");
    let mut states: Vec<Parts> = Vec::new();
    for (Situation { receipt, package, unit }, _, _) in table() {
        if unit != UnitState::Ours && states.last() != Some(&(receipt, package, unit)) {
            states.push((receipt, package, unit));
        }
    }
    let (mut tried, mut there) = (0, None);
    for parts in states.into_iter().skip(turn % stride).step_by(stride) {
        // What changes nothing comes first, so that the state need not be made again for each.
        let mut acts: Vec<Act> = Act::ALL.into_iter().filter(|act| is_real(parts, *act)).collect();
        acts.sort_by_key(|act| {
            !matches!(decide(situation(parts), *act), Verdict::Refuse(_) | Verdict::Nothing)
        });
        for act in acts {
            if there != Some(parts) {
                set_up(&machine, parts);
            }
            there = try_act(&machine, parts, act).then_some(parts);
            tried += 1;
        }
    }
    println!("ownership on {suite}: {tried} combinations tried");
    assert!(tried > 12, "only {tried} combinations");
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn each_combination_of_owners_does_what_the_table_says_on_bookworm() {
    combinations("bookworm", 0);
}

#[test]
#[ignore = "needs root and a booted systemd"]
fn each_combination_of_owners_does_what_the_table_says_on_trixie() {
    combinations("trixie", 2);
}

#[test]
#[ignore = "needs cargo-deb from crates.io"]
fn the_shell_of_the_packages_has_the_same_rule_as_the_table() {
    let script = std::fs::read_to_string(crate::built::repository().join("packaging/deb/postrm")).unwrap();
    let start = script.find("is_anothers() {").unwrap();
    let rule = &script[start..start + script[start..].find("\n}\n").unwrap() + 3];
    let mut tried = 0;
    for (situation, act, verdict) in table() {
        let judged = act == Act::PackagePurge && situation.package != PackageState::None;
        // The script runs after dpkg has taken the package's own program away.
        if !judged || verdict == Verdict::Nothing {
            continue;
        }
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::io::Write::write_all(&mut std::fs::File::create(path).unwrap(), text.as_bytes()).unwrap();
        };
        let unit = "usr/local/lib/systemd/system/mcpeg.service";
        match situation.receipt {
            ReceiptState::None => {}
            ReceiptState::Live => {
                put("var/lib/mcpeg/install.json", "{\n  \"version\": 4,\n  \"state\": \"installed\",\n");
            }
            ReceiptState::Removed => {
                put("var/lib/mcpeg/install.json", "{\n  \"version\": 4,\n  \"state\": \"removed\",\n");
            }
            ReceiptState::Lost => put(unit, "# x\n# this file is written by mcpeg's installer or package.\n"),
            ReceiptState::Foreign => put("var/lib/mcpeg/install.json", "{\"version\":99}\n"),
        }
        if situation.package == PackageState::OtherFormat {
            put("usr/bin/mcpeg", "");
        }
        let below = root.path().display();
        let rule = ["/var/lib/mcpeg", "/usr/bin/mcpeg", "/usr/local/lib"]
            .iter()
            .fold(rule.to_owned(), |rule, path| rule.replace(path, &format!("{below}{path}")));
        #[expect(clippy::disallowed_methods, reason = "the shell is a child of the test")]
        let mut shell = std::process::Command::new("sh");
        let status = shell.args(["-euc", &format!("{rule}is_anothers")]).status().unwrap();
        assert_eq!(status.success(), verdict == Verdict::Leave, "{situation:?}: {verdict:?}");
        tried += 1;
    }
    println!("the shell's rule: {tried} combinations");
    assert_eq!(tried, 5 * 3 * 5);
}
