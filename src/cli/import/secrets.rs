//! What looks like a secret, and the names of variables that stand for them.
//!
//! Taking too much for a secret costs the user one variable; taking too little puts a password into a file.

use std::collections::BTreeMap;

/// Parts of names whose values are secrets.
const NAMES: [&str; 10] =
    ["KEY", "TOKEN", "SECRET", "PASS", "_PWD", "AUTH", "CREDENTIAL", "COOKIE", "PRIVATE", "_PAT"];

/// How tokens of well-known services and key files begin.
const PREFIXES: [&str; 15] = [
    "sk-",
    "pk-",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "AIza",
    "eyJ",
    "npm_",
    "-----BEGIN",
];

/// Authentication schemes whose names stay readable: RFC 9110 §11.4.
const SCHEMES: [&str; 4] = ["Bearer ", "bearer ", "Basic ", "Token "];

/// Variables of editors that have no meaning for a daemon.
const EDITOR: [&str; 5] = ["workspaceFolder", "workspaceFolderBasename", "userHome", "pathSeparator", "file"];

/// The variables that stand for secrets: their names, and the values that they were found with, so that two
/// different values never share a name.
#[derive(Default)]
pub(super) struct Secrets(BTreeMap<String, Option<String>>);

impl Secrets {
    /// The names to set, in alphabetical order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// A text of the file, ready for the configuration: a secret becomes a reference, references of clients become
    /// ours, dollar signs are escaped. `wanted` is the name of a variable for it; `server` makes it unique.
    pub(super) fn text(
        &mut self,
        secret: bool,
        wanted: &str,
        server: &str,
        value: &str,
    ) -> Result<String, String> {
        if value.contains("${") {
            return self.references(value);
        }
        if !secret {
            return Ok(value.replace('$', "$$"));
        }
        let scheme = SCHEMES.iter().find(|scheme| value.starts_with(**scheme)).copied().unwrap_or_default();
        let name = self.name(wanted, server, &value[scheme.len()..]);
        Ok(format!("{scheme}${{env:{name}}}"))
    }

    /// Chooses the name for a secret.
    fn name(&mut self, wanted: &str, server: &str, value: &str) -> String {
        let plain = variable(wanted);
        let mut candidates = std::iter::once(plain.clone()).chain((1..).map(|number| match number {
            1 => variable(&format!("{server}_{plain}")),
            _ => variable(&format!("{server}_{plain}_{number}")),
        }));
        let free = |name: &String| self.0.get(name).is_none_or(|other| other.as_deref() == Some(value));
        let name = candidates.find(free).expect("there are more names than values");
        self.0.insert(name.clone(), Some(value.to_owned()));
        name
    }

    /// Translates `${env:NAME}`, `${NAME}`, `${NAME:-default}` and `${input:name}` of clients.
    fn references(&mut self, value: &str) -> Result<String, String> {
        let mut text = String::new();
        let mut rest = value;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((reference, after)) = after.split_once('}') else {
                return Err("it has a `${` without `}`".to_owned());
            };
            let reference = reference.split_once(":-").map_or(reference, |(name, _)| name);
            let name = match reference.split_once(':') {
                Some(("env", name)) => name.to_owned(),
                Some(("input", name)) => variable(name),
                Some(_) => return Err("it has a reference that only an editor can resolve".to_owned()),
                None if EDITOR.contains(&reference) => {
                    return Err(format!("it uses `${{{reference}}}`, which only an editor knows"));
                }
                None => reference.to_owned(),
            };
            if variable(&name) != name.to_ascii_uppercase() {
                return Err("it has a reference with a name that no variable can have".to_owned());
            }
            text.push_str(&before.replace('$', "$$"));
            text.extend(["${env:", &name, "}"]);
            self.0.entry(name).or_default();
            rest = after;
        }
        Ok(text + &rest.replace('$', "$$"))
    }
}

/// Whether a value of this name is a secret.
pub(super) fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase().replace('-', "_");
    let harmless = value.is_empty() || matches!(value, "true" | "false") || value.starts_with('/');
    !harmless && NAMES.iter().any(|part| name.contains(part)) || is_token(value) || is_random(value)
}

/// Whether a command-line flag of this name is followed by a secret.
pub(super) fn is_secret_flag(flag: &str, value: &str) -> bool {
    let flag = flag.to_ascii_lowercase();
    let named = ["key", "token", "secret", "password", "passwd"].iter().any(|part| flag.contains(part));
    flag.starts_with('-') && named && !value.starts_with(['/', '-']) && !value.is_empty()
}

/// Whether a value has the form of a well-known token, or a URL with a password in it.
pub(super) fn is_token(value: &str) -> bool {
    let begins =
        |starts: &[&str]| starts.iter().any(|start| value.starts_with(start) && value.len() > start.len());
    begins(&PREFIXES) || begins(&SCHEMES) || has_password(value)
}

/// Whether a value is a URL of the form `scheme://user:password@host`: RFC 3986 §3.2.1.
pub(super) fn has_password(value: &str) -> bool {
    let authority =
        value.split_once("://").map(|(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
    let user = authority.and_then(|authority| authority.rsplit_once('@'));
    user.is_some_and(|(user, _)| user.contains(':'))
}

/// Whether a value looks like a long random word.
pub(super) fn is_random(value: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '=');
    value.len() >= 24
        && value.chars().all(allowed)
        && value.chars().any(|c| c.is_ascii_digit())
        && value.chars().any(|c| c.is_ascii_alphabetic())
}

/// A text as the name of a variable: IEEE Std 1003.1, Base Definitions §8.1.
pub(super) fn variable(text: &str) -> String {
    let name: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
        format!("MCP_{name}")
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_name_or_form() {
        for (name, value) in [
            ("API_KEY", "x"),
            ("X-Api-Key", "x"),
            ("github_token", "1"),
            ("Authorization", "Bearer x"),
            ("DB", "postgres://u:p@host/db"),
            ("ANY", "ghp_0123"),
            ("ANY", "a1b2c3d4e5f6a1b2c3d4e5f6"),
            ("GITHUB_PAT", "x"),
            ("DB_PASS", "x"),
        ] {
            assert!(is_secret(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("TZ", "UTC"),
            ("AUTH_ENABLED", "true"),
            ("SSL_KEY_FILE", "/etc/x.pem"),
            ("DB", "postgres://host/db"),
            ("URL", "https://example.org/a/long/path/with/2/digits"),
        ] {
            assert!(!is_secret(name, value), "{name}={value}");
        }
    }

    #[test]
    fn two_values_never_share_a_name_and_equal_values_do() {
        let mut secrets = Secrets::default();
        let mut text = |server: &str, value: &str| secrets.text(true, "API_KEY", server, value).unwrap();
        assert_eq!(text("a", "1"), "${env:API_KEY}");
        assert_eq!(text("b", "1"), "${env:API_KEY}");
        assert_eq!(text("c", "2"), "${env:C_API_KEY}");
        assert_eq!(text("c", "3"), "${env:C_API_KEY_2}");
    }

    #[test]
    fn references_of_clients_become_ours() {
        let mut secrets = Secrets::default();
        let mut text = |value: &str| secrets.text(true, "X", "s", value);
        assert_eq!(text("Bearer ${input:api-key}").as_deref(), Ok("Bearer ${env:API_KEY}"));
        assert_eq!(text("${TOKEN:-none}$").as_deref(), Ok("${env:TOKEN}$$"));
        assert_eq!(text("${env:Mixed}").as_deref(), Ok("${env:Mixed}"));
        assert!(text("${workspaceFolder}/x").unwrap_err().contains("only an editor knows"));
        assert!(text("${a b}").is_err());
        assert!(text("${a").is_err());
        assert_eq!(secrets.names().collect::<Vec<_>>(), ["API_KEY", "Mixed", "TOKEN"]);
    }

    #[test]
    fn a_dollar_sign_in_plain_text_is_escaped() {
        assert_eq!(Secrets::default().text(false, "X", "s", "a$b").as_deref(), Ok("a$$b"));
    }
}
