//! The manual names all that the program has, and nothing else: options, exit codes, signals, files, configuration keys.

use std::collections::BTreeSet;
use std::path::Path;

use mcpeg::config::key::Description;
use mcpeg::config::keys::Table;
use mcpeg::daemon::{RunPaths, SIGNALS};
use mcpeg::install::Layout;

use crate::generated::{REPOSITORY, pages};

/// Signals that mcpeg sends, or that are out of its reach, each with where the manual speaks of it.
const OTHER_SIGNALS: [&str; 1] = ["SIGKILL"];

/// A page with plain dashes.
fn page(name: &str) -> String {
    let text = std::fs::read_to_string(Path::new(REPOSITORY).join("packaging/man").join(name)).unwrap();
    text.replace("\\-", "-")
}

/// A section of a page, without its heading.
fn section<'a>(page: &'a str, name: &str) -> &'a str {
    let rest = page.split(&format!(".SH {name}\n")).nth(1).unwrap_or_default();
    rest.split("\n.SH ").next().unwrap_or_default()
}

/// Every word of the pages that begins like this.
fn words(begin: &str) -> BTreeSet<String> {
    let text: String = pages().iter().map(|page| std::fs::read_to_string(page).unwrap()).collect();
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.filter(|word| word.starts_with(begin) && word.len() > begin.len()).map(str::to_owned).collect()
}

/// The paths of the FILES sections, as they are written there.
fn files() -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for name in pages().iter().map(|page| page.file_name().unwrap().to_str().unwrap()) {
        let page = page(name);
        let italic = section(&page, "FILES").lines().filter_map(|line| {
            line.strip_prefix(".I ").or_else(|| line.strip_prefix(".IR "))?.split(' ').next()
        });
        files.extend(italic.filter(|path| path.starts_with(['/', '~', '$'])).map(str::to_owned));
    }
    files
}

/// The paths of the program, as the manual writes them.
fn places() -> BTreeSet<String> {
    let layouts = Layout::documented();
    let mut places: BTreeSet<_> = layouts.iter().flat_map(Layout::own).map(Path::to_owned).collect();
    let [production, _] = &layouts;
    let run = RunPaths::resolve(Some(&production.pid_file)).unwrap();
    places.extend([run.lock, run.control]);
    places.extend(production.log_file());
    places.into_iter().map(|path| path.to_str().unwrap().to_owned()).collect()
}

/// Every key of the configuration.
fn keys() -> impl Iterator<Item = Description> {
    Table::ALL.into_iter().flat_map(Table::keys)
}

#[test]
fn manual_lists_every_file_of_the_program_and_no_other() {
    let (listed, places) = (files(), places());
    let missing: Vec<_> = places.difference(&listed).collect();
    assert!(missing.is_empty(), "not in FILES of any page: {missing:#?}");
    // Packages hold a few more: those below /usr that Cargo.toml lists, relative to the root.
    let assets = std::fs::read_to_string(Path::new(REPOSITORY).join("Cargo.toml")).unwrap();
    let packaged = |path: &str| {
        let path = Path::new(path.trim_start_matches('/'));
        let directory = format!("\"{}/\"", path.parent().unwrap().display());
        let name = format!("/{}\"", path.file_name().unwrap().display());
        assets.lines().any(|line| line.contains(&directory) && line.contains(&name))
    };
    let strange: Vec<_> =
        listed.difference(&places).filter(|path| !packaged(path) && *path != "/tmp/mcpeg-UID").collect();
    assert!(strange.is_empty(), "no file of the program: {strange:#?}");
}

#[test]
fn manual_names_every_signal_of_the_program_and_no_other() {
    let manual = page("mcpeg.8");
    let listed: Vec<_> =
        section(&manual, "SIGNALS").lines().filter_map(|line| line.strip_prefix(".B ")).collect();
    assert_eq!(listed, SIGNALS.map(|signal| signal.name));
    for word in words("SIG").into_iter().filter(|word| word != "SIGNALS") {
        let known = SIGNALS.iter().any(|signal| signal.name == word);
        assert!(known || OTHER_SIGNALS.contains(&word.as_str()), "{word}");
    }
}

#[test]
fn manual_names_every_option_exit_code_and_configuration_key() {
    let (manual, configuration) = (page("mcpeg.8"), page("mcpeg.toml.5"));
    let command = <mcpeg::cli::definition::Cli as clap::CommandFactory>::command();
    for option in command.get_arguments().filter_map(clap::Arg::get_long) {
        assert!(manual.contains(&format!("--{option}")), "--{option}");
    }
    for variable in command.get_arguments().filter_map(clap::Arg::get_env) {
        let variable = variable.to_string_lossy();
        assert!(manual.contains(&format!(".B {variable}\n")), "{variable}");
    }
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        assert!(manual.contains(&format!("mcpeg {}", subcommand.get_name())), "{}", subcommand.get_name());
    }
    for (exit, _) in mcpeg::exit::Exit::ALL {
        assert!(manual.contains(&format!(".B {}\n", exit.code())), "exit code {}", exit.code());
    }
    for key in keys() {
        assert!(configuration.contains(key.name), "{}", key.name);
    }
}

#[test]
fn manual_names_nothing_that_the_program_does_not_have() {
    let mut command = <mcpeg::cli::definition::Cli as clap::CommandFactory>::command();
    command.build();
    let mut options: Vec<String> = Vec::new();
    let inner = command.get_subcommands().flat_map(clap::Command::get_subcommands);
    for command in std::iter::once(&command).chain(command.get_subcommands()).chain(inner) {
        options
            .extend(command.get_arguments().filter_map(|option| Some(format!("--{}", option.get_long()?))));
    }
    // Options of other programs: of one in an example, and of systemctl(1).
    options.extend(["--local-timezone", "--user", "--full"].map(str::to_owned));
    for page in pages() {
        let name = page.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(page).unwrap().replace("\\-", "-");
        let plain = ["\\fB", "\\fI", "\\fR"].iter().fold(text.clone(), |text, font| text.replace(font, " "));
        let named = plain.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '-'));
        for option in
            named.filter(|word| word.len() > 2 && word.starts_with("--") && !word.starts_with("---"))
        {
            assert!(options.iter().any(|known| known == option), "{name}: {option} is no option");
        }
        let status = text.split(".SH EXIT STATUS\n").nth(1).unwrap_or_default();
        let status = status.split(".SH ").next().unwrap_or_default();
        for code in
            status.lines().filter_map(|line| line.strip_prefix(".B ")).filter_map(|code| code.parse().ok())
        {
            assert!(mcpeg::exit::Exit::from_code(code).is_some(), "{name}: {code} is no exit code");
        }
        for key in
            text.lines().filter(|_| name == "mcpeg.toml.5").filter_map(|line| line.strip_prefix("\\fB"))
        {
            let key = key.split(['\\', ' ']).next().unwrap_or_default();
            assert!(keys().any(|known| known.name == key), "{key} is no key");
        }
    }
}

#[test]
fn manual_has_the_sections_that_readers_look_for() {
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "FILES", "EXAMPLES", "SECURITY", "SEE ALSO"] {
            assert!(text.contains(&format!(".SH {section}\n")), "{}: {section}", page.display());
        }
        if page.extension().is_some_and(|section| section == "8") {
            assert!(text.contains(".SH EXIT STATUS\n"), "{}", page.display());
        }
    }
    assert!(page("mcpeg.8").contains(".SH ENVIRONMENT\n"));
}
