//! `check`: is the declaration valid, and if not, why, all at once.

use std::process::ExitCode;

use anyhow::Result;
use nixvol_net::model::Rejected;
use nixvol_net::place::Positions;
use serde_json::json;

use super::{BAD_INPUT, note_what_is_not_done, print, read, reject, shown};
use crate::cli::{CheckFormat as Format, Source};

/// Runs `check`.
pub fn run(source: &Source, format: Format) -> Result<ExitCode> {
    let reading = read(source)?;
    match (&reading.declaration, format) {
        (Ok(declaration), Format::Text) => {
            let count = |count: usize, what: &str| match count {
                1 => format!("1 {what}"),
                _ => format!("{count} {what}s"),
            };
            let providers = count(declaration.providers.len(), "provider");
            let volumes = count(declaration.volumes.len(), "volume");
            let links = count(declaration.links.len(), "link");
            note_what_is_not_done(declaration);
            print(&format!("{providers}, {volumes}, {links}: valid\n"))?;
        }
        (Err(rejected), Format::Text) => return Ok(reject(&reading.name, rejected)),
        (Ok(_), Format::Json) => print(&format!("{}\n", json!({ "problems": [] })))?,
        (Err(rejected), Format::Json) => {
            let problems = shown(&reading.name, rejected, |shown| shown.json(&rejected.problems));
            print(&format!("{:#}\n", json!({ "problems": problems })))?;
            return Ok(ExitCode::from(BAD_INPUT));
        }
        (declaration, Format::Sarif) => {
            let nothing = Rejected { problems: Vec::new(), positions: Positions::default() };
            let rejected = declaration.as_ref().err().unwrap_or(&nothing);
            let log = shown(&reading.name, rejected, |shown| shown.sarif(&rejected.problems));
            print(&format!("{log:#}\n"))?;
            return Ok(if declaration.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(BAD_INPUT) });
        }
    }
    Ok(ExitCode::SUCCESS)
}
