//! `report`: writes one HTML page about the network.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use nixvol_net::diff::{BundleFiles, ComparedSide, Diff};
use nixvol_net::plan::Plan;
use nixvol_net::render::ANCHOR;
use nixvol_net::report::{Subject, page};

use super::prove::{self, Proven};
use super::{diff, print, reject};
use crate::cli::InputSource;
use crate::progress;

/// Runs `report`.
pub fn run(source: &InputSource, out: &Path, against: Option<&Path>) -> Result<ExitCode> {
    let standard = Path::new("-");
    if against == Some(standard) {
        bail!("`--against -` is standard input\nhint: name a bundle or an input");
    }
    let Proven { declaration, plan, bundle, proof } = match prove::rendered(source)? {
        Ok(proven) => proven,
        Err(exit) => return Ok(exit),
    };
    let new_files: BundleFiles =
        bundle.files.iter().map(|(path, file)| (path.clone(), file.text.clone())).collect();
    let new = ComparedSide { declaration: &declaration, plan: &plan, files: &new_files };
    let compared = match against {
        None => None,
        Some(path) => {
            let reading = diff::read_side(path)?;
            let old = match &reading.declaration {
                Ok(declaration) => declaration,
                Err(rejected) => return Ok(reject(&reading.name, rejected)),
            };
            let old_plan = Plan::of(old);
            let old_files = diff::files(path, old, &old_plan)?;
            let old = ComparedSide { declaration: old, plan: &old_plan, files: &old_files };
            Some((path.display().to_string(), progress::during("comparing", || Diff::of(old, new))))
        }
    };
    let subject = Subject {
        declaration: &declaration,
        plan: &plan,
        anchor: &bundle.files[ANCHOR].text,
        proven: Ok(&prove::words(&proof)),
        against: compared.as_ref().map(|(name, diff)| (name.as_str(), diff)),
    };
    let page = progress::during("making the page", || page(&subject))?;
    if out == standard {
        print(&page)?;
    } else {
        fs::write(out, &page).with_context(|| format!("cannot write {}", out.display()))?;
        print(&format!("{} ({} KB)\n", out.display(), page.len().div_ceil(1000)))?;
    }
    Ok(ExitCode::SUCCESS)
}
