//! Who has sessions, for people.

use fieldwork::Fieldwork;

/// The sessions of one client.
#[derive(Clone, Debug, PartialEq, Eq, Fieldwork)]
#[fieldwork(get, vis = "pub(crate)")]
pub(crate) struct Attendance {
    /// The client: its name, or where it comes from.
    client: String,
    /// How many sessions it has.
    #[field(get(copy))]
    sessions: usize,
    /// What the clients of some of them say to be: names and versions.
    software: Vec<String>,
}

impl Attendance {
    /// That of a client.
    pub(crate) const fn new(client: String, sessions: usize, software: Vec<String>) -> Self {
        Self { client, sessions, software }
    }
}
