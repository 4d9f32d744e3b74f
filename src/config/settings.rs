//! The meaning of `[server]`, with the command line's overrides applied.
//!
//! The command line may move a listener, but only the file can say `auth = "none"`: opening the gateway to others is
//! a decision that is written down.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use super::address::{Clash, Places};
use super::expand::Surroundings;
use super::load::Overrides;
use super::model::{Auth, ListenAddr, Metrics, Prefix, Server};
use super::place::{Place, Problems, Text};
use super::supervision::number;
use super::{shape, units};

/// What reading the values of one file needs.
pub(super) struct Reader<'a> {
    /// The file.
    pub(super) text: Text<'a>,
    /// Where references are looked up.
    pub(super) around: Surroundings<'a>,
    /// Where problems go.
    pub(super) problems: &'a mut Problems,
}

impl Reader<'_> {
    /// Notes a problem at a span of the file.
    pub(super) fn refuse(
        &mut self,
        span: &Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.problems.push_with_hint(self.text.place(span), message, hint);
    }

    /// Reads a duration, or gives the default; zero is allowed only where it has a meaning.
    pub(super) fn duration(
        &mut self,
        value: Option<&shape::Text>,
        key: &str,
        default: Duration,
        zero_allowed: bool,
    ) -> Duration {
        let Some(value) = value else { return default };
        match units::duration(value.get_ref()) {
            Ok(duration) if duration.is_zero() && !zero_allowed => {
                self.refuse(&value.span(), format!("`{key}` must be longer than nothing"), "write \"30s\"");
                default
            }
            Ok(duration) => duration,
            Err(why) => {
                let hint = units::suggest_duration(value.get_ref().trim());
                self.refuse(&value.span(), format!("`{key}` must be a duration: {why}"), hint);
                default
            }
        }
    }

    /// Reads an absolute path.
    pub(super) fn absolute(&mut self, value: Option<&shape::Text>, key: &str) -> Option<PathBuf> {
        let value = value?;
        let path = PathBuf::from(value.get_ref());
        if path.is_absolute() && !value.get_ref().contains('\0') {
            return Some(path);
        }
        let hint = "write a path that begins with /; a daemon has no directory that it starts from";
        self.refuse(&value.span(), format!("`{key}` must be an absolute path"), hint);
        None
    }
}

/// Reads `[server]`.
pub(super) fn server(shape: &shape::Server, overrides: &Overrides, reader: &mut Reader<'_>) -> Server {
    let default = Server::default();
    let auth = shape.auth.as_ref().map(|_| Auth::None);
    let size = shape.max_message_size.as_ref();
    Server {
        listen: listeners(shape, overrides, auth, reader),
        user: account(shape.user.as_ref(), "user", reader),
        group: group(shape, reader),
        drain_timeout: reader.duration(
            shape.drain_timeout.as_ref(),
            "drain_timeout",
            default.drain_timeout,
            true,
        ),
        auth,
        prefix: match shape.prefix.as_ref().map(|value| value.get_ref().as_str()) {
            Some("always") => Prefix::Always,
            Some("never") => Prefix::Never,
            _ => Prefix::Auto,
        },
        allowed_hosts: checked(shape.allowed_hosts.as_ref(), reader, is_host, "allowed_hosts", "example.org"),
        allowed_origins: checked(
            shape.allowed_origins.as_ref(),
            reader,
            is_origin,
            "allowed_origins",
            "https://example.org",
        ),
        max_message_size: size.map_or(default.max_message_size, |value| {
            units::size(value.get_ref()).unwrap_or_else(|why| {
                let hint = units::suggest_size(value.get_ref().trim());
                reader.refuse(&value.span(), format!("`max_message_size` must be a size: {why}"), hint);
                default.max_message_size
            })
        }),
        max_connections: count(shape.max_connections.as_ref()),
        max_sessions: count(shape.max_sessions.as_ref()).unwrap_or(default.max_sessions),
        max_sessions_per_client: count(shape.max_sessions_per_client.as_ref()),
        client_timeout: reader.duration(
            shape.client_timeout.as_ref(),
            "client_timeout",
            default.client_timeout,
            false,
        ),
        metrics: match shape.metrics.as_ref().map(|value| value.get_ref().as_str()) {
            Some("all") => Metrics::All,
            Some("off") => Metrics::Off,
            _ => Metrics::Local,
        },
        session_timeout: reader.duration(
            shape.session_timeout.as_ref(),
            "session_timeout",
            default.session_timeout,
            false,
        ),
    }
}

/// Reads how many there may be of something.
fn count(value: Option<&shape::Number>) -> Option<usize> {
    number(value).and_then(|number| usize::try_from(number).ok())
}

/// Reads the name of a user or group.
fn account(value: Option<&shape::Text>, key: &str, reader: &mut Reader<'_>) -> Option<String> {
    let value = value?;
    let name = value.get_ref();
    if !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic() && !":/".contains(c)) {
        return Some(name.clone());
    }
    let hint = "`getent passwd` and `getent group` list them";
    reader.refuse(&value.span(), format!("`{key}` must be the name of a {key}"), hint);
    None
}

/// Reads the group, which is of no use without a user.
fn group(shape: &shape::Server, reader: &mut Reader<'_>) -> Option<String> {
    let name = account(shape.group.as_ref(), "group", reader)?;
    if shape.user.is_none() {
        let span = shape.group.as_ref().map(serde_spanned::Spanned::span).unwrap_or_default();
        reader.refuse(&span, "`group` has no effect without `user`", "add `user`");
    }
    Some(name)
}

/// Reads the listeners of the file, and those of the command line, which replace them.
fn listeners(
    shape: &shape::Server,
    overrides: &Overrides,
    auth: Option<Auth>,
    reader: &mut Reader<'_>,
) -> Vec<ListenAddr> {
    let mut found: Vec<(Place, ListenAddr)> = Vec::new();
    if let Some(list) = &shape.listen {
        if list.get_ref().is_empty() {
            reader.refuse(
                &list.span(),
                "`listen` is empty",
                "write listen = [\"127.0.0.1:8080\"], or leave it out",
            );
        }
        for item in list.get_ref() {
            let place = reader.text.place(&item.span());
            found.extend(address(item.get_ref(), place, reader.problems));
        }
    }
    if !overrides.listen.is_empty() {
        found.clear();
        for item in &overrides.listen {
            found.extend(address(item, Place::Option("--listen"), reader.problems));
        }
    }
    for (place, listener) in &found {
        reachable(listener, place, auth, overrides.dev, reader.problems);
    }
    together(&found, reader.problems);
    if found.is_empty() {
        return Server::default().listen;
    }
    found.into_iter().map(|(_, listener)| listener).collect()
}

/// Refuses listeners that cannot be bound together. Nothing is looked up where there is one only.
fn together(found: &[(Place, ListenAddr)], problems: &mut Problems) {
    if found.len() < 2 {
        return;
    }
    let places = Places::of(found.iter().map(|(_, listener)| listener));
    for (at, (place, listener)) in found.iter().enumerate() {
        let before = || found[..at].iter().enumerate();
        if before().any(|(_, (_, other))| other == listener && !is_port_zero(other)) {
            problems.push(place.clone(), format!("listener `{listener}` is listed twice"));
            continue;
        }
        let clash = before().find_map(|(number, (_, other))| Some((other, places.clash(number, at)?)));
        let (other, what) = match clash {
            Some((other, Clash::Same(address))) => (other, format!("both are {address}")),
            Some((other, Clash::Covered(address))) => (other, format!("one of them takes {address} along")),
            None => continue,
        };
        let message = format!("listeners `{other}` and `{listener}` cannot be used together: {what}");
        problems.push_with_hint(place.clone(), message, "leave one of them out");
    }
}

/// Port 0 may be listed twice: the kernel chooses two ports.
const fn is_port_zero(listener: &ListenAddr) -> bool {
    matches!(listener, ListenAddr::Tcp { port: 0, .. })
}

/// Reads one address.
fn address(text: &str, place: Place, problems: &mut Problems) -> Option<(Place, ListenAddr)> {
    match text.parse::<ListenAddr>() {
        Ok(listener) => Some((place, listener)),
        Err(error) => {
            problems.push_with_hint(place, error.to_string(), error.hint());
            None
        }
    }
}

/// Refuses a listener that others can reach, unless the file allows it; the development profile never does.
fn reachable(listener: &ListenAddr, place: &Place, auth: Option<Auth>, dev: bool, problems: &mut Problems) {
    if listener.is_local() {
        return;
    }
    if dev {
        problems.push_with_hint(
            place.clone(),
            format!("listener `{listener}` is not a loopback address, which --dev requires"),
            "listen on 127.0.0.1, or leave --dev out",
        );
    } else if auth.is_none() {
        problems.push_with_hint(
            place.clone(),
            format!("listener `{listener}` can be reached by other machines, and nothing asks who they are"),
            "write auth = \"none\" in [server] of the configuration file if that is meant, or listen on 127.0.0.1",
        );
    }
}

/// Reads a list whose items must pass a test.
fn checked(
    list: Option<&shape::List>,
    reader: &mut Reader<'_>,
    test: fn(&str) -> bool,
    key: &str,
    example: &str,
) -> Vec<String> {
    let mut values = Vec::new();
    for item in list.into_iter().flat_map(serde_spanned::Spanned::get_ref) {
        if test(item.get_ref()) {
            values.push(item.get_ref().to_ascii_lowercase());
        } else {
            let message = format!("`{}` cannot be in `{key}`", item.get_ref());
            reader.refuse(&item.span(), message, format!("write a value such as \"{example}\""));
        }
    }
    values
}

/// A Host header's value: RFC 9110 §7.2.
fn is_host(text: &str) -> bool {
    text.parse::<http::uri::Authority>()
        .is_ok_and(|authority| !authority.host().is_empty() && !text.contains('@') && !text.contains('*'))
}

/// An Origin header's value with a host: RFC 6454 §6.2.
fn is_origin(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, host)| matches!(scheme, "http" | "https") && is_host(host))
}
