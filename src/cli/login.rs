//! `mcpeg login` and `mcpeg logout`: the tokens that an upstream wants of mcpeg.
//!
//! The command takes the configuration as the gateway has it that runs: with its environment and credentials. It writes what
//! it gets into the state directory, where the gateway finds it by itself.

use std::io;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::time::timeout;

use super::definition::{LoginArgs, LogoutArgs};
use super::redirect::Redirect;
use super::report;
use super::state_place::{Place, state_directory};
use crate::config::{self, Flow, OAuth, Source, Transport, Upstream, UpstreamName};
use crate::control::Act;
use crate::daemon::PathsError;
use crate::exit::{Exit, ToExit, chain};
use crate::gateway;
use crate::oauth::{self, Authority, Authorization, Client, Device, Granted, Login, Store, Web};

/// The schema of the answers.
const SCHEMA: u32 = 1;
/// How long a person may take with a browser.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Why there is no login.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The run-time directory.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// Certificates.
    #[error(transparent)]
    Gateway(#[from] gateway::Error),
    /// A server, or the file of the login.
    #[error(transparent)]
    OAuth(#[from] oauth::Error),
    /// There is no such upstream.
    #[error("the configuration has no upstream `{name}`")]
    Unknown {
        /// Its name.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The upstream wants no login, as far as is written.
    #[error("upstream `{0}` has no `oauth` in the configuration")]
    NoOauth(String),
    /// Nobody logs in there.
    #[error("upstream `{0}` needs no login: the gateway gets its tokens by client_id and client_secret")]
    NoPerson(String),
    /// The place that browsers come back to.
    #[error("cannot listen on port {0} of this machine")]
    Bind(u16, #[source] io::Error),
    /// The runtime.
    #[error("cannot begin")]
    Runtime(#[source] io::Error),
    /// Nobody has come back.
    #[error("nobody has logged in within {} min", PATIENCE.as_secs() / 60)]
    Late,
}

impl ToExit for Error {
    fn to_exit(&self) -> Exit {
        match self {
            Self::Paths(error) => error.to_exit(),
            Self::Config(error) => error.to_exit(),
            Self::Gateway(error) => error.to_exit(),
            Self::OAuth(error) => error.to_exit(),
            Self::Unknown { .. } | Self::NoPerson(_) => Exit::Usage,
            Self::NoOauth(_) => Exit::Config,
            Self::Bind(..) | Self::Runtime(_) => Exit::Os,
            Self::Late => Exit::TryAgain,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Paths(error) => error.hint(),
            Self::Config(error) => error.hint(),
            Self::Gateway(error) => error.hint(),
            Self::OAuth(error) => error.hint(),
            Self::Unknown { known, .. } if known.is_empty() => None,
            Self::Unknown { known, .. } => Some(format!("it has {}", known.join(", "))),
            Self::NoOauth(name) => Some(format!("write `oauth = {{}}` into [upstreams.{name}]")),
            Self::NoPerson(name) => {
                Some(format!("`mcpeg --status --upstream {name}` tells whether it works"))
            }
            Self::Bind(..) => Some("choose another one with --redirect-port, or none".to_owned()),
            Self::Runtime(_) => None,
            Self::Late => Some("begin anew, or try --device".to_owned()),
        }
    }
}

/// `mcpeg login`.
pub(super) fn log_in(arguments: &LoginArgs) -> Exit {
    begin_login(arguments).unwrap_or_else(|error| report::error(&error))
}

/// `mcpeg logout`.
pub(super) fn log_out(arguments: &LogoutArgs) -> Exit {
    end_login(arguments).unwrap_or_else(|error| report::error(&error))
}

/// Logs in.
fn begin_login(arguments: &LoginArgs) -> Result<Exit, Error> {
    let name = &arguments.upstream;
    let place = Place::find(&arguments.place)?;
    let upstream = upstream(name, &place, arguments.place.config.as_deref())?;
    let (Some(oauth), Transport::Http { urls, .. }) = (upstream.transport.oauth(), &upstream.transport)
    else {
        return Err(Error::NoOauth(name.clone()));
    };
    if !oauth.needs_person() {
        return Err(Error::NoPerson(name.clone()));
    }
    let url = urls.first().map(String::as_str).unwrap_or_default();
    let attempt = Attempt {
        arguments,
        oauth,
        url,
        web: gateway::web_for(Some(&upstream))?,
        store: Store::new(place.directory(), name, place.owner()),
    };
    let login = run(attempt.carry_out())?;
    place.tell(Act::Login, name);
    if arguments.place.json {
        let value = json!({
            "schema": SCHEMA, "upstream": name, "issuer": login.issuer(), "resource": login.resource(),
            "scopes": login.scopes(), "expires": login.expires().map(text), "renewed": login.lasts(),
        });
        return Ok(report::json(&value, Exit::Done));
    }
    let until = match (login.lasts(), login.expires()) {
        (true, _) => "; the gateway renews it".to_owned(),
        (false, Some(end)) => format!(" until {}; the server does not renew it", text(end)),
        (false, None) => String::new(),
    };
    Ok(report::lines(format!("logged in: {name} at {}{until}", login.issuer()), Exit::Done))
}

/// Logs out.
fn end_login(arguments: &LogoutArgs) -> Result<Exit, Error> {
    let name = &arguments.upstream;
    let place = Place::find(&arguments.place)?;
    // What is kept can be given back also where the upstream is not configured any more.
    let upstream = upstream(name, &place, arguments.place.config.as_deref());
    if UpstreamName::new(name).is_none() {
        return Err(upstream.err().unwrap_or(Error::NoOauth(name.clone())));
    }
    let upstream = upstream.ok();
    let oauth =
        upstream.as_ref().and_then(|upstream| upstream.transport.oauth()).cloned().unwrap_or_default();
    let web = gateway::web_for(upstream.as_ref())?;
    let store = Store::new(place.directory(), name, place.owner());
    let ended = run(async {
        if store.read()?.is_none() {
            return Ok(None);
        }
        let locked = store.lock().await?;
        let Some(login) = store.read()? else { return Ok(None) };
        let told = oauth::revoke(&web, &login, &oauth).await;
        locked.remove()?;
        Ok(Some(told))
    })?;
    if ended.is_some() {
        place.tell(Act::Logout, name);
    }
    let (was, revoked) = (ended.is_some(), matches!(ended, Some(Ok(true))));
    if let Some(Err(error)) = &ended {
        report::warning(format_args!("the authorization server was not told: {}", chain(error)));
    }
    if arguments.place.json {
        let value = json!({ "schema": SCHEMA, "upstream": name, "logged_out": was, "revoked": revoked });
        return Ok(report::json(&value, Exit::Done));
    }
    let text = match (was, revoked) {
        (false, _) => format!("nobody was logged in: {name}"),
        (true, true) => format!("logged out: {name}; the tokens are revoked"),
        (true, false) => format!("logged out: {name}"),
    };
    Ok(report::lines(text, Exit::Done))
}

/// One login under way.
struct Attempt<'a> {
    /// What was asked.
    arguments: &'a LoginArgs,
    /// What the configuration says.
    oauth: &'a OAuth,
    /// Where the upstream is.
    url: &'a str,
    /// The way to servers.
    web: Web,
    /// Where the login is kept.
    store: Store,
}

impl Attempt<'_> {
    /// Logs in, and keeps what was granted.
    async fn carry_out(&self) -> Result<Login, Error> {
        let mut authority = oauth::discover(&self.web, self.url, self.oauth, None).await?;
        if !self.arguments.scope.is_empty() {
            let before = self.store.read().ok().flatten().filter(|login| login.is_for(self.url, self.oauth));
            let before = before.map(|login| login.scopes().to_vec()).unwrap_or_default();
            authority.add_scopes(before.into_iter().chain(self.arguments.scope.iter().cloned()));
        }
        let is_wanted = self.arguments.device || self.oauth.flow == Flow::Device;
        let (client, granted) = if is_wanted || !authority.offers_browser() && authority.offers_device() {
            self.by_device(&authority).await?
        } else {
            self.by_browser(&authority).await?
        };
        let login = Login::new(&authority, &client, &granted);
        self.store.lock().await?.write(&login)?;
        Ok(login)
    }

    /// By a browser that comes back.
    async fn by_browser(&self, authority: &Authority) -> Result<(Client, Granted), Error> {
        let port = self.arguments.redirect_port;
        let redirect = Redirect::open(port).await.map_err(|error| Error::Bind(port.unwrap_or(0), error))?;
        let back = redirect.address();
        let client = oauth::identify(&self.web, authority, self.oauth, Some(&back)).await?;
        let login = Authorization::begin(authority, &client, &back)?;
        let proof = login.proof();
        let proof = (proof.0.to_owned(), proof.1.to_owned());
        self.tell(format_args!("open this address in a browser, and log in:\n\n{}\n", login.url()));
        report::note(format_args!(
            "if the browser is on another machine, it ends at an address that begins with {back}: paste that here"
        ));
        if authority.offers_device() {
            report::note("`mcpeg login --device` needs no way back from the browser");
        }
        let code = timeout(PATIENCE, redirect.code(login)).await.map_err(|_| Error::Late)??;
        let granted =
            oauth::exchange_code(&self.web, authority, &client, (&code, &proof.0, &proof.1)).await?;
        Ok((client, granted))
    }

    /// By a code that a person types.
    async fn by_device(&self, authority: &Authority) -> Result<(Client, Granted), Error> {
        let client = oauth::identify(&self.web, authority, self.oauth, None).await?;
        let device = Device::begin(&self.web, authority, &client).await?;
        let (place, code, complete) = device.told();
        self.tell(format_args!("open {place} in any browser, and type the code {code}"));
        if let Some(complete) = complete {
            self.tell(format_args!("or open {complete}"));
        }
        let granted = device.granted(&self.web, authority, &client).await?;
        Ok((client, granted))
    }

    /// Prints what the person has to do; beside an answer for programs on standard error.
    fn tell(&self, text: impl std::fmt::Display) {
        if self.arguments.place.json { report::note(text) } else { report::progress(text) }
    }
}

/// The upstream of this name in the configuration of the gateway.
fn upstream(name: &str, place: &Place, file: Option<&Path>) -> Result<Upstream, Error> {
    let source = Source { file: file.or(place.configuration()).map(Path::to_owned), ..Source::default() };
    let config = config::load_as(&source, &|name| place.variable(name))?;
    let mut all = config.upstreams.into_iter().chain(config.disabled).collect::<Vec<_>>();
    if let Some(found) = all.iter().position(|upstream| upstream.name.as_str() == name) {
        return Ok(all.swap_remove(found));
    }
    let wants = |upstream: &&Upstream| upstream.transport.oauth().is_some();
    let known = all.iter().filter(wants).map(|upstream| upstream.name.to_string()).collect();
    Err(Error::Unknown { name: name.to_owned(), known })
}

/// Carries something out that waits for others. A prompt that nobody answers does not hold the process back.
fn run<T>(act: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    let done = runtime.block_on(act);
    runtime.shutdown_background();
    done
}

/// The upstreams of a configuration that a gateway could show no token now, with the command that mends that.
pub(super) fn doubt(upstream: &Upstream) -> Option<String> {
    let Transport::Http { urls, oauth: Some(oauth), .. } = &upstream.transport else { return None };
    let name = &upstream.name;
    let store = Store::new(&state_directory(None), name.as_str(), None);
    let url = urls.first()?;
    let found = store.read();
    let is_good = |login: &Login| login.is_for(url, oauth) && (login.lasts() || !login.is_over());
    let needs = match &found {
        Ok(login) => !login.as_ref().is_some_and(is_good),
        // Who cannot look does not know.
        Err(_) => false,
    };
    (oauth.needs_person() && needs).then(|| format!("needs a login: `mcpeg login {name}`"))
}

/// Seconds since 1970 in RFC 3339.
fn text(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "never".to_owned(), |time| time.to_string())
}
