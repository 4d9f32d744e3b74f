//! The rules of this project that no compiler checks: who may import whom, how long things may grow, and what things are called.
//!
//! The sources are parsed, not searched, so that comments and strings cannot trip a rule. Each rule has a test of
//! its own that a violation is found.

mod files;
mod gate;
mod installer;
mod layers;
mod names;
mod paths;
mod privileges;
mod size;
mod source;
mod structure;
mod waits;
