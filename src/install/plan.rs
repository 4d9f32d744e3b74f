//! The plan of an installation: what is there is compared with what shall be, without any effect.
//!
//! The order of the steps: the account's declaration and the account, because directories and files belong to it;
//! directories before what lies in them; the unit last of the files; then systemd, and at the end the proof.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fieldwork::Fieldwork;

use super::account::{Owner, Rights};
use super::assets::{self, Content, Units};
use super::configuration::Needs;
use super::error::Error;
use super::layout;
use super::part::Part;
use super::privileged::Digest;
use super::receipt::State;
use super::shadow::{self, Shadow};
use super::step::account::Account;
use super::step::action::Step;
use super::step::boot_link::BootLink;
use super::step::contexts::Contexts;
use super::step::daemon_reload::DaemonReload;
use super::step::directory::Directory;
use super::step::file::File;
use super::step::probe::Probe;
use super::step::service::{Change, Service};
use super::step::unit_copy::UnitCopy;
use super::step::unmask::Unmask;
use super::target::Target;
use super::verify::Entrance;
use super::{checks, configuration, service, situation, step};
use crate::render::Confinement;

/// What the operator asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct InstallOptions {
    /// Whether the service shall be started.
    pub(crate) start: bool,
    /// Whether the plan is only shown.
    pub(crate) looks_only: bool,
    /// The file to install as configuration; `None` is the default one.
    pub(crate) configuration: Option<PathBuf>,
    /// Manual, files for monitoring, and completions, in the order of [`super::layout::Layout::documents`].
    pub(crate) documents: Vec<&'static [u8]>,
}

/// The steps of an installation, in order.
#[derive(Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(crate)")]
pub(crate) struct Plan {
    /// See [`Step`].
    #[field(get)]
    steps: Vec<Step>,
    /// The digest of this version's default configuration.
    default_configuration: Digest,
    /// What the configuration says, as far as it can be told.
    needs: Needs,
    /// What the installation is for whoever runs it.
    #[field(get)]
    occasion: Occasion,
}

/// What an installation is for whoever runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// There is none yet.
    First,
    /// There was one, whose configuration, state and log are there.
    Again,
    /// A package of this name has the service, and gives it up.
    Adoption(String),
    /// The program is exchanged for another one, which replaces this version.
    Upgrade(String),
    /// Something else is changed of an installation that is there.
    Update,
    /// Everything is as it should be.
    Nothing,
}

/// Makes a plan.
struct Planner<'a> {
    /// On what.
    target: &'a Target,
    /// The steps so far.
    steps: Vec<Step>,
    /// How many of them know their part.
    told: usize,
    /// Directories that have their step.
    directories: BTreeSet<PathBuf>,
    /// What systemd reads in place of the unit.
    shadow: Option<Shadow>,
    /// Whether the service is started, or gets another process.
    starts: bool,
}

impl Plan {
    /// Compares the target with what an installation makes of it.
    /// Fails with the refusals of `checks`, [`Error::Foreign`], and those of looking.
    pub(crate) fn of_install(target: &Target, options: &InstallOptions) -> Result<Self, Error> {
        let layout = target.layout();
        if !layout.is_users() {
            situation::before_install(target)?;
        }
        checks::before_install(target, options.start, options.looks_only)?;
        let file = options.configuration.as_deref();
        if let Some(file) = file {
            configuration::check(target, file)?;
        }
        let needs = configuration::needs(target, file);
        if options.start && !service::is_active(layout)? {
            checks::free(needs.listen())?;
        }
        if options.start {
            checks::reachable(target, needs.listen())?;
        }
        checks::rotated(target, needs.log())?;
        let units = assets::render(layout, target.choices(), needs.confinement())?;
        let default_configuration = text(units.configuration.clone()).digest()?;
        let shadow = shadow::find(target.tree(), layout)?;
        let (steps, directories) = (Vec::new(), BTreeSet::new());
        let mut planner = Planner { target, steps, told: 0, directories, shadow, starts: false };
        planner.files(units, options)?;
        planner.systemd(options.start)?;
        let Planner { steps, starts, .. } = planner;
        let writes = |step: &Step| step.acts() && step.path() == Some(&layout.configuration);
        let configured = needs.log().map(|_| needs.listen());
        checks::heard(target, configured)?;
        checks::enabled(target)?;
        if starts && !steps.iter().any(writes) {
            configuration::check_installed(target)?;
        }
        let occasion = Occasion::of(target, &steps);
        Ok(Self { steps, default_configuration, needs, occasion })
    }

    /// The digest of this version's default configuration, and how the unit is confined, for the receipt.
    pub(super) fn default_and_confinement(&self) -> (Digest, Confinement) {
        (self.default_configuration.clone(), self.needs.confinement())
    }

    /// Where clients will reach the service; empty if that cannot be told.
    pub(crate) fn entrances(&self) -> Vec<Entrance> {
        self.needs.entrances()
    }

    /// The log file, or `None` for the journal alone; `None` if the configuration cannot be read.
    #[expect(clippy::option_option, reason = "one is about the configuration, and one about the log")]
    pub(crate) fn log_file(&self, target: &Target) -> Option<Option<PathBuf>> {
        match self.needs.log() {
            Some(log) => Some(log.file.clone()),
            None => (!self.needs.listen().is_empty()).then(|| target.layout().log_file()),
        }
    }

    /// Whether the service can start programs, and whether it reaches this machine only.
    pub(crate) fn confinement(&self) -> Confinement {
        self.needs.confinement()
    }

    /// The steps of a part, in order.
    pub(crate) fn part(&self, part: Part) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(move |step| step.part() == part)
    }

    /// Who runs the service, where it listens, and what it can do, in a sentence.
    pub(crate) fn summary(&self, target: &Target) -> String {
        let layout = target.layout();
        let listen: Vec<String> = self.needs.listen().iter().map(ToString::to_string).collect();
        let listens =
            if listen.is_empty() { String::new() } else { format!(" and listens on {}", listen.join(", ")) };
        let runs = format!("{} runs as {}:{}{listens}", layout.name, layout.user, layout.group);
        if layout.is_users() {
            return format!("{runs}.");
        }
        let Confinement { children, loopback } = self.needs.confinement();
        let programs = if children { "can start programs" } else { "can start no program" };
        let network = if loopback { "reaches this machine only" } else { "can reach the network" };
        format!("{runs}; it {programs} and {network}.")
    }

    /// Whether the program's file is exchanged, which other instances use too.
    pub(crate) fn writes_program(&self, target: &Target) -> bool {
        self.steps.iter().any(|step| step.replaces(&target.layout().program))
    }

    /// Whether any step changes anything.
    pub(crate) fn changes(&self) -> bool {
        self.steps.iter().any(Step::changes)
    }

    /// Whether any step changes a file or an account.
    pub(crate) fn mends(&self) -> bool {
        self.steps.iter().any(|step| step.changes() && step.mark() != '>')
    }
}

impl Occasion {
    /// That of these steps.
    fn of(target: &Target, steps: &[Step]) -> Self {
        let writes = |step: &&Step| step.replaces(&target.layout().program);
        let live = target.receipt().filter(|receipt| receipt.state() != State::Removed);
        match (live, target.package()) {
            (None, Some(package)) if target.adopts() => Self::Adoption(package.name().to_owned()),
            (None, _) if target.receipt().is_none() => Self::First,
            (None, _) => Self::Again,
            _ if !steps.iter().any(Step::changes) => Self::Nothing,
            (Some(receipt), _) if steps.iter().any(|step| writes(&step)) => {
                Self::Upgrade(receipt.program().to_owned())
            }
            _ => Self::Update,
        }
    }

    /// Whether there is an installation already.
    pub(crate) const fn is_later(&self) -> bool {
        matches!(self, Self::Upgrade(_) | Self::Update | Self::Nothing)
    }
}

impl Planner<'_> {
    /// Account, directories and files.
    fn files(&mut self, units: Units, options: &InstallOptions) -> Result<(), Error> {
        let layout = self.target.layout();
        if let Some(sysusers) = &layout.sysusers {
            self.file(sysusers, text(units.sysusers), root(0o644))?;
            // systemd-sysusers writes below /etc, which an image may lack.
            self.directories_above(&layout.configuration_directory)?;
            self.steps.push(Account::plan(self.target)?);
        }
        self.end(Part::Account);
        for directory in [&layout.configuration_directory, &layout.drop_ins] {
            self.directory(directory, Rights::new(0o750, Owner::Readable))?;
        }
        let asked = options.configuration.as_deref();
        self.steps.extend(step::configuration::plan(self.target, asked, text(units.configuration))?);
        if let Some(tmpfiles) = &layout.tmpfiles {
            self.file(tmpfiles, text(units.tmpfiles), root(0o644))?;
        }
        self.end(Part::Configuration);
        self.services(layout.home.iter().chain(&layout.cache), Part::State)?;
        self.services(layout.logs.iter(), Part::Log)?;
        if let Some(path) = &layout.logrotate {
            let step = step::logrotate::plan(self.target, path, units.logrotate)?;
            if step.is_some() {
                self.directories_above(path)?;
            }
            self.steps.extend(step);
        }
        self.steps.extend(step::strays::plan(self.target));
        self.end(Part::Log);
        for (path, document) in layout.documents.iter().zip(&options.documents) {
            self.file(path, Content::Bytes(Cow::Borrowed(document)), root(0o644))?;
        }
        self.end(Part::Documents);
        self.file(&layout.program, Content::Program, root(0o755))?;
        self.end(Part::Program);
        for (path, unit) in layout.watcher.iter().flatten().zip(units.watcher.into_iter().flatten()) {
            self.file(path, text(unit), root(0o644))?;
        }
        let unit = text(units.service);
        self.file(&layout.unit_file, unit.clone(), root(0o644))?;
        if let Some(Shadow::Copy(path)) = &self.shadow {
            self.steps.push(UnitCopy::plan(path.clone(), unit));
        }
        Ok(())
    }

    /// Directories of the service, which are all of a part so far.
    fn services<'b>(
        &mut self,
        directories: impl Iterator<Item = &'b PathBuf>,
        part: Part,
    ) -> Result<(), Error> {
        for directory in directories {
            self.directory(directory, Rights::new(0o750, Owner::Service))?;
        }
        self.end(part);
        Ok(())
    }

    /// Says of the steps since the last call that they belong to a part.
    fn end(&mut self, part: Part) {
        self.steps[self.told..].iter_mut().for_each(|step| step.belongs_to(part));
        self.told = self.steps.len();
    }

    /// The steps after the files.
    fn systemd(&mut self, start: bool) -> Result<(), Error> {
        let (target, layout) = (self.target, self.target.layout());
        let written = self.steps.iter().filter(|step| step.acts()).filter_map(Step::path);
        let written: Vec<_> = written.map(Path::to_owned).collect();
        self.steps.extend(Contexts::plan(target, &written));
        let writes = |paths: &[&PathBuf]| written.iter().any(|path| paths.contains(&path));
        let units: Vec<_> =
            std::iter::once(&layout.unit_file).chain(layout.watcher.iter().flatten()).collect();
        // A command that was killed may have written the unit and not told systemd.
        let unfinished = target.receipt().is_some_and(|receipt| receipt.state() != State::Installed);
        let units_changed = writes(&units) || unfinished;
        self.steps.extend(Unmask::plan(target)?);
        if target.is_booted() && units_changed {
            self.steps.push(DaemonReload::plan());
        }
        let masked = matches!(self.shadow, Some(Shadow::Mask(_)));
        let mut disabled = false;
        if target.choices().enable() {
            let link = BootLink::plan(target, unfinished, masked)?;
            disabled = link.kept_because().is_some();
            self.directories_above(&layout.wants_link)?;
            self.steps.push(link);
        }
        if start {
            let change = match units_changed {
                // What hides the unit has not changed.
                true if self.shadow.is_none() => Change::Unit,
                _ if writes(&[&layout.program, &layout.configuration]) => Change::Program,
                _ => Change::Nothing,
            };
            let (service, nothing) = Service::plan(target, change, masked, disabled)?;
            self.starts = service.acts();
            self.steps.push(service);
            self.end(Part::Service);
            self.steps.push(Probe::plan(nothing));
            self.end(Part::Address);
        }
        Ok(())
    }

    /// A file of ours with the directories above it.
    fn file(&mut self, path: &Path, content: Content, rights: Rights) -> Result<(), Error> {
        self.directories_above(path)?;
        self.steps.push(File::plan(self.target, path, content, rights)?);
        Ok(())
    }

    /// A directory of ours with those above it.
    fn directory(&mut self, path: &Path, rights: Rights) -> Result<(), Error> {
        self.directories_above(path)?;
        self.one_directory(path.to_owned(), rights)
    }

    /// The directories above a path.
    fn directories_above(&mut self, path: &Path) -> Result<(), Error> {
        let mut above = layout::above(path).into_iter();
        above.try_for_each(|above| self.one_directory(above, root(0o755)))
    }

    /// One directory, unless it has its step.
    fn one_directory(&mut self, path: PathBuf, rights: Rights) -> Result<(), Error> {
        if self.directories.insert(path.clone()) {
            self.steps.extend(Directory::plan(self.target, path, rights)?);
        }
        Ok(())
    }
}

/// The rights of what is root's.
const fn root(mode: u32) -> Rights {
    Rights::new(mode, Owner::Root)
}

/// Text as the content of a file.
fn text(text: String) -> Content {
    Content::Bytes(Cow::Owned(text.into_bytes()))
}
