//! The daemon as a process: its site, requests that it has not answered yet, and what the kernel says of it.

mod held;
mod process;
mod site;

pub use held::Held;
pub use process::{
    DEADLINE, Finished, GRACE, PROMISE, finish, lives, most_within_promise, processes, send, suspend, until,
};
pub(crate) use site::own_answer;
pub use site::{Site, write};
