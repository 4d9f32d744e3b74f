//! The log file and its rotated predecessors.
//!
//! | file | owns |
//! |---|---|
//! | `open` | opening the file, and closing the torn line that a crash left |
//! | `active` | the open file: whole lines in, moved away and replaced |
//! | `name` | the names of rotated files |
//! | `schedule` | when the next rotation by time is |
//! | `owner` | which of several processes may rotate |
//! | `rotator` | the rules of rotation, and what their use needs |
//! | `syncer` | when records are forced to the disk |
//! | `archive` | compressing, and finishing what a killed process has begun |
//! | `retention` | which rotated files go |

mod active;
mod archive;
mod name;
mod open;
mod owner;
mod retention;
mod rotator;
mod schedule;
mod syncer;

pub(super) use active::Active;
pub use active::Rotated;
pub use owner::lock_path;
pub(super) use rotator::Rotator;
pub(super) use syncer::Syncer;
