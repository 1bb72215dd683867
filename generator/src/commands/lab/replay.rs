//! `lab replay`: plays scenarios that were recorded on Apple's own stack through the lab's Mac.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use nixvol_net::replay::{self, RecordedScenario};

use crate::cli::InputSource;
use crate::commands::{input_bytes, print};

/// Runs `lab replay`.
pub fn run(file: &Path) -> Result<ExitCode> {
    let (name, bytes) = input_bytes(&InputSource { input: Some(file.to_owned()) })?;
    let rows = rows(&name, &bytes)?;
    let (mut lines, mut told) = (String::new(), Vec::new());
    let mut different = 0;
    for (line, row) in &rows {
        let played = replay::play(row).or_else(|why| bail!("{name}:{line}: {}: {why}", row.id))?;
        lines += &serde_json::to_string(&played)?;
        lines.push('\n');
        let differences = replay::differences(row, &played);
        different += usize::from(!differences.is_empty());
        for (field, said, came) in differences {
            told.push(format!("{}: {field}: expected {said}, got {came}", row.id));
        }
    }
    print(&lines)?;
    told.push(format!("{} of {} as recorded", rows.len() - different, rows.len()));
    eprintln!("{}", told.join("\n"));
    Ok(if different == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The scenarios, each with its line number.
fn rows(name: &str, bytes: &[u8]) -> Result<Vec<(usize, RecordedScenario)>> {
    let Ok(text) = std::str::from_utf8(bytes) else { bail!("{name} is not text") };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let rows = lines.map(|(number, line)| {
        let row: RecordedScenario = serde_json::from_str(line)
            .or_else(|error| bail!("{name}:{}:{}: {}", number + 1, error.column(), words(&error)))?;
        Ok((number + 1, row))
    });
    let rows: Vec<_> = rows.collect::<Result<_>>()?;
    if rows.is_empty() {
        bail!("{name} has no scenario\nhint: one per line, as JSON");
    }
    Ok(rows)
}

/// The error message without the place that serde_json appends; the caller prints it first.
fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(words, _)| words.to_owned())
}
