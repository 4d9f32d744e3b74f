//! Clients that can never be recognised, tokens that prove nobody, and endpoints that are for nobody.

use std::sync::Arc;

use crate::cli::token;
use crate::config::{Auth, Claim, Client, Config, Issuer, ListenAddr, Listener, Peer, Proof};
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
    doubts.extend(about_issuers(config));
    doubts.extend(deaf.map(|listener| {
        format!("listener `{}` lets nobody in: no [clients.NAME] has `peer`", listener.name)
    }));
    doubts.extend(of_certificates(config));
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

/// What would not work about certificates.
fn of_certificates(config: &Config) -> Vec<String> {
    let listeners = config.server.listeners.iter();
    let signed = listeners.clone().any(|it| it.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()));
    let known: Vec<_> = config.clients.iter().filter(|client| client.certificate().is_some()).collect();
    let lost = known.iter().filter(|_| !signed).map(|client| {
        let name = client.name();
        format!("client `{name}` can never be recognised by `certificate`: no listener has `client_ca`")
    });
    let deaf = listeners.filter(|it| known.is_empty() && it.auth == [Auth::Certificate]);
    let deaf =
        deaf.map(|it| format!("listener `{}` lets nobody in: no [clients.NAME] has `certificate`", it.name));
    lost.chain(deaf).collect()
}

/// What would not work about one client, which comes after these.
fn about(client: &Client, before: &[Client], store: Option<&Store>) -> Option<String> {
    let name = client.name();
    if let Some(proof) = client.oauth()
        && let Some(other) =
            before.iter().find(|other| other.oauth().is_some_and(|other| includes(other, proof)))
    {
        let other = other.name();
        return Some(format!(
            "client `{name}` can never be recognised by `oauth`: client `{other}` comes first, whose `oauth` fits all of the same"
        ));
    }
    let Some(wanted) = client.peer() else {
        let has_token =
            |store: &Store| store.all().iter().any(|token| token.client == name && token.is_good().is_ok());
        let is_known = client.oauth().is_some() || client.certificate().is_some();
        let lacks = !is_known && store.is_some_and(|store| !has_token(store));
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

/// What would not work about tokens of authorization servers.
fn about_issuers(config: &Config) -> Vec<String> {
    let mut doubts = Vec::new();
    let takes = |it: &Arc<Listener>| it.auth.is_empty() || it.auth.contains(&Auth::Oauth);
    let listeners = &config.server.listeners;
    let has_plain = config.server.listen.len() > listeners.len() && !config.clients.is_empty();
    let by_oauth: Vec<_> = config.clients.iter().filter_map(|it| Some((it, it.oauth()?))).collect();
    let is_taken = has_plain || listeners.iter().any(takes);
    if !is_taken {
        let names = config.issuers.iter().map(|issuer| &issuer.name);
        doubts.extend(
            names.map(|name| format!("[auth.oauth.{name}] has no effect: no listener has `oauth` in `auth`")),
        );
    }
    for (client, proof) in by_oauth {
        let issuer = config.issuers.iter().find(|issuer| issuer.name == proof.issuer);
        let Some((claim, why)) = issuer.and_then(|issuer| contradiction(issuer, proof)) else { continue };
        let name = client.name();
        doubts.push(format!(
            "client `{name}` can never be recognised by `oauth`: {why}, and not what claims.{claim} has"
        ));
    }
    doubts
}

/// A claim that no token of this server can have which is accepted, and what it is in those.
fn contradiction(issuer: &Issuer, proof: &Proof) -> Option<(&'static str, String)> {
    let lacks = |name: &str, accepted: &[String]| match proof.claims.get(name) {
        Some(Claim::Any(wanted)) => !wanted.iter().any(|one| accepted.contains(one)),
        Some(Claim::Within(_)) => true,
        None => false,
    };
    let own = std::slice::from_ref(&issuer.issuer);
    let bound = proof.claims.contains_key("cnf").then(|| ("cnf", "tokens with cnf are refused".to_owned()));
    let foreign = lacks("iss", own).then(|| ("iss", format!("iss is `{}`", issuer.issuer)));
    let other = lacks("aud", &issuer.audience).then(|| ("aud", format!("aud is of {:?}", issuer.audience)));
    bound.or(foreign).or(other)
}

/// Whether whatever token fits `later` fits `first`, too.
fn includes(first: &Proof, later: &Proof) -> bool {
    let is_wider = |(name, first): (&String, &Claim)| match (first, later.claims.get(name)) {
        (Claim::Any(first), Some(Claim::Any(later))) => later.iter().all(|one| first.contains(one)),
        (first, Some(later)) => first == later,
        (_, None) => false,
    };
    first.issuer == later.issuer && first.claims.iter().all(is_wider)
}

/// Whether whoever fits `later` fits `first`, too.
fn covers(first: &Peer, later: &Peer) -> bool {
    let covers = |first: &Option<String>, later: &Option<String>| first.is_none() || first == later;
    covers(&first.user, &later.user) && covers(&first.group, &later.group) && covers(&first.unit, &later.unit)
}
