//! The life cycle of the real binary, as the kernel and other programs see it.
//!
//! Each test has a directory, a pid file and ports of its own, so that all of them run at once, as root or not.

#![expect(clippy::unwrap_used, reason = "a failed step of the set-up should stop the test where it is")]

mod busy;
mod deaths;
mod flood;
mod full;
mod guardian;
mod hostile;
mod http2;
mod interleavings;
mod large_floods;
mod namespace;
mod notify;
mod panic;
mod privileges;
mod readiness;
mod reload;
mod same_port;
mod settling;
mod start;
mod status;
mod stderr;
mod stop;
mod store;
mod sudden;
mod sysv;
mod traps;
mod upgrade;

use mcpeg_test::{self as support, client, disk, load};
