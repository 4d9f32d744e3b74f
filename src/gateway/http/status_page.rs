//! `GET /status`: a page for people, on the listeners that the configuration names. It is whole without a script; where the browser
//! runs one, `GET /status/events` tells it what has changed.
//!
//! Nothing on the page comes from elsewhere, and nothing else runs on it: the header Content-Security-Policy lets in the one style
//! and the one script by their digests. What is shown is made at most twice a second, however many look at it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use askama::Template;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use http::{HeaderName, StatusCode, header};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::answer::{self, Item};
use super::context::RequestContext;
use super::cutoff::StreamEnd;
use super::gate::{Gate, Gates};
use super::open_connections::OpenConnections;
use super::status_view::{self, View};
use crate::gateway::session::Attendance;
use crate::gateway::status::Audience;
use crate::gateway::status_source::StatusSource;

/// How often a page that is open looks for what has changed.
const EVERY: Duration = Duration::from_secs(1);
/// For so long what was made is shown to others, too.
const FRESH: Duration = Duration::from_millis(500);
/// Pages that are told of changes at once.
const LIVE: usize = 16;
/// Clients that are shown.
const CLIENTS: usize = 50;

/// The style of the page.
const STYLE: &str = include_str!("../../../templates/status.css");
/// The script of the page.
const SCRIPT: &str = include_str!("../../../templates/status.js");

/// What the page may load and run: its own style and script, and what they tell of changes.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let [style, script] = [STYLE, SCRIPT].map(|text| STANDARD.encode(Sha256::digest(text)));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// The page.
#[derive(Debug, Template)]
#[template(path = "status.html.j2", escape = "html")]
struct Page<'a> {
    /// Its style.
    style: &'static str,
    /// Its script.
    script: &'static str,
    /// The gateway's version.
    version: &'static str,
    /// When it was made.
    now: String,
    /// What it shows, as HTML.
    body: &'a str,
}

/// What the page shows, and when that was made.
type Made = (Instant, Arc<str>);

/// Makes the page.
#[derive(Debug)]
pub(crate) struct StatusPage {
    /// The status, and what it is made of.
    status: Arc<StatusSource>,
    /// The listeners.
    gates: Arc<Gates>,
    /// Connections of clients.
    connections: Arc<OpenConnections>,
    /// Cancelled when the drain begins.
    draining: CancellationToken,
    /// A place for each page that is told of changes.
    places: Arc<Semaphore>,
    /// What was made last, for this machine and for others.
    made: [Mutex<Option<Made>>; 2],
}

/// A page that is told of changes.
struct Live {
    /// What makes it.
    page: Arc<StatusPage>,
    /// The listener that it came over.
    gate: Arc<Gate>,
    /// The request for it.
    context: RequestContext,
    /// Whether it is for this machine.
    local: bool,
    /// When it ends at the latest.
    end: StreamEnd,
    /// Its place.
    _place: OwnedSemaphorePermit,
    /// What it shows.
    shown: Option<Arc<str>>,
}

impl StatusPage {
    /// The page of a gateway.
    pub(crate) fn new(
        status: Arc<StatusSource>,
        (gates, connections): (Arc<Gates>, Arc<OpenConnections>),
        draining: CancellationToken,
    ) -> Self {
        let (places, made) = (Arc::new(Semaphore::new(LIVE)), Default::default());
        Self { status, gates, connections, draining, places, made }
    }

    /// Whether it is shown to whoever sends this request over a listener.
    fn is_open(&self, gate: &Gate, context: &RequestContext) -> bool {
        let named = gate.named().and_then(|named| named.listener().status);
        self.status.routing().current().server.status.is_open(named, context.is_local())
    }

    /// `GET /status`, with what only this machine is told if so; where it is not open, the path is as unknown as others.
    pub(super) fn show(&self, gate: &Gate, context: &RequestContext, local: bool) -> Response {
        if !self.is_open(gate, context) {
            return StatusCode::NOT_FOUND.into_response();
        }
        let body = self.body(local);
        let (version, now) = (env!("CARGO_PKG_VERSION"), status_view::now());
        let page = Page { style: STYLE, script: SCRIPT, version, now, body: &body }.render();
        let page = page.expect("a string takes all that is written");
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        ];
        (headers, page).into_response()
    }

    /// `GET /status/events`: what the page shows, now and whenever that changes, until the gateway ends or the listener shows it
    /// no longer. Browsers come back by themselves, to the process that is there then.
    pub(super) fn follow(
        self: &Arc<Self>,
        gate: &Arc<Gate>,
        context: &RequestContext,
        local: bool,
    ) -> Response {
        if !self.is_open(gate, context) {
            return StatusCode::NOT_FOUND.into_response();
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let message = "as many status pages are open as may be told of changes; reload shows them, too\n";
            return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "10")], message).into_response();
        };
        let live = Live {
            page: Arc::clone(self),
            gate: Arc::clone(gate),
            context: context.clone(),
            local,
            end: StreamEnd::new(&self.draining, context.cutoff()),
            _place: place,
            shown: None,
        };
        answer::events(stream::unfold(live, Live::next))
    }

    /// What the page shows, for this machine or for others.
    fn body(&self, local: bool) -> Arc<str> {
        let mut made = self.made[usize::from(local)].lock();
        if let Some((_, body)) = made.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Arc::clone(body);
        }
        let status = self.status.status(if local { Audience::Local } else { Audience::Downstream });
        let (listeners, clients) = (self.gates.addresses(), local.then(|| self.clients()));
        let places = (listeners.as_slice(), self.connections.len());
        let draining = self.draining.is_cancelled();
        let view = View::new((&status, self.status.ledger()), draining, places, clients.as_deref()).render();
        let body: Arc<str> = view.expect("a string takes all that is written").into();
        *made = Some((Instant::now(), Arc::clone(&body)));
        body
    }

    /// Who has sessions, and clients of the configuration that have none.
    fn clients(&self) -> Vec<Attendance> {
        let mut all = self.status.sessions().attendance(CLIENTS);
        for client in self.status.routing().current().clients().iter() {
            let name = client.name().to_string();
            if all.len() < CLIENTS && !all.iter().any(|one| *one.client() == name) {
                all.push(Attendance::new(name, 0, Vec::new()));
            }
        }
        all
    }
}

impl Live {
    /// What has changed, once something has.
    async fn next(mut self) -> Option<(Item, Self)> {
        loop {
            if self.shown.is_some() {
                tokio::select! {
                    () = self.end.reached() => return None,
                    () = tokio::time::sleep(EVERY) => {}
                }
            }
            if !self.page.is_open(&self.gate, &self.context) {
                return None;
            }
            let body = self.page.body(self.local);
            if self.shown.as_ref() != Some(&body) {
                let item = Item::named("page", &body, "");
                self.shown = Some(body);
                return Some((item, self));
            }
        }
    }
}
