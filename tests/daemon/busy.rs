//! Reloads and upgrades under constant load: no request fails, no session is lost, and a reload ends no stream.

use nix::sys::signal::Signal;

use crate::load::{Kind, Load, Report, Session};
use crate::support::daemon::{Site, until};

/// Clients at work, beside the streams.
const CLIENTS: usize = 32;
/// Open event streams, and legacy sessions that are only looked after.
const STREAMS: u64 = 10;

/// What is done again and again.
type Act = fn(&Site, usize);

/// Does something many times under load, and looks after the sessions each time.
#[expect(clippy::print_stderr, reason = "the counts are what the reader of a run wants to see")]
fn under_load(what: &str, times: usize, act: Act) -> (Site, Report) {
    let site = Site::new();
    configure(&site, 0);
    site.daemon();
    let address = site.address();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let report = runtime.block_on(async {
        let mut sessions = Vec::new();
        for _ in 0..STREAMS {
            sessions.push(Session::begin(address).await.unwrap());
        }
        let mut load = Load::start(address, CLIENTS, &[Kind::Plain, Kind::Session, Kind::Stateless]);
        load.follow(address, STREAMS).await;
        for time in 1..=times {
            load.go_on(16).await;
            tokio::task::block_in_place(|| act(&site, time));
            for session in &sessions {
                assert_eq!(session.answers().await.unwrap(), 200, "a session is lost");
            }
        }
        load.go_on(CLIENTS as u64).await;
        load.end().await
    });
    eprintln!(
        "{times} times {what}: {} of {} requests failed, {} streams ended",
        report.failed(),
        report.total(),
        report.ended
    );
    assert_eq!(report.failed(), 0, "{report:?}");
    (site, report)
}

/// One of two configurations, which differ in a listener and in an upstream.
fn configure(site: &Site, time: usize) {
    let name = if time.is_multiple_of(2) { "even" } else { "odd" };
    let extra = site.path(&format!("{name}.sock"));
    let server = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/echo_server.py");
    site.write(
        "mcpeg.toml",
        format!(
            "[server]\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]\n\
             [upstreams.{name}]\ncommand = \"/usr/bin/python3\"\nargs = [\"{server}\"]\n",
            extra.display()
        ),
    );
}

/// Changes the configuration and has it read again.
fn reload(site: &Site, time: usize) {
    configure(site, time);
    let finished = site.run(&["--reload"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.contains("listeners added"), "{finished:?}");
}

/// Upgrades.
fn upgrade(site: &Site, _: usize) {
    let before = site.pid();
    let finished = site.run(&["--restart"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_ne!(site.pid(), before);
}

/// What holds after upgrades.
fn one_generation_with_all_sessions(site: &Site) {
    // Of the clients, each third pair has one; each stream has one, and each that was looked after.
    let of_clients = (0..CLIENTS).filter(|number| number / 2 % 3 == 1).count() as u64;
    assert_eq!(site.status()["sessions"], of_clients + 2 * STREAMS);
    until("only one generation is left", || site.gateways() == [site.pid()]);
}

#[test]
fn reloads_under_load_lose_no_request_no_session_and_no_stream() {
    let (_site, report) = under_load("reload", 5, reload);
    assert_eq!(report.ended, 0, "a reload has ended a stream");
}

#[test]
fn upgrades_under_load_lose_no_request_and_no_session() {
    let (site, _) = under_load("upgrade", 5, upgrade);
    one_generation_with_all_sessions(&site);
}

#[test]
#[ignore = "needs up to two minutes"]
fn fifty_reloads_under_load_lose_no_request_no_session_and_no_stream() {
    let (_site, report) = under_load("reload", 50, reload);
    assert_eq!(report.ended, 0, "a reload has ended a stream");
}

#[test]
#[ignore = "needs up to two minutes"]
fn fifty_upgrades_under_load_lose_no_request_and_no_session() {
    let (site, _) = under_load("upgrade", 50, upgrade);
    one_generation_with_all_sessions(&site);
}

#[test]
fn hangup_under_load_loses_nothing_either() {
    under_load("HUP", 3, |site, time| {
        configure(site, time);
        let before = site.status()["listeners"].clone();
        crate::support::daemon::send(site.pid(), Signal::SIGHUP);
        until("the listeners are others", || site.status()["listeners"] != before);
    });
}
