//! The kinds of values that only upstreams have: how a server is started or reached. References in them are resolved.

use std::collections::BTreeMap;
use std::ops::Range;

use http::{HeaderName, HeaderValue, Uri};
use toml::Spanned;

use super::header::{ClientHeader, is_reserved_header};
use super::key::{Key, Kind};
use super::kinds::{entries, string, strings};
use super::reader::{Reader, Value};
use super::secret::Secret;

/// A program.
pub(super) const COMMAND: Kind<String> = Kind::new("a string", command);
/// The arguments of a program.
pub(super) const ARGS: Kind<Vec<String>> = Kind::new("an array of strings", |key, value, reader| {
    let items = strings(key, value, reader)?;
    Some(items.iter().filter_map(|item| reader.expanded(item, key.name)).collect())
});
/// The environment of a program.
pub(super) const ENV: Kind<BTreeMap<String, Secret>> = Kind::new("a table of strings", env);
/// The user that a program runs as.
pub(super) const USER: Kind<String> = Kind::new("a string", |key, value, reader| {
    let user = string(key, value, reader)?;
    if user.get_ref().is_empty() {
        reader.refuse(&value.span(), "`user` is empty", "write the name of a user, or remove it");
    }
    Some((*user.get_ref()).to_owned())
});
/// One endpoint.
pub(super) const URL: Kind<Vec<String>> = Kind::new("a string", |key, value, reader| {
    let url = string(key, value, reader)?;
    endpoints(&value.span(), &[url], reader)
});
/// Several endpoints.
pub(super) const URLS: Kind<Vec<String>> = Kind::new("an array of strings", |key, value, reader| {
    let urls = strings(key, value, reader)?;
    endpoints(&value.span(), &urls, reader)
});
/// The headers of requests.
pub(super) const HEADERS: Kind<Headers> = Kind::new("a table of strings", headers);

/// The headers of requests to an upstream, names in lower case.
#[derive(Debug, Default)]
pub(super) struct Headers {
    /// Those that are the same for all clients.
    pub(super) constant: BTreeMap<String, Secret>,
    /// Those that are not.
    pub(super) of_client: BTreeMap<String, ClientHeader>,
}

impl Headers {
    /// Whether there is one of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.constant.contains_key(name) || self.of_client.contains_key(name)
    }
}

/// Reads a program.
fn command(key: &Key<String>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let text = string(key, value, reader)?;
    let command = reader.expanded(&text, key.name)?;
    if command.is_empty() {
        reader.refuse(&value.span(), "`command` is empty", "write the name of a program");
    } else if command.contains('/') && !command.starts_with('/') {
        let hint = "write an absolute path, or a name that is looked up in PATH";
        reader.refuse(&value.span(), "`command` is a path that is not absolute", hint);
    }
    Some(command)
}

/// Reads an environment.
fn env(
    key: &Key<BTreeMap<String, Secret>>,
    value: &Value<'_>,
    reader: &mut Reader<'_>,
) -> Option<BTreeMap<String, Secret>> {
    let mut env = BTreeMap::new();
    for (name, value) in entries(key, value, reader)? {
        if name.get_ref().is_empty() || name.get_ref().contains(['=', '\0']) {
            let message = format!("`{}` cannot be the name of a variable", name.get_ref());
            reader.refuse(&name.span(), message, "use letters, digits and `_`");
        }
        if let Some(value) = reader.expanded(&value, &format!("{}.{}", key.name, name.get_ref())) {
            env.insert((*name.get_ref()).to_owned(), Secret::new(value));
        }
    }
    Some(env)
}

/// Reads headers.
fn headers(key: &Key<Headers>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Headers> {
    let mut headers = Headers::default();
    for (name, value) in entries(key, value, reader)? {
        let full = format!("{}.{}", key.name, name.get_ref());
        let Some(header) = header_name(&name, reader) else { continue };
        let Some(expanded) = reader.expanded_header(&value, &full) else { continue };
        if HeaderValue::from_str(expanded.text().reveal()).is_err() {
            let message = format!("`{full}` has a character that no header can have");
            reader.refuse(&value.span(), message, "use printable characters on one line");
        } else if headers.has(&header) {
            let message = format!("header `{}` is given twice", name.get_ref());
            reader.refuse(&name.span(), message, "header names do not differ by case; keep one");
        } else {
            match expanded.constant() {
                Ok(constant) => drop(headers.constant.insert(header, constant)),
                Err(of_client) => drop(headers.of_client.insert(header, of_client)),
            }
        }
    }
    Some(headers)
}

/// Checks a header's name and gives it in lower case.
fn header_name(name: &Spanned<&str>, reader: &mut Reader<'_>) -> Option<String> {
    let text = name.get_ref();
    let Ok(header) = HeaderName::from_bytes(text.as_bytes()) else {
        let message = format!("`{text}` cannot be the name of a header");
        reader.refuse(&name.span(), message, "use letters, digits and `-`");
        return None;
    };
    if is_reserved_header(text) {
        reader.refuse(&name.span(), format!("header `{text}` is set by mcpeg itself"), "remove it");
        return None;
    }
    Some(header.as_str().to_owned())
}

/// Reads endpoints.
fn endpoints(span: &Range<usize>, urls: &[Spanned<&str>], reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let mut endpoints = Vec::with_capacity(urls.len());
    for url in urls {
        let text = reader.expanded(url, "url")?;
        if !reader.assumes(url.get_ref()) {
            endpoint(&text, &url.span(), reader);
        }
        if endpoints.contains(&text) {
            reader.refuse(&url.span(), "`urls` has the same endpoint twice", "remove one of the two");
        }
        endpoints.push(text);
    }
    if endpoints.is_empty() {
        reader.refuse(span, "`urls` is empty", "write urls = [\"https://HOST/mcp\"]");
    }
    Some(endpoints)
}

/// Checks the form of an endpoint. The URL is not quoted: references in it may stand for secrets.
fn endpoint(url: &str, span: &Range<usize>, reader: &mut Reader<'_>) {
    let hint = "write a URL such as \"https://mcp.example.org/mcp\"";
    match url.parse::<Uri>() {
        Ok(uri) if !matches!(uri.scheme_str(), Some("http" | "https")) => {
            reader.refuse(span, "`url` does not begin with http:// or https://", hint);
        }
        Ok(uri) if uri.host().is_none_or(str::is_empty) => reader.refuse(span, "`url` has no host", hint),
        Ok(uri) if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) => {
            let hint = "remove it, and write headers = { Authorization = \"…\" }";
            reader.refuse(span, "`url` has a user name or password in it", hint);
        }
        Ok(_) => {}
        Err(_) => reader.refuse(span, "`url` is not a URL", hint),
    }
}
