//! What the templates and escapes promise, checked by systemd itself where it has a say.

#![expect(clippy::disallowed_methods, reason = "the tests start systemd's own checkers")]

use std::path::Path;
use std::process::Command;

use super::*;
use crate::systemd::{AccountName, ExecWord, FieldPath, Invalid};

/// The unit as the installer writes it, for a program that exists wherever the tests run.
fn service(program: &str, confinement: Confinement) -> String {
    let name = AccountName::new("mcpeg").unwrap();
    Service {
        program: ExecWord::new(Path::new(program)).unwrap(),
        configuration: ExecWord::new(Path::new("/etc/mcpeg/mcpeg.toml")).unwrap(),
        name: name.clone(),
        account: name.clone(),
        group: name,
        programs: FieldPath::new(Path::new(program).parent().unwrap()).unwrap(),
        confinement,
    }
    .text()
}

/// Every confinement, with the worst exposure that systemd may find in it, in tenths.
const CONFINEMENTS: [(Confinement, u32); 4] = [
    (Confinement { children: true, loopback: false }, 11),
    (Confinement { children: true, loopback: true }, 10),
    (Confinement { children: false, loopback: false }, 11),
    (Confinement { children: false, loopback: true }, 9),
];

/// Runs `systemd-analyze` over the unit and returns its success and everything that it printed.
fn analyze(confinement: Confinement, arguments: &[&str]) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("mcpeg.service");
    std::fs::write(&unit, service("/bin/true", confinement)).unwrap();
    let output =
        Command::new("systemd-analyze").args(arguments).arg(&unit).output().expect("systemd is installed");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn each_file_ends_with_one_newline() {
    let account = AccountName::new("mcpeg").unwrap();
    let directory = FieldPath::new(Path::new("/etc/mcpeg")).unwrap();
    let texts = [
        Sysusers { account: account.clone(), group: account.clone(), home: directory.clone() }.text(),
        Tmpfiles { group: account.clone(), directory: directory.clone() }.text(),
        Watch { configuration: directory.clone(), drop_ins: directory.clone(), name: account }.text(),
        Logrotate {
            installed: true,
            name: AccountName::new("mcpeg").unwrap(),
            program: ExecWord::new(Path::new("/usr/bin/mcpeg")).unwrap(),
            configuration: directory.clone(),
            log_file: directory.clone(),
            pid_file: None,
        }
        .text(),
        DefaultConfiguration {
            listen: Vec::new(),
            log_file: Some(TomlString::new(Path::new("/var/log/mcpeg/mcpeg.log")).unwrap()),
            external: true,
            name: AccountName::new("mcpeg").unwrap(),
            drop_ins: directory,
        }
        .text(),
    ];
    let services = CONFINEMENTS.map(|(confinement, _)| service("/usr/local/bin/mcpeg", confinement));
    for text in texts.into_iter().chain(services) {
        assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{text}");
    }
}

#[test]
fn systemd_finds_nothing_to_say_about_any_unit() {
    for (confinement, _) in CONFINEMENTS {
        let (success, text) = analyze(confinement, &["verify", "--man=no"]);
        assert!(success && text.is_empty(), "{confinement:?}: {text}");
    }
}

#[test]
fn exposure_is_at_most_1_1_and_0_9_for_a_gateway_without_network() {
    for (confinement, tenths) in CONFINEMENTS {
        let threshold = format!("--threshold={tenths}");
        let (success, text) = analyze(confinement, &["security", "--no-pager", "--offline=true", &threshold]);
        assert!(success, "{confinement:?}: {text}");
    }
}

#[test]
fn each_hardening_directive_has_a_reason_above_its_group() {
    for (confinement, _) in CONFINEMENTS {
        let unit = service("/bin/true", confinement);
        let hardening = unit.split("# What the service may touch").nth(1).unwrap();
        let hardening = hardening.split("[Install]").next().unwrap();
        for block in hardening.split("\n\n").skip(1) {
            assert!(
                block.trim().is_empty() || block.trim_start().starts_with('#'),
                "no reason beside: {block}"
            );
        }
        // A directive follows its reason or a directive of the same group; a comment opens each group.
        assert!(!unit.contains("\n\n\n") && !unit.contains(" \n"), "{unit}");
    }
}

#[test]
fn only_a_gateway_without_children_forbids_programs_and_executable_memory() {
    for (confinement, _) in CONFINEMENTS {
        let unit = service("/opt/x/bin/mcpeg", confinement);
        for directive in ["\nMemoryDenyWriteExecute=yes\n", "\nNoExecPaths=/\nExecPaths=/opt/x/bin "] {
            assert_eq!(unit.contains(directive), !confinement.children, "{unit}");
        }
        assert_eq!(unit.contains("\nIPAddressDeny=any\nIPAddressAllow=localhost\n"), confinement.loopback);
    }
}

#[test]
fn a_group_of_another_name_is_declared_before_the_account_in_it() {
    let name = |name| AccountName::new(name).unwrap();
    let home = FieldPath::new(Path::new("/h")).unwrap();
    let text = Sysusers { account: name("a"), group: name("b"), home }.text();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines, ["g b -", "u a -:b \"MCP gateway\" /h /usr/sbin/nologin"]);
}

#[test]
fn percent_and_dollar_are_doubled_and_blanks_quoted_in_commands() {
    let word = |path: &str| ExecWord::new(Path::new(path)).unwrap().to_string();
    assert_eq!(word("/opt/100%/$x"), "/opt/100%%/$$x");
    assert_eq!(word("/opt/a b\\\"c"), r#""/opt/a b\\\"c""#);
    assert_eq!(word("/usr/bin/mcpeg"), "/usr/bin/mcpeg");
}

#[test]
fn paths_that_could_break_a_line_are_refused() {
    for path in ["relative", "/a/../b", "/a\nb"] {
        assert_eq!(ExecWord::new(Path::new(path)), Err(Invalid::Path(path.into())));
        assert_eq!(FieldPath::new(Path::new(path)), Err(Invalid::Path(path.into())));
        assert_eq!(TomlString::new(Path::new(path)), Err(Invalid::Path(path.into())));
    }
}

#[test]
fn account_names_that_tools_disagree_about_are_refused() {
    for name in ["", "1abc", "-x", "Upper", "a b", "a:b", "abcdefghijklmnopqrstuvwxyzabcdef"] {
        assert_eq!(AccountName::new(name), Err(Invalid::Account(name.to_owned())));
    }
}
