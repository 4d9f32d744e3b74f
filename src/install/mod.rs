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

pub use apply::carry_out;
pub use assets::{Units, render_units};
pub use checks::ends_with_the_session;
pub use choices::{Asked, LogRotation, Profile, check_instance};
pub use error::Error;
pub use layout::{LOCAL_PROGRAM, Layout, PACKAGED_PROGRAM, places_of, state_of};
pub use part::Part;
pub use plan::{InstallOptions, Occasion, Plan};
pub use sandbox::{Sandbox, service_with};
pub use situation::for_package;
pub use step::action::{Progress, Step};
pub use target::Target;
pub use uninstall::{Kept, Removal, RemovalPlan, UninstallOptions, carry_out as carry_out_removal};
pub use verify::{Entrance, Proof, configured_entrance, endpoint};
