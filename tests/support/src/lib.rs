//! What the test suites and the benchmarks stand on: gateways that run the real binary, clients, load, faults, machines.
//!
//! A gateway has a [`daemon::Site`]: a directory with its configuration, its run-time files and its environment. How it is
//! started is the test's choice:
//!
//! | the test needs | it calls |
//! |---|---|
//! | a gateway that serves, and clients of it | [`gateway::Gateway::start`], or [`gateway::Gateway::on`] a site |
//! | a daemon, its pid file and its signals | [`daemon::Site::daemon`] |
//! | a child in the foreground | [`daemon::Site::foreground`] |
//! | a command to its end | [`daemon::Site::run`] |
//! | anything else, such as a tracer around it | [`daemon::Site::mcpeg`], [`daemon::Site::shell`], [`daemon::Site::surround`] |
//!
//! ```no_run
//! use mcpeg_test::{client::Client, daemon::Site, gateway::Gateway};
//!
//! # async fn test() {
//! let site = Site::serving("max_sessions = 2", "[upstreams.one]\ncommand = \"/usr/bin/one\"\n");
//! let gateway = Gateway::on(site.variable("LC_ALL", "C")).await;
//! let client = Client::legacy(gateway.address(), "/mcp").await;
//! assert!(client.tools().await.is_empty());
//! gateway.stop().await;
//! # }
//! ```
//!
//! A step that fails is a panic, which ends the test there. Whatever has been started ends with the value that stands for
//! it, also after a panic. What gateways have printed and logged is kept for `scripts/planted`: see [`kept`].

#![expect(clippy::unwrap_used, reason = "a failed step of the set-up should stop the test where it is")]
#![expect(clippy::missing_panics_doc, reason = "a panic is how a test fails")]
#![expect(clippy::must_use_candidate, reason = "a test may call something to see that it does not panic")]

pub mod authorization_server;
pub mod client;
pub mod daemon;
pub mod disk;
pub mod fault;
pub mod gateway;
pub mod kept;
pub mod load;
pub mod machine;
pub mod port;
pub mod program;
pub mod scripted;
pub mod tools;
pub mod transcript;
pub mod upstreams;
