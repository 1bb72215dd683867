//! `status`: compares the Mac with the plan, now or from a capture.
//!
//! A capture is the directory that `manage-macos-networking.sh logs --collect` writes; on a Mac the installed manager
//! is run to write one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nixvol_net::model::{self, Declaration};
use nixvol_net::plan::Plan;
use nixvol_net::render::{ANCHOR, MANAGER, NETWORK, bundle};
use nixvol_net::status::{Capture, Status, metrics, status, text};

use super::{Reading, colour, print, read, reject, versioned};
use crate::cli::{InputSource, StatusFormat as Format};

/// The exit code of a Mac that is not as declared.
const NOT_HEALTHY: u8 = 1;
/// The interval of `--watch`.
const PAUSE: Duration = Duration::from_secs(2);
/// The size limit for a file of a capture; larger files are ignored.
const LARGEST: u64 = 64 << 20;

/// Runs `status`.
pub fn run(source: &InputSource, from: Option<&Path>, watch: bool, format: Format) -> Result<ExitCode> {
    loop {
        let looked = match from {
            Some(directory) => looked_at(source, capture(directory)?)?,
            None => looked_at(source, collected(source)?)?,
        };
        let Looked { plan, capture, status, declaration: _, anchor: _ } = match looked {
            Ok(looked) => looked,
            Err(exit) => return Ok(exit),
        };
        let told = match format {
            Format::Json => versioned(&status)?,
            Format::Text => text(&status, colour(&io::stdout())),
            Format::OpenMetrics => metrics(&plan, &status, &capture),
        };
        if !watch {
            print(&told)?;
            return Ok(if status.healthy { ExitCode::SUCCESS } else { ExitCode::from(NOT_HEALTHY) });
        }
        print(&format!("\x1b[H\x1b[2J{told}"))?;
        sleep(PAUSE);
    }
}

/// A declaration with its plan and anchor, what was captured, and the comparison of the two.
pub struct Looked {
    /// The declaration.
    pub declaration: Declaration,
    /// Its plan.
    pub plan: Plan,
    /// The anchor rendered from it.
    pub anchor: String,
    /// What was captured.
    pub capture: Capture,
    /// The comparison.
    pub status: Status,
}

/// Looks at a Mac, or at a capture. The problems of a declaration are reported on standard error.
pub fn look(source: &InputSource, from: Option<&Path>) -> Result<Looked> {
    let capture = match from {
        Some(directory) => capture(directory)?,
        None => collected(source)?,
    };
    looked_at(source, capture)?.map_err(|_| anyhow!("the declaration has problems"))
}

/// Compares a capture with the declaration: the one that is named, or else the one in the capture.
fn looked_at(source: &InputSource, capture: Capture) -> Result<std::result::Result<Looked, ExitCode>> {
    let reading = match capture.get(NETWORK) {
        Some(json) if source.input.is_none() => {
            Reading { name: NETWORK.to_owned(), declaration: model::read(json.as_bytes()) }
        }
        None if source.input.is_none() => {
            bail!("the capture has no `{NETWORK}`\nhint: name the declaration with `--input`")
        }
        _ => read(source)?,
    };
    let declaration = match reading.declaration {
        Ok(declaration) => declaration,
        Err(rejected) => return Ok(Err(reject(&reading.name, &rejected))),
    };
    let plan = Plan::of(&declaration);
    let anchor = bundle(&declaration, &plan)?.files[ANCHOR].text.clone();
    let status = status(&plan, &anchor, &capture)?;
    Ok(Ok(Looked { declaration, plan, anchor, capture, status }))
}

/// Reads the plain files of a directory; anything else is ignored.
pub(super) fn capture(directory: &Path) -> Result<Capture> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot look into {}", directory.display()))?;
    let mut capture = Capture::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.metadata()?.len() <= LARGEST {
            let bytes =
                fs::read(entry.path()).with_context(|| format!("cannot read {}", entry.path().display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            capture.insert(name, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    Ok(capture)
}

/// The path of the installed manager, below the declared base.
pub(super) fn manager(source: &InputSource) -> Result<PathBuf> {
    let base = match read(source)?.declaration {
        Ok(declaration) => declaration.base,
        // `looked_at` reads it again, and reports what is wrong.
        Err(_) => Declaration::embedded().base,
    };
    Ok(Path::new(base.as_str()).join("networking").join(MANAGER))
}

/// Runs the installed manager to write a capture, and reads it.
fn collected(source: &InputSource) -> Result<Capture> {
    let manager = manager(source)?;
    let directory = tempfile::tempdir().context("cannot make a directory")?;
    let place = directory.path().join("collected");
    let output = Command::new(&manager).args(["logs", "--collect"]).arg(&place).output().with_context(|| {
        format!("cannot run {}\nhint: it is on a Mac where the network is installed; `--from DIR` reads a capture", manager.display())
    })?;
    if !output.status.success() {
        bail!(
            "{} ended with {}\n{}",
            manager.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    capture(&place)
}
