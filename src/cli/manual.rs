//! The manual pages: clap's own sections from the command line definition, exit codes from their table, configuration
//! keys from theirs, and the sections that a person wrote (`src/cli/manual/*.man`, in man(7) macros).

use std::fmt::Write as _;

use clap::CommandFactory as _;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, roman};

use super::definition::Cli;
use crate::config::reference::{Key, Table};
use crate::exit::Exit;

/// The date of the pages: a constant, so that two builds are the same; changed with the text.
const DATE: &str = "2026-11-22";
/// The name of the collection, in the pages' footer.
const SOURCE: &str = concat!("mcpeg ", env!("CARGO_PKG_VERSION"));

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
    let man = Man::new(command.clone());
    let mut generated = Vec::new();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    man.render_synopsis_section(&mut generated)
        .and_then(|()| man.render_description_section(&mut generated))
        .and_then(|()| man.render_options_section(&mut generated))
        .expect("writing to memory does not fail");
    let generated = String::from_utf8(generated).expect("the definition is UTF-8");
    let mut page = header(name, "8", about.trim_end_matches('.'));
    page.push_str(&clean(&generated));
    for section in sections {
        page.push_str(&section.replace("@EXIT@", &exits()).replace("@VARIABLES@\n", &variables(command)));
    }
    page
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

/// Title line and name.
fn header(name: &str, section: &str, about: &str) -> String {
    let title = name.to_uppercase();
    format!(
        ".TH {} {section} {DATE} \"{SOURCE}\"\n.SH NAME\n{} \\- {}\n",
        escaped(&title),
        escaped(name),
        escaped(about)
    )
}

/// What `clap_mangen` writes, without what mandoc(1) and groff(1) warn about: `.br` before a paragraph, a paragraph at
/// the beginning of a section, and the definitions of its preamble.
fn clean(text: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        let preamble = line.starts_with(".ie ") || line.starts_with(".el ");
        let at_section = lines.last().is_none_or(|last| last.starts_with(".SH"));
        let redundant = line == ".br" || line.is_empty() || (line == ".PP" && at_section);
        if !preamble && !redundant {
            lines.push(line);
        }
    }
    // The string Aq is one that the left-out preamble would have defined; the character is named aq.
    let mut text = lines.join("\n").replace(r"\*(Aq", r"\(aq");
    text.push('\n');
    text
}

/// The table of exit codes as tagged paragraphs.
fn exits() -> String {
    let mut text = String::new();
    for (exit, meaning) in Exit::ALL {
        write!(text, ".TP\n.B {}\n{}\n", exit.code(), escaped(meaning))
            .expect("writing to memory does not fail");
    }
    text.trim_end().to_owned()
}

/// mcpeg.toml(5).
fn configuration() -> String {
    let mut page = header("mcpeg.toml", "5", "configuration of the mcpeg gateway");
    page.push_str(include_str!("manual/toml-head.man"));
    for table in Table::ALL {
        writeln!(page, ".SH [{}]", escaped(table.header())).expect("writing to memory does not fail");
        table.keys().for_each(|key| page.push_str(&entry(key)));
    }
    page.push_str(include_str!("manual/toml-tail.man"));
    page
}

/// One key: what it is, what it does, and an example.
fn entry(key: &Key) -> String {
    let default = key.default.map(|value| format!("; default {value}")).unwrap_or_default();
    let units = key.kind.units().map(|units| format!("Units: {units}.\n")).unwrap_or_default();
    format!(
        ".TP\n\\fB{}\\fR ({}{}; since {})\n{}\n{}Example: {}\n",
        escaped(key.name),
        escaped(&key.type_in_words()),
        escaped(&default),
        key.since(),
        escaped(key.description),
        if units.is_empty() { units } else { escaped(units.trim_end()) + "\n" },
        escaped(key.example)
    )
}

/// Text as roff shows it, without a line of its own that could be taken for a request.
fn escaped(text: &str) -> String {
    let lines: Vec<Inline> = vec![roman(text)];
    let mut roff = Roff::new();
    roff.text(lines);
    roff.to_roff().trim_end().to_owned()
}
