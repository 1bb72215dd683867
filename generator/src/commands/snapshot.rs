//! `snapshot`: compares what the declaration renders now with the bundle that was reviewed and accepted.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use nixvol_net::diff::{BundleFiles, ComparedSide, Diff, markdown, record, text};
use nixvol_net::model::{self, Declaration, Rejected};
use nixvol_net::place::Positions;
use nixvol_net::plan::Plan;
use nixvol_net::prove::Refutation;
use nixvol_net::render::{ANCHOR, NETWORK};

use super::diff::{DIFFERENT, texts};
use super::prove::{self, Proven};
use super::schema::printed::{SnapshotAccept, SnapshotCheck};
use super::{BAD_INPUT, colour, print, reject, versioned};
use crate::cli::DiffFormat;
use crate::cli::snapshot::{Arguments, Snapshot};
use crate::{disk, progress};

/// How many flows the verdict of a failed check names at most.
const NAMED: usize = 12;

/// The note that is printed if the accepted rules do not match the accepted declaration.
const UNFAITHFUL: &str = "as this version reads them, the accepted rules do not do what the accepted declaration \
                          says; the flows below compare the declarations";

/// Runs `snapshot`.
pub fn run(command: &Snapshot) -> Result<ExitCode> {
    match command {
        Snapshot::Check(arguments) => check(arguments),
        Snapshot::Accept(arguments) => accept(arguments),
    }
}

fn check(arguments: &Arguments) -> Result<ExitCode> {
    let directory = &arguments.directory;
    if !directory.join(NETWORK).is_file() {
        let why = if directory.exists() { format!("has no {NETWORK}") } else { "is not there".to_owned() };
        bail!(
            "`{}` {why}: nothing was accepted yet\nhint: review the network with `nixvol-net test`, accept it \
             with `nixvol-net snapshot accept`, and commit the directory; Nix sees only files that Git tracks",
            directory.display()
        );
    }
    let files = disk::read(directory)?;
    let proven = match prove::rendered(&arguments.source)? {
        Ok(proven) => proven,
        Err(exit) => return Ok(exit),
    };
    let accepted = match accepted(files) {
        Ok(accepted) => accepted,
        Err(rejected) => {
            reject(&directory.join(NETWORK).display().to_string(), &rejected);
            eprintln!(
                "hint: that is the accepted bundle, not yours; `nixvol-net snapshot accept` replaces it"
            );
            return Ok(ExitCode::from(BAD_INPUT));
        }
    };
    let difference = accepted.difference(&proven);
    let refutation = accepted.refutation(&proven, directory);
    print(&checked(arguments, &difference, refutation.as_ref())?)?;
    if difference.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprint!("{}", verdict(&difference, directory, refutation.is_some()));
    Ok(ExitCode::from(DIFFERENT))
}

/// The output of `check`.
fn checked(arguments: &Arguments, difference: &Diff, refutation: Option<&Refutation>) -> Result<String> {
    let directory = arguments.directory.display();
    Ok(match arguments.format {
        DiffFormat::Text if difference.is_empty() => {
            format!("no difference: the declaration renders what was accepted in {directory}\n")
        }
        DiffFormat::Text => {
            text::text(difference, text::Style { colour: colour(&io::stdout()), lines: true })
        }
        DiffFormat::Markdown => {
            let page = markdown::markdown(difference, true);
            match refutation {
                Some(_) => page.replacen('\n', &format!("\n\n> **Note:** {UNFAITHFUL}.\n"), 1),
                None => page,
            }
        }
        DiffFormat::Json => {
            let violations = refutation.map_or_else(Vec::new, |it| prove::data(it, &Positions::default()));
            versioned(SnapshotCheck {
                directory: arguments.directory.display().to_string(),
                same: difference.is_empty(),
                accepted_violations: violations,
                difference: record::DiffRecord::of(difference, true),
            })?
        }
    })
}

/// The last lines of a failed check. They repeat the flows because Nix shows only the end of a build's log.
fn verdict(difference: &Diff, directory: &Path, unfaithful: bool) -> String {
    let files = match difference.files.len() {
        1 => "1 file differs".to_owned(),
        count => format!("{count} files differ"),
    };
    let headline = format!(
        "error: differs from what was accepted in {}: {}; {files}",
        directory.display(),
        difference.summary()
    );
    let flows = difference.flows.iter().chain(&difference.translations).map(text::headline);
    let volumes = difference.volumes.iter().flat_map(text::volume);
    let lines: Vec<String> =
        flows.chain(volumes).chain(difference.conditions.iter().map(text::way)).collect();
    let named = lines.iter().take(NAMED).map(|line| format!("  {line}"));
    let more =
        lines.len().checked_sub(NAMED).filter(|more| *more > 0).map(|more| format!("  and {more} more"));
    let note = unfaithful.then(|| format!("note: {UNFAITHFUL}"));
    let hint =
        "hint: if this is intended, accept it with `nixvol-net snapshot accept` and commit the directory";
    let lines: Vec<String> = [headline].into_iter().chain(named).chain(more).chain(note).collect();
    format!("{}\n{hint}\n", lines.join("\n"))
}

fn accept(arguments: &Arguments) -> Result<ExitCode> {
    let directory = &arguments.directory;
    let proven = match prove::rendered(&arguments.source)? {
        Ok(proven) => proven,
        Err(exit) => return Ok(exit),
    };
    let before = if directory.join(NETWORK).is_file() { Some(disk::read(directory)?) } else { None };
    let changed = disk::write(&proven.bundle, directory)?;
    let difference = before.and_then(|files| {
        let told =
            |_: &Rejected| eprintln!("note: what was accepted before cannot be read, so it is not compared");
        Some(accepted(files).inspect_err(told).ok()?.difference(&proven))
    });
    print(&taken(arguments, &proven, changed, difference.as_ref())?)?;
    Ok(ExitCode::SUCCESS)
}

/// The output of `accept`.
fn taken(arguments: &Arguments, proven: &Proven, changed: bool, difference: Option<&Diff>) -> Result<String> {
    let directory = arguments.directory.display();
    let files = proven.bundle.files.len();
    let last = if difference.is_some_and(Diff::is_empty) {
        format!("{directory}: accepted already, {files} files\n")
    } else {
        format!("{directory}: accepted, {files} files; proven: {}\n", prove::words(&proven.proof))
    };
    let shown = difference.filter(|difference| !difference.is_empty());
    Ok(match arguments.format {
        DiffFormat::Text => {
            let style = text::Style { colour: colour(&io::stdout()), lines: false };
            shown.map_or(String::new(), |difference| text::text(difference, style) + "\n") + &last
        }
        DiffFormat::Markdown => shown.map_or(last, |difference| markdown::markdown(difference, false)),
        DiffFormat::Json => versioned(SnapshotAccept {
            directory: arguments.directory.display().to_string(),
            changed,
            difference: difference.map(|difference| record::DiffRecord::of(difference, false)),
        })?,
    })
}

/// The bundle that was accepted.
struct Accepted {
    declaration: Declaration,
    plan: Plan,
    files: BundleFiles,
}

/// Reads an accepted bundle from its files. Fails if its declaration is not valid.
fn accepted(files: BundleFiles) -> Result<Accepted, Rejected> {
    let declaration = model::read(files[NETWORK].as_bytes())?;
    Ok(Accepted { plan: Plan::of(&declaration), declaration, files })
}

impl Accepted {
    fn difference(&self, proven: &Proven) -> Diff {
        let files = texts(&proven.bundle);
        let (old, new) = (
            ComparedSide { declaration: &self.declaration, plan: &self.plan, files: &self.files },
            ComparedSide { declaration: &proven.declaration, plan: &proven.plan, files: &files },
        );
        progress::during("comparing", || Diff::of(old, new))
    }

    /// Why the accepted rules do not do what the accepted declaration says, if they do not: they were edited, or
    /// another version rendered them. Flows are compared by declaration, so this must be reported with them.
    fn refutation(&self, proven: &Proven, directory: &Path) -> Option<Refutation> {
        let anchor = self.files.get(ANCHOR).map_or("", String::as_str);
        if anchor == proven.bundle.files[ANCHOR].text {
            return None;
        }
        let name = directory.join(ANCHOR).display().to_string();
        prove::proven(&self.plan, &self.declaration.positions, &name, anchor).err()
    }
}
