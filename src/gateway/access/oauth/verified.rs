//! What a token has proven.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fieldwork::Fieldwork;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::issuer::{Issuer, Proven};
use crate::config::{Claim, Proof};
use crate::gateway::client::ClientName;
use crate::sys::clock::seconds_now;

/// A token that was verified.
#[derive(Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(crate)")]
pub(crate) struct Verified {
    /// Whose it is.
    #[field(get, vis = "pub(super)")]
    issuer: Arc<Issuer>,
    /// What it proves.
    #[field(get, vis = "pub(super)")]
    proven: Proven,
    /// Whom it was let in as.
    name: Mutex<Option<ClientName>>,
    /// Cancelled when it is not believed any more before it is over.
    #[field(get)]
    ended: CancellationToken,
}

impl Verified {
    /// A token of this server, which proves this.
    pub(super) fn new(issuer: Arc<Issuer>, proven: Proven) -> Self {
        Self { issuer, proven, name: Mutex::default(), ended: CancellationToken::new() }
    }

    /// The one endpoint that it is for, if it is not for all.
    pub(crate) fn only(&self) -> Option<&str> {
        self.proven.only()
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        seconds_now() >= self.proven.until()
    }

    /// How long it is still good.
    pub(crate) fn left(&self) -> Duration {
        Duration::from_secs(self.proven.until().saturating_sub(seconds_now()))
    }

    /// Whether it proves what a client must prove.
    pub(crate) fn fits(&self, proof: &Proof) -> bool {
        self.issuer.settings().name == proof.issuer && has(self.proven.claims(), &proof.claims)
    }

    /// The table of its server, which names whoever has it where no client has a name.
    pub(crate) fn server(&self) -> &str {
        &self.issuer.settings().name
    }

    /// The person whom it is of, as this client.
    pub(crate) fn name(&self, entry: &str) -> ClientName {
        let mut name = self.name.lock();
        match &*name {
            Some(name) if name.entry() == entry => name.clone(),
            _ => {
                let subject = self.proven.claims().get("sub").and_then(Value::as_str).unwrap_or_default();
                let person = ClientName::person(entry, &self.issuer.settings().issuer, subject);
                name.insert(person).clone()
            }
        }
    }

    /// Whether it was let in as somebody, and would not be as the same again.
    pub(super) fn was_other(&self, entry: Option<&str>) -> bool {
        self.name.lock().as_ref().is_some_and(|name| Some(name.entry()) != entry)
    }
}

/// Whether these claims have what is wanted.
fn has(claims: &Map<String, Value>, wanted: &BTreeMap<String, Claim>) -> bool {
    wanted.iter().all(|(name, wanted)| match (claims.get(name), wanted) {
        (Some(Value::Object(inner)), Claim::Within(wanted)) => has(inner, wanted),
        (Some(Value::Array(items)), Claim::Any(wanted)) => items.iter().any(|item| is_one_of(item, wanted)),
        (Some(Value::String(words)), Claim::Any(wanted)) if name == "scope" || name == "scp" => {
            words.split(' ').any(|word| wanted.iter().any(|one| one == word))
        }
        (Some(value), Claim::Any(wanted)) => is_one_of(value, wanted),
        _ => false,
    })
}

/// Whether a value is one of these; numbers and truths as they are written.
fn is_one_of(value: &Value, wanted: &[String]) -> bool {
    match value {
        Value::String(text) => wanted.contains(text),
        Value::Number(_) | Value::Bool(_) => wanted.contains(&value.to_string()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_strings_lists_words_and_tables() {
        let any = |values: &[&str]| Claim::Any(values.iter().map(|value| (*value).to_owned()).collect());
        let claims = json!({
            "sub": "alice", "groups": ["dev", "ops", 7], "scope": "mcp admin", "level": 3, "staff": true,
            "realm_access": { "roles": ["user"] }, "none": null,
        });
        let claims = claims.as_object().unwrap();
        for (name, wanted, fits) in [
            ("sub", any(&["alice"]), true),
            ("sub", any(&["bob", "alice"]), true),
            ("sub", any(&["Alice"]), false),
            ("sub", any(&["ali"]), false),
            ("groups", any(&["ops"]), true),
            ("groups", any(&["7"]), true),
            ("groups", any(&["dev ops"]), false),
            ("scope", any(&["admin"]), true),
            ("scope", any(&["adm"]), false),
            ("level", any(&["3"]), true),
            ("staff", any(&["true"]), true),
            ("none", any(&["null"]), false),
            ("missing", any(&[""]), false),
            ("realm_access", any(&["user"]), false),
            ("realm_access", Claim::Within([("roles".to_owned(), any(&["user"]))].into()), true),
            ("realm_access", Claim::Within([("roles".to_owned(), any(&["root"]))].into()), false),
            ("sub", Claim::Within([("roles".to_owned(), any(&["user"]))].into()), false),
        ] {
            assert_eq!(has(claims, &[(name.to_owned(), wanted.clone())].into()), fits, "{name} {wanted:?}");
        }
        assert!(has(claims, &BTreeMap::new()));
    }
}
