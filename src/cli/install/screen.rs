//! The first screen of an installation: what it is for, what will be true afterwards, and the way back.

use super::plan::{self, command};
use crate::cli::terminal::{headline, marked, row, symbol, wrapped, wrapped_after};
use crate::install::{self, Entrance, Layout, Occasion, Part, Plan, Step, Target};
use crate::render::Confinement;
use crate::systemd::journal;

/// The version that is installed.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is planned.
pub(super) struct Screen<'a> {
    /// On what.
    target: &'a Target,
    /// What.
    plan: &'a Plan,
}

impl<'a> Screen<'a> {
    /// The screen of a plan.
    pub(super) const fn new(target: &'a Target, plan: &'a Plan) -> Self {
        Self { target, plan }
    }

    /// Its lines, from the headline to the way back.
    pub(super) fn lines(&self) -> Vec<String> {
        let layout = self.target.layout();
        let is_later = self.plan.occasion().is_later();
        let mut lines = vec![headline(&self.head()), String::new()];
        lines.extend(
            Part::ALL.map(|part| row(is_later.then(|| self.mark(part)), part.label(), &self.fact(part))),
        );
        lines.push(String::new());
        lines.push(wrapped(&self.changes(), 0));
        let kept = self.plan.steps().iter().filter(|step| step.kept_because().is_some());
        lines.extend(kept.map(|step| marked('=', &wrapped_after(&step.shown(layout), 2))));
        lines.extend(session(layout).map(|text| wrapped(text, 0)));
        lines
    }

    /// What has drifted, and how it is mended.
    pub(super) fn drift(&self) -> String {
        let is_later = self.plan.occasion().is_later();
        let what = if is_later { "has drifted" } else { "is not installed here" };
        let head = format!("{} {what}: {}", self.target.layout().name, self.count());
        let command = command(self.target, "install", "");
        let way = format!("`{command}` makes {}.", if is_later { "it as it was" } else { "them" });
        [
            headline(&head),
            String::new(),
            plan::details(self.target, self.plan, !is_later),
            String::new(),
            wrapped(&way, 0),
        ]
        .join("\n")
    }

    /// The question that goes with it.
    pub(super) fn question(&self) -> &'static str {
        match self.plan.occasion() {
            Occasion::Adoption(_) => "\nTake mcpeg over as shown?",
            Occasion::Upgrade(_) => "\nUpgrade mcpeg as shown?",
            Occasion::Update => "\nUpdate mcpeg as shown?",
            _ => "\nInstall mcpeg as shown?",
        }
    }

    /// What the installation is for.
    fn head(&self) -> String {
        let layout = self.target.layout();
        let whose = match (self.target.image(), layout.is_users()) {
            (Some(root), _) => format!("in the image {}", root.display()),
            (_, true) => format!("as a service of {}, for development", layout.user),
            _ => "as a service of this machine".to_owned(),
        };
        let instance = if layout.name == "mcpeg" { String::new() } else { format!(" as {}", layout.name) };
        match self.plan.occasion() {
            Occasion::First => format!("Install mcpeg {VERSION}{instance} {whose}"),
            Occasion::Again => {
                format!(
                    "Install mcpeg {VERSION}{instance} again {whose}; its configuration and state are there"
                )
            }
            Occasion::Adoption(package) => {
                format!("Take mcpeg {VERSION} over from the package `{package}`{}", self.service_goes_on())
            }
            Occasion::Upgrade(before) if before == VERSION => {
                format!(
                    "Exchange mcpeg {VERSION}{instance} for another build of it{}",
                    self.service_goes_on()
                )
            }
            Occasion::Upgrade(before) => {
                let arrow = symbol("→", "->");
                format!("Upgrade mcpeg{instance} {before} {arrow} {VERSION}{}", self.service_goes_on())
            }
            Occasion::Update => format!("Update mcpeg {VERSION}{instance}{}", self.service_goes_on()),
            Occasion::Nothing => format!("mcpeg {VERSION}{instance} is installed; nothing has to be changed"),
        }
    }

    /// What clients of a service that runs notice, as the end of a sentence.
    fn service_goes_on(&self) -> &'static str {
        let layout = self.target.layout();
        match self.service().filter(|step| step.acts()) {
            Some(step) if step.kind(layout) == "upgrade" => "; no request will be lost",
            Some(step) if step.is_replacement() => "; the service restarts, and new connections wait for it",
            _ => "",
        }
    }

    /// The step that starts the service, or has it go on with what is new.
    fn service(&self) -> Option<&Step> {
        let layout = self.target.layout();
        self.plan.part(Part::Service).find(|step| matches!(step.kind(layout), "start" | "upgrade"))
    }

    /// Whether a part is new, changes, or is as it was.
    fn mark(&self, part: Part) -> &'static str {
        let file = self.target.layout().configuration.as_path();
        // Where it listens is written in the configuration.
        let is_of = |step: &&Step| match part {
            Part::Address => step.path() == Some(file),
            _ => step.part() == part,
        };
        let steps = self.plan.steps().iter().filter(is_of);
        let marks: Vec<char> = steps.filter(|step| step.changes()).map(Step::mark).collect();
        match marks.as_slice() {
            [] => "=",
            all if all.iter().all(|mark| *mark == '+') => "+",
            _ => "~",
        }
    }

    /// What will be true of a part.
    fn fact(&self, part: Part) -> String {
        let layout = self.target.layout();
        match part {
            Part::Program => layout.program.display().to_string(),
            Part::Service => format!("{}: {}", layout.unit, self.service_state()),
            Part::Address => self.address(),
            Part::Account => self.account(),
            Part::Configuration => {
                let (file, more) = (layout.configuration.display(), layout.drop_ins.display());
                format!("{file}, and a file for each upstream in {more}")
            }
            Part::Log => self.log(),
            Part::State => {
                let cache = layout.cache.as_ref().map(|cache| format!(", cache in {}", cache.display()));
                format!("{}{}", layout.state.display(), cache.unwrap_or_default())
            }
            Part::Documents => "man mcpeg; completion in bash, zsh and fish".to_owned(),
        }
    }

    /// What becomes of the service now, and at boot.
    fn service_state(&self) -> String {
        let layout = self.target.layout();
        let step = self.service();
        let now = match (step, step.and_then(Step::kept_because)) {
            (None, _) => "not started now".to_owned(),
            (_, Some(why)) => format!("left as it is ({why})"),
            (Some(step), _) if !step.acts() => "runs".to_owned(),
            (Some(step), _) if step.kind(layout) == "upgrade" => "goes on with what is new".to_owned(),
            (Some(step), _) if step.is_replacement() => "restarts now".to_owned(),
            _ => "starts now".to_owned(),
        };
        let when = if layout.is_users() { "when you log in" } else { "at boot" };
        let link = self.plan.part(Part::Service).find(|step| step.kind(layout) == "enable");
        match link.map(Step::kept_because) {
            Some(None) if now == "starts now" => format!("{now} and {when}"),
            Some(None) => format!("{now}; starts {when}"),
            None | Some(Some(_)) => format!("{now}; does not start {when}"),
        }
    }

    /// Where clients reach it, and who can.
    fn address(&self) -> String {
        let entrances = self.plan.entrances();
        if entrances.is_empty() {
            return format!("what {} says", self.target.layout().configuration.display());
        }
        let is_local = entrances.iter().all(|entrance| entrance.listener.is_local());
        let named: Vec<String> = entrances.iter().map(named).collect();
        let who = if is_local { "from this machine only" } else { "also from other machines" };
        format!("{} ({who})", named.join(", "))
    }

    /// As whom it runs, and how far it is confined.
    fn account(&self) -> String {
        let layout = self.target.layout();
        if layout.is_users() {
            return format!("{}, with all rights of that user", layout.user);
        }
        let group =
            if layout.group == layout.user { String::new() } else { format!(" (group {})", layout.group) };
        let Confinement { children, loopback } = self.plan.confinement();
        let programs = if children { "starts programs of upstreams" } else { "starts no program" };
        let network = if loopback { "reaches this machine only" } else { "reaches the network" };
        format!(
            "the account {}{group}, not root; confined: writes to its own directories only, {programs}, {network}",
            layout.user
        )
    }

    /// Where the log is.
    fn log(&self) -> String {
        let layout = self.target.layout();
        match self.plan.log_file(self.target) {
            None => format!("where {} says", layout.configuration.display()),
            Some(None) => format!("the journal: {}", journal::line(&layout.service())),
            Some(Some(file)) => {
                let who = if self.target.is_rotated_by_logrotate() { "logrotate" } else { "mcpeg" };
                format!("{}, rotated by {who}; also in the journal", file.display())
            }
        }
    }

    /// How much changes.
    fn count(&self) -> String {
        changes(self.plan.steps().iter().filter(|step| step.changes()).count())
    }

    /// How much changes, and the way back.
    fn changes(&self) -> String {
        let changes = self.count();
        match self.plan.occasion() {
            Occasion::Nothing => "Everything is as it should be.".to_owned(),
            occasion if occasion.is_later() => format!("{changes} (+ new, ~ changed, = as it is)."),
            _ => format!(
                "{changes}, undone by `{}`, which keeps configuration, log and state unless --purge is given.",
                command(self.target, "uninstall", "")
            ),
        }
    }
}

/// A number of changes.
pub(super) fn changes(count: usize) -> String {
    if count == 1 { "1 change".to_owned() } else { format!("{count} changes") }
}

/// A listener as clients are told it.
fn named(entrance: &Entrance) -> String {
    install::endpoint(entrance).unwrap_or_else(|| format!("{}, path /mcp", entrance.listener))
}

/// What a user must know whose services end with the session.
pub(super) fn session(layout: &Layout) -> Option<&'static str> {
    install::ends_with_the_session(layout).then_some(
        "It ends when you log out, and starts when you log in; `loginctl enable-linger` keeps it running.",
    )
}
