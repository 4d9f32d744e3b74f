//! `mcpeg complete`: what the completion scripts of the shells ask when TAB is pressed.
//!
//! The scripts in `completions/` know nothing of options; they pass the words before the cursor. The engine of `clap_complete`
//! finds what can stand there, in the one command line definition. Beside it stand here what it does not know: the machine's
//! instances and accounts, the configuration's upstreams, which options exclude each other, and how shells hand words over
//! (quoted, and in bash split at `=`). Files are completed by the shell itself, which knows how to quote them. The
//! answer's first line is the kind and two details, separated by tabs, `-` where there is none:
//!
//! ```text
//! values  -  GLUE      the lines that follow are candidates, with a tab and what they do where that is known
//! files   EXT  GLUE    the shell's own completion of files, those that end in .EXT if there is one
//! directories  -  GLUE
//! ```
//!
//! GLUE is the part of the word before its value, such as `--config=`. Nothing here may fail loudly: whatever is wrong,
//! there is nothing to complete.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _, ValueHint};
use clap_complete::engine::{self, ArgValueCandidates, ArgValueCompleter, CompletionCandidate};

use super::definition::Cli;
use super::{client, report, verbs};
use crate::config;
use crate::exit::Exit;

/// Where each instance has a directory `mcpeg-NAME`.
const INSTANCES: &str = "/etc";
/// How the name of an instance's directory begins.
const INSTANCE_PREFIX: &str = "mcpeg-";

/// The options whose files have an ending of their own.
const ENDINGS: [(&str, &str); 1] = [("config", "toml")];

/// The options that belong to one action each, which clap does not tell.
const BELONGING: [(&str, &str); 2] = [("force", "stop"), ("upstream", "status")];

/// What marks a candidate that stands for the shell's own completion of files, before their ending.
const FILES: &str = "files:";
/// What marks a candidate that stands for the shell's own completion of directories.
const DIRECTORIES: &str = "directories";

/// What can stand at the cursor.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// One of these: candidate and description.
    Values(Vec<(String, String)>),
    /// A file, with this ending if there is one.
    Files(Option<String>),
    /// A directory.
    Directories,
}

/// `mcpeg complete -- WORD...`, the last of which is the one before the cursor.
pub(super) fn run(words: &[OsString]) -> Exit {
    let words: Vec<_> = joined(words.iter().map(|word| word.to_string_lossy().into_owned()));
    let (current, before) =
        words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let (answer, glue) = complete(before, current);
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
fn complete<'a>(before: &[String], current: &'a str) -> (Answer, Option<&'a str>) {
    let before = std::iter::once("mcpeg".to_owned()).chain(before.iter().map(|word| unquoted(word)));
    let before = verbs::with_flag(before.map(OsString::from).collect());
    // The parser itself tells what was given; what is wrong or missing does not matter.
    let given = Cli::command().ignore_errors(true).disable_help_flag(true).disable_version_flag(true);
    let given = given.try_get_matches_from(&before).unwrap_or_default();
    let cli = verbs::command();
    let (_, inner) = innermost(&cli, &given);
    let path = |given: &ArgMatches, id| given.try_get_one::<PathBuf>(id).ok().flatten().cloned();
    let known = Known {
        config: path(inner, "config").or_else(|| path(&given, "config")),
        pid_file: path(inner, "pid_file"),
        has_words: inner.try_get_many::<String>("words").is_ok_and(|words| words.is_some()),
    };
    let mut cli = with_values(cli, &known);
    cli.build();
    let (command, given) = innermost(&cli, &given);
    let rules = Rules::of(command, given);
    // One dash could begin a short option; the long ones are easier to read.
    let typed = if current == "-" { "--" } else { current };
    let glue = current.split_once('=').filter(|_| current.starts_with('-'));
    let glue = glue.map(|(_, value)| &current[..current.len() - value.len()]);
    let mut words = before;
    words.push(typed.into());
    let index = words.len() - 1;
    let found = engine::complete(&mut cli.clone(), words, index, None).unwrap_or_default();
    (answer(&rules.left(found, current), glue), glue)
}

/// What was given that decides about values.
#[derive(Clone, Debug)]
struct Known {
    /// The configuration.
    config: Option<PathBuf>,
    /// The pid file.
    pid_file: Option<PathBuf>,
    /// Whether words without an option were given.
    has_words: bool,
}

/// What a gateway lists that names the subject of a command: the command and its argument, the method, the list, and its
/// member.
const LISTED: [(&str, &str, [&str; 3]); 4] = [
    ("tools", "name", ["tools/list", "tools", "name"]),
    ("call", "words", ["tools/list", "tools", "name"]),
    ("prompt", "name", ["prompts/list", "prompts", "name"]),
    ("read", "uri", ["resources/list", "resources", "uri"]),
];

/// The definition with what only this machine knows as values of its options.
fn with_values(command: Command, known: &Known) -> Command {
    let names: Vec<_> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let own = command.get_name().to_owned();
    let command = command.mut_args(|argument| with_value(argument, &own, known));
    names
        .into_iter()
        .fold(command, |command, name| command.mut_subcommand(name, |sub| with_values(sub, known)))
}

/// An option or positional argument of a command with the values that it may have.
fn with_value(argument: Arg, command: &str, known: &Known) -> Arg {
    let name = argument.get_id().as_str().to_owned();
    let marker = |marker: String| {
        ArgValueCompleter::new(move |_: &OsStr| vec![CompletionCandidate::new("").id(Some(marker.clone()))])
    };
    let known = known.clone();
    let listed = LISTED.iter().find(|(of, what, _)| *of == command && *what == name);
    if let Some((_, _, list)) = listed.filter(|_| !known.has_words) {
        let listed = move || candidates(client::names(known.pid_file.as_deref(), *list));
        return argument.add(ArgValueCandidates::new(listed));
    }
    match (name.as_str(), argument.get_value_hint()) {
        ("instance", _) => {
            argument.add(ArgValueCandidates::new(|| candidates(instances(OsStr::new(INSTANCES)))))
        }
        ("upstream", _) => argument.add(ArgValueCandidates::new(move || {
            let all = config::upstream_files(known.config.as_deref());
            candidates(all.into_iter().map(|(name, _)| name))
        })),
        (_, ValueHint::Username) => argument.add(ArgValueCandidates::new(|| candidates(accounts()))),
        (_, ValueHint::FilePath) => {
            let ending = ENDINGS.iter().find(|(whose, _)| *whose == name).map_or("", |(_, ending)| ending);
            argument.add(marker(format!("{FILES}{ending}")))
        }
        (_, ValueHint::DirPath) => argument.add(marker(DIRECTORIES.to_owned())),
        _ => argument,
    }
}

/// Names as the engine wants them.
fn candidates(names: impl IntoIterator<Item = String>) -> Vec<CompletionCandidate> {
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// The command that the words have led to, and what was given to it.
fn innermost<'a>(command: &'a Command, given: &'a ArgMatches) -> (&'a Command, &'a ArgMatches) {
    match given.subcommand() {
        Some((name, given)) => match command.find_subcommand(name) {
            Some(command) => innermost(command, given),
            None => (command, given),
        },
        None => (command, given),
    }
}

/// Which options can still be given.
struct Rules<'a> {
    /// The command that they belong to.
    command: &'a Command,
    /// The options and positional arguments that were given, by their identifiers.
    given: Vec<&'a str>,
    /// The actions, of which there can be one.
    actions: Vec<&'a str>,
}

impl<'a> Rules<'a> {
    /// The rules after what was given.
    fn of(command: &'a Command, given: &'a ArgMatches) -> Self {
        let said = |id: &str| given.value_source(id) == Some(ValueSource::CommandLine);
        let arguments = command.get_arguments().map(|argument| argument.get_id().as_str());
        let known = |id: &str| given.try_contains_id(id).is_ok();
        let actions = command
            .get_groups()
            .filter(|group| group.get_id() == "action")
            .flat_map(|group| group.get_args().map(clap::Id::as_str))
            .collect();
        Self { command, given: arguments.filter(|id| known(id) && said(id)).collect(), actions }
    }

    /// What of the engine's candidates is left: subcommands alone where nothing was typed, and none after an option.
    fn left(&self, found: Vec<CompletionCandidate>, current: &str) -> Vec<CompletionCandidate> {
        let id = |candidate: &CompletionCandidate| candidate.get_id().cloned().unwrap_or_default();
        let only_commands = current.is_empty()
            && self.given.is_empty()
            && found.iter().any(|candidate| id(candidate).starts_with("command::"));
        let fits = |candidate: &CompletionCandidate| match id(candidate).split_once("::") {
            Some(("command", _)) => self.given.is_empty(),
            Some(("arg", option)) => !only_commands && self.allow(option),
            _ => true,
        };
        found.into_iter().filter(|candidate| !candidate.is_hide_set() && fits(candidate)).collect()
    }

    /// Whether an option can still be given.
    fn allow(&self, name: &str) -> bool {
        let Some(option) = self.command.get_arguments().find(|option| option.get_id() == name) else {
            return true;
        };
        let acted = self.given.iter().any(|given| self.actions.contains(given));
        let again = matches!(option.get_action(), ArgAction::Append);
        let used = !again && self.given.contains(&name);
        let late = acted && self.actions.contains(&name);
        let belongs = |(own, action): &(&str, &str)| *own != name || self.given.contains(action);
        let strange = acted && !BELONGING.iter().all(belongs);
        !used && !late && !strange && !self.excluded(option)
    }

    /// Whether an option that was given excludes this one.
    fn excluded(&self, option: &Arg) -> bool {
        let conflicts = |one: &Arg, other: &str| {
            self.command.get_arg_conflicts_with(one).iter().any(|conflict| conflict.get_id() == other)
        };
        self.given.iter().any(|given| {
            let other = self.command.get_arguments().find(|argument| argument.get_id() == given);
            conflicts(option, given) || other.is_some_and(|other| conflicts(other, option.get_id().as_str()))
        })
    }
}

/// The engine's candidates as an answer; those after GLUE without it.
fn answer(found: &[CompletionCandidate], glue: Option<&str>) -> Answer {
    for candidate in found {
        match candidate.get_id().map(String::as_str) {
            Some(DIRECTORIES) => return Answer::Directories,
            Some(id) if id.starts_with(FILES) => {
                return Answer::Files(
                    id.strip_prefix(FILES).filter(|ending| !ending.is_empty()).map(ToOwned::to_owned),
                );
            }
            _ => {}
        }
    }
    let named = found.iter().filter_map(|candidate| {
        let value = candidate.get_value().to_str()?;
        let value = value.strip_prefix(glue.unwrap_or_default())?;
        Some((value.to_owned(), candidate.get_help().map(ToString::to_string).unwrap_or_default()))
    });
    let mut values: Vec<_> = named.collect();
    values.sort();
    Answer::Values(values)
}

/// The word that a shell makes of what was typed: shells hand words over as they were typed.
fn unquoted(word: &str) -> String {
    let mut text = String::new();
    let mut letters = word.chars().filter(|letter| !matches!(letter, '"' | '\''));
    while let Some(letter) = letters.next() {
        text.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    match (text.strip_prefix("~/"), std::env::var("HOME")) {
        (Some(rest), Ok(home)) => format!("{home}/{rest}"),
        _ => text,
    }
}

/// The instances of this machine, by their directories.
fn instances(directory: &OsStr) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix(INSTANCE_PREFIX).map(ToOwned::to_owned))
        .collect()
}

/// The accounts of this machine.
fn accounts() -> Vec<String> {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    text.lines().filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect()
}

/// The answer as the scripts read it.
fn text(answer: &Answer, glue: Option<&str>) -> String {
    let glue = glue.unwrap_or("-");
    let (kind, detail, values) = match answer {
        Answer::Values(values) => ("values", "-", &values[..]),
        Answer::Files(ending) => ("files", ending.as_deref().unwrap_or("-"), &[][..]),
        Answer::Directories => ("directories", "-", &[][..]),
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
        let words = joined(words.iter().map(|word| (*word).to_owned()));
        let (current, before) = words.split_last().unwrap();
        match complete(before, current) {
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
        let all = ask(&[""]);
        for word in [
            "help",
            "import",
            "install",
            "status",
            "start",
            "stop",
            "rotate",
            "login",
            "logout",
            "token",
            "uninstall",
        ] {
            assert!(all.contains(&word.to_owned()), "{all:?}");
        }
        assert_eq!(ask(&["sta"]), ["start", "status"]);
        assert_eq!(ask(&["status", "--up"]), ["--upstream"]);
        assert_eq!(ask(&["stop", "--"]), ask(&["--stop", "--"]));
        assert_eq!(ask(&["uninstall", "--pu"]), ["--purge"]);
        assert_eq!(ask(&["import", ""]), ["files\t-\t-"]);
        assert_eq!(ask(&["install", "--root", ""]), ["directories\t-\t-"]);
    }

    #[test]
    fn instances_are_those_with_a_directory() {
        let etc = tempfile::tempdir().unwrap();
        for name in ["mcpeg", "mcpeg-two", "mcpeg-blue", "other-three"] {
            std::fs::create_dir(etc.path().join(name)).unwrap();
        }
        std::fs::File::create(etc.path().join("mcpeg-file")).unwrap();
        let mut found = instances(etc.path().as_os_str());
        found.sort();
        assert_eq!(found, ["blue", "two"]);
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
