//! Carrying a plan out: intent first, then the act, and the way back if one fails.

use super::choices::LogRotation;
use super::error::Error;
use super::plan::Plan;
use super::privileged::{files, removal};
use super::receipt::{self, Receipt, State};
use super::step::action::{Listener, Progress, Step};
use super::target::Target;
use crate::exit::chain;

/// Carries the plan out. If a step fails, the steps of this run are reverted in reverse order.
/// Fails with [`Error::RolledBack`] with the cause, [`Error::NotRolledBack`], [`Error::Busy`].
pub(crate) fn carry_out(target: &Target, plan: &Plan, listener: &mut Listener<'_>) -> Result<(), Error> {
    let _lock = target.lock()?;
    if Receipt::read(target.tree(), &target.layout().receipt)?.as_ref() != target.recorded() {
        // Somebody else was faster between the plan and the lock.
        return Err(Error::Busy);
    }
    let finished = target.recorded().is_some_and(|receipt| receipt.state() == State::Installed);
    if finished && !plan.changes() {
        tidy(target);
        return plan.steps().iter().try_for_each(|step| act(step, target, listener));
    }
    let mut receipt = target.receipt().cloned().unwrap_or_else(|| Receipt::new(target.choices().clone()));
    receipt.begin(target.choices());
    receipt::tidy(target.tree(), target.layout())?;
    // The way back must not need room on a disk that may be full by then.
    if target.recorded().is_some() {
        files::keep_old(target.tree(), &target.layout().receipt)
            .map_err(|source| Error::Unchanged(Box::new(source)))?;
    }
    let mut begun = 0;
    let result = run(target, plan, &mut receipt, &mut begun, listener);
    let Err(failure) = result else { return Ok(()) };
    let failed = plan.steps().get(begun.saturating_sub(1));
    let step = failed
        .map_or_else(|| target.layout().receipt.display().to_string(), |step| step.shown(target.layout()));
    if let Some(failed) = failed {
        listener(Progress::Failed(failed));
    }
    match roll_back(target, &plan.steps()[..begun], &receipt, listener) {
        Ok(()) if begun == 0 => Err(Error::Unchanged(Box::new(failure))),
        Ok(()) => Err(Error::RolledBack { step, source: Box::new(failure) }),
        Err(source) => Err(Error::NotRolledBack { step, failure: chain(&failure), source: Box::new(source) }),
    }
}

/// The steps, each after its intent; `begun` counts those that may have had an effect.
fn run(
    target: &Target,
    plan: &Plan,
    receipt: &mut Receipt,
    begun: &mut usize,
    listener: &mut Listener<'_>,
) -> Result<(), Error> {
    receipt.save(target.tree(), target.layout())?;
    for step in plan.steps() {
        *begun += 1;
        if let Some(entry) = step.entry(target) {
            receipt.note(entry);
            if step.acts() {
                receipt.save(target.tree(), target.layout())?;
            }
        }
        act(step, target, listener)?;
    }
    // What logrotate(8) read is gone where mcpeg rotates; another file in its place would be somebody else's.
    if let Some(path) = &target.layout().logrotate
        && target.choices().log_rotation() == LogRotation::Own
        && target.tree().look(path)?.is_none()
    {
        receipt.forget(path);
    }
    let (default_configuration, confinement) = plan.default_and_confinement();
    receipt.complete(default_configuration, Some(confinement));
    receipt.save(target.tree(), target.layout())?;
    // From here on nothing is reverted.
    tidy(target);
    Ok(())
}

/// Removes what was kept for the way back. Failing to harms nothing, and the next command tries again.
fn tidy(target: &Target) {
    for path in target.layout().files().into_iter().chain([target.layout().receipt.as_path()]) {
        drop(files::tidy(target.tree(), path));
    }
}

/// One step with its report.
fn act(step: &Step, target: &Target, listener: &mut Listener<'_>) -> Result<(), Error> {
    if step.acts() {
        listener(Progress::Begun(step));
    }
    step.apply(target, listener)?;
    listener(Progress::Done(step));
    Ok(())
}

/// Reverts the steps that were begun, last one first, has programs take up what is restored, and restores the receipt.
fn roll_back(
    target: &Target,
    begun: &[Step],
    receipt: &Receipt,
    listener: &mut Listener<'_>,
) -> Result<(), Error> {
    let mut first_failure = None;
    for step in begun.iter().rev() {
        match step.revert(target) {
            Ok(true) => listener(Progress::Reverted(step)),
            Ok(false) => {}
            Err(error) => drop(first_failure.get_or_insert(error)),
        }
    }
    if let Some(error) = first_failure {
        return Err(error);
    }
    begun.iter().try_for_each(|step| step.resume(target, listener))?;
    match target.recorded() {
        Some(_) => files::put_back(target.tree(), &target.layout().receipt)?,
        // What lies beside a receipt that was lost was there before this run.
        None if target.receipt().is_some_and(|found| found.directory(&target.layout().state).is_some()) => {
            removal::remove_file(target.tree(), &target.layout().receipt)?;
        }
        None => receipt.destroy(target.tree(), target.layout())?,
    }
    receipt::tidy(target.tree(), target.layout())
}
