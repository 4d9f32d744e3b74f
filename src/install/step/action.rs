//! What every step has: an act, a way back, an entry of the receipt, a text and a reason.
//!
//! A step knows what was there when the plan was made ([`Act`]), so that reverting it restores exactly that. Reverting is
//! possible at any point of the act, also when it was never begun.

use std::fmt::Debug;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::install::error::Error;
use crate::install::layout::Layout;
use crate::install::part::Part;
use crate::install::receipt::Entry;
use crate::install::target::Target;
use crate::install::verify::Proof;

/// What a step does to its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::install) enum Act {
    /// Makes what is missing.
    Create,
    /// Writes a new content over one that we wrote, or that drifted from it; of a service, restarts it.
    Replace,
    /// Mends mode and owner only.
    Mend,
    /// Takes away what we wrote.
    Remove,
    /// Nothing: it is as it should be.
    Same,
    /// Nothing: it is somebody's, for this reason.
    Keep(&'static str),
}

/// What the caller hears while a plan is carried out.
#[derive(Debug)]
pub(crate) enum Progress<'a> {
    /// The step, which changes something, begins.
    Begun(&'a Step),
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

/// Hears what happens while a plan is carried out.
pub(in crate::install) type Listener<'a> = dyn FnMut(Progress<'_>) + 'a;

/// One step of a plan.
#[derive(Debug)]
pub(crate) struct Step {
    /// What is done.
    act: Act,
    /// To which part it belongs.
    part: Part,
    /// To what.
    action: Box<dyn Action>,
}

/// What is said about a step.
pub(in crate::install) struct Description {
    /// Its name for programs.
    kind: &'static str,
    /// The step in words.
    text: String,
    /// Why it is there, as one line, for somebody who is asked whether to go on.
    reason: &'static str,
}

impl Description {
    /// These words.
    pub(super) fn new(kind: &'static str, text: String, reason: &'static str) -> Self {
        Self { kind, text, reason }
    }
}

/// What one kind of step is and does. [`Step`] calls what changes something only if the act does.
pub(in crate::install) trait Action: Debug {
    /// What is said about it.
    fn description(&self, act: &Act, layout: &Layout) -> Description;

    /// Further members for programs.
    fn describe(&self, _layout: &Layout, _data: &mut Map<String, Value>) {}

    /// The file or directory that the step makes or writes.
    fn path(&self) -> Option<&Path> {
        None
    }

    /// Whether its object is something on the disk, rather than a program that is run.
    fn is_on_disk(&self) -> bool {
        false
    }

    /// Whether it only looks, so that a plan without another act changes nothing.
    fn only_looks(&self) -> bool {
        false
    }

    /// The lines of a text that the step changes, each with its mark; empty where there is nothing to show.
    fn difference(&self, _act: &Act, _target: &Target) -> Vec<(char, String)> {
        Vec::new()
    }

    /// The receipt's entry, if the step makes something lasting.
    fn entry(&self, _act: &Act, _target: &Target) -> Option<Entry> {
        None
    }

    /// Carries the step out.
    fn apply(&self, act: &Act, target: &Target, listener: &mut Listener<'_>) -> Result<(), Error>;

    /// Restores what was there before [`Action::apply`], however far that came; whether there is such a way back.
    fn revert(&self, _act: &Act, _target: &Target) -> Result<bool, Error> {
        Ok(false)
    }

    /// After all steps are reverted: has a program take up again what was restored.
    fn resume(&self, _act: &Act, _target: &Target, _listener: &mut Listener<'_>) -> Result<(), Error> {
        Ok(())
    }
}

impl Step {
    /// A step that does this.
    pub(in crate::install) fn new(act: Act, action: impl Action + 'static) -> Self {
        Self { act, part: Part::Service, action: Box::new(action) }
    }

    /// Says to which part it belongs.
    pub(in crate::install) fn belongs_to(&mut self, part: Part) {
        self.part = part;
    }

    /// To which part it belongs.
    pub(crate) const fn part(&self) -> Part {
        self.part
    }

    /// Whether the step changes anything, or runs a program.
    pub(crate) const fn acts(&self) -> bool {
        matches!(self.act, Act::Create | Act::Replace | Act::Mend | Act::Remove)
    }

    /// Whether the step changes anything.
    pub(crate) fn changes(&self) -> bool {
        self.acts() && !self.action.only_looks()
    }

    /// What kind of step it is, as programs are told it.
    pub(crate) fn kind(&self, layout: &Layout) -> &'static str {
        self.action.description(&self.act, layout).kind
    }

    /// Whether something takes the place of what was there: another content, or another process.
    pub(crate) fn is_replacement(&self) -> bool {
        self.act == Act::Replace
    }

    /// Whether the step writes another content over that of this file.
    pub(in crate::install) fn replaces(&self, path: &Path) -> bool {
        self.is_replacement() && self.path() == Some(path)
    }

    /// Why the step leaves alone what is there.
    pub(crate) const fn kept_because(&self) -> Option<&'static str> {
        match self.act {
            Act::Keep(why) => Some(why),
            _ => None,
        }
    }

    /// Whether the step is worth a line in a plan: that a directory of the system is there is not.
    pub(crate) fn is_worth_showing(&self, layout: &Layout) -> bool {
        match self.path() {
            Some(path) if self.act == Act::Same => layout.knows_file(path),
            _ => true,
        }
    }

    /// The sign before the step in a plan: `+`, `~`, `-` or `=`; `>` for a program that is run.
    pub(crate) fn mark(&self) -> char {
        match self.act {
            Act::Same | Act::Keep(_) => '=',
            _ if !self.action.is_on_disk() => '>',
            Act::Create => '+',
            Act::Replace | Act::Mend => '~',
            Act::Remove => '-',
        }
    }

    /// The file or directory that the step makes or writes.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.action.path()
    }

    /// The step in words.
    pub(crate) fn shown(&self, layout: &Layout) -> String {
        let text = self.action.description(&self.act, layout).text;
        match self.act {
            Act::Keep(why) => format!("{text}: kept, {why}"),
            _ => text,
        }
    }

    /// Why the step is there, as one line.
    pub(crate) fn reason(&self, layout: &Layout) -> &'static str {
        self.action.description(&self.act, layout).reason
    }

    /// The lines of a text that the step changes, each with its mark; empty where there is nothing to show.
    pub(crate) fn difference(&self, target: &Target) -> Vec<(char, String)> {
        self.action.difference(&self.act, target)
    }

    /// The step for programs.
    pub(crate) fn data(&self, layout: &Layout) -> Value {
        let act = match self.act {
            Act::Create => "create",
            Act::Replace => "replace",
            Act::Mend => "mend",
            Act::Remove => "remove",
            Act::Same => "same",
            Act::Keep(_) => "keep",
        };
        let mut data = Map::new();
        data.insert("act".to_owned(), json!(act));
        data.insert("object".to_owned(), json!(self.kind(layout)));
        data.insert("text".to_owned(), json!(self.shown(layout)));
        self.action.describe(layout, &mut data);
        data.extend(self.kept_because().map(|why| ("kept".to_owned(), json!(why))));
        Value::Object(data)
    }

    /// The receipt's entry, if the step makes something lasting.
    pub(in crate::install) fn entry(&self, target: &Target) -> Option<Entry> {
        self.action.entry(&self.act, target)
    }

    /// Carries the step out.
    pub(in crate::install) fn apply(
        &self,
        target: &Target,
        listener: &mut Listener<'_>,
    ) -> Result<(), Error> {
        if self.acts() { self.action.apply(&self.act, target, listener) } else { Ok(()) }
    }

    /// Restores what was there before [`Step::apply`], however far that came; whether there is such a way back.
    pub(in crate::install) fn revert(&self, target: &Target) -> Result<bool, Error> {
        if self.acts() { self.action.revert(&self.act, target) } else { Ok(false) }
    }

    /// After all steps are reverted: has a program take up again what was restored.
    pub(in crate::install) fn resume(
        &self,
        target: &Target,
        listener: &mut Listener<'_>,
    ) -> Result<(), Error> {
        if self.acts() { self.action.resume(&self.act, target, listener) } else { Ok(()) }
    }
}
