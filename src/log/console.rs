//! Where events on standard error go, and so how they are written.

use std::env;

use crate::systemd::journal;

/// The form of events on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// None; the gateway is in the background.
    Off,
    /// For a person.
    Text {
        /// With colours.
        colour: bool,
    },
    /// For the journal: each line begins with its priority as `<N>`, sd-daemon(3); the journal adds the timestamp.
    Journal,
}

impl Console {
    /// Chooses the form for this process's standard error. The development profile always writes for a person.
    #[must_use]
    pub fn detect(is_terminal: bool, dev: bool) -> Self {
        Self::choose(journal::has_stderr(), dev, is_terminal && !wants_no_colour())
    }

    /// [`Console::detect`] with everything that it looks up given.
    const fn choose(journal: bool, dev: bool, colour: bool) -> Self {
        if journal && !dev { Self::Journal } else { Self::Text { colour } }
    }
}

/// Whether the user's environment asks for no colours: <https://no-color.org>, and terminals that cannot.
fn wants_no_colour() -> bool {
    env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || env::var_os("TERM").is_some_and(|terminal| terminal == "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_wins_except_in_the_development_profile() {
        assert_eq!(Console::choose(true, false, true), Console::Journal);
        assert_eq!(Console::choose(true, true, true), Console::Text { colour: true });
        assert_eq!(Console::choose(false, false, false), Console::Text { colour: false });
    }

    #[test]
    fn without_a_terminal_there_are_no_colours() {
        assert_eq!(Console::detect(false, true), Console::Text { colour: false });
    }
}
