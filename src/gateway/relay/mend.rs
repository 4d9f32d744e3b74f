//! Holding JSON text to a shape of the specification, and mending what has one meaning.
//!
//! What the gateway authors must be what its clients expect, whatever it is made of: strict clients refuse a whole list for
//! one member of one item. Mended is what can mean one thing only:
//!
//! - `null` where no `null` can be: the member counts as left out;
//! - an empty list where an object is expected, and the other way round: some languages have one empty value for both;
//! - what is left out and can only be one thing, such as the `type` of a tool's schema;
//! - a schema that is `true` or `false`, which stands for an object (JSON Schema 2020-12 §4.3.2).
//!
//! All other bytes stay as they are. What cannot be mended is told with its place.

use serde_json::value::RawValue;

use super::raw::{Raw, raw_string};
use super::splice::{Object, array_items, set_member, text};

/// What a value must be.
#[derive(Debug)]
pub(crate) enum Shape {
    /// A text.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Integer,
    /// A whole number, or `null`.
    Limit,
    /// A number from 0 to 1.
    Share,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// An address: a text that begins with a scheme (RFC 3986 §3).
    Address,
    /// An object with these members among others.
    Object(&'static [Field]),
    /// A list of such values.
    List(&'static Self),
    /// The name of the type of a schema whose values are objects.
    ObjectType,
    /// The schemas of an object's members.
    Schemas,
    /// The schema of a result. One that no revision of the legacy era has is left out: their clients do without.
    LegacyOutput(&'static [Field]),
    /// What a server can do: there or not, with these members among others. It is never refused.
    Ability(&'static [Field]),
    /// The same, with members of any name that are abilities themselves.
    Abilities,
}

/// A member of an object.
#[derive(Debug)]
pub(crate) struct Field {
    /// Its name.
    name: &'static str,
    /// What it must be.
    shape: Shape,
    /// What if it is not there.
    missing: Missing,
}

/// What it means that a member is not there.
#[derive(Debug)]
enum Missing {
    /// Nothing.
    Fine,
    /// That it is this.
    Means(&'static str),
    /// That it is the same as the first of these members that is there.
    As(&'static [&'static str]),
    /// Nobody knows.
    Unknown,
}

impl Field {
    /// A member that may be left out.
    pub(super) const fn optional(name: &'static str, shape: Shape) -> Self {
        Self { name, shape, missing: Missing::Fine }
    }

    /// A member without which the object is none.
    pub(super) const fn required(name: &'static str, shape: Shape) -> Self {
        Self { name, shape, missing: Missing::Unknown }
    }

    /// A member that is this where it is left out.
    pub(super) const fn meaning(name: &'static str, shape: Shape, json: &'static str) -> Self {
        Self { name, shape, missing: Missing::Means(json) }
    }

    /// A member that is the text of another one where it is left out.
    pub(super) const fn otherwise(name: &'static str, shape: Shape, others: &'static [&'static str]) -> Self {
        Self { name, shape, missing: Missing::As(others) }
    }
}

/// What was mended.
#[derive(Clone, Debug)]
pub(crate) struct Mended {
    /// The text as it should be.
    pub(crate) json: Raw,
    /// What was wrong, for people.
    pub(crate) why: String,
}

/// A value in its place.
enum Change {
    /// It may stay.
    Nothing,
    /// It becomes this.
    To(Raw),
    /// It counts as left out.
    Gone,
}

/// Looks whether a value has a shape.
///
/// # Errors
/// What is wrong, for people, where it cannot be mended.
pub(crate) fn mend(json: &RawValue, shape: &Shape) -> Result<Option<Mended>, String> {
    let mut mender = Mender::default();
    let json = match mender.value(json, shape)? {
        Change::Nothing => return Ok(None),
        Change::To(json) => json,
        Change::Gone => json_text("{}".to_owned()),
    };
    Ok(Some(Mended { json, why: mender.notes.join(", ") }))
}

/// One pass over a value.
#[derive(Default)]
struct Mender {
    /// Where it is.
    path: Vec<String>,
    /// What was mended up to now.
    notes: Vec<String>,
}

impl Mender {
    /// The place where it is, in words.
    fn place(&self) -> String {
        if self.path.is_empty() { "it".to_owned() } else { format!("`{}`", self.path.join(".")) }
    }

    /// Notes that something is mended here.
    fn note(&mut self, what: &str) {
        let note = format!("{} {what}", self.place());
        self.notes.push(note);
    }

    /// What is wrong here and cannot be mended.
    fn refused<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("{} {what}", self.place()))
    }

    /// Looks at a value.
    fn value(&mut self, json: &RawValue, shape: &Shape) -> Result<Change, String> {
        let fits = |fits: bool, what| if fits { Ok(Change::Nothing) } else { self.refused(what) };
        match shape {
            Shape::Text => fits(json.get().starts_with('"'), "is no text"),
            Shape::Flag => fits(matches!(json.get(), "true" | "false"), "is neither true nor false"),
            Shape::Integer => fits(is_whole(json), "is no whole number"),
            Shape::Limit => fits(json.get() == "null" || is_whole(json), "is no whole number"),
            Shape::Share => {
                let number = json.get().parse::<f64>().ok();
                fits(number.is_some_and(|number| (0.0..=1.0).contains(&number)), "is no number from 0 to 1")
            }
            Shape::OneOf(known) => {
                let known = text(json).is_some_and(|text| known.contains(&text.as_ref()));
                fits(known, "is none of the values that it can have")
            }
            Shape::Address => {
                fits(text(json).is_some_and(|text| has_scheme(&text)), "is no address with a scheme")
            }
            Shape::Object(fields) => self.object(json, fields),
            Shape::List(items) => self.list(json, items),
            Shape::ObjectType => self.object_type(json),
            Shape::Schemas => self.schemas(json),
            Shape::LegacyOutput(fields) => self.legacy_output(json, fields),
            Shape::Ability(fields) => {
                Ok(self.ability(json, |mender, json| mender.members(json, fields, true)))
            }
            Shape::Abilities => Ok(self.ability(json, Self::abilities)),
        }
    }

    /// Looks at an object.
    fn object(&mut self, json: &RawValue, fields: &'static [Field]) -> Result<Change, String> {
        if json.get().starts_with('{') {
            return self.members(json, fields, false);
        }
        if !is_empty_list(json) {
            return self.refused("is no object");
        }
        self.note("is an empty list instead of an object");
        let empty = json_text("{}".to_owned());
        Ok(match self.members(&empty, fields, false)? {
            Change::To(json) => Change::To(json),
            Change::Nothing | Change::Gone => Change::To(empty),
        })
    }

    /// Looks at the members of an object; those that cannot be mended are left out if nobody minds.
    fn members(
        &mut self,
        json: &RawValue,
        fields: &'static [Field],
        lenient: bool,
    ) -> Result<Change, String> {
        let Some(object) = Object::parse(json) else { return self.refused("is no object") };
        let mut edited: Option<Raw> = None;
        for field in fields {
            let value = object.get(field.name);
            self.path.push(field.name.to_owned());
            let change = self.member(value, field, &object);
            let change = match change {
                Err(_) if lenient => {
                    self.note("is not what it should be");
                    Ok(Change::Gone)
                }
                change => change,
            };
            self.path.pop();
            let now = edited.as_deref().unwrap_or(json);
            let next = match change? {
                Change::Nothing => continue,
                Change::To(new) => set_member(now, field.name, new.get()),
                Change::Gone => Object::parse(now).and_then(|now| now.without(|name| name == field.name)),
            };
            edited = next.or(edited);
        }
        Ok(edited.map_or(Change::Nothing, Change::To))
    }

    /// Looks at a member, which may be missing.
    fn member(
        &mut self,
        value: Option<&RawValue>,
        field: &'static Field,
        object: &Object<'_>,
    ) -> Result<Change, String> {
        let takes_null = matches!(field.shape, Shape::Limit);
        let null = value.is_some_and(|value| value.get() == "null" && !takes_null);
        if let Some(value) = value.filter(|_| !null) {
            let change = self.value(value, &field.shape)?;
            if !matches!(change, Change::Gone) {
                return Ok(change);
            }
        }
        let gone = value.is_some();
        let wrong = if null { "is null" } else { "is missing" };
        match field.missing {
            Missing::Fine if gone => {
                if null {
                    self.note(wrong);
                }
                Ok(Change::Gone)
            }
            Missing::Fine => Ok(Change::Nothing),
            Missing::Means(meaning) => {
                self.note(wrong);
                Ok(Change::To(json_text(meaning.to_owned())))
            }
            Missing::As(others) => {
                let other = others.iter().find_map(|name| text(object.get(name)?));
                let Some(other) = other else { return self.refused(wrong) };
                self.note(wrong);
                Ok(Change::To(raw_string(&other)))
            }
            Missing::Unknown => self.refused(wrong),
        }
    }

    /// Looks at a list; what is `null` in it is left out.
    fn list(&mut self, json: &RawValue, shape: &'static Shape) -> Result<Change, String> {
        let Some(items) = array_items(json) else {
            let empty = Object::parse(json).is_some_and(|object| object.iter().next().is_none());
            if !empty {
                return self.refused("is no list");
            }
            self.note("is an empty object instead of a list");
            return Ok(Change::To(json_text("[]".to_owned())));
        };
        let (mut kept, mut changed) = (Vec::with_capacity(items.len()), false);
        for (place, item) in items.into_iter().enumerate() {
            self.path.push(place.to_string());
            let change = if item.get() == "null" {
                self.note("is null");
                Change::Gone
            } else {
                self.value(item, shape)?
            };
            self.path.pop();
            changed |= !matches!(change, Change::Nothing);
            match change {
                Change::Nothing => kept.push(item.get().to_owned()),
                Change::To(new) => kept.push(new.get().to_owned()),
                Change::Gone => {}
            }
        }
        Ok(if changed { Change::To(json_text(format!("[{}]", kept.join(",")))) } else { Change::Nothing })
    }

    /// Looks at the type of a schema: among several it is the one that arguments have.
    fn object_type(&mut self, json: &RawValue) -> Result<Change, String> {
        let is_object = |json: &RawValue| text(json).is_some_and(|text| text == "object");
        if is_object(json) {
            return Ok(Change::Nothing);
        }
        if !array_items(json).is_some_and(|types| types.into_iter().any(is_object)) {
            return self.refused("is not \"object\"");
        }
        self.note("has more than \"object\"");
        Ok(Change::To(raw_string("object")))
    }

    /// Looks at the schemas of members: each is an object, or stands for one.
    fn schemas(&mut self, json: &RawValue) -> Result<Change, String> {
        if is_empty_list(json) {
            self.note("is an empty list instead of an object");
            return Ok(Change::To(json_text("{}".to_owned())));
        }
        let Some(object) = Object::parse(json) else { return self.refused("is no object") };
        let mut edited: Option<Raw> = None;
        for (name, schema) in object.iter().filter(|(_, schema)| !schema.get().starts_with('{')) {
            let meaning = match schema.get() {
                "true" => Some("{}"),
                "false" => Some(r#"{"not":{}}"#),
                "null" => None,
                _ if is_empty_list(schema) => Some("{}"),
                _ => {
                    self.path.push(name.to_owned());
                    return self.refused("is no schema");
                }
            };
            self.path.push(name.to_owned());
            self.note(if meaning.is_none() { "is null" } else { "is not written as an object" });
            self.path.pop();
            let now = edited.as_deref().unwrap_or(json);
            let next = match meaning {
                Some(meaning) => set_member(now, name, meaning),
                None => Object::parse(now).and_then(|now| now.without(|known| known == name)),
            };
            edited = next.or(edited);
        }
        Ok(edited.map_or(Change::Nothing, Change::To))
    }

    /// Looks at the schema of a result, for clients that know objects only.
    fn legacy_output(&mut self, json: &RawValue, fields: &'static [Field]) -> Result<Change, String> {
        if !json.get().starts_with('{') {
            return self.object(json, fields);
        }
        let notes = self.notes.len();
        self.members(json, fields, false).or_else(|_| {
            self.notes.truncate(notes);
            self.note("is no schema of an object, which is what clients of this era know");
            Ok(Change::Gone)
        })
    }

    /// Looks at what a server can do: it is there unless it says `null` or `false`.
    fn ability(
        &mut self,
        json: &RawValue,
        members: impl FnOnce(&mut Self, &RawValue) -> Result<Change, String>,
    ) -> Change {
        match json.get() {
            "false" => {
                self.note("is false instead of left out");
                return Change::Gone;
            }
            text if text.starts_with('{') => return members(self, json).unwrap_or(Change::Gone),
            _ => self.note("is no object"),
        }
        Change::To(json_text("{}".to_owned()))
    }

    /// Looks at abilities of any name.
    fn abilities(&mut self, json: &RawValue) -> Result<Change, String> {
        let Some(object) = Object::parse(json) else { return self.refused("is no object") };
        let mut edited: Option<Raw> = None;
        for (name, value) in object.iter().filter(|(_, value)| !value.get().starts_with('{')) {
            self.path.push(name.to_owned());
            let change = if value.get() == "null" {
                self.note("is null");
                Change::Gone
            } else {
                self.ability(value, |_, _| Ok(Change::Nothing))
            };
            self.path.pop();
            let now = edited.as_deref().unwrap_or(json);
            let next = match change {
                Change::Nothing => continue,
                Change::To(new) => set_member(now, name, new.get()),
                Change::Gone => Object::parse(now).and_then(|now| now.without(|known| known == name)),
            };
            edited = next.or(edited);
        }
        Ok(edited.map_or(Change::Nothing, Change::To))
    }
}

/// JSON text of which that is known.
fn json_text(json: String) -> Raw {
    RawValue::from_string(json).expect("made of valid JSON")
}

/// Whether it is a list without items.
fn is_empty_list(json: &RawValue) -> bool {
    json.get().starts_with('[') && array_items(json).is_some_and(|items| items.is_empty())
}

/// Whether it is a whole number, however it is written (JSON Schema 2020-12 §6.1.1).
fn is_whole(json: &RawValue) -> bool {
    json.get().parse::<f64>().is_ok_and(|number| number.fract() == 0.0)
}

/// Whether a text begins with a scheme and goes on (RFC 3986 §3).
fn has_scheme(address: &str) -> bool {
    address.split_once(':').is_some_and(|(scheme, rest)| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(is_part)
            && !rest.is_empty()
    })
}
