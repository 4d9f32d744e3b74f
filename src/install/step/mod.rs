//! The steps of an installation, one file each: how a step is planned, what it does, its way back, its entry in the receipt,
//! its text and its reason.
//!
//! [`action`] says what every step has. A new step is a file here and a line in `plan.rs`; if it leaves something that an
//! uninstallation must take back, it also has a kind of entry in `receipt.rs`.

mod access;
pub(super) mod account;
pub(super) mod action;
pub(super) mod boot_link;
pub(super) mod configuration;
pub(super) mod contexts;
pub(super) mod daemon_reload;
pub(super) mod directory;
pub(super) mod file;
pub(super) mod logrotate;
pub(super) mod probe;
pub(super) mod rights;
pub(super) mod service;
pub(super) mod strays;
pub(super) mod unit_copy;
pub(super) mod unmask;
