//! `snapshot`: the bundle that was accepted, against what the declaration renders now.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use nixvol_net::diff::{Diff, Files, Side};
use nixvol_net::plan::Plan;
use nixvol_net::render::Bundle;

use super::diff::{DIFFERENT, read_side, told};
use super::prove::{self, Proven};
use super::{BAD_INPUT, print, reject};
use crate::cli::DiffFormat;
use crate::cli::snapshot::{Sides, Snapshot};
use crate::disk;

/// Runs `snapshot`.
pub fn run(what: &Snapshot) -> Result<ExitCode> {
    match what {
        Snapshot::Check { sides, format } => check(sides, *format),
        Snapshot::Accept { sides, format } => accept(sides, *format),
    }
}

fn check(sides: &Sides, format: DiffFormat) -> Result<ExitCode> {
    let Sides { dir, source } = sides;
    if !dir.exists() {
        bail!(
            "there is no snapshot in {}\nhint: `nixvol-net snapshot accept` with the same arguments takes what is \
             rendered now; commit it",
            dir.display()
        );
    }
    let proven = match prove::rendered(source)? {
        Ok(proven) => proven,
        Err(exit) => return Ok(exit),
    };
    let diff = match compared(dir, &proven)? {
        Ok(diff) => diff,
        Err(exit) => return Ok(exit),
    };
    if format == DiffFormat::Text && diff.is_empty() {
        print(&format!("{}: up to date\n", dir.display()))?;
    } else {
        print(&told(&diff, format, true)?)?;
    }
    if diff.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "error: {} is not what the declaration renders\nhint: if the difference is meant, `nixvol-net snapshot accept` \
         with the same arguments takes it; commit it",
        dir.display()
    );
    Ok(ExitCode::from(DIFFERENT))
}

fn accept(sides: &Sides, format: DiffFormat) -> Result<ExitCode> {
    let Sides { dir, source } = sides;
    let proven = match prove::rendered(source)? {
        Ok(proven) => proven,
        Err(exit) => return Ok(exit),
    };
    // One that cannot be read any more is replaced all the same: that is what accepting is for.
    let diff = if dir.is_dir() { compared_if_readable(dir, &proven) } else { None };
    let written = disk::write(&proven.bundle, dir)?;
    let count = proven.bundle.files.len();
    let state = if written { "accepted" } else { "as it was" };
    match (format, diff) {
        (DiffFormat::Text, Some(diff)) if written => {
            print(&format!("{}\n{}: {state}, {count} files\n", told(&diff, format, false)?, dir.display()))?;
        }
        (DiffFormat::Json | DiffFormat::Markdown, Some(diff)) => print(&told(&diff, format, false)?)?,
        _ => print(&format!("{}: {state}, {count} files\n", dir.display()))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What differs, or the exit code where the snapshot is no bundle that can be read.
fn compared(dir: &Path, new: &Proven) -> Result<std::result::Result<Diff, ExitCode>> {
    let reading = read_side(dir)?;
    let old = match &reading.declaration {
        Ok(old) => old,
        Err(rejected) => {
            reject(&reading.name, rejected);
            eprintln!(
                "hint: the snapshot itself is broken; restore it, or take what is rendered now with `nixvol-net snapshot accept`"
            );
            return Ok(Err(ExitCode::from(BAD_INPUT)));
        }
    };
    let old_plan = Plan::of(old);
    let old_files = disk::read(dir).with_context(|| format!("cannot read the snapshot {}", dir.display()))?;
    let new_files = texts(&new.bundle);
    Ok(Ok(Diff::of(
        Side { declaration: old, plan: &old_plan, files: &old_files },
        Side { declaration: &new.declaration, plan: &new.plan, files: &new_files },
    )))
}

fn compared_if_readable(dir: &Path, new: &Proven) -> Option<Diff> {
    let readable = read_side(dir).is_ok_and(|reading| reading.declaration.is_ok());
    if readable { compared(dir, new).ok()?.ok() } else { None }
}

fn texts(bundle: &Bundle) -> Files {
    bundle.files.iter().map(|(path, file)| (path.clone(), file.text.clone())).collect()
}
