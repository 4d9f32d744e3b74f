//! `mcpeg token`: what it prints, what it keeps, and how it ends.

use std::os::unix::fs::PermissionsExt as _;

use mcpeg_test::daemon::Site;

/// A site whose gateway keeps its state within.
fn site() -> Site {
    let site =
        Site::with_config("[clients.a]\n[clients.b]\npeer = { user = \"no-such-user\" }\n[clients.c]\n");
    let state = site.path("state").display().to_string();
    site.variable("STATE_DIRECTORY", &state)
}

#[test]
fn tokens_are_made_listed_replaced_and_revoked() {
    let site = site();
    let run = |arguments: &[&str], code: i32| {
        let finished = site.run(&[&["token"], arguments].concat());
        assert_eq!(finished.code, Some(code), "{arguments:?}: {finished:?}");
        finished
    };
    assert!(run(&["list"], 0).stdout.contains("no client has a token"));
    let made = run(&["create", "a", "--expires", "90d"], 0);
    let token = made.stdout.trim();
    assert!(
        token.starts_with("mcpeg_") && token.len() == 62 && made.stderr.contains("only time"),
        "{made:?}"
    );
    assert!(run(&["create", "a"], 64).stderr.contains("hint: `mcpeg token rotate a` replaces it"));
    let listed = run(&["list"], 0).stdout;
    assert!(listed.contains("good") && !listed.contains(&token[19..]), "{listed}");
    for name in ["tokens.json", "tokens.key"] {
        let file = site.path("state").join(name);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        assert!(!String::from_utf8_lossy(&std::fs::read(&file).unwrap()).contains(&token[19..]), "{name}");
    }
    let rotated = run(&["rotate", "a", "--overlap", "1h", "--json"], 0).stdout;
    let rotated: serde_json::Value = serde_json::from_str(&rotated).unwrap();
    assert!(rotated["token"].as_str().unwrap() != token, "{rotated}");
    let listed: serde_json::Value = serde_json::from_str(&run(&["list", "--json"], 0).stdout).unwrap();
    let listed = listed["tokens"].as_array().unwrap();
    assert!(
        listed.len() == 2 && listed.iter().all(|one| one["client"] == "a" && one["expires"].is_string()),
        "{listed:?}"
    );
    run(&["create", "stranger"], 0);
    let check = site.run(&["--check"]);
    for doubt in [
        "client `b` can never be recognised by `peer`: there is no user `no-such-user`",
        "client `c` has no token; `mcpeg token create c` makes one",
        "there is a token of `stranger`, but no [clients.stranger]",
    ] {
        assert!(check.stderr.contains(doubt), "{check:?}");
    }
    assert!(!check.stderr.contains("client `a`"), "{check:?}");
    assert_eq!(run(&["revoke", "a"], 0).stdout, "revoked: 2 of client a\n");
    assert!(run(&["revoke", "a"], 64).stderr.contains("client `a` has no token"));
    assert!(run(&["create", "a/b"], 64).stderr.contains("client name `a/b` is not allowed"));
    std::fs::set_permissions(site.path("state/tokens.json"), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(run(&["list"], 78).stderr.contains("can be read or written by others"));
}
