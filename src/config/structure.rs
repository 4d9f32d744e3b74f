//! The file held against the tables of keys: unknown keys and values of the wrong type, all of them, with places.
//!
//! Invariant: only values of keys that cannot hold a secret (choices, numbers) are quoted.

use toml::de::{DeTable, DeValue};

use super::diagnostic::{Problems, Text};
use super::keys::{self, Table};
use super::reader::{Reader, Value};
use super::suggestion::suggestion;

/// Which tables a file may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The main file: every table.
    Main,
    /// A file in `conf.d`: upstreams only.
    Fragment,
}

/// Names every mistake of structure in `table`; the meaning may be read if there is none.
pub(super) fn check(table: &DeTable<'_>, text: Text<'_>, role: Role, problems: &mut Problems) {
    let mut reader = Reader::of_structure(text, problems);
    let known: &[&str] = match role {
        Role::Main => &["server", "listeners", "auth", "clients", "endpoints", "log", "upstreams"],
        Role::Fragment => &["upstreams"],
    };
    for (name, value) in table {
        match (name.get_ref().as_ref(), role) {
            ("server", Role::Main) => inner(value, &keys::SERVER, "server", &mut reader),
            ("log", Role::Main) => inner(value, &keys::LOG, "log", &mut reader),
            ("listeners", Role::Main) => named(value, &keys::LISTENER, "listeners", &mut reader),
            ("auth", Role::Main) => auth(value, &mut reader),
            ("clients", Role::Main) => named(value, &keys::CLIENT, "clients", &mut reader),
            ("endpoints", Role::Main) => named(value, &keys::ENDPOINT, "endpoints", &mut reader),
            ("server" | "listeners" | "auth" | "clients" | "endpoints" | "log", Role::Fragment) => reader
                .refuse_structure(
                    &name.span(),
                    format!("`{}` does not belong here: files in conf.d hold upstreams only", name.get_ref()),
                    "move it to the main configuration file",
                ),
            ("upstreams", _) => named(value, &keys::UPSTREAM, "upstreams", &mut reader),
            (other, _) => {
                let message = format!("unknown key `{other}` at the top level");
                reader.refuse_structure(&name.span(), message, suggestion(other, known));
            }
        }
    }
}

/// Checks a table whose keys are the users' own names, each of a table.
fn named(value: &Value<'_>, table: &Table, header: &str, reader: &mut Reader<'_>) {
    let DeValue::Table(entries) = value.get_ref() else {
        return reader.wrong_type(header, "a table", value, format!("write [{header}.NAME]"));
    };
    for (name, value) in entries {
        inner(value, table, &format!("{header}.{}", name.get_ref()), reader);
    }
}

/// Checks `[auth]`, which has nothing but `oauth`.
fn auth(value: &Value<'_>, reader: &mut Reader<'_>) {
    let DeValue::Table(entries) = value.get_ref() else {
        return reader.wrong_type("auth", "a table", value, "write [auth.oauth.NAME]");
    };
    for (name, value) in entries {
        if name.get_ref() == "oauth" {
            named(value, &keys::ISSUER, "auth.oauth", reader);
        } else {
            let message = format!("unknown key `{}` in [auth]", name.get_ref());
            reader.refuse_structure(&name.span(), message, suggestion(name.get_ref(), &["oauth"]));
        }
    }
}

/// Checks one table whose keys are those of the table of keys.
fn inner(value: &Value<'_>, table: &Table, header: &str, reader: &mut Reader<'_>) {
    let DeValue::Table(entries) = value.get_ref() else {
        return reader.wrong_type(header, "a table", value, format!("write [{header}]"));
    };
    for (name, value) in entries {
        if !table.check(name.get_ref(), value, reader) {
            let known: Vec<&str> = table.keys().map(|key| key.name).collect();
            let message = format!("unknown key `{}` in [{header}]", name.get_ref());
            reader.refuse_structure(&name.span(), message, suggestion(name.get_ref(), &known));
        }
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
        check(table.get_ref(), Text::new(Path::new("f"), content), role, &mut problems);
        let line = |p: &crate::config::Problem| format!("{p} / {}", p.hint.as_deref().unwrap_or_default());
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
