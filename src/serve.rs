//! The daemon: how it starts, what it does while it serves, and how it ends.
//!
//! | file | owns |
//! |---|---|
//! | `start` | **the start-up order, top to bottom**: read it first |
//! | `options` | how to serve, and how it ended well |
//! | `bootstrap` | what a gateway holds before its runtime exists |
//! | `serving` | the parts of a gateway that serves, side by side |
//! | `accept`, `run_files`, `control` | parts: listeners and their tasks; record, pid file; the control socket |
//! | `reload`, `upgrade`, `rotate`, `status` | what can be asked for: the work and its answer |
//! | `running` | the loop that waits for requests, signals and signs of life |
//! | `stop` | the end: refuse, finish, end the upstreams, remove what we made |
//! | `peer`, `succession` | the other process of an upgrade; taking its place |
//! | `names` | that no two files of a gateway have one name |
//! | `alive`, `panics`, `metrics`, `privileges` | requests to ourselves; bugs; the log's numbers; whose user we become |

mod accept;
mod alive;
mod bootstrap;
mod control;
mod error;
mod metrics;
pub(crate) mod names;
mod options;
mod panics;
mod peer;
mod privileges;
pub(crate) mod reload;
pub(crate) mod rotate;
mod run_files;
mod running;
mod serving;
mod start;
mod status;
mod stop;
mod succession;
mod upgrade;

pub(crate) use options::{Mode, Options, Outcome};
pub(crate) use start::{run, take_over};
pub(crate) use status::SCHEMA;
pub(crate) use upgrade::START_LIMIT;
