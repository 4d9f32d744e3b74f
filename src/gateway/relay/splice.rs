//! Reading and replacing single members of raw JSON without touching the bytes around them.
//!
//! Where an object has a member twice, the last one counts, as in `JSON.parse`: what the gateway reads is what the
//! receiver will read. A replacement drops the earlier ones, so that no two readers can disagree.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::raw::{Raw, raw_string};
use super::scan::{Scan, Token};

/// Members that most objects of the protocol have at most.
const USUAL: usize = 8;

/// The members of a JSON object, in the order of the text, borrowed from it.
#[derive(Debug)]
pub(crate) struct Object<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Object<'a> {
    /// Reads the members; `None` if the text is not an object, or has a name that is no text.
    pub(crate) fn parse(json: &'a RawValue) -> Option<Self> {
        Self::read(json.get())
    }

    /// The same of text that is known to be valid JSON.
    fn read(text: &'a str) -> Option<Self> {
        let mut scan = Scan::new(text);
        scan.enter()?;
        let mut members = Vec::with_capacity(USUAL);
        while let Some(name) = scan.name() {
            members.push((name.read()?, scan.value()));
        }
        Some(Self(members))
    }

    /// The last member of this name, as it is written.
    fn written(&self, name: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    /// The last member of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        value(self.written(name)?)
    }

    /// The same, if it is a string: its text.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        Token::of(self.written(name)?)?.read()
    }

    /// The same, if it is an object: its members.
    pub(crate) fn object(&self, name: &str) -> Option<Self> {
        Self::read(self.written(name)?)
    }

    /// Each name with its value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().filter_map(|(key, text)| Some((key.as_ref(), value(text)?)))
    }

    /// The object without the members that `drop` names; `None` if it names none.
    pub(crate) fn without(&self, drop: impl Fn(&str) -> bool) -> Option<Raw> {
        let dropped = self.0.iter().any(|(key, _)| drop(key));
        dropped.then(|| build(self.0.iter().filter(|(key, _)| !drop(key))))
    }
}

/// A part of valid JSON text that is a value. There is always one.
fn value(text: &str) -> Option<&RawValue> {
    serde_json::from_str(text).ok()
}

/// Writes members as an object.
fn build<'a>(members: impl Iterator<Item = &'a (Cow<'a, str>, &'a str)>) -> Raw {
    let mut text = String::from("{");
    for (key, value) in members {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(raw_string(key).get());
        text.push(':');
        text.push_str(value);
    }
    text.push('}');
    RawValue::from_string(text).expect("members of valid JSON make valid JSON")
}

/// The last member `name` of an object, as it is written.
fn written<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (mut scan, mut last) = (Scan::new(text), None);
    scan.enter()?;
    while let Some(key) = scan.name() {
        if key.read()? == name {
            last = Some(scan.value());
        } else {
            scan.skip();
        }
    }
    last
}

/// The member `name` of an object; `None` if there is none or the text is not an object.
pub(crate) fn member<'a>(json: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    value(written(json.get(), name)?)
}

/// Whether an error is of this number.
pub(crate) fn has_code(error: &RawValue, number: i64) -> bool {
    member(error, "code").is_some_and(|code| code.get() == number.to_string())
}

/// The string at member `name`.
pub(crate) fn member_str<'a>(json: &'a RawValue, name: &str) -> Option<Cow<'a, str>> {
    Token::of(written(json.get(), name)?)?.read()
}

/// The string at the first member `name`: of an object that was checked to have it once, whose rest need not be looked at.
pub(crate) fn only_str<'a>(json: &'a RawValue, name: &str) -> Option<Cow<'a, str>> {
    let mut scan = Scan::new(json.get());
    scan.enter()?;
    while let Some(key) = scan.name() {
        if key.read()? == name {
            return Token::of(scan.value())?.read();
        }
        scan.skip();
    }
    None
}

/// A string's text; `None` if it is something else.
pub(crate) fn text(json: &RawValue) -> Option<Cow<'_, str>> {
    Token::of(json.get())?.read()
}

/// The object with member `name` set to `value`: replaced in place, or appended. Other bytes stay as they are.
pub(crate) fn set_member(json: &RawValue, name: &str, value: &str) -> Option<Raw> {
    let object = Object::parse(json)?;
    let text = json.get();
    let mut places = object.0.iter().filter(|(key, _)| key == name);
    let edited = match (places.next(), places.next()) {
        (Some((_, old)), None) => {
            let start = old.as_ptr() as usize - text.as_ptr() as usize;
            [&text[..start], value, &text[start + old.len()..]].concat()
        }
        (Some(_), Some(_)) => {
            let kept = object.without(|key| key == name)?;
            return set_member(&kept, name, value);
        }
        (None, _) => {
            let end = text.rfind('}')?;
            let comma = if object.0.is_empty() { "" } else { "," };
            [&text[..end], comma, raw_string(name).get(), ":", value, &text[end..]].concat()
        }
    };
    RawValue::from_string(edited).ok()
}

/// As [`set_member`], for a member of members; objects on the way are created.
pub(crate) fn set_path(json: &RawValue, path: &[&str], value: &str) -> Option<Raw> {
    match path {
        [] => None,
        [name] => set_member(json, name, value),
        [name, rest @ ..] => {
            let empty = RawValue::from_string("{}".to_owned()).ok()?;
            let inner = member(json, name).filter(|inner| Object::parse(inner).is_some()).unwrap_or(&empty);
            set_member(json, name, set_path(inner, rest, value)?.get())
        }
    }
}

/// The items of a JSON array; `None` if the text is not an array.
pub(crate) fn array_items(json: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(json.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Raw JSON from text.
    fn json(text: &str) -> Raw {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn replacement_leaves_every_other_byte() {
        let edited =
            set_member(&json(r#"{ "a" : 1.0, "name":"x" ,"z":{"name":2} }"#), "name", "\"y\"").unwrap();
        assert_eq!(edited.get(), r#"{ "a" : 1.0, "name":"y" ,"z":{"name":2} }"#);
    }

    #[test]
    fn missing_members_are_appended() {
        assert_eq!(set_member(&json("{}"), "a", "1").unwrap().get(), r#"{"a":1}"#);
        assert_eq!(set_member(&json(r#"{"b":2}"#), "a", "1").unwrap().get(), r#"{"b":2,"a":1}"#);
        assert_eq!(
            set_path(&json(r#"{"b":2}"#), &["_meta", "t"], "1").unwrap().get(),
            r#"{"b":2,"_meta":{"t":1}}"#
        );
    }

    #[test]
    fn a_doubled_member_is_read_and_written_as_its_last_one() {
        let doubled = json(r#"{"name":"a","k":1,"na\u006de":"b"}"#);
        assert_eq!(member_str(&doubled, "name").unwrap(), "b");
        assert_eq!(set_member(&doubled, "name", "\"c\"").unwrap().get(), r#"{"k":1,"name":"c"}"#);
    }

    #[test]
    fn escaped_strings_are_read_unescaped() {
        assert_eq!(member_str(&json(r#"{"uri":"a\/b\u00e9"}"#), "uri").unwrap(), "a/bé");
    }
}
