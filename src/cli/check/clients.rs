//! Clients that can never be recognised, tokens that prove nobody, and endpoints that are for nobody.

use crate::cli::token;
use crate::config::{Auth, Client, Config, ListenAddr, Peer};
use crate::sys::{peer, user};
use crate::tokens::Store;

/// What would not work about the clients of a configuration.
pub(super) fn doubts(config: &Config) -> Vec<String> {
    let store = if config.clients.is_empty() { None } else { token::store() };
    let mut doubts = Vec::new();
    for (place, client) in config.clients.iter().enumerate() {
        doubts.extend(about(client, &config.clients[..place], store.as_ref()));
        let is_unix = |listener: &ListenAddr| matches!(listener, ListenAddr::Unix(_));
        if client.peer().is_some() && !config.server.listen.iter().any(is_unix) {
            let name = client.name();
            doubts.push(format!(
                "client `{name}` can never be recognised by `peer`: no listener is a Unix socket"
            ));
        }
    }
    let by_peer = config.clients.iter().any(|client| client.peer().is_some());
    let deaf = config.server.listeners.iter().filter(|listener| {
        !by_peer && listener.auth.contains(&Auth::Peer) && !listener.auth.contains(&Auth::Token)
    });
    doubts.extend(deaf.map(|listener| {
        format!("listener `{}` lets nobody in: no [clients.NAME] has `peer`", listener.name)
    }));
    let is_client = |name: &str| config.clients.iter().any(|client| client.name() == name);
    let tokens = store.iter().flat_map(|store| store.all());
    let strangers = tokens.map(|token| token.client.as_str()).filter(|name| !is_client(name));
    let mut strangers: Vec<_> = strangers.collect();
    strangers.dedup();
    doubts.extend(
        strangers
            .iter()
            .map(|name| format!("there is a token of `{name}`, but no [clients.{name}]: it is refused")),
    );
    for endpoint in &config.endpoints {
        let may = |client: &Client| {
            client.endpoints().is_none_or(|names| names.contains(&endpoint.name().to_owned()))
        };
        if !config.clients.is_empty() && !config.clients.iter().any(may) && config.server.auth.is_none() {
            doubts.push(format!("no client may use endpoint `{}`", endpoint.name()));
        }
    }
    doubts
}

/// What would not work about one client, which comes after these.
fn about(client: &Client, before: &[Client], store: Option<&Store>) -> Option<String> {
    let name = client.name();
    let Some(wanted) = client.peer() else {
        let has_token =
            |store: &Store| store.all().iter().any(|token| token.client == name && token.is_good().is_ok());
        let lacks = store.is_some_and(|store| !has_token(store));
        return lacks.then(|| format!("client `{name}` has no token; `mcpeg token create {name}` makes one"));
    };
    let never = |why: String| Some(format!("client `{name}` can never be recognised by `peer`: {why}"));
    if let Some(user) = wanted.user.as_deref().filter(|user| user::find(user).is_none()) {
        return never(format!("there is no user `{user}`"));
    }
    if let Some(group) = wanted.group.as_deref().filter(|group| user::find_group(group).is_none()) {
        return never(format!("there is no group `{group}`"));
    }
    if let Some(other) = before.iter().find(|other| other.peer().is_some_and(|other| covers(other, wanted))) {
        return never(format!("client `{}` comes first, whose `peer` fits all of the same", other.name()));
    }
    let is_hidden = wanted.unit.is_some() && !peer::sees_units();
    if is_hidden { never(format!("units cannot be told: {}", peer::HIDDEN)) } else { None }
}

/// Whether whoever fits `later` fits `first`, too.
fn covers(first: &Peer, later: &Peer) -> bool {
    let covers = |first: &Option<String>, later: &Option<String>| first.is_none() || first == later;
    covers(&first.user, &later.user) && covers(&first.group, &later.group) && covers(&first.unit, &later.unit)
}
