//! References in string values: `${env:NAME}`, `${env:NAME:-default}` (as in sh: where the variable is unset or empty), `${file:/path}`, `${credential:NAME}`, and `$$` for a dollar sign. Headers
//! of upstreams may also have `${client:…}`, whose place is kept until there is a client ([`OfClient`]).
//!
//! Invariant: a failure quotes the reference, never the text around it and never what the reference stands for. What
//! is not a well-formed reference is not quoted either, because it may be part of a password with a dollar sign.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::header::OfClient;

/// The largest file that a reference may stand for, in bytes.
const LIMIT: u64 = 1 << 20;

/// Where references look variables up; a test gives its own.
#[derive(Clone, Copy)]
pub(super) struct Env<'a> {
    /// The value of an environment variable of this process.
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// Whether a well-formed reference that cannot be resolved is taken as resolved, to check everything else.
    lenient: bool,
}

impl<'a> Env<'a> {
    /// An environment in which each reference must be resolved.
    pub(super) const fn strict(variable: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self { variable, lenient: false }
    }

    /// The same; if `lenient`, a reference that cannot be resolved is taken as resolved.
    pub(super) const fn or_lenient(self, lenient: bool) -> Self {
        Self { lenient: self.lenient || lenient, ..self }
    }

    /// Whether what this text stands for is not known, because it may have a reference that cannot be resolved.
    pub(super) fn assumes(self, text: &str) -> bool {
        self.lenient && text.contains("${")
    }
}

/// Why a value's references could not be resolved.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// What is wrong, with the reference quoted.
    message: String,
    /// How it is mended.
    hint: String,
    /// Whether it may be resolved elsewhere: it is a reference, to something that is not here.
    well_formed: bool,
}

impl Failure {
    /// One that is so everywhere.
    fn final_one((message, hint): (String, String)) -> Self {
        Self { message, hint, well_formed: false }
    }

    /// What is wrong, and how it is mended.
    pub(super) fn into_parts(self) -> (String, String) {
        (self.message, self.hint)
    }
}

/// What stands for an unresolved reference in a lenient reading.
const ASSUMED: &str = "x";

/// How deep a default may lie in defaults.
const DEPTH: usize = 16;

/// Replaces each reference in `text` by what it stands for.
pub(super) fn expand(text: &str, env: Env<'_>) -> Result<String, Failure> {
    expand_at(text, env, 0, None)
}

/// The same for a header, with what is to be put into it of the client of each call, and where.
pub(super) fn expand_header(text: &str, env: Env<'_>) -> Result<(String, Vec<(usize, OfClient)>), Failure> {
    let mut inserted = Vec::new();
    Ok((expand_at(text, env, 0, Some(&mut inserted))?, inserted))
}

/// Where the brace closes that is open at the beginning: defaults may have braces in them, in pairs.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1;
    text.char_indices().find_map(|(at, c)| {
        open += i32::from(c == '{') - i32::from(c == '}');
        (open == 0).then_some(at)
    })
}

/// [`expand`] in a default at this depth; with the place for what is known of clients only, where that may be.
fn expand_at(
    text: &str,
    env: Env<'_>,
    depth: usize,
    mut of_client: Option<&mut Vec<(usize, OfClient)>>,
) -> Result<String, Failure> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let end = closing(after).ok_or_else(malformed)?;
            let (reference, after) = (&after[..end], &after[end + 1..]);
            if let Some(what) = reference.strip_prefix("client:") {
                let what = OfClient::parse(what).map_err(Failure::final_one)?;
                let inserted = of_client.as_deref_mut().ok_or_else(without_client)?;
                inserted.push((expanded.len(), what));
            } else {
                match resolve(reference, env, depth) {
                    Err(failure) if env.lenient && failure.well_formed => expanded.push_str(ASSUMED),
                    resolved => expanded.push_str(&resolved?),
                }
            }
            rest = after;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// What one reference, without its braces, stands for.
fn resolve(reference: &str, env: Env<'_>, depth: usize) -> Result<String, Failure> {
    let (reference, default) = match reference.split_once(":-") {
        Some((variable, default)) if variable.starts_with("env:") => (variable, Some(default)),
        _ => (reference, None),
    };
    let fail = |why: &str, hint: String| Failure {
        message: format!("`${{{reference}}}` {why}"),
        hint,
        well_formed: true,
    };
    match reference.split_once(':') {
        Some(("env", name)) if is_variable_name(name) => match ((env.variable)(name), default) {
            (value, Some(default)) if value.as_ref().is_none_or(|value| value.is_empty()) => {
                if depth >= DEPTH { Err(malformed()) } else { expand_at(default, env, depth + 1, None) }
            }
            (Some(value), _) => value.into_string().map_err(|_| {
                fail(
                    "is not valid UTF-8",
                    format!("set {name} to valid UTF-8, or read the value from a file"),
                )
            }),
            (None, _) => Err(fail(
                "is not set in the environment of mcpeg",
                format!(
                    "set {name} (for the service: Environment={name}=… by `systemctl edit`, and a restart), or use \
                     ${{file:/path}} or ${{credential:NAME}}"
                ),
            )),
        },
        Some(("file", path)) if path.starts_with('/') => read(Path::new(path))
            .map_err(|why| fail(&why, "name a file that mcpeg's user can read".to_owned())),
        Some(("file", _)) => Err(fail("is not an absolute path", "write ${file:/path/to/file}".to_owned())),
        Some(("credential", name)) if is_credential_name(name) => {
            let hint = format!("add LoadCredential={name}:/path/to/file to the unit");
            let Some(directory) = (env.variable)("CREDENTIALS_DIRECTORY") else {
                return Err(fail("needs $CREDENTIALS_DIRECTORY, which systemd sets", hint));
            };
            read(&PathBuf::from(directory).join(name)).map_err(|why| fail(&why, hint))
        }
        _ => Err(malformed()),
    }
}

/// The failure for what looks like a reference but is none.
fn malformed() -> Failure {
    Failure::final_one((
        "`${` does not begin a reference that mcpeg knows".to_owned(),
        "write ${env:NAME}, ${file:/path} or ${credential:NAME}; a dollar sign itself is written $$"
            .to_owned(),
    ))
}

/// The failure for what is known of a client where there is none.
fn without_client() -> Failure {
    Failure::final_one((
        "`${client:…}` is known only when a client calls".to_owned(),
        "write it into `headers` of an upstream with `url`, which are sent with each call; nothing else can have it"
            .to_owned(),
    ))
}

/// Reads a file that holds one value; a single newline at its end is the editor's and not part of the value.
fn read(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > LIMIT {
        return Err(format!("is larger than {LIMIT} bytes"));
    }
    let mut value = String::from_utf8(bytes).map_err(|_| "is not valid UTF-8".to_owned())?;
    if value.ends_with('\n') {
        value.pop();
        if value.ends_with('\r') {
            value.pop();
        }
    }
    Ok(value)
}

/// Names as POSIX has them (IEEE Std 1003.1, Base Definitions §8.1).
fn is_variable_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Credential names are file names: systemd.exec(5) `LoadCredential=`.
fn is_credential_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && !name.starts_with('.') && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expands with `A=1`, and a credentials directory if one is given.
    fn expanded(text: &str, credentials: Option<&Path>) -> Result<String, String> {
        let variable = |name: &str| match name {
            "A" => Some(OsString::from("1")),
            "CREDENTIALS_DIRECTORY" => credentials.map(|path| path.as_os_str().to_owned()),
            _ => None,
        };
        expand(text, Env::strict(&variable)).map_err(|failure| failure.message)
    }

    #[test]
    fn references_dollars_and_plain_text_mix() {
        assert_eq!(expanded("x${env:A}y$$z$HOME$", None).as_deref(), Ok("x1y$z$HOME$"));
        assert_eq!(expanded("$${env:A}", None).as_deref(), Ok("${env:A}"));
    }

    #[test]
    fn a_default_counts_where_the_variable_is_unset_or_empty() {
        assert_eq!(expanded("${env:A:-x}", None).as_deref(), Ok("1"));
        assert_eq!(expanded("<${env:NOPE:-http://h:1/{b}?$$c}>", None).as_deref(), Ok("<http://h:1/{b}?$c>"));
        assert_eq!(expanded("${env:NOPE:-}", None).as_deref(), Ok(""));
        assert_eq!(expanded("${env:NOPE:-${env:A:-2}${env:NOPE:-3}}", None).as_deref(), Ok("13"));
        let missing = expanded("${env:NOPE:-${env:ALSO}hunter2}", None).unwrap_err();
        assert!(missing.contains("${env:ALSO}") && !missing.contains("hunter2"), "{missing}");
        let deep = format!("{}x{}", "${env:NOPE:-".repeat(100_000), "}".repeat(100_000));
        assert_eq!(expanded(&deep, None), Err(malformed().message));
    }

    #[test]
    fn places_of_what_is_known_of_clients_are_kept_in_headers_and_refused_elsewhere() {
        let variable = |_: &str| Some(OsString::from("12"));
        let env = Env::strict(&variable).or_lenient(true);
        let token = OfClient::parse("header:X-Token").unwrap();
        for (text, expanded, inserted) in [
            ("${client:name}", "", vec![(0, OfClient::Name)]),
            ("${env:A} ${client:header:X-Token}$$", "12 $", vec![(3, token.clone())]),
            ("${client:name}${client:name}x", "x", vec![(0, OfClient::Name), (0, OfClient::Name)]),
            ("$${client:name}", "${client:name}", vec![]),
        ] {
            assert_eq!(expand_header(text, env), Ok((expanded.to_owned(), inserted)), "{text}");
        }
        let nowhere = without_client().message;
        assert_eq!(expand("x${client:name}", env).unwrap_err().message, nowhere);
        let unset = |_: &str| None;
        let inner = expand_header("${env:A:-${client:name}}", Env::strict(&unset)).unwrap_err();
        assert_eq!(inner.message, nowhere);
        let forbidden = expand_header("${client:header:Authorization}", env).unwrap_err();
        assert!(forbidden.message.contains("MCP forbids"), "also where nothing can be resolved");
    }

    #[test]
    fn what_a_variable_holds_is_not_expanded_again() {
        let variable = |_: &str| Some(OsString::from("${env:B}$$"));
        assert_eq!(expand("${env:A}", Env::strict(&variable)).unwrap(), "${env:B}$$");
    }

    #[test]
    fn an_unset_variable_is_named_without_the_text_around_it() {
        assert_eq!(
            expanded("hunter2 ${env:NOPE}", None),
            Err("`${env:NOPE}` is not set in the environment of mcpeg".to_owned())
        );
    }

    #[test]
    fn a_password_with_a_dollar_and_a_brace_is_not_quoted() {
        for text in ["pa${ss}word", "pa${ss", "${HOME}", "${env:}", "${env:a b}", "${credential:../x}"] {
            assert_eq!(expanded(text, None), Err(malformed().message), "{text}");
        }
    }

    #[test]
    fn files_and_credentials_lose_their_last_newline_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), b"a\n\r\n").unwrap();
        assert_eq!(expanded(&format!("${{file:{}}}", path.display()), None).as_deref(), Ok("a\n"));
        assert_eq!(expanded("${credential:token}", Some(directory.path())).as_deref(), Ok("a\n"));
    }

    #[test]
    fn a_missing_credential_names_the_reference() {
        assert_eq!(
            expanded("${credential:token}", None),
            Err("`${credential:token}` needs $CREDENTIALS_DIRECTORY, which systemd sets".to_owned())
        );
        assert_eq!(
            expanded("${file:/nonexistent}", None),
            Err("`${file:/nonexistent}` cannot be read: No such file or directory (os error 2)".to_owned())
        );
    }
}
