//! The control socket of a gateway that serves: who answers what.

use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::reload::{self, Asker};
use super::rotate;
use super::status::{self, Status};
use super::upgrade::{self, Order};
use crate::control::Request;
use crate::daemon::control::{Busy, Server};
use crate::gateway::Gateway;
use crate::{drain, log};

/// What answers need, and where requests go.
#[derive(Clone)]
pub(super) struct Answering {
    /// The relay.
    pub(crate) gateway: Gateway,
    /// Tells about the drain.
    pub(crate) watch: drain::Watch,
    /// The log.
    pub(crate) log: log::Handle,
    /// For those who want a reload.
    pub(crate) reloads: mpsc::Sender<Asker>,
    /// For those who want an upgrade.
    pub(crate) upgrades: mpsc::Sender<Order>,
    /// Connections of operators for HTTP.
    pub(crate) http: mpsc::Sender<UnixStream>,
}

/// The control socket.
pub(super) struct Control {
    /// What answers need.
    answering: Answering,
    /// What the status says beside what the gateway tells.
    template: watch::Sender<Status>,
    /// The socket's task; dropping it ends the task.
    task: JoinSet<()>,
    /// Tells when it has answered.
    busy: Busy,
}

impl Control {
    /// Nobody answers yet.
    pub(super) fn new(answering: Answering, template: Status) -> Self {
        let template = watch::Sender::new(template);
        Self { answering, template, task: JoinSet::new(), busy: Busy::default() }
    }

    /// Another status from here on.
    pub(super) fn show(&self, template: Status) {
        self.template.send_replace(template);
    }

    /// Answers over a socket.
    pub(super) fn serve(&mut self, server: Server) {
        let (template, answering) = (self.template.subscribe(), self.answering.clone());
        self.busy = server.busy();
        let http = answering.http.clone();
        let answer = move |request, uid| {
            let (template, with) = (template.borrow().clone(), answering.clone());
            async move {
                match request {
                    Request::Status => status::answer(template, &with.gateway, &with.watch, &with.log),
                    Request::Reload => reload::ask(with.reloads, uid).await,
                    Request::Rotate => rotate::answer(&with.log).await,
                    Request::Audit { act, name } => {
                        act.record(&name, Some("control socket"), uid).write();
                        serde_json::json!({ "noted": true })
                    }
                    Request::Upgrade { start_timeout_ms } => {
                        let limit = Duration::from_millis(start_timeout_ms);
                        upgrade::ask(&with.upgrades, &with.watch, limit).await
                    }
                    Request::Http => unreachable!("the server itself answers that"),
                }
            }
        };
        self.task.spawn(server.serve(answer, http));
    }

    /// Answers no more, once what was answered has been read, for which there is so much time.
    pub(super) async fn end(&mut self, limit: Duration) {
        self.task.abort_all();
        self.busy.over(limit).await;
    }
}
