//! In whose place a check runs: systemd tells it by variables, which [`super::service`] writes.

use std::env;

/// Tells a check that it runs in the place of this unit.
pub(super) const UNIT: &str = "MCPEG_TRIAL_OF";
/// Tells it that socket units hold the listeners.
pub(super) const SOCKETS: &str = "MCPEG_TRIAL_SOCKETS";

/// The unit in whose place this process runs.
pub(super) fn in_the_place_of() -> Option<String> {
    env::var(UNIT).ok().filter(|unit| !unit.is_empty())
}

/// Whether socket units hold the listeners of the service in whose place this process runs.
pub(super) fn has_sockets_passed() -> bool {
    env::var_os(SOCKETS).is_some()
}
