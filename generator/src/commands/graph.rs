//! `graph`: the picture of the network.

use std::process::ExitCode;

use anyhow::Result;
use nixvol_net::plan::Plan;
use nixvol_net::render::picture::{self, KernelNames};

use super::{print, read, reject};
use crate::cli::{GraphFormat, Source};

/// Runs `graph`.
pub fn run(source: &Source, format: GraphFormat) -> Result<ExitCode> {
    let reading = read(source)?;
    let declaration = match &reading.declaration {
        Ok(declaration) => declaration,
        Err(rejected) => return Ok(reject(&reading.name, rejected)),
    };
    let (plan, kernel) = (Plan::of(declaration), KernelNames::new());
    print(&match format {
        GraphFormat::Text => picture::text(&plan, &kernel),
        GraphFormat::Svg => picture::svg(&plan, &kernel)?,
        GraphFormat::Mermaid => picture::mermaid(&plan, &kernel),
    })?;
    Ok(ExitCode::SUCCESS)
}
