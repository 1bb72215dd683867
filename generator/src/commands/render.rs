//! `render`: writes the bundle to disk, and shows it.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use nixvol_net::matrix;
use nixvol_net::render::{Bundle, picture};
use serde_json::json;

use super::prove::{self, Proven};
use super::{print, print_with_marks};
use crate::cli::{Format, Source};
use crate::disk;

/// Runs `render`.
pub fn run(source: &Source, out: &Path, format: Format) -> Result<ExitCode> {
    let Proven { plan, bundle, proof, .. } = match prove::rendered(source)? {
        Ok(proven) => proven,
        Err(exit) => return Ok(exit),
    };
    let written = disk::write(&bundle, out)?;
    let text = match format {
        Format::Json => {
            let files: Vec<&String> = bundle.files.keys().collect();
            format!(
                "{:#}\n",
                json!({ "directory": out, "changed": written, "files": files,
                "rules": proof.rules, "classes": proof.classes })
            )
        }
        Format::Text => {
            let heading = if written { "written" } else { "as it was" };
            let (tree, picture) = (tree(&bundle), picture::text(&plan, &picture::KernelNames::new()));
            let matrix = matrix::text(&plan, picture::WIDTH);
            let proof = format!("proven: {}", prove::words(&proof));
            format!("{} ({heading}; {proof})\n{tree}\n{picture}\n{matrix}", out.display())
        }
    };
    match format {
        Format::Json => print(&text)?,
        Format::Text => print_with_marks(&plan, &text)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The files as a tree. Directories below the first level that look like each other are shown once.
fn tree(bundle: &Bundle) -> String {
    let mut out = String::new();
    let mut guests = 0;
    for (path, file) in &bundle.files {
        let mark = if file.executable { "*" } else { "" };
        match path.strip_prefix("guests/") {
            Some(_) => guests += 1,
            None => {
                let _ = writeln!(out, "  {path}{mark}");
            }
        }
    }
    if let Some(first) = bundle.files.keys().find_map(|path| path.strip_prefix("guests/")?.split_once('/')) {
        let names: Vec<&str> = bundle
            .files
            .keys()
            .filter_map(|path| path.strip_prefix("guests/")?.split_once('/'))
            .filter(|(guest, _)| *guest == first.0)
            .map(|(_, file)| file)
            .collect();
        let each = format!("guests/NAME/{{{}}}", names.join(","));
        let _ = writeln!(out, "  {each}  for each of {} volumes", guests / names.len());
    }
    out
}
