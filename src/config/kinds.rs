//! The kinds of values that several tables have: how each is written, and what is said about one that is wrong.

use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::key::{Key, Kind, Zero};
use super::reader::{Reader, Value};
use super::units;

/// The units of durations.
const TIME: &str = "ms, s, m, h, d; several may be combined, as in \"1m 30s\"";
/// The units of sizes.
const BYTES: &str = "B, KiB, MiB, GiB (powers of 1024), kB, MB, GB (powers of 1000)";
/// What durations are called.
const DURATION_NAME: &str = "a duration with its unit, such as \"30s\"";
/// What sizes are called.
const SIZE_NAME: &str = "a size with its unit, such as \"16MiB\"";

/// `true` or `false`.
pub(super) const TRUTH: Kind<bool> = Kind::new("true or false", truth);
/// A string.
pub(super) const TEXT: Kind<String> = Kind::new("a string", |key, value, reader| {
    string(key, value, reader).map(|text| (*text.get_ref()).to_owned())
});
/// The name of a user or group, which is what the key is called, too.
pub(super) const ACCOUNT: Kind<String> = Kind::new("a string", account);
/// An absolute path.
pub(super) const PATH: Kind<PathBuf> = Kind::new("a string with an absolute path", path);
/// Values of a Host header: RFC 9110 §7.2.
pub(super) const HOSTS: Kind<Vec<String>> =
    Kind::new("an array of strings", |key, value, reader| names(key, value, reader, is_host, "example.org"));
/// Values of an Origin header: RFC 6454 §6.2.
pub(super) const ORIGINS: Kind<Vec<String>> = Kind::new("an array of strings", |key, value, reader| {
    names(key, value, reader, is_origin, "https://example.org")
});
/// A duration.
pub(super) const DURATION: Kind<Duration> = Kind::with_units(DURATION_NAME, TIME, duration);
/// A duration, of which zero is never.
pub(super) const PERIOD: Kind<Option<Duration>> =
    Kind::with_units(DURATION_NAME, TIME, |key, value, reader| {
        duration(key, value, reader).map(|duration| (!duration.is_zero()).then_some(duration))
    });
/// A size, or no limit.
pub(super) const SIZE_OR_NEVER: Kind<Option<u64>> =
    Kind::with_units(SIZE_NAME, BYTES, |key, value, reader| match value.get_ref() {
        DeValue::String(text) if text == "never" => Some(None),
        _ => bytes(key, value, reader).map(Some),
    });
/// How many there may be of something, of which zero is no limit.
pub(super) const COUNT_OR_ZERO: Kind<Option<usize>> = Kind::new("a whole number", |key, value, reader| {
    let count: usize = whole(key, value, reader)?;
    Some((count > 0).then_some(count))
});

/// A size in bytes.
pub(super) const fn size<T: TryFrom<u64>>() -> Kind<T> {
    Kind::with_units(SIZE_NAME, BYTES, |key, value, reader| {
        bytes(key, value, reader).and_then(|bytes| T::try_from(bytes).ok())
    })
}

/// A whole number.
pub(super) const fn number<T: TryFrom<u64>>() -> Kind<T> {
    Kind::new("a whole number", whole)
}

/// One of these strings, each with what it stands for.
pub(super) const fn choice<T: Copy>(choices: &'static [(&'static str, T)]) -> Kind<T> {
    Kind::choice(choices, chosen)
}

/// A value that is a string.
pub(super) fn string<'v, T>(
    key: &Key<T>,
    value: &'v Value<'_>,
    reader: &mut Reader<'_>,
) -> Option<Spanned<&'v str>> {
    let DeValue::String(text) = value.get_ref() else {
        key.wrong_type(value, reader, format!("write {} = {}", key.name, key.example));
        return None;
    };
    Some(Spanned::new(value.span(), text))
}

/// A value that is an array of strings.
pub(super) fn strings<'v, T>(
    key: &Key<T>,
    value: &'v Value<'_>,
    reader: &mut Reader<'_>,
) -> Option<Vec<Spanned<&'v str>>> {
    let DeValue::Array(items) = value.get_ref() else {
        key.wrong_type(value, reader, format!("write {} = [\"…\"]", key.name));
        return None;
    };
    Some(items.iter().filter_map(|item| element(key.name, item, reader)).collect())
}

/// A value that is a table of strings, with the names.
pub(super) fn entries<'v, T>(
    key: &Key<T>,
    value: &'v Value<'_>,
    reader: &mut Reader<'_>,
) -> Option<Vec<(Spanned<&'v str>, Spanned<&'v str>)>> {
    let DeValue::Table(table) = value.get_ref() else {
        key.wrong_type(value, reader, format!("write {} = {{ NAME = \"…\" }}", key.name));
        return None;
    };
    let entry = |(name, value): (&'v Spanned<_>, &'v Value<'_>)| named(key.name, name, value, reader);
    Some(table.iter().filter_map(entry).collect())
}

/// A string in the table of this name, with its own name.
pub(super) fn named<'v>(
    table: &str,
    name: &'v Spanned<std::borrow::Cow<'_, str>>,
    value: &'v Value<'_>,
    reader: &mut Reader<'_>,
) -> Option<(Spanned<&'v str>, Spanned<&'v str>)> {
    let value = element(&format!("{table}.{}", name.get_ref()), value, reader)?;
    Some((Spanned::new(name.span(), name.get_ref()), value))
}

/// A string in an array or table.
pub(super) fn element<'v>(
    name: &str,
    value: &'v Value<'_>,
    reader: &mut Reader<'_>,
) -> Option<Spanned<&'v str>> {
    if let DeValue::String(text) = value.get_ref() {
        return Some(Spanned::new(value.span(), text));
    }
    reader.wrong_type(name, "a string", value, "put the value in double quotes");
    None
}

/// Reads `true` or `false`.
fn truth(key: &Key<bool>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<bool> {
    if let DeValue::Boolean(truth) = value.get_ref() {
        return Some(*truth);
    }
    key.wrong_type(value, reader, format!("write {} = {}", key.name, key.example));
    None
}

/// Reads one of the strings listed.
fn chosen<T: Copy>(key: &Key<T>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<T> {
    let text = string(key, value, reader)?;
    let choices = key.kind.choices();
    if let Some((_, chosen)) = choices.iter().find(|(choice, _)| choice == text.get_ref()) {
        return Some(*chosen);
    }
    let listed = choices.iter().map(|(choice, _)| format!("\"{choice}\"")).collect::<Vec<_>>();
    let message = format!("`{}` cannot be `{}`", key.name, text.get_ref());
    reader.refuse_structure(&value.span(), message, format!("write {}", listed.join(" or ")));
    None
}

/// Reads a whole number.
fn whole<T: TryFrom<u64>, K>(key: &Key<K>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<T> {
    let DeValue::Integer(number) = value.get_ref() else {
        key.wrong_type(value, reader, format!("write {} = {}", key.name, key.example));
        return None;
    };
    let read = u64::from_str_radix(number.as_str(), number.radix());
    let fitting =
        read.ok().filter(|number| key.range.contains(number)).and_then(|number| number.try_into().ok());
    if fitting.is_none() {
        let message = format!("`{}` cannot be {}", key.name, number.as_str());
        let hint = format!("write a number from {} to {}", key.range.start(), key.range.end());
        reader.refuse_structure(&value.span(), message, hint);
    }
    fitting
}

/// Reads a size in bytes.
fn bytes<T>(key: &Key<T>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<u64> {
    if let DeValue::Integer(number) = value.get_ref() {
        key.wrong_type(value, reader, units::suggest_size(number.as_str()));
        return None;
    }
    let text = string(key, value, reader)?;
    let read = units::bytes(text.get_ref(), &key.range);
    read.map_err(|why| {
        let hint = units::suggest_size(text.get_ref().trim());
        reader.refuse(&value.span(), format!("`{}` must be a size: {why}", key.name), hint);
    })
    .ok()
}

/// Reads a duration; zero is allowed only where it has a meaning.
fn duration<T>(key: &Key<T>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Duration> {
    if let DeValue::Integer(number) = value.get_ref() {
        key.wrong_type(value, reader, units::suggest_duration(number.as_str()));
        return None;
    }
    let text = string(key, value, reader)?;
    match units::duration(text.get_ref()) {
        Ok(duration) if duration.is_zero() && key.zero == Zero::Refused => {
            let message = format!("`{}` must be longer than nothing", key.name);
            reader.refuse(&value.span(), message, "write \"30s\"");
            None
        }
        Ok(duration) => Some(duration),
        Err(why) => {
            let hint = units::suggest_duration(text.get_ref().trim());
            reader.refuse(&value.span(), format!("`{}` must be a duration: {why}", key.name), hint);
            None
        }
    }
}

/// Reads an absolute path.
fn path(key: &Key<PathBuf>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<PathBuf> {
    let text = string(key, value, reader)?;
    let path = PathBuf::from(text.get_ref());
    if path.is_absolute() && !text.get_ref().contains('\0') {
        return Some(path);
    }
    let hint = "write a path that begins with /; a daemon has no directory that it starts from";
    reader.refuse(&value.span(), format!("`{}` must be an absolute path", key.name), hint);
    None
}

/// Reads the name of a user or group.
fn account(key: &Key<String>, value: &Value<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let text = string(key, value, reader)?;
    let name = text.get_ref();
    if !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic() && !":/".contains(c)) {
        return Some((*name).to_owned());
    }
    let message = format!("`{0}` must be the name of a {0}", key.name);
    reader.refuse(&value.span(), message, "`getent passwd` and `getent group` list them");
    None
}

/// Reads a list whose items must pass a test.
fn names(
    key: &Key<Vec<String>>,
    value: &Value<'_>,
    reader: &mut Reader<'_>,
    test: fn(&str) -> bool,
    example: &str,
) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for item in strings(key, value, reader)? {
        if test(item.get_ref()) {
            names.push(item.get_ref().to_ascii_lowercase());
        } else {
            let message = format!("`{}` cannot be in `{}`", item.get_ref(), key.name);
            reader.refuse(&item.span(), message, format!("write a value such as \"{example}\""));
        }
    }
    Some(names)
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
