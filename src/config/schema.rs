//! The file held against the table of keys: unknown keys and values of the wrong type, all of them, with places.
//!
//! This comes before serde because serde stops at the first mistake and quotes the value, which may be a secret.
//! Invariant: only values of keys that cannot hold a secret (choices, durations, sizes, addresses) are quoted.

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::place::{Problems, Text};
use super::reference::{Key, Kind, Table};
use super::units;

/// Which tables a file may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The main file: every table.
    Main,
    /// A file in `conf.d`: upstreams only.
    Fragment,
}

/// What people write who know another program's configuration, and what it is called here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("mcpServers", "upstreams"),
    ("servers", "upstreams"),
    ("upstream", "upstreams"),
    ("logging", "log"),
    ("host", "listen"),
    ("port", "listen"),
    ("bind", "listen"),
    ("cmd", "command"),
    ("environment", "env"),
    ("cwd", "working_dir"),
    ("serverUrl", "url"),
    ("endpoint", "url"),
    ("timeout", "request_timeout"),
];

/// Names every mistake of structure in `table`; the file may be read by serde if there is none.
pub(super) fn check(table: &DeTable<'_>, text: Text<'_>, role: Role, problems: &mut Problems) {
    let known: &[&str] = match role {
        Role::Main => &["server", "log", "upstreams"],
        Role::Fragment => &["upstreams"],
    };
    for (name, value) in table {
        let place = || text.place(&name.span());
        match (name.get_ref().as_ref(), role) {
            ("server", Role::Main) => inner(value, Table::Server, "server", text, problems),
            ("log", Role::Main) => inner(value, Table::Log, "log", text, problems),
            ("server" | "log", Role::Fragment) => problems.push_with_hint(
                place(),
                format!("`{}` does not belong here: files in conf.d hold upstreams only", name.get_ref()),
                "move it to the main configuration file",
            ),
            ("upstreams", _) => upstreams(value, text, problems),
            (other, _) => problems.push_with_hint(
                place(),
                format!("unknown key `{other}` at the top level"),
                suggestion(other, known),
            ),
        }
    }
}

/// Checks `upstreams`, whose keys are the users' own names.
fn upstreams(value: &Spanned<DeValue<'_>>, text: Text<'_>, problems: &mut Problems) {
    let Some(table) = value.get_ref().as_table() else {
        return wrong_type("upstreams", "a table", "write [upstreams.NAME]", value, text, problems);
    };
    for (name, upstream) in table {
        inner(upstream, Table::Upstream, &format!("upstreams.{}", name.get_ref()), text, problems);
    }
}

/// Checks one table whose keys are those of the table of keys.
fn inner(value: &Spanned<DeValue<'_>>, which: Table, header: &str, text: Text<'_>, problems: &mut Problems) {
    let Some(table) = value.get_ref().as_table() else {
        return wrong_type(header, "a table", &format!("write [{header}]"), value, text, problems);
    };
    for (name, value) in table {
        if let Some(key) = which.keys().find(|key| key.name == name.get_ref()) {
            typed(key, value, text, problems);
        } else {
            let known: Vec<&str> = which.keys().map(|key| key.name).collect();
            problems.push_with_hint(
                text.place(&name.span()),
                format!("unknown key `{}` in [{header}]", name.get_ref()),
                suggestion(name.get_ref(), &known),
            );
        }
    }
}

/// Checks the type of one value.
fn typed(key: &Key, value: &Spanned<DeValue<'_>>, text: Text<'_>, problems: &mut Problems) {
    let (name, expected) = (key.name, key.kind.name());
    match (key.kind, value.get_ref()) {
        (Kind::Text | Kind::Path | Kind::Duration | Kind::Size, DeValue::String(_))
        | (Kind::Truth, DeValue::Boolean(_)) => {}
        (Kind::Duration, DeValue::Integer(number)) => {
            wrong_type(name, expected, &units::suggest_duration(number.as_str()), value, text, problems);
        }
        (Kind::Size, DeValue::Integer(number)) => {
            wrong_type(name, expected, &units::suggest_size(number.as_str()), value, text, problems);
        }
        (Kind::Number(least, most), DeValue::Integer(number)) => {
            let fits = number.as_str().parse().is_ok_and(|number| (least..=most).contains(&number));
            if !fits {
                let message = format!("`{name}` cannot be {}", number.as_str());
                let hint = format!("write a number from {least} to {most}");
                problems.push_with_hint(text.place(&value.span()), message, hint);
            }
        }
        (Kind::Choice(choices), DeValue::String(choice)) => {
            if !choices.contains(&choice.as_ref()) {
                let listed = choices.iter().map(|choice| format!("\"{choice}\"")).collect::<Vec<_>>();
                problems.push_with_hint(
                    text.place(&value.span()),
                    format!("`{name}` cannot be `{choice}`"),
                    format!("write {}", listed.join(" or ")),
                );
            }
        }
        (Kind::Selection, DeValue::Table(entries)) => selection(name, entries, text, problems),
        (Kind::TextList | Kind::AddressList, DeValue::Array(items)) => {
            for item in items {
                element(name, key.kind, item, text, problems);
            }
        }
        (Kind::TextMap, DeValue::Table(entries)) => {
            for (entry, value) in entries {
                element(&format!("{name}.{}", entry.get_ref()), key.kind, value, text, problems);
            }
        }
        (kind, _) => {
            let hint = match kind {
                Kind::AddressList | Kind::TextList => format!("write {name} = [\"…\"]"),
                Kind::TextMap => format!("write {name} = {{ NAME = \"…\" }}"),
                _ => format!("write {name} = {}", key.example),
            };
            wrong_type(name, expected, &hint, value, text, problems);
        }
    }
}

/// Checks what is allowed, denied and renamed.
fn selection(name: &str, entries: &DeTable<'_>, text: Text<'_>, problems: &mut Problems) {
    const KNOWN: [&str; 3] = ["allow", "deny", "rename"];
    for (entry, value) in entries {
        let full = format!("{name}.{}", entry.get_ref());
        match (entry.get_ref().as_ref(), value.get_ref()) {
            ("allow" | "deny", DeValue::Array(items)) => {
                for item in items {
                    element(&full, Kind::TextList, item, text, problems);
                }
            }
            ("rename", DeValue::Table(names)) => {
                for (old, new) in names {
                    element(&format!("{full}.{}", old.get_ref()), Kind::TextMap, new, text, problems);
                }
            }
            ("allow" | "deny", _) => {
                let hint = format!("write {full} = [\"read_*\"]");
                wrong_type(&full, "an array of strings", &hint, value, text, problems);
            }
            ("rename", _) => {
                let hint = format!("write {full} = {{ OLD = \"NEW\" }}");
                wrong_type(&full, "a table of strings", &hint, value, text, problems);
            }
            (unknown, _) => problems.push_with_hint(
                text.place(&entry.span()),
                format!("unknown key `{full}`"),
                suggestion(unknown, &KNOWN),
            ),
        }
    }
}

/// Checks that one element of a list or table is a string.
fn element(name: &str, kind: Kind, value: &Spanned<DeValue<'_>>, text: Text<'_>, problems: &mut Problems) {
    match (kind, value.get_ref()) {
        (_, DeValue::String(_)) => {}
        (Kind::AddressList, DeValue::Integer(port)) => {
            let hint = format!("write \"127.0.0.1:{}\"", port.as_str());
            wrong_type(name, "a string", &hint, value, text, problems);
        }
        _ => wrong_type(name, "a string", "put the value in double quotes", value, text, problems),
    }
}

/// Notes that `name` has a value of the wrong type; the value itself is never quoted.
fn wrong_type(
    name: &str,
    expected: &str,
    hint: &str,
    value: &Spanned<DeValue<'_>>,
    text: Text<'_>,
    problems: &mut Problems,
) {
    let found = match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a bare integer",
        DeValue::Float(_) => "a bare number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    };
    let message = format!("`{name}` must be {expected}, not {found}");
    problems.push_with_hint(text.place(&value.span()), message, hint);
}

/// The hint for an unknown key: the nearest valid one, or all of them if none is near.
fn suggestion(unknown: &str, known: &[&str]) -> String {
    let elsewhere = ELSEWHERE.iter().find(|(theirs, ours)| *theirs == unknown && known.contains(ours));
    let near = |name: &&&str| strsim::jaro_winkler(&unknown.to_ascii_lowercase(), name);
    let nearest = known.iter().max_by(|a, b| near(a).total_cmp(&near(b)));
    match (elsewhere, nearest) {
        (Some((_, ours)), _) => format!("did you mean `{ours}`?"),
        (None, Some(name)) if near(&name) >= 0.75 => format!("did you mean `{name}`?"),
        _ => format!(
            "valid keys are {}",
            known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The problems of a content, as `place: message / hint` lines.
    fn problems(content: &str, role: Role) -> Vec<String> {
        let table = DeTable::parse(content).unwrap();
        let mut problems = Problems::default();
        check(table.get_ref(), Text { file: Path::new("f"), content }, role, &mut problems);
        let line = |p: &super::super::Problem| format!("{p} / {}", p.hint.as_deref().unwrap_or_default());
        problems.as_slice().iter().map(line).collect()
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_valid_one() {
        assert_eq!(
            problems("[server]\nlisten = []\nlisen = []\n", Role::Main),
            ["f:3:1: unknown key `lisen` in [server] / did you mean `listen`?"]
        );
    }

    #[test]
    fn words_of_other_programs_are_translated() {
        let found = problems("[mcpServers.a]\n[upstreams.a]\ncwd = \"/\"\n", Role::Main);
        assert_eq!(found[0], "f:1:2: unknown key `mcpServers` at the top level / did you mean `upstreams`?");
        assert_eq!(found[1], "f:3:1: unknown key `cwd` in [upstreams.a] / did you mean `working_dir`?");
    }

    #[test]
    fn a_key_of_another_kind_is_not_taken_for_a_short_one() {
        let found = problems("[server]\ntls_cert = \"/x\"\n", Role::Main);
        assert!(
            found[0].contains("unknown key `tls_cert` in [server] / valid keys are `listen`"),
            "{found:?}"
        );
    }

    #[test]
    fn a_key_that_resembles_nothing_is_answered_with_all_keys() {
        assert!(
            problems("[server]\nzzz = 1\n", Role::Main)[0]
                .contains("valid keys are `listen`, `auth`, `prefix`")
        );
    }

    #[test]
    fn bare_numbers_are_answered_with_their_unit() {
        assert_eq!(
            problems("[server]\ndrain_timeout = 30\nmax_message_size = 1048576", Role::Main),
            [
                "f:2:17: `drain_timeout` must be a duration with its unit, such as \"30s\", not a bare integer \
                 / write \"30s\" if seconds are meant",
                "f:3:20: `max_message_size` must be a size with its unit, such as \"16MiB\", not a bare integer \
                 / write \"1MiB\"",
            ]
        );
    }

    #[test]
    fn a_fragment_holds_upstreams_only() {
        assert!(problems("[log]\n", Role::Fragment)[0].starts_with("f:1:2: `log` does not belong here"));
    }

    #[test]
    fn values_of_a_wrong_type_are_never_quoted() {
        let found =
            problems("[upstreams.a]\nheaders = \"hunter2\"\nenv = { A = 4711 }\nurl = 99", Role::Main);
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|line| !line.contains("hunter2") && !line.contains("4711")));
        assert!(found[1].contains("f:3:13: `env.A` must be a string"), "{found:?}");
    }

    #[test]
    fn a_wrong_choice_lists_the_right_ones() {
        assert_eq!(
            problems("[server]\nprefix = \"sometimes\"", Role::Main),
            ["f:2:10: `prefix` cannot be `sometimes` / write \"auto\" or \"always\" or \"never\""]
        );
    }
}
