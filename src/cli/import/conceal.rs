//! One text of a client's file as a text of the configuration: references of clients become ours, and secrets become
//! references.
//!
//! Order: references are taken out first, so that what stands around them can be looked at by itself: each is one
//! character of a private plane from then on ([`Text::mark`]). Then everything that can hold a secret is looked at: JSON, URLs,
//! pairs of a key and a value, words. At the end references are written out and dollar signs are escaped
//! ([`Text::written`]). Invariant: nothing here quotes the text in an error.

use super::secrets::{self, Secrets, scheme};

/// Where the characters that stand for references begin: Supplementary Private Use Area B (Unicode 23.5).
const FIRST: u32 = 0x10_0000;
/// How many of them there are.
const NUMBER: usize = 0xfffd;
/// How deep defaults, URLs in URLs and JSON in JSON are followed.
const DEPTH: usize = 8;

/// Variables of editors that have no meaning for a daemon.
const EDITOR: [&str; 12] = [
    "workspaceFolder",
    "workspaceFolderBasename",
    "workspaceRoot",
    "userHome",
    "pathSeparator",
    "file",
    "fileDirname",
    "cwd",
    "extensionPath",
    "/",
    "CLAUDE_PROJECT_DIR",
    "CLAUDE_PLUGIN_ROOT",
];

/// Flags with one letter that a password or token follows, and curl's and mysql's like.
const SHORT: [&str; 4] = ["-p", "-k", "-pw", "-P"];
/// Flags that `user:password` follows.
const USER: [&str; 4] = ["-u", "--user", "--proxy-user", "-U"];
/// Words that a secret follows though they are no flags.
const BARE: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "token",
    "secret",
    "apikey",
    "api-key",
    "api_key",
    "authorization",
    "access-token",
    "pat",
];

/// One text while it is being read.
pub(super) struct Text<'a> {
    /// Where the names of variables come from.
    secrets: &'a mut Secrets,
    /// The upstream's name.
    server: &'a str,
    /// What the references in the text are, each as it is written in the configuration.
    references: Vec<String>,
    /// Whether a default was a secret, so that the variable must be set.
    without_default: Vec<String>,
    /// How deep we are.
    depth: usize,
}

/// Whether a character stands for a reference.
fn is_mark(c: char) -> bool {
    (FIRST..FIRST + 0x1_0000).contains(&u32::from(c))
}

/// Whether a character ends a word of a shell.
fn is_space(c: char) -> bool {
    c.is_whitespace()
}

/// Whether a character can be in a key.
fn is_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '[' | ']')
}

/// The parts of a text between references, and those.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mark = rest.chars().next().map(is_mark)?;
        let end = rest.find(|c| is_mark(c) != mark).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        rest = after;
        Some(run)
    })
}

/// Whether there is anything in a text that could be a secret.
fn is_blank(text: &str) -> bool {
    !text.chars().any(char::is_alphanumeric)
}

/// The names of variables that a text refers to.
pub(super) fn names(text: &str) -> impl Iterator<Item = String> {
    let references = text.split("${").skip(1).chain(text.split("{env:").skip(1));
    references.filter_map(|reference| {
        let reference = reference.strip_prefix("env:").unwrap_or(reference);
        let reference = reference.strip_prefix("input:").unwrap_or(reference);
        let end = reference.find(['}', ':']).unwrap_or(reference.len());
        let name: String = reference[..end].chars().take(128).collect();
        (!name.is_empty()).then_some(name)
    })
}

impl<'a> Text<'a> {
    /// Begins with a text of this upstream.
    pub(super) const fn new(secrets: &'a mut Secrets, server: &'a str) -> Self {
        Self { secrets, server, references: Vec::new(), without_default: Vec::new(), depth: 0 }
    }

    /// The references without a default since the last call.
    pub(super) fn take_without_default(&mut self) -> Vec<String> {
        std::mem::take(&mut self.without_default)
    }

    /// A text whose key is known, such as a variable or a header.
    pub(super) fn keyed(&mut self, key: &str, wanted: &str, value: &str) -> Result<String, String> {
        let marked = self.mark(value)?;
        let concealed = self.named(key, wanted, &marked);
        Ok(self.written(&concealed))
    }

    /// A text without a key.
    pub(super) fn plain(&mut self, wanted: &str, value: &str) -> Result<String, String> {
        let marked = self.mark(value)?;
        let concealed = self.scan(wanted, &marked);
        Ok(self.written(&concealed))
    }

    /// An argument behind another one.
    pub(super) fn argument(&mut self, before: &str, argument: &str) -> Result<String, String> {
        let marked = self.mark(argument)?;
        let concealed = self.word(before, &marked);
        Ok(self.written(&concealed))
    }

    /// Takes the references of a client out: `${NAME}`, `${env:NAME}`, `${NAME:-default}`, `${input:name}`,
    /// `{env:NAME}` and `$NAME`.
    fn mark(&mut self, value: &str) -> Result<String, String> {
        if value.chars().any(is_mark) {
            return Err("it has a character that no text has".to_owned());
        }
        let mut marked = String::with_capacity(value.len());
        let mut rest = value;
        while let Some(at) = rest.find(['$', '{']) {
            let (before, from) = rest.split_at(at);
            marked.push_str(before);
            let begins_word = marked.is_empty() || marked.ends_with(is_space);
            if let Some(inner) = from.strip_prefix("${") {
                let end = closing(inner).ok_or("it has a `${` without `}`; close it")?;
                let reference = self.reference(&inner[..end])?;
                marked.push(self.push(reference)?);
                rest = &inner[end + 1..];
            } else if let Some((name, after)) =
                from.strip_prefix("{env:").and_then(|inner| inner.split_once('}'))
            {
                let reference = self.variable(name)?;
                marked.push(self.push(reference)?);
                rest = after;
            } else if from.starts_with("{file:") {
                return Err(
                    "it refers to a file by `{file:…}`; write its content, or ${file:/path} after the import"
                        .to_owned(),
                );
            } else if let Some(name) = bare(from).filter(|_| begins_word) {
                let reference = self.variable(name)?;
                marked.push(self.push(reference)?);
                rest = &from[1 + name.len()..];
            } else {
                marked.push_str(&from[..1]);
                rest = &from[1..];
            }
        }
        Ok(marked + rest)
    }

    /// The character that stands for a reference.
    fn push(&mut self, reference: String) -> Result<char, String> {
        if self.references.len() >= NUMBER {
            return Err("it has too many references".to_owned());
        }
        let number = u32::try_from(self.references.len()).expect("there are fewer than NUMBER");
        self.references.push(reference);
        Ok(char::from_u32(FIRST + number).expect("the plane has no holes"))
    }

    /// One reference, without its braces, as we write it.
    fn reference(&mut self, reference: &str) -> Result<String, String> {
        // Continue writes `${{ secrets.NAME }}`.
        if let Some(inner) = reference.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
            let name = inner.trim();
            return self.variable(name.rsplit_once('.').map_or(name, |(_, name)| name));
        }
        let (name, default) =
            reference.split_once(":-").map_or((reference, None), |(name, default)| (name, Some(default)));
        let mut input = None;
        let name =
            match name.split_once(':') {
                Some(("env" | "localEnv", name)) => name.to_owned(),
                Some(("input" | "promptString", name)) => {
                    input = self.secrets.input(name);
                    secrets::variable(name)
                }
                Some(_) => return Err(
                    "it has a reference that only an editor can resolve; write ${NAME} and set the variable"
                        .to_owned(),
                ),
                None if EDITOR.contains(&name) => {
                    return Err(format!(
                        "it uses `${{{name}}}`, which only an editor knows; write the path itself"
                    ));
                }
                None => name.to_owned(),
            };
        let plain = self.variable(&name)?;
        let Some(default) = default.map(str::to_owned).or(input) else { return Ok(plain) };
        if self.depth >= DEPTH {
            return Err("it has defaults in defaults too deep".to_owned());
        }
        let mut inner = Text { depth: self.depth + 1, ..Text::new(self.secrets, self.server) };
        let marked = inner.mark(&default)?;
        let known = inner.references.len();
        let concealed = inner.named(&name, &name, &marked);
        let secret = inner.references.len() > known;
        let default = inner.written(&concealed);
        let nested = inner.take_without_default();
        self.without_default.extend(nested);
        if secret {
            self.without_default.push(name);
            return Ok(plain);
        }
        Ok(format!("${{env:{name}:-{default}}}"))
    }

    /// A reference to a variable.
    fn variable(&mut self, name: &str) -> Result<String, String> {
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !begins || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(
                "it has a reference with a name that no variable can have; use letters, digits and `_`"
                    .to_owned(),
            );
        }
        self.secrets.refer(name);
        Ok(format!("${{env:{name}}}"))
    }

    /// A marked text as it stands in the configuration.
    fn written(&self, marked: &str) -> String {
        let mut text = String::with_capacity(marked.len());
        for c in marked.chars() {
            match u32::from(c).checked_sub(FIRST).and_then(|at| self.references.get(at as usize)) {
                Some(reference) => text.push_str(reference),
                None if c == '$' => text.push_str("$$"),
                None => text.push(c),
            }
        }
        text
    }

    /// Puts a variable in the place of a text.
    fn hide(&mut self, wanted: &str, text: &str) -> String {
        let last = wanted.rsplit(['_', '-']).next().unwrap_or_default();
        let wanted = if secrets::is_token(wanted) || secrets::is_random(last) {
            format!("{}_VALUE", self.server)
        } else {
            wanted.to_owned()
        };
        // The variable holds what stands between the quotes and around dollar signs, as it is.
        let name = self.secrets.name(&wanted, self.server, text);
        match self.push(format!("${{env:{name}}}")) {
            Ok(mark) => mark.to_string(),
            // There are more secrets than marks: nothing is kept, so that nothing is shown.
            Err(_) => String::new(),
        }
    }

    /// Hides everything but references, and the scheme of an Authorization header.
    fn secret(&mut self, wanted: &str, text: &str) -> String {
        let kept = scheme(text);
        let mut hidden = text[..kept].to_owned();
        let mut rest = &text[kept..];
        while !rest.is_empty() {
            let end = rest.find(is_mark).unwrap_or(rest.len());
            let (literal, after) = rest.split_at(end);
            // What only separates references is kept.
            let head = if hidden.ends_with(is_mark) {
                literal.len() - literal.trim_start_matches([':', '@']).len()
            } else {
                0
            };
            let tail = if after.is_empty() {
                literal.len()
            } else {
                literal.trim_end_matches([':', '@']).len().max(head)
            };
            hidden.push_str(&literal[..head]);
            let core = &literal[head..tail];
            if core.chars().all(is_space) {
                hidden.push_str(core);
            } else {
                hidden += &self.hide(wanted, core);
            }
            hidden.push_str(&literal[tail..]);
            let marks = after.find(|c| !is_mark(c)).unwrap_or(after.len());
            hidden.push_str(&after[..marks]);
            rest = &after[marks..];
        }
        hidden
    }

    /// The value of a key.
    fn named(&mut self, key: &str, wanted: &str, value: &str) -> String {
        if secrets::is_secret(key, value) { self.secret(wanted, value) } else { self.scan(wanted, value) }
    }

    /// Hides secrets in a text that has no key.
    fn scan(&mut self, wanted: &str, text: &str) -> String {
        if is_blank(text) {
            return text.to_owned();
        }
        if self.depth > DEPTH {
            return self.secret(wanted, text);
        }
        self.depth += 1;
        let found = self.scan_within(wanted, text);
        self.depth -= 1;
        found
    }

    /// [`Self::scan`] at one depth.
    fn scan_within(&mut self, wanted: &str, text: &str) -> String {
        if text.trim_start().starts_with(['{', '['])
            && let Some(hidden) = self.json(wanted, text)
        {
            return hidden;
        }
        if scheme(text) > 0 || text.contains("-----BEGIN") {
            return self.secret(wanted, text);
        }
        let (mut hidden, mut rest) = (String::new(), text);
        while let Some((before, url, after)) = find_url(rest) {
            hidden += &self.pairs(wanted, before);
            hidden += &match pair_before(before) {
                Some(key) if secrets::is_secret(key, url) => self.secret(key, url),
                _ => self.url(wanted, url),
            };
            rest = after;
        }
        hidden + &self.pairs(wanted, rest)
    }

    /// Hides secrets in JSON; `None` if it is none.
    fn json(&mut self, wanted: &str, text: &str) -> Option<String> {
        use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
        let parsed = parse_to_ast(text, &CollectOptions::default(), &ParseOptions::default()).ok()?.value?;
        let mut edits = Vec::new();
        self.json_value(wanted, "", text, &parsed, &mut edits);
        let mut hidden = String::new();
        let mut at = 0;
        for (start, end, value) in edits {
            hidden.push_str(&text[at..start]);
            hidden.push_str(&value);
            at = end;
        }
        Some(hidden + &text[at..])
    }

    /// Collects what is to be replaced in one value of JSON.
    fn json_value(
        &mut self,
        wanted: &str,
        key: &str,
        text: &str,
        value: &jsonc_parser::ast::Value<'_>,
        edits: &mut Vec<(usize, usize, String)>,
    ) {
        use jsonc_parser::ast::Value;
        let name = if key.is_empty() { wanted } else { key };
        match value {
            Value::StringLit(literal) => {
                let (start, end) = (literal.range.start + 1, literal.range.end - 1);
                let hidden = self.named(key, name, &text[start..end]);
                edits.push((start, end, hidden));
            }
            Value::NumberLit(literal) => {
                let (start, end) = (literal.range.start, literal.range.end);
                if secrets::is_secret(key, &text[start..end]) {
                    edits.push((start, end, self.hide(name, &text[start..end])));
                }
            }
            Value::Array(array) => {
                let mut before = String::new();
                for item in &array.elements {
                    match item {
                        Value::StringLit(literal) if !secrets::is_secret(key, "x") => {
                            let (start, end) = (literal.range.start + 1, literal.range.end - 1);
                            edits.push((start, end, self.word(&before, &text[start..end])));
                            text[start..end].clone_into(&mut before);
                        }
                        item => self.json_value(wanted, key, text, item, edits),
                    }
                }
            }
            Value::Object(object) => {
                for property in &object.properties {
                    let name = property.name.clone().into_string();
                    self.json_value(wanted, &name, text, &property.value, edits);
                }
            }
            Value::BooleanLit(_) | Value::NullKeyword(_) => {}
        }
    }

    /// Hides secrets in a URL: the password, the query, the fragment, and what looks random in host and path.
    pub(super) fn url(&mut self, wanted: &str, url: &str) -> String {
        let Some((scheme, rest)) = url.split_once("://") else { return self.pairs(wanted, url) };
        let (authority, tail) = rest.split_at(authority_end(rest));
        let (user, host) =
            authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let mut hidden = format!("{scheme}://");
        if let Some(user) = user {
            let wanted = format!(
                "{}_{}_PASSWORD",
                self.server,
                scheme.rsplit(['=', '"', '\'']).next().unwrap_or_default()
            );
            match user.split_once(':') {
                Some((name, password)) => {
                    hidden += &self.words(&wanted, name);
                    hidden.push(':');
                    hidden += &self.secret(&wanted, password);
                }
                None if scheme.ends_with("http") || scheme.ends_with("https") => {
                    hidden += &self.secret(&wanted, user);
                }
                None => hidden += &self.words(&wanted, user),
            }
            hidden.push('@');
        }
        for (at, label) in host.split('.').enumerate() {
            hidden.push_str(if at > 0 { "." } else { "" });
            let secret = secrets::is_random(label) || secrets::is_token(label);
            hidden +=
                &if secret { self.secret(&format!("{}_HOST", self.server), label) } else { label.to_owned() };
        }
        let (path, query) = tail.split_at(tail.find(['?', '#', ';']).unwrap_or(tail.len()));
        for (at, part) in path.split('/').enumerate() {
            hidden.push_str(if at > 0 { "/" } else { "" });
            hidden += &self.segment(part);
        }
        hidden + &self.query(query)
    }

    /// One part of a URL's path.
    fn segment(&mut self, part: &str) -> String {
        let wanted = format!("{}_PATH", self.server);
        let decoded = decoded(part);
        let mut pieces = decoded.split(|c| is_mark(c) || matches!(c, ':' | '=' | ',' | '@' | '|'));
        if secrets::is_random(&decoded)
            || pieces.any(|piece| secrets::is_token(piece) || secrets::is_random(piece))
        {
            return self.secret(&wanted, part);
        }
        if part.contains(['=', ':']) { self.pairs(&wanted, part) } else { part.to_owned() }
    }

    /// The query and fragment of a URL, or what JDBC has in their place.
    fn query(&mut self, query: &str) -> String {
        let mut hidden = String::new();
        let mut rest = query;
        while !rest.is_empty() {
            let first = rest.chars().next().expect("it is not empty").len_utf8();
            let (separator, after) = rest.split_at(first);
            // A value with such a character in it goes on until the next key.
            let end = after
                .match_indices(['?', '#', ';', '&'])
                .map(|(at, _)| at)
                .find(|&at| begins_pair(&after[at + 1..], true))
                .unwrap_or(after.len());
            let (pair, next) = after.split_at(end);
            hidden.push_str(separator);
            if let Some((key, value)) = pair.split_once('=') {
                hidden.extend([key, "="]);
                hidden += &self.parameter(key, value);
            } else {
                hidden += &self.words(&format!("{}_QUERY", self.server), pair);
            }
            rest = next;
        }
        hidden
    }

    /// The value of one parameter of a URL.
    fn parameter(&mut self, key: &str, value: &str) -> String {
        let wanted = format!("{}_{key}", self.server);
        let text = decoded(value);
        // Azure calls the key of a function `code`.
        let secret = secrets::is_secret(&decoded(key), value) || key.eq_ignore_ascii_case("code");
        let inner = text != value && self.would_hide(&text);
        if secret || inner { self.secret(&wanted, value) } else { self.scan(&wanted, value) }
    }

    /// Whether something would be hidden in a text that is not written as it stands here.
    fn would_hide(&self, text: &str) -> bool {
        let mut scratch = Secrets::default();
        let mut inner = Text { depth: self.depth + 1, ..Text::new(&mut scratch, self.server) };
        inner.depth <= DEPTH && {
            inner.scan("X", text);
            !inner.references.is_empty()
        }
    }

    /// Hides the values of secret keys: `Password=…;Server=…`, `host=… password=…`, `Authorization: …`.
    fn pairs(&mut self, wanted: &str, text: &str) -> String {
        let mut hidden = String::new();
        let mut done = 0;
        let mut from = 0;
        while let Some(at) = text[from..].find(['=', ':']).map(|at| from + at) {
            from = at + 1;
            let Some(key) = pair_before(&text[done..=at]) else { continue };
            let after = &text[from..];
            let blank = after.len() - after.trim_start_matches([' ', '\t', '\\', '"', '\'', '=', '>']).len();
            let start = from + blank;
            let quote = text[from..start].chars().next_back().filter(|c| matches!(c, '"' | '\''));
            let end = start + value_end(&text[start..], quote);
            let value = &text[start..end];
            if value.is_empty() || !secrets::is_secret(key, value) {
                continue;
            }
            let wanted = key.to_owned();
            hidden += &self.words("", &text[done..start]);
            hidden += &self.secret(&wanted, value);
            (done, from) = (end, end);
        }
        hidden + &self.words(wanted, &text[done..])
    }

    /// Hides secret words, and words behind flags that a secret follows.
    fn words(&mut self, wanted: &str, text: &str) -> String {
        let fallback = format!("{}_VALUE", self.server);
        let wanted = if wanted.is_empty() { fallback.as_str() } else { wanted };
        let mut hidden = String::new();
        let mut before = "";
        for piece in text.split_inclusive(is_space) {
            let word = piece.trim_end_matches(is_space);
            let space = &piece[word.len()..];
            let bare_word = word.trim_matches(['"', '\'', '`']);
            let follows =
                text.len() > piece.len() && (self.takes_secret(before, bare_word) || is_scheme_word(before));
            if follows && !word.is_empty() {
                hidden += &self.secret(&flag_name(self.server, before), word);
            } else if let Some((start, end)) = login(word) {
                let password = self.secret(&format!("{}_PASSWORD", self.server), &word[start..end]);
                hidden.extend([&word[..start], &password, &word[end..]]);
            } else {
                hidden += &self.chunk(wanted, word);
            }
            hidden.push_str(space);
            if !word.is_empty() {
                before = bare_word;
            }
        }
        hidden
    }

    /// One word without spaces: hidden as a whole, or the parts of it that are secrets.
    fn chunk(&mut self, wanted: &str, word: &str) -> String {
        let mut hidden = String::new();
        for piece in word
            .split_inclusive(['"', '\'', ',', ';', '(', ')', '<', '>', '[', ']', '{', '}', '|', '`', '\\'])
        {
            let bare = piece.trim_end_matches([
                '"', '\'', ',', ';', '(', ')', '<', '>', '[', ']', '{', '}', '|', '`', '\\',
            ]);
            for run in runs(bare) {
                hidden += &if run.starts_with(is_mark) { run.to_owned() } else { self.atom(wanted, run) };
            }
            hidden.push_str(&piece[bare.len()..]);
        }
        hidden
    }

    /// A part of a word.
    fn atom(&mut self, wanted: &str, atom: &str) -> String {
        let separators = ['=', ':', '@', '/', '?', '&', '#', '!', '*', '%', '^'];
        let token = secrets::is_token(atom) || secrets::is_random(atom);
        if token && !atom.contains(['=', ':', '?', '&']) || secrets::is_random(atom.trim_end_matches('=')) {
            return self.secret(wanted, atom);
        }
        let mut hidden = String::new();
        let mut digest = false;
        for piece in atom.split_inclusive(separators) {
            let bare = piece.trim_end_matches(separators);
            let secret = !bare.is_empty() && (secrets::is_token(bare) || secrets::is_random(bare));
            // The digest of an image is no secret.
            hidden += &if secret && !digest { self.secret(wanted, bare) } else { bare.to_owned() };
            hidden.push_str(&piece[bare.len()..]);
            digest = matches!(piece, "sha256:" | "sha512:");
        }
        hidden
    }

    /// One argument behind another one.
    fn word(&mut self, before: &str, word: &str) -> String {
        let name = flag_name(self.server, before);
        if self.takes_secret(before, word) || is_scheme_word(before) && !word.starts_with('-') {
            return self.secret(&name, word);
        }
        if USER.contains(&before)
            && let Some((user, password)) = word.split_once(':').filter(|(_, rest)| !rest.starts_with("//"))
        {
            return format!("{user}:{}", self.secret(&format!("{}_PASSWORD", self.server), password));
        }
        // `-pPASSWORD` of mysql and its like: what no long flag with one dash looks like.
        if let Some(password) = word.strip_prefix("-p").filter(|rest| is_attached(rest)) {
            return format!("-p{}", self.secret(&format!("{}_PASSWORD", self.server), password));
        }
        if let Some((user, password)) = word.strip_prefix("-u").and_then(|rest| rest.split_once(':')) {
            return format!("-u{user}:{}", self.secret(&format!("{}_PASSWORD", self.server), password));
        }
        if let Some((flag, value)) = word.split_once('=').filter(|(flag, _)| is_flag(flag)) {
            let name = flag.trim_start_matches('-');
            let secret = secrets::is_secret(flag, value);
            return format!(
                "{flag}={}",
                if secret { self.secret(name, value) } else { self.word(flag, value) }
            );
        }
        self.scan(&format!("{}_ARGUMENT", self.server), word)
    }

    /// Whether a word is the secret that belongs to the word before it.
    #[expect(clippy::unused_self, reason = "it belongs to the words")]
    fn takes_secret(&self, before: &str, word: &str) -> bool {
        if word.is_empty() || is_next_flag(word) {
            return false;
        }
        if SHORT.contains(&before) {
            let port = word.split(':').all(|part| part.parse::<u16>().is_ok());
            let other =
                word.contains("://") || secrets::is_path(word) || before == "-P" && is_plain_word(word);
            return !(port || other);
        }
        let bare = BARE.iter().any(|name| before.eq_ignore_ascii_case(name));
        (bare || is_flag(before)) && secrets::is_secret(before, word)
    }
}

/// Whether a text is a word in small letters.
fn is_plain_word(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_lowercase() || c == '-')
}

/// Whether the text behind `-p` is a password and not the rest of a long flag.
fn is_attached(rest: &str) -> bool {
    let flag =
        rest.is_empty() || is_plain_word(rest) || rest.starts_with(['-', '=', ':']) || rest.contains('=');
    !flag && rest.parse::<u16>().is_err() && !rest.split(':').all(|part| part.parse::<u16>().is_ok())
}

/// Whether a word is a flag.
fn is_flag(word: &str) -> bool {
    word.starts_with('-') && word.len() > 1 && word.chars().all(is_key)
        || word.starts_with('/') && word[1..].chars().all(|c| c.is_ascii_alphanumeric()) && word.len() > 1
}

/// Whether a word is the next flag rather than the value of the one before it.
fn is_next_flag(word: &str) -> bool {
    let Some(name) = word.strip_prefix('-') else { return false };
    let name = name.strip_prefix('-').unwrap_or(name);
    let name = name.split('=').next().unwrap_or_default();
    word.starts_with("--") && name.chars().all(is_key) && !secrets::is_random(name) || name.len() == 1
}

/// Whether a word is the scheme of an Authorization header whose value comes next.
fn is_scheme_word(word: &str) -> bool {
    word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic")
}

/// The name of a variable for what follows a flag.
fn flag_name(server: &str, flag: &str) -> String {
    let flag = flag.trim_start_matches(['-', '/']);
    let flag = if flag == "p" { "PASSWORD" } else { flag };
    format!("{server}_{flag}")
}

/// Where the braces close that are open at the beginning.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(at);
        }
    }
    None
}

/// The name of `$NAME` at the beginning of a text, as Gemini reads it: in capitals only, since passwords have dollars, too.
fn bare(text: &str) -> Option<&str> {
    let name = text.strip_prefix('$')?;
    let end = name
        .find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
        .unwrap_or(name.len());
    let (name, after) = name.split_at(end);
    let ends = after.is_empty() || after.starts_with(|c: char| is_space(c) || c == '/');
    let begins = name.starts_with(|c: char| c.is_ascii_uppercase());
    (begins && ends && name.len() >= 3).then_some(name)
}

/// The first URL in a text with what stands before and behind it.
fn find_url(text: &str) -> Option<(&str, &str, &str)> {
    let at = text.find("://")?;
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-');
    let start = text[..at]
        .rfind(|c| !is_scheme(c))
        .map_or(0, |before| before + text[before..].chars().next().map_or(1, char::len_utf8));
    let end = text[at + 3..].find(|c: char| is_space(c) || matches!(c, '"' | '\'' | '`' | '<' | '>'));
    let end = end.map_or(text.len(), |end| at + 3 + end);
    Some((&text[..start], &text[start..end], &text[end..]))
}

/// Where the authority of a URL ends (RFC 3986 §3.2), or where it was meant to end: passwords with `/`, `?` and `#` are
/// not escaped by everybody.
fn authority_end(rest: &str) -> usize {
    let end = rest.find(['/', '?', '#', ';', '\\']).unwrap_or(rest.len());
    let Some(at) = rest[end..].rfind('@').map(|at| end + at) else { return end };
    let authority = &rest[..end];
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    let is_port = |port: &str| port.chars().all(|c| c.is_ascii_digit() || is_mark(c) || c == ']');
    if authority.contains('@') || port.is_none_or(is_port) {
        return end;
    }
    rest[at..].find(['/', '?', '#', ';', '\\']).map_or(rest.len(), |end| at + end)
}

/// The key that stands right before `=` or `:` at the end of a text.
fn pair_before(text: &str) -> Option<&str> {
    let before = text.trim_end_matches([' ', '\t', '"', '\'', '\\']);
    let before = before.strip_suffix(['=', ':'])?.trim_end_matches([' ', '\t', '"', '\'', '\\', ':']);
    let start = before
        .rfind(|c| !is_key(c))
        .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let key = before[start..].trim_start_matches('-');
    (!key.is_empty()).then_some(key)
}

/// Where the value of a pair ends: at its quote, or before the next key.
fn value_end(value: &str, quote: Option<char>) -> usize {
    if let Some(end) = quote.and_then(|quote| value.find(quote)) {
        return value[..end].trim_end_matches('\\').len();
    }
    let ends = |(at, c): (usize, &str)| {
        let after = &value[at + c.len()..];
        let strict = matches!(c, ";" | "&");
        (begins_pair(after, strict) || c == "\n").then_some(at)
    };
    value.match_indices([';', '&', ',', ' ', '\n', '\t', '}']).find_map(ends).unwrap_or(value.len())
}

/// Whether a text begins with a key and its sign, with a flag, or not at all.
fn begins_pair(text: &str, only_equals: bool) -> bool {
    let text = text.trim_start_matches([' ', '\t', '"', '\'']);
    if text.is_empty() {
        return only_equals;
    }
    if text.starts_with("--") {
        return true;
    }
    // No key is longer; without a limit many spaces would be looked at many times.
    let end = text.char_indices().take(64).find(|(_, c)| !(is_key(*c) || *c == ' '));
    let end = end.map_or(0, |(at, _)| at);
    end > 0 && (text[end..].starts_with('=') || !only_equals && text[end..].starts_with(": "))
}

/// Where the password is in `user:password@host`, as drivers of databases write it without a scheme.
fn login(word: &str) -> Option<(usize, usize)> {
    let at = word.rfind('@')?;
    let (user, password) = word[..at].split_once(':')?;
    let host = &word[at + 1..];
    let named = host.starts_with(|c: char| c.is_ascii_alphabetic() || is_mark(c) || c == '[');
    let host =
        named && (host.contains(['.', ':', '(', '/']) || host.chars().all(|c| is_key(c) || is_mark(c)));
    let digest = word[at..].starts_with("@sha256:") || word[at..].starts_with("@sha512:");
    let user_only = !user.is_empty()
        && !user.contains(['/', '"', '\'', '=', ','])
        && !matches!(user, "npm" | "file" | "git");
    (host && !digest && user_only && !password.is_empty()).then_some((user.len() + 1, at))
}

/// A text without the escapes of URLs (RFC 3986 §2.1).
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let byte = escape.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
#[path = "conceal_tests.rs"]
mod tests;
