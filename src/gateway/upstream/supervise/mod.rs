//! One configured upstream: its supervision and health, the connections it lends, its followers, its transfer.

pub(crate) mod current;
pub(crate) mod demand;
pub(crate) mod failures;
pub(crate) mod follow;
pub(crate) mod followers;
pub(crate) mod health;
pub(crate) mod lease;
pub(crate) mod legacy_link;
pub(crate) mod life;
pub(crate) mod links;
pub(crate) mod persons;
pub(crate) mod renewal;
pub(crate) mod report;
pub(crate) mod shown;
pub(crate) mod supervisor;
pub(crate) mod transfer;
