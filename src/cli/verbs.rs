//! The actions as words: `mcpeg status` is `mcpeg --status`.
//!
//! The parser knows the flags only. Before it reads a command line, the first word that is no option becomes the flag that it
//! stands for, so that the two cannot differ. Subcommands of these names exist for help, suggestions and completions; they are
//! made of the flags and of the options that go with them.

use std::ffi::OsString;

use clap::builder::Resettable;
use clap::{Arg, Command, CommandFactory as _};

use super::definition::Cli;

/// An action as a word.
struct Verb {
    /// The word.
    word: &'static str,
    /// The flag, by its identifier in the definition.
    flag: &'static str,
    /// The options that go with it and not with every action.
    options: &'static [&'static str],
}

/// All of them. A flag's own name is a word for it, too.
const VERBS: [Verb; 7] = [
    Verb { word: "status", flag: "status", options: &["upstream", "json"] },
    Verb {
        word: "start",
        flag: "daemon",
        options: &["start_timeout", "user", "group", "outside_systemd", "wait_upstreams", "ready_fd"],
    },
    Verb { word: "stop", flag: "stop", options: &["force"] },
    Verb { word: "restart", flag: "restart", options: &["start_timeout"] },
    Verb { word: "reload", flag: "reload", options: &["json"] },
    Verb { word: "check", flag: "check", options: &["json"] },
    Verb { word: "rotate", flag: "log_rotate", options: &["json"] },
];

/// The options that go with every action.
const EVERY: [&str; 7] = ["config", "pid_file", "instance", "log_file", "listen", "log_level", "dev"];

/// The one definition with a subcommand for each word.
pub(super) fn command() -> Command {
    let cli = Cli::command();
    let verbs: Vec<_> = VERBS.iter().map(|verb| verb.command(&cli)).collect();
    cli.subcommands(verbs)
}

/// A command line with the flag in the place of the word; as it is where it asks for help, which the subcommand gives.
pub(super) fn with_flag(mut words: Vec<OsString>) -> Vec<OsString> {
    let cli = Cli::command();
    if let Some((at, flag)) = find(&cli, &words)
        && !words[at..].iter().any(|word| word == "--help" || word == "-h")
    {
        words[at] = flag;
    }
    words
}

/// The first word that is no option, if it stands for a flag: its place, and the flag.
fn find(cli: &Command, words: &[OsString]) -> Option<(usize, OsString)> {
    let mut at = 1;
    loop {
        let word = words.get(at).filter(|word| *word != "--")?.to_string_lossy();
        let option = cli.get_arguments().find(|option| is_called(option, &word));
        // A value that may be left out is behind an equals sign.
        let has_value = |option: &Arg| option.get_action().takes_values() && !option.is_require_equals_set();
        match option {
            Some(option) if has_value(option) => at += 2,
            _ if word.len() > 1 && word.starts_with('-') => at += 1,
            _ => {
                let is_meant = |verb: &&Verb| verb.word == word || verb.flag.replace('_', "-") == word;
                let flag = VERBS.iter().find(is_meant)?.flag.replace('_', "-");
                return Some((at, format!("--{flag}").into()));
            }
        }
    }
}

/// Whether a word is an option without its value.
fn is_called(option: &Arg, word: &str) -> bool {
    let long = word.strip_prefix("--").is_some_and(|name| option.get_long() == Some(name));
    long || word
        .strip_prefix('-')
        .is_some_and(|name| option.get_short().is_some_and(|short| name.strip_prefix(short) == Some("")))
}

impl Verb {
    /// The subcommand, with the options that can be given.
    fn command(&self, cli: &Command) -> Command {
        let id = |argument: &Arg| argument.get_id().as_str().to_owned();
        let is_own = |name: &str| self.options.contains(&name) || EVERY.contains(&name);
        let options = cli.get_arguments().filter(|option| is_own(&id(option))).map(|option| {
            let others = cli.get_arg_conflicts_with(option).into_iter().map(id);
            // The action that it needs, and others that it cannot have, are no options here.
            let alone = option.clone().requires(Resettable::Reset).conflicts_with(Resettable::Reset);
            alone.conflicts_with_all(others.filter(|other| is_own(other)))
        });
        let command = Command::new(self.word).args(options);
        let Some(flag) = cli.get_arguments().find(|argument| argument.get_id() == self.flag) else {
            return command;
        };
        let about = flag.get_help().cloned().unwrap_or_default();
        let long = flag.get_long_help().unwrap_or(&about);
        let long = format!("{long}\n\nThe same as --{}.", self.flag.replace('_', "-"));
        command.about(about).long_about(long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command line of these words, as the parser reads it.
    fn read(line: &str) -> String {
        let words = line.split(' ').map(OsString::from).collect();
        with_flag(words).iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn first_word_that_is_no_option_becomes_the_flag() {
        for (line, expected) in [
            ("mcpeg status --json", "mcpeg --status --json"),
            ("mcpeg start", "mcpeg --daemon"),
            ("mcpeg rotate", "mcpeg --log-rotate"),
            ("mcpeg daemon", "mcpeg --daemon"),
            ("mcpeg log-rotate", "mcpeg --log-rotate"),
            ("mcpeg -c stop check", "mcpeg -c stop --check"),
            ("mcpeg -cstop check", "mcpeg -cstop --check"),
            ("mcpeg --instance status --json stop", "mcpeg --instance status --json --stop"),
            ("mcpeg --config=status stop", "mcpeg --config=status --stop"),
            ("mcpeg --wait-upstreams start", "mcpeg --wait-upstreams --daemon"),
            // Others are left alone.
            ("mcpeg", "mcpeg"),
            ("mcpeg --config", "mcpeg --config"),
            ("mcpeg install --check status", "mcpeg install --check status"),
            ("mcpeg help status", "mcpeg help status"),
            ("mcpeg complete -- status", "mcpeg complete -- status"),
            ("mcpeg -- status", "mcpeg -- status"),
            ("mcpeg status --help", "mcpeg status --help"),
            ("mcpeg statsu", "mcpeg statsu"),
        ] {
            assert_eq!(read(line), expected);
        }
    }

    #[test]
    fn options_of_a_word_are_those_that_its_flag_can_have() {
        let (mut cli, all) = (Cli::command(), command());
        cli.build();
        all.clone().debug_assert();
        for verb in &VERBS {
            let sub = all.find_subcommand(verb.word).unwrap();
            for option in sub.get_arguments() {
                let known = cli.get_arguments().find(|known| known.get_id() == option.get_id()).unwrap();
                let against = cli.get_arg_conflicts_with(known);
                assert!(!against.iter().any(|other| other.get_id() == verb.flag), "{}", option.get_id());
            }
        }
        // And every flag has a word.
        let group = cli.get_groups().find(|group| group.get_id() == "action").unwrap();
        let mut flags: Vec<_> = group.get_args().map(clap::Id::as_str).collect();
        let mut words: Vec<_> = VERBS.iter().map(|verb| verb.flag).collect();
        flags.sort_unstable();
        words.sort_unstable();
        assert_eq!(flags, words);
    }
}
