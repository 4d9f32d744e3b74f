//! `--check`: what is valid, and each mistake with its exit code, its place, its key and its fix.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::command::{Finished, Scratch};

/// Asserts that a main file is refused with 78, at this place, with all these parts on standard error.
#[track_caller]
fn refused(content: &str, place: &str, parts: &[&str]) {
    let place = format!("mcpeg: error: mcpeg.toml:{place}: ");
    let finished = Scratch::with_config(content).check(&[]).exits(78).says(&[&place]).says(parts);
    assert_eq!(finished.stdout, "");
}

#[test]
fn a_valid_file_is_named_with_what_it_gives() {
    let scratch = Scratch::with_config("[upstreams.a]\ncommand = \"/bin/true\"\n")
        .file("conf.d/b.toml", "[upstreams.b]\ncommand = \"true\"\n");
    let finished = scratch.check(&[]).exits(0);
    let user = Scratch::user();
    assert_eq!(
        finished.stdout,
        format!(
            "configuration mcpeg.toml is valid: 2 upstreams, listening on 127.0.0.1:8080 (as user {user} sees it)\n"
        )
    );
    assert_eq!(finished.stderr, "");
}

#[test]
fn what_would_probably_not_work_is_a_warning_and_exits_0() {
    let scratch = Scratch::with_config(
        "[server]\nauth = \"none\"\nlisten = [\"0.0.0.0:8080\"]\n\
         [upstreams.a]\ncommand = \"no-such-program\"\nworking_dir = \"/proc/nonexistent\"\n\
         [upstreams.b]\ncommand = \"/etc/passwd\"\n\
         [upstreams.c]\nurl = \"http://example.org/mcp\"\nheaders = { Authorization = \"x\" }\n",
    );
    scratch.check(&[]).exits(0).says(&[
        "mcpeg: warning: anybody who can reach `0.0.0.0:8080` can use every upstream",
        "mcpeg: warning: upstream `a`: command `no-such-program` is not in PATH",
        "upstream `a`: working_dir `/proc/nonexistent` is not a directory",
        "upstream `b`: command `/etc/passwd` is not an executable file",
        "upstream `c`: headers are sent to `example.org` without encryption",
    ]);
}

#[test]
fn names_of_tools_that_models_refuse_are_warned_of_where_they_are_known() {
    let (long, name) = ("t".repeat(60), "u".repeat(41));
    let one = format!(
        "[upstreams.files]\ncommand = \"true\"\ntools = {{ allow = [\"{long}\", \"{long}*\"], rename = {{ a = \"b{long}\" }} }}\n"
    );
    let both = format!("{one}[upstreams.{name}]\nurl = \"http://127.0.0.1:1/mcp\"\n");
    let finished = Scratch::with_config(&both).check(&[]).exits(0);
    let finished = finished.says(&[
        &format!("upstream `files`: the tool `files_{long}` has a name of 66 characters"),
        &format!("upstream `files`: the tool `files_b{long}` has a name of 67 characters"),
        &format!("upstream `{name}`: its name leaves 22 characters"),
        "`tools.rename`",
    ]);
    assert_eq!(finished.stderr.matches("warning").count(), 3, "{}", finished.stderr);
    let finished = Scratch::with_config(&one).check(&[]).exits(0);
    assert_eq!(finished.stderr, "", "a lone upstream's names have no prefix");
}

#[test]
fn the_json_answer_has_the_documented_form() {
    let scratch = Scratch::with_config("[upstreams.a]\ncommand = \"no-such-program\"\n");
    let finished = scratch.check(&["--json"]).exits(0);
    assert_eq!(finished.stderr, "");
    assert_eq!(
        serde_json::from_str::<Value>(&finished.stdout).unwrap(),
        json!({
            "valid": true,
            "view": { "user": Scratch::user(), "unit": null },
            "files": ["mcpeg.toml"],
            "listen": ["127.0.0.1:8080"],
            "upstreams": [{ "name": "a", "transport": "stdio", "target": "no-such-program" }],
            "warnings": [{ "upstream": "a", "message": "command `no-such-program` is not in PATH" }],
            "problems": []
        })
    );
    let finished = Scratch::with_config("[log]\nlevl = 1\n").check(&["--json"]).exits(78);
    assert_eq!(finished.stderr, "");
    let answer: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(answer["valid"], false);
    assert_eq!(
        answer["problems"],
        json!([{ "file": "mcpeg.toml", "line": 2, "column": 1,
                 "message": "unknown key `levl` in [log]", "hint": "did you mean `level`?" }])
    );
}

#[test]
fn a_missing_file_that_was_named_exits_78() {
    Scratch::new().check(&[]).exits(78).says(&[
        "mcpeg: error: configuration file `mcpeg.toml` does not exist\n",
        "hint: name an existing file",
    ]);
}

#[test]
fn an_unreadable_file_exits_78_and_names_it() {
    let scratch = Scratch::with_config("");
    fs::set_permissions(scratch.path("mcpeg.toml"), Permissions::from_mode(0o000)).unwrap();
    Finished::of(scratch.command_of_user(&["--check", "--config", "mcpeg.toml"])).exits(78).says(&[
        "mcpeg: error: cannot read configuration `mcpeg.toml`: Permission denied",
        "hint: let the user that runs mcpeg read it",
    ]);
}

#[test]
fn an_unreadable_fragment_or_directory_exits_78_and_names_it() {
    let scratch = Scratch::with_config("").file("conf.d/x.toml", "");
    fs::set_permissions(scratch.path("conf.d/x.toml"), Permissions::from_mode(0o000)).unwrap();
    let check = ["--check", "--config", "mcpeg.toml"];
    Finished::of(scratch.command_of_user(&check))
        .exits(78)
        .says(&["cannot read configuration `conf.d/x.toml`"]);
    fs::set_permissions(scratch.path("conf.d"), Permissions::from_mode(0o000)).unwrap();
    Finished::of(scratch.command_of_user(&check)).exits(78).says(&["cannot read configuration `conf.d`"]);
    fs::set_permissions(scratch.path("conf.d"), Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_directory_is_no_configuration_file() {
    Scratch::new()
        .run(&["--check", "--config", "/"])
        .exits(78)
        .says(&["cannot read configuration `/`: Is a directory", "hint: name the file, not its directory"]);
}

#[test]
fn a_malformed_file_exits_78_with_its_place() {
    refused("[server\n", "1:8", &[]);
    refused("[log]\nlevel = info\n", "2:9", &["text without quotes", "hint: put text in double quotes"]);
    refused(
        "[upstreams.a]\ncommand = npx\n",
        "2:11",
        &["text without quotes", "hint: put text in double quotes"],
    );
    let scratch = Scratch::new().file("mcpeg.toml", b"a = \"\xff\"");
    scratch.check(&[]).exits(78).says(&["mcpeg.toml:1:6: not valid UTF-8"]);
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest_valid_one() {
    refused(
        "[server]\nlisen = []\n",
        "2:1",
        &["unknown key `lisen` in [server]", "hint: did you mean `listen`?"],
    );
    refused("[sever]\n", "1:2", &["unknown key `sever`", "did you mean `server`?"]);
    refused("[upstreams.a]\ncomand = \"x\"\n", "2:1", &["`comand`", "did you mean `command`?"]);
}

#[test]
fn bare_numbers_are_answered_with_a_unit() {
    refused("[server]\ndrain_timeout = 30\n", "2:17", &["`drain_timeout`", "write \"30s\""]);
    refused(
        "[upstreams.a]\ncommand = \"x\"\nstart_timeout = 5\n",
        "3:17",
        &["`start_timeout`", "write \"5s\""],
    );
    refused("[server]\nmax_message_size = 1048576\n", "2:20", &["`max_message_size`", "write \"1MiB\""]);
}

#[test]
fn bad_addresses_have_their_place_and_fix() {
    refused("[server]\nlisten = [\"8080\"]\n", "2:11", &["`8080` has no port", "write \"127.0.0.1:8080\""]);
    refused("[server]\nlisten = [8080]\n", "2:11", &["`listen`", "write \"127.0.0.1:8080\""]);
    refused("[server]\nlisten = []\n", "2:10", &["`listen` is empty", "write listen ="]);
    refused("[server]\nlisten = [\"unix:x.sock\"]\n", "2:11", &["not absolute", "write \"unix:/run/"]);
    refused(
        "[server]\nlisten = [\"[::]:80\"]\n",
        "2:11",
        &["other machines", "write auth = \"none\" in [server]"],
    );
}

#[test]
fn listeners_that_cannot_be_bound_together_are_refused() {
    for pair in [
        r#""localhost:8080", "127.0.0.1:8080""#,
        r#""127.0.0.1:8080", "localhost:8080""#,
        r#""127.0.0.1:8080", "[::ffff:127.0.0.1]:8080""#,
        r#""unix:/run/a.sock", "unix:/run/../run/./a.sock""#,
    ] {
        let scratch = Scratch::with_config(&format!("[server]\nlisten = [{pair}]\n"));
        scratch.check(&[]).exits(78).says(&["2:"]);
    }
    let scratch = Scratch::with_config(
        "[server]\nlisten = [\"localhost:8080\", \"127.0.0.1:8081\", \"127.0.0.2:8080\"]\n",
    );
    scratch.check(&[]).exits(0);
}

#[test]
fn log_mistakes_have_their_place_and_fix() {
    refused("[log]\nfile = \"x.log\"\n", "2:8", &["`file` must be an absolute path", "hint: write a path"]);
    refused("[log]\nlevel = \"loud\"\n", "2:9", &["`loud` is not a log level", "hint: write off, error"]);
    refused(
        "[log]\nformat = \"xml\"\n",
        "2:10",
        &["`format` cannot be `xml`", "write \"json\" or \"text\" or \"logfmt\""],
    );
    refused(
        "[log]\nrotate = \"external\"\nrotate_size = \"1MiB\"\n",
        "3:15",
        &["`rotate_size` has no place beside rotate = \"external\"", "leave out one of them"],
    );
    refused("[log]\nrotate_at = \"25:00\"\n", "2:13", &["`rotate_at` cannot be `25:00`", "HH:MM"]);
    refused("[log]\nkeep_files = -1\n", "2:14", &["`keep_files` cannot be -1", "from 0 to 100000"]);
    refused("[log]\nconsole_level = \"loud\"\n", "2:17", &["`loud` is not a log level"]);
}

#[test]
fn upstream_mistakes_have_their_place_and_fix() {
    refused("[upstreams.a]\n", "1:12", &["neither `command` nor `url`", "hint: write command ="]);
    refused(
        "[upstreams.a]\ncommand = \"x\"\nurl = \"http://x\"\n",
        "3:7",
        &["both `command` and `url`", "hint: keep"],
    );
    refused(
        "[upstreams.mcpeg]\ncommand = \"x\"\n",
        "1:12",
        &["`mcpeg` is taken", "hint: choose another name"],
    );
    refused("[upstreams.\"a b\"]\ncommand = \"x\"\n", "1:12", &["`a b` is not allowed", "hint: use 1 to 63"]);
    refused("[upstreams.a]\nurl = \"ws://x/\"\n", "2:7", &["`url`", "http://", "hint: write a URL"]);
    let headers = |text: &str| format!("[upstreams.a]\nurl = \"http://x/\"\nheaders = {{ {text} }}\n");
    refused(
        &headers("\"a b\" = \"\""),
        "3:13",
        &["`a b` cannot be the name of a header", "hint: use letters"],
    );
    refused(&headers("a = \"\\u0001\""), "3:17", &["`headers.a` has a character", "hint: use printable"]);
    let two = "[upstreams.a]\ncommand = \"x\"\n[upstreams.a_b]\ncommand = \"x\"\n";
    refused(two, "3:12", &["`a_b` and `a` (mcpeg.toml:1:12) cannot be told apart", "hint: rename one"]);
}

#[test]
fn one_upstream_in_two_files_is_refused_with_both_places() {
    Scratch::with_config("[upstreams.a]\ncommand = \"x\"\n")
        .file("conf.d/x.toml", "[upstreams.a]\ncommand = \"x\"\n")
        .check(&[])
        .exits(78)
        .says(&["conf.d/x.toml:1:12: upstream `a` is already defined at mcpeg.toml:1:12", "hint: rename"]);
}

#[test]
fn a_fragment_may_hold_upstreams_only() {
    Scratch::with_config("")
        .file("conf.d/x.toml", "[server]\n")
        .check(&[])
        .exits(78)
        .says(&["conf.d/x.toml:1:2: `server` does not belong here", "hint: move it to the main"]);
}

#[test]
fn several_problems_are_listed_each_with_its_place_and_fix() {
    Scratch::with_config("[server]\nlisten = [\"x\"]\n[log]\nlevel = \"loud\"\n").check(&[]).exits(78).says(
        &[
            "mcpeg: error: the configuration has 2 problems\n",
            "\n  mcpeg.toml:2:11: address `x` has no port\n    hint: write",
            "\n  mcpeg.toml:4:9: `loud` is not a log level\n    hint: write",
        ],
    );
}

#[test]
fn references_are_resolved_and_their_values_never_shown() {
    let content = "[upstreams.a]\nurl = \"http://x/${env:TOKEN}\"\nheaders = { A = \"${env:TOKEN}\" }\n\
                   [upstreams.b]\ncommand = \"true\"\nargs = [\"${env:TOKEN}\"]\nenv = { A = \"${file:TOKEN_FILE}\" }\n";
    let scratch = Scratch::new().file("token", "hunter2\n");
    let content = content.replace("TOKEN_FILE", &scratch.path("token").display().to_string());
    let scratch = scratch.file("mcpeg.toml", &content);
    for json in [&[][..], &["--json"]] {
        let mut command = scratch.command(&["--check", "--config", "mcpeg.toml"]);
        command.args(json).env("TOKEN", "hunter2");
        Finished::of(command).exits(0).never_shows("hunter2");
    }
    scratch.check(&[]).exits(78).says(&[
        "mcpeg.toml:2:7: `url`: `${env:TOKEN}` is not set in the environment of mcpeg",
        "mcpeg.toml:3:17: `headers.A`: `${env:TOKEN}` is not set",
        "mcpeg.toml:6:9: `args`: `${env:TOKEN}` is not set",
        "hint: set TOKEN",
    ]);
}

#[test]
fn credentials_come_from_the_directory_of_systemd() {
    let scratch = Scratch::with_config(
        "[upstreams.a]\nurl = \"http://127.0.0.1/\"\nheaders = { A = \"${credential:t}\" }\n",
    )
    .file("credentials/t", "hunter2\n");
    let mut command = scratch.command(&["--check", "--config", "mcpeg.toml"]);
    command.env("CREDENTIALS_DIRECTORY", scratch.path("credentials"));
    Finished::of(command).exits(0).never_shows("hunter2");
    scratch.check(&[]).exits(78).says(&["3:17", "`headers.A`: `${credential:t}` needs", "LoadCredential=t:"]);
}

#[test]
fn a_secret_in_a_broken_file_is_not_shown() {
    for content in [
        "[upstreams.a]\nheaders = { A = \"hunter2 }\n",
        "[upstreams.a]\nheaders = { A = hunter2 }\n",
        "[upstreams.a]\nurl = \"http://x/\"\nheaders = \"hunter2\"\n",
        "[upstreams.a]\nurl = \"http://u:hunter2@x/\"\n",
        "[upstreams.a]\nurl = \"hunter2\"\n",
        "[upstreams.a]\nurl = \"http://x/\"\nheaders = { A = \"hunter2\\n\" }\n",
        "[upstreams.a]\ncommand = \"x\"\nenv = { A = \"hunter2 ${env:NOPE}\" }\n",
        "[upstreams.a]\ncommand = \"x\"\nenv = { A = [\"hunter2\"] }\n",
    ] {
        Scratch::with_config(content).check(&[]).exits(78).never_shows("hunter2");
    }
}

#[test]
fn the_command_line_can_move_a_listener_but_not_open_the_gateway() {
    let scratch = Scratch::with_config("");
    scratch
        .check(&["--listen", "127.0.0.1:1", "--listen", "[::1]:2"])
        .exits(0)
        .prints(&["127.0.0.1:1, [::1]:2"]);
    scratch
        .check(&["--listen", "0.0.0.0:80"])
        .exits(78)
        .says(&["--listen: listener `0.0.0.0:80`", "auth = \"none\""]);
    scratch
        .check(&["--listen", "80"])
        .exits(78)
        .says(&["--listen: address `80` has no port", "127.0.0.1:80"]);
    let open = Scratch::with_config("[server]\nauth = \"none\"\n");
    open.check(&["--listen", "0.0.0.0:80"]).exits(0).prints(&["listening on 0.0.0.0:80"]);
    open.check(&["--dev", "--listen", "0.0.0.0:80"])
        .exits(78)
        .says(&["which --dev requires", "listen on 127.0.0.1"]);
}

#[test]
fn the_environment_stands_in_for_options() {
    let scratch = Scratch::with_config("");
    let mut command = scratch.command(&["--check"]);
    command
        .env("MCPEG_CONFIG", "mcpeg.toml")
        .env("MCPEG_LISTEN", "127.0.0.1:1,unix:/x")
        .env("MCPEG_DEV", "1");
    Finished::of(command).exits(0).prints(&["configuration mcpeg.toml is valid", "127.0.0.1:1, unix:/x"]);
}

#[test]
fn without_any_file_the_defaults_are_valid() {
    let scratch = Scratch::new();
    let mut command = scratch.command_of_user(&["--check"]);
    command.env("HOME", scratch.path("home"));
    Finished::of(command).exits(0).prints(&[
        "no configuration file",
        "home/.config/mcpeg/mcpeg.toml",
        "built-in",
    ]);
}

#[test]
fn a_user_is_served_from_the_xdg_place() {
    let scratch = Scratch::new()
        .file("xdg/mcpeg/mcpeg.toml", "[upstreams.a]\ncommand = \"true\"\n")
        .file("xdg/mcpeg/conf.d/b.toml", "[upstreams.b]\ncommand = \"true\"\n");
    let mut command = scratch.command_of_user(&["--check"]);
    command.env("XDG_CONFIG_HOME", scratch.path("xdg"));
    Finished::of(command).exits(0).prints(&["xdg/mcpeg/mcpeg.toml is valid: 2 upstreams"]);
}
