//! `mcpeg complete`: what the completion scripts of the shells ask when TAB is pressed.
//!
//! The scripts in `completions/` know nothing of options; they pass the words before the cursor, and this answers from the
//! one command line definition, the machine's instances and the configuration. The answer's first line is the kind and
//! two details, separated by tabs, `-` where there is none:
//!
//! ```text
//! values  -  GLUE      the lines that follow are candidates, with a tab and what they do where that is known
//! files   EXT  GLUE    the shell's own completion of files, those that end in .EXT if there is one
//! directories  -  GLUE
//! nothing  -  -
//! ```
//!
//! GLUE is the part of the word before its value, such as `--config=`. Nothing here may fail loudly: whatever is wrong,
//! there is nothing to complete.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, CommandFactory as _, ValueHint};

use super::definition::Cli;
use super::report;
use crate::config;
use crate::exit::Exit;

/// Where each instance has a directory `mcpeg-NAME`.
const INSTANCES: &str = "/etc";
/// How the name of an instance's directory begins.
const INSTANCE_PREFIX: &str = "mcpeg-";

/// What names the configuration file where no option does.
const CONFIG_VARIABLE: &str = "MCPEG_CONFIG";

/// The options whose files have an ending of their own.
const ENDINGS: [(&str, &str); 2] = [("config", "toml"), ("file", "json")];

/// The options that belong to one action each, which clap does not tell.
const BELONGING: [(&str, &str); 2] = [("force", "stop"), ("upstream", "status")];

/// What can stand at the cursor.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// One of these: candidate and description.
    Values(Vec<(String, String)>),
    /// A file, with this ending if there is one.
    Files(Option<&'static str>),
    /// A directory.
    Directories,
    /// Anything or nothing.
    Nothing,
}

/// What has been said before the cursor.
struct Said<'a> {
    /// The command that the words have led to.
    command: &'a Command,
    /// The options that were given, by their identifiers.
    given: Vec<&'a str>,
    /// The option whose value comes next.
    waiting: Option<&'a Arg>,
    /// The configuration file, if one was named.
    config: Option<String>,
    /// How many words were neither options nor their values.
    positionals: usize,
}

/// `mcpeg complete -- WORD...`, the last of which is the one before the cursor.
pub(super) fn run(words: &[OsString]) -> Exit {
    let mut cli = Cli::command();
    cli.build();
    let words: Vec<_> = joined(words.iter().map(|word| word.to_string_lossy().into_owned()));
    let (current, before) =
        words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let (answer, glue) = complete(&cli, before, current);
    report::lines(text(&answer, glue).trim_end(), Exit::Done)
}

/// bash splits words at `=`; this joins them again.
fn joined(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut open = false;
    for word in words {
        let begins = word == "=" && all.last().is_some_and(|last| last.starts_with("--"));
        match all.last_mut() {
            Some(last) if begins || open => last.push_str(&word),
            _ => all.push(word),
        }
        open = begins;
    }
    all
}

/// The answer for the word `current` after the words `before`, and what of it comes before its value.
fn complete<'a>(cli: &Command, before: &[String], current: &'a str) -> (Answer, Option<&'a str>) {
    let said = listen(cli, before);
    if let Some(option) = said.waiting {
        return (said.value(option, current), None);
    }
    if let Some((name, typed)) = current.split_once('=')
        && let Some(option) = option(said.command, name)
    {
        let glue = &current[..current.len() - typed.len()];
        return (said.value(option, typed), Some(glue));
    }
    if current.starts_with('-') {
        return (options(&said, current), None);
    }
    (words(&said, current), None)
}

/// Follows the words before the cursor.
fn listen<'a>(cli: &'a Command, words: &[String]) -> Said<'a> {
    let mut said = Said::to(cli);
    for word in words {
        if let Some(option) = said.waiting.take() {
            said.hear_value(option, word);
            continue;
        }
        let (name, glued) =
            word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
        if let Some(found) = option(said.command, name) {
            said.given.push(found.get_id().as_str());
            match glued {
                Some(value) => said.hear_value(found, value),
                None => said.waiting = takes_value(found).then_some(found),
            }
        } else if let Some(command) = said.command.find_subcommand(word) {
            said = Said::to(command);
        } else if !word.starts_with('-') {
            said.positionals += 1;
        }
    }
    said
}

/// The option of that name, `--long` or `-s`.
fn option<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|option| {
        let short = option.get_short().is_some_and(|short| name == format!("-{short}"));
        short || option.get_long().is_some_and(|long| name.strip_prefix("--") == Some(long))
    })
}

/// Whether a value follows.
fn takes_value(option: &Arg) -> bool {
    matches!(option.get_action(), ArgAction::Set | ArgAction::Append)
}

impl<'a> Said<'a> {
    /// Nothing yet.
    const fn to(command: &'a Command) -> Self {
        Self { command, given: Vec::new(), waiting: None, config: None, positionals: 0 }
    }

    /// Takes note of an option's value.
    fn hear_value(&mut self, option: &Arg, value: &str) {
        if option.get_id() == "config" {
            self.config = Some(value.to_owned());
        }
    }

    /// What an option or a positional argument may be.
    fn value(&self, argument: &Arg, typed: &str) -> Answer {
        let name = argument.get_id().as_str();
        let possible = argument.get_possible_values();
        if name == "instance" {
            return values(instances(OsStr::new(INSTANCES)), typed);
        }
        if name == "upstream" {
            return values(self.upstreams(), typed);
        }
        if !possible.is_empty() && takes_value(argument) {
            let named = possible.iter().map(|value| {
                (value.get_name().to_owned(), value.get_help().map(ToString::to_string).unwrap_or_default())
            });
            return values(named, typed);
        }
        match argument.get_value_hint() {
            ValueHint::FilePath => {
                Answer::Files(ENDINGS.iter().find(|(whose, _)| *whose == name).map(|(_, ending)| *ending))
            }
            ValueHint::DirPath => Answer::Directories,
            ValueHint::Username => values(accounts(), typed),
            _ => Answer::Nothing,
        }
    }

    /// The upstreams of the configuration that was named, by an option or the environment, or else of the default one.
    fn upstreams(&self) -> Vec<(String, String)> {
        let said = self.config.as_deref().map(unquoted);
        let file = said.or_else(|| std::env::var_os(CONFIG_VARIABLE).map(PathBuf::from));
        let names = config::upstream_names(file.as_deref());
        names.into_iter().map(|name| (name, String::new())).collect()
    }
}

/// The path that a shell makes of a word: shells hand words over as they were typed.
fn unquoted(word: &str) -> PathBuf {
    let mut text = String::new();
    let mut letters = word.chars().filter(|letter| !matches!(letter, '"' | '\''));
    while let Some(letter) = letters.next() {
        text.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    match (text.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(text),
    }
}

/// The candidates that go on from what was typed.
fn values(all: impl IntoIterator<Item = (String, String)>, typed: &str) -> Answer {
    let mut fitting: Vec<_> = all.into_iter().filter(|(value, _)| value.starts_with(typed)).collect();
    fitting.sort();
    Answer::Values(fitting)
}

/// The options that can still be given.
fn options(said: &Said<'_>, typed: &str) -> Answer {
    let actions: Vec<&str> = said
        .command
        .get_groups()
        .filter(|group| !group.is_required_set() && group.get_id() == "action")
        .flat_map(|group| group.get_args().map(clap::Id::as_str))
        .collect();
    let acted = said.given.iter().any(|given| actions.contains(given));
    let left = said.command.get_arguments().filter(|option| {
        let name = option.get_id().as_str();
        let again = matches!(option.get_action(), ArgAction::Append);
        let used = !again && said.given.contains(&name);
        let late = acted && actions.contains(&name);
        let belongs = |(own, action): &(&str, &str)| *own != name || said.given.contains(action);
        let strange = acted && !BELONGING.iter().all(belongs);
        let fits = !used && !late && !strange && !excluded(said, option);
        fits && !option.is_hide_set()
    });
    let named = left.filter_map(|option| {
        let help = option.get_help().map(ToString::to_string).unwrap_or_default();
        Some((format!("--{}", option.get_long()?), help))
    });
    values(named, typed)
}

/// Whether an option that was given excludes this one.
fn excluded(said: &Said<'_>, option: &Arg) -> bool {
    let conflicts = |one: &Arg, other: &str| {
        said.command.get_arg_conflicts_with(one).iter().any(|conflict| conflict.get_id() == other)
    };
    said.given.iter().any(|given| {
        let other = said.command.get_arguments().find(|argument| argument.get_id() == given);
        conflicts(option, given) || other.is_some_and(|other| conflicts(other, option.get_id().as_str()))
    })
}

/// Subcommands, as long as there is nothing before them that excludes them; else the next positional argument.
fn words(said: &Said<'_>, typed: &str) -> Answer {
    if said.given.is_empty() && said.positionals == 0 && said.command.has_subcommands() {
        let visible = said.command.get_subcommands().filter(|command| !command.is_hide_set());
        let named = visible.map(|command| {
            (command.get_name().to_owned(), command.get_about().map(ToString::to_string).unwrap_or_default())
        });
        return values(named, typed);
    }
    match said.command.get_positionals().nth(said.positionals) {
        Some(positional) => said.value(positional, typed),
        None if typed.is_empty() => options(said, typed),
        None => Answer::Nothing,
    }
}

/// The instances of this machine, by their directories.
fn instances(directory: &OsStr) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix(INSTANCE_PREFIX).map(ToOwned::to_owned));
    names.map(|name| (name, String::new())).collect()
}

/// The accounts of this machine.
fn accounts() -> Vec<(String, String)> {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let names = text.lines().filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| (name.to_owned(), String::new())).collect()
}

/// The answer as the scripts read it.
fn text(answer: &Answer, glue: Option<&str>) -> String {
    let glue = glue.unwrap_or("-");
    let (kind, detail, values) = match answer {
        Answer::Values(values) => ("values", "-", &values[..]),
        Answer::Files(ending) => ("files", ending.unwrap_or("-"), &[][..]),
        Answer::Directories => ("directories", "-", &[][..]),
        Answer::Nothing => ("nothing", "-", &[][..]),
    };
    let mut text = format!("{kind}\t{detail}\t{glue}\n");
    for (value, help) in values {
        let help = help.lines().next().unwrap_or_default().trim_end_matches('.');
        let tab = if help.is_empty() { "" } else { "\t" };
        writeln!(text, "{value}{tab}{help}").expect("a string takes all that is written");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The candidates of an answer, or its kind.
    fn ask(words: &[&str]) -> Vec<String> {
        let mut cli = Cli::command();
        cli.build();
        let words = joined(words.iter().map(|word| (*word).to_owned()));
        let (current, before) = words.split_last().unwrap();
        match complete(&cli, before, current) {
            (Answer::Values(values), _) => values.into_iter().map(|(value, _)| value).collect(),
            (answer, glue) => vec![text(&answer, glue).trim_end().to_owned()],
        }
    }

    #[test]
    fn one_action_excludes_the_others_and_an_option_is_offered_once() {
        assert!(ask(&["--s"]).contains(&"--status".to_owned()));
        let after = ask(&["--status", "--"]);
        assert!(after.contains(&"--json".to_owned()), "{after:?}");
        for absent in ["--status", "--stop", "--daemon"] {
            assert!(!after.contains(&absent.to_owned()), "{absent}");
        }
        assert!(
            ask(&["--listen", "127.0.0.1:1", "--l"]).contains(&"--listen".to_owned()),
            "it may be repeated"
        );
    }

    #[test]
    fn values_come_after_their_option_and_after_an_equals_sign() {
        assert_eq!(ask(&["--log-level", "d"]), ["debug"]);
        assert_eq!(ask(&["--log-level=d"]), ["debug"]);
        assert_eq!(ask(&["--log-level", "=", "d"]), ["debug"]);
        assert_eq!(ask(&["--config", ""]), ["files\ttoml\t-"]);
        assert_eq!(ask(&["--config=/e"]), ["files\ttoml\t--config="]);
        assert_eq!(ask(&["-c", ""]), ["files\ttoml\t-"]);
    }

    #[test]
    fn subcommands_have_arguments_of_their_own() {
        assert_eq!(ask(&[""]), ["help", "import", "install", "uninstall"]);
        assert_eq!(ask(&["uninstall", "--pu"]), ["--purge"]);
        assert_eq!(ask(&["import", ""]), ["files\tjson\t-"]);
        assert_eq!(ask(&["install", "--root", ""]), ["directories\t-\t-"]);
    }

    #[test]
    fn instances_are_those_with_a_directory() {
        let etc = tempfile::tempdir().unwrap();
        for name in ["mcpeg", "mcpeg-two", "mcpeg-blue", "other-three"] {
            std::fs::create_dir(etc.path().join(name)).unwrap();
        }
        std::fs::File::create(etc.path().join("mcpeg-file")).unwrap();
        let Answer::Values(found) = values(instances(etc.path().as_os_str()), "") else {
            panic!("no values")
        };
        assert_eq!(found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["blue", "two"]);
    }

    #[test]
    fn upstreams_are_those_of_the_configuration_that_was_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("my mcpeg.toml");
        let write = |path: &std::path::Path, text: &str| {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::io::Write::write_all(&mut std::fs::File::create(path).unwrap(), text.as_bytes()).unwrap();
        };
        // References to what is not here and keys that are wrong do not matter.
        write(
            &file,
            "levl = 1\n[upstreams.time]\ncommand = \"${env:NOT_THERE}\"\n[upstreams.docs]\nurl = \"x\"\n",
        );
        write(&directory.path().join("conf.d/one.toml"), "[upstreams.tools]\n");
        let typed = file.to_str().unwrap().replace(' ', "\\ ");
        assert_eq!(ask(&["--config", &typed, "--status", "--upstream", ""]), ["docs", "time", "tools"]);
        assert_eq!(ask(&[&format!("--config={typed}"), "--status", "--upstream=t"]), ["time", "tools"]);
        assert_eq!(ask(&["-c", &format!("\"{}\"", file.display()), "--status", "--upstream", "d"]), ["docs"]);
        assert_eq!(ask(&["--config", "/not/there", "--status", "--upstream", ""]), [""; 0]);
        assert!(
            ask(&["--status", "--upstream", "x", "--up"]).contains(&"--upstream".to_owned()),
            "it may be repeated"
        );
    }

    #[test]
    fn options_of_one_action_are_not_offered_after_another() {
        assert_eq!(ask(&["--stop", "--up"]), [""; 0]);
        assert_eq!(ask(&["--up"]), ["--upstream"]);
        for (option, action) in BELONGING {
            assert_eq!(ask(&[&format!("--{action}"), &format!("--{option}")]), [format!("--{option}")]);
        }
        // As clap has it.
        let parse = |words: &[&str]| Cli::command().try_get_matches_from(words).map(drop);
        for (alone, action) in
            [(&["mcpeg", "--force"][..], "--stop"), (&["mcpeg", "--upstream", "x"], "--status")]
        {
            let refused = parse(alone).unwrap_err();
            assert_eq!(refused.kind(), clap::error::ErrorKind::MissingRequiredArgument);
            parse(&[alone, &[action]].concat()).unwrap();
        }
    }
}
