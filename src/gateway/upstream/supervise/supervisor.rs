//! Keeping one upstream up: start, watch, and start again after a growing wait.
//!
//! What it knows is kept by its parts ([`Current`], [`Demand`], [`Failures`], [`Followers`], [`Leases`], [`LegacyLink`]),
//! none of which knows it.
//!
//! Invariants: there is at most one native connection at a time; it is ended (its process group gone) before the next
//! is started; a broken upstream never blocks anything but calls to itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fieldwork::Fieldwork;
use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::current::Current;
use super::demand::Demand;
use super::failures::Failures;
use super::followers::Followers;
use super::health::{AsideWatch, End, HealthWatch};
use super::lease::Leases;
use super::legacy_link::LegacyLink;
use super::life::Life;
use super::links::Links;
use super::persons::Persons;
use super::renewal::Renewals;
use super::report::{Report, told};
use super::shown::{Before, ShownLists, Todo};
use super::transfer::{self, Awaited, SharedChild, inherit, server_key};
use crate::config::{Filters, Start, Transport, Upstream as Settings};
use crate::gateway::changes::Changes;
use crate::gateway::client::ClientName;
use crate::gateway::error::Fault;
use crate::gateway::person::Person;
use crate::gateway::relay::{ClientMeta, Era, Notification};
use crate::gateway::status::{Audience, UpstreamState, UpstreamStatus};
use crate::gateway::telemetry::ledger::Ledger;
use crate::gateway::upstream::call::backoff::Backoff;
use crate::gateway::upstream::call::caller::Caller;
use crate::gateway::upstream::call::concurrency::{ConcurrencyLimit, Permit};
use crate::gateway::upstream::call::request::Role;
use crate::gateway::upstream::catch_panic::catch_panic;
use crate::gateway::upstream::inbox::Outlet;
use crate::gateway::upstream::link::connection::Link;
use crate::gateway::upstream::link::listen::{listen, subscribe_to};
use crate::gateway::upstream::link::lists;
use crate::gateway::upstream::link::negotiate::{ClientIdentity, Connector};
use crate::gateway::upstream::link::reconcile::reconcile;
use crate::gateway::upstream::link::tasks::Tasks;
use crate::gateway::upstream::lists::cache::{Purpose, TOLD};
use crate::gateway::upstream::lists::kind::Kind;
use crate::gateway::upstream::stdio::child::ChildEnd;
use crate::gateway::upstream::stdio::stderr::ChildErrors;
use crate::handover::{LinkKind, Offer};
use crate::oauth::Subject;

/// A wait before the next attempt that calls are held back for.
const SHORT: Duration = Duration::from_millis(500);
/// An attempt that fails sooner costs so little that one more may be made whenever somebody calls.
const CHEAP: Duration = Duration::from_millis(250);
/// The shortest time between two such attempts.
const BETWEEN: Duration = Duration::from_millis(100);
/// How long reading one list may take that is compared with what clients were shown.
const COMPARE: Duration = Duration::from_secs(20);
/// How long a request that was certainly not processed waits for the next connection.
const RENEWAL: Duration = Duration::from_secs(5);
/// Tells upstreams apart that have the same name, before and after a reload.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// One configured MCP server.
#[derive(Debug, Fieldwork)]
#[fieldwork(opt_in, get, vis = "pub(crate)")]
pub(crate) struct Upstream {
    /// No other upstream of this process has or had the same.
    #[field(get)]
    serial: u64,
    /// How it is reached.
    #[field(get)]
    connector: Arc<Connector>,
    /// How long it is to be kept up.
    #[field(get)]
    life: Life,
    /// Its state, and its native connection.
    current: Current,
    /// Whether somebody needs it.
    demand: Demand,
    /// How many requests it is given at once.
    limit: Option<Arc<ConcurrencyLimit>>,
    /// The legacy connection that sessions share, where the native one is modern.
    legacy: LegacyLink,
    /// Connections that single calls have for themselves.
    #[field(get(deref = false))]
    leases: Arc<Leases>,
    /// Tasks that it is known to have.
    #[field(get)]
    tasks: Tasks,
    /// Resources that it has named.
    #[field(get)]
    links: Links,
    /// Who follows its resources.
    #[field(get)]
    followers: Followers,
    /// Numbers about requests.
    #[field(get(deref = false))]
    ledger: Arc<Ledger>,
    /// What was wrong.
    failures: Arc<Failures>,
    /// Tries of new sessions.
    renewals: Arc<Renewals>,
    /// What clients were shown of its lists.
    #[field(get)]
    shown: ShownLists,
    /// Whether a connection was lost since the last one was opened.
    lost: AtomicBool,
    /// How often another server was found behind its address.
    replaced: AtomicU64,
    /// Notifications of shared connections that belong to no request, of all upstreams, for every session.
    changes: Changes,
    /// Where shared connections leave them.
    outlet: Outlet,
    /// Those that stand for it, each for one client, where it is shown something of each.
    persons: Option<Persons<Self>>,
}

impl Upstream {
    /// Starts supervising, in a task that `supervisors` tracks. Of the children on offer it takes those that suit, and
    /// `limit` is that of the upstream in whose place it comes.
    pub(crate) fn start(
        connector: Connector,
        (changes, ledger): (Changes, Arc<Ledger>),
        supervisors: &TaskTracker,
        offers: &mut Vec<Offer>,
        limit: Option<Arc<ConcurrencyLimit>>,
    ) -> (Arc<Self>, Vec<Awaited>) {
        let settings = connector.settings();
        let width = settings.max_concurrency;
        let limit =
            width.map(|width| limit.unwrap_or_else(|| ConcurrencyLimit::new(width, settings.max_queue)));
        let persons = settings.transport.is_personal().then(|| Persons::new(supervisors.clone()));
        let upstream = Self::new(connector, (changes, ledger), (Life::default(), limit), persons);
        let awaited = inherit(&upstream.connector, &upstream.outlet, &upstream.life, offers);
        for (place, awaited) in &awaited {
            let link = Arc::clone(awaited.link());
            match place {
                LinkKind::Native => drop(upstream.current.set(UpstreamState::Ready, Some(link))),
                LinkKind::SharedLegacy => upstream.legacy.put(link),
            }
        }
        supervisors.spawn(Arc::clone(&upstream).endure());
        (upstream, awaited.into_iter().map(|(_, awaited)| awaited).collect())
    }

    /// One that nobody supervises yet. What is shown of clients is known when one calls, and not before.
    fn new(
        connector: Connector,
        (changes, ledger): (Changes, Arc<Ledger>),
        (life, limit): (Life, Option<Arc<ConcurrencyLimit>>),
        persons: Option<Persons<Self>>,
    ) -> Arc<Self> {
        let connector = Arc::new(connector);
        let is_lazy = connector.settings().start == Start::Lazy || persons.is_some();
        let state = if is_lazy { UpstreamState::Idle } else { UpstreamState::Starting };
        Arc::new(Self {
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            current: Current::new(state),
            demand: Demand::default(),
            limit,
            legacy: LegacyLink::default(),
            leases: Arc::new(Leases::new(Arc::clone(&connector), life.clone())),
            tasks: Tasks::default(),
            links: Links::default(),
            followers: Followers::new(life.clone()),
            ledger,
            failures: Arc::default(),
            renewals: Arc::default(),
            shown: ShownLists::default(),
            lost: AtomicBool::new(false),
            replaced: AtomicU64::new(0),
            outlet: Outlet::everybody(changes.clone()),
            changes,
            connector,
            life,
            persons,
        })
    }

    /// What one client has in its place, of whom it is shown this; itself where it is shown nothing of clients.
    pub(crate) fn of_person(self: &Arc<Self>, person: &Arc<Person>) -> Arc<Self> {
        let Some(persons) = &self.persons else { return Arc::clone(self) };
        persons.get(person, || {
            let told = (self.changes.to(person), Arc::clone(&self.ledger));
            let life = (self.life.within(), self.limit.clone());
            let own = Self::new(self.connector.of_person(person), told, life, None);
            // What the process before has told was told of the upstream as a whole.
            let theirs =
                |caller: &Caller| person.client().is_some() && caller.key().name() == person.client();
            for (id, caller) in self.tasks.all().into_iter().filter(|(_, caller)| theirs(caller)) {
                own.tasks.own(&id, &caller);
            }
            persons.supervisors().spawn(Arc::clone(&own).endure());
            own
        })
    }

    /// Takes a token that a client has shown, where the upstream is shown another one in exchange.
    pub(crate) fn show(self: &Arc<Self>, person: &Arc<Person>, subject: &Subject) {
        if self.persons.is_some() && self.settings().transport.exchanges_tokens() {
            let own = self.of_person(person);
            if let Some(credential) = own.connector.credential() {
                credential.show(subject);
            }
        }
    }

    /// All that single clients have in its place.
    pub(crate) fn persons(&self) -> Vec<Arc<Self>> {
        self.persons.as_ref().map(Persons::all).unwrap_or_default()
    }

    /// Gives up what a client has in its place, and with `people` what the people of that entry have.
    pub(crate) fn give_up(&self, client: &ClientName, people: bool) {
        if let Some(persons) = &self.persons {
            persons.give_up(client, people);
        }
    }

    /// What was given up of that, with what was not asked for since so long, has no connection and is not used. The caller ends
    /// it.
    pub(crate) fn persons_over(
        &self,
        since: Duration,
        is_used: impl Fn(&Arc<Person>) -> bool,
    ) -> Vec<Arc<Self>> {
        let Some(persons) = &self.persons else { return Vec::new() };
        let over = persons.over(since, |person, own| own.ready().is_none() && !is_used(person));
        for own in &over {
            own.changes.forget(own.connector.name());
        }
        over
    }

    /// Whether it is tried only when a client calls: it may be that client's fault where that fails.
    const fn is_for_callers(&self) -> bool {
        self.persons.is_some() || self.changes.is_for_one()
    }

    /// Its settings.
    pub(crate) fn settings(&self) -> &Settings {
        self.connector.settings()
    }

    /// The upstream's name.
    pub(crate) fn name(&self) -> &str {
        self.connector.name().as_str()
    }

    /// How often another server was found behind its address.
    pub(crate) fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Relaxed)
    }

    /// The native connection, waiting for a start that is under way.
    pub(crate) async fn native(&self) -> Result<Arc<Link>, Fault> {
        if let Some(link) = self.ready() {
            return Ok(link);
        }
        if self.needs_login() {
            return Err(self.report(UpstreamState::NeedsLogin).unavailable());
        }
        self.demand.need();
        let mut current = self.current.subscribe();
        if self.demand.is_eager() {
            let tried = current.wait_for(|(state, _)| *state != UpstreamState::BackingOff);
            let _ = timeout(CHEAP, tried).await;
        }
        // A connection that has just been lost is as good as starting: the supervisor is about to notice.
        let lost = |link: &Option<Arc<Link>>| link.as_ref().is_some_and(|link| !link.is_open());
        let under_way =
            |state: &UpstreamState| matches!(state, UpstreamState::Starting | UpstreamState::Idle);
        let settled = current.wait_for(|(state, link)| !under_way(state) && !lost(link));
        let (state, link) = match timeout(self.settings().start_timeout, settled).await {
            Ok(Ok(current)) => current.clone(),
            _ => (UpstreamState::Starting, None),
        };
        match link {
            Some(link) if link.is_open() => Ok(link),
            _ if self.needs_login() => Err(self.report(UpstreamState::NeedsLogin).unavailable()),
            _ => Err(self.report(state).unavailable()),
        }
    }

    /// Whether nothing can be sent to it before somebody logs in.
    fn needs_login(&self) -> bool {
        self.connector.credential().is_some_and(|credential| credential.needs_login().is_some())
    }

    /// Whether the last attempt failed, so that the next one may well fail, too.
    pub(crate) fn is_failing(&self) -> bool {
        self.failures.last().is_some()
    }

    /// Waits for a short while until there is a native connection that is open: after one was lost.
    pub(crate) async fn renewed(&self) {
        self.demand.need();
        let mut current = self.current.subscribe();
        let open = current.wait_for(|(_, link)| link.as_ref().is_some_and(|link| link.is_open()));
        // The caller then asks for the connection and is told why there is none.
        let _ = timeout(RENEWAL, open).await;
    }

    /// Asks the server anew what it is, since it does not speak any more what was agreed over its native connection; whether
    /// that is another one soon.
    pub(crate) async fn agrees_anew(&self, former: &Arc<Link>) -> bool {
        let mut current = self.current.subscribe();
        former.activity().suspect();
        let is_another =
            |link: &Option<Arc<Link>>| link.as_ref().is_none_or(|link| !Arc::ptr_eq(link, former));
        timeout(RENEWAL, current.wait_for(|(_, link)| is_another(link))).await.is_ok_and(|seen| seen.is_ok())
    }

    /// What it is doing.
    pub(crate) fn state(&self) -> UpstreamState {
        let state = self.current.state();
        if state != UpstreamState::Stopped && self.needs_login() {
            return UpstreamState::NeedsLogin;
        }
        let has_clients = || self.persons().iter().any(|own| own.ready().is_some());
        let state = if state == UpstreamState::Idle && has_clients() { UpstreamState::Ready } else { state };
        let partly = state == UpstreamState::Ready && self.connector.balancer().out() > 0;
        if partly { UpstreamState::Degraded } else { state }
    }

    /// A snapshot.
    pub(crate) fn status(&self, audience: Audience) -> UpstreamStatus {
        self.report(self.state()).status(self.current.link().as_deref(), audience)
    }

    /// What is told of it in this state.
    fn report(&self, state: UpstreamState) -> Report<'_> {
        Report { connector: &self.connector, state, failures: &self.failures }
    }

    /// The native connection if it is there now.
    pub(crate) fn ready(&self) -> Option<Arc<Link>> {
        self.current.open()
    }

    /// The native connection, if it is there now; of one that sleeps its last one, which knows what it has.
    pub(crate) fn present(&self) -> Option<Arc<Link>> {
        self.ready().or_else(|| self.asleep())
    }

    /// Whether it lists a tool of this name, as far as is known without asking for it.
    pub(crate) fn lists_tool(&self, name: &str) -> Option<bool> {
        self.present()?.lists_tool(name)
    }

    /// The last connection of an upstream that sleeps; `None` while it runs, and if it never ran. An HTTP server goes on
    /// without us, so that what it has listed is not true for long.
    pub(crate) fn asleep(&self) -> Option<Arc<Link>> {
        if self.current.state() != UpstreamState::Idle {
            return None;
        }
        let is_http = matches!(self.settings().transport, Transport::Http { .. });
        let known = self.current.remembered().filter(|(_, since)| !is_http || since.elapsed() < TOLD);
        known.map(|(link, _)| link)
    }

    /// What of it is shown.
    pub(crate) fn filters(&self) -> &Filters {
        &self.settings().filters
    }

    /// Tells everybody of a change of which a connection of one call's own has heard.
    pub(crate) fn tell_change(&self, note: Notification) {
        self.outlet.tell(self.connector.name(), note);
    }

    /// A request's permit, where only so many are let through at once; `again` after it has given one back.
    pub(crate) async fn permit(&self, patience: Duration, again: bool) -> Result<Option<Permit>, Fault> {
        match &self.limit {
            Some(limit) => limit.permit(self.connector.name(), patience, again).await.map(Some),
            None => Ok(None),
        }
    }

    /// The limit, where only so many requests are let through at once, and what tells its server from others.
    pub(crate) fn limit(&self) -> Option<(String, &Arc<ConcurrencyLimit>)> {
        Some((server_key(self.settings()), self.limit.as_ref()?))
    }

    /// How many requests wait for a permit.
    pub(crate) fn waiting(&self) -> usize {
        self.limit.as_ref().map_or(0, |limit| limit.waiting())
    }

    /// Lets as many requests through from now on as its settings say.
    pub(crate) fn resize_limit(&self) {
        let settings = self.settings();
        if let (Some(limit), Some(width)) = (&self.limit, settings.max_concurrency) {
            limit.resize(width, settings.max_queue);
        }
    }

    /// The legacy connection that all sessions share; the native one where the server speaks nothing else.
    pub(crate) async fn shared_legacy(self: &Arc<Self>) -> Result<Arc<Link>, Fault> {
        let native = self.native().await?;
        if native.era() == Era::Legacy {
            return Ok(native);
        }
        // A task of its own, since a caller that gives up must not end a server that is slow to start.
        let upstream = Arc::clone(self);
        let opened =
            tokio::spawn(
                async move { upstream.legacy.get_or_open(upstream.open_shared_legacy(native)).await },
            );
        opened.await.map_err(|_| Fault::upstream(&self.name(), "could not be opened"))?
    }

    /// Opens the shared legacy connection; `native` where the server has no such thing.
    async fn open_shared_legacy(&self, native: Arc<Link>) -> Result<Arc<Link>, Fault> {
        let client = ClientIdentity::default();
        // Nobody waits for a server that hangs when all is to end.
        let opened = tokio::select! {
            opened = self.connector.open_legacy_beside(&native, &client, (Role::Shared, self.outlet.clone())) => opened,
            () = self.life.stop().cancelled() => return Err(self.ends()),
        };
        let link = match opened {
            Ok(link) => {
                let link = Arc::new(link);
                self.look_after(&link, self.settings().health_interval);
                reconcile(&link);
                link
            }
            Err(fault) => {
                tracing::debug!(upstream = self.name(), %fault, "the server speaks the modern era only");
                native
            }
        };
        subscribe_to(&link, self.followers.subscribed()).await;
        Ok(link)
    }

    /// Watches over a connection beside the native one, until its end: it is asked at each interval, if there is one, and
    /// after a lost request, and ended when it does not answer. The next request opens another.
    pub(crate) fn look_after(&self, link: &Arc<Link>, interval: Option<Duration>) {
        let (connector, failures) = (Arc::clone(&self.connector), Arc::clone(&self.failures));
        AsideWatch { connector, failures, renewals: Arc::clone(&self.renewals) }.begin(link, interval);
    }

    /// Waits until the first attempt has succeeded or failed.
    pub(crate) async fn tried(&self) {
        let mut current = self.current.subscribe();
        let _ = current.wait_for(|(state, _)| *state != UpstreamState::Starting).await;
    }

    /// Waits until it can be used.
    pub(crate) async fn usable(&self) {
        let mut current = self.current.subscribe();
        let _ = current.wait_for(|(state, _)| state.is_usable()).await;
    }

    /// Asks for the end of all shared connections; the supervising task returns when they are gone.
    pub(crate) fn stop(&self) {
        self.life.stop().cancel();
    }

    /// What is told to those who ask for a connection then.
    pub(crate) fn ends(&self) -> Fault {
        self.report(UpstreamState::Stopped).unavailable()
    }

    /// Waits until no request is in flight on the shared connections and those that are lent.
    pub(crate) async fn idle(&self) {
        self.leases.idle().await;
        let native = self.current.link();
        let legacy = self.legacy.get().await;
        for link in [native, legacy].into_iter().flatten() {
            link.idle().await;
        }
        for own in self.persons() {
            Box::pin(own.idle()).await;
        }
    }

    /// The children that may be handed over.
    pub(crate) fn offers(&self) -> Vec<Offer> {
        let movable = self.movable().into_iter();
        movable.filter_map(|(place, link)| transfer::offer(&self.connector, place, &link)).collect()
    }

    /// The connections to those of the offered children that still are.
    pub(crate) fn offered(&self, children: &[u32]) -> Vec<(u32, SharedChild)> {
        let shared = self.movable().into_iter().filter_map(|(_, link)| {
            let child = link.pid().filter(|child| children.contains(child))?;
            Some((child, SharedChild::new(Arc::clone(&self.connector), self.life.clone(), link)))
        });
        shared.collect()
    }

    /// The connections that all clients share.
    fn movable(&self) -> Vec<(LinkKind, Arc<Link>)> {
        let native = self.ready().map(|link| (LinkKind::Native, link));
        // Where the server speaks one era only, both are the same.
        let other = |link: &Arc<Link>| native.as_ref().is_none_or(|(_, native)| !Arc::ptr_eq(native, link));
        let legacy = self.legacy.now().filter(|link| link.is_open() && other(link));
        native.clone().into_iter().chain(legacy.map(|link| (LinkKind::SharedLegacy, link))).collect()
    }

    /// The supervising task. If it panics, the upstream backs off like any other that has failed, and the task begins again.
    async fn endure(self: Arc<Self>) {
        let mut backoff = Backoff::default();
        while let Err(panic) = catch_panic(Arc::clone(&self).supervise()).await {
            let wait = backoff.next(Duration::ZERO);
            tracing::error!(upstream = self.name(), panic, retry_in = ?wait, "the supervision has failed");
            let fault = Fault::upstream(&self.name(), "met a bug of the gateway").because(panic);
            self.failures.set(fault, None);
            self.retire(UpstreamState::BackingOff).await;
            tokio::select! {
                () = sleep(wait) => {}
                () = self.life.stop().cancelled() => {}
            }
            self.current.set(UpstreamState::Starting, None);
        }
    }

    /// The supervising task proper: ends only when the upstream is to be stopped.
    async fn supervise(self: Arc<Self>) {
        tokio::select! {
            () = self.lives() => {}
            () = self.life.stop().cancelled() => {}
            () = self.life.left().cancelled() => self.linger().await,
        }
        self.retire(UpstreamState::Stopped).await;
    }

    /// Waits until the upstream is to be stopped, while another process watches over its child.
    async fn linger(&self) {
        if let Some(link) = self.ready() {
            let mut closed = link.wire().closed();
            tokio::select! {
                _ = closed.wait_for(|closed| *closed) => drop(self.current.set(UpstreamState::Stopped, None)),
                () = self.life.stop().cancelled() => return,
            }
        }
        self.life.stop().cancelled().await;
    }

    /// One life after the other.
    async fn lives(&self) {
        let (mut backoff, mut due) = (Backoff::default(), Instant::now());
        loop {
            if self.current.state() == UpstreamState::Idle {
                self.demand.needed().await;
                self.current.set(UpstreamState::Starting, None);
            }
            self.demand.forget();
            let began = Instant::now();
            let (fault, lived) = match self.live().await {
                Ok(End::Replaced) => {
                    self.replaced.fetch_add(1, Ordering::Relaxed);
                    // Requests in flight have their connections for themselves and go on.
                    self.current.set(UpstreamState::Starting, None);
                    continue;
                }
                Ok(_) => {
                    self.sleep().await;
                    continue;
                }
                Err(ended) => ended,
            };
            let now = Instant::now();
            let still = lived.is_zero() && now < due;
            let wait = if still { due - now } else { backoff.next(lived) };
            due = now + wait;
            let child = self.connector.stderr().last();
            self.tell_failure(&fault, child.clone(), still, wait);
            self.ledger.ended(self.name(), reason(child.as_deref(), lived));
            self.failures.set(fault, child);
            self.lost.fetch_or(!lived.is_zero(), Ordering::Relaxed);
            // One that has worked is about to be back: a call waits for that instead of failing.
            let worked = self.current.link().is_some() && due - now < SHORT;
            self.retire(if worked { UpstreamState::Starting } else { UpstreamState::BackingOff }).await;
            self.rest(due, now - began).await;
            self.current.set(UpstreamState::Starting, None);
            self.demand.set_eager(false);
        }
    }

    /// Logs why there is no connection, when what its command has left behind is known. The next attempt does not wait.
    fn tell_failure(&self, fault: &Fault, child: Option<Arc<ChildErrors>>, still: bool, wait: Duration) {
        let (fault, upstream) = (fault.clone(), self.connector.name().clone());
        let needs_login = self.needs_login();
        tokio::spawn(async move {
            if let Some(child) = &child {
                child.settle().await;
            }
            let error = told(&fault, child.as_deref());
            if needs_login {
                // The log was told when that was found.
                tracing::debug!(%upstream, error, "the upstream is not available before somebody logs in");
            } else if still {
                tracing::debug!(%upstream, error, "the upstream is still not available");
            } else {
                tracing::warn!(%upstream, error, retry_in = ?wait, "the upstream is not available");
            }
        });
    }

    /// Waits before the next attempt, after one that took so long. To ask whether an HTTP server is back costs little where
    /// that is refused at once, so that each call does it: no call fails that need not.
    async fn rest(&self, due: Instant, took: Duration) {
        if let Some(credential) = self.connector.credential().filter(|it| it.needs_login().is_some()) {
            return credential.arrives().await;
        }
        let called = async {
            sleep(BETWEEN).await;
            self.demand.needed().await;
        };
        if self.is_for_callers() {
            self.demand.set_eager(true);
            return called.await;
        }
        let is_http = matches!(self.settings().transport, Transport::Http { .. });
        if !is_http || took > CHEAP {
            return sleep_until(due).await;
        }
        self.demand.set_eager(true);
        tokio::select! {
            () = sleep_until(due) => {}
            () = called => {}
        }
    }

    /// One life, from starting to the connection's end; the error is what was wrong, and for how long it had been ready.
    async fn live(&self) -> Result<End, (Fault, Duration)> {
        let inherited = self.inherited().await;
        let goes_on = inherited.is_some();
        let link = if let Some(link) = inherited {
            link
        } else {
            let opened = self.connector.open_native(self.outlet.clone()).await;
            // However long that took, it was no life.
            Arc::new(opened.map_err(|fault| (fault, Duration::ZERO))?)
        };
        let began = Instant::now();
        tracing::info!(
            upstream = self.name(),
            era = link.era().name(),
            version = link.handshake().version,
            "the upstream is ready"
        );
        self.failures.clear();
        // Before anybody is shown what it has now, which need not be what it had, or what the one before had.
        let before = self.shown.take(self.lost.swap(false, Ordering::Relaxed));
        self.current.set(UpstreamState::Ready, Some(Arc::clone(&link)));
        self.changes.up(self.connector.name());
        let _telling = AbortOnDropHandle::new(self.tell_differences(&link, before));
        let _looking = self.connector.pins().is_on().then(|| AbortOnDropHandle::new(look_at_tools(&link)));
        if link.era() == Era::Legacy && !goes_on {
            self.changes.any_updated(self.connector.name());
        }
        let _reading = AbortOnDropHandle::new(reconcile(&link));
        let listening = tokio::spawn(listen(Arc::clone(&link), self.followers.subscribed()));
        let _listening = AbortOnDropHandle::new(listening);
        let end = self.health_watch().until_end(&link).await;
        if end == End::Idle || end == End::Replaced {
            return Ok(end);
        }
        if !self.life.stop().is_cancelled() {
            self.failures.count_restart();
        }
        let how = match end {
            End::Hung => "does not answer any more",
            End::Refused => "has lost its session without saying so",
            End::Lost | End::Idle | End::Replaced => "has ended",
        };
        Err((Fault::upstream(&self.name(), how), began.elapsed()))
    }

    /// Tells clients, in a task of its own, of the lists that are others than they were shown.
    fn tell_differences(&self, link: &Arc<Link>, before: Before) -> JoinHandle<()> {
        let (link, changes) = (Arc::clone(link), self.changes.clone());
        tokio::spawn(async move {
            let each = Kind::ALL.into_iter().map(|kind| {
                let (link, changes, todo) = (&link, &changes, before.todo(kind));
                async move {
                    let differs = match todo {
                        Todo::Nothing => false,
                        Todo::Tell => true,
                        Todo::TellOfAny => link.offers(kind),
                        Todo::Compare(digest) => {
                            let client = ClientMeta::default();
                            let listing = lists::get(link, kind, Purpose::Showing, &client, COMPARE).await;
                            // Whether one that cannot be read differs is for its clients to find out.
                            listing.map_or(true, |listing| listing.digest(kind) != digest)
                        }
                    };
                    if differs {
                        changes.list(link.name(), kind.change());
                    }
                }
            });
            join_all(each).await;
        })
    }

    /// Takes what clients of the process before this one were shown.
    pub(crate) fn inherit_lists(&self, lists: &[Option<String>]) {
        if self.shown.inherit(lists) {
            self.compare_lists();
        }
    }

    /// There are clients of another process, of whom it may not be known what they were shown: they are told once.
    pub(crate) fn distrust_lists(&self) {
        if self.shown.distrust() {
            self.compare_lists();
        }
    }

    /// Compares what clients were shown with what it has, if it is there already.
    fn compare_lists(&self) {
        if let Some(link) = self.ready() {
            // It ends by itself.
            drop(self.tell_differences(&link, self.shown.take(false)));
        }
    }

    /// Watches over the native connection.
    fn health_watch(&self) -> HealthWatch<'_> {
        HealthWatch {
            connector: &self.connector,
            current: &self.current,
            demand: &self.demand,
            followers: &self.followers,
            legacy: &self.legacy,
            renewals: &self.renewals,
        }
    }

    /// The native connection that was inherited, once it has its pipes; `None` without one, and if it never gets any.
    async fn inherited(&self) -> Option<Arc<Link>> {
        let link = self.ready()?;
        if link.begins().await {
            return Some(link);
        }
        self.current.set(UpstreamState::Starting, None);
        None
    }

    /// Ends what nobody needs, and remembers what it has.
    async fn sleep(&self) {
        self.current.remember();
        tracing::info!(upstream = self.name(), "the idle upstream is ended until the next request");
        self.retire(UpstreamState::Idle).await;
    }

    /// Takes the shared connections away from callers and ends them.
    async fn retire(&self, state: UpstreamState) {
        let native = self.current.set(state, None);
        let native = async {
            if let Some(link) = native {
                let how = link.wire().end().await;
                tracing::debug!(upstream = self.name(), %how, "the connection");
            }
        };
        let others = async {
            if matches!(state, UpstreamState::Stopped | UpstreamState::Idle) {
                tokio::join!(self.leases.clear(), self.legacy.end());
            }
        };
        // Together: none waits for another's peer.
        tokio::join!(native, others);
    }
}

/// Why a connection is gone that has lived for so long, in a word for those who count.
fn reason(child: Option<&ChildErrors>, lived: Duration) -> &'static str {
    match child.and_then(ChildErrors::how) {
        Some(ChildEnd::Code(_)) => "exit",
        Some(ChildEnd::Signal(_)) => "signal",
        // The gateway ends those only that do not answer.
        Some(ChildEnd::Killed) => "hung",
        Some(ChildEnd::Unknown) | None if lived.is_zero() => "start",
        Some(ChildEnd::Unknown) | None => "lost",
    }
}

/// Reads the tools, which are pinned, also where no client asks for them.
fn look_at_tools(link: &Arc<Link>) -> JoinHandle<()> {
    let link = Arc::clone(link);
    tokio::spawn(async move { drop(lists::learn_aside(&link, Kind::Tools, COMPARE).await) })
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
