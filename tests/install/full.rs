//! A disk that is full: what was not begun is told so, what was begun is taken back, and an uninstallation makes room.

use crate::scratch::{MCPEG, Scratch, program, text};

/// Installs with the state on a small file system that is then filled, and does something with that; both directories are in
/// a mount namespace of their own. `$1` is the root, `$2` the program.
const FILLED: &str = r#"
mkdir -p "$1/var"
mount -t tmpfs -o size=256k,mode=755 none "$1/var"
"$2" install --root "$1" >/dev/null
dd if=/dev/zero of="$1/var/fill" bs=1k 2>/dev/null || :
printf '#\n' >"$1/usr/local/share/man/man8/mcpeg.8"
before=$(cd "$1" && find . -printf '%p %m %s\n' | sort | sha256sum)
"#;

/// Runs a shell script after [`FILLED`]; returns its exit code and what was said.
fn filled(script: &str) -> (Option<i32>, String) {
    let scratch = Scratch::new();
    let mut command = program("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-euc", &format!("{FILLED}{script}"), "sh"]);
    let output = command.arg(scratch.at("")).arg(MCPEG).output().unwrap();
    (output.status.code(), text(&output))
}

#[test]
#[ignore = "needs root: mounts in a namespace of its own"]
fn repair_on_a_full_disk_changes_nothing_and_says_so() {
    let (code, said) = filled(
        r#"code=0; "$2" install --root "$1" || code=$?
        after=$(cd "$1" && find . -printf '%p %m %s\n' | sort | sha256sum)
        [ "$before" = "$after" ] || echo "it is not as before"
        rm "$1/var/fill"; "$2" install --root "$1" >/dev/null; "$2" install --check --root "$1"
        exit $code"#,
    );
    assert_eq!(code, Some(73), "{said}");
    assert!(
        said.contains("nothing was changed") && said.contains("make room on the file system of"),
        "{said}"
    );
    assert!(!said.contains("uninstall") && !said.contains("not as before"), "{said}");
}

#[test]
#[ignore = "needs root: mounts in a namespace of its own"]
fn uninstall_on_a_full_disk_needs_no_room() {
    let (code, said) = filled(
        r#""$2" uninstall --yes --root "$1"
        [ ! -e "$1/usr/local/bin/mcpeg" ]
        grep -q '"removed"' "$1/var/lib/mcpeg/install.json"
        "$2" uninstall --yes --root "$1"
        "$2" uninstall --purge --yes --root "$1"
        [ ! -e "$1/etc/mcpeg" ] && [ ! -e "$1/var/lib/mcpeg" ]"#,
    );
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = filled(r#""$2" uninstall --purge --yes --root "$1"; [ ! -e "$1/var/lib/mcpeg" ]"#);
    assert_eq!(code, Some(0), "{said}");
}
