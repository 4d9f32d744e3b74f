//! What the gateway takes back by itself when an upgrade fails: each is undone on drop unless it is kept.

use std::fmt;

use crate::gateway::Gateway;

/// Lets connections wait until dropped.
pub(super) struct Pause(Option<Gateway>);

impl Pause {
    /// Begins.
    pub(super) fn begin(gateway: &Gateway) -> Self {
        gateway.pause(true);
        Self(Some(gateway.clone()))
    }

    /// Leaves them to the new process.
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        if let Some(gateway) = &self.0 {
            gateway.pause(false);
        }
    }
}

/// Turns that the new process gives, until dropped.
pub(super) struct Turns(Option<Gateway>);

impl Turns {
    /// Lets the new process give them.
    pub(super) fn share(gateway: &Gateway) -> Self {
        gateway.share_turns();
        Self(Some(gateway.clone()))
    }

    /// Leaves it to the new process.
    pub(super) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        if let Some(gateway) = &self.0 {
            gateway.take_turns_back();
        }
    }
}

/// Children that the new process may have, taken back when dropped.
pub(super) struct Loan(Option<Gateway>);

impl Loan {
    /// Begins.
    pub(super) fn begin(gateway: &Gateway) -> Self {
        Self(Some(gateway.clone()))
    }

    /// Leaves them to the new process.
    pub(super) fn keep(mut self) {
        if let Some(gateway) = self.0.take() {
            gateway.lend();
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(gateway) = &self.0 {
            gateway.take_back();
        }
    }
}

impl fmt::Debug for Loan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loan")
    }
}
