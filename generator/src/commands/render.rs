//! `render`: writes the bundle to disk, and shows it.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use nixvol_net::matrix;
use nixvol_net::render::{Bundle, picture};

use super::paint::{Paint, painted};
use super::prove::{self, Proven};
use super::schema::printed::Render;
use super::{counted, print, print_with_marks, versioned};
use crate::cli::{Format, InputSource};
use crate::{disk, progress};

/// The last line of the output, without a picture: where to see more.
const MORE: &str = "`--picture` shows it, `nixvol-net test` who may open connections to whom\n";

/// Runs `render`.
pub fn run(
    source: &InputSource,
    out: &Path,
    (is_pictured, is_quiet): (bool, bool),
    format: Format,
) -> Result<ExitCode> {
    if out == Path::new("-") {
        bail!(
            "a bundle is a directory, and standard output is none\nhint: name a directory; \
             `nixvol-net graph` prints the picture, `nixvol-net report --out -` the page"
        );
    }
    let Proven { declaration, plan, bundle, proof } = match prove::rendered(source)? {
        Ok(proven) => proven,
        Err(exit) => return Ok(exit),
    };
    let written = progress::during("writing", || disk::write(&bundle, out))?;
    let text = match format {
        Format::Text if is_quiet => return Ok(ExitCode::SUCCESS),
        Format::Json => {
            let directory = out.display().to_string();
            let files = bundle.files.keys().cloned().collect();
            versioned(Render {
                directory,
                changed: written,
                files,
                rules: proof.rules,
                classes: proof.classes,
            })?
        }
        Format::Text => {
            let heading = if written { "written" } else { "as it was" };
            let proof = format!("proven: {}", prove::words(&proof));
            let summary = format!(
                "{} ({heading}; {proof})\n{}\n{}",
                out.display(),
                tree(&bundle),
                counted(&declaration) + "; "
            );
            let summary = painted(&summary, Paint::Proof);
            if is_pictured {
                let picture =
                    painted(&picture::text(&plan, &picture::KernelNames::new(), &[]), Paint::Picture);
                let matrix = painted(&matrix::text(&plan, picture::WIDTH), Paint::Proof);
                format!("{summary}\n{picture}\n{matrix}")
            } else {
                summary + MORE
            }
        }
    };
    match format {
        Format::Json => print(&text)?,
        Format::Text => print_with_marks(&plan, &text)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The files as a list. The directories of guests have the same files, so they share one line.
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
