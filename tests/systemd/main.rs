//! What mcpeg does on a machine that systemd has booted: installation, the unit, its sandbox, and leaving nothing.
//!
//! Each claim is tested on Debian 12 (systemd 252) and Debian 13 (systemd 257). The tests are ignored in an ordinary
//! run, since they need root; `scripts/check` runs them, and there nothing is skipped.

mod mcp;
mod snapshot;

mod administrators;
mod busy;
mod choices;
mod guard;
mod install;
mod manage;
mod places;
mod reconcile;
mod reload;
mod rotation;
mod upgrade;
mod upstreams;
mod view;

use mcpeg_test::{load, machine};
