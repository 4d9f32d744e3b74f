//! The way between the two processes of an upgrade, as the gateway and the serving loop see it.
//!
//! Sessions and messages of children pass at any time and in both directions; everything else is a stage of the upgrade,
//! for the loop.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::Error;
use super::reload::{self, Answer, Asker};
use super::rollback::Turns;
use crate::gateway::{ChildTransfer, Gateway, PeerRequest};
use crate::handover::channel::{self, Descriptors, Receiver, Sender};
use crate::handover::{self, Error as Failure, Message};

/// The way to the process before or after this one, with the task that carries sessions.
#[derive(Debug)]
pub(super) struct PeerChannel {
    /// Towards the other process.
    pub sender: Sender,
    /// What is not about sessions.
    stages: mpsc::UnboundedReceiver<Message>,
    /// Cancelled when the other process is gone.
    pub over: CancellationToken,
    /// Reloads that the other process was asked for.
    relayed: Relayed,
    /// Those who wait for them.
    relays: TaskTracker,
    /// What the gateway asks of the other process.
    way: mpsc::UnboundedSender<PeerRequest>,
    /// The task.
    task: AbortHandle,
}

/// Reloads that the other process was asked for, and does not answer any more once it is gone.
#[derive(Clone, Debug, Default)]
struct Relayed(Arc<Mutex<HashMap<u64, oneshot::Sender<String>>>>);

/// Numbers for [`Relayed`].
static RELAYED: AtomicU64 = AtomicU64::new(0);

impl Relayed {
    /// Whoever waits, by number.
    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PeerChannel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PeerChannel {
    /// Opens the way; the gateway asks the other process from here on. Children come with `descriptors`, and what the other
    /// process is asked to read again goes to `reloads`.
    pub(super) fn open(
        stream: UnixStream,
        descriptors: Option<Descriptors>,
        gateway: &Gateway,
        reloads: mpsc::Sender<Asker>,
    ) -> Self {
        let (sender, receiver) = channel::open(stream);
        let (stages_in, stages) = mpsc::unbounded_channel();
        let (way, asked) = mpsc::unbounded_channel();
        gateway.set_peer(Some(way.clone()));
        let (over, relayed) = (CancellationToken::new(), Relayed::default());
        let carrier = Carrier {
            gateway: gateway.clone(),
            sender: sender.clone(),
            descriptors,
            reloads,
            relayed: relayed.clone(),
            waiting: HashMap::new(),
        };
        // Cancelled on drop too, so that an aborted task is the end as well.
        let guard = over.clone().drop_guard();
        let task = tokio::spawn(async move {
            carrier.carry(receiver, asked, stages_in).await;
            drop(guard);
        });
        Self { sender, stages, over, relayed, relays: TaskTracker::new(), way, task: task.abort_handle() }
    }

    /// Has the other process read its configuration again, and tells whoever asked what became of it there.
    pub(super) fn reload(&self, asker: Asker) {
        let (answered, answer) = oneshot::channel();
        let id = RELAYED.fetch_add(1, Ordering::Relaxed);
        self.relayed.waiting().insert(id, answered);
        self.sender.send(&Message::Reload { id });
        if self.over.is_cancelled() {
            self.relayed.waiting().clear();
        }
        self.relays.spawn(async move {
            let text = answer.await.ok();
            let answer = text.and_then(|text| serde_json::from_str(&text).ok());
            if let Some(asker) = asker {
                // Whoever asked has gone; the result is in the log of the other process.
                let _ = asker.send(answer.unwrap_or_else(reload::lost));
            }
        });
    }

    /// Waits until whoever asked for a reload has been told of it.
    pub(super) async fn reloads_told(&self) {
        self.relays.close();
        self.relays.wait().await;
    }

    /// Opens the way to the process that has started this one; inside the runtime.
    pub(super) fn to_predecessor(
        channel: std::os::unix::net::UnixStream,
        descriptors: Option<std::os::unix::net::UnixStream>,
        gateway: &Gateway,
        reloads: mpsc::Sender<Asker>,
    ) -> Result<Self, Error> {
        let descriptors = descriptors.map(Descriptors::of).transpose().map_err(Error::Channel)?;
        channel.set_nonblocking(true).map_err(Error::Channel)?;
        let channel = UnixStream::from_std(channel).map_err(Error::Channel)?;
        Ok(Self::open(channel, descriptors, gateway, reloads))
    }

    /// Waits for one stage.
    pub(super) async fn stage(&mut self, wanted: &Message) -> Result<(), Option<Failure>> {
        let message = self.stages.recv().await.ok_or(None)?;
        if std::mem::discriminant(&message) == std::mem::discriminant(wanted) {
            return Ok(());
        }
        Err(Failure::refused(message))
    }

    /// Sends every session, such as those that were begun since the last time; `false` if the other process does not read.
    pub(super) async fn send_sessions(&self, gateway: &Gateway) -> bool {
        for state in gateway.sessions() {
            self.sender.send(&Message::Session { state });
        }
        self.sender.flush().await
    }

    /// Has the new process give the turns at upstreams, which it knows of before anything that is sent afterwards.
    pub(super) async fn share_turns(&self, gateway: &Gateway) -> Turns {
        let turns = Turns::share(gateway);
        let (done, carried) = oneshot::channel();
        if self.way.send(PeerRequest::Nothing { done }).is_ok() {
            let _ = carried.await;
        }
        turns
    }

    /// Sends the children of upstreams.
    pub(super) async fn send_children(&self, gateway: &Gateway, way: &Descriptors) -> std::io::Result<()> {
        for ChildTransfer { text, descriptors } in gateway.hand_over().await {
            way.send(&descriptors).await?;
            self.sender.send(&Message::Child { text });
        }
        Ok(())
    }

    /// Tells the old process why this one does not serve.
    pub(super) async fn fail(&self, error: &Error) {
        self.sender.send(&handover::failed(error));
        self.sender.flush().await;
    }
}

/// Carries sessions between gateway and channel.
struct Carrier {
    /// This side.
    gateway: Gateway,
    /// The other side.
    sender: Sender,
    /// The way of children's descriptors, where they come to this side.
    descriptors: Option<Descriptors>,
    /// For those who want this process to read its configuration again.
    reloads: mpsc::Sender<Asker>,
    /// Reloads that the other side was asked for.
    relayed: Relayed,
    /// Who waits for a session.
    waiting: HashMap<String, Vec<oneshot::Sender<Option<String>>>>,
}

impl Carrier {
    /// Carries until the other process is gone.
    async fn carry(
        mut self,
        mut receiver: Receiver,
        mut asked: mpsc::UnboundedReceiver<PeerRequest>,
        stages: mpsc::UnboundedSender<Message>,
    ) {
        loop {
            tokio::select! {
                message = receiver.next() => {
                    let Some(message) = message else {
                        self.relayed.waiting().clear();
                        return self.gateway.alone();
                    };
                    self.handle(message, &stages);
                }
                Some(asked) = asked.recv() => self.ask(asked),
            }
        }
    }

    /// A message of the other process.
    fn handle(&mut self, message: Message, stages: &mpsc::UnboundedSender<Message>) {
        match message {
            Message::Session { state } => self.gateway.keep_session(&state),
            Message::Find { id } => {
                let state = self.gateway.session(&id);
                self.sender.send(&Message::Found { id, state });
            }
            Message::Found { id, state } => {
                for answer in self.waiting.remove(&id).into_iter().flatten() {
                    let _ = answer.send(state.clone());
                }
            }
            // Ending connections and writing to them may take a while, and nothing waits for either.
            Message::Ended { id } => {
                let gateway = self.gateway.clone();
                tokio::spawn(async move { gateway.end_session(&id).await });
            }
            Message::Deliver { id, body } => {
                let gateway = self.gateway.clone();
                tokio::spawn(async move { gateway.deliver(&id, &body).await });
            }
            Message::Round { word } => self.gateway.round(&word),
            Message::Child { text } => self.receive(text),
            Message::OfChild { word } => self.gateway.told(&word),
            Message::Turn { word } => self.gateway.turn_told(&word),
            Message::Confirm => self.sender.send(&Message::Confirmed),
            Message::Reload { id } => {
                let (reloads, sender) = (self.reloads.clone(), self.sender.clone());
                tokio::spawn(async move {
                    let answer: Answer = reload::wish(reloads).await;
                    let answer = serde_json::to_string(&answer).expect("an answer has string keys");
                    sender.send(&Message::Reloaded { id, answer });
                });
            }
            Message::Reloaded { id, answer } => {
                if let Some(waiting) = self.relayed.waiting().remove(&id) {
                    let _ = waiting.send(answer);
                }
            }
            Message::Unknown => {}
            stage => drop(stages.send(stage)),
        }
    }

    /// A child, of which the descriptors have come before.
    fn receive(&self, text: String) {
        match self.descriptors.as_ref().map(Descriptors::receive) {
            Some(Ok(descriptors)) => self.gateway.receive(ChildTransfer { text, descriptors }),
            Some(Err(error)) => tracing::warn!(%error, "a child cannot be taken over"),
            None => {}
        }
    }

    /// A wish of our gateway.
    fn ask(&mut self, asked: PeerRequest) {
        match asked {
            PeerRequest::Find { id, answer } => {
                self.waiting.entry(id.clone()).or_default().push(answer);
                self.sender.send(&Message::Find { id });
            }
            PeerRequest::Ended { id } => self.sender.send(&Message::Ended { id }),
            PeerRequest::Deliver { id, body } => self.sender.send(&Message::Deliver { id, body }),
            PeerRequest::Round { word } => self.sender.send(&Message::Round { word }),
            PeerRequest::OfChild { word } => self.sender.send(&Message::OfChild { word }),
            PeerRequest::Turn { word } => self.sender.send(&Message::Turn { word }),
            PeerRequest::Nothing { done } => drop(done.send(())),
        }
    }
}
