//! What several test suites share.

pub(crate) mod daemon;
pub(crate) mod fault;
pub(crate) mod kept;
pub(crate) mod port;
