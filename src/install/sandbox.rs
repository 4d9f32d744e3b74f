//! What the unit that is in force forbids to upstreams and listeners, so that `mcpeg --check` can say so before a start does.
//!
//! systemd is asked, not the unit file: an administrator's drop-in counts, and so does that a changed file has not been
//! read yet. Without a running systemd or an installed unit nothing is forbidden that could be told.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::choices::NAME;
use super::layout::Layout;
use super::target::Target;
use crate::config::{self, ListenAddr, Transport};
use crate::sys::user::is_root;
use crate::systemd::{self, Manager, Properties, Unit};

/// The properties that are asked for.
const PROPERTIES: &str = "LoadState,MemoryDenyWriteExecute,NoExecPaths,ProtectHome,PrivateTmp,IPAddressDeny,\
     ProtectSystem,ReadWritePaths,BindPaths,RuntimeDirectory,StateDirectory,CacheDirectory,LogsDirectory";
/// Where systemd makes the directories of a service, by the property that names them (systemd.exec(5)).
const DIRECTORIES: [(&str, &str); 4] = [
    ("RuntimeDirectory", "/run"),
    ("StateDirectory", "/var/lib"),
    ("CacheDirectory", "/var/cache"),
    ("LogsDirectory", "/var/log"),
];
/// What stays writable under `ProtectSystem=strict`.
const ALWAYS_WRITABLE: [&str; 3] = ["/dev", "/proc", "/sys"];
/// Places that `ProtectHome=` hides (systemd.exec(5)).
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// Places that `PrivateTmp=` replaces.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];
/// Run-time environments that compile while they run, into memory that is writable and executable.
const COMPILING: [&str; 9] = ["node", "npx", "npm", "bun", "deno", "java", "dotnet", "pypy3", "luajit"];

/// What is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sandbox {
    /// The unit.
    unit: String,
    /// What systemd says.
    properties: Properties,
}

/// The unit that an installation or a package starts with this configuration file, be it loaded or not; `None` if there can be
/// none.
pub(crate) fn service_with(configuration: &Path) -> Option<Unit> {
    let directory = configuration.parent()?;
    let name = directory.file_name()?.to_str()?;
    let is_ours = name == NAME || name.starts_with("mcpeg-");
    let above = directory.parent()?;
    if !is_ours || configuration.file_name()? != "mcpeg.toml" || !systemd::is_booted() {
        return None;
    }
    if above == Path::new("/etc") {
        return Some(Unit::new(Manager::System, format!("{name}.service")));
    }
    let runtime = PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR")?);
    let users = !is_root() && directory == config::default_path().parent()?;
    (users && Manager::User.is_running(&runtime)).then(|| Unit::new(Manager::User, format!("{name}.service")))
}

impl Sandbox {
    /// That of the unit which is started with this configuration file; `None` if there is none.
    pub(crate) fn of_service_with(configuration: &Path) -> Option<Self> {
        let unit = service_with(configuration).filter(|unit| unit.manager() == Manager::System)?;
        Self::in_force(unit.name().to_owned())
    }

    /// That of a unit of the system; `None` if systemd does not know it.
    fn in_force(unit: String) -> Option<Self> {
        let properties = Unit::new(Manager::System, unit.as_str()).properties(PROPERTIES).ok()?;
        properties.is_loaded().then_some(Self { unit, properties })
    }

    /// That under which an installation would start the service: of the unit in force, or of the one that will be written,
    /// unless somebody has written drop-ins for it, which only systemd can read.
    pub(super) fn of_installation(target: &Target) -> Option<Self> {
        let Layout { name, unit, .. } = target.layout();
        if target.layout().is_users() || !target.is_booted() {
            return None;
        }
        let drop_ins = |directory: &&str| Path::new(directory).join(format!("{unit}.d")).exists();
        Self::in_force(unit.clone()).or_else(|| {
            let fresh = format!(
                "ProtectHome=yes\nPrivateTmp=yes\nProtectSystem=strict\nRuntimeDirectory={name}\nStateDirectory={name}/home\n\
                 CacheDirectory={name}\nLogsDirectory={name}\n"
            );
            let dropped = ["/etc/systemd/system", "/run/systemd/system"].iter().any(drop_ins);
            (!dropped).then(|| Self::read(unit.clone(), &fresh))
        })
    }

    /// Why nobody could connect to this listener under the unit, or the service not make it; and how that is mended.
    pub(crate) fn hides(&self, listener: &ListenAddr) -> Option<String> {
        let ListenAddr::Unix(path) = listener else { return None };
        let unit = &self.unit;
        let own = DIRECTORIES.iter().flat_map(|(property, above)| {
            self.property(property)
                .split(' ')
                .filter(|name| !name.is_empty())
                .map(|name| Path::new(above).join(name))
        });
        let own: Vec<PathBuf> = own.collect();
        let run = own.first().map_or_else(|| "/run".to_owned(), |directory| directory.display().to_string());
        let instead = format!("put the socket into {run}, or change the unit by `systemctl edit {unit}`");
        let words =
            |property: &str| self.property(property).split(' ').map(str::to_owned).collect::<Vec<_>>();
        let opened: Vec<String> = words("ReadWritePaths")
            .iter()
            .chain(&words("BindPaths"))
            .filter_map(|word| Some(word.trim_start_matches(['-', '+']).split(':').next()?.to_owned()))
            .filter(|word| !word.is_empty())
            .collect();
        let below = |places: &[&'static str]| places.iter().find(|place| path.starts_with(place)).copied();
        if self.property("PrivateTmp") != "no"
            && let Some(place) = below(&TEMPORARY)
        {
            return Some(format!(
                "the unit {unit} has a {place} of its own (PrivateTmp=), in which nobody else sees the socket; {instead}"
            ));
        }
        if opened.iter().any(|place| path.starts_with(place))
            || own.iter().any(|place| path.starts_with(place))
        {
            return None;
        }
        if !matches!(self.property("ProtectHome"), "no" | "")
            && let Some(place) = below(&HOMES)
        {
            return Some(format!("the unit {unit} hides {place} (ProtectHome=); {instead}"));
        }
        (self.property("ProtectSystem") == "strict" && below(&ALWAYS_WRITABLE).is_none()).then(|| {
            let place = path.parent().unwrap_or(Path::new("/")).display();
            format!("the unit {unit} may not write in {place} (ProtectSystem=strict); {instead}")
        })
    }

    /// Understands what `systemctl show` prints.
    fn read(unit: String, text: &str) -> Self {
        Self { unit, properties: Properties::read(text) }
    }

    /// One property; empty if systemd does not know it.
    fn property(&self, name: &str) -> &str {
        self.properties.get(name)
    }

    /// What it forbids to an upstream, and how that is mended.
    pub(crate) fn forbids(&self, transport: &Transport) -> Option<String> {
        match transport {
            Transport::Stdio { command, .. } => self.forbids_program(command),
            Transport::Http { urls, .. } => urls.iter().find_map(|url| self.forbids_peer(url)),
        }
    }

    /// What it forbids to a program.
    fn forbids_program(&self, command: &str) -> Option<String> {
        let unit = &self.unit;
        let install = "`sudo mcpeg install` makes one under which it can";
        if self.property("NoExecPaths").split(' ').any(|path| path == "/") {
            return Some(format!("the unit {unit} in force lets no program run; {install}"));
        }
        let path = resolved(command)?;
        let below = |places: &[&'static str]| places.iter().find(|place| path.starts_with(place)).copied();
        if self.property("ProtectHome") == "yes"
            && let Some(place) = below(&HOMES)
        {
            return Some(format!(
                "the unit {unit} hides {place} (ProtectHome=yes); put the program elsewhere"
            ));
        }
        if self.property("PrivateTmp") != "no"
            && let Some(place) = below(&TEMPORARY)
        {
            return Some(format!(
                "the unit {unit} has a {place} of its own (PrivateTmp=); put the program elsewhere"
            ));
        }
        if self.property("MemoryDenyWriteExecute") == "yes"
            && let Some(runtime) = runtime(&path, 3).filter(|name| COMPILING.contains(&name.as_str()))
        {
            return Some(format!(
                "{runtime} cannot work under the unit {unit} in force (MemoryDenyWriteExecute=yes); {install}, \
                 unless a drop-in forbids it"
            ));
        }
        None
    }

    /// What it forbids to a peer.
    fn forbids_peer(&self, url: &str) -> Option<String> {
        let url: http::Uri = url.parse().ok()?;
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let local = ListenAddr::Tcp { host: host.clone(), port: 0 }.is_local();
        let denied = self.property("IPAddressDeny").split(' ').any(|net| net == "0.0.0.0/0" || net == "any");
        (denied && !local).then(|| {
            format!(
                "the unit {} in force reaches this machine only, not `{host}`; `sudo mcpeg install` makes one that does",
                self.unit
            )
        })
    }
}

/// Where the command's file is, without symbolic links.
fn resolved(command: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> =
        std::env::split_paths(&path).map(|directory| directory.join(command)).collect();
    if command.starts_with('/') {
        places = vec![PathBuf::from(command)];
    }
    places.into_iter().find(|path| path.is_file())?.canonicalize().ok()
}

/// The name of the program that runs the file: its own, or the interpreter of its first line (execve(2)), also of scripts.
fn runtime(path: &Path, depth: usize) -> Option<String> {
    let name = path.file_name()?.to_str()?.to_owned();
    let mut line = String::new();
    let script = std::fs::File::open(path).ok().and_then(|file| {
        BufReader::new(file.take(256)).read_line(&mut line).ok()?;
        line.strip_prefix("#!").map(str::trim)
    });
    let Some(script) = script.filter(|_| depth > 0) else { return Some(name) };
    let mut words = script.split_whitespace().filter(|word| !word.starts_with('-'));
    let interpreter = Path::new(words.next()?);
    // env(1) looks for the next word.
    let interpreter = if interpreter.file_name()? == "env" { words.next()? } else { interpreter.to_str()? };
    match resolved(interpreter) {
        Some(path) => runtime(&path, depth - 1),
        None => Path::new(interpreter).file_name()?.to_str().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stdio upstream with this command.
    fn stdio(command: &str) -> Transport {
        let command = command.to_owned();
        Transport::Stdio {
            command,
            args: Vec::new(),
            env: std::collections::BTreeMap::new(),
            working_dir: None,
            limits: crate::config::Limits::default(),
            user: None,
        }
    }

    /// What is forbidden to a program under these properties.
    fn forbidden(properties: &str, command: &str) -> String {
        Sandbox::read("u.service".to_owned(), properties).forbids(&stdio(command)).unwrap_or_default()
    }

    #[test]
    fn units_without_children_forbid_every_program() {
        assert!(forbidden("NoExecPaths=/", "sh").contains("lets no program run; `sudo mcpeg install`"));
        assert_eq!(forbidden("NoExecPaths=\nProtectHome=yes\nPrivateTmp=yes", "sh"), "");
    }

    #[test]
    fn scripts_of_compiling_runtimes_are_known_by_their_first_line() {
        let directory = tempfile::tempdir().unwrap();
        let script = |name: &str, line: &str| {
            let path = directory.path().join(name);
            std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), line.as_bytes()).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let strict = "MemoryDenyWriteExecute=yes\nPrivateTmp=no";
        let server = script("server", "#!/usr/bin/env -S node --no-warnings\n");
        assert!(forbidden(strict, &server).starts_with("node cannot work"));
        let python = script("python-server", "#!/usr/bin/env python3\nprint()\n");
        assert_eq!(forbidden(strict, &python), "");
        assert_eq!(forbidden("MemoryDenyWriteExecute=no\nPrivateTmp=no", &server), "");
    }

    #[test]
    fn sockets_that_nobody_could_reach_are_named_with_what_hides_them() {
        let unit = "PrivateTmp=yes\nProtectHome=yes\nProtectSystem=strict\nRuntimeDirectory=mcpeg\nStateDirectory=mcpeg/home\n\
                    LogsDirectory=\nReadWritePaths=-/srv/s";
        let hidden = |text: &str, path: &str| {
            let listener = ListenAddr::Unix(PathBuf::from(path));
            Sandbox::read("u.service".to_owned(), text).hides(&listener).unwrap_or_default()
        };
        for (path, why) in [
            ("/tmp/x", "a /tmp of its own (PrivateTmp=)"),
            ("/var/tmp/a/x", "a /var/tmp of its own"),
            ("/home/x", "hides /home (ProtectHome=)"),
            ("/run/user/0/x", "hides /run/user"),
            ("/run/x", "may not write in /run (ProtectSystem=strict)"),
            ("/srv/x", "may not write in /srv (ProtectSystem=strict); put the socket into /run/mcpeg"),
        ] {
            assert!(hidden(unit, path).contains(why), "{path}: {}", hidden(unit, path));
            // Without a sandbox all is open.
            assert_eq!(hidden("PrivateTmp=no\nProtectHome=no\nProtectSystem=no", path), "", "{path}");
        }
        for path in ["/run/mcpeg/x", "/var/lib/mcpeg/home/x", "/srv/s/x", "/dev/shm/x"] {
            assert_eq!(hidden(unit, path), "", "{path}");
        }
    }

    #[test]
    fn hidden_places_are_named() {
        let file = tempfile::Builder::new().prefix("x").tempfile_in("/tmp").unwrap();
        let command = file.path().to_str().unwrap();
        assert!(forbidden("PrivateTmp=yes", command).contains("a /tmp of its own"));
    }

    #[test]
    fn peers_elsewhere_are_out_of_reach_where_packets_stay_here() {
        let sandbox = Sandbox::read("u.service".to_owned(), "IPAddressDeny=::/0 0.0.0.0/0");
        let http = |url: &str| Transport::Http {
            urls: vec!["http://127.0.0.1:1/mcp".to_owned(), url.to_owned()],
            headers: std::collections::BTreeMap::new(),
            client_headers: std::collections::BTreeMap::new(),
            kind: crate::config::HttpTransport::Auto,
            ca_file: None,
            oauth: None,
        };
        assert!(sandbox.forbids(&http("https://example.org/mcp")).unwrap().contains("not `example.org`"));
        assert_eq!(sandbox.forbids(&http("http://[::1]:1/mcp")), None);
        let open = Sandbox::read("u.service".to_owned(), "IPAddressDeny=");
        assert_eq!(open.forbids(&http("https://example.org/mcp")), None);
    }
}
