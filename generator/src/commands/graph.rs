//! `graph`: the picture of the network.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use nixvol_net::darwin;
use nixvol_net::plan::Plan;
use nixvol_net::render::picture::{self, KernelNames};

use super::{print, print_with_marks, read, reject, status};
use crate::cli::{GraphFormat, Source};

/// Runs `graph`.
pub fn run(source: &Source, from: Option<&Path>, format: GraphFormat) -> Result<ExitCode> {
    let reading = read(source)?;
    let declaration = match &reading.declaration {
        Ok(declaration) => declaration,
        Err(rejected) => return Ok(reject(&reading.name, rejected)),
    };
    let plan = Plan::of(declaration);
    let kernel: KernelNames = match from {
        None => KernelNames::new(),
        Some(directory) => {
            let capture = status::capture(directory)?;
            let names = capture.get("names").map_or("", String::as_str);
            darwin::names(names).into_iter().map(|(logical, (kernel, _))| (logical, kernel)).collect()
        }
    };
    match format {
        GraphFormat::Text => print_with_marks(&plan, &picture::text(&plan, &kernel))?,
        GraphFormat::Svg => print(&picture::svg(&plan, &kernel)?)?,
        GraphFormat::Mermaid => print(&picture::mermaid(&plan, &kernel))?,
    }
    Ok(ExitCode::SUCCESS)
}
