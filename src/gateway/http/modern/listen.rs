//! `subscriptions/listen`: the modern era's stream of changes (MCP 2026-07-28 §Subscriptions).
//!
//! List changes come from the gateway's own announcements, which cover legacy and modern upstreams and their restarts.
//! Resource updates come from a listen of our own to the upstream whose resource it is, or a subscription there where that is a
//! legacy one: others neither learn of it nor tell of it. What tasks tell comes by the same listen, of the client's own tasks
//! only. The acknowledgement waits for those upstreams and leaves out what they decline; those that are away, or do not
//! answer in time, are followed once they agree.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::response::Response;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::sources::Asking;
use crate::config::UpstreamName;
use crate::gateway::catalog::{EndpointView, Native, RoutingHandle, check_speaks, followed, owner};
use crate::gateway::changes::{Announced, Change, LISTS, changed, is_within, updated};
use crate::gateway::endpoint::Endpoint;
use crate::gateway::error::Fault;
use crate::gateway::http::answer;
use crate::gateway::http::cutoff::StreamEnd;
use crate::gateway::relay::{
    ClientMeta, Era, Id, Message, Notification, Outcome, Raw, Request, Response as Answer, code, key, member,
    member_str, method, raw, set_path,
};
use crate::gateway::session::Subscribed;
use crate::gateway::upstream::{Caller, Followed, Kind, Link, Subjects, Upstream, can_subscribe, follow};

/// Messages that may wait for the client to read. Beyond, changes are gathered where they come from.
const QUEUE: usize = 256;
/// How long the client may take to read one; then its stream is ended.
const SLOW: Duration = Duration::from_secs(60);
/// How long upstreams may take to agree before the client is told what it will hear of.
const AGREE: Duration = Duration::from_secs(5);
/// Tasks whose upstreams are searched for at once.
const AT_ONCE: usize = 16;
/// Tells streams apart.
static STREAMS: AtomicU64 = AtomicU64::new(0);

/// What a client wants to hear of.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    /// Changes of the list of tools.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tools_list_changed: bool,
    /// Changes of the list of prompts.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    prompts_list_changed: bool,
    /// Changes of the list of resources.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    resources_list_changed: bool,
    /// Updates of these resources.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resource_subscriptions: Vec<String>,
    /// How these tasks stand (SEP-2663).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    task_ids: Vec<String>,
}

impl Filter {
    /// The part that these connections can honour; an upstream that is away may have any list when it comes back.
    fn honoured(mut self, links: &[Arc<Link>], all: bool) -> Self {
        let any = |kind: Kind| !all || links.iter().any(|link| link.offers(kind));
        self.tools_list_changed &= any(Kind::Tools);
        self.prompts_list_changed &= any(Kind::Prompts);
        self.resources_list_changed &= any(Kind::Resources);
        if !links.iter().any(|link| can_subscribe(link)) {
            self.resource_subscriptions.clear();
        }
        self
    }

    /// Whether a notification passes.
    fn passes(&self, note: &Notification) -> bool {
        match note.method.as_str() {
            method::TOOLS_CHANGED => self.tools_list_changed,
            method::PROMPTS_CHANGED => self.prompts_list_changed,
            method::RESOURCES_CHANGED => self.resources_list_changed,
            method::RESOURCE_UPDATED => {
                let uri = note.params.as_deref().and_then(|params| member_str(params, "uri"));
                uri.is_some_and(|uri| {
                    self.resource_subscriptions.iter().any(|wanted| is_within(&uri, wanted))
                })
            }
            method::TASK => {
                let id = note.params.as_deref().and_then(|params| member_str(params, "taskId"));
                id.is_some_and(|id| self.task_ids.iter().any(|wanted| *wanted == id))
            }
            _ => false,
        }
    }

    /// Takes out what nobody tells of.
    fn leave_out(&mut self, nobodys: &Subjects) {
        self.resource_subscriptions.retain(|uri| !nobodys.uris.contains(uri));
        self.task_ids.retain(|id| !nobodys.tasks.contains(id));
    }
}

/// What upstreams were asked to tell of.
#[derive(Default)]
struct Asked {
    /// What no upstream has.
    nobodys: Subjects,
    /// What each of the others was asked for, and what it says.
    of: Vec<(Subjects, oneshot::Receiver<Result<Subjects, Fault>>)>,
}

impl Asked {
    /// What the upstreams have declined within [`AGREE`].
    async fn declined(self) -> Vec<Subjects> {
        let each = self.of.into_iter().map(|(mut asked, answer)| async move {
            let agreed = match timeout(AGREE, answer).await {
                Ok(Ok(Ok(agreed))) => agreed,
                Ok(_) => Subjects::default(),
                Err(_) => return Subjects::default(),
            };
            asked.uris.retain(|uri| !agreed.uris.contains(uri));
            asked.tasks.retain(|id| !agreed.tasks.contains(id));
            asked
        });
        join_all(each).await
    }
}

/// What a stream is told.
enum Told {
    /// An update of a modern server's resource or task.
    Update(Notification),
    /// What upstreams announce.
    Changes(Vec<Change>),
}

/// The names of the upstreams behind an endpoint.
fn names(view: &EndpointView) -> HashSet<UpstreamName> {
    view.upstreams().iter().map(|upstream| upstream.connector().name().clone()).collect()
}

/// One stream of changes.
struct Stream {
    /// The request's identifier, which is the subscription's.
    id: Id,
    /// What the client hears of.
    filter: Filter,
    /// The endpoint that it was opened at.
    endpoint: Endpoint,
    /// What is behind that endpoint.
    routing: Arc<RoutingHandle>,
    /// The upstreams that it concerns.
    names: HashSet<UpstreamName>,
    /// Who listens.
    client: (ClientMeta, Caller),
    /// The resources that are followed, with the name and serial number of their upstream.
    followed: HashSet<(UpstreamName, u64, String)>,
    /// The tasks that are followed, with the serial number of their upstream.
    tasks: HashSet<(u64, String)>,
    /// Where their updates go.
    updates: mpsc::Sender<Notification>,
    /// Towards the client.
    messages: mpsc::Sender<Message>,
}

/// Opens a stream of changes.
pub(crate) fn listen(
    (routing, changes): (&Arc<RoutingHandle>, Announced),
    (endpoint, view): (Endpoint, &EndpointView),
    request: Request,
    client: (ClientMeta, Caller),
    end: StreamEnd,
) -> Result<Response, Fault> {
    let wanted = request.params.as_deref().and_then(|params| member(params, "notifications"));
    let wanted: Option<Filter> = wanted.and_then(|wanted| serde_json::from_str(wanted.get()).ok());
    let Some(wanted) = wanted else {
        let message = "`subscriptions/listen` needs an object `notifications`";
        return Err(Fault::downstream(code::INVALID_PARAMS, StatusCode::BAD_REQUEST, message));
    };
    let mut subscribed = Subscribed::default();
    wanted.resource_subscriptions.iter().chain(&wanted.task_ids).try_for_each(|name| subscribed.add(name))?;
    if !wanted.task_ids.is_empty() {
        check_speaks(&client.0)?;
    }
    let links: Vec<_> = view.upstreams().iter().filter_map(|upstream| upstream.present()).collect();
    let (messages, receiver) = mpsc::channel(QUEUE);
    let (updates, followed) = mpsc::channel(QUEUE);
    let stream = Stream {
        id: request.id,
        filter: wanted.honoured(&links, links.len() == view.upstreams().len()),
        endpoint,
        routing: Arc::clone(routing),
        names: names(view),
        client,
        followed: HashSet::new(),
        tasks: HashSet::new(),
        updates,
        messages,
    };
    tokio::spawn(stream.run(changes, followed, end));
    let receiver =
        stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    Ok(answer::events(receiver.map(answer::Item::from)))
}

impl Stream {
    /// The first message: what the client will hear of.
    fn acknowledge(&self) {
        let params = raw(&json!({ "notifications": self.filter }));
        let method = method::ACKNOWLEDGED.into();
        // Nothing else is in the queue.
        let _ = self.messages.try_send(self.own(Notification { method, params: Some(params) }));
    }

    /// Follows the resources and tasks whose upstreams are there and let clients do so, each at its own upstream, unless it
    /// does already.
    async fn follow(&mut self) -> Asked {
        let mut asked = Asked::default();
        let Some(view) = self.routing.view(&self.endpoint) else { return asked };
        let wanted = self.filter.resource_subscriptions.clone();
        // All at once: one upstream that hangs delays this once.
        let owners = join_all(wanted.iter().map(|uri| followed(&view, &Native, uri, &self.client.0))).await;
        let mut begun = BTreeMap::<u64, (Arc<Upstream>, Subjects)>::new();
        let none = |upstream: Arc<Upstream>| (upstream, Subjects::default());
        for (uri, owner) in wanted.into_iter().zip(owners) {
            let owner = owner.filter(|owner| owner.present().is_none_or(|link| can_subscribe(&link)));
            let Some(owner) = owner else {
                asked.nobodys.uris.push(uri);
                continue;
            };
            let key = (owner.connector().name().clone(), owner.serial(), uri.clone());
            if owner.present().is_some() && self.followed.insert(key) {
                begun.entry(owner.serial()).or_insert_with(|| none(owner)).1.uris.push(uri);
            }
        }
        for (id, owner) in self.owners(&view).await {
            let tells = |link: Arc<Link>| link.era() == Era::Modern && link.has_tasks();
            let Some(owner) = owner.filter(|owner| owner.present().is_none_or(tells)) else {
                asked.nobodys.tasks.push(id);
                continue;
            };
            if owner.present().is_some() && self.tasks.insert((owner.serial(), id.clone())) {
                begun.entry(owner.serial()).or_insert_with(|| none(owner)).1.tasks.push(id);
            }
        }
        for (upstream, subjects) in begun.into_values() {
            let who = format!("stream {}", STREAMS.fetch_add(1, Ordering::Relaxed));
            let (accepted, answer) = oneshot::channel();
            asked.of.push((subjects.clone(), answer));
            let followed = Followed { who, client: self.client.0.clone(), subjects };
            tokio::spawn(follow(upstream, followed, self.updates.clone(), accepted));
        }
        asked
    }

    /// The tasks that are not followed yet, and the upstreams that they are of, as far as they are the client's.
    async fn owners(&self, view: &EndpointView) -> Vec<(String, Option<Arc<Upstream>>)> {
        let (client, caller) = &self.client;
        let source = Asking(caller);
        let is_followed = |id: &String| {
            view.upstreams().iter().any(|upstream| self.tasks.contains(&(upstream.serial(), id.clone())))
        };
        let wanted: Vec<_> = self.filter.task_ids.iter().filter(|id| !is_followed(id)).collect();
        let mut owners = Vec::new();
        // Upstreams may have to be asked whether they know one.
        for some in wanted.chunks(AT_ONCE) {
            let found = join_all(some.iter().map(|id| owner(view, &source, id, client))).await;
            owners.extend(some.iter().map(|id| (*id).clone()).zip(found.into_iter().map(Result::ok)));
        }
        owners
    }

    /// Follows what is wanted and tells the client what it will hear of: of nothing that an upstream declines or that nobody
    /// has, unless an upstream that may have it is away.
    async fn begin(&mut self) {
        let mut asked = self.follow().await;
        let nobodys = std::mem::take(&mut asked.nobodys);
        for declined in asked.declined().await {
            self.filter.leave_out(&declined);
        }
        let view = self.routing.view(&self.endpoint);
        let away = |upstream: &Arc<Upstream>| upstream.present().is_none();
        if !view.is_some_and(|view| view.upstreams().iter().any(away)) {
            self.filter.leave_out(&nobodys);
        }
        self.acknowledge();
    }

    /// Whether an update that an upstream tells of is of a resource that is followed there.
    fn hears(&self, name: &UpstreamName, note: &Notification) -> bool {
        let Some(uri) = note.params.as_deref().and_then(|params| member_str(params, "uri")) else {
            return false;
        };
        self.followed.iter().any(|(of, _, followed)| of == name && is_within(&uri, followed))
    }

    /// A notification under this subscription.
    fn own(&self, note: Notification) -> Message {
        let params = note.params.unwrap_or_else(|| raw(&json!({})));
        let params = set_path(&params, &["_meta", key::SUBSCRIPTION], self.id.as_str()).unwrap_or(params);
        Message::Notification(Notification { params: Some(params), ..note })
    }

    /// What the client is told of a change, as far as the stream's endpoint shows it, also after a reload.
    async fn notes(&mut self, change: Change) -> Vec<Notification> {
        match change {
            Change::Endpoint(endpoint) if endpoint.concerns(&self.endpoint) => {
                self.names = self.routing.view(&self.endpoint).map(|view| names(&view)).unwrap_or_default();
                self.follow().await;
                LISTS.map(changed).into()
            }
            Change::List(name, list) if self.names.contains(&name) => vec![changed(list)],
            // What comes after it was away is followed again.
            Change::Up(name) if self.names.contains(&name) => {
                self.follow().await;
                Vec::new()
            }
            Change::Updated(name, note) if self.names.contains(&name) && self.hears(&name, &note) => {
                vec![note]
            }
            Change::AnyUpdated(name) if self.names.contains(&name) => {
                let of = self.followed.iter().filter(|(of, ..)| *of == name);
                let uris: BTreeSet<_> = of.map(|(.., uri)| uri).collect();
                uris.into_iter().map(|uri| updated(uri)).collect()
            }
            Change::Endpoint(_)
            | Change::List(..)
            | Change::Updated(..)
            | Change::AnyUpdated(_)
            | Change::Up(_) => Vec::new(),
        }
    }

    /// Tells the client of changes, as far as it wants to hear of them; `false` once it is gone or too slow.
    async fn tell(&self, notes: Vec<Notification>) -> bool {
        for note in notes.into_iter().filter(|note| self.filter.passes(note)) {
            if !matches!(timeout(SLOW, self.messages.send(self.own(note))).await, Ok(Ok(()))) {
                return false;
            }
        }
        true
    }

    /// Passes changes on until the client goes or the gateway stops, which ends the stream properly.
    async fn run(
        mut self,
        mut changes: Announced,
        mut followed: mpsc::Receiver<Notification>,
        end: StreamEnd,
    ) {
        self.begin().await;
        loop {
            let told = tokio::select! {
                () = self.messages.closed() => return,
                () = end.reached() => break,
                Some(note) = followed.recv() => Told::Update(note),
                changes = changes.next() => Told::Changes(changes),
            };
            let notes = match told {
                Told::Update(note) => vec![note],
                Told::Changes(changes) => {
                    let mut notes = Vec::new();
                    for change in changes {
                        notes.extend(self.notes(change).await);
                    }
                    notes
                }
            };
            let told = tokio::select! {
                told = self.tell(notes) => told,
                () = end.reached() => break,
            };
            if !told {
                return;
            }
        }
        let id = serde_json::value::RawValue::from_string(self.id.as_str().to_owned()).ok();
        let result = raw(&Ended { result_type: "complete", meta: EndedMeta { subscription: id } });
        let answer = Answer { id: Some(self.id.clone()), outcome: Outcome::Result(result) };
        // A client that has not read what came before is given the time for it.
        let _ = timeout(SLOW, self.messages.send(Message::Response(answer))).await;
    }
}

/// The result of a stream that the gateway ends.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ended<'a> {
    /// Always `complete`.
    result_type: &'a str,
    /// Names the subscription.
    #[serde(rename = "_meta")]
    meta: EndedMeta,
}

/// `_meta` of [`Ended`].
#[derive(Serialize)]
struct EndedMeta {
    /// The subscription.
    #[serde(rename = "io.modelcontextprotocol/subscriptionId")]
    subscription: Option<Raw>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::gateway::client::ClientKey;
    use crate::gateway::http::cutoff::Cutoff;
    use crate::gateway::service::Gateway;
    use http_body_util::BodyExt as _;
    use tokio_util::sync::CancellationToken;

    /// A gateway without configured upstreams.
    fn gateway() -> Gateway {
        Gateway::start(&Config::default(), Vec::new(), std::path::Path::new("/")).unwrap()
    }

    /// Opens a stream of changes with this filter.
    fn open(gateway: &Gateway, notifications: &serde_json::Value) -> Result<Response, Fault> {
        // Once it looks again, nobody is behind its endpoint any more who could tell it something else.
        let (routing, endpoint) = (gateway.routing(), Endpoint::named(Some("nobody".to_owned())));
        let view = routing.view(&Endpoint::ALL).unwrap();
        let params = Some(raw(&json!({ "notifications": notifications })));
        let request = Request { id: Id::number(7), method: "subscriptions/listen".into(), params };
        let end = StreamEnd::new(&CancellationToken::new(), &Cutoff::default());
        let changes = (routing, gateway.changes().subscribe());
        let client = ClientMeta::default();
        let caller = Caller::of(ClientKey::of_client(None, None), &client);
        listen(changes, (endpoint, &view), request, (client, caller), end)
    }

    #[tokio::test]
    async fn stream_is_told_of_its_own_changes_whatever_others_there_are() {
        let gateway = gateway();
        let wanted =
            json!({ "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true });
        let mut body = open(&gateway, &wanted).unwrap().into_body();
        // Nothing else runs before this test waits: all of it comes before the stream looks.
        let (elsewhere, here) = (UpstreamName::new("elsewhere").unwrap(), UpstreamName::builtin());
        gateway.changes().list(&here, LISTS[0]);
        for _ in 0..1000 {
            for list in LISTS {
                gateway.changes().list(&elsewhere, list);
            }
        }
        let (mut text, limit) = (String::new(), Duration::from_secs(60));
        while !text.contains(LISTS[0]) {
            let frame = timeout(limit, body.frame()).await.expect("it is told").unwrap().unwrap();
            text += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
        }
        assert_eq!(text.matches(LISTS[0]).count(), 1, "{text}");
        assert!(text.contains("subscriptions/acknowledged"), "{text}");
        gateway.stop().await;
    }

    #[test]
    fn update_of_a_part_of_what_is_followed_passes() {
        let filter = Filter { resource_subscriptions: vec!["test://a".to_owned()], ..Filter::default() };
        let update = |uri: &str| Notification {
            method: "notifications/resources/updated".into(),
            params: Some(raw(&json!({ "uri": uri }))),
        };
        assert!(filter.passes(&update("test://a")) && filter.passes(&update("test://a/b")));
        assert!(!filter.passes(&update("test://ab")));
    }

    #[tokio::test]
    async fn stream_for_more_resources_than_a_client_may_follow_is_refused() {
        let gateway = gateway();
        let follow = |count: usize| {
            let uris: Vec<_> = (0..count).map(|number| format!("test://{number}")).collect();
            open(&gateway, &json!({ "resourceSubscriptions": uris }))
        };
        follow(1000).unwrap();
        let refused = follow(1001).unwrap_err();
        assert!(refused.message.contains("1000 resources"), "{refused}");
        gateway.stop().await;
    }
}
