//! `mcpeg tools`, `call`, `read`, `prompt` and `ping`: an MCP client at the terminal.
//!
//! It asks the running gateway over its control socket, as its operator. Another server, an address or a program, is asked
//! through a gateway of the command's own, so that there is one kind of peer: it knows both eras and all transports.
//!
//! | file | owns |
//! |---|---|
//! | `connection` | one request and its answer |
//! | `private` | the gateway between the command and another server |
//! | `schema`, `arguments` | what a tool takes, and what was typed for it |
//! | `form`, `progress`, `show` | what a person is asked, told meanwhile, and shown |
//! | `error` | why there is no answer |
//!
//! Exit codes: 0, 1 if the tool or server answers with an error, 64 if what was typed cannot be sent, 69 if there is no answer.

mod arguments;
mod connection;
mod error;
mod form;
mod private;
mod progress;
mod schema;
mod show;

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fieldwork::Fieldwork;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use self::arguments::{closest, signature};
use self::connection::{Call, Connection};
use self::form::Question;
use self::private::{PrivateGateway, SERVER};
use self::progress::Progress;
use self::schema::Properties;
use self::show::Shown;
use super::definition::{AskedArgs, CallArgs, PingArgs, PromptArgs, ReadArgs, ToolsArgs};
use super::report;
use crate::control::{self, CLIENT_LIMIT, Request};
use crate::daemon::RunPaths;
use crate::daemon::locate::{self, State};
use crate::exit::Exit;
use crate::install;
use crate::text::shown_json;

pub(super) use self::error::Error;
pub(super) use self::private::Server;

/// How long a server may take to be usable, and a question may take whose answer is needed for another.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether a server can be used.
const STEP: Duration = Duration::from_millis(20);
/// How long completion may take.
const COMPLETION: Duration = Duration::from_secs(2);
/// As often may a server ask before it answers.
const ROUNDS: usize = 100;

/// Whom to ask, until dropped.
struct Asked {
    /// The way there.
    connection: Connection,
    /// The gateway between, if it is another server.
    private: Option<PrivateGateway>,
    /// How long an answer may take.
    limit: Option<Duration>,
}

/// What an upstream is found to be.
#[derive(Debug, Fieldwork)]
#[fieldwork(get, vis = "pub(super)")]
pub(super) struct Examined {
    /// Its status.
    upstream: Value,
    /// Its tools, under its own names.
    tools: Vec<Value>,
}

/// What a result may be beside an answer.
#[derive(Deserialize)]
struct Round {
    /// Whether it is one.
    #[serde(default, rename = "resultType")]
    kind: String,
    /// What is asked.
    #[serde(default, rename = "inputRequests")]
    questions: BTreeMap<String, Asks>,
    /// What goes back as it is.
    #[serde(rename = "requestState")]
    state: Option<Value>,
}

/// One thing that is asked.
#[derive(Deserialize)]
struct Asks {
    /// How.
    method: String,
    /// What.
    params: Box<RawValue>,
}

/// `mcpeg tools`.
pub(super) fn tools(arguments: &ToolsArgs) -> Exit {
    finish(&arguments.asked, async |asked: &Asked| {
        let tools = asked.within(asked.connection.list("tools/list", "tools")).await?;
        if let Some(name) = &arguments.name {
            let tool = find(&tools, "name", name, "tool")?;
            return Ok(if arguments.json { report::json(tool, Exit::Done) } else { about(tool) });
        }
        if arguments.json {
            return Ok(report::json(&json!({ "schema": 1, "tools": tools }), Exit::Done));
        }
        if tools.is_empty() {
            return Ok(report::lines("there are no tools", Exit::Done));
        }
        Ok(report::lines(listed(&tools), Exit::Done))
    })
}

/// Tools for people, with what they do, a line each.
pub(super) fn listed(tools: &[Value]) -> String {
    let text = |tool: &Value, member: &str| tool[member].as_str().unwrap_or_default().to_owned();
    let rows: Vec<_> = tools.iter().map(|tool| (text(tool, "name"), text(tool, "description"))).collect();
    show::list(&rows)
}

/// One tool for people: what it does and takes.
fn about(tool: &Value) -> Exit {
    let text = |value: &Value| value.as_str().unwrap_or_default().trim().to_owned();
    let mut lines = vec![text(&tool["name"])];
    lines.extend(Some(text(&tool["description"])).filter(|text| !text.is_empty()));
    let properties = Properties::of(&tool["inputSchema"].to_string()).required_first();
    for property in properties.all() {
        let must = if property.is_required() { ", required" } else { "" };
        let about = property.text("description").map(|text| format!(": {text}")).unwrap_or_default();
        lines.push(format!("  {}={}{must}{about}", property.name(), property.kind()));
    }
    lines.push(String::new());
    lines.push(format!("mcpeg call {} {}", text(&tool["name"]), signature(&properties)));
    report::lines(lines.join("\n"), Exit::Done)
}

/// `mcpeg call`.
pub(super) fn call(arguments: &CallArgs) -> Exit {
    let object = arguments.json.as_ref().and_then(Option::as_ref);
    // `--json` takes the next word; only an object is its own.
    let taken = object.filter(|word| !word.trim_start().starts_with('{'));
    let mut words: Vec<_> = arguments.words.iter().chain(taken).cloned().collect();
    let Some(at) = words.iter().position(|word| !word.contains('=') && !word.starts_with('{')) else {
        let error = Error::usage("no tool is named", "`mcpeg tools` lists them");
        return report::error(&error);
    };
    let name = words.remove(at);
    words.extend(object.filter(|_| taken.is_none()).cloned());
    finish(&arguments.asked, async |asked: &Asked| {
        let tools = asked.within(asked.connection.list("tools/list", "tools")).await?;
        let tool = find(&tools, "name", &name, "tool")?;
        let properties = Properties::of(&tool["inputSchema"].to_string()).required_first();
        let given = arguments::arguments(&words, &properties)?;
        let headers = mirrored(&properties, &given);
        let call = Call::new("tools/call").about("name", &name).with("arguments", given).and_headers(headers);
        let result = asked.answer(call).await?;
        let value: Value = serde_json::from_str(result.get()).unwrap_or_default();
        let failed = value["isError"] == true;
        let exit = if failed { Exit::ToolFailed } else { Exit::Done };
        if arguments.json.is_some() {
            return Ok(report::lines(shown_json(result.get()), exit));
        }
        let mut shown = Shown::new(&name);
        shown.add_result(&value)?;
        let exit = shown.print(exit);
        if failed {
            report::warning(format!("the tool `{name}` reports an error"));
        }
        Ok(exit)
    })
}

/// Headers that repeat arguments, where the tool's schema has them (MCP 2026-07-28 `x-mcp-header`).
fn mirrored(properties: &Properties, given: &Map<String, Value>) -> Vec<(String, String)> {
    let header = |property: &schema::Property| {
        let name = property.text("x-mcp-header")?;
        let value = given.get(property.name())?;
        Some((format!("mcp-param-{name}"), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
    };
    properties.all().iter().filter_map(header).collect()
}

/// `mcpeg read`.
pub(super) fn read(arguments: &ReadArgs) -> Exit {
    finish(&arguments.asked, async |asked: &Asked| {
        let result = asked.answer(Call::new("resources/read").about("uri", &arguments.uri)).await?;
        if arguments.json {
            return Ok(report::lines(shown_json(result.get()), Exit::Done));
        }
        let value: Value = serde_json::from_str(result.get()).unwrap_or_default();
        let contents = value["contents"].as_array().map_or(&[][..], Vec::as_slice);
        let mut stdout = std::io::stdout();
        if !stdout.is_terminal()
            && let Some(bytes) = show::bytes(contents)
        {
            return Ok(report::written(stdout.write_all(&bytes).and_then(|()| stdout.flush()), Exit::Done));
        }
        let name = arguments.uri.rsplit('/').next().unwrap_or_default();
        let mut shown = Shown::new(name);
        for resource in contents {
            shown.add_resource(resource)?;
        }
        Ok(shown.print(Exit::Done))
    })
}

/// `mcpeg prompt`.
pub(super) fn prompt(arguments: &PromptArgs) -> Exit {
    finish(&arguments.asked, async |asked: &Asked| {
        let prompts = asked.within(asked.connection.list("prompts/list", "prompts")).await?;
        let prompt = find(&prompts, "name", &arguments.name, "prompt")?;
        let given = arguments::arguments(&arguments.words, &Properties::of(&as_schema(prompt).to_string()))?;
        let call = Call::new("prompts/get").about("name", &arguments.name).with("arguments", given);
        let result = asked.answer(call).await?;
        if arguments.json {
            return Ok(report::lines(shown_json(result.get()), Exit::Done));
        }
        let mut shown = Shown::new(&arguments.name);
        shown.add_prompt(&serde_json::from_str(result.get()).unwrap_or_default())?;
        Ok(shown.print(Exit::Done))
    })
}

/// The arguments of a prompt as a schema; all of them are texts.
fn as_schema(prompt: &Value) -> Value {
    let all = prompt["arguments"].as_array().into_iter().flatten();
    let named = all.filter_map(|argument| Some((argument["name"].as_str()?, argument)));
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for (name, argument) in named {
        properties
            .insert(name.to_owned(), json!({ "type": "string", "description": argument["description"] }));
        if argument["required"] == true {
            required.push(name);
        }
    }
    json!({ "properties": properties, "required": required, "additionalProperties": false })
}

/// `mcpeg ping`.
pub(super) fn ping(arguments: &PingArgs) -> Exit {
    finish(&arguments.asked, async |asked: &Asked| {
        if let Some(name) = &arguments.asked.upstream {
            let upstream = asked.upstream(name)?;
            if !matches!(upstream["state"].as_str(), None | Some("ready" | "degraded" | "idle")) {
                return Err(unusable(&upstream));
            }
        }
        let begin = Instant::now();
        let result = asked.within(asked.connection.send(&Call::new("server/discover"), |_, _| {})).await?;
        let took = begin.elapsed();
        let value: Value = serde_json::from_str(result.get()).unwrap_or_default();
        let milliseconds = took.as_secs_f64() * 1000.0;
        if arguments.json {
            let answer = json!({ "schema": 1, "milliseconds": milliseconds, "result": value });
            return Ok(report::json(&answer, Exit::Done));
        }
        let who = match (&asked.private, &arguments.asked.upstream) {
            (Some(_), _) => "the server".to_owned(),
            (None, Some(name)) => format!("upstream `{name}`"),
            (None, None) => "the gateway".to_owned(),
        };
        Ok(report::lines(format!("{who} answers in {milliseconds:.1} ms"), Exit::Done))
    })
}

/// The names that a member of a list has, for completion; none where they cannot be had at once.
pub(super) fn names(pid_file: Option<&Path>, [method, list, member]: [&'static str; 3]) -> Vec<String> {
    let socket = || match locate::locate(&RunPaths::resolve(pid_file).ok()?) {
        Ok(State::Running(running)) => Some(running.record.control),
        _ => None,
    };
    let (Some(socket), Ok(runtime)) = (socket(), runtime()) else { return Vec::new() };
    let connection = Connection::new(socket, None, false);
    let all = runtime
        .block_on(async { tokio::time::timeout(COMPLETION, connection.list(method, list)).await.ok()?.ok() });
    all.into_iter().flatten().filter_map(|one| Some(one[member].as_str()?.to_owned())).collect()
}

/// Has the gateway with this control socket use one of its upstreams: what it is, and its tools.
pub(super) fn examine(socket: &Path, name: &str, limit: Option<Duration>) -> Result<Examined, Error> {
    let asked =
        Asked { connection: Connection::new(socket.to_owned(), Some(name), false), private: None, limit };
    complete(asked.examined(name))
}

/// The same of another server.
pub(super) fn examine_server(server: &Server<'_>, limit: Option<Duration>) -> Result<Examined, Error> {
    complete(async {
        let private = PrivateGateway::start(server).await?;
        let connection = Connection::new(private.socket(), Some(SERVER), false);
        Asked { connection, private: Some(private), limit }.examined(SERVER).await
    })
}

/// Asks, and prints what comes of it.
fn finish(arguments: &AskedArgs, work: impl AsyncFnOnce(&Asked) -> Result<Exit, Error>) -> Exit {
    let result = complete(async {
        let asked = Asked::new(arguments).await?;
        if asked.private.is_some() {
            asked.settled(SERVER).await?;
        }
        work(&asked).await.map_err(|error| asked.explained(error))
    });
    result.unwrap_or_else(|error| report::error(&error))
}

/// Runs to the end, or until Ctrl-C.
fn complete<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = runtime().map_err(Error::Start)?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = work => result,
            // What was begun is called off, and a gateway of our own ended.
            _ = tokio::signal::ctrl_c() => Err(Error::Cancelled),
        }
    });
    // A question that nobody answers any more is not waited for.
    runtime.shutdown_background();
    result
}

/// The runtime; servers are started from this thread.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// The entry of this name.
fn find<'a>(all: &'a [Value], member: &str, name: &str, what: &str) -> Result<&'a Value, Error> {
    if let Some(found) = all.iter().find(|one| one[member] == name) {
        return Ok(found);
    }
    let hint = match closest(name, all.iter().filter_map(|one| one[member].as_str())) {
        Some(meant) => format!("there is `{meant}`"),
        None => format!("there are {} {what}s; `mcpeg tools` lists tools", all.len()),
    };
    Err(Error::usage(format!("there is no {what} `{name}`"), hint))
}

impl Asked {
    /// Finds the running gateway, or starts one for another server.
    async fn new(arguments: &AskedArgs) -> Result<Self, Error> {
        let endpoint = arguments.upstream.as_deref();
        let token = token(arguments.token_file.as_deref())?;
        let server = match (&arguments.url, arguments.command.as_slice()) {
            (Some(address), _) => Some(Server::Address(address, token)),
            (None, []) => None,
            (None, program) => Some(Server::Program(program)),
        };
        let private = match server {
            Some(server) => Some(PrivateGateway::start(&server).await?),
            None => None,
        };
        let socket = match &private {
            Some(private) => private.socket(),
            None => running(arguments)?,
        };
        let connection = Connection::new(socket, endpoint, form::is_possible());
        Ok(Self { connection, private, limit: arguments.timeout })
    }

    /// Waits until an upstream has been tried, and can be used or is switched off.
    async fn settled(&self, name: &str) -> Result<Value, Error> {
        let deadline = Instant::now() + self.limit.unwrap_or(PATIENCE);
        loop {
            let upstream = self.upstream(name)?;
            match upstream["state"].as_str() {
                Some("ready" | "degraded" | "idle" | "disabled") => return Ok(upstream),
                Some("starting") if Instant::now() < deadline => tokio::time::sleep(STEP).await,
                Some("starting") => return Err(Error::TimeOut(self.limit.unwrap_or(PATIENCE))),
                _ => return Err(unusable(&upstream)),
            }
        }
    }

    /// What an upstream is, and its tools.
    async fn examined(&self, name: &str) -> Result<Examined, Error> {
        let upstream = self.settled(name).await?;
        if upstream["state"] == "disabled" {
            return Ok(Examined { upstream, tools: Vec::new() });
        }
        let tools = self.within(self.connection.list("tools/list", "tools")).await;
        // One that was idle has been started by that.
        let upstream = self.upstream(name)?;
        match tools {
            Ok(tools) => Ok(Examined { upstream, tools }),
            Err(_) if upstream["last_error"].is_string() => Err(unusable(&upstream)),
            Err(error) => Err(error),
        }
    }

    /// What the gateway tells of an upstream.
    fn upstream(&self, name: &str) -> Result<Value, Error> {
        let mut status =
            control::ask::<Value>(self.connection.socket(), Request::Status, CLIENT_LIMIT)?.value;
        let all = status["upstreams"].as_array_mut().map(std::mem::take).unwrap_or_default();
        Ok(all.into_iter().find(|upstream| upstream["name"] == name).unwrap_or_default())
    }

    /// An error, with what the gateway knows of its cause where a server behind a gateway of our own has failed.
    fn explained(&self, error: Error) -> Error {
        match &error {
            Error::Refused(refusal) if self.private.is_some() && refusal.is_of_upstream() => {
                match self.upstream(SERVER) {
                    Ok(upstream) if upstream["last_error"].is_string() => unusable(&upstream),
                    _ => Error::Unusable(
                        refusal.message().replace(&format!("upstream `{SERVER}`"), "the server"),
                        None,
                    ),
                }
            }
            _ => error,
        }
    }

    /// Waits for an answer for as long as is allowed.
    async fn within<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match self.limit {
            Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or(Err(Error::TimeOut(limit))),
            None => work.await,
        }
    }

    /// The answer to a request, whatever a person is asked before it.
    async fn answer(&self, mut call: Call) -> Result<Box<RawValue>, Error> {
        for _ in 0..ROUNDS {
            let progress = Progress::new();
            let sent = self.connection.send(&call, |method, params| progress.hear(method, params));
            let result = self.within(sent).await?;
            progress.clear();
            let round: Round = match serde_json::from_str(result.get()) {
                Ok(round) => round,
                Err(error) => return Err(Error::Strange(error.to_string())),
            };
            if round.kind != "input_required" {
                return Ok(result);
            }
            if !self.connection.is_interactive() {
                return Err(Error::Nobody);
            }
            let mut answers = Map::new();
            for (name, asks) in round.questions {
                if asks.method != "elicitation/create" {
                    return Err(Error::Strange(format!("it asks for {}", asks.method)));
                }
                let question: Question = serde_json::from_str(asks.params.get()).unwrap_or_default();
                let answer = tokio::task::spawn_blocking(move || form::ask(&question)).await;
                let answer = answer.map_err(|_| Error::Cancelled)?;
                if answer["action"] == "cancel" {
                    report::note("the server is told that you cancel");
                }
                answers.insert(name, answer);
            }
            call = call.with("inputResponses", answers);
            if let Some(state) = round.state {
                call = call.with("requestState", state);
            }
        }
        Err(Error::Strange("it goes on asking".to_owned()))
    }
}

/// Why an upstream cannot be used, and what mends it.
fn unusable(upstream: &Value) -> Error {
    let state = upstream["state"].as_str().unwrap_or("unknown");
    let error = upstream["last_error"].as_str().map_or_else(|| format!("it is {state}"), str::to_owned);
    let mend = upstream["mend"].as_str().map(str::to_owned);
    Error::Unusable(error.replace(&format!("upstream `{SERVER}`"), "the server"), mend)
}

/// The control socket of the running gateway.
fn running(arguments: &AskedArgs) -> Result<PathBuf, Error> {
    let instance = arguments.instance.as_deref().map(|name| install::places_of(name)[1].clone());
    let paths = RunPaths::resolve(instance.or_else(|| arguments.pid_file.clone()).as_deref())?;
    match locate::locate(&paths)? {
        State::Running(running) => Ok(running.record.control),
        State::Stopped | State::Stale(_) => Err(Error::NotRunning),
    }
}

/// The token for the address, from its file or the environment.
pub(super) fn token(file: Option<&Path>) -> Result<Option<String>, Error> {
    let Some(file) = file else { return Ok(std::env::var("MCPEG_TOKEN").ok()) };
    let text = std::fs::read_to_string(file).map_err(|error| Error::File(file.to_owned(), error))?;
    Ok(Some(text.trim().to_owned()))
}
