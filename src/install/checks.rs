//! What must be so before anything is touched. None of it needs root or changes anything.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;

use super::choices::LogRotation;
use super::error::Error;
use super::layout::Layout;
use super::privileged::exec;
use super::receipt::State;
use super::sandbox::Sandbox;
use super::shadow::{self, Shadow};
use super::target::Target;
use crate::config::{self, ListenAddr};
use crate::sys::holder;
use crate::systemd::Manager;

/// Where logind keeps which users' services go on without a session (loginctl(1) `enable-linger`).
const LINGERING: &str = "/var/lib/systemd/linger";

/// Refuses an installation that could not go well.
pub(super) fn before_install(target: &Target, start: bool, looks_only: bool) -> Result<(), Error> {
    if start && !target.is_booted() {
        return Err(if target.layout().is_users() { Error::NoUserSystemd } else { Error::NoSystemd });
    }
    if !looks_only {
        Manager::check_client()?;
    }
    shadows(target)?;
    state_belongs_to_root(target)?;
    writable(target)?;
    guarded(target)
}

/// Refuses a prefix below a directory that others than root may write, since they could exchange the program. `staff` is
/// the group that Debian lets write into `/usr/local`, and means root as good as (Debian Policy §9.1.2).
fn guarded(target: &Target) -> Result<(), Error> {
    if target.layout().is_users() {
        return Ok(());
    }
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let staff = users::get_group_by_name("staff").map_or(0, |group| group.gid());
    let mut places: Vec<&Path> = target.choices().prefix().ancestors().collect();
    places.extend([target.layout().program.parent()].into_iter().flatten());
    for place in places.into_iter().filter(|place| place.parent().is_some()) {
        let Some(found) = target.tree().look_through(place)? else { continue };
        let by_owner = found.access().uid() != 0 && found.access().uid() != own.0;
        let by_group =
            found.access().mode() & 0o020 != 0 && ![0, own.1, staff].contains(&found.access().gid());
        if by_owner || by_group || found.access().mode() & 0o002 != 0 {
            let shown = target.tree().outside(place);
            return Err(Error::Choice(format!(
                "others may write `{0}`, and could exchange the program; run `chown root {0}` and `chmod go-w {0}`, or \
                 choose another --prefix",
                shown.display()
            )));
        }
    }
    Ok(())
}

/// Refuses if a unit of the same name would hide ours; beside an installation it was made on purpose.
fn shadows(target: &Target) -> Result<(), Error> {
    if target.receipt().is_some_and(|receipt| receipt.state() != State::Removed) {
        return Ok(());
    }
    match shadow::find(target.tree(), target.layout())? {
        None => Ok(()),
        Some(Shadow::Mask(path)) => {
            let (unit, systemctl) = (target.layout().unit.clone(), target.layout().systemctl());
            Err(Error::Masked { unit, path: target.tree().outside(&path), systemctl })
        }
        Some(Shadow::Copy(path)) => {
            let why = "it would hide the unit that mcpeg installs";
            Err(Error::Foreign { path: target.tree().outside(&path), why })
        }
    }
}

/// Refuses a listener to which nobody could connect, since the service will be confined.
pub(super) fn reachable(target: &Target, listeners: &[ListenAddr]) -> Result<(), Error> {
    let files = listeners.iter().filter(|listener| matches!(listener, ListenAddr::Unix(_)));
    let mut files = files.peekable();
    if files.peek().is_none() {
        return Ok(());
    }
    let Some(sandbox) = Sandbox::of_installation(target) else { return Ok(()) };
    for listener in files {
        if let Some(why) = sandbox.hides(listener) {
            return Err(Error::Hidden { listener: listener.to_string(), why });
        }
    }
    Ok(())
}

/// Whether a user's service ends when the user logs out: without lingering, the user's systemd does (loginctl(1)).
pub(crate) fn ends_with_the_session(layout: &Layout) -> bool {
    layout.is_users() && !Path::new(LINGERING).join(&layout.user).exists()
}

/// Refuses a state directory in which somebody else could change the receipt.
fn state_belongs_to_root(target: &Target) -> Result<(), Error> {
    let Layout { state, receipt, .. } = target.layout();
    let owner = if target.layout().is_users() { rustix::process::geteuid().as_raw() } else { 0 };
    if let Some(found) = target.tree().look(receipt)?
        && (found.access().uid() != owner || found.access().mode() & 0o022 != 0)
    {
        let why = "others than its owner, root or you, could have changed it; look at it, then `chown` and `chmod 644`";
        return Err(Error::Foreign { path: target.tree().outside(receipt), why });
    }
    match target.tree().look_through(state)? {
        Some(found)
            if !found.is_directory()
                || found.access().uid() != owner
                || found.access().mode() & 0o022 != 0 =>
        {
            let why = "it must be a directory that only its owner, root or you, can write";
            Err(Error::Foreign { path: target.tree().outside(state), why })
        }
        _ => Ok(()),
    }
}

/// Refuses if a file system that will be written to is mounted read-only.
fn writable(target: &Target) -> Result<(), Error> {
    let Layout { receipt, .. } = target.layout();
    for place in target.layout().files().into_iter().chain([receipt.as_path()]) {
        if let Some(path) = target.tree().read_only_place(place)? {
            return Err(Error::ReadOnly(path));
        }
    }
    Ok(())
}

/// Refuses `--no-enable` where the service is started at boot: that is the administrator's to change.
/// Fails with [`Error::Choice`].
pub(super) fn enabled(target: &Target) -> Result<(), Error> {
    let layout = target.layout();
    if !target.asks_no_enable() || target.tree().look(&layout.wants_link)?.is_none() {
        return Ok(());
    }
    let (systemctl, unit) = (layout.systemctl(), &layout.unit);
    Err(Error::Choice(format!(
        "{unit} is started at boot already; `{systemctl} disable {unit}` changes that"
    )))
}

/// Refuses listeners that were asked for where the configuration, which stays as it is, has others; `stays` are those.
/// Fails with [`Error::Edited`].
pub(super) fn heard(target: &Target, stays: Option<&[ListenAddr]>) -> Result<(), Error> {
    let (Some(asked), Some(stays)) = (target.asked_listeners(), stays) else { return Ok(()) };
    let stays: Vec<String> = stays.iter().map(ToString::to_string).collect();
    if asked == stays {
        return Ok(());
    }
    let file = target.layout().configuration.clone();
    Err(Error::Edited { file, option: "--listen", line: format!("listen = {asked:?}") })
}

/// Refuses to change who rotates the log where the configuration, which stays as it is, says something else, and where there is
/// no logrotate(8).
/// Fails with [`Error::Rotation`], [`Error::NoLogrotate`].
pub(super) fn rotated(target: &Target, stays: Option<&config::Log>) -> Result<(), Error> {
    let (chosen, layout) = (target.choices().log_rotation(), target.layout());
    let before = target.receipt().map(|receipt| receipt.choices().log_rotation()).unwrap_or_default();
    if chosen == before {
        return Ok(());
    }
    let external = chosen == LogRotation::Logrotate;
    if external && target.tree().is_host() && exec::find("logrotate").is_none() {
        return Err(Error::NoLogrotate);
    }
    match (stays, &layout.logrotate) {
        (Some(log), Some(path)) if log.rotation.external != external => {
            let (file, path) = (layout.configuration.clone(), path.clone());
            Err(Error::Rotation { file, path, external })
        }
        _ => Ok(()),
    }
}

/// Refuses listeners that somebody else has, before anything is touched. Those that this process may not try, such as
/// ports below 1024, are left to the service.
pub(super) fn free(listeners: &[ListenAddr]) -> Result<(), Error> {
    let taken = |listener: &&ListenAddr| match listener {
        ListenAddr::Tcp { host, port } => {
            TcpListener::bind((host.as_str(), *port)).is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
        }
        ListenAddr::Unix(_) => false,
    };
    let Some(listener) = listeners.iter().find(taken) else { return Ok(()) };
    let port = match listener {
        ListenAddr::Tcp { port, .. } => Some(*port),
        ListenAddr::Unix(_) => None,
    };
    let who = port.and_then(holder::of_port).map(|who| format!(": {who}")).unwrap_or_default();
    Err(Error::PortInUse { listener: listener.to_string(), who })
}
