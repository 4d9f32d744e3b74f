//! Reading and replacing single members of raw JSON without touching the bytes around them.
//!
//! Where an object has a member twice, the last one counts, as in `JSON.parse`: what the gateway reads is what the
//! receiver will read. A replacement drops the earlier ones, so that no two readers can disagree.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::raw::{Raw, raw_string};

/// The members of a JSON object, in the order of the text, borrowed from it.
#[derive(Debug)]
pub(crate) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// Reads the members; `None` if the text is not an object.
    pub(crate) fn parse(json: &'a RawValue) -> Option<Self> {
        serde_json::from_str(json.get()).ok()
    }

    /// The last member of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    /// Each name with its value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), *value))
    }

    /// The object without the members that `drop` names; `None` if it names none.
    pub(crate) fn without(&self, drop: impl Fn(&str) -> bool) -> Option<Raw> {
        self.iter().any(|(key, _)| drop(key)).then(|| build(self.iter().filter(|(key, _)| !drop(key))))
    }
}

/// Writes members as an object.
fn build<'a>(members: impl Iterator<Item = (&'a str, &'a RawValue)>) -> Raw {
    let mut text = String::from("{");
    for (key, value) in members {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(raw_string(key).get());
        text.push(':');
        text.push_str(value.get());
    }
    text.push('}');
    RawValue::from_string(text).expect("members of valid JSON make valid JSON")
}

/// The member `name` of an object; `None` if there is none or the text is not an object.
pub(crate) fn member<'a>(json: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    Object::parse(json)?.get(name)
}

/// The string at member `name`.
pub(crate) fn member_str<'a>(json: &'a RawValue, name: &str) -> Option<Cow<'a, str>> {
    text(member(json, name)?)
}

/// A string's text; `None` if it is something else.
pub(crate) fn text(json: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Borrowed<'_>>(json.get()).ok().map(|text| text.0)
}

/// A string that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);

/// The object with member `name` set to `value`: replaced in place, or appended. Other bytes stay as they are.
pub(crate) fn set_member(json: &RawValue, name: &str, value: &str) -> Option<Raw> {
    let object = Object::parse(json)?;
    let text = json.get();
    let mut places = object.0.iter().filter(|(key, _)| key == name);
    let edited = match (places.next(), places.next()) {
        (Some((_, old)), None) => {
            let start = old.get().as_ptr() as usize - text.as_ptr() as usize;
            [&text[..start], value, &text[start + old.get().len()..]].concat()
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

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members(PhantomData)).map(Object)
    }
}

/// Collects members in their order.
struct Members<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for Members<'a> {
    type Value = Vec<(Cow<'a, str>, &'a RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<Borrowed<'a>>()? {
            members.push((key.0, map.next_value::<&'a RawValue>()?));
        }
        Ok(members)
    }
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
