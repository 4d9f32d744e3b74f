//! A listener whose port stays and whose address changes: by reload and by upgrade, under load, to a wider address and back,
//! and to another name of the same one. No request fails, whatever was connected at that moment.

use crate::load::{Kind, Load, Report};
use crate::support::daemon::{Site, until};

/// Clients at work.
const CLIENTS: usize = 16;
/// The addresses that follow one another; all of them are reached over 127.0.0.1.
const ADDRESSES: [&str; 8] =
    ["0.0.0.0", "127.0.0.1", "localhost", "0.0.0.0", "localhost", "127.0.0.1", "[::]", "127.0.0.1"];

/// A configuration with one listener.
fn configure(site: &Site, host: &str, port: u16) {
    let listen = format!("[server]\nauth = \"none\"\nlisten = [\"{host}:{port}\"]\n");
    site.write("mcpeg.toml", listen);
}

/// Goes through all addresses under load, each put in force by this action.
#[expect(clippy::print_stderr, reason = "the counts are what the reader of a run wants to see")]
fn addresses_change(action: &str) -> Report {
    let site = Site::new();
    site.daemon();
    let address = site.address();
    configure(&site, "127.0.0.1", address.port());
    assert_eq!(site.run(&["--reload"]).code, Some(0));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let report = runtime.block_on(async {
        let load = Load::start(address, CLIENTS, &[Kind::Plain, Kind::Session, Kind::Stateless]);
        for host in ADDRESSES
            .iter()
            .filter(|host| **host != "[::]" || std::path::Path::new("/proc/net/if_inet6").exists())
        {
            load.go_on(16).await;
            tokio::task::block_in_place(|| {
                configure(&site, host, address.port());
                let finished = site.run(&[action]);
                assert_eq!(finished.code, Some(0), "{host}: {finished:?}");
            });
            load.go_on(16).await;
        }
        load.end().await
    });
    eprintln!("{action}: {} of {} requests failed", report.failed(), report.total());
    // What was wider is gone in the end: only the narrow address is left.
    let left = serde_json::json!([format!("127.0.0.1:{}", address.port())]);
    until("the wide listeners are gone", || site.status()["listeners"] == left);
    assert_eq!(site.run(&["--stop"]).code, Some(0));
    report
}

#[test]
fn reload_changes_the_address_of_a_port_without_a_failed_request() {
    let report = addresses_change("--reload");
    assert_eq!(report.failed(), 0, "{report:?}");
}

#[test]
fn upgrade_changes_the_address_of_a_port_without_a_failed_request() {
    let report = addresses_change("--restart");
    assert_eq!(report.failed(), 0, "{report:?}");
}
