//! What looks like a secret, and the names of variables that stand for them.
//!
//! Taking too much for a secret costs the user one variable; taking too little puts a password into a file.

use std::collections::{BTreeMap, BTreeSet};

/// Parts of words whose values are secrets.
const PARTS: [&str; 15] = [
    "KEY",
    "TOKEN",
    "SECRET",
    "PASSW",
    "PASSPHRASE",
    "PWD",
    "AUTH",
    "CREDENTIAL",
    "COOKIE",
    "PRIVATE",
    "BEARER",
    "JWT",
    "SIGNATURE",
    "PASSCODE",
    "APIKEY",
];

/// Whole words whose values are secrets.
const WORDS: [&str; 16] = [
    "PASS", "PAT", "PW", "PIN", "OTP", "TOTP", "SAS", "SIG", "CRED", "CREDS", "SALT", "PSK", "SID",
    "SESSION", "HMAC", "DSN",
];

/// Words that only look like those.
const OTHERS: [&str; 12] = [
    "AUTHOR",
    "AUTHORS",
    "AUTHORITY",
    "KEYBOARD",
    "KEYWORD",
    "KEYWORDS",
    "KEYSPACE",
    "TOKENIZER",
    "KEYMAP",
    "MONKEY",
    "COMPASS",
    "BYPASS",
];

/// How tokens of well-known services and key files begin.
const PREFIXES: [&str; 60] = [
    "sk-",
    "pk-",
    "sk_",
    "pk_",
    "rk_",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "gldt-",
    "glrt-",
    "glcbt-",
    "glptt-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xoxr-",
    "xoxs-",
    "xoxe-",
    "xoxe.",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "eyJ",
    "npm_",
    "pypi-",
    "hf_",
    "dop_v1_",
    "doo_v1_",
    "SG.",
    "shpat_",
    "shpss_",
    "lin_api_",
    "ntn_",
    "secret_",
    "figd_",
    "gsk_",
    "tvly-",
    "whsec_",
    "sntrys_",
    "sbp_",
    "dckr_pat_",
    "glsa_",
    "glc_",
    "ATATT",
    "PMAK-",
    "xai-",
    "pplx-",
    "r8_",
    "ctx7sk",
    "AGE-SECRET-KEY-",
    "-----BEGIN",
    "atlasv1.",
    "hvs.",
    "GOCSPX-",
];

/// Authentication schemes whose names stay readable: RFC 9110 §11.4 and what services made up.
const SCHEMES: [&str; 11] = [
    "bearer",
    "basic",
    "token",
    "digest",
    "apikey",
    "api-key",
    "negotiate",
    "bot",
    "key",
    "splunk",
    "genie-key",
];

/// Whether a value has a form.
type Form = fn(&str) -> bool;

/// Words of which the last one says what a value is about, and that it is no secret; the form of the value must agree.
const ABOUT: [(&str, Form); 16] = [
    ("FILE", is_path),
    ("PATH", is_path),
    ("DIR", is_path),
    ("DIRECTORY", is_path),
    ("URL", is_url),
    ("URI", is_url),
    ("ENDPOINT", is_url),
    ("PORT", is_number),
    ("TIMEOUT", is_number),
    ("TTL", is_number),
    ("TYPE", is_plain),
    ("MODE", is_plain),
    ("METHOD", is_plain),
    ("ENABLED", is_plain),
    ("SCHEME", is_plain),
    ("SOCK", is_path),
];

/// The names of variables that stand for secrets, and the values that they were found with, so that two different
/// values never share a name.
#[derive(Default)]
pub(super) struct Secrets {
    /// Names to set; a name that the client's own references have has no value.
    names: BTreeMap<String, Option<String>>,
    /// Names that references in the file have: no secret may have them.
    reserved: BTreeSet<String>,
    /// Names that the server at hand has brought.
    fresh: Vec<String>,
    /// What the inputs of VS Code are without an answer.
    inputs: BTreeMap<String, String>,
}

impl Secrets {
    /// The names to set, in alphabetical order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// The value that a variable was found with.
    #[cfg(test)]
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.names.get(name)?.as_deref()
    }

    /// Keeps a name of the file's own references away from secrets.
    pub(super) fn reserve(&mut self, name: &str) {
        self.reserved.insert(name.to_owned());
    }

    /// Notes what an input of VS Code is without an answer.
    pub(super) fn add_input(&mut self, name: &str, default: &str) {
        self.inputs.insert(name.to_owned(), default.to_owned());
    }

    /// What an input of VS Code is without an answer.
    pub(super) fn input(&self, name: &str) -> Option<String> {
        self.inputs.get(name).cloned()
    }

    /// Begins with the next server.
    pub(super) fn begin(&mut self) {
        self.fresh.clear();
    }

    /// Forgets what the server at hand has brought: it was not taken.
    pub(super) fn forget(&mut self) {
        for name in self.fresh.drain(..) {
            self.names.remove(&name);
        }
    }

    /// Notes that a variable must be set because the file itself refers to it.
    pub(super) fn refer(&mut self, name: &str) {
        if !self.names.contains_key(name) {
            self.fresh.push(name.to_owned());
            self.names.insert(name.to_owned(), None);
        }
    }

    /// Chooses the name for a secret; `wanted` is what it might be called, `server` makes it unique.
    pub(super) fn name(&mut self, wanted: &str, server: &str, value: &str) -> String {
        let plain = variable(wanted);
        let mut candidates = std::iter::once(plain.clone()).chain((1..).map(|number| match number {
            1 => variable(&format!("{server}_{plain}")),
            _ => variable(&format!("{server}_{plain}_{number}")),
        }));
        let free = |name: &String| {
            !self.reserved.contains(name)
                && self.names.get(name).is_none_or(|other| other.as_deref() == Some(value))
        };
        let name = candidates.find(free).expect("there are more names than values");
        if self.names.insert(name.clone(), Some(value.to_owned())).is_none() {
            self.fresh.push(name.clone());
        }
        name
    }
}

/// Whether the value of this name is a secret, unless its form says that it is none.
pub(super) fn is_secret(name: &str, value: &str) -> bool {
    let words = words(name);
    let harmless = value.is_empty() || matches!(value, "true" | "false" | "null") || is_path(value);
    let about = words.last().and_then(|last| ABOUT.iter().find(|(word, _)| word == last));
    let described = about.is_some_and(|(_, agrees)| agrees(value)) && !is_token(value);
    !harmless && !described && words.iter().any(|word| is_secret_word(word))
}

/// Whether a word of a name says that the value is a secret.
fn is_secret_word(word: &str) -> bool {
    let word = word.trim_end_matches(|c: char| c.is_ascii_digit());
    let one = WORDS.contains(&word) || word.ends_with("PASS") || PARTS.iter().any(|part| word.contains(part));
    one && !OTHERS.contains(&word)
}

/// The words of a name in upper case: `api-key`, `api_key`, `api.key`, `apiKey`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() || (lower && c.is_ascii_uppercase()) {
            words.push(String::new());
        }
        lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        if c.is_ascii_alphanumeric() {
            words.last_mut().expect("there is one").push(c.to_ascii_uppercase());
        }
    }
    words.retain(|word| !word.is_empty());
    // `PassWord` and `apiKEY` are one word, too.
    let whole: String = words.concat();
    if words.len() > 1 && ["PASSWORD", "PASSPHRASE", "PASSWD"].iter().any(|part| whole.contains(part)) {
        words.insert(0, whole);
    }
    words
}

/// The length of the scheme at the beginning of the value of a header, with the space behind it.
pub(super) fn scheme(value: &str) -> usize {
    let Some((word, rest)) = value.split_once(' ') else { return 0 };
    let known = SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme));
    if known && !rest.trim().is_empty() { word.len() + 1 } else { 0 }
}

/// Whether a word has the form of a well-known token.
pub(in crate::cli) fn is_token(word: &str) -> bool {
    PREFIXES.iter().any(|prefix| {
        word.match_indices(prefix).any(|(at, _)| {
            let begins = word[..at].chars().next_back().is_none_or(|c| !c.is_ascii_alphanumeric());
            begins && word.len() > at + prefix.len()
        })
    })
}

/// Whether a word looks random: letters and digits in an order that no name has.
pub(in crate::cli) fn is_random(word: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '=' | '/' | '.' | '~');
    if word.len() < 16 || !word.chars().all(allowed) || is_wordy(word) {
        return false;
    }
    let has = |is: fn(&char) -> bool| word.chars().any(|c| is(&c));
    let (digit, lower, upper) =
        (has(char::is_ascii_digit), has(char::is_ascii_lowercase), has(char::is_ascii_uppercase));
    let letters: Vec<char> = word.chars().filter(char::is_ascii_alphabetic).collect();
    let changes = letters
        .windows(2)
        .filter(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
        .count();
    if word.contains('.') {
        // Versions, hosts and files have dots; a token has a long part between them.
        return word.split('.').any(is_random);
    }
    (word.len() >= 20 && digit && (lower || upper))
        || (digit && lower && upper)
        || (word.len() >= 20 && changes * 6 >= letters.len())
}

/// Whether a text consists of words, small numbers and versions, as names of packages and files do.
fn is_wordy(text: &str) -> bool {
    text.split(['-', '_', '.', '/', '+', '~']).all(|part| {
        let digits = part.chars().filter(char::is_ascii_digit).count();
        let letters = part.trim_end_matches(|c: char| c.is_ascii_digit());
        let word =
            letters.chars().all(|c| c.is_ascii_alphabetic()) && is_cased(letters) && letters.len() <= 15;
        digits == part.len() && digits <= 8 || word && digits <= 4
    })
}

/// Whether letters are in the case of a word, or of a few words that are written as one.
fn is_cased(letters: &str) -> bool {
    let capitals = letters.chars().filter(char::is_ascii_uppercase).count();
    capitals <= 1 + letters.len() / 6 || capitals == letters.len()
}

/// Whether a value is an absolute path: several plain names, or one with an ending.
pub(super) fn is_path(value: &str) -> bool {
    let below =
        value.strip_prefix('/').or_else(|| value.strip_prefix("~/")).or_else(|| value.strip_prefix("./"));
    let Some(below) = below else { return false };
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '@' | ' ' | '+');
    let names: Vec<&str> = below.trim_end_matches('/').split('/').collect();
    let known =
        |name: &&str| ["tmp", "etc", "var", "srv", "opt", "home", "data", "run", "mnt", "usr"].contains(name);
    let sure = names.len() > 1 || names.iter().any(|name| name.contains('.') || known(name));
    sure && names.iter().all(|name| !name.is_empty() && name.chars().all(plain))
        && names.iter().all(|name| !is_random(name) && !is_token(name))
}

/// Whether a value is a URL without anything that looks like a secret; the URL itself is looked at elsewhere.
fn is_url(value: &str) -> bool {
    value.contains("://")
}

/// Whether a value is a number, perhaps with a unit.
fn is_number(value: &str) -> bool {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_lowercase());
    !digits.is_empty()
        && value.len() - digits.len() <= 2
        && digits.chars().all(|c| c.is_ascii_digit())
        && digits.len() <= 9
}

/// Whether a value is a short word in one case, as kinds of things have it.
fn is_plain(value: &str) -> bool {
    value.len() <= 20 && value.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '-' | '_'))
}

/// A text as the name of a variable: IEEE Std 1003.1, Base Definitions §8.1.
pub(super) fn variable(text: &str) -> String {
    let text: String = text.chars().take(80).collect();
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
    fn secrets_are_known_by_the_words_of_their_names() {
        for (name, value) in [
            ("API_KEY", "x"),
            ("X-Api-Key", "x"),
            ("github_token", "1"),
            ("Authorization", "Bearer x"),
            ("GITHUB_PAT", "x"),
            ("githubPat", "x"),
            ("DB_PASS", "x"),
            ("PW", "x"),
            ("dbPw", "x"),
            ("PassWord", "x"),
            ("oauth2Bearer", "x"),
            ("KEY2", "x"),
            ("PASSWORD", "/x"),
            ("PASSWORD_FILE", "hunter2"),
            ("AUTH_MODE", "hunter2"),
        ] {
            assert!(is_secret(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("TZ", "UTC"),
            ("AUTH_ENABLED", "true"),
            ("SSL_KEY_FILE", "/etc/x.pem"),
            ("PWD", "/srv/files"),
            ("TOKEN_URL", "https://example.org/token"),
            ("AUTH_TYPE", "oauth"),
            ("AUTHOR", "Jane"),
            ("PATH", "/usr/bin"),
            ("COMPASS", "north"),
        ] {
            assert!(!is_secret(name, value), "{name}={value}");
        }
    }

    #[test]
    fn tokens_look_random_and_names_do_not() {
        for word in [
            "a1b2c3d4e5f6a1b2c3d4e5f6",
            "aB3dE5gH7jK9mN1p",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "123e4567-e89b-12d3-a456-426614174000",
            "dXNlcjpodW50ZXIyOnh5eg==",
            "QpLmZxNcVbTyRwEsKdJf",
        ] {
            assert!(is_random(word), "{word}");
        }
        for word in [
            "mcp-server-postgres-v2-latest",
            "server-filesystem-2025.1.14",
            "usr/local/lib/node20/bin/server",
            "ModelContextProtocolServer",
            "claude_desktop_config.json",
            "2026-07-28",
        ] {
            assert!(!is_random(word), "{word}");
        }
    }

    #[test]
    fn two_values_never_share_a_name_and_equal_values_do() {
        let mut secrets = Secrets::default();
        secrets.reserve("TAKEN");
        assert_eq!(secrets.name("API_KEY", "a", "1"), "API_KEY");
        assert_eq!(secrets.name("API_KEY", "b", "1"), "API_KEY");
        assert_eq!(secrets.name("API_KEY", "c", "2"), "C_API_KEY");
        assert_eq!(secrets.name("API_KEY", "c", "3"), "C_API_KEY_2");
        assert_eq!(secrets.name("TAKEN", "c", "3"), "C_TAKEN");
    }

    #[test]
    fn what_a_refused_server_has_brought_is_forgotten() {
        let mut secrets = Secrets::default();
        secrets.name("A", "a", "1");
        secrets.begin();
        secrets.name("A", "b", "1");
        secrets.name("B", "b", "2");
        secrets.refer("C");
        secrets.forget();
        assert_eq!(secrets.names().collect::<Vec<_>>(), ["A"]);
    }
}
