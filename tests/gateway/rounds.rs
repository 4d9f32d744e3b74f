//! Rounds of `input_required` in every order in which questions, answers and the end can come: nothing is lost, nothing is
//! told twice, and nothing hangs.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::chaos::children;
use crate::client::{Answer, Client};
use crate::gateway::{Gateway, HttpUpstream, write};
use crate::upstreams::{http, http_probe, probe};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A modern client of one legacy server, which does as it is told.
struct Talk {
    /// The gateway.
    gateway: Gateway,
    /// The client.
    client: Client,
    /// What the server is told to do.
    steps: Value,
    /// Where both see the same files.
    files: tempfile::TempDir,
    /// The server, if it is not the gateway's child.
    _server: Option<HttpUpstream>,
}

/// What a request was answered with.
#[derive(Debug)]
enum Reply {
    /// Questions, and the state to repeat the request with.
    Round(Value, String),
    /// What the server was told.
    End(Value),
}

impl Talk {
    /// With a server over stdio or over HTTP.
    async fn with(over_http: bool, more: &str, steps: impl FnOnce(&Path) -> Value) -> Self {
        let server = if over_http { Some(http_probe(&["--era", "legacy"]).await) } else { None };
        let upstream = match &server {
            Some(server) => http("probe", server.port),
            None => probe("probe", &["--era", "legacy"]),
        };
        let gateway = Gateway::start(&(upstream + more)).await;
        let client = Client::modern(gateway.address(), "/mcp");
        let files = tempfile::tempdir().expect("a scratch directory");
        Self { steps: steps(files.path()), gateway, client, files, _server: server }
    }

    /// Sends the request; `more` are further members of its parameters, with their comma.
    async fn send(&self, more: &str) -> Answer {
        script(&self.client, &self.steps, more).await
    }

    /// Begins.
    async fn begin(&self) -> Answer {
        self.send("").await
    }

    /// Repeats the request with answers to the questions that bear these texts.
    async fn answer(&self, round: &Reply, answers: &[(&str, Value)]) -> Answer {
        let Reply::Round(questions, state) = round else { panic!("not a round: {round:?}") };
        let mut named = serde_json::Map::new();
        for (text, answer) in answers {
            let found = questions.as_object().expect("questions").iter();
            let mut found = found.filter(|(_, question)| question["params"]["message"] == *text);
            let (name, _) = found.next().unwrap_or_else(|| panic!("no {text} in {questions}"));
            named.insert(name.clone(), answer.clone());
        }
        let answers = Value::Object(named);
        self.send(&format!(r#","inputResponses":{answers},"requestState":"{state}""#)).await
    }

    /// Makes a file.
    fn make(&self, name: &str) {
        write(&self.files.path().join(name), "");
    }

    /// Waits for a file.
    async fn until(&self, name: &str) {
        let (path, deadline) = (self.files.path().join(name), Instant::now() + PATIENCE);
        while !path.exists() {
            assert!(Instant::now() < deadline, "{name} is not made");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Comes back without an answer until what comes of it passes the test.
    async fn come_back(&self, mut round: Reply, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.answer(&round, &[]).await;
            if wanted(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{answer:?}");
            round = reply(&answer);
        }
    }

    /// Ends it.
    async fn stop(self) {
        self.gateway.stop().await;
    }
}

/// Has the server do something; `more` are further members of the parameters, with their comma.
async fn script(client: &Client, steps: &Value, more: &str) -> Answer {
    let meta = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}},"progressToken":"t"}"#;
    let params = format!(r#"{{"name":"script","arguments":{{"steps":{steps}}},"_meta":{meta}{more}}}"#);
    client.request("7", "tools/call", "script", &params).await
}

/// What an answer says.
fn reply(answer: &Answer) -> Reply {
    let result: Value = serde_json::from_str(&answer.result()).expect("JSON");
    if result["resultType"] == "input_required" {
        let state = result["requestState"].as_str().expect("a state").to_owned();
        return Reply::Round(result["inputRequests"].clone(), state);
    }
    Reply::End(serde_json::from_str(&answer.text()).expect("JSON"))
}

/// The texts of a round's questions, sorted.
fn asked(reply: &Reply) -> Vec<&str> {
    let Reply::Round(questions, _) = reply else { panic!("not a round: {reply:?}") };
    let questions = questions.as_object().expect("questions").values();
    let mut texts: Vec<_> =
        questions.map(|question| question["params"]["message"].as_str().expect("a text")).collect();
    texts.sort_unstable();
    texts
}

/// What the server was told: each answer of each question, and none without a question.
fn told(answer: &Answer) -> Value {
    let Reply::End(told) = reply(answer) else { panic!("not the end: {answer:?}") };
    assert_eq!(told["strays"], 0, "{told}");
    told["answers"].clone()
}

/// An answer that can be told from others.
fn yes(text: &str) -> Value {
    json!({ "action": "accept", "content": { "it": text } })
}

/// Two questions in one write.
fn both() -> Value {
    json!({ "say": [{ "ask": "a", "id": 1 }, { "ask": "b", "id": 2 }] })
}

#[tokio::test]
async fn questions_whose_ids_differ_by_their_type_only_are_two() {
    for over_http in [false, true] {
        let steps = |_: &Path| {
            let both = json!([{ "ask": "number", "id": 1 }, { "ask": "text", "id": "1" }]);
            json!([{ "say": both }, { "answered": "number" }, { "answered": "text" }])
        };
        let talk = Talk::with(over_http, "", steps).await;
        let round = reply(&talk.begin().await);
        assert_eq!(asked(&round), ["number", "text"]);
        let end = talk.answer(&round, &[("number", yes("n")), ("text", yes("t"))]).await;
        assert_eq!(told(&end), json!({ "number": [yes("n")], "text": [yes("t")] }));
        talk.stop().await;
    }
}

#[tokio::test]
async fn question_left_unanswered_is_asked_again_and_the_answered_one_is_not() {
    for over_http in [false, true] {
        let steps = |_: &Path| json!([both(), { "answered": "b" }, { "answered": "a" }]);
        let talk = Talk::with(over_http, "", steps).await;
        let round = reply(&talk.begin().await);
        assert_eq!(asked(&round), ["a", "b"]);
        let round = reply(&talk.answer(&round, &[("b", yes("b"))]).await);
        assert_eq!(asked(&round), ["a"]);
        let end = talk.answer(&round, &[("a", yes("a"))]).await;
        assert_eq!(told(&end), json!({ "a": [yes("a")], "b": [yes("b")] }));
        talk.stop().await;
    }
}

#[tokio::test]
async fn question_that_comes_after_the_round_and_before_its_answer_is_the_next_round() {
    for over_http in [false, true] {
        let steps = |files: &Path| {
            json!([
                { "say": [{ "ask": "a", "id": 1 }] }, { "until": files.join("late") },
                { "say": [{ "ask": "b", "id": 2 }] }, { "touch": files.join("asked") },
                { "answered": "a" }, { "answered": "b" },
            ])
        };
        let talk = Talk::with(over_http, "", steps).await;
        let first = reply(&talk.begin().await);
        assert_eq!(asked(&first), ["a"]);
        talk.make("late");
        talk.until("asked").await;
        let second = reply(&talk.answer(&first, &[("a", yes("a"))]).await);
        assert_eq!(asked(&second), ["b"]);
        let end = talk.answer(&second, &[("b", yes("b"))]).await;
        assert_eq!(told(&end), json!({ "a": [yes("a")], "b": [yes("b")] }));
        talk.stop().await;
    }
}

#[tokio::test]
async fn late_question_joins_the_unanswered_one_when_the_client_comes_back_without_an_answer() {
    for over_http in [false, true] {
        let steps = |files: &Path| {
            json!([
                { "say": [{ "ask": "a", "id": 1 }] }, { "until": files.join("late") },
                { "say": [{ "ask": "b", "id": 2 }] }, { "answered": "a" }, { "answered": "b" },
            ])
        };
        let talk = Talk::with(over_http, "", steps).await;
        let first = reply(&talk.begin().await);
        talk.make("late");
        let second = talk.come_back(first, |answer| asked(&reply(answer)) == ["a", "b"]).await;
        let end = talk.answer(&reply(&second), &[("a", yes("a")), ("b", yes("b"))]).await;
        assert_eq!(told(&end), json!({ "a": [yes("a")], "b": [yes("b")] }));
        talk.stop().await;
    }
}

#[tokio::test]
async fn question_that_follows_from_an_answer_is_the_next_round() {
    for over_http in [false, true] {
        let steps = |_: &Path| {
            // The same identifier again, as servers may once it is answered.
            json!([
                { "say": [{ "ask": "a", "id": 1 }] }, { "answered": "a" },
                { "say": [{ "ask": "b", "id": 1 }] }, { "answered": "b" },
            ])
        };
        let talk = Talk::with(over_http, "", steps).await;
        let first = reply(&talk.begin().await);
        let second = reply(&talk.answer(&first, &[("a", yes("a"))]).await);
        assert_eq!(asked(&second), ["b"]);
        // An answer to the question before is not one to this.
        let (Reply::Round(questions, _), Reply::Round(_, state)) = (&first, second) else { unreachable!() };
        let again = talk.answer(&Reply::Round(questions.clone(), state), &[("a", yes("old"))]).await;
        let end = talk.answer(&reply(&again), &[("b", yes("b"))]).await;
        assert_eq!(told(&end), json!({ "a": [yes("a")], "b": [yes("b")] }));
        talk.stop().await;
    }
}

#[tokio::test]
async fn what_is_told_between_questions_is_told_at_once_and_they_are_one_round() {
    for over_http in [false, true] {
        let steps = |_: &Path| {
            let say = json!([{ "ask": "a", "id": 1 }, { "progress": 1 }, { "ask": "b", "id": 2 }]);
            json!([{ "say": say }, { "answered": "a" }, { "answered": "b" }, { "say": [{ "progress": 2 }] }])
        };
        let talk = Talk::with(over_http, "", steps).await;
        let first = talk.begin().await;
        assert_eq!(first.messages().len(), 2, "{:?}", first.messages());
        assert!(first.messages()[0].contains(r#""progress": 1"#), "{:?}", first.messages());
        let round = reply(&first);
        assert_eq!(asked(&round), ["a", "b"]);
        let end = talk.answer(&round, &[("a", yes("a")), ("b", yes("b"))]).await;
        assert_eq!(end.messages().len(), 2, "{:?}", end.messages());
        assert!(end.messages()[0].contains(r#""progress": 2"#), "{:?}", end.messages());
        assert_eq!(told(&end), json!({ "a": [yes("a")], "b": [yes("b")] }));
        talk.stop().await;
    }
}

#[tokio::test]
async fn server_that_does_not_wait_for_its_answer_has_its_result_told_all_the_same() {
    for over_http in [false, true] {
        let steps =
            |files: &Path| json!([{ "say": [{ "ask": "a", "id": 1 }] }, { "until": files.join("end") }]);
        for answers in [false, true] {
            let talk = Talk::with(over_http, "", steps).await;
            let round = reply(&talk.begin().await);
            assert_eq!(asked(&round), ["a"]);
            talk.make("end");
            let end = if answers {
                talk.answer(&round, &[("a", yes("late"))]).await
            } else {
                talk.come_back(round, |answer| matches!(reply(answer), Reply::End(_))).await
            };
            // Whether it has come in time for the server to hear it is up to the server.
            let told = told(&end);
            assert!(told == json!({ "a": [] }) || answers && told == json!({ "a": [yes("late")] }), "{told}");
            talk.stop().await;
        }
        // Before the round.
        let talk = Talk::with(over_http, "", |_| json!([{ "say": [{ "ask": "a", "id": 1 }] }])).await;
        let first = talk.begin().await;
        let end = match reply(&first) {
            Reply::End(_) => first,
            round @ Reply::Round(..) => {
                talk.come_back(round, |answer| matches!(reply(answer), Reply::End(_))).await
            }
        };
        assert_eq!(told(&end), json!({ "a": [] }));
        talk.stop().await;
    }
}

#[tokio::test]
async fn question_that_the_server_takes_back_is_not_asked_any_more() {
    for over_http in [false, true] {
        let steps = |files: &Path| {
            json!([
                both(), { "until": files.join("back") }, { "say": [{ "cancel": "a" }] },
                { "answered": "b" }, { "say": [{ "ask": "c", "id": 3 }] }, { "say": [{ "cancel": "c" }] },
            ])
        };
        let talk = Talk::with(over_http, "", steps).await;
        let round = reply(&talk.begin().await);
        assert_eq!(asked(&round), ["a", "b"]);
        talk.make("back");
        let left = talk.come_back(round, |answer| asked(&reply(answer)) == ["b"]).await;
        // Nothing of the server's taking back is for this era's clients.
        assert_eq!(left.messages().len(), 1, "{:?}", left.messages());
        let last = talk.answer(&reply(&left), &[("b", yes("b"))]).await;
        let end = match reply(&last) {
            Reply::End(_) => last,
            round @ Reply::Round(..) => {
                talk.come_back(round, |answer| matches!(reply(answer), Reply::End(_))).await
            }
        };
        assert_eq!(told(&end), json!({ "a": [], "b": [yes("b")], "c": [] }));
        talk.stop().await;
    }
}

#[tokio::test]
async fn server_that_dies_while_its_question_is_open_is_told_of_whether_or_not_the_client_answers() {
    for over_http in [false, true] {
        for answers in [false, true] {
            let steps = |files: &Path| json!([{ "say": [{ "ask": "a", "id": 1 }] }, { "until": files.join("die") }, { "exit": 1 }]);
            let talk = Talk::with(over_http, "", steps).await;
            let round = reply(&talk.begin().await);
            talk.make("die");
            let failed = if answers {
                talk.answer(&round, &[("a", yes("a"))]).await
            } else {
                talk.come_back(round, |answer| answer.reply().contains("\"error\"")).await
            };
            assert!(failed.error().1.contains("upstream `probe`"), "{failed:?}");
            talk.stop().await;
        }
    }
}

#[tokio::test]
async fn client_that_comes_back_without_an_answer_again_and_again_has_not_more_time_for_it() {
    let steps = |_: &Path| json!([{ "say": [{ "ask": "a", "id": 1 }] }, { "answered": "a" }]);
    let talk = Talk::with(false, "request_timeout = \"2s\"\n", steps).await;
    let round = reply(&talk.begin().await);
    let end = talk.come_back(round, |answer| answer.reply().contains("\"error\"")).await;
    let (code, message) = end.error();
    assert!(code == -32602 && message.contains("does not wait any more"), "{message}");
    talk.stop().await;
}

#[tokio::test]
async fn request_that_waits_for_its_client_leaves_its_turn_to_others_and_gets_the_next_one() {
    for over_http in [false, true] {
        // One at a time, and nobody may wait: whoever is not let through is refused.
        let limits = "max_concurrency = 1\nmax_queue = 0\n";
        let mut talk = Talk::with(over_http, limits, |_| Value::Null).await;
        let mut rounds = Vec::new();
        let steps = |id: u64| json!([{ "say": [{ "ask": "a", "id": id }] }, { "answered": "a" }]);
        for id in 1..=3 {
            talk.steps = steps(id);
            rounds.push(reply(&talk.begin().await));
        }
        talk.client.call("echo", "{}").await.result();
        // While another one has the turn, the answers of a client wait for theirs.
        let (begun, open) = (talk.files.path().join("begun"), talk.files.path().join("open"));
        let (client, other) = (talk.client.clone(), json!([{ "touch": begun }, { "until": open }]));
        let other = tokio::spawn(async move { script(&client, &other, "").await });
        talk.until("begun").await;
        let [first, second, third] = rounds.try_into().expect("three rounds");
        // A repetition is of the same request.
        talk.steps = steps(1);
        {
            let answers = [("a", yes("1"))];
            let mut answered = Box::pin(talk.answer(&first, &answers));
            let early = tokio::time::timeout(Duration::from_millis(300), answered.as_mut()).await;
            assert!(early.is_err(), "{early:?}");
            let refused = talk.client.call("echo", "{}").await.error().1;
            assert!(refused.contains("1 requests are under way and 0 wait"), "{refused}");
            talk.make("open");
            assert_eq!(told(&answered.await), json!({ "a": [yes("1")] }));
        }
        told(&other.await.expect("no panic"));
        for (round, id, text) in [(&third, 3, "3"), (&second, 2, "2")] {
            talk.steps = steps(id);
            let end = talk.answer(round, &[("a", yes(text))]).await;
            assert_eq!(told(&end), json!({ "a": [yes(text)] }));
        }
        talk.client.call("echo", "{}").await.result();
        talk.stop().await;
    }
}

#[tokio::test]
async fn server_that_cannot_be_told_the_answer_is_told_of_at_once() {
    let steps = |_: &Path| json!([{ "say": [{ "ask": "a", "id": 1 }] }, { "answered": "a" }]);
    let talk = Talk::with(true, "", steps).await;
    let round = reply(&talk.begin().await);
    // The session that the answer belongs to is no more.
    talk.client.call("forget", "{}").await.result();
    let failed = talk.answer(&round, &[("a", yes("a"))]).await;
    assert!(failed.error().1.contains("upstream `probe`"), "{failed:?}");
    talk.stop().await;
}

#[tokio::test]
async fn process_that_waits_for_an_answer_beyond_its_result_is_not_kept_for_another_call() {
    let talk = Talk::with(false, "", |_| json!([{ "say": [{ "ask": "a", "id": 1 }] }])).await;
    let before = children(talk.gateway.pid());
    let first = talk.begin().await;
    let mut its = children(talk.gateway.pid());
    its.retain(|pid| !before.contains(pid));
    let end = match reply(&first) {
        Reply::End(_) => {
            // It may have ended already, and one that nobody has used be there for the next call.
            its.clear();
            first
        }
        round @ Reply::Round(..) => {
            talk.come_back(round, |answer| matches!(reply(answer), Reply::End(_))).await
        }
    };
    assert_eq!(told(&end), json!({ "a": [] }));
    // Those that are kept are kept for a minute; another one, which nobody has used, may be there for the next call.
    let deadline = Instant::now() + Duration::from_secs(40);
    while children(talk.gateway.pid()).iter().any(|pid| its.contains(pid)) {
        assert!(Instant::now() < deadline, "its process is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    talk.stop().await;
}
