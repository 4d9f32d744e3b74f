//! Sessions of a gateway that has no upstream but the built-in one.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::journal::{JournalFile, Persisted};
use super::{Limits, Log, Session, SessionRefused};
use crate::config::{Config, UpstreamName};
use crate::gateway::changes::{LISTS, updated};
use crate::gateway::endpoint::Endpoint;
use crate::gateway::relay::{Id, Message, method, raw};
use crate::gateway::service::Gateway;
use crate::gateway::upstream::ClientIdentity;

/// A client's address.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
/// Limits that nobody reaches.
const PLENTY: Limits = Limits { of_all: 1000, of_client: None };

/// A gateway without configured upstreams.
fn gateway() -> Gateway {
    Gateway::start(&Config::default(), Vec::new(), std::path::Path::new("/")).unwrap()
}

/// Begins a session.
fn begin(gateway: &Gateway, address: IpAddr, limits: Limits) -> Result<Arc<Session>, SessionRefused> {
    gateway.sessions().begin((Endpoint::ALL, None), ClientIdentity::default(), (Some(address), limits))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn as_many_sessions_are_open_as_may_be_however_many_begin_at_once() {
    let gateway = gateway();
    for limits in [Limits { of_all: 5, of_client: None }, Limits { of_all: 1000, of_client: Some(3) }] {
        let most = limits.of_client.map_or(limits.of_all, |of_client| of_client + 5);
        let begin_many = |_| {
            let gateway = gateway.clone();
            tokio::spawn(async move {
                for _ in 0..200 {
                    // All may have begun in this very moment and thus be in use.
                    let _ = begin(&gateway, CLIENT, limits);
                    let open = gateway.sessions().len();
                    assert!(open <= most, "{open} of {most}");
                }
            })
        };
        for task in (0..8).map(begin_many).collect::<Vec<_>>() {
            task.await.unwrap();
        }
    }
    // Those of the client that were there before are among the three.
    assert_eq!(gateway.sessions().len(), 3);
    gateway.stop().await;
}

#[tokio::test]
async fn session_that_another_process_has_begun_counts_as_its_clients() {
    let (old, new) = (gateway(), gateway());
    let limits = Limits { of_client: Some(2), ..PLENTY };
    let mapped = IpAddr::V6(Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped());
    let [first, second] = [CLIENT, mapped].map(|address| begin(&old, address, limits).unwrap());
    for session in [&first, &second] {
        new.sessions().restore(old.sessions().get(session.id()).unwrap().saved(), false);
    }
    let other = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 8));
    begin(&new, other, limits).unwrap();
    assert_eq!(new.sessions().len(), 3);
    begin(&new, CLIENT, limits).unwrap();
    assert_eq!(new.sessions().len(), 3, "one of the three makes room");
    assert!(new.sessions().get(first.id()).is_none(), "the one that was silent for longest");
    // As many as there are, where all of them are in use.
    let _used: Vec<_> = new.sessions().all().iter().map(Session::listening).collect();
    let refused = begin(&new, CLIENT, limits).unwrap_err();
    assert!(refused.to_string().contains("max_sessions_per_client"), "{refused}");
    let refused = begin(&new, other, Limits { of_all: 3, of_client: None }).unwrap_err();
    assert!(refused.to_string().contains("`max_sessions`"), "{refused}");
    old.stop().await;
    new.stop().await;
}

#[tokio::test]
async fn client_attends_half_of_the_sessions_at_most_and_the_others_make_room() {
    let gateway = gateway();
    let limits = Limits { of_all: 8, of_client: None };
    // One without an address, as over a Unix socket, and one with.
    for address in [None, Some(CLIENT)] {
        let begin =
            || gateway.sessions().begin((Endpoint::ALL, None), ClientIdentity::default(), (address, limits));
        let all: Vec<_> = (0..8).map(|_| begin().unwrap()).collect();
        let mut held: Vec<_> =
            all.iter().filter_map(|session| session.listening_within(limits.share())).collect();
        assert_eq!(held.len(), 4);
        // More of one that it attends already are no more sessions.
        held.push(all[0].listening_within(limits.share()).unwrap());
        for _ in 0..20 {
            let newest = begin().unwrap();
            assert!(newest.listening_within(limits.share()).is_none());
        }
        for session in &all[..4] {
            assert!(gateway.sessions().get(session.id()).is_some(), "it is attended");
        }
        // Where it leaves one, it may attend another.
        held.drain(..1);
        assert!(all[7].listening_within(limits.share()).is_none(), "the first has another stream");
        held.clear();
        assert!(begin().unwrap().listening_within(limits.share()).is_some());
        gateway.sessions().end_all().await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn nobody_makes_room_for_a_session_that_is_refused() {
    let gateway = gateway();
    let limits = Limits { of_client: Some(1), of_all: 1 };
    let theirs = begin(&gateway, CLIENT, PLENTY).unwrap();
    let used = begin(&gateway, IpAddr::V4(Ipv4Addr::LOCALHOST), PLENTY).unwrap();
    let _listening = used.listening();
    // The client's own would have to go, and the other one as well.
    let refused = begin(&gateway, CLIENT, limits).unwrap_err();
    assert!(refused.to_string().contains("`max_sessions`"), "{refused}");
    assert!(gateway.sessions().get(theirs.id()).is_some());
    gateway.stop().await;
}

/// Subscribes to a resource, or ends it.
fn subscribe(session: &Session, method: &str, number: usize) {
    let params = raw(&json!({ "uri": format!("test://{}/{number}", "x".repeat(100)) }));
    session.note_subscription(&format!("resources/{method}"), Some(&params)).unwrap();
}

#[tokio::test]
async fn journal_grows_by_what_is_new_and_tells_what_holds() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("mcpeg.sessions");
    let gateway = gateway();
    gateway.sessions().remember_in(&path, false);
    let session = begin(&gateway, CLIENT, PLENTY).unwrap();
    let length = || std::fs::metadata(&path).unwrap().len();
    let (mut before, state) = (length(), length());
    for number in 0..1000 {
        subscribe(&session, "subscribe", number);
        let grown = length() - before;
        assert!(grown < 300, "{grown} for subscription {number}");
        before = length();
    }
    for number in 2..1000 {
        subscribe(&session, "unsubscribe", number);
        // Again changes nothing.
        subscribe(&session, "unsubscribe", number);
    }
    session.set_log_level(Some(raw(&json!({ "level": "error" }))));
    for number in 0..100 {
        session.keep_log(&Id::number(number), &Arc::<Log>::default());
    }
    assert!(length() < state + 300 * 2100, "{}", length());
    let read = |path| JournalFile::read(path).unwrap()[0].read().unwrap();
    let told = read(&path);
    // The same as if all of it were written anew.
    gateway.sessions().remember_in(&path, false);
    let (mut told, mut anew) = (told.to_text(), read(&path).to_text());
    for text in [&mut told, &mut anew] {
        let mut value: serde_json::Value = serde_json::from_str(text).unwrap();
        value["subscriptions"].as_array_mut().unwrap().sort_by_key(ToString::to_string);
        assert_eq!(value["subscriptions"].as_array().unwrap().len(), 2);
        assert_eq!(value["streams"].as_array().unwrap().len(), 32);
        assert_eq!(value["log_level"]["level"], "error");
        *text = value.to_string();
    }
    assert_eq!(told, anew);
    gateway.stop().await;
}

#[tokio::test]
async fn what_another_version_has_noted_beside_does_not_lose_the_session() {
    let gateway = gateway();
    let session = begin(&gateway, CLIENT, PLENTY).unwrap();
    let changes = vec![r#"{"subscribed":"a"}"#.to_owned(), r#"{"unheard_of":{}}"#.to_owned()];
    let noted = Persisted { state: session.saved().to_text(), changes };
    assert!(noted.read().unwrap().to_text().contains(r#""subscriptions":["a"]"#));
    gateway.stop().await;
}

#[tokio::test]
async fn update_of_a_part_of_what_a_session_follows_reaches_it() {
    let gateway = gateway();
    let session = begin(&gateway, CLIENT, PLENTY).unwrap();
    let followed = raw(&json!({ "uri": "test://a" }));
    session.note_subscription(method::SUBSCRIBE, Some(&followed)).unwrap();
    for uri in ["test://ab", "test://a/b", "test://a"] {
        gateway.changes().updated(&UpstreamName::builtin(), updated(uri));
    }
    let (number, mut place) = session.outbox().open(1, None);
    for expected in ["test://a/b", "test://a"] {
        let next = async {
            loop {
                match session.outbox().next(number, place).await {
                    Some((after, Message::Notification(note))) => {
                        place = after;
                        // The upstream itself tells of its lists.
                        if let Some(params) = note.params {
                            return params;
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
        };
        let params = timeout(Duration::from_secs(60), next).await.expect("it is told");
        assert_eq!(params.get(), format!(r#"{{"uri":"{expected}"}}"#));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn session_is_told_of_its_own_changes_whatever_others_there_are() {
    let gateway = gateway();
    let session = begin(&gateway, CLIENT, PLENTY).unwrap();
    gateway.settled(None).await.unwrap();
    // Nothing else runs before this test waits: all of it comes before the session looks.
    let (elsewhere, here) = (UpstreamName::new("elsewhere").unwrap(), UpstreamName::builtin());
    gateway.changes().list(&here, LISTS[1]);
    for _ in 0..1000 {
        for list in LISTS {
            gateway.changes().list(&elsewhere, list);
        }
    }
    let mut told = Vec::new();
    let (number, mut place) = session.outbox().open(1, None);
    while !told.iter().any(|method| method == LISTS[1]) {
        let next = timeout(Duration::from_secs(60), session.outbox().next(number, place)).await;
        let Some((after, Message::Notification(note))) = next.expect("it is told") else { panic!("no note") };
        told.push(note.method);
        place = after;
    }
    // The built-in upstream may have come up meanwhile, which is told once.
    assert!(told.len() <= 6, "{told:?}");
    gateway.stop().await;
}
