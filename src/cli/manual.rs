//! The manual pages. `clap_mangen` renders what is generic of a command from its definition: title, name, description and
//! options. Exit codes, signals and configuration keys come from their tables, and a person wrote the other sections
//! (`src/cli/manual/*.man`, in man(7) macros).
//!
//! What `clap_mangen` lacks is done beside it: a synopsis with the values of options and with actions that exclude one another;
//! paragraphs of help without blank lines, which mandoc(1) warns of; values and defaults in sentences; one preamble
//! for the page instead of one for each section.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::definition::Cli;
use crate::config::key::{Description, FIRST, OnChange};
use crate::config::keys::Table;
use crate::daemon::SIGNALS;
use crate::exit::Exit;
use crate::install::ownership::{self, Act, PackageState, ReceiptState, Situation, UnitState, Verdict};

/// The date of the pages: a constant, so that two builds are the same; changed with the text.
const DATE: &str = "2026-11-30";
/// The name of the collection, in the pages' footer.
const SOURCE: &str = concat!("mcpeg ", env!("CARGO_PKG_VERSION"));

/// Lines are neither stretched nor broken within a word: names must stay whole.
const LAYOUT: &str = ".nh\n.ad l\n";

/// Each page: file name and text.
pub(super) fn pages() -> Vec<(&'static str, String)> {
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    let sub = |name: &str| {
        let command = cli.find_subcommand(name).expect("install and uninstall are subcommands");
        command.clone().bin_name(format!("mcpeg {name}")).display_name(format!("mcpeg-{name}"))
    };
    vec![
        (
            "mcpeg.8",
            command(
                "mcpeg",
                &cli.clone().after_help(None::<&str>),
                &[include_str!("manual/control.man"), include_str!("manual/mcpeg.man")],
            ),
        ),
        ("mcpeg-install.8", command("mcpeg-install", &sub("install"), &[include_str!("manual/install.man")])),
        (
            "mcpeg-uninstall.8",
            command("mcpeg-uninstall", &sub("uninstall"), &[include_str!("manual/uninstall.man")]),
        ),
        ("mcpeg.toml.5", configuration()),
    ]
}

/// The page of a command.
fn command(name: &str, command: &clap::Command, sections: &[&str]) -> String {
    let (command, synopsis) = (readable(command), synopsis(command));
    let man = Man::new(command.clone()).title(name.to_uppercase()).section("8").date(DATE).source(SOURCE);
    let mut page = rendered(|page| man.render_title(page)) + LAYOUT;
    page.push_str(&rendered(|page| man.render_name_section(page)));
    write!(page, ".SH SYNOPSIS\n{synopsis}").expect("writing to memory does not fail");
    page.push_str(&rendered(|page| man.render_description_section(page)));
    page.push_str(&rendered(|page| man.render_options_section(page)));
    for section in sections {
        let section = section.replace("@EXIT@", &exits()).replace("@SIGNALS@", &signals());
        let section = section.replace("@OWNERSHIP@", &ownership());
        let section = needs(&section);
        page.push_str(&section.replace("@VARIABLES@\n", &variables(&command)));
    }
    page
}

/// A section with the keys in it that a reload cannot change, for each table and way.
fn needs(section: &str) -> String {
    let ways = [("RESTART", OnChange::Restart), ("START", OnChange::Start)];
    let places = Table::ALL.into_iter().flat_map(|table| ways.map(|way| (table, way)));
    places.fold(section.to_owned(), |section, (table, (word, way))| {
        let keys: Vec<_> = table.keys().filter(|key| key.on_change == way).map(|key| key.name).collect();
        let line = match keys.as_slice() {
            [] => return section,
            [only] => format!(".B {only}"),
            [most @ .., last] => format!(".BR {} \" and \" {last}", most.join(" \", \" ")),
        };
        section.replace(&format!("@{word} {}@", table.header()), &line)
    })
}

/// What `clap_mangen` renders, without the preamble that comes with each section, blanks at ends of lines, and brackets around
/// names of values, which are in italics already. Quotes are plain ASCII, which needs no preamble.
fn rendered(render: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> String {
    let mut page = Vec::new();
    render(&mut page).expect("writing to memory does not fail");
    let page = String::from_utf8(page).expect("help texts are UTF-8");
    let lines =
        page.lines().map(str::trim_end).filter(|line| !line.starts_with(".ie ") && !line.starts_with(".el "));
    lines.fold(String::new(), |text, line| {
        text + &line.replace("\\*(Aq", "'").replace("\\fI<", "\\fI").replace(">\\fR", "\\fR") + "\n"
    })
}

/// A command whose texts are written as the manual has them: sentences in one paragraph for each option, a name without a
/// capital and without a full stop, help and version last under the heading of the other options.
fn readable(command: &clap::Command) -> clap::Command {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let long = command.get_long_about().map_or_else(|| about.clone(), ToString::to_string);
    let heading = listed(command).filter(|option| takes_part(option)).last().and_then(Arg::get_help_heading);
    let heading = heading.map(|heading| clap::builder::Str::from(heading.to_owned()));
    let command =
        command.clone().about(lower(about.trim_end_matches('.'))).long_about(sentences(&long).join("\n\n"));
    command.mut_args(|option| {
        let long = description(&option);
        let option = option.long_help(long).hide_possible_values(true).hide_default_value(true);
        match &heading {
            Some(heading) if !takes_part(&option) => option.help_heading(heading.clone()),
            _ => option,
        }
    })
}

/// How the command is written: the actions, the options and, on a line of its own, that there are subcommands.
fn synopsis(command: &clap::Command) -> String {
    let name = command.get_bin_name().unwrap_or("mcpeg");
    let mut actions: Vec<&str> = Vec::new();
    for group in command.get_groups().filter(|group| group.get_id() == "action") {
        actions.extend(group.get_args().map(clap::Id::as_str));
    }
    let (acts, others): (Vec<&Arg>, Vec<&Arg>) =
        listed(command).partition(|option| actions.contains(&option.get_id().as_str()));
    let mut words = vec![bold(name)];
    if !acts.is_empty() {
        words.push(format!(
            "[{}]",
            acts.iter().map(|option| signature(option, "|")).collect::<Vec<_>>().join(" | ")
        ));
    }
    let own = others.iter().filter(|option| takes_part(option));
    words.extend(own.map(|option| {
        let again = if matches!(option.get_action(), ArgAction::Append) { "..." } else { "" };
        // The blank between an option and its value is no place to break a line.
        format!("[{}]{again}", signature(option, "|").replace(' ', "\\ "))
    }));
    let mut text = words.join(" ") + "\n";
    if command.get_subcommands().any(|command| !command.is_hide_set()) {
        write!(text, ".PP\n{} \\fICOMMAND\\fR ...\n", bold(name)).expect("writing to memory does not fail");
    }
    text
}

/// The options of a command that are shown.
fn listed(command: &clap::Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|option| !option.is_hide_set() && option.get_long().is_some())
}

/// Whether the option is part of what the command does: not help and version.
fn takes_part(option: &Arg) -> bool {
    !matches!(
        option.get_action(),
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
    )
}

/// What an option does, with its values and its default.
fn description(option: &Arg) -> String {
    let help = option.get_long_help().or(option.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut text = sentences(&help).join("\n");
    if !takes_value(option) {
        return text;
    }
    let values = option.get_possible_values();
    if !values.is_empty() && !option.is_hide_possible_values_set() {
        let words = |value: &clap::builder::PossibleValue| {
            let help = value.get_help().map(ToString::to_string).unwrap_or_default();
            format!("{} ({})", value.get_name(), lower(help.trim_end_matches('.')))
        };
        let words: Vec<_> = values.iter().map(words).collect();
        write!(text, "\nValues: {}.", words.join(", ")).expect("writing to memory does not fail");
    }
    let defaults: Vec<_> = option.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if !defaults.is_empty() {
        write!(text, "\nDefault: {}.", defaults.join(", ")).expect("writing to memory does not fail");
    }
    text
}

/// Whether a value follows the option.
fn takes_value(option: &Arg) -> bool {
    matches!(option.get_action(), ArgAction::Set | ArgAction::Append)
}

/// The option as it is typed, with its short form before it.
fn signature(option: &Arg, between: &str) -> String {
    let short = option.get_short().map(|short| bold(&format!("-{short}")) + between).unwrap_or_default();
    let long = option.get_long().map(|long| bold(&format!("--{long}"))).unwrap_or_default();
    let name = option.get_value_names().filter(|_| takes_value(option)).and_then(<[_]>::first);
    let value = name.map(|name| format!(" \\fI{}\\fR", escaped(name))).unwrap_or_default();
    short + &long + &value
}

/// Text in bold.
fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", escaped(text))
}

/// The paragraphs of a help text, each of which ends like a sentence.
fn sentences(help: &str) -> Vec<String> {
    let ends = |paragraph: &str| {
        let stop = if paragraph.ends_with(['.', ':']) { "" } else { "." };
        paragraph.replace('\n', " ") + stop
    };
    help.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty()).map(ends).collect()
}

/// Text that begins with a small letter, unless its first word is an abbreviation.
fn lower(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

/// The environment variable of each option, as entries of a list.
fn variables(command: &clap::Command) -> String {
    let options = command.get_arguments().filter_map(|option| Some((option.get_env()?, option.get_long()?)));
    options.fold(String::new(), |mut text, (variable, option)| {
        let (variable, option) = (escaped(&variable.to_string_lossy()), escaped(option));
        write!(text, ".TP\n.B {variable}\nStands for\n.BR \\-\\-{option} .\n")
            .expect("writing to memory does not fail");
        text
    })
}

/// The table of exit codes as tagged paragraphs.
fn exits() -> String {
    tagged(Exit::ALL.map(|(exit, meaning)| (exit.code().to_string(), meaning)))
}

/// The table of signals as tagged paragraphs.
fn signals() -> String {
    tagged(SIGNALS.map(|signal| (signal.name.to_owned(), signal.words)))
}

/// Who owns what, from the table that decides it: an entry for each state of receipt and package.
fn ownership() -> String {
    let mut text = String::new();
    for receipt in ReceiptState::ALL {
        for package in PackageState::ALL {
            let verdict = |unit, act| ownership::decide(Situation { receipt, package, unit }, act);
            let one = |act: Act| {
                let plain = verdict(UnitState::Ours, act);
                let others = [UnitState::Copy, UnitState::Masked].map(|unit| (unit, verdict(unit, act)));
                let others = others.iter().filter(|(_, other)| *other != plain);
                let others = others.map(|(unit, other)| format!(" ({}: {})", unit.name(), outcome(*other)));
                format!("{}: {}{}", act.name(), outcome(plain), others.collect::<String>())
            };
            // To the rule, a first installation, a second one and one of a newer program are the same.
            let acts = Act::ALL.into_iter().filter(|act| !matches!(act, Act::Reinstall | Act::Upgrade));
            let acts: Vec<_> = acts.map(one).collect();
            write!(
                text,
                ".TP\n.B receipt {}, package {}\n{}.\n",
                receipt.name(),
                package.name(),
                escaped(&acts.join("; "))
            )
            .expect("writing to memory does not fail");
        }
    }
    text.trim_end().to_owned()
}

/// What happens, as the table of the manual calls it.
fn outcome(verdict: Verdict) -> String {
    match verdict {
        Verdict::Proceed => "done".to_owned(),
        Verdict::Files => "files only".to_owned(),
        Verdict::TakeOver => "take-over".to_owned(),
        Verdict::Leave => "left alone".to_owned(),
        Verdict::Refuse(exit) => format!("refused, {}", exit.code()),
        Verdict::Nothing => "nothing".to_owned(),
    }
}

/// A list of names with what they mean.
fn tagged(entries: impl IntoIterator<Item = (String, &'static str)>) -> String {
    let paragraphs = entries.into_iter().map(|(name, words)| format!(".TP\n.B {name}\n{}\n", escaped(words)));
    paragraphs.collect::<String>().trim_end().to_owned()
}

/// mcpeg.toml(5).
fn configuration() -> String {
    let command = clap::Command::new("mcpeg.toml").about("configuration of the mcpeg gateway");
    let man = Man::new(command).title("MCPEG.TOML").section("5").date(DATE).source(SOURCE);
    let mut page = rendered(|page| man.render_title(page)) + LAYOUT;
    page.push_str(&rendered(|page| man.render_name_section(page)));
    page.push_str(include_str!("manual/toml-head.man"));
    for table in Table::ALL {
        writeln!(page, ".SH [{}]", escaped(table.header())).expect("writing to memory does not fail");
        table.keys().for_each(|key| page.push_str(&entry(&key)));
    }
    page.push_str(include_str!("manual/toml-tail.man"));
    page
}

/// One key: what it is, what it does, and an example.
fn entry(key: &Description) -> String {
    let default = key.default.map(|value| format!("; default {value}")).unwrap_or_default();
    let units = key.units.map(|units| format!("Units: {units}.\n")).unwrap_or_default();
    let since = if key.since == FIRST { String::new() } else { format!("; since {}", key.since) };
    format!(
        ".TP\n\\fB{}\\fR ({}{}{since})\n{}\n{}Example: {}\n",
        escaped(key.name),
        escaped(&key.kind),
        escaped(&default),
        escaped(key.doc),
        if units.is_empty() { units } else { escaped(units.trim_end()) + "\n" },
        escaped(key.example)
    )
}

/// Text as roff shows it, without a line of its own that could be taken for a request.
fn escaped(text: &str) -> String {
    let mut roff = Roff::new();
    roff.text(vec![roman(text)]);
    roff.to_roff().trim_end().to_owned()
}
