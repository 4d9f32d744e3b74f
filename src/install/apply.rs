//! Carrying a plan out: intent first, then the act, and the way back if one fails.

use super::error::Error;
use super::plan::Plan;
use super::receipt::{self, Entry, Receipt, State};
use super::service;
use super::step::{Act, Object, Step};
use super::target::Target;
use super::verify::{self, Proof};
use crate::exit::chain;

/// What the caller hears while a plan is carried out.
#[derive(Debug)]
pub enum Progress<'a> {
    /// The step is done.
    Done(&'a Step),
    /// The step failed; what follows is the way back.
    Failed(&'a Step),
    /// The step was reverted.
    Reverted(&'a Step),
    /// systemd has not begun with the step yet, for this reason.
    Waiting(&'a str),
    /// The service has answered.
    Answered(&'a Proof),
}

/// Carries the plan out. If a step fails, the steps of this run are reverted in reverse order.
///
/// # Errors
/// [`Error::RolledBack`] with the cause, [`Error::NotRolledBack`], [`Error::Busy`].
pub fn carry_out(target: &Target, plan: &Plan, report: &mut dyn FnMut(Progress<'_>)) -> Result<(), Error> {
    let _lock = target.lock()?;
    if Receipt::read(&target.tree, &target.layout.receipt)? != target.recorded {
        // Somebody else was faster between the plan and the lock.
        return Err(Error::Busy);
    }
    let finished = target.recorded.as_ref().is_some_and(|receipt| receipt.state == State::Installed);
    let mut receipt = target.receipt.clone().unwrap_or_else(|| Receipt::new(target.choices.clone()));
    receipt.state = State::Installing;
    receipt.choices.clone_from(&target.choices);
    env!("CARGO_PKG_VERSION").clone_into(&mut receipt.program);
    if finished && !plan.changes() {
        tidy(target);
        return plan.steps.iter().try_for_each(|step| act(step, target, report));
    }
    receipt::tidy(&target.tree, &target.layout)?;
    // The way back must not need room on a disk that may be full by then.
    if target.recorded.is_some() {
        target.tree.keep_old(&target.layout.receipt).map_err(|source| Error::Unchanged(Box::new(source)))?;
    }
    let mut begun = 0;
    let result = run(target, plan, &mut receipt, &mut begun, report);
    let Err(failure) = result else { return Ok(()) };
    let failed = plan.steps.get(begun.saturating_sub(1));
    let step =
        failed.map_or_else(|| target.layout.receipt.display().to_string(), |step| step.shown(&target.layout));
    if let Some(failed) = failed {
        report(Progress::Failed(failed));
    }
    match roll_back(target, &plan.steps[..begun], &receipt, report) {
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
    report: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Error> {
    receipt.save(&target.tree, &target.layout)?;
    for step in &plan.steps {
        *begun += 1;
        if let Some(entry) = step.entry(target) {
            receipt.note(entry);
            if step.acts() {
                receipt.save(&target.tree, &target.layout)?;
            }
        }
        act(step, target, report)?;
    }
    receipt.state = State::Installed;
    receipt.default_configuration = Some(plan.default_configuration.clone());
    receipt.confinement = Some(plan.confinement);
    for entry in &mut receipt.entries {
        if let Entry::File { previous, .. } = entry {
            *previous = None;
        }
    }
    receipt.save(&target.tree, &target.layout)?;
    // From here on nothing is reverted.
    tidy(target);
    Ok(())
}

/// Removes what was kept for the way back. Failing to harms nothing, and the next command tries again.
fn tidy(target: &Target) {
    for path in target.layout.files().into_iter().chain([target.layout.receipt.as_path()]) {
        drop(target.tree.tidy(path));
    }
}

/// One step with its report.
fn act(step: &Step, target: &Target, report: &mut dyn FnMut(Progress<'_>)) -> Result<(), Error> {
    if matches!(step.object, Object::Probe) && step.acts() {
        let proof = verify::service(target)?;
        report(Progress::Done(step));
        report(Progress::Answered(&proof));
        return Ok(());
    }
    step.apply(target, &mut |what| report(Progress::Waiting(what)))?;
    report(Progress::Done(step));
    Ok(())
}

/// Reverts the steps that were begun, last one first, and restores the receipt.
fn roll_back(
    target: &Target,
    begun: &[Step],
    receipt: &Receipt,
    report: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Error> {
    let mut first_failure = None;
    for step in begun.iter().rev().filter(|step| step.reverts()) {
        match step.revert(target) {
            Ok(()) => report(Progress::Reverted(step)),
            Err(error) => drop(first_failure.get_or_insert(error)),
        }
    }
    if let Some(error) = first_failure {
        return Err(error);
    }
    let known = |wanted: fn(&Step) -> bool| begun.iter().any(wanted);
    if known(|step| matches!(step.object, Object::Reload)) {
        service::reload(&target.layout)?;
    }
    if known(|step| matches!((&step.object, &step.act), (Object::Start, Act::Replace))) {
        service::restart(&target.layout, &mut |what| report(Progress::Waiting(what)))?;
    }
    if known(|step| matches!(step.object, Object::Upgrade) && step.acts()) {
        service::upgrade(&target.layout, &mut |what| report(Progress::Waiting(what)))?;
    }
    match &target.recorded {
        Some(_) => target.tree.put_back(&target.layout.receipt)?,
        // What lies beside a receipt that was lost was there before this run.
        None if target
            .receipt
            .as_ref()
            .is_some_and(|found| found.directory(&target.layout.state).is_some()) =>
        {
            target.tree.remove_file(&target.layout.receipt)?;
        }
        None => receipt.destroy(&target.tree, &target.layout)?,
    }
    receipt::tidy(&target.tree, &target.layout)
}
