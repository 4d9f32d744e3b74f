//! `mcpeg upstream add`.

use std::path::PathBuf;

use serde_json::json;
use toml::{Table, Value};

use super::change::Change;
use super::edit;
use super::effect::{self, Effect};
use super::error::{Error, SCHEMA};
use super::trial;
use crate::cli::definition::UpstreamAddArgs;
use crate::cli::site::Site;
use crate::cli::{import, report};
use crate::config::UpstreamName;
use crate::exit::Exit;

/// Adds an upstream, and tells what became of it.
pub(super) fn run(arguments: &UpstreamAddArgs) -> Result<Exit, Error> {
    let name = &arguments.name;
    if UpstreamName::new(name).is_none() {
        return Err(Error::Name(name.clone()));
    }
    let site = Site::find(&arguments.place)?;
    site.check(&[]).map_err(Error::Present)?;
    if let Ok(file) = site.file_of(name) {
        return Err(Error::Exists(name.clone(), file));
    }
    let settings = settings(arguments)?;
    let change = Change::of(site.fragment(name), |text| Ok(Some(edit::with(text, name, &settings))))?;
    site.check(&change.planned()).map_err(Error::Planned)?;
    let (path, json) = (change.path().to_owned(), arguments.place.json);
    if arguments.dry_run {
        let text = edit::written(name, &settings);
        if json {
            let answer = json!({ "schema": SCHEMA, "file": path, "text": text });
            return Ok(report::json(&answer, Exit::Done));
        }
        return Ok(report::lines(format!("would write {}:\n\n{text}", path.display()), Exit::Done));
    }
    let effect = effect::put(&site, &change)?;
    if !json {
        report::progress(format!("wrote {}", path.display()));
    }
    if effect == Effect::NotRunning {
        if json {
            let answer = json!({ "schema": SCHEMA, "file": path, "reloaded": false });
            return Ok(report::json(&answer, Exit::Done));
        }
        report::note("no gateway runs; the next one that is started has it");
        return Ok(Exit::Done);
    }
    let found = trial::of_running(&site, name, None);
    if json {
        let mut answer = trial::document(&found);
        answer["file"] = json!(path);
        answer["reloaded"] = true.into();
        let exit = found.as_ref().map_or_else(crate::exit::ToExit::to_exit, |_| Exit::Done);
        return Ok(report::json(&answer, exit));
    }
    Ok(trial::tell(
        &format!("`{name}`"),
        &found.map_err(|error| Error::Unusable(name.clone(), error.into()))?,
    ))
}

/// The table that the options say.
fn settings(arguments: &UpstreamAddArgs) -> Result<Table, Error> {
    let mut all = Table::new();
    if let Some(url) = &arguments.url {
        all.insert("url".to_owned(), url.as_str().into());
    }
    if let Some((program, words)) = arguments.command.split_first() {
        let mut program = PathBuf::from(program);
        if program.is_relative() && program.components().count() > 1 && !program.starts_with("${") {
            program = std::path::absolute(&program).map_err(|error| Error::Read(program.clone(), error))?;
        }
        all.insert("command".to_owned(), program.to_string_lossy().into_owned().into());
        if !words.is_empty() {
            all.insert("args".to_owned(), words.to_vec().into());
        }
    }
    for (key, words, between, what, form) in [
        ("headers", &arguments.header, ':', "header", "NAME: VALUE"),
        ("env", &arguments.env, '=', "variable", "NAME=VALUE"),
    ] {
        let mut table = Table::new();
        for word in words {
            let (name, value) = word
                .split_once(between)
                .filter(|(name, _)| !name.trim().is_empty())
                .ok_or_else(|| Error::Word { text: name_only(word), what, form })?;
            let value = if between == ':' { value.trim() } else { value };
            warn_of_secret(name.trim(), value);
            table.insert(name.trim().to_owned(), value.into());
        }
        if !table.is_empty() {
            all.insert(key.to_owned(), Value::Table(table));
        }
    }
    for word in &arguments.set {
        all.extend(setting(word)?);
    }
    Ok(all)
}

/// What was typed, without what may be a secret.
fn name_only(word: &str) -> String {
    let name: String = word.chars().take_while(char::is_ascii_alphanumeric).take(20).collect();
    if name.len() == word.len() { name } else { format!("{name}…") }
}

/// A key and its value, which is TOML or else text.
fn setting(word: &str) -> Result<Table, Error> {
    let wrong = || Error::Word { text: name_only(word), what: "setting", form: "KEY=VALUE" };
    let (key, value) = word.split_once('=').ok_or_else(wrong)?;
    let read = |value: &str| format!("{key} = {value}").parse::<Table>().ok();
    read(value).or_else(|| read(&Value::from(value).to_string())).ok_or_else(wrong)
}

/// Warns of a value that others can see, in the list of processes and in the file.
fn warn_of_secret(name: &str, value: &str) {
    let is_secret = |word: &str| import::is_token(word) || import::is_random(word);
    if value.split_whitespace().any(is_secret) {
        report::warning(format!(
            "the value of `{name}` looks like a secret, which this command line and the file show; write ${{file:/path}} or \
             ${{env:NAME}} instead"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_of_a_setting_is_toml_or_else_text() {
        for (word, expected) in [
            ("start=lazy", "start = \"lazy\"\n"),
            ("enabled=false", "enabled = false\n"),
            ("max_queue=5", "max_queue = 5\n"),
            ("request_timeout=1m", "request_timeout = \"1m\"\n"),
            ("working_dir=/srv/a b", "working_dir = \"/srv/a b\"\n"),
            ("tools.deny=[\"x\"]", "[tools]\ndeny = [\"x\"]\n"),
            ("oauth={}", "[oauth]\n"),
            ("x=", "x = \"\"\n"),
        ] {
            assert_eq!(toml::to_string(&setting(word).unwrap()).unwrap(), expected);
        }
        for word in ["start", "=x", "a b=1"] {
            assert!(setting(word).is_err(), "{word}");
        }
    }
}
