//! Where events on standard error go, and so how they are written.

use std::env;
use std::ffi::OsStr;

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
    /// For the journal: each line begins with its priority as `<N>`, sd-daemon(3), and has no timestamp, because the
    /// journal adds its own.
    Journal,
}

impl Console {
    /// Chooses the form for this process's standard error. The development profile always writes for a person.
    #[must_use]
    pub fn detect(is_terminal: bool, dev: bool) -> Self {
        let journal = env::var_os("JOURNAL_STREAM").is_some_and(|stream| stderr_is(&stream));
        Self::choose(journal, dev, is_terminal && !wants_no_colour())
    }

    /// [`Console::detect`] with everything that it looks up given.
    const fn choose(journal: bool, dev: bool, colour: bool) -> Self {
        if journal && !dev { Self::Journal } else { Self::Text { colour } }
    }
}

/// Whether standard error is the stream that systemd.exec(5) `$JOURNAL_STREAM` describes as `device:inode`. A service
/// hands the variable on to its children, so that its presence alone proves nothing.
fn stderr_is(stream: &OsStr) -> bool {
    let described = stream.to_str().and_then(|text| text.split_once(':'));
    let Some((device, inode)) = described else { return false };
    rustix::fs::fstat(std::io::stderr()).is_ok_and(|stat| {
        device.parse() == Ok(u128::from(stat.st_dev)) && inode.parse() == Ok(u128::from(stat.st_ino))
    })
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

    #[test]
    fn only_the_described_stream_is_the_journal() {
        let stat = rustix::fs::fstat(std::io::stderr()).unwrap();
        assert!(stderr_is(OsStr::new(&format!("{}:{}", stat.st_dev, stat.st_ino))));
        assert!(!stderr_is(OsStr::new(&format!("{}:{}", stat.st_dev, stat.st_ino + 1))));
        assert!(!stderr_is(OsStr::new("nonsense")));
    }
}
