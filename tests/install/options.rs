//! The options of `mcpeg install`: where things go, to whom they belong, and what programs are told.

use std::os::unix::fs::MetadataExt as _;

use serde_json::Value;

use crate::scratch::{Scratch, assert_same, text, write};

/// The unit below a root.
const UNIT: &str = "usr/local/lib/systemd/system/mcpeg.service";
/// The program below a root.
const PROGRAM: &str = "usr/local/bin/mcpeg";
/// The link that starts the service at boot, below a root.
const LINK: &str = "etc/systemd/system/multi-user.target.wants/mcpeg.service";

/// A file below the root.
fn read(scratch: &Scratch, path: &str) -> String {
    std::fs::read_to_string(scratch.at(path)).unwrap()
}

/// The JSON objects that a command printed, one on each line.
fn events(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// Asserts the exit code and what is said, and that nothing has changed.
fn refused(scratch: &Scratch, arguments: &[&str], code: i32, says: &str) {
    let before = scratch.picture();
    let output = scratch.run(arguments);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(says), "{arguments:?}: {said}");
    assert_same(&before, &scratch.picture(), "after the refusal");
}

#[test]
#[ignore = "needs root: changes owners"]
fn instances_have_everything_of_their_own_but_the_program() {
    let scratch = Scratch::new();
    let before = scratch.picture();
    scratch.ok(&["install"]);
    // The order in the receipt is that of the commands.
    let picture = || {
        let mut picture = scratch.picture();
        picture.remove(std::path::Path::new("var/lib/mcpeg/install.json")).expect("it is installed");
        picture
    };
    let one = picture();
    let said = scratch.ok(&["install", "--instance", "two", "--listen", "127.0.0.1:8081"]);
    assert!(!said.contains("/usr/local/bin/mcpeg"), "{said}");
    assert!(said.contains("http://127.0.0.1:8081/mcp"), "{said}");
    for path in [
        "usr/local/lib/systemd/system/mcpeg-two.service",
        "etc/mcpeg-two/mcpeg.toml",
        "var/lib/mcpeg-two/install.json",
        "var/log/mcpeg-two",
    ] {
        assert!(scratch.at(path).exists(), "{path}");
    }
    let unit = read(&scratch, "usr/local/lib/systemd/system/mcpeg-two.service");
    for line in ["User=mcpeg-two", "RuntimeDirectory=mcpeg-two", "--config /etc/mcpeg-two/mcpeg.toml"] {
        assert!(unit.contains(line), "`{line}` is not in: {unit}");
    }
    assert!(read(&scratch, "etc/passwd").contains("\nmcpeg-two:"));

    // The first goes; the program stays for the second.
    let said = scratch.ok(&["uninstall", "--purge"]);
    // Ten files stay for one reason.
    assert!(said.contains("kept ") && said.contains(" and 9 more: another instance uses it"), "{said}");
    assert_eq!(said.matches("another instance uses it").count(), 1, "{said}");
    assert!(scratch.at(PROGRAM).exists() && !scratch.at(UNIT).exists());
    assert!(scratch.ok(&["install", "--instance", "two"]).contains("nothing had to be changed"));
    scratch.ok(&["install"]);
    scratch.ok(&["uninstall", "--instance", "two", "--purge"]);
    assert_same(&one, &picture(), "after the second has gone");
    scratch.ok(&["uninstall", "--purge"]);
    assert_same(&before, &scratch.picture(), "after both have gone");
}

#[test]
#[ignore = "needs root: changes owners"]
fn prefix_moves_the_program_and_its_documents_and_not_what_systemd_reads() {
    let scratch = Scratch::new();
    let before = scratch.picture();
    scratch.ok(&["install", "--prefix", "/opt/mcpeg/"]);
    assert!(scratch.at("opt/mcpeg/bin/mcpeg").exists() && !scratch.at(PROGRAM).exists());
    assert!(scratch.at("opt/mcpeg/share/man/man8/mcpeg.8").exists());
    assert!(read(&scratch, UNIT).contains("ExecStart=/opt/mcpeg/bin/mcpeg --config"));
    // What was chosen holds for later commands, and cannot be changed in place.
    assert!(scratch.ok(&["install"]).contains("nothing had to be changed"));
    refused(&scratch, &["install", "--prefix", "/usr/local"], 64, "is installed with --prefix /opt/mcpeg");
    refused(&scratch, &["install", "--instance", "x", "--prefix", "/home/me"], 64, "could not see");
    scratch.ok(&["uninstall", "--purge"]);
    assert_same(&before, &scratch.picture(), "after purge");
}

#[test]
#[ignore = "needs root: changes owners"]
fn account_and_group_are_those_that_were_asked_for() {
    let scratch = Scratch::new();
    let before = scratch.picture();
    scratch.ok(&["install", "--user", "agent", "--group", "agents"]);
    let number = |file: &str, name: &str, field: usize| {
        let text = read(&scratch, file);
        let line = text.lines().find(|line| line.starts_with(&format!("{name}:"))).expect(name).to_owned();
        line.split(':').nth(field).unwrap().parse::<u32>().unwrap()
    };
    let gid = number("etc/group", "agents", 2);
    assert_eq!(number("etc/passwd", "agent", 3), gid, "the account's own group is another");
    let metadata = scratch.at("etc/mcpeg/mcpeg.toml").metadata().unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (0, gid, 0o640));
    assert!(read(&scratch, UNIT).contains("\nUser=agent\nGroup=agents\n"));
    refused(&scratch, &["install", "--user", "other"], 64, "is installed with --user agent");
    refused(&scratch, &["install", "--instance", "x", "--user", "root"], 64, "does not run as root");
    scratch.ok(&["uninstall", "--purge"]);
    assert_same(&before, &scratch.picture(), "after purge");
}

#[test]
#[ignore = "needs root: changes owners"]
fn listener_is_written_into_the_default_configuration_and_remembered() {
    let scratch = Scratch::new();
    let configuration = "etc/mcpeg/mcpeg.toml";
    scratch.ok(&["install", "--listen", "127.0.0.1:9191", "--listen", "unix:/run/mcpeg/mcp.sock"]);
    let written = "\nlisten = [\"127.0.0.1:9191\", \"unix:/run/mcpeg/mcp.sock\"]\n";
    assert!(read(&scratch, configuration).contains(written));
    assert!(scratch.ok(&["install"]).contains("nothing had to be changed"));
    let said = scratch.ok(&["install", "--details", "--listen", "127.0.0.1:9292"]);
    assert!(said.contains("~ /etc/mcpeg/mcpeg.toml"), "{said}");
    assert!(read(&scratch, configuration).contains("listen = [\"127.0.0.1:9292\"]"));
    refused(&scratch, &["install", "--listen", "0.0.0.0:1"], 78, "install that with --config FILE");
    // What would change nothing is no success.
    scratch.put(configuration, "[server]\nlisten = [\"127.0.0.1:9393\"]\n");
    refused(
        &scratch,
        &["install", "--listen", "127.0.0.1:9494"],
        78,
        "write listen = [\"127.0.0.1:9494\"] into [server]",
    );
    scratch.ok(&["install", "--listen", "127.0.0.1:9393"]);
    refused(&scratch, &["install", "--listen", "nonsense"], 64, "--listen nonsense");
}

/// What logrotate(8) reads below a root.
const LOGROTATE: &str = "etc/logrotate.d/mcpeg";
/// The line by which the configuration leaves the log to it.
const EXTERNAL: &str = "\nrotate = \"external\"\n";

#[test]
#[ignore = "needs root: changes owners"]
fn logrotate_gets_its_file_where_it_was_chosen_and_nowhere_else() {
    let scratch = Scratch::new();
    let before = scratch.picture();
    scratch.ok(&["install"]);
    let plain = scratch.picture();
    assert!(!scratch.at(LOGROTATE).exists() && !read(&scratch, "etc/mcpeg/mcpeg.toml").contains(EXTERNAL));
    let said = scratch.ok(&["install", "--details", "--log-rotation", "logrotate"]);
    assert!(said.contains("+ /etc/logrotate.d/mcpeg (0644 root:root)"), "{said}");
    assert!(read(&scratch, "etc/mcpeg/mcpeg.toml").contains(EXTERNAL));
    let text = read(&scratch, LOGROTATE);
    assert!(
        text.contains("/var/log/mcpeg/mcpeg.log {")
            && text.contains("/usr/local/bin/mcpeg --log-rotate 2>&1")
    );

    // The choice holds for later commands; drift is seen and mended.
    refused(&scratch, &["install", "--check"], 0, "nothing has drifted");
    scratch.put(LOGROTATE, "#\n");
    refused(&scratch, &["install", "--check"], 1, "~ /etc/logrotate.d/mcpeg");
    std::fs::remove_file(scratch.at(LOGROTATE)).unwrap();
    refused(&scratch, &["install", "--check"], 1, "+ /etc/logrotate.d/mcpeg");
    scratch.ok(&["install"]);
    assert_eq!(read(&scratch, LOGROTATE), text);

    let said = scratch.ok(&["install", "--details", "--log-rotation", "own"]);
    assert!(said.contains("- /etc/logrotate.d/mcpeg"), "{said}");
    assert!(!scratch.at(LOGROTATE).exists() && !read(&scratch, "etc/mcpeg/mcpeg.toml").contains(EXTERNAL));
    let differs =
        |path: &std::path::Path| path.starts_with("etc/logrotate.d") || path.ends_with("install.json");
    let here: Vec<_> = scratch.picture().into_iter().filter(|(path, _)| !differs(path)).collect();
    let there: Vec<_> = plain.into_iter().filter(|(path, _)| !differs(path)).collect();
    assert_eq!(here, there);
    scratch.ok(&["install", "--log-rotation", "logrotate"]);
    scratch.ok(&["uninstall", "--purge"]);
    assert_same(&before, &scratch.picture(), "after purge");

    // It outlives the loss of the receipt.
    scratch.ok(&["install", "--log-rotation", "logrotate"]);
    std::fs::remove_file(scratch.at("var/lib/mcpeg/install.json")).unwrap();
    refused(&scratch, &["install", "--check"], 0, "nothing has drifted");
    scratch.ok(&["uninstall", "--purge"]);
    assert!(!scratch.at(LOGROTATE).exists());
}

#[test]
#[ignore = "needs root: changes owners"]
fn logrotate_of_an_instance_tells_that_instance() {
    let scratch = Scratch::new();
    let before = scratch.picture();
    scratch.ok(&["install", "--instance", "two", "--log-rotation", "logrotate"]);
    let text = read(&scratch, "etc/logrotate.d/mcpeg-two");
    assert!(text.contains("/var/log/mcpeg-two/mcpeg.log {"), "{text}");
    assert!(text.contains("--log-rotate --pid-file /run/mcpeg-two/mcpeg.pid"), "{text}");
    scratch.ok(&["uninstall", "--instance", "two", "--purge"]);
    assert_same(&before, &scratch.picture(), "after purge");
}

#[test]
#[ignore = "needs root: changes owners"]
fn edited_configuration_and_choice_never_have_two_or_nobody_rotate() {
    let scratch = Scratch::new();
    let log = "[log]\nfile = \"/var/log/mcpeg/mcpeg.log\"\n";
    let external = format!("{log}rotate = \"external\"\n");
    let configuration = "etc/mcpeg/mcpeg.toml";
    scratch.ok(&["install"]);
    scratch.put(configuration, log);
    let to_logrotate = ["install", "--details", "--log-rotation", "logrotate"];
    refused(&scratch, &to_logrotate, 78, "write rotate = \"external\" into [log] of /etc/mcpeg/mcpeg.toml");
    scratch.put(configuration, &external);
    assert!(scratch.ok(&to_logrotate).contains("+ /etc/logrotate.d/mcpeg"));
    let to_own = ["install", "--log-rotation", "own"];
    refused(
        &scratch,
        &to_own,
        78,
        "take rotate = \"external\" out of [log] of /etc/mcpeg/mcpeg.toml and remove",
    );
    scratch.put(configuration, log);
    scratch.ok(&to_own);
    assert!(!scratch.at(LOGROTATE).exists());
    assert_eq!(read(&scratch, configuration), log);
    // Somebody else's file is in nobody's way unless ours shall be there.
    scratch.put(LOGROTATE, "/var/log/other.log {\n}\n");
    assert!(!scratch.ok(&["install", "--details"]).contains("/etc/logrotate.d/mcpeg (0644"));
    scratch.put(configuration, &external);
    refused(&scratch, &to_logrotate, 11, "is in the way");
}

#[test]
#[ignore = "needs root: changes owners"]
fn no_enable_is_remembered() {
    let scratch = Scratch::new();
    scratch.ok(&["install"]);
    refused(&scratch, &["install", "--no-enable"], 64, "`systemctl disable mcpeg.service` changes that");
    scratch.ok(&["uninstall", "--purge"]);
    scratch.ok(&["install", "--no-enable"]);
    assert!(scratch.at(LINK).symlink_metadata().is_err());
    assert!(scratch.ok(&["install"]).contains("nothing had to be changed"));
    assert!(scratch.at(LINK).symlink_metadata().is_err());
}

#[test]
#[ignore = "needs root: changes owners"]
fn what_the_administrator_disabled_or_put_beside_the_unit_stays_so() {
    let scratch = Scratch::new();
    scratch.ok(&["install"]);
    std::fs::remove_file(scratch.at(LINK)).unwrap();
    let drop_in = "etc/systemd/system/mcpeg.service.d/local.conf";
    scratch.put(drop_in, "[Service]\nNice=5\n");
    let said = scratch.ok(&["install"]);
    assert!(said.contains("kept, the administrator disabled it"), "{said}");
    assert!(scratch.at(LINK).symlink_metadata().is_err());
    let said = scratch.ok(&["uninstall", "--purge"]);
    assert!(said.contains("kept /etc/systemd/system/mcpeg.service.d: your changes of the unit"), "{said}");
    assert_eq!(read(&scratch, drop_in), "[Service]\nNice=5\n");
}

#[test]
#[ignore = "needs root: changes owners"]
fn check_tells_drift_by_its_exit_code_and_changes_nothing() {
    let scratch = Scratch::new();
    refused(&scratch, &["install", "--check"], 1, "+ /usr/local/bin/mcpeg");
    scratch.ok(&["install"]);
    refused(&scratch, &["install", "--check"], 0, "nothing has drifted");
    scratch.put(UNIT, "[Service]\nUser=root\n");
    refused(&scratch, &["install", "--check"], 1, "~ /usr/local/lib/systemd/system/mcpeg.service");
    // The difference is shown, line by line.
    refused(&scratch, &["install", "--check"], 1, "- User=root");
    refused(&scratch, &["install", "--check"], 1, "+ User=mcpeg");
    let output = scratch.run(&["install", "--check", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &answer["changes"]), (Some(1), &Value::Bool(true)));
}

#[test]
#[ignore = "needs root: changes owners"]
fn plan_for_programs_names_what_the_installation_then_does() {
    let scratch = Scratch::new();
    let before = scratch.picture();
    let plan: Value = serde_json::from_str(&scratch.ok(&["install", "--plan", "json"])).unwrap();
    assert_same(&before, &scratch.picture(), "after the plan");
    assert_eq!(plan["version"], 1);
    let acts = |steps: &[Value]| -> Vec<String> {
        let acting = steps.iter().filter(|step| !matches!(step["act"].as_str(), Some("same" | "keep")));
        acting.map(|step| format!("{} {}", step["act"], step["text"])).collect()
    };
    let planned = acts(plan["steps"].as_array().unwrap());
    let events = events(&scratch.ok(&["install", "--json"]));
    let (result, steps) = events.split_last().unwrap();
    assert!(steps.iter().all(|step| step["event"] == "step" && step["state"] == "done"));
    assert!(steps.iter().all(|step| step["milliseconds"].is_u64()));
    assert_eq!(acts(steps), planned);
    assert_eq!((&result["event"], &result["result"]), (&"result".into(), &"installed".into()));
    assert_eq!(result["url"], "http://127.0.0.1:8080/mcp");
    let again = self::events(&scratch.ok(&["install", "--json"]));
    assert_eq!((again.len(), &again[0]["result"]), (1, &"unchanged".into()));
}

#[test]
#[ignore = "needs root: changes owners"]
fn failure_is_told_to_programs_as_one_object() {
    let scratch = Scratch::new();
    scratch.put(PROGRAM, "somebody's\n");
    let output = scratch.run(&["install", "--json"]);
    let events = events(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(output.status.code(), Some(11));
    assert_eq!((events.len(), &events[0]["event"], &events[0]["exit"]), (1, &"error".into(), &11.into()));
    assert!(events[0]["message"].as_str().unwrap().contains(PROGRAM) && output.stderr.is_empty());
}

#[test]
#[ignore = "needs root: changes owners"]
fn unit_is_as_narrow_as_the_configuration_lets_it_be() {
    let scratch = Scratch::new();
    let near = "[upstreams.a]\nurl = \"http://localhost:1/mcp\"\n";
    let far = "[upstreams.b]\nurl = \"https://mcp.example.org/mcp\"\n";
    let child = "[upstreams.c]\ncommand = \"date\"\n";
    let narrow = ["MemoryDenyWriteExecute=yes", "NoExecPaths=/", "IPAddressDeny=any"];
    for (upstream, expected) in [
        (near, [true, true, true]),
        (far, [true, true, false]),
        (child, [false, false, false]),
        (near, [true, true, true]),
    ] {
        write(&scratch.at("etc/mcpeg/conf.d/one.toml"), upstream);
        scratch.ok(&["install"]);
        let unit = read(&scratch, UNIT);
        let found = narrow.map(|directive| unit.contains(&format!("\n{directive}\n")));
        assert_eq!(found, expected, "{upstream}: {unit}");
        assert!(scratch.ok(&["install"]).contains("nothing had to be changed"));
    }
}

#[test]
#[ignore = "needs root: changes owners"]
fn development_is_refused_to_root_and_takes_no_options_of_production() {
    let scratch = Scratch::new();
    refused(&scratch, &["install", "--profile", "development"], 77, "without sudo");
    refused(&scratch, &["install", "--profile", "development", "--plan", "text"], 64, "--root is for");
}
