//! `mcpeg upstream remove`.

use serde_json::json;

use super::change::Change;
use super::edit;
use super::effect::{self, Effect};
use super::error::{Error, SCHEMA};
use crate::cli::definition::TokenPlace;
use crate::cli::site::Site;
use crate::cli::{ask, report};
use crate::exit::Exit;

/// Shows what goes, asks, and removes it.
pub(super) fn run(name: &str, (yes, dry_run): (bool, bool), place: &TokenPlace) -> Result<Exit, Error> {
    let site = Site::find(place)?;
    let file = site.file_of(name)?;
    let main = site.file();
    let change = Change::of(file.clone(), |text| {
        let left = edit::without(text, name).map_err(|_| Error::Syntax(file.clone()))?;
        // The configuration file stays, whatever it says.
        Ok(if file == main { Some(left.unwrap_or_default()) } else { left })
    })?;
    site.check(&change.planned()).map_err(Error::Planned)?;
    if !place.json {
        report::progress(change.difference());
    }
    if dry_run {
        let answer = json!({ "schema": SCHEMA, "file": file, "difference": change.difference() });
        return Ok(if place.json { report::json(&answer, Exit::Done) } else { Exit::Done });
    }
    if !yes {
        if place.json || !ask::is_possible() {
            return Err(Error::Unasked);
        }
        if !ask::confirmed(&format!("Remove upstream `{name}`?")) {
            return Ok(ask::refused());
        }
    }
    let reloaded = effect::put(&site, &change)? == Effect::Reloaded;
    if place.json {
        let answer = json!({
            "schema": SCHEMA, "file": file, "file_removed": change.is_removal(), "reloaded": reloaded,
        });
        return Ok(report::json(&answer, Exit::Done));
    }
    let what = if change.is_removal() { "removed" } else { "changed" };
    let gone = if reloaded { "; the gateway has it no more" } else { "; no gateway runs" };
    Ok(report::lines(format!("{what} {}{gone}", file.display()), Exit::Done))
}
