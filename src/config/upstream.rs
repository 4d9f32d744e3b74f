//! The meaning of `[upstreams.NAME]`, and of all names together.

use std::collections::BTreeMap;
use std::ops::Range;

use http::{HeaderName, HeaderValue, Uri, header};
use serde_spanned::Spanned;

use super::expand;
use super::model::{Secret, Sharing, Transport, Upstream, UpstreamName};
use super::place::{Place, Problems};
use super::settings::Reader;
use super::shape;
use super::supervision::{self, Supervision};

/// Headers that the gateway itself sets on each request to an upstream.
const RESERVED: [HeaderName; 7] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::CONTENT_TYPE,
    header::ACCEPT,
    HeaderName::from_static("last-event-id"),
];

/// Whether a header of this name is set by the gateway itself, so that no configuration may have it.
#[must_use]
pub fn is_reserved_header(name: &str) -> bool {
    HeaderName::from_bytes(name.as_bytes())
        .is_ok_and(|header| RESERVED.contains(&header) || header.as_str().starts_with("mcp-"))
}

/// Reads one upstream and says where its name stands; `None` if it cannot be reached in any way.
pub(super) fn upstream(
    name: &shape::Text,
    shape: &shape::Upstream,
    reader: &mut Reader<'_>,
) -> Option<(Place, Upstream)> {
    let start_timeout =
        reader.duration(shape.start_timeout.as_ref(), "start_timeout", Upstream::START_TIMEOUT, false);
    let request_timeout =
        reader.duration(shape.request_timeout.as_ref(), "request_timeout", Upstream::REQUEST_TIMEOUT, false);
    let sharing = match shape.sharing.as_ref().map(|value| value.get_ref().as_str()) {
        Some("shared") => Sharing::Shared,
        Some("per-session") => Sharing::PerSession,
        _ => Sharing::Auto,
    };
    let Supervision { shows, max_concurrency, max_queue, start, idle_timeout, health_interval } =
        supervision::supervision(shape, reader);
    let transport = transport(name, shape, reader);
    let name_place = reader.text.place(&name.span());
    let name = allowed_name(name, reader)?;
    let upstream = Upstream {
        name,
        transport: transport?,
        start_timeout,
        request_timeout,
        sharing,
        shows,
        max_concurrency,
        max_queue,
        start,
        idle_timeout,
        health_interval,
    };
    Some((name_place, upstream))
}

/// Checks the name of a table.
fn allowed_name(name: &shape::Text, reader: &mut Reader<'_>) -> Option<UpstreamName> {
    let text = name.get_ref();
    if text == UpstreamName::BUILTIN {
        let message = format!("upstream name `{text}` is taken by the built-in upstream");
        reader.refuse(&name.span(), message, "choose another name");
        return None;
    }
    let allowed = UpstreamName::new(text);
    if allowed.is_none() {
        reader.refuse(
            &name.span(),
            format!("upstream name `{text}` is not allowed"),
            "use 1 to 63 letters, digits, `-` and `_`, beginning with a letter or digit",
        );
    }
    allowed
}

/// Reads how the upstream is reached.
fn transport(name: &shape::Text, shape: &shape::Upstream, reader: &mut Reader<'_>) -> Option<Transport> {
    let urls = match (&shape.url, &shape.urls) {
        (Some(_), Some(urls)) => {
            let message = format!("upstream `{}` has both `url` and `urls`", name.get_ref());
            reader.refuse(&urls.span(), message, "put all of them into urls");
            return None;
        }
        (Some(url), None) => Some((url.span(), vec![url])),
        (None, Some(urls)) => Some((urls.span(), urls.get_ref().iter().collect())),
        (None, None) => None,
    };
    match (&shape.command, urls) {
        (Some(command), None) => {
            misplaced(shape.headers.as_ref(), "headers", "url", reader);
            misplaced(shape.ca_file.as_ref(), "ca_file", "url", reader);
            stdio(command, shape, reader)
        }
        (None, Some((span, urls))) => {
            misplaced(shape.args.as_ref(), "args", "command", reader);
            misplaced(shape.env.as_ref(), "env", "command", reader);
            misplaced(shape.working_dir.as_ref(), "working_dir", "command", reader);
            misplaced(shape.user.as_ref(), "user", "command", reader);
            misplaced(shape.memory_max.as_ref(), "memory_max", "command", reader);
            misplaced(shape.tasks_max.as_ref(), "tasks_max", "command", reader);
            misplaced(shape.open_files_max.as_ref(), "open_files_max", "command", reader);
            http(&span, &urls, shape, reader)
        }
        (Some(_), Some((span, _))) => {
            let message = format!("upstream `{}` has both `command` and `url`", name.get_ref());
            reader.refuse(&span, message, "keep one of them, or make two upstreams");
            None
        }
        (None, None) => {
            let message = format!("upstream `{}` has neither `command` nor `url`", name.get_ref());
            let hint = "write command = \"PROGRAM\" or url = \"https://HOST/mcp\"";
            reader.refuse(&name.span(), message, hint);
            None
        }
    }
}

/// Refuses a key that means nothing to this transport, rather than ignoring it.
fn misplaced<T>(value: Option<&Spanned<T>>, key: &str, needs: &str, reader: &mut Reader<'_>) {
    if let Some(value) = value {
        let message = format!("`{key}` belongs to upstreams with `{needs}`");
        reader.refuse(&value.span(), message, format!("remove `{key}`"));
    }
}

/// Reads a child process.
fn stdio(command: &shape::Text, shape: &shape::Upstream, reader: &mut Reader<'_>) -> Option<Transport> {
    let place = command.span();
    let command = expanded(command, "command", reader);
    if let Some(command) = &command {
        if command.is_empty() {
            reader.refuse(&place, "`command` is empty", "write the name of a program");
        } else if command.contains('/') && !command.starts_with('/') {
            let hint = "write an absolute path, or a name that is looked up in PATH";
            reader.refuse(&place, "`command` is a path that is not absolute", hint);
        }
    }
    let mut args = Vec::new();
    for argument in shape.args.iter().flat_map(Spanned::get_ref) {
        args.extend(expanded(argument, "args", reader));
    }
    let mut env = BTreeMap::new();
    for (name, value) in shape.env.iter().flat_map(Spanned::get_ref) {
        if name.get_ref().is_empty() || name.get_ref().contains(['=', '\0']) {
            let message = format!("`{}` cannot be the name of a variable", name.get_ref());
            reader.refuse(&name.span(), message, "use letters, digits and `_`");
        }
        if let Some(value) = expanded(value, &format!("env.{}", name.get_ref()), reader) {
            env.insert(name.get_ref().clone(), Secret::new(value));
        }
    }
    let working_dir = reader.absolute(shape.working_dir.as_ref(), "working_dir");
    let (limits, user) = (supervision::limits(shape, reader), shape.user.as_ref());
    if let Some(user) = user.filter(|user| user.get_ref().is_empty()) {
        reader.refuse(&user.span(), "`user` is empty", "write the name of a user, or remove it");
    }
    let user = user.map(|user| user.get_ref().clone());
    Some(Transport::Stdio { command: command?, args, env, working_dir, limits, user })
}

/// Reads an HTTP endpoint.
fn http(
    span: &Range<usize>,
    urls: &[&shape::Text],
    shape: &shape::Upstream,
    reader: &mut Reader<'_>,
) -> Option<Transport> {
    let mut headers = BTreeMap::new();
    for (name, value) in shape.headers.iter().flat_map(Spanned::get_ref) {
        let Some(header) = header_name(name, reader) else { continue };
        let Some(expanded) = expanded(value, &format!("headers.{}", name.get_ref()), reader) else {
            continue;
        };
        if HeaderValue::from_str(&expanded).is_err() {
            let message = format!("`headers.{}` has a character that no header can have", name.get_ref());
            reader.refuse(&value.span(), message, "use printable characters on one line");
        } else if headers.insert(header, Secret::new(expanded)).is_some() {
            let message = format!("header `{}` is given twice", name.get_ref());
            reader.refuse(&name.span(), message, "header names do not differ by case; keep one");
        }
    }
    let mut endpoints = Vec::with_capacity(urls.len());
    for url in urls {
        let assumed = reader.around.lenient && expand::has_reference(url.get_ref());
        let text = expanded(url, "url", reader)?;
        if !assumed {
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
    let ca_file = reader.absolute(shape.ca_file.as_ref(), "ca_file");
    Some(Transport::Http { urls: endpoints, headers, ca_file })
}

/// Checks a header's name and gives it in lower case.
fn header_name(name: &shape::Text, reader: &mut Reader<'_>) -> Option<String> {
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

/// Resolves the references of one value.
fn expanded(value: &shape::Text, key: &str, reader: &mut Reader<'_>) -> Option<String> {
    match expand::expand(value.get_ref(), reader.around) {
        Ok(text) if text.contains('\0') => {
            reader.refuse(&value.span(), format!("`{key}` contains a NUL character"), "remove it");
            None
        }
        Ok(text) => Some(text),
        Err(failure) => {
            reader.refuse(&value.span(), format!("`{key}`: {}", failure.message), failure.hint);
            None
        }
    }
}

/// Refuses two upstreams of one name, and names of which one with `_` behind it begins the other: `a_b_tool` could be
/// tool `b_tool` of `a` or tool `tool` of `a_b`.
pub(super) fn distinct(found: &[(Place, Upstream)], problems: &mut Problems) {
    for (at, (place, later)) in found.iter().enumerate() {
        let name = later.name.as_str();
        if begins(UpstreamName::BUILTIN, name) {
            let message =
                format!("upstream name `{name}` begins with `mcpeg_`, as tools of the built-in upstream do");
            problems.push_with_hint(place.clone(), message, "choose another name");
        }
        for (other_place, earlier) in &found[..at] {
            let other = earlier.name.as_str();
            if name == other {
                problems.push_with_hint(
                    place.clone(),
                    format!("upstream `{name}` is already defined at {other_place}"),
                    "rename one of them, or remove it",
                );
            } else if begins(name, other) || begins(other, name) {
                problems.push_with_hint(
                    place.clone(),
                    format!("upstream names `{name}` and `{other}` ({other_place}) cannot be told apart in tool names"),
                    "rename one, so that neither followed by `_` begins the other",
                );
            }
        }
    }
}

/// Whether `short` followed by `_` begins `long`.
fn begins(short: &str, long: &str) -> bool {
    long.strip_prefix(short).is_some_and(|rest| rest.starts_with('_'))
}
