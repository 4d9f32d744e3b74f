//! What the templates and escapes promise, checked by systemd itself where it has a say.

#![expect(clippy::disallowed_methods, reason = "the tests start systemd's own checkers")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::*;

/// The unit as the installer writes it, for a program that exists wherever the tests run.
fn service(program: &str) -> String {
    Service {
        program: ExecWord::new(Path::new(program)).unwrap(),
        configuration: ExecWord::new(Path::new("/etc/mcpeg/mcpeg.toml")).unwrap(),
        account: AccountName::new("mcpeg").unwrap(),
        stop_timeout: Seconds::new(Duration::from_secs(60)),
    }
    .text()
}

/// Runs `systemd-analyze` over the unit and returns its success and everything that it printed.
fn analyze(arguments: &[&str]) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("mcpeg.service");
    std::fs::write(&unit, service("/bin/true")).unwrap();
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
        service("/usr/local/bin/mcpeg"),
        Sysusers { account: account.clone(), home: directory.clone() }.text(),
        Tmpfiles { account, directory: directory.clone() }.text(),
        Logrotate {
            program: ExecWord::new(Path::new("/usr/bin/mcpeg")).unwrap(),
            configuration: directory.clone(),
            log_file: directory.clone(),
        }
        .text(),
        DefaultConfiguration {
            log_file: TomlString::new(Path::new("/var/log/mcpeg/mcpeg.log")).unwrap(),
            drop_ins: directory,
        }
        .text(),
    ];
    for text in texts {
        assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{text}");
    }
}

#[test]
fn systemd_finds_nothing_to_say_about_the_unit() {
    let (success, text) = analyze(&["verify", "--man=no"]);
    assert!(success && text.is_empty(), "{text}");
}

#[test]
fn exposure_is_at_most_1_1() {
    let (success, text) = analyze(&["security", "--no-pager", "--offline=true", "--threshold=11"]);
    assert!(success, "{text}");
}

#[test]
fn each_hardening_directive_has_a_reason_above_its_group() {
    let unit = service("/bin/true");
    let hardening = unit.split("# What the service may touch").nth(1).unwrap();
    let hardening = hardening.split("[Install]").next().unwrap();
    for block in hardening.split("\n\n").skip(1) {
        assert!(block.trim().is_empty() || block.trim_start().starts_with('#'), "no reason beside: {block}");
    }
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

#[test]
fn fractions_of_seconds_round_up() {
    assert_eq!(Seconds::new(Duration::from_millis(1_500)).to_string(), "2s");
}
