//! Everything that is systemd's: nobody else runs systemctl(1) or reads the variables by which it speaks to a service.
//!
//! | file | owns |
//! |---|---|
//! | `systemctl` | the managers of the machine and of a user, and the client that asks them |
//! | `properties` | what `systemctl show` tells about a unit |
//! | `unit` | one unit: its state, its start and its end |
//! | `trial` | a program in the place of a unit's own |
//! | `journal` | the end of a unit's journal |
//! | `notify` | `sd_notify(3)` |
//! | `listen_fds` | `sd_listen_fds(3)`: how many descriptors were passed, and their names |
//! | `escape` | values as unit files want them |
//!
//! Queries that a person or a running gateway waits for end within seconds ([`Unit::told`]); the installer, which acts on
//! the answer, waits as long as systemd takes ([`Unit::properties`]).

mod escape;
pub(crate) mod journal;
pub(crate) mod listen_fds;
mod notify;
mod properties;
mod systemctl;
pub(crate) mod trial;
mod unit;

pub(crate) use escape::{AccountName, ExecWord, FieldPath, Invalid, plain};
pub(crate) use notify::{Notifier, PERSONAL};
pub(crate) use properties::{Obstacle, Properties};
pub(crate) use systemctl::{Manager, is_booted};
pub(crate) use unit::{Unit, is_service, own_unit};
