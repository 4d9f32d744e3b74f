//! What a command shows on a terminal, and files of what it is to show.
//!
//! The terminal is script(1). `MCPEG_WRITE=1` writes the files; otherwise a difference is a failure.

use std::path::Path;

use crate::program::repository;

/// Runs `$2` at a terminal of `$1` columns. `$3` is typed when there is a question; an empty one is the end of input.
pub const AT_A_TERMINAL: &str = r#"
place=$(mktemp -d); mkfifo "$place/in"; touch "$place/out"
script --quiet --flush --return --command "stty cols $1 rows 50; $2" /dev/null <"$place/in" >"$place/out" &
exec 3>"$place/in"
if [ -n "$3" ]; then
    until grep -q 'xplain: ' "$place/out"; do sleep 0.02; done
    printf '%s\n' "$3" >&3
else
    exec 3>&-
fi
code=0; wait $! || code=$?
cat "$place/out"; rm -r "$place"; exit $code
"#;

/// The lines that stand on a terminal in the end: what moved meanwhile has been overwritten.
pub fn lasting(shown: &str) -> String {
    let lines = shown.lines().map(|line| line.rsplit("\u{1b}[2K").next().unwrap_or_default());
    lines.map(|line| line.trim_end_matches('\r').trim_end().to_owned() + "\n").collect()
}

/// The text without colours.
pub fn plain(shown: &str) -> String {
    let mut parts = shown.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

/// Asserts that a file of the repository holds this text.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a file of the repository, which nobody reads meanwhile")]
pub fn assert_file(name: &str, text: &str) {
    let path = repository().join(name);
    if std::env::var_os("MCPEG_WRITE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        return std::fs::write(&path, text).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    let at = known.lines().zip(text.lines()).take_while(|(known, found)| known == found).count();
    let line = |text: &str| text.lines().nth(at).map(str::to_owned);
    assert!(
        known == text,
        "{name}:{}: it is not so any more; MCPEG_WRITE=1 writes what is:\n{text}\nthe first difference: {:?} was {:?}",
        at + 1,
        line(text),
        line(&known)
    );
}
