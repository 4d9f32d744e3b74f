//! The proof that the service works.

use super::action::{Act, Action, Description, Listener, Progress, Step};
use crate::install::error::Error;
use crate::install::layout::Layout;
use crate::install::target::Target;
use crate::install::verify;

/// Asks the service, as a client would.
#[derive(Debug)]
pub(in crate::install) struct Probe;

impl Probe {
    /// The step, unless there is nothing to ask.
    pub(in crate::install) fn plan(nothing: Option<&'static str>) -> Step {
        Step::new(nothing.map_or(Act::Create, Act::Keep), Self)
    }
}

impl Action for Probe {
    fn description(&self, _: &Act, _: &Layout) -> Description {
        let text = "probe the endpoint with a real request".to_owned();
        Description::new(
            "probe",
            text,
            "success is claimed only after a real answer; else everything is undone",
        )
    }

    fn only_looks(&self) -> bool {
        true
    }

    fn apply(&self, _: &Act, target: &Target, listener: &mut Listener<'_>) -> Result<(), Error> {
        listener(Progress::Answered(&verify::service(target)?));
        Ok(())
    }
}
