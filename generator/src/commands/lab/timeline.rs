//! `lab timeline`: draws the timeline of a scenario.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use nixvol_net::scenario::{TimelineLine, timeline};

use crate::cli::InputSource;
use crate::commands::{input_bytes, print};

/// Runs `lab timeline`.
pub fn run(file: &Path) -> Result<ExitCode> {
    let (name, bytes) = input_bytes(&InputSource { input: Some(file.to_owned()) })?;
    let Ok(text) = std::str::from_utf8(&bytes) else { bail!("{name} is not text") };
    let mut lines: Vec<TimelineLine> = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str(line) {
            Ok(line) => lines.push(line),
            Err(error) => bail!(
                "{name}:{number}: this is no line of a timeline: {error}\nhint: `lab scenario --format json` prints one"
            ),
        }
    }
    let Some(svg) = timeline(&lines)? else {
        bail!("{name} has nothing to draw\nhint: `lab scenario --format json` prints a timeline");
    };
    print(&svg)?;
    Ok(ExitCode::SUCCESS)
}
