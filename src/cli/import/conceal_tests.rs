//! Texts of clients as texts of the configuration.

use proptest::prelude::*;

use super::*;

/// A text without a key, and the variables to set.
fn plain(text: &str) -> (Result<String, String>, Vec<String>) {
    let mut secrets = Secrets::default();
    let made = Text::new(&mut secrets, "s").plain("X", text);
    (made, secrets.names().map(str::to_owned).collect())
}

/// The same where it succeeds.
fn made(text: &str) -> String {
    plain(text).0.unwrap()
}

#[test]
fn references_of_clients_become_ours() {
    for (theirs, ours) in [
        ("${input:api-key}", "${env:API_KEY}"),
        ("${env:Mixed}", "${env:Mixed}"),
        ("{env:NAME}", "${env:NAME}"),
        ("${{ secrets.NAME }}", "${env:NAME}"),
        ("$NAME", "${env:NAME}"),
        ("Bearer $NAME", "Bearer ${env:NAME}"),
        ("${NAME:-default}", "${env:NAME:-default}"),
        ("${NAME:-}", "${env:NAME:-}"),
        ("${env:NAME:-x}", "${env:NAME:-x}"),
        ("${A:-${B:-c}}d", "${env:A:-${env:B:-c}}d"),
        ("${A:-{\"b\": {}}}", "${env:A:-{\"b\": {}}}"),
        ("${A:-x}}", "${env:A:-x}}"),
        ("${A:-https://h:1/p?q=1&r}/mcp", "${env:A:-https://h:1/p?q=1&r}/mcp"),
        ("${A:-$5}", "${env:A:-$$5}"),
        ("a$b", "a$$b"),
        ("$5", "$$5"),
        ("$", "$$"),
    ] {
        assert_eq!(made(theirs), ours, "{theirs}");
    }
    for text in [
        "${workspaceFolder}/x",
        "${a b}",
        "${a",
        "${}",
        "${A:?no}",
        "${command:x}",
        "{file:/x}",
        "\u{100000}",
    ] {
        assert!(plain(text).0.is_err(), "{text}");
    }
}

#[test]
fn a_default_that_is_a_secret_is_left_out_and_told() {
    let mut secrets = Secrets::default();
    let mut text = Text::new(&mut secrets, "s");
    assert_eq!(text.keyed("K", "K", "${API_KEY:-hunter2}").as_deref(), Ok("${env:API_KEY}"));
    assert_eq!(text.without_default, ["API_KEY"]);
    assert_eq!(made("${DB:-postgres://u:hunter2@h/d}"), "${env:DB}");
    assert_eq!(made("${TOKEN:-${OTHER}}"), "${env:TOKEN:-${env:OTHER}}");
}

#[test]
fn what_is_no_secret_stays_as_it_is() {
    for text in [
        "@modelcontextprotocol/server-filesystem@2025.8.21",
        "ghcr.io/github/github-mcp-server:v1.2.3",
        "image@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "/home/user/my-notes/2025-01-01.md",
        "https://example.org:8443/a/long/path/with/2/digits?page=2&sort=asc#top",
        "git+https://example.org/owner/repo.git@main",
        "--allow-http",
        "type=bind,src=/srv,dst=/data",
        "{\"level\": \"debug\", \"n\": 4}",
        "host=db port=5432 dbname=x sslmode=require",
        "npm:pkg@1.2.3",
        "node",
        "C:\\Users\\me\\server.exe",
    ] {
        let (made, names) = plain(text);
        assert_eq!((made.unwrap().as_str(), names.len()), (text, 0));
    }
}

#[test]
fn what_stands_around_a_secret_stays_readable() {
    for (theirs, ours) in [
        (
            "postgresql://app:hunter2@${DB_HOST}/db",
            "postgresql://app:${env:S_POSTGRESQL_PASSWORD}@${env:DB_HOST}/db",
        ),
        ("Server=db;Password=hunter2;X=1", "Server=db;Password=${env:PASSWORD};X=1"),
        ("Authorization: Bearer hunter2", "Authorization: Bearer ${env:AUTHORIZATION}"),
        ("{\"token\": \"hunter2\", \"n\": 1}", "{\"token\": \"${env:TOKEN}\", \"n\": 1}"),
        ("https://x.org/mcp?a=1&api_key=hunter2&b=2", "https://x.org/mcp?a=1&api_key=${env:S_API_KEY}&b=2"),
    ] {
        assert_eq!(made(theirs), ours);
    }
}

/// The text that a gateway makes of it when every variable has the value that was found.
fn expanded(written: &str, secrets: &Secrets) -> String {
    let mut text = String::new();
    let mut rest = written;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            text.push('$');
            rest = after;
        } else {
            let (name, after) = after.strip_prefix("{env:").unwrap().split_once('}').unwrap();
            text.push_str(secrets.value(name).unwrap());
            rest = after;
        }
    }
    text + rest
}

/// Pieces that texts of clients are made of.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ -~]{0,6}",
        "[a-zA-Z0-9+/=]{16,40}",
        proptest::sample::select(vec![
            "password=",
            "Password=",
            ";",
            "&",
            "?",
            "token:",
            "://",
            "https://",
            "postgres://u:",
            "@h/",
            "Bearer ",
            "--token ",
            "--api-key=",
            "-p",
            "-u ",
            "{\"password\": \"",
            "\"}",
            "'",
            "\"",
            "sk-",
            "ghp_",
            "eyJ",
            "\n",
            " ",
            "\\",
            "%3A",
            "ä",
            "[",
            "]",
            "#",
            "/",
            "code=",
            "Authorization: ",
            "-----BEGIN",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_text_comes_back_as_it_was_when_the_variables_are_set(text in pieces(), before in "[-a-z=]{0,8}") {
        let text = text.replace('$', "");
        for way in 0..3 {
            let mut secrets = Secrets::default();
            let mut made = Text::new(&mut secrets, "s");
            let made = match way {
                0 => made.plain("X", &text),
                1 => made.keyed("PASSWORD", "X", &text),
                _ => made.argument(&before, &text),
            };
            if let Ok(written) = made {
                prop_assert_eq!(&expanded(&written, &secrets), &text, "{}", written);
            }
        }
    }

    #[test]
    fn no_text_ends_the_program(text in any::<String>(), before in any::<String>()) {
        let mut secrets = Secrets::default();
        let _ = Text::new(&mut secrets, "s").plain("X", &text);
        let _ = Text::new(&mut secrets, "s").keyed(&before, &before, &text);
        let _ = Text::new(&mut secrets, "s").argument(&before, &text);
        let _ = Text::new(&mut secrets, "s").plain("X", &format!("${{A:-{text}}}"));
    }

    #[test]
    fn a_named_secret_is_never_shown(secret in "[ -~]{6,30}", reference in "(\\$\\{REF\\})?") {
        let secret = format!("q{}z", secret.replace(['$', '{', '}'], "k"));
        let mut secrets = Secrets::default();
        let written = Text::new(&mut secrets, "s").keyed("PASSWORD", "PASSWORD", &format!("{reference}{secret}"));
        prop_assert!(!written.unwrap().contains(&secret));
    }
}
