//! `diff`: what a change opens and closes, between any two of bundles and inputs.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use nixvol_net::diff::{BundleFiles, ComparedSide, Diff, markdown, record, text};
use nixvol_net::model::Declaration;
use nixvol_net::plan::Plan;
use nixvol_net::render::{Bundle, NETWORK, bundle};

use super::{BAD_INPUT, Reading, colour, print, read, reject, versioned};
use crate::cli::{DiffFormat, InputSource};
use crate::{disk, progress};

/// The exit code when the two sides differ.
pub const DIFFERENT: u8 = 1;

/// Runs `diff`.
pub fn run(old: &Path, new: &Path, format: DiffFormat, lines: bool) -> Result<ExitCode> {
    let standard_input = Path::new("-");
    if old == standard_input && new == standard_input {
        bail!("`-` stands for both sides\nhint: standard input can be read once; name a file for the other");
    }
    let (old_reading, new_reading) = (read_side(old)?, read_side(new)?);
    let readings = [&old_reading, &new_reading];
    let (Ok(old_declaration), Ok(new_declaration)) = (&old_reading.declaration, &new_reading.declaration)
    else {
        for reading in readings {
            if let Err(rejected) = &reading.declaration {
                reject(&reading.name, rejected);
            }
        }
        return Ok(ExitCode::from(BAD_INPUT));
    };
    let (old_plan, new_plan) = (Plan::of(old_declaration), Plan::of(new_declaration));
    let old_files = files(old, old_declaration, &old_plan)?;
    let new_files = files(new, new_declaration, &new_plan)?;
    let (old, new) = (
        ComparedSide { declaration: old_declaration, plan: &old_plan, files: &old_files },
        ComparedSide { declaration: new_declaration, plan: &new_plan, files: &new_files },
    );
    let diff = progress::during("comparing", || Diff::of(old, new));
    print(&match format {
        DiffFormat::Text => text::text(&diff, text::Style { colour: colour(&io::stdout()), lines }),
        DiffFormat::Json => versioned(record::DiffRecord::of(&diff, lines))?,
        DiffFormat::Markdown => markdown::markdown(&diff, lines),
    })?;
    Ok(if diff.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
}

/// Reads the declaration of one side: an input file, or the one that a bundle contains.
pub(super) fn read_side(path: &Path) -> Result<Reading> {
    let input = if path.is_dir() { path.join(NETWORK) } else { path.to_owned() };
    if path.is_dir() && !input.is_file() {
        bail!(
            "`{}` is a directory without a {NETWORK}\nhint: name a bundle, as `nixvol-net render --out DIR` \
             writes it, or an input",
            path.display()
        );
    }
    read(&InputSource { input: Some(input) })
}

/// The files of one side: a bundle's files as they are on disk, or the files rendered from an input.
pub(super) fn files(path: &Path, declaration: &Declaration, plan: &Plan) -> Result<BundleFiles> {
    if path.is_dir() {
        return disk::read(path).with_context(|| format!("cannot read the bundle {}", path.display()));
    }
    Ok(texts(&bundle(declaration, plan)?))
}

/// The texts of a bundle's files.
pub fn texts(bundle: &Bundle) -> BundleFiles {
    bundle.files.iter().map(|(path, file)| (path.clone(), file.text.clone())).collect()
}
