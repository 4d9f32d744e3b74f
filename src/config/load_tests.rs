//! Loading whole files: what is accepted, and each mistake with its place, its message and its fix.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::config::key::{Description, OnChange};
use crate::config::{Claim, KeySource, Limits, ListenAddr, OpenTo, Problem, Secret, Sharing, Transport};

/// A configuration directory of its own.
struct Scratch(tempfile::TempDir);

impl Scratch {
    /// A directory with `mcpeg.toml` in it.
    fn new(main: &str) -> Self {
        let scratch = Self(tempfile::tempdir().unwrap());
        scratch.file("mcpeg.toml", main)
    }

    /// Adds a file.
    fn file(self, name: &str, content: &str) -> Self {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create(path).unwrap().write_all(content.as_bytes()).unwrap();
        self
    }

    /// Loads it with `TOKEN=hunter2` in the environment.
    fn load_with(&self, overrides: Overrides) -> Result<Config, Error> {
        let variable = |name: &str| (name == "TOKEN").then(|| OsString::from("hunter2"));
        let source = Source { file: Some(self.0.path().join("mcpeg.toml")), overrides };
        load_in(&source, &[], Env::strict(&variable))
    }

    /// Loads it as it is.
    fn load(&self) -> Config {
        self.load_with(Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The problems as lines `file:line:column: message | hint`, files without their directory.
    fn problems(&self, overrides: Overrides) -> Vec<String> {
        let error = self.load_with(overrides).unwrap_err();
        let directory = format!("{}/", self.0.path().display());
        let line = |p: &Problem| format!("{p} | {}", p.hint.as_deref().unwrap_or_default());
        error.problems().iter().map(|p| line(p).replace(&directory, "")).collect()
    }
}

/// The problems of one main file.
fn problems(main: &str) -> Vec<String> {
    Scratch::new(main).problems(Overrides::default())
}

/// Asserts that the main file has exactly one problem, at this place, whose text has all these parts.
#[track_caller]
fn refused(main: &str, place: &str, parts: &[&str]) {
    let found = problems(main);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with(&format!("mcpeg.toml:{place}: ")), "{}", found[0]);
    for part in parts {
        assert!(found[0].contains(part), "`{part}` is missing in: {}", found[0]);
    }
}

#[test]
fn the_contract_example_is_read_as_it_is_meant() {
    let config = Scratch::new(
        r#"
        [server]
        listen = ["127.0.0.1:8080", "unix:/run/mcpeg.sock"]
        drain_timeout = "1m 30s"
        max_message_size = "1MiB"
        [log]
        level = "info,mcpeg::gateway=debug"
        file = "/var/log/mcpeg/mcpeg.log"
        [upstreams.time]
        command = "mcp-server-time"
        args = ["--local-timezone", "UTC"]
        env = { TZ = "UTC" }
        [upstreams.docs]
        url = "http://127.0.0.1:9000/mcp"
        headers = { Authorization = "Bearer ${env:TOKEN}" }
        sharing = "per-session"
        "#,
    )
    .load();
    assert_eq!(config.server.listen.len(), 2);
    assert_eq!(config.server.drain_timeout, Duration::from_secs(90));
    assert_eq!(config.server.max_message_size, 1 << 20);
    assert_eq!(config.log.file.as_deref(), Some(Path::new("/var/log/mcpeg/mcpeg.log")));
    let names: Vec<&str> = config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(names, ["time", "docs"]);
    assert_eq!(config.upstreams[1].sharing, Sharing::PerSession);
    let Transport::Http { headers, .. } = &config.upstreams[1].transport else { panic!("not http") };
    assert_eq!(headers["authorization"].reveal(), "Bearer hunter2");
}

#[test]
fn an_empty_file_is_the_default_configuration() {
    let config = Scratch::new("").load();
    assert_eq!(config.server.listen, [ListenAddr::Tcp { host: "127.0.0.1".to_owned(), port: 8080 }]);
    assert_eq!(config.server.auth, None);
    assert!(config.upstreams.is_empty());
    assert_eq!(config.sources.len(), 1);
}

/// A whole main file with these lines of each table; an upstream needs one of two keys, and keys come by URL or file.
fn file_of(line: impl Fn(&Description) -> Option<String>) -> String {
    let table = |table: &keys::Table| {
        let stdio = table.keys().filter(|key| {
            !matches!(key.name, "url" | "urls" | "headers" | "transport" | "ca_file" | "oauth" | "jwks_file")
        });
        // What has no default, and a table cannot be without.
        let needed = match table.header() {
            "listeners.NAME" => "address = \"127.0.0.1:2\"\n",
            "auth.oauth.NAME" => "issuer = \"https://a\"\naudience = [\"b\"]\nresource = \"https://c\"\n",
            _ => "",
        };
        let lines = stdio.filter(|key| !needed.contains(&format!("{} = ", key.name)));
        let lines = lines.filter_map(|key| line(&key));
        format!("[{}]\n{needed}{}", table.header(), lines.collect::<String>())
    };
    keys::Table::ALL.into_iter().map(table).collect()
}

#[test]
fn defaults_that_are_written_out_change_nothing() {
    let text = file_of(|key| Some(format!("{} = {}\n", key.name, key.default?)));
    // An upstream and an endpoint cannot have one name.
    let text = text.replace("[endpoints.NAME]", "[endpoints.build]");
    let written = Scratch::new(&format!("{text}command = \"x\"\n")).load();
    let needed = "[listeners.NAME]\naddress = \"127.0.0.1:2\"\n[upstreams.NAME]\ncommand = \"x\"\n";
    let left_out = Scratch::new(needed).load();
    assert_eq!(format!("{:?}", written.server), format!("{:?}", left_out.server));
    assert_eq!(format!("{:?}", written.log), format!("{:?}", left_out.log));
    assert_eq!(written.upstreams, left_out.upstreams);
}

#[test]
fn every_example_is_read_and_those_that_a_reload_cannot_change_are_kept() {
    let left_out = Scratch::new("[upstreams.NAME]\ncommand = \"x\"\n").load();
    let values: BTreeMap<_, _> = [
        ("listen", "[\"127.0.0.1:1\"]"),
        ("format", "\"text\""),
        ("console_format", "\"json\""),
        ("max_message_size", "\"1MiB\""),
        ("rotate", "\"own\""),
        ("upstreams", "[\"NAME\"]"),
    ]
    .into();
    let value = |key: &Description| values.get(key.name).map_or(key.example, |value| *value);
    let text = file_of(|key| Some(format!("{} = {}\n", key.name, value(key))));
    let text = text.replace("[endpoints.NAME]", "[endpoints.build]");
    let mut config = Scratch::new(&text).load();
    let fixed = config.keep_fixed(&left_out);
    let told = keys::Table::ALL.into_iter().flat_map(|table| {
        let fixed = table.keys().filter(|key| key.on_change != OnChange::Reload);
        fixed.map(|key| format!("{} in [{}]", key.name, table.header()))
    });
    assert_eq!(fixed, told.collect::<Vec<_>>());
    assert!(config.keep_fixed(&left_out).is_empty());
}

#[test]
fn conf_d_is_read_by_name_and_hidden_and_other_files_are_not() {
    let config = Scratch::new("[upstreams.main]\ncommand = \"m\"")
        .file("conf.d/b.toml", "[upstreams.bb]\ncommand = \"b\"")
        .file("conf.d/a.toml", "[upstreams.aa]\ncommand = \"a\"")
        .file("conf.d/.hidden.toml", "nonsense")
        .file("conf.d/README", "nonsense")
        .load();
    let names: Vec<&str> = config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(names, ["main", "aa", "bb"]);
    assert_eq!(config.sources.len(), 3);
}

#[test]
fn a_duplicate_upstream_across_files_names_both_places() {
    let scratch = Scratch::new("[upstreams.a]\ncommand = \"m\"")
        .file("conf.d/x.toml", "\n[upstreams.a]\ncommand = \"b\"");
    let found = scratch.problems(Overrides::default());
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("conf.d/x.toml:2:12: upstream `a` is already defined at mcpeg.toml:1:12"));
}

#[test]
fn problems_of_several_files_are_reported_together() {
    let scratch = Scratch::new("[server]\nlisten = [\"8080\"]\n[upstreams.a]\ncommand = \"./x\"")
        .file("conf.d/x.toml", "[log]\n");
    let found = scratch.problems(Overrides::default());
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].starts_with("mcpeg.toml:2:11: address `8080` has no port | write \"127.0.0.1:8080\""));
    assert!(found[1].starts_with("mcpeg.toml:4:11: `command` is a path that is not absolute"));
    assert!(found[2].starts_with("conf.d/x.toml:1:2: `log` does not belong here"));
}

#[test]
fn a_syntax_error_has_its_place_and_does_not_quote_the_line() {
    let found = problems("[upstreams.a]\nheaders = { Authorization = \"Bearer hunter2 }\n");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("mcpeg.toml:2:"), "{}", found[0]);
    assert!(!found[0].contains("hunter2"), "{}", found[0]);
    let found = problems("[upstreams.a]\nurl = http://hunter2/\n");
    assert!(found[0].starts_with("mcpeg.toml:2:7: "), "{found:#?}");
    assert!(!found[0].contains("hunter2"), "{}", found[0]);
    refused("[log]\nlevel = \"info\"\nlevel = \"warn\"\n", "3:1", &["duplicate key"]);
}

#[test]
fn text_that_is_not_utf_8_has_its_place() {
    let scratch = Scratch::new("");
    let path = scratch.0.path().join("mcpeg.toml");
    std::fs::File::create(path).unwrap().write_all(b"[log]\nlevel = \"\xff\"").unwrap();
    assert_eq!(
        scratch.problems(Overrides::default()),
        ["mcpeg.toml:2:10: not valid UTF-8 | save the file as UTF-8 text"]
    );
}

#[test]
fn listeners_off_loopback_need_the_written_word() {
    let fix = "write auth = \"none\" in [server]";
    refused("[server]\nlisten = [\"0.0.0.0:80\"]", "2:11", &["`0.0.0.0:80` can be reached", fix]);
    let allowed = Scratch::new("[server]\nauth = \"none\"\nlisten = [\"0.0.0.0:80\"]");
    assert_eq!(allowed.load().server.auth, Some(OpenTo::Anybody));
    let listen = Overrides { listen: vec!["[::]:80".to_owned()], ..Overrides::default() };
    let found = Scratch::new("").problems(listen.clone());
    assert!(found[0].starts_with("--listen: listener `[::]:80` can be reached"), "{found:?}");
    assert!(allowed.load_with(listen).is_ok());
}

#[test]
fn the_development_profile_is_loopback_even_where_the_file_allows_more() {
    let scratch = Scratch::new("[server]\nauth = \"none\"\nlisten = [\"0.0.0.0:80\"]\n[log]\nfile = \"/x\"");
    let dev = Overrides { dev: true, ..Overrides::default() };
    assert!(scratch.problems(dev.clone())[0].contains("which --dev requires | listen on 127.0.0.1"));
    let config =
        scratch.load_with(Overrides { listen: vec!["127.0.0.1:0".to_owned()], ..dev.clone() }).unwrap();
    assert_eq!((config.log.level.as_str(), config.log.file), ("info,mcpeg=debug", None));
    let louder = Overrides {
        listen: vec!["127.0.0.1:0".to_owned()],
        log_level: Some("trace".to_owned()),
        log_file: Some(PathBuf::from("/y")),
        ..dev
    };
    let config = scratch.load_with(louder).unwrap();
    assert_eq!((config.log.level.as_str(), config.log.file), ("trace", Some(PathBuf::from("/y"))));
}

#[test]
fn a_relative_log_file_of_the_command_line_is_made_absolute() {
    let overrides = Overrides { log_file: Some(PathBuf::from("x.log")), ..Overrides::default() };
    let file = Scratch::new("").load_with(overrides).unwrap().log.file.unwrap();
    assert_eq!(file, std::env::current_dir().unwrap().join("x.log"));
}

#[test]
fn mistakes_in_server_and_log_have_their_places_and_fixes() {
    refused("[server]\nlisten = []", "2:10", &["`listen` is empty", "write listen = [\"127.0.0.1:8080\"]"]);
    refused("[server]\nlisten = [\"unix:x\"]", "2:11", &["not absolute", "unix:/run/mcpeg/http.sock"]);
    refused("[server]\nlisten = [\"localhost:1\", \"localhost:1\"]", "2:26", &["is listed twice"]);
    refused("[server]\ndrain_timeout = \"30\"", "2:17", &["no unit", "write \"30s\""]);
    refused("[server]\ndrain_timeout = 30", "2:17", &["bare integer", "write \"30s\""]);
    refused("[server]\nsession_timeout = \"0s\"", "2:19", &["longer than nothing"]);
    refused("[server]\nmax_message_size = \"1B\"", "2:20", &["between 1KiB and 1GiB"]);
    refused("[server]\nallowed_origins = [\"example.org\"]", "2:20", &["https://example.org"]);
    refused("[server]\nallowed_hosts = [\"*\"]", "2:18", &["cannot be in `allowed_hosts`"]);
    refused("[log]\nfile = \"mcpeg.log\"", "2:8", &["`file` must be an absolute path", "begins with /"]);
    refused("[log]\nlevel = \"verbose\"", "2:9", &["`verbose` is not a log level", "write off, error"]);
    refused("[log]\nlevel = \"info,x=loud\"", "2:9", &["is not a log level"]);
    refused("[log]\nlevel = \"\"", "2:9", &["is not a log level"]);
}

#[test]
fn mistakes_in_upstreams_have_their_places_and_fixes() {
    refused("[upstreams.a]", "1:12", &["neither `command` nor `url`", "write command = "]);
    refused("[upstreams.a]\ncommand = \"x\"\nurl = \"http://x/\"", "3:7", &["has both", "keep one"]);
    refused("[upstreams.server-card]\ncommand = \"x\"", "1:12", &["reserved", "another name"]);
    refused("[upstreams.mcpeg]\ncommand = \"x\"", "1:12", &["taken by the built-in", "another name"]);
    refused("[upstreams.mcpeg_x]\ncommand = \"x\"", "1:12", &["begins with `mcpeg_`"]);
    refused("[upstreams.\"a b\"]\ncommand = \"x\"", "1:12", &["`a b` is not allowed", "letters, digits"]);
    refused("[upstreams.a]\ncommand = \"\"", "2:11", &["`command` is empty"]);
    refused("[upstreams.a]\ncommand = \"x\"\nworking_dir = \"y\"", "3:15", &["absolute path"]);
    refused("[upstreams.a]\ncommand = \"x\"\nheaders = {}", "3:11", &["belongs to upstreams with `url`"]);
    refused("[upstreams.a]\nurl = \"http://x/\"\nenv = {}", "3:7", &["belongs to upstreams with `command`"]);
    refused("[upstreams.a]\ncommand = \"x\"\nenv = { \"A=B\" = \"\" }", "3:9", &["name of a variable"]);
    refused("[upstreams.a]\nurl = \"ftp://x/\"", "2:7", &["http:// or https://", "mcp.example.org"]);
    refused("[upstreams.a]\nurl = \"/mcp\"", "2:7", &["does not begin with http://"]);
    refused("[upstreams.a]\nurl = \"http://u:hunter2@x/\"", "2:7", &["user name or password"]);
    refused(
        "[upstreams.a]\nurl = \"http://x/\"\nheaders = { \"a b\" = \"\" }",
        "3:13",
        &["name of a header"],
    );
    refused(
        "[upstreams.a]\nurl = \"http://x/\"\nheaders = { Host = \"\" }",
        "3:13",
        &["set by mcpeg itself"],
    );
    refused(
        "[upstreams.a]\nurl = \"http://x/\"\nheaders = { A = \"1\\n2\" }",
        "3:17",
        &["no header can have"],
    );
    refused(
        "[upstreams.a]\nurl = \"http://x/\"\nheaders = { A = \"1\", a = \"2\" }",
        "3:22",
        &["given twice"],
    );
    refused("[upstreams.a]\ncommand = \"x\"\nstart_timeout = \"0s\"", "3:17", &["longer than nothing"]);
    let resources = "[upstreams.a]\ncommand = \"x\"\nresources = { rename = { a = \"b\" } }";
    refused(resources, "3:24", &["`resources.rename` cannot be", "remove it"]);
    let both = "[upstreams.a]\ncommand = \"x\"\ntools = { rename = { a = \"c\", b = \"c\" } }";
    refused(both, "3:35", &["two of the tools are renamed to `c`"]);
}

#[test]
fn login_that_would_give_a_secret_away_is_refused() {
    let with = |url: &str, oauth: &str| format!("[upstreams.a]\nurl = \"{url}\"\noauth = {oauth}");
    let good = r#"{ issuer = "https://as", client_id = "x", client_secret = "${env:TOKEN}", flow = "device", scopes = ["a:b"] }"#;
    let config = Scratch::new(&with("https://x/mcp", good)).load();
    let oauth = config.upstreams[0].transport.oauth().unwrap();
    assert_eq!(oauth.client_secret, Some(Secret::new("hunter2".to_owned())));
    assert!(!format!("{config:?}").contains("hunter2"));
    for url in ["http://127.0.0.1:1/", "http://localhost/", "http://[::1]/mcp", "https://x/"] {
        Scratch::new(&with(url, "{}")).load();
    }
    for (url, oauth, place, part) in [
        ("http://x/", "{}", "3:9", "without encryption"),
        ("http://localhost.evil/", "{}", "3:9", "without encryption"),
        (
            "https://x/",
            "{ client_secret = \"s\", issuer = \"https://as\" }",
            "3:9",
            "without `oauth.client_id`",
        ),
        ("https://x/", "{ client_secret = \"s\", client_id = \"x\" }", "3:9", "needs `oauth.issuer`"),
        ("https://x/", "{ flow = \"client-credentials\" }", "3:9", "needs `oauth.client_secret`"),
        ("https://x/", "{ flow = \"implicit\" }", "3:18", "`oauth.flow` cannot be `implicit`"),
        ("https://x/", "{ issuer = \"http://as\" }", "3:20", "`oauth.issuer` cannot be used"),
        ("https://x/", "{ client_metadata_url = \"ftp://as/x\" }", "3:33", "cannot be used"),
        ("https://x/", "{ scopes = [\"a b\"] }", "3:21", "has a scope that cannot be"),
        ("https://x/", "{ scopes = \"a\" }", "3:20", "must be an array of strings"),
        ("https://x/", "{ clientid = \"a\" }", "3:11", "unknown key `oauth.clientid`"),
        ("https://x/", "\"a\"", "3:9", "`oauth` must be a table"),
    ] {
        refused(&with(url, oauth), place, &[part]);
    }
    let both = with("https://x/", "{}") + "\nheaders = { authorization = \"x\" }";
    refused(&both, "3:9", &["exclude each other"]);
}

#[test]
fn what_is_known_of_clients_stands_in_headers_of_urls_and_nowhere_else() {
    let config =
        Scratch::new("[upstreams.a]\nurl = \"http://x/\"\nheaders = { A = \"1\", B = \"${client:name}\" }")
            .load();
    let Transport::Http { headers, client_headers, .. } = &config.upstreams[0].transport else { panic!() };
    assert_eq!((headers.len(), client_headers.len()), (1, 1));
    assert!(config.upstreams[0].transport.is_personal());
    let url = "[upstreams.a]\nurl = \"http://x/\"\n";
    for (text, place, part) in [
        (
            "[upstreams.a]\ncommand = \"x\"\nenv = { A = \"${client:name}\" }".to_owned(),
            "3:13",
            "when a client calls",
        ),
        ("[upstreams.a]\ncommand = \"${client:name}\"".to_owned(), "2:11", "`headers` of an upstream"),
        (
            "[upstreams.a]\ncommand = \"x\"\nargs = [\"${client:header:X-A}\"]".to_owned(),
            "3:9",
            "when a client calls",
        ),
        ("[upstreams.a]\nurl = \"http://x/${client:name}\"".to_owned(), "2:7", "when a client calls"),
        (
            format!("{url}headers = {{ A = \"${{client:header:Authorization}}\" }}"),
            "3:17",
            "which MCP forbids",
        ),
        (format!("{url}headers = {{ A = \"${{client:header:Cookie}}\" }}"), "3:17", "which MCP forbids"),
        (format!("{url}headers = {{ A = \"${{client:header:Host}}\" }}"), "3:17", "is not passed on"),
        (format!("{url}headers = {{ A = \"${{client:nmae}}\" }}"), "3:17", "write ${client:name}"),
        (
            format!("{url}headers = {{ A = \"${{env:NOPE:-${{client:name}}}}\" }}"),
            "3:17",
            "when a client calls",
        ),
        (format!("{url}headers = {{ A = \"${{client:name}}\", a = \"2\" }}"), "3:35", "given twice"),
    ] {
        refused(&text, place, &[part]);
    }
    let both = "[upstreams.a]\nurl = \"https://x/\"\nheaders = { Authorization = \"${client:header:X-A}\" }\noauth = {}";
    refused(both, "4:9", &["exclude each other"]);
}

#[test]
fn names_that_tool_names_could_confuse_are_refused_with_both_places() {
    let main = "[upstreams.time_zone]\ncommand = \"x\"\n[upstreams.time]\ncommand = \"x\"";
    let found = problems(main);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("mcpeg.toml:3:12: upstream names `time` and `time_zone` ("), "{}", found[0]);
    assert!(found[0].contains("mcpeg.toml:1:12) cannot be told apart"), "{}", found[0]);
}

#[test]
fn an_unresolved_reference_names_key_place_and_reference() {
    let main = "[upstreams.a]\nurl = \"http://x/\"\nheaders = { Authorization = \"hunter3 ${env:NOPE}\" }";
    refused(main, "3:29", &["`headers.Authorization`: `${env:NOPE}` is not set", "set NOPE"]);
    assert!(!problems(main)[0].contains("hunter3"));
}

#[test]
fn references_are_resolved_in_every_value_that_may_have_them() {
    let main = "[upstreams.a]\ncommand = \"${env:TOKEN}\"\nargs = [\"${env:TOKEN}\", \"$$\"]\n\
                env = { A = \"${env:TOKEN}\" }\n[upstreams.b]\nurl = \"http://x/${env:TOKEN}\"";
    let config = Scratch::new(main).load();
    let env = BTreeMap::from([("A".to_owned(), Secret::new("hunter2".to_owned()))]);
    let args = vec!["hunter2".to_owned(), "$".to_owned()];
    let stdio = Transport::Stdio {
        command: "hunter2".to_owned(),
        args,
        env,
        working_dir: None,
        limits: Limits::default(),
        user: None,
    };
    assert_eq!(config.upstreams[0].transport, stdio);
    let Transport::Http { urls, .. } = &config.upstreams[1].transport else { panic!("not http") };
    assert_eq!(urls, &["http://x/hunter2"]);
}

#[test]
fn debug_output_of_a_configuration_has_no_resolved_secret() {
    let main = "[upstreams.a]\ncommand = \"x\"\nargs = [\"${env:TOKEN}\"]\nenv = { A = \"${env:TOKEN}\" }\n\
                [upstreams.b]\nurl = \"http://x/${env:TOKEN}?k=${env:TOKEN}\"\nheaders = { A = \"${env:TOKEN}\" }";
    let config = Scratch::new(main).load();
    let shown = format!("{config:?} {:#?}", config.upstreams);
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("http://x"), "{shown}");
}

#[test]
fn a_named_file_must_exist_and_a_directory_is_no_file() {
    let load =
        |file: &str| load(&Source { file: Some(PathBuf::from(file)), ..Source::default() }).unwrap_err();
    assert!(matches!(load("/nonexistent/mcpeg.toml"), Error::Missing(_)));
    assert!(matches!(load("/"), Error::Read { .. }));
    assert!(matches!(load("/dev/zero"), Error::TooLarge { .. }));
}

/// A file that uses much of the language, for the test below to damage.
const RICH: &str = "[server]\nlisten = [\"[::1]:80\", 'unix:/x']\ndrain_timeout = \"1m 30s\"\n\
                    [log]\nlevel = \"info,a=debug\" # ä\n[upstreams.a]\ncommand = \"\"\"x\"\"\"\nargs = [\"$$\", \"${env:TOKEN}\"]\n\
                    [upstreams.b]\nurl = \"http://x/\"\nheaders = { a.b = \"\\u00e9\", \"c\" = 'd' }\n";

proptest::proptest! {
    #[test]
    fn no_damage_to_a_file_makes_loading_panic(at in 0..RICH.len(), len in 0..40_usize, text in "[\\[\\]{}=\"'$#.,a-zä0-9 \n\u{0}]{0,12}") {
        let keep = |index: usize| (0..=index.min(RICH.len())).rev().find(|&index| RICH.is_char_boundary(index)).unwrap();
        let damaged = format!("{}{text}{}", &RICH[..keep(at)], &RICH[keep(at + len)..]);
        let result = Scratch::new(&damaged).load_with(Overrides::default());
        if let Err(error) = result {
            proptest::prop_assert!(!error.problems().is_empty());
        }
    }
}

#[test]
fn listeners_with_a_name_are_read_beside_the_short_form() {
    let config = Scratch::new(
        r#"
        [listeners.public]
        address = "0.0.0.0:8443"
        tls = { cert = "/c.pem", key = "/k.pem", client_ca = "/a.pem" }
        auth = ["certificate", "token"]
        trusted_proxies = ["10.0.0.0/8", "::1", "unix"]
        proxy_protocol = true
        allowed_origins = ["https://App.example.org"]
        metrics = true
        [listeners.inner]
        address = "unix:/run/x.sock"
        "#,
    )
    .load();
    let listen: Vec<String> = config.server.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["127.0.0.1:8080", "0.0.0.0:8443", "unix:/run/x.sock"]);
    let [public, inner] = config.server.listeners.as_slice() else { panic!("{:?}", config.server) };
    let tls = public.tls.as_ref().unwrap();
    assert_eq!(tls.client_ca.as_deref(), Some(Path::new("/a.pem")));
    assert_eq!(public.auth, [crate::config::Auth::Certificate, crate::config::Auth::Token]);
    assert!(public.proxy_protocol && public.metrics == Some(true) && public.allowed_hosts.is_none());
    assert_eq!(public.allowed_origins.as_deref(), Some(&["https://app.example.org".to_owned()][..]));
    assert!(public.trusted_proxies.have(None) && inner.tls.is_none() && inner.auth.is_empty());
    let alone = Scratch::new("[server]\nlisten = []\n[listeners.a]\naddress = \"127.0.0.1:1\"").load();
    assert_eq!(alone.server.listen.len(), 1);
}

#[test]
fn mistakes_in_listeners_have_their_place_and_their_mend() {
    let on = |lines: &str| format!("[listeners.a]\naddress = \"127.0.0.1:1\"\n{lines}");
    for (text, place, parts) in [
        (on("tls = { cert = \"/c\" }"), "3:7", &["needs both `cert` and `key`"][..]),
        (on("tls = { cert = \"c\", key = \"/k\" }"), "3:16", &["`tls.cert` must be an absolute path"]),
        (
            on("tls = { cert = \"/c\", kee = \"/k\" }"),
            "3:22",
            &["unknown key `tls.kee`", "did you mean `key`"],
        ),
        (on("auth = []"), "3:8", &["`auth` is empty"]),
        (on("auth = [\"tokens\"]"), "3:9", &["`auth` cannot have `tokens`", "\"token\""]),
        (on("auth = [\"certificate\", \"token\"]"), "3:8", &["no `client_ca`"]),
        (on("auth = [\"oauth\"]"), "3:8", &["no authorization server is believed", "[auth.oauth.NAME]"]),
        (on("auth = [\"peer\"]"), "3:8", &["Unix sockets only"]),
        (on("trusted_proxies = [\"10.0.0.0/33\"]"), "3:20", &["no address and no network"]),
        (on("proxy_protocol = true"), "3:18", &["needs `trusted_proxies`"]),
        (on("adress = 1"), "3:1", &["unknown key `adress` in [listeners.a]", "did you mean `address`"]),
        ("[listeners.a]\nmetrics = true".to_owned(), "1:12", &["has no `address`"]),
        ("[listeners.\"a b\"]\naddress = \"127.0.0.1:1\"".to_owned(), "1:12", &["`a b` is not allowed"]),
        (
            "[listeners.a]\naddress = \"0.0.0.0:1\"".to_owned(),
            "2:11",
            &["nothing asks who they are", "with `auth`"],
        ),
        (
            "[listeners.a]\naddress = \"127.0.0.1:8080\"".to_owned(),
            "2:11",
            &["listed twice", "without `listen`"],
        ),
        (
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[listeners.a]\naddress = \"127.0.0.1:0\"".to_owned(),
            "4:11",
            &["listed twice"],
        ),
        (
            format!("{}[listeners.b]\naddress = \"0.0.0.0:1\"\nauth = [\"token\"]", on("")),
            "4:11",
            &["takes 127.0.0.1:1 along"],
        ),
    ] {
        refused(&text, place, parts);
    }
}

/// An authorization server with these further lines.
fn corp(lines: &str) -> String {
    format!(
        "[auth.oauth.corp]\nissuer = \"https://login.example.org\"\naudience = [\"a\"]\n\
             resource = \"https://mcp.example.org/mcp/\"\n{lines}"
    )
}

#[test]
fn authorization_servers_and_claims_are_read() {
    let clients = "[clients.a]\noauth = { issuer = \"corp\", claims = { sub = \"alice\", realm = { roles = [\"x\", \"y\"] } } }\n";
    let config = Scratch::new(&corp(clients)).load();
    let issuer = &config.issuers[0];
    assert_eq!((issuer.name.as_str(), issuer.resource.as_str()), ("corp", "https://mcp.example.org/mcp"));
    assert!(
        issuer.keys == KeySource::Discovered && issuer.algorithms.len() == 3 && issuer.skew.as_secs() == 30
    );
    let proof = config.clients[0].oauth().expect("it");
    let roles = [("roles".to_owned(), Claim::Any(vec!["x".to_owned(), "y".to_owned()]))].into();
    assert_eq!(proof.claims["realm"], Claim::Within(roles));
}

#[test]
fn mistakes_about_authorization_servers_have_their_place_and_their_mend() {
    for (text, place, parts) in [
        (
            "[auth.oauth.a]\nissuer = \"https://a\"\nresource = \"https://b\"".to_owned(),
            "1:13",
            &["has no `audience`"][..],
        ),
        (corp("").replace("[\"a\"]", "[]"), "3:12", &["`audience` is empty"]),
        (corp("").replace("https://login", "http://login"), "2:10", &["anybody on the way could forge keys"]),
        (corp("").replace("https://login.example.org", "login"), "2:10", &["not a URL with https://"]),
        (corp("jwks_url = \"http://10.0.0.1/k\""), "5:12", &["http:// to another machine"]),
        (
            corp("jwks_url = \"https://a/k\"\njwks_file = \"/k\""),
            "6:13",
            &["both `jwks_url` and `jwks_file`"],
        ),
        (corp("jwks_file = \"k\""), "5:13", &["absolute path"]),
        (corp("algorithms = [\"HS256\"]"), "5:15", &["cannot have `HS256`", "keys are public"]),
        (corp("algorithms = [\"none\"]"), "5:15", &["cannot have `none`"]),
        (corp("algorithms = []"), "5:14", &["`algorithms` is empty"]),
        (corp("scopes = [\"a b\"]"), "5:11", &["`a b` cannot be a scope"]),
        (corp("scopes = [\"offline_access\"]"), "5:11", &["none of a resource"]),
        (corp("clock_skew = \"1h\""), "5:14", &["more than 5m"]),
        (corp("issuers = 1"), "5:1", &["unknown key `issuers` in [auth.oauth.corp]", "`issuer`"]),
        ("[auth]\noath = {}".to_owned(), "2:1", &["unknown key `oath` in [auth]", "`oauth`"]),
    ] {
        refused(&text, place, parts);
    }
}

#[test]
fn mistakes_about_tokens_of_clients_have_their_place_and_their_mend() {
    let client = |proof: &str| corp(&format!("[clients.a]\noauth = {proof}\n"));
    for (text, place, parts) in [
        (client("{ issuer = \"crop\" }"), "6:20", &["no authorization server `crop`", "`corp`"][..]),
        (client("{ claims = { sub = \"a\" } }"), "6:9", &["`oauth` has no `issuer`"]),
        (
            client("{ issuer = \"corp\", claims = { sub = [] } }"),
            "6:45",
            &["is empty, so that no token fits"],
        ),
        (
            client("{ issuer = \"corp\", claims = { sub = 1 } }"),
            "6:45",
            &["`oauth.claims.sub` must be a string"],
        ),
        (client("{ issuer = \"corp\", claim = 1 }"), "6:28", &["unknown key `oauth.claim`", "`claims`"]),
        (
            format!("{}{}", corp(""), corp("").replace("corp", "b").replace("mcp.", "m.")),
            "5:13",
            &["another `resource`"],
        ),
        (
            format!("{}{}", corp(""), corp("").replace("corp", "b")),
            "5:13",
            &["the `issuer` of another table"],
        ),
    ] {
        refused(&text, place, parts);
    }
}
