//! `mcpeg install` and `mcpeg uninstall`: changes of the machine that can always be taken back.
//!
//! Order of an installation: [`Target::open`] opens the root directory and names each path; [`Plan::of_install`] looks
//! at the disk and at the receipt, refuses what must be refused, and lists the steps without any effect;
//! [`carry_out`] writes each step's intent into the receipt before it acts, and reverts all steps of its run if one
//! fails. [`RemovalPlan`] is the way
//! back, made from the receipt.
//!
//! Invariants: only paths of [`Layout`] are ever touched; no symbolic link that another could have made is followed; a file is
//! replaced or removed only if its content is one that the receipt says we wrote; after SIGKILL at any moment the same
//! command completes what it began, and an uninstallation restores what was there before.

mod account;
mod apply;
mod assets;
mod checks;
mod choices;
mod configuration;
mod difference;
mod digest;
mod error;
mod layout;
pub mod ownership;
mod package;
mod part;
mod plan;
mod privileged;
mod receipt;
mod recovery;
mod sandbox;
mod service;
mod shadow;
mod situation;
mod step;
mod target;
mod uninstall;
mod verify;

pub(crate) use apply::carry_out;
pub(crate) use assets::render_units;
pub(crate) use checks::ends_with_the_session;
pub(crate) use choices::{Asked, LogRotation, Profile, check_instance};
pub(crate) use error::Error;
pub use layout::Layout;
pub(crate) use layout::{LOCAL_PROGRAM, PACKAGED_PROGRAM, places_of, state_of};
pub(crate) use part::Part;
pub(crate) use plan::{InstallOptions, Occasion, Plan};
pub(crate) use sandbox::{Sandbox, service_with};
pub(crate) use situation::for_package;
pub(crate) use step::action::{Progress, Step};
pub(crate) use target::Target;
pub(crate) use uninstall::{Kept, Removal, RemovalPlan, UninstallOptions, carry_out as carry_out_removal};
pub(crate) use verify::{Entrance, Proof, configured_entrance, endpoint};
