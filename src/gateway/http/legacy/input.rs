//! Questions of a modern server to a legacy client: an `input_required` result becomes requests to the client, and its
//! answers a repetition of the request (MCP 2026-07-28 §Multi Round-Trip Requests).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::value::RawValue;
use tokio::time::timeout;

use crate::gateway::error::Fault;
use crate::gateway::relay::{
    Era, Object, Outcome, Raw, code, has_rounds, member, member_str, raw_string, set_member,
};
use crate::gateway::session::{Log, Session};
use crate::gateway::upstream::Link;

/// As often one request may be answered with further questions.
pub(super) const ROUNDS: usize = 64;

/// What a server needs before it can answer.
#[derive(Debug)]
pub(super) struct InputRequired {
    /// Its questions: key, method, parameters.
    questions: Vec<(String, String, Option<Raw>)>,
    /// What it wants to have back as it is.
    state: Option<Raw>,
}

impl InputRequired {
    /// Reads what a modern server has answered to a request of this method; `None` if it is none that asks.
    pub(super) fn read(link: &Link, method: &str, outcome: &Outcome) -> Option<Self> {
        let Outcome::Result(result) = outcome else { return None };
        let asks = link.era() == Era::Modern && has_rounds(method);
        if !asks || member_str(result, "resultType")? != "input_required" {
            return None;
        }
        let requests = member(result, "inputRequests").and_then(Object::parse);
        let question = |(key, request): (&str, &RawValue)| {
            let method = member_str(request, "method")?.into_owned();
            Some((key.to_owned(), method, member(request, "params").map(ToOwned::to_owned)))
        };
        let questions = requests.iter().flat_map(Object::iter).filter_map(question).collect();
        Some(Self { questions, state: member(result, "requestState").map(ToOwned::to_owned) })
    }

    /// Asks the client all of it, in the stream of the request, and waits for the answers. A client is asked nothing that it
    /// has not declared (MCP 2026-07-28 §Multi Round-Trip Requests, "Server Requirements").
    pub(super) async fn ask(
        &self,
        (session, link): (&Arc<Session>, &Link),
        messages: &Log,
        patience: Duration,
    ) -> Result<Raw, Fault> {
        let client = session.connections().modern();
        let asked =
            |(_, method, params): &&(String, String, Option<Raw>)| client.answers(method, params.as_deref());
        if let Some((_, method, _)) = self.questions.iter().find(|question| !asked(question)) {
            let reason =
                format_args!("asks for `{}`, which its client has not declared", method.escape_debug());
            return Err(Fault::upstream(link.name(), reason));
        }
        if !session.is_ready().await {
            return Err(Fault::not_ready());
        }
        let mut answers = Vec::with_capacity(self.questions.len());
        for (_, method, params) in &self.questions {
            let params = session.signed(link, method, params.clone());
            let (question, answer) = session.questions().ask_for_gateway(method, params);
            messages.push(question);
            answers.push(answer);
        }
        let late = |_| refused("the client did not answer the server's questions in time");
        let answers = timeout(patience, join_all(answers)).await.map_err(late)?;
        let mut text = String::from("{");
        for ((key, method, _), answer) in self.questions.iter().zip(answers) {
            let result = match answer {
                Ok(Outcome::Result(result)) => result,
                Ok(Outcome::Error(error)) => {
                    let why = member_str(&error, "message").unwrap_or_default();
                    return Err(refused(&format!(
                        "the client refused `{method}`, which the server needs: {why}"
                    )));
                }
                Err(_) => return Err(refused("the client did not answer the server's questions")),
            };
            if text.len() > 1 {
                text.push(',');
            }
            text.extend([raw_string(key).get(), ":", result.get()]);
        }
        text.push('}');
        Ok(RawValue::from_string(text).expect("valid members make a valid object"))
    }

    /// The parameters of the repetition, made from those of the first request.
    pub(super) fn repeat(&self, params: Option<&RawValue>, answers: &RawValue) -> Option<Raw> {
        let repeated = set_member(params?, "inputResponses", answers.get())?;
        match &self.state {
            Some(state) => set_member(&repeated, "requestState", state.get()),
            None => Some(repeated),
        }
    }
}

/// The client's fault.
fn refused(message: &str) -> Fault {
    Fault::downstream(code::INVALID_REQUEST, StatusCode::OK, message)
}
