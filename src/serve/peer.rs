//! The way between the two processes of an upgrade, as the gateway and the serving loop see it.
//!
//! Sessions and messages of children pass at any time and in both directions; everything else is a stage, for the loop.

use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::error::Error;
use super::reload::{self, Asker};
use crate::gateway::Gateway;
use crate::handover::channel::{self, Descriptors, Receiver, Sender};
use crate::handover::{self, Child, ChildTransfer, Error as Failure, Message, Plan};

/// The way to the process before or after this one, with the task that carries what the gateway is told.
#[derive(Debug)]
pub(super) struct PeerChannel {
    /// Towards the other process.
    sender: Sender,
    /// What is not for the gateway.
    stages: mpsc::UnboundedReceiver<Message>,
    /// Those who wait for reloads that the other process was asked for.
    relays: TaskTracker,
    /// The task.
    _task: AbortOnDropHandle<()>,
}

impl PeerChannel {
    /// Opens the way to the process after this one, which is to take this plan.
    pub(super) fn to_successor(
        stream: UnixStream,
        plan: Plan,
        gateway: &Gateway,
        reloads: mpsc::Sender<Asker>,
    ) -> Self {
        let (sender, receiver) = channel::open(stream);
        // Before anything that the gateway says: the new process reads it without a runtime, and nothing else.
        sender.send(&Message::Take(Box::new(plan)));
        Self::open((sender, receiver), None, gateway, reloads)
    }

    /// The gateway asks the other process from here on. Children come with `descriptors`, and what the other process is
    /// asked to read again goes to `reloads`.
    fn open(
        (sender, receiver): (Sender, Receiver),
        descriptors: Option<Descriptors>,
        gateway: &Gateway,
        reloads: mpsc::Sender<Asker>,
    ) -> Self {
        let (stages_in, stages) = mpsc::unbounded_channel();
        gateway.set_peer(sender.clone());
        let carrier = Carrier { gateway: gateway.clone(), sender: sender.clone(), descriptors, reloads };
        let task = AbortOnDropHandle::new(tokio::spawn(carrier.carry(receiver, stages_in)));
        Self { sender, stages, relays: TaskTracker::new(), _task: task }
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
        Ok(Self::open(channel::open(channel), descriptors, gateway, reloads))
    }

    /// Towards the other process.
    pub(super) fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Has the other process read its configuration again, and tells the asker what became of it there.
    pub(super) fn reload(&self, asker: Asker) {
        let answer = self.sender.reload();
        self.relays.spawn(async move {
            let text = answer.await;
            let answer = text.and_then(|text| serde_json::from_str(&text).ok());
            if let Some(asker) = asker {
                // The asker has gone; the result is in the log of the other process.
                let _ = asker.send(answer.unwrap_or_else(reload::lost));
            }
        });
    }

    /// Waits until those who asked for a reload have been told of it.
    pub(super) async fn reloads_told(&self) {
        self.relays.close();
        self.relays.wait().await;
    }

    /// Waits for one stage; `None` is the end of the other process.
    pub(super) async fn stage(&mut self, wanted: &Message) -> Result<(), Option<Failure>> {
        let message = self.stages.recv().await.ok_or(None)?;
        if std::mem::discriminant(&message) == std::mem::discriminant(wanted) {
            return Ok(());
        }
        Err(Some(Failure::instead(message, wanted)))
    }

    /// Sends every session, such as those that were begun since the last time, and what clients have used of rates; `false` if the other process does not read.
    pub(super) async fn send_sessions(&self, gateway: &Gateway) -> bool {
        for session in gateway.sessions().all() {
            self.sender.send(&Message::Session { state: Box::new(session.saved()) });
        }
        self.sender.send(&Message::Used { all: gateway.used() });
        self.sender.flush().await
    }

    /// Sends the children of upstreams.
    pub(super) async fn send_children(
        &self,
        gateway: &Gateway,
        channel: &Descriptors,
    ) -> std::io::Result<()> {
        for ChildTransfer { child, descriptors } in gateway.children().hand_over().await {
            channel.send(&descriptors).await?;
            self.sender.send(&Message::Child { text: child });
        }
        Ok(())
    }

    /// Tells the old process why this one does not serve.
    pub(super) async fn fail(&self, error: &Error) {
        self.sender.send(&handover::failed(error));
        self.sender.flush().await;
    }
}

/// Carries what the other process says to the gateway.
struct Carrier {
    /// This side.
    gateway: Gateway,
    /// The other side.
    sender: Sender,
    /// The way of children's descriptors, where they come to this side.
    descriptors: Option<Descriptors>,
    /// For those who want this process to read its configuration again.
    reloads: mpsc::Sender<Asker>,
}

impl Carrier {
    /// Carries until the other process is gone.
    async fn carry(self, mut receiver: Receiver, stages: mpsc::UnboundedSender<Message>) {
        while let Some(message) = receiver.next().await {
            self.handle(message, &stages);
        }
        self.gateway.alone();
    }

    /// A message of the other process.
    fn handle(&self, message: Message, stages: &mpsc::UnboundedSender<Message>) {
        let gateway = self.gateway.clone();
        match message {
            Message::Session { state } => gateway.sessions().restore(*state, false),
            Message::Used { all } => gateway.inherit_used(&all),
            Message::Find { id } => {
                let state = gateway.sessions().get(&id).map(|session| Box::new(session.saved()));
                self.sender.send(&Message::Found { id, state });
            }
            Message::Ended { id } => {
                tokio::spawn(async move { gateway.sessions().end_here(&id).await });
            }
            Message::Deliver { id, body } => {
                tokio::spawn(async move { gateway.sessions().deliver(&id, &body).await });
            }
            Message::Resume { id, stream } => {
                tokio::spawn(async move { gateway.sessions().resume(&id, stream).await });
            }
            Message::Resumed { id, stream, gone, messages } => {
                gateway.sessions().resumed(&id, stream, gone, &messages);
            }
            Message::Round { word } => gateway.continuations().told(word),
            Message::Child { text } => self.receive(text),
            Message::OfChild { word } => gateway.children().told(&word),
            Message::Turn { word } => gateway.children().permit_told(word),
            Message::Confirm => {
                self.sender.send(&Message::Confirmed);
            }
            Message::Reload { id } => {
                let (reloads, sender) = (self.reloads.clone(), self.sender.clone());
                tokio::spawn(async move {
                    let answer = reload::request(reloads).await;
                    let answer = serde_json::to_string(&answer).expect("an answer has string keys");
                    sender.send(&Message::Reloaded { id, answer });
                });
            }
            Message::Unknown => {}
            stage => drop(stages.send(stage)),
        }
    }

    /// A child, of which the descriptors have come before.
    fn receive(&self, child: Child) {
        match self.descriptors.as_ref().map(Descriptors::receive) {
            Some(Ok(descriptors)) => self.gateway.children().receive(ChildTransfer { child, descriptors }),
            Some(Err(error)) => tracing::warn!(%error, "a child cannot be taken over"),
            None => {}
        }
    }
}
