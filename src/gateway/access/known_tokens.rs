//! The tokens that are believed at this moment. The file is looked at [`EVERY`] so often once any may be: what `mcpeg token`
//! has changed is in force soon, and what was opened by a token that is no longer good is ended.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::gateway::client::ClientName;
use crate::gateway::interval;
use crate::sys::fs::Owners;
use crate::sys::stamp::Stamp;
use crate::tokens::{Refusal, Store};

/// How often it is looked whether the tokens are others.
const EVERY: Duration = Duration::from_millis(400);

/// The tokens that are believed.
#[derive(Debug)]
pub(crate) struct KnownTokens {
    /// The directory of the file.
    directory: PathBuf,
    /// What was read of it.
    state: Mutex<State>,
}

/// What was read of the file.
#[derive(Debug, Default)]
struct State {
    /// Which file it was; `None` before the first.
    stamp: Option<Stamp>,
    /// The tokens; `None` where none was ever made, or the file cannot be used.
    store: Option<Arc<Store>>,
    /// What requests were let in by, by the tokens' identifiers: the client, and what is cancelled with the token.
    used: HashMap<String, (ClientName, CancellationToken)>,
    /// Whether the file is looked at.
    watched: bool,
}

impl KnownTokens {
    /// The tokens of this state directory, none of which was read.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, state: Mutex::default() }
    }

    /// The client that a token proves, and what is cancelled when the token is no longer good.
    pub(crate) fn find(&self, token: &str) -> Result<(ClientName, CancellationToken), Refusal> {
        let store = self.state.lock().store.clone().ok_or(Refusal::Unknown)?;
        let known = store.find(token)?;
        let mut state = self.state.lock();
        if let Some(used) = state.used.get(&known.id) {
            return Ok(used.clone());
        }
        let used = (ClientName::new(&known.client), CancellationToken::new());
        // Where it was revoked in this instant, the next look finds it.
        state.used.insert(known.id.clone(), used.clone());
        Ok(used)
    }

    /// Looks at the file again; the clients of which the last good token is gone.
    pub(crate) fn look(&self) -> Vec<ClientName> {
        let stamp = Store::stamp(&self.directory);
        let is_other = self.state.lock().stamp != Some(stamp);
        if is_other {
            let read = Store::read(&self.directory, Owners::Ours);
            let store = read.unwrap_or_else(|error| {
                let error = crate::exit::chain(&error);
                tracing::error!(error, "the tokens cannot be read: none is believed");
                None
            });
            let mut state = self.state.lock();
            (state.stamp, state.store) = (Some(stamp), store.map(Arc::new));
        }
        let mut state = self.state.lock();
        let State { store, used, .. } = &mut *state;
        let is_good = |id: &String| store.as_ref().is_some_and(|store| store.is_good(id));
        let gone: Vec<_> = used.extract_if(|id, _| !is_good(id)).map(|(_, used)| used).collect();
        for (_, token) in &gone {
            token.cancel();
        }
        let has_more = |client: &ClientName| {
            let mut tokens = store.iter().flat_map(|store| store.all());
            tokens.any(|token| token.client == client.entry() && token.is_good().is_ok())
        };
        gone.into_iter().map(|(client, _)| client).filter(|client| !has_more(client)).collect()
    }

    /// Looks at the file from now on, also when no more tokens are asked for: a listener that drains still believes them. Tells
    /// of clients of which the last good one is gone.
    pub(crate) fn watch(self: &Arc<Self>, ended: impl Fn(ClientName) + Send + 'static) {
        if std::mem::replace(&mut self.state.lock().watched, true) {
            return;
        }
        // At once: the first request may come any moment.
        drop(self.look());
        interval::repeat(self, EVERY, move |tokens| tokens.look().into_iter().for_each(&ended));
    }
}
