//! A gateway of the command's own between it and one server: it knows how servers are started and reached, which era they
//! speak, and why they cannot be used. It ends with the command.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use toml::{Table, Value};

use super::error::Error;
use crate::exit::Exit;
use crate::sys::fs::{Access, Directory};
use crate::sys::process::{self, Kill};

/// The name of its upstream.
pub(super) const SERVER: &str = "server";
/// The variable that the token is in.
const TOKEN: &str = "MCPEG_TOKEN";
/// How long it may take to serve.
const START: Duration = Duration::from_secs(20);
/// How often it is looked whether it does.
const STEP: Duration = Duration::from_millis(10);
/// How long it may take to end.
const END: Duration = Duration::from_secs(3);
/// Variables that say where the caller is, or what the gateway passes on by itself.
const NOT_PASSED: [&str; 11] =
    ["PATH", "HOME", "LANG", "TZ", "USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "SHLVL", "_"];

/// What it is between.
pub(in crate::cli) enum Server<'a> {
    /// A program and its arguments.
    Program(&'a [String]),
    /// An address, and the token for it.
    Address(&'a str, Option<String>),
    /// What this table of a configuration says.
    Table(&'a Table),
}

/// It, until dropped.
#[derive(Debug)]
pub(super) struct PrivateGateway {
    /// Its files.
    directory: TempDir,
    /// The process.
    child: Child,
}

impl PrivateGateway {
    /// Starts it, and returns when it serves.
    pub(super) async fn start(server: &Server<'_>) -> Result<Self, Error> {
        let directory = tempfile::Builder::new().prefix("mcpeg-").tempdir().map_err(Error::Start)?;
        let at = |name: &str| directory.path().join(name);
        let config = at("mcpeg.toml");
        let text = configuration(server, &at("mcp.sock"))?;
        let place = Directory::open(directory.path()).map_err(Error::Start)?;
        let create = |name: &str| place.create_new(name.as_ref(), 0o600, Access::ReadWrite);
        create("mcpeg.toml").and_then(|mut file| file.write_all(text.as_bytes())).map_err(Error::Start)?;
        let errors = create("errors").map_err(Error::Start)?;
        let program = std::env::current_exe().map_err(Error::Start)?;
        let mut command = process::command(program);
        command.arg("--config").arg(&config).arg("--pid-file").arg(at("mcpeg.pid"));
        command.args(["--log-level", "error"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MCPEG_") {
                command.env_remove(name);
            }
        }
        if let Server::Address(_, Some(token)) = server {
            command.env(TOKEN, token);
        }
        process::prepare_child(&mut command);
        process::bind_to_parent(&mut command);
        let child = command.spawn().map_err(Error::Start)?;
        let mut gateway = Self { directory, child };
        gateway.wait().await?;
        Ok(gateway)
    }

    /// Its control socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.directory.path().join("mcpeg.sock")
    }

    /// Waits until it serves.
    async fn wait(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + START;
        // It is bound before it listens.
        while UnixStream::connect(self.socket()).is_err() {
            if let Some(status) = self.child.try_wait().map_err(Error::Start)? {
                let code = status.code().and_then(|code| u8::try_from(code).ok());
                return Err(self.ended(code.and_then(Exit::from_code).unwrap_or(Exit::Bug)));
            }
            if Instant::now() >= deadline {
                return Err(Error::TimeOut(START));
            }
            tokio::time::sleep(STEP).await;
        }
        Ok(())
    }

    /// Why it has ended.
    fn ended(&self, exit: Exit) -> Error {
        let said = std::fs::read_to_string(self.directory.path().join("errors")).unwrap_or_default();
        let message = said.lines().next().unwrap_or("the gateway has ended");
        Error::Ended { message: message.trim_start_matches("mcpeg: error: ").to_owned(), exit }
    }
}

impl Drop for PrivateGateway {
    fn drop(&mut self) {
        // A number that was not waited for is nobody else's.
        let _ = process::signal_group(self.child.id(), Kill::Term);
        let deadline = Instant::now() + END;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(STEP);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Its configuration. Values of the environment stay there.
fn configuration(server: &Server<'_>, socket: &Path) -> Result<String, Error> {
    // A dollar sign that is none of a reference.
    let text = |text: &str| Value::from(text.replace('$', "$$"));
    let mut upstream = Table::new();
    match server {
        Server::Program(words) => {
            let Some((program, arguments)) = words.split_first() else { return Ok(String::new()) };
            let here = std::env::current_dir().map_err(Error::Start)?;
            let program = if program.contains('/') { here.join(program) } else { PathBuf::from(program) };
            upstream.insert("command".to_owned(), text(&program.to_string_lossy()));
            let arguments: Vec<_> = arguments.iter().map(|argument| text(argument)).collect();
            upstream.insert("args".to_owned(), arguments.into());
            upstream.insert("working_dir".to_owned(), text(&here.to_string_lossy()));
            let environment = passed().map(|name| (name.clone(), Value::from(format!("${{env:{name}}}"))));
            upstream.insert("env".to_owned(), environment.collect::<Table>().into());
        }
        Server::Table(table) => upstream.clone_from(table),
        Server::Address(address, token) => {
            upstream.insert("url".to_owned(), text(address));
            if token.is_some() {
                let header = Value::from(format!("Bearer ${{env:{TOKEN}}}"));
                let headers: Table = [("Authorization".to_owned(), header)].into_iter().collect();
                upstream.insert("headers".to_owned(), headers.into());
            }
        }
    }
    upstream.entry("request_timeout").or_insert_with(|| "1day".into());
    let listen = vec![Value::from(format!("unix:{}", socket.display()))];
    let server: Table = [("listen".to_owned(), listen.into())].into_iter().collect();
    let upstreams: Table = [(SERVER.to_owned(), upstream.into())].into_iter().collect();
    let all: Table = [("server".to_owned(), server.into()), ("upstreams".to_owned(), upstreams.into())]
        .into_iter()
        .collect();
    toml::to_string(&all).map_err(|error| Error::Start(io::Error::other(error)))
}

/// The variables that the server has of the caller's environment.
fn passed() -> impl Iterator<Item = String> {
    let is_plain = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !name.starts_with(|first: char| first.is_ascii_digit())
    };
    let names = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    names
        .filter(move |(name, value)| {
            is_plain(name) && value.to_str().is_some() && !NOT_PASSED.contains(&name.as_str())
        })
        .map(|(name, _)| name)
        .filter(|name| !name.starts_with("MCPEG_"))
}
