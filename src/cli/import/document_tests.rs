//! Files of every language as trees, also such that nobody would write.

use std::path::Path;

use proptest::prelude::*;

use super::*;

/// The tree of a file of this name.
fn tree(name: &str, text: &str) -> Result<Node, Syntax> {
    parse(Path::new(name), text)
}

#[test]
fn the_three_languages_give_the_same_tree() {
    let json = tree("a.json", "// c\n{\"a\": {\"b\": [1, 'x', true, null,],}, /* c */}").unwrap();
    let yaml = tree("a.yaml", "a:\n  b: [1, x, true, ~]\n").unwrap();
    assert!(json.same_as(&yaml), "{json:?} {yaml:?}");
    let toml = tree("a.toml", "[a]\nb = [1, \"x\", true]\n").unwrap();
    assert_eq!(toml.get("a").and_then(|node| node.get("b")).unwrap().items()[..3].len(), 3);
    assert_eq!(json.get("a").unwrap().line, 2);
    assert_eq!(yaml.get("a").and_then(|node| node.get("b")).unwrap().line, 2);
    assert_eq!(toml.get("a").and_then(|node| node.get("b")).unwrap().line, 2);
}

#[test]
fn marks_of_unicode_and_unknown_endings_are_understood() {
    for bytes in [b"\xef\xbb\xbf{\"a\":1}".to_vec(), utf16("{\"a\":1}")] {
        let text = text(bytes).unwrap();
        assert!(tree("mcp", &text).unwrap().get("a").is_some());
    }
    assert_eq!(text(b"a\nb\xff".to_vec()), Err(2));
    assert!(tree("config", "[a]\nb = 1").unwrap().get("a").is_some());
    assert!(tree("config", "a:\n  b: 1").unwrap().get("a").is_some());
}

/// UTF-16 as Notepad writes it.
fn utf16(text: &str) -> Vec<u8> {
    std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

#[test]
fn a_later_member_of_the_same_name_counts() {
    let node = tree("a.json", "{\"a\": 1, \"b\": 2, \"a\": 3}").unwrap();
    assert_eq!(node.get("a").unwrap().value, Value::Number("3".to_owned()));
    assert_eq!(node.entries().len(), 2);
}

#[test]
fn aliases_and_merge_keys_of_yaml_are_followed() {
    let node = tree("a.yaml", "x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\nz: *x\n").unwrap();
    let number = |key: &str| node.get("y").and_then(|node| node.get(key)).unwrap().value.clone();
    assert_eq!((number("a"), number("b")), (Value::Number("1".to_owned()), Value::Number("3".to_owned())));
    assert!(node.get("z").unwrap().same_as(node.get("x").unwrap()));
}

#[test]
fn what_would_end_the_stack_or_the_memory_is_refused() {
    for (name, open) in
        [("a.json", "["), ("a.json", "{\"a\":"), ("a.yaml", "["), ("a.yaml", "- "), ("a.toml", "a=[")]
    {
        assert!(tree(name, &open.repeat(200_000)).is_err(), "{name} {open}");
    }
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let last = level - 1;
        let items = vec![format!("*a{last}"); 10].join(", ");
        bomb += &["a", &level.to_string(), ": &a", &level.to_string(), " [", &items, "]\n"].concat();
    }
    assert_eq!(tree("a.yaml", &bomb).unwrap_err().message, TOO_LARGE);
}

#[test]
fn an_error_names_the_line_and_quotes_nothing() {
    for (name, text) in [
        ("a.json", "{\n\"a\": hunter2\n}"),
        ("a.json", "{\n\"a\": \"hunter2\n}"),
        ("a.toml", "a = 1\nb = hunter2\n"),
        ("a.yaml", "a: 1\nb: [hunter2\n"),
        ("a.yaml", "a: 1\nb: \"\\qhunter2\"\n"),
        ("a.yaml", "a: *hunter2\n"),
    ] {
        let error = tree(name, text).unwrap_err();
        assert!(error.line >= 1 && !error.message.contains("hunter2"), "{name}: {error:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_is_written_ends_the_program(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(text) = text(bytes) {
            for name in ["a.json", "a.toml", "a.yaml", "a"] {
                let _ = tree(name, &text);
            }
        }
    }

    #[test]
    fn nothing_that_looks_like_a_file_ends_the_program(text in "[ \\n\\[\\]{}:,\"'#&*!|>%@=.\\-a-c0-1<$~?]{0,80}") {
        for name in ["a.json", "a.toml", "a.yaml", "a"] {
            let _ = tree(name, &text);
        }
    }
}
