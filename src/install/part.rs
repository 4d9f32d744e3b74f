//! The parts of an installation, by the names that an operator has for them. Each step belongs to one.

/// A part, in the order in which a plan is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The program.
    Program,
    /// The unit, its start now and at boot.
    Service,
    /// Where clients reach it, and the proof that they do.
    Address,
    /// The account that it runs under.
    Account,
    /// The configuration with its directories.
    Configuration,
    /// The log's directory, and who rotates it.
    Log,
    /// What the service keeps.
    State,
    /// Manual and completions.
    Documents,
}

impl Part {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Program,
        Self::Service,
        Self::Address,
        Self::Account,
        Self::Configuration,
        Self::Log,
        Self::State,
        Self::Documents,
    ];

    /// Its name.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Program => "Program",
            Self::Service => "Service",
            Self::Address => "Listens on",
            Self::Account => "Runs as",
            Self::Configuration => "Configuration",
            Self::Log => "Log",
            Self::State => "State",
            Self::Documents => "Manual and Tab",
        }
    }
}
