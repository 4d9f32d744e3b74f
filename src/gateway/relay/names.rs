//! Members whose names can be taken for one another, in what the gateway reads.
//!
//! JSON readers disagree about an object that has a member twice: some take the first one, some the last. Some also take
//! `Name` or `task_id` where `name` and `taskId` are meant (Go's `encoding/json`, .NET and Jackson by their settings,
//! Pydantic by field names), and some end a name at a NUL. What the gateway checks must be what the receiver reads, so
//! such objects are refused. This holds for the members that the gateway reads and for nothing else: tools may have
//! arguments of any name.

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::meta::key;
use super::method;
use super::scan::Scan;

/// An object of which the gateway reads members; at most 64.
pub(crate) type KnownMembers = [Member];

/// A member that the gateway reads.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its name.
    name: &'static str,
    /// What of its value is read.
    inner: Inner,
}

/// What is read of a member's value.
#[derive(Debug)]
enum Inner {
    /// The value itself, or nothing that is checked here.
    Any,
    /// A text, which must be one that every reader reads as the same.
    Text,
    /// An object's members.
    Object(&'static KnownMembers),
    /// An object's members, whatever their names.
    Map,
}

/// A member whose value is not looked into.
const fn any(name: &'static str) -> Member {
    Member { name, inner: Inner::Any }
}

/// A member whose value is a text.
const fn text(name: &'static str) -> Member {
    Member { name, inner: Inner::Text }
}

/// A member whose value is an object.
const fn object(name: &'static str, place: &'static KnownMembers) -> Member {
    Member { name, inner: Inner::Object(place) }
}

/// What a client says that it can do.
const CAPABILITIES: &KnownMembers = &[
    any("sampling"),
    object("elicitation", &[any("form"), any("url")]),
    any("roots"),
    any("tasks"),
    any("extensions"),
];

/// `_meta`.
const META: &KnownMembers = &[
    any("progressToken"),
    text(key::VERSION),
    any(key::CLIENT_INFO),
    object(key::CAPABILITIES, CAPABILITIES),
    any(key::SERVER_INFO),
    any(key::LOG_LEVEL),
    any(key::SUBSCRIPTION),
    any(key::RELATED_TASK),
];

/// What `subscriptions/listen` asks for, or is granted.
const LISTENING: &KnownMembers = &[
    any("toolsListChanged"),
    any("promptsListChanged"),
    any("resourcesListChanged"),
    any("resourceSubscriptions"),
    any("taskIds"),
];

/// The parameters of requests and notifications in both directions.
pub(crate) const PARAMS: &KnownMembers = &[
    text("name"),
    object("_meta", META),
    any("arguments"),
    text("uri"),
    any("cursor"),
    text("taskId"),
    object("ref", &[text("name"), text("uri"), text("type")]),
    any("level"),
    any("requestId"),
    any("progressToken"),
    any("requestState"),
    Member { name: "inputResponses", inner: Inner::Map },
    any("task"),
    object("notifications", LISTENING),
    text("protocolVersion"),
    any("clientInfo"),
    object("capabilities", CAPABILITIES),
];

/// A page of a list.
pub(crate) const PAGE: &KnownMembers = &[
    any("tools"),
    any("prompts"),
    any("resources"),
    any("resourceTemplates"),
    any("skills"),
    any("tasks"),
    any("nextCursor"),
    any("ttlMs"),
    text("cacheScope"),
    text("resultType"),
    object("_meta", META),
];

/// An item of a list.
pub(crate) const ITEM: &KnownMembers =
    &[text("name"), text("uri"), text("uriTemplate"), text("taskId"), any("inputSchema")];

/// What a server says about itself.
pub(crate) const GREETING: &KnownMembers = &[
    any("protocolVersion"),
    any("supportedVersions"),
    object(
        "capabilities",
        &[
            object("tools", &[any("listChanged")]),
            object("prompts", &[any("listChanged")]),
            object("resources", &[any("listChanged"), any("subscribe")]),
            object("tasks", &[any("list"), any("cancel"), any("requests")]),
            any("logging"),
            any("completions"),
            any("extensions"),
        ],
    ),
    any("serverInfo"),
    any("instructions"),
    text("resultType"),
];

/// The result of any other request.
pub(crate) const RESULT: &KnownMembers = &[
    text("resultType"),
    any("ttlMs"),
    text("cacheScope"),
    Member { name: "inputRequests", inner: Inner::Map },
    any("requestState"),
    text("taskId"),
    object("task", &[text("taskId")]),
    object("_meta", META),
];

/// An error.
pub(crate) const ERROR: &KnownMembers =
    &[any("code"), any("message"), object("data", &[any("elicitations"), any("supported")])];

/// Why a method is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unclear {
    /// It can be taken for this one of MCP's.
    Similar(&'static str),
    /// It is not written as the specification writes methods.
    Form,
}

/// How strictly the parameters of a client's request are taken: those of methods that MCP does not have may have members of
/// any name. Refused is a method that can be taken for one of MCP's: nobody has checked what a server does under it.
pub(crate) fn strictness(method: &str) -> Result<Strictness, Unclear> {
    if method::ALL.contains(&method) {
        return Ok(Strictness::Alone);
    }
    if !is_plain_method(method) {
        return Err(Unclear::Form);
    }
    let is_similar = |known: &&str| letters(method).eq(letters(known));
    method::ALL
        .iter()
        .copied()
        .find(is_similar)
        .map_or(Ok(Strictness::Pairs), |known| Err(Unclear::Similar(known)))
}

/// Whether a method is written as in the specification: segments of ASCII letters, digits and a few marks, with slashes.
fn is_plain_method(method: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'$');
    let mut segments = method.split('/');
    segments.all(|segment| segment.bytes().any(|byte| byte != b'.') && segment.bytes().all(is_plain))
}

/// The letters and digits of a method, whatever stands between them, without their case.
fn letters(method: &str) -> impl Iterator<Item = u8> + '_ {
    let letters = method.bytes().filter(u8::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase())
}

/// How strictly names are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// Two members must not be taken for one another.
    Pairs,
    /// Nor may one be taken for another that is not there: another reader would see what the gateway has not checked.
    Alone,
}

/// Why an object is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Ambiguous {
    /// A member stands twice.
    #[error("the member `{0}` occurs more than once; send it once")]
    Twice(&'static str),
    /// A member can be taken for another.
    #[error("a member's name can be taken for `{0}`; write that one exactly so, and once")]
    Similar(&'static str),
    /// A text that readers read differently.
    #[error("the text of the member `{0}` is not valid Unicode, or has a NUL")]
    Text(&'static str),
    /// A name that some cannot read.
    #[error("a member beside `{0}` has a name that is not valid Unicode")]
    Name(&'static str),
    /// A name of a map stands twice.
    #[error("a name in `{0}` occurs more than once; send it once")]
    Key(&'static str),
}

/// Checks an object; what is none has no members.
pub(crate) fn check(
    json: &RawValue,
    place: &'static KnownMembers,
    strictness: Strictness,
) -> Result<(), Ambiguous> {
    if !json.get().starts_with('{') {
        return Ok(());
    }
    Checking { scan: Scan::new(json.get()), strictness }.members(place)
}

/// Whether a name can be taken for another: by its case, by lines between its words, or up to a NUL.
pub(crate) fn is_similar(name: &str, meant: &str) -> bool {
    // The first letter settles it nearly always.
    folded(name).eq(folded(meant))
}

/// The letters of a name as careless readers compare them. The four that are not ASCII are all that simple case folding
/// and simple case mappings take for ASCII letters (Unicode `CaseFolding.txt`, `UnicodeData.txt`).
fn folded(name: &str) -> impl Iterator<Item = char> + '_ {
    let letters = name.chars().take_while(|letter| *letter != '\0').enumerate();
    letters.filter(|(place, letter)| *place == 0 || !matches!(letter, '_' | '-')).map(|(_, letter)| {
        match letter {
            '\u{212a}' => 'k',
            '\u{17f}' => 's',
            '\u{130}' | '\u{131}' => 'i',
            letter => letter.to_ascii_lowercase(),
        }
    })
}

/// A check on its way.
struct Checking<'a> {
    /// Where it is.
    scan: Scan<'a>,
    /// How strictly names are taken.
    strictness: Strictness,
}

impl Checking<'_> {
    /// Checks the object that begins here.
    fn members(&mut self, place: &'static KnownMembers) -> Result<(), Ambiguous> {
        let (mut seen, mut similar) = (0_u64, 0_u64);
        let _ = self.scan.enter();
        while let Some(name) = self.scan.name() {
            // What is next to a name that is not readable cannot be known to everybody.
            let name =
                name.read().ok_or(Ambiguous::Name(place.first().map_or("_meta", |first| first.name)))?;
            if let Some(index) = place.iter().position(|member| *name == *member.name) {
                let (member, bit) = (&place[index], 1 << index);
                if seen & bit != 0 {
                    return Err(Ambiguous::Twice(member.name));
                }
                seen |= bit;
                self.value(member)?;
            } else {
                if let Some(index) = place.iter().position(|member| is_similar(&name, member.name)) {
                    if self.strictness == Strictness::Alone {
                        return Err(Ambiguous::Similar(place[index].name));
                    }
                    similar |= 1 << index;
                }
                self.scan.skip();
            }
        }
        let both = seen & similar;
        if both == 0 { Ok(()) } else { Err(Ambiguous::Similar(place[both.trailing_zeros() as usize].name)) }
    }

    /// Checks the value that begins here.
    fn value(&mut self, member: &Member) -> Result<(), Ambiguous> {
        match (&member.inner, self.scan.next()) {
            (Inner::Object(place), Some(b'{')) => self.members(place),
            (Inner::Map, Some(b'{')) => self.map(member.name),
            (Inner::Text, Some(b'"')) => {
                let text = self.scan.string().read();
                let readable = text.is_some_and(|text| !text.contains('\0'));
                if readable { Ok(()) } else { Err(Ambiguous::Text(member.name)) }
            }
            _ => {
                self.scan.skip();
                Ok(())
            }
        }
    }

    /// Checks that no name stands twice in the object that begins here.
    fn map(&mut self, of: &'static str) -> Result<(), Ambiguous> {
        let mut seen = HashSet::new();
        let _ = self.scan.enter();
        while let Some(name) = self.scan.name() {
            if !seen.insert(name.read().ok_or(Ambiguous::Name(of))?) {
                return Err(Ambiguous::Key(of));
            }
            self.scan.skip();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::relay::raw::Raw;

    /// Raw JSON from text.
    fn json(text: &str) -> Raw {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    /// A way to write a name, and whether it is refused when it stands alone.
    type Spelling = (fn(&str) -> Option<String>, bool);

    /// Ways to write a name so that some take it for another: as it is, escaped, in other letters, with more or less.
    const SPELLINGS: [Spelling; 8] = [
        (|name| Some(name.to_owned()), false),
        (|name| Some(format!("\\u{:04x}{}", u32::from(name.as_bytes()[0]), &name[1..])), false),
        (|name| Some(name.replacen('/', "\\/", 1)), false),
        (|name| Some(name.to_uppercase()), true),
        (|name| name.contains('k').then(|| name.replace('k', "\u{212a}")), true),
        (|name| name.contains('s').then(|| name.replace('s', "\\u017F")), true),
        (|name| Some(format!("{name}\\u0000x")), true),
        (|name| name.find(char::is_uppercase).map(|at| format!("{}_{}", &name[..at], &name[at..])), true),
    ];

    /// Takes a member's name, and what puts a text of its object into its place.
    type Check<'a> = dyn FnMut(&str, &dyn Fn(&str) -> String) + 'a;

    /// Calls back with the text of an object that has this member of a place, and its place's other levels around it.
    fn each(place: &'static KnownMembers, around: &dyn Fn(&str) -> String, check: &mut Check<'_>) {
        for member in place {
            check(member.name, around);
            if let Inner::Object(inner) = member.inner {
                each(
                    inner,
                    &|text| around(&format!(r#"{{"before":[{{}},"}}"],"{}":{text} }}"#, member.name)),
                    check,
                );
            }
        }
    }

    #[test]
    fn every_member_that_is_read_is_refused_in_every_spelling_beside_itself() {
        for place in [PARAMS, PAGE, ITEM, GREETING, RESULT, ERROR] {
            let mut checked = 0;
            each(place, &str::to_owned, &mut |name, around| {
                for (spell, alone) in SPELLINGS {
                    let Some(other) = spell(name) else { continue };
                    for (first, second) in [(name, other.as_str()), (&other, name)] {
                        let text = around(&format!(
                            r#"{{ "a":"\\\"{{", "{first}" : 1.0,"b":[1,{{}}],"{second}":{{}}}}"#
                        ));
                        let refused = check(&json(&text), place, Strictness::Pairs).unwrap_err().to_string();
                        assert!(refused.contains(&format!("`{name}`")), "{text}: {refused}");
                    }
                    let text = around(&format!(r#"{{"{other}":[1]}}"#));
                    assert_eq!(check(&json(&text), place, Strictness::Pairs), Ok(()), "{text}");
                    assert_eq!(
                        check(&json(&text), place, Strictness::Alone).is_err(),
                        alone && other != name,
                        "{text}"
                    );
                }
                checked += 1;
            });
            assert!(checked >= place.len());
        }
    }

    #[test]
    fn what_is_not_read_may_be_written_in_any_way() {
        for text in [
            r#"{"arguments":{"name":1,"name":2,"Name":3,"\ud800":4},"name":"a","names":"b","x":{"uri":1,"uri":2}}"#,
            r#"{"_meta":{"com.example/Name":1,"com.example/Name":2,"name":1,"name":2}}"#,
            r#"{"inputResponses":{"a":{"x":1,"x":2},"A":{}}}"#,
            r#"["name","name"]"#,
            r#"{"name":1,"name ":2,"na me":3,"":4,"":5}"#,
            "7",
        ] {
            assert_eq!(check(&json(text), PARAMS, Strictness::Alone), Ok(()), "{text}");
        }
    }

    #[test]
    fn text_that_readers_read_differently_is_refused() {
        for text in [r#"{"name":"exit\u0000x"}"#, r#"{"name":"exit\ud800"}"#, r#"{"ref":{"uri":"\udc00"}}"#] {
            assert!(
                matches!(check(&json(text), PARAMS, Strictness::Pairs), Err(Ambiguous::Text(_))),
                "{text}"
            );
        }
        for text in
            [r#"{"\ud800":1,"name":"x"}"#, r#"{"_meta":{"\ud800":1}}"#, r#"{"inputResponses":{"\ud800":1}}"#]
        {
            assert!(
                matches!(check(&json(text), PARAMS, Strictness::Pairs), Err(Ambiguous::Name(_))),
                "{text}"
            );
        }
        let twice = r#"{"inputResponses":{"a-1":1,"a\u002d1":2}}"#;
        assert_eq!(check(&json(twice), PARAMS, Strictness::Pairs), Err(Ambiguous::Key("inputResponses")));
        assert_eq!(check(&json(r#"{"name":"\ud83d\ude00\/"}"#), PARAMS, Strictness::Alone), Ok(()));
    }

    #[test]
    fn method_that_can_be_taken_for_another_is_refused() {
        for method in method::ALL.iter().copied() {
            assert_eq!(strictness(method), Ok(Strictness::Alone), "{method}");
            let (slash, upper) = (method.replace('/', "_"), method.to_uppercase());
            for other in [slash.as_str(), &upper, &method.replace('/', "."), &format!("${method}")] {
                if other != method {
                    let refused = strictness(other).unwrap_err();
                    // Some differ in nothing but what stands between their words.
                    let known = if let Unclear::Similar(known) = refused { known } else { "" };
                    assert!(letters(known).eq(letters(method)), "{other}: {refused:?}");
                }
            }
            for other in [
                format!("/{method}"),
                format!("{method}/"),
                format!(" {method}"),
                format!("{method}\0"),
                format!("./{method}"),
                format!("x/../{method}"),
                format!("{method}?x"),
                format!("{method}#x"),
                method.replacen('/', "//", 1) + "/",
                method.replace('/', "%2F") + "%20",
                method.replace('/', "\\") + "\\",
                format!("\u{200b}{method}"),
                format!("\u{feff}{method}"),
                method.replacen('i', "\u{131}", 1) + "\u{2060}",
                method.replacen('s', "\u{17f}", 1) + "\u{ad}",
                method.replacen('o', "\u{43e}", 1) + "\u{200d}",
            ] {
                assert_eq!(strictness(&other), Err(Unclear::Form), "{other:?}");
            }
        }
        assert_eq!(strictness("logging/set_level"), Err(Unclear::Similar("logging/setLevel")));
        assert_eq!(strictness("ta\u{17f}ks/get"), Err(Unclear::Form));
        for vendor in ["vendor/call", "com.example/own-method_2", "$/cancelRequest", "rpc.discover", "own"] {
            assert_eq!(strictness(vendor), Ok(Strictness::Pairs), "{vendor}");
        }
        for nothing in ["", "/", ".", "..", "a//b", "../tools"] {
            assert_eq!(strictness(nothing), Err(Unclear::Form), "{nothing:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_json_is_passed_over_without_a_panic(text in r#"[\{\}\[\]":,\\ a-c_0u]{0,40}"#) {
            // Not even valid JSON: what is not must do no harm.
            let _ = Checking { scan: Scan::new(&text), strictness: Strictness::Alone }.members(PARAMS);
        }
    }

    /// In a release build it takes half as long for short texts and a fiftieth for long ones.
    #[test]
    fn scan_costs_less_than_reading_the_same_members_once() {
        let meta = r#""_meta":{"progressToken":7,"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
        for size in [0, 1000, 100_000] {
            let long = "x \u{e9} ".repeat(size / 4);
            let params = json(&format!(
                r#"{{"name":"echo","arguments":{{"text":"{long}","n":[1,2,{{"a":1}}]}},{meta}}}"#
            ));
            let rounds = 1 + 10_000 / params.get().len();
            // The quickest of many short runs: others use the processor, too.
            let time = |work: &dyn Fn()| {
                let run = || {
                    let began = std::time::Instant::now();
                    (0..rounds).for_each(|_| work());
                    began.elapsed().as_nanos()
                };
                (0..50).map(|_| run()).min().unwrap_or_default()
            };
            let scan =
                time(&|| assert!(check(std::hint::black_box(&params), PARAMS, Strictness::Alone).is_ok()));
            let read = time(&|| {
                drop(crate::gateway::relay::RequestMeta::of(Some(std::hint::black_box(&params))));
            });
            let bytes = params.get().len();
            // Without optimisation the two are alike.
            assert!(
                scan <= read * 3,
                "{bytes} bytes: {rounds} scans take {scan} ns, as many readings {read} ns"
            );
        }
    }
}
