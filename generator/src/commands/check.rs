//! `check`: validates a declaration, reports every problem at once, and checks its expectations.

use std::process::ExitCode;

use anyhow::Result;
use nixvol_net::model::{Declaration, Rejected};
use nixvol_net::plan::Plan;
use nixvol_net::render::{ANCHOR, bundle};
use serde_json::json;

use super::expect::Expectations;
use super::paint::{Paint, painted};
use super::{
    BAD_INPUT, NOT_PROVEN, counted, note_what_is_not_done, print, read, reject, shown, shown_at, versioned,
};
use crate::cli::{CheckFormat as Format, InputSource};

/// Runs `check`.
pub fn run(source: &InputSource, format: Format) -> Result<ExitCode> {
    let reading = read(source)?;
    match &reading.declaration {
        Ok(declaration) => valid(declaration, format),
        Err(rejected) => rejected_as(&reading.name, rejected, format),
    }
}

fn rejected_as(name: &str, rejected: &Rejected, format: Format) -> Result<ExitCode> {
    match format {
        Format::Text => return Ok(reject(name, rejected)),
        Format::Json => {
            let problems = shown(name, rejected, |shown| shown.json(&rejected.problems));
            print(&versioned(json!({ "problems": problems }))?)?;
        }
        Format::Sarif => {
            let log = shown(name, rejected, |shown| shown.sarif(&rejected.problems, &[], &[]));
            print(&format!("{log:#}\n"))?;
        }
    }
    Ok(ExitCode::from(BAD_INPUT))
}

/// Checks a valid declaration against its expectations.
fn valid(declaration: &Declaration, format: Format) -> Result<ExitCode> {
    let plan = Plan::of(declaration);
    let bundle = bundle(declaration, &plan)?;
    let expectations = Expectations::of(declaration, &plan, &bundle.files[ANCHOR].text);
    match format {
        Format::Text => {
            note_what_is_not_done(declaration);
            if expectations.hold() {
                print(&painted(&summary(declaration, expectations.held.len()), Paint::Proof))?;
            } else {
                expectations.tell();
            }
        }
        Format::Json => {
            let warnings = shown_at(&declaration.positions, |shown| shown.json(&declaration.warnings()));
            let expectations = expectations.data();
            let value = json!({ "problems": [], "warnings": warnings, "expectations": expectations });
            print(&versioned(&value)?)?;
        }
        Format::Sarif => {
            let findings = expectations.findings();
            let log = shown_at(&declaration.positions, |shown| {
                shown.sarif(&[], &findings, &declaration.warnings())
            });
            print(&format!("{log:#}\n"))?;
        }
    }
    Ok(if expectations.hold() { ExitCode::SUCCESS } else { ExitCode::from(NOT_PROVEN) })
}

fn summary(declaration: &Declaration, expectations: usize) -> String {
    let held = match expectations {
        0 => String::new(),
        1 => "; 1 expectation holds".to_owned(),
        _ => format!("; {expectations} expectations hold"),
    };
    format!("{}: valid{held}\n", counted(declaration))
}
