//! What is not told of a line that a child has written: secrets of its configuration, and what looks like one.
//!
//! The log has such lines as they are, for its readers; this is for those that status and health quote. What is masked is the
//! value only, so that the line still says what was wrong.

use crate::config::Transport;

/// What stands in the place of a secret.
const MASKED: &str = "[secret]";
/// Shorter values of the configuration are numbers and words such as `true`; whoever has a secret of that kind has none.
const SHORTEST: usize = 6;
/// What a secret follows, in lower case; it ends where [`END`] begins.
const BEFORE: [&str; 10] =
    ["bearer ", "basic ", "password", "passwd", "pwd", "secret", "token", "api_key", "api-key", "apikey"];
/// What stands between the name of a secret and the secret.
const BETWEEN: [char; 5] = ['=', ':', ' ', '"', '\''];
/// What ends a secret.
const END: [char; 8] = [' ', '\t', '"', '\'', '&', ';', ',', ')'];

/// The secrets that are known.
#[derive(Debug)]
pub(crate) struct Mask(Vec<String>);

impl Mask {
    /// Those of an upstream's configuration: its environment, and arguments whose option is called as secrets are.
    pub(crate) fn of(transport: &Transport) -> Self {
        let Transport::Stdio { args, env, .. } = transport else { return Self(Vec::new()) };
        let is_named =
            |option: &str| option.starts_with('-') && first(&option.to_ascii_lowercase()).is_some();
        let next = args.iter().skip(1).map(Some).chain([None]);
        let args = args.iter().zip(next).filter_map(|(arg, next)| match arg.split_once('=') {
            Some((option, value)) => is_named(option).then(|| value.to_owned()),
            None => next.filter(|_| is_named(arg)).cloned(),
        });
        let env = env.values().map(|value| value.reveal().to_owned());
        let mut secrets: Vec<String> = env.chain(args).filter(|secret| secret.len() >= SHORTEST).collect();
        // One that is a part of another is masked after it.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self(secrets)
    }

    /// The line without them.
    pub(crate) fn apply(&self, line: &str) -> String {
        let known = self.0.iter().fold(line.to_owned(), |line, secret| line.replace(secret, MASKED));
        without_user(&without_named(&known))
    }
}

/// The line without what follows the name of a secret.
fn without_named(line: &str) -> String {
    let mut masked = String::with_capacity(line.len());
    let mut rest = line;
    // ASCII only, so that places are the same.
    while let Some(at) = first(&rest.to_ascii_lowercase()) {
        let value = rest[at..].trim_start_matches(BETWEEN);
        let begins = rest.len() - value.len();
        masked.push_str(&rest[..begins]);
        // A sentence about a password is none.
        let named = rest[at - 1..].starts_with(' ') || rest[at..begins].contains(['=', ':']);
        let length = if named { value.find(END).unwrap_or(value.len()) } else { 0 };
        masked.push_str(if length > 0 { MASKED } else { "" });
        rest = &value[length..];
    }
    masked + rest
}

/// Where the first name of a secret ends.
fn first(lower: &str) -> Option<usize> {
    BEFORE
        .iter()
        .filter_map(|name| Some((lower.find(name)?, name.len())))
        .min()
        .map(|(at, length)| at + length)
}

/// The line without user and password in URLs: RFC 3986 §3.2.1.
fn without_user(line: &str) -> String {
    let mut masked = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        masked.push_str(before);
        let authority = after.find(['/', '?', '#', ' ', '"', '\'']).unwrap_or(after.len());
        let host = after[..authority].rfind('@').unwrap_or(0);
        masked.push_str(if host > 0 { MASKED } else { "" });
        rest = &after[host..];
    }
    masked + rest
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{Limits, Secret};

    #[test]
    fn secrets_are_masked_and_the_rest_says_what_was_wrong() {
        let args = ["/srv/x.py", "--db-password=db1 pass", "--token", "abc-def-1", "-v", "server-x"]
            .map(str::to_owned)
            .to_vec();
        let env = BTreeMap::from([
            ("TOKEN".to_owned(), Secret::new("tok-123456".to_owned())),
            ("DEBUG".to_owned(), Secret::new("true".to_owned())),
        ]);
        let (command, limits) = ("x".to_owned(), Limits::default());
        let mask = Mask::of(&Transport::Stdio { command, args, env, working_dir: None, limits, user: None });
        for (line, told) in [
            ("no module named `mcp`", "no module named `mcp`"),
            ("401 for tok-123456!", "401 for [secret]!"),
            ("true: /srv/x.py is not there", "true: /srv/x.py is not there"),
            ("cannot open abc-def-1", "cannot open [secret]"),
            ("no such user: db1 pass", "no such user: [secret]"),
            ("cannot find server-x", "cannot find server-x"),
            ("Authorization: Bearer abc.def, refused", "Authorization: Bearer [secret], refused"),
            ("password=hunter2; host=db", "password=[secret]; host=db"),
            ("{\"api_key\": \"abc\", \"x\": 1}", "{\"api_key\": \"[secret]\", \"x\": 1}"),
            ("Token: abc", "Token: [secret]"),
            ("wrong password for user bob", "wrong password for user bob"),
            ("http://u:p@h/x and http://h2/y@z", "http://[secret]@h/x and http://h2/y@z"),
            ("", ""),
            ("password", "password"),
            ("ünïcode password=ä ö", "ünïcode password=[secret] ö"),
        ] {
            assert_eq!(mask.apply(line), told, "{line}");
        }
    }
}
