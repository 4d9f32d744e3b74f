//! The gateway as its users meet it: the real binary, real upstreams, real clients.
//!
//! Tests that need nothing but Python run always; those with third-party clients are ignored by default and run by
//! `scripts/check`, which installs the tools first.

mod access;
mod batches;
mod broken_children;
mod broken_endpoints;
mod chaos;
mod children;
mod clients;
mod clients_browser;
mod clients_driven;
mod clients_skills;
mod commands;
mod conformance;
mod cut;
mod ends;
mod eras;
mod errors;
mod event_channel;
mod events;
mod extensions;
mod fitting;
mod flood;
mod following;
mod front;
mod guardian;
mod hardship;
mod input;
mod isolation;
mod late;
mod limits;
mod listeners;
mod logins;
mod lossless;
mod malformed;
mod malformed_upstreams;
mod matrix;
mod metrics;
mod names;
mod network;
mod order;
mod paging;
mod pins;
mod proxies;
mod questions;
mod readme;
mod reload;
mod requirements;
mod rounds;
mod schema;
mod sessions;
mod shown;
mod slow_starts;
mod staleness;
mod statuses;
mod supervision;
mod surface;
mod tasks;
mod two_clients;
mod unreadable;
mod web;

use mcpeg_test::{authorization_server, client, daemon, gateway, port, scripted, tools, upstreams};
