//! mcpeg: the MCP gateway that you run like nginx.
//!
//! The crate is one binary; this map says where things are. Imports point down only, and `tests/tidy` holds them to it.
//!
//! | module | owns | may import |
//! |---|---|---|
//! | [`cli`] | the clap definition, control actions, all terminal output | everything below |
//! | [`serve`] | the start-up order of the daemon, top to bottom | log, daemon, gateway and below |
//! | [`log`] | subscriber, formats, files | audit, config, exit, request_id, sys, systemd, text |
//! | [`daemon`] | detach, pid file, readiness, listeners, signals, control | allowance, config, control, drain, exit, handover, probe, program, sys, systemd |
//! | [`install`] | plan, steps, receipt, checks | config, control, exit, probe, program, render, sys, systemd |
//! | [`gateway`] | the MCP relay, its sessions and upstreams | allowance, audit, config, drain, exit, handover, oauth, pins, request_id, sys, text, tokens |
//! | [`handover`] | the protocol between a gateway and the process that takes its place | config, exit, sys, systemd |
//! | [`oauth`] | tokens for upstreams: how they are got, renewed and kept | config, exit, state_file, sys |
//! | [`config`] | the file format and the validated [`config::Config`] | exit |
//! | [`pins`] | tools of upstreams as they were approved: how that is kept and changed | exit, state_file, sys |
//! | [`tokens`] | tokens of clients: how they are made, kept and believed | exit, state_file, sys |
//! | [`state_file`] | a file of the state directory: how it is read, locked and replaced | exit, sys |
//! | [`control`] | what is said over the control socket, and its client | audit, exit |
//! | [`render`] | askama contexts | systemd |
//! | [`systemd`] | systemctl, `sd_notify(3)`, passed descriptors, the journal, values in unit files | exit, program, sys |
//! | [`program`] | running a program of the system, in a clean environment | exit, sys |
//! | [`sys`] | the only unsafe code: the kernel's interfaces | nothing |
//! | [`probe`] | one HTTP request to a listener of our own | nothing |
//! | [`audit`] | records of who did what | request_id |
//! | [`request_id`] | the identifier of the request that a thread works on | nothing |
//! | [`allowance`] | how many log records of one kind are written | nothing |
//! | [`drain`] | the stop trigger and its deadline | nothing |
//! | [`exit`] | the exit-code table | nothing |
//! | [`text`] | what may be shown to people as it is | nothing |

pub mod allowance;
pub mod audit;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod drain;
pub mod exit;
pub mod gateway;
pub mod handover;
pub mod install;
pub mod log;
mod oauth;
mod pins;
pub mod probe;
pub mod program;
pub mod render;
pub mod request_id;
pub mod serve;
mod state_file;
pub mod sys;
pub mod systemd;
pub mod text;
mod tokens;

use std::process::ExitCode;

/// Runs the command line given to this process and returns its exit code; a process that the gateway has started as its
/// guardian has none, and becomes that.
#[must_use]
pub fn main() -> ExitCode {
    if sys::guardian::is_called() {
        return sys::guardian::run();
    }
    // A panic that reaches this place was reported by the hook; Rust's own code for it, 101, is none of ours.
    std::panic::catch_unwind(cli::run).unwrap_or(exit::Exit::Bug).into()
}
