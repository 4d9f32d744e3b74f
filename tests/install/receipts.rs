//! Receipts of other versions, damaged ones, and what a changed default configuration does.
//!
//! Another default is played by a receipt that remembers another one: what decides is the difference.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::scratch::{Scratch, assert_same, text, write};

/// Paths below a root.
const RECEIPT: &str = "var/lib/mcpeg/install.json";
const CONFIGURATION: &str = "etc/mcpeg/mcpeg.toml";
const NEW: &str = "etc/mcpeg/mcpeg.toml.new";

/// Changes the receipt.
fn edit(scratch: &Scratch, change: impl FnOnce(&mut Value)) {
    let mut receipt = serde_json::from_str(&read(scratch, RECEIPT)).unwrap();
    change(&mut receipt);
    scratch.put(RECEIPT, &receipt.to_string());
}

/// A file below the root.
fn read(scratch: &Scratch, path: &str) -> String {
    std::fs::read_to_string(scratch.at(path)).unwrap()
}

/// A digest as receipts write it.
fn digest(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Asserts that both commands refuse the receipt, leave everything alone, and say all of this.
fn refused(scratch: &Scratch, says: &[&str]) {
    let before = scratch.picture();
    for verb in ["install", "uninstall"] {
        let output = scratch.run(&[verb]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(78), "{said}");
        for words in says {
            assert!(said.contains(words), "`{words}` is not in: {said}");
        }
    }
    assert_same(&before, &scratch.picture(), "after the refusal");
}

#[test]
#[ignore = "needs root: changes owners"]
fn damaged_receipt_is_named_with_the_way_out() {
    let scratch = Scratch::new();
    scratch.ok(&["install"]);
    let whole = read(&scratch, RECEIPT);
    for damaged in ["", "{", &whole[..whole.len() / 2], "[]", "null"] {
        scratch.put(RECEIPT, damaged);
        refused(&scratch, &[RECEIPT, "hint: restore it from a backup", "man mcpeg-install"]);
    }
}

#[test]
#[ignore = "needs root: changes owners"]
fn unknown_key_in_a_receipt_is_refused_and_named() {
    let scratch = Scratch::new();
    scratch.ok(&["install"]);
    let whole = read(&scratch, RECEIPT);
    edit(&scratch, |receipt| receipt["colour"] = json!("red"));
    refused(&scratch, &[RECEIPT, "unknown field `colour`"]);
    scratch.put(RECEIPT, &whole);
    edit(&scratch, |receipt| receipt["entries"][0]["colour"] = json!("red"));
    refused(&scratch, &[RECEIPT, "unknown field `colour`"]);
}

#[test]
#[ignore = "needs root: changes owners"]
fn newer_receipt_is_refused_with_both_versions() {
    let scratch = Scratch::new();
    scratch.ok(&["install"]);
    edit(&scratch, |receipt| receipt["version"] = json!(99));
    refused(&scratch, &["version 99", "knows versions up to", "hint: use the mcpeg that wrote it"]);
}

#[test]
#[ignore = "needs root: changes owners"]
fn receipt_of_version_1_is_understood() {
    let scratch = Scratch::new();
    let before = scratch.picture();
    scratch.ok(&["install"]);
    edit(&scratch, |receipt| {
        receipt["version"] = json!(1);
        for key in ["default_configuration", "choices", "confinement"] {
            receipt.as_object_mut().unwrap().remove(key).unwrap();
        }
    });
    assert!(scratch.ok(&["install"]).contains("nothing had to be changed"));
    scratch.ok(&["uninstall", "--purge"]);
    assert_same(&before, &scratch.picture(), "after purge");
}

/// The receipts of each version of the format, as they were written below a scratch root. A new version adds its own; none
/// is ever changed.
const KEPT: [(u32, &str); 5] = [
    (1, include_str!("../fixtures/receipts/version-1.json")),
    (2, include_str!("../fixtures/receipts/version-2.json")),
    (3, include_str!("../fixtures/receipts/version-3.json")),
    (4, include_str!("../fixtures/receipts/version-4.json")),
    (5, include_str!("../fixtures/receipts/version-5.json")),
];

#[test]
#[ignore = "needs root: changes owners"]
fn receipts_of_every_version_lead_to_an_installation_and_back() {
    for (version, kept) in KEPT {
        let scratch = Scratch::new();
        let before = scratch.picture();
        scratch.put(RECEIPT, kept);
        // By itself it takes back what it says, of which nothing is there.
        scratch.ok(&["uninstall", "--purge"]);
        assert_same(&before, &scratch.picture(), &format!("version {version}, purge alone"));
        scratch.put(RECEIPT, kept);
        scratch.ok(&["install"]);
        let written: Value = serde_json::from_str(&read(&scratch, RECEIPT)).unwrap();
        assert_eq!(written["version"], 5, "the newest version is written");
        assert_eq!(written["choices"]["prefix"], "/usr/local");
        assert!(scratch.ok(&["install"]).contains("nothing had to be changed"), "version {version}");
        scratch.ok(&["uninstall", "--purge"]);
        assert_same(&before, &scratch.picture(), &format!("version {version}, after purge"));
    }
}

#[test]
#[ignore = "needs root: changes owners"]
fn changed_default_appears_once_beside_an_edited_configuration() {
    let scratch = Scratch::new();
    let before = scratch.picture();
    scratch.ok(&["install"]);
    let default = read(&scratch, CONFIGURATION);
    scratch.put(CONFIGURATION, "[log]\nlevel = \"debug\"\n");
    // The default is the one that was installed: nothing appears.
    assert!(scratch.ok(&["install"]).contains("nothing had to be changed"));
    assert!(!scratch.at(NEW).exists());

    edit(&scratch, |receipt| receipt["default_configuration"] = json!(digest("an older default")));
    let said = scratch.ok(&["install"]);
    assert!(said.contains("note: /etc/mcpeg/mcpeg.toml.new: the default has changed"), "{said}");
    assert_eq!(read(&scratch, NEW), default);
    assert!(read(&scratch, CONFIGURATION).contains("debug"));

    assert!(scratch.ok(&["install"]).contains("nothing had to be changed"));
    // Whoever has read it removes it, and it does not come back.
    std::fs::remove_file(scratch.at(NEW)).unwrap();
    assert!(scratch.ok(&["install"]).contains("nothing had to be changed"));
    assert!(!scratch.at(NEW).exists());
    scratch.ok(&["uninstall", "--purge"]);
    assert_same(&before, &scratch.picture(), "after purge");
}

#[test]
#[ignore = "needs root: changes owners"]
fn unedited_configuration_follows_a_changed_default() {
    let scratch = Scratch::new();
    scratch.ok(&["install"]);
    let (default, older) = (read(&scratch, CONFIGURATION), "# an older default\n");
    scratch.put(CONFIGURATION, older);
    edit(&scratch, |receipt| {
        receipt["default_configuration"] = json!(digest(older));
        let entries = receipt["entries"].as_array_mut().unwrap();
        let entry = entries.iter_mut().find(|entry| entry["path"] == "/etc/mcpeg/mcpeg.toml").unwrap();
        entry["sha256"] = json!(digest(older));
    });
    scratch.ok(&["install"]);
    assert_eq!(read(&scratch, CONFIGURATION), default);
    assert!(!scratch.at(NEW).exists());
}

#[test]
#[ignore = "needs root: changes owners"]
fn configuration_installed_from_a_file_stays_when_it_is_not_given_again() {
    let scratch = Scratch::new();
    let before = scratch.picture();
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "[upstreams.docs]\nurl = \"http://127.0.0.1:1/mcp\"\nheaders = { A = \"${env:ONLY_THE_UNIT_HAS_IT}\" }\n";
    write(file.path(), text);
    scratch.ok(&["install", "--config", file.path().to_str().unwrap()]);
    assert_eq!(read(&scratch, CONFIGURATION), text);
    assert!(scratch.ok(&["install"]).contains("nothing had to be changed"));
    assert_eq!(read(&scratch, CONFIGURATION), text);
    assert!(!scratch.at(NEW).exists());
    scratch.ok(&["uninstall", "--purge"]);
    assert_same(&before, &scratch.picture(), "after purge");
}
