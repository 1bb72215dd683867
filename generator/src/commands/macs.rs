//! `test --all-macs`: proves the anchor of every Mac that shares the declaration, and their composition.

use std::process::ExitCode;

use anyhow::{Result, bail};
use nixvol_net::plan::Plan;
use nixvol_net::prove::Proof;
use nixvol_net::prove::across::{OfMac, compose};
use nixvol_net::render;
use schemars::JsonSchema;
use serde::Serialize;

use super::paint::{Paint, painted};
use super::{NOT_PROVEN, note_what_is_not_done, print, prove, read, reject, versioned};
use crate::cli::{Format, InputSource};
use crate::progress;

/// What `test --all-macs` prints as JSON.
#[derive(Serialize, JsonSchema)]
pub struct AllMacs {
    /// Always true: this form is printed only after a proof.
    proven: bool,
    /// The Macs, by name.
    macs: Vec<OneMac>,
    /// The number of pairs of a sending and a receiving Mac.
    pairs: usize,
}

/// One Mac.
#[derive(Serialize, JsonSchema)]
struct OneMac {
    /// The name of the Mac.
    name: String,
    /// The number of rules proven.
    rules: usize,
    /// The number of classes of packets that the proof distinguishes.
    classes: usize,
}

/// Runs `test --all-macs`.
pub fn run(source: &InputSource, format: Format) -> Result<ExitCode> {
    let reading = read(source)?;
    let declaration = match &reading.declaration {
        Ok(declaration) => declaration,
        Err(rejected) => return Ok(reject(&reading.name, rejected)),
    };
    let Some(mesh) = declaration.several_macs() else {
        bail!(
            "there is one Mac\nhint: `--all-macs` is for a declaration with `macs`; `test` alone proves this Mac"
        );
    };
    let mut macs = Vec::new();
    for name in mesh.macs.keys() {
        let Some(of_mac) = declaration.on(name) else { continue };
        let plan = progress::during("planning", || Plan::of(&of_mac));
        let anchor = progress::during("rendering", || render::anchor(&plan))?;
        let shown = format!("{name}: {}", render::ANCHOR);
        let Ok(proof) = prove::proven(&plan, &declaration.positions, &shown, &anchor) else {
            return Ok(ExitCode::from(NOT_PROVEN));
        };
        macs.push((name.to_string(), plan, anchor, proof));
    }
    note_what_is_not_done(declaration);
    let of_macs: Vec<OfMac> = macs.iter().map(|(_, plan, anchor, _)| OfMac { plan, anchor }).collect();
    let composition = match progress::during("composing the rules of the Macs", || compose(&of_macs)) {
        Ok(composition) => composition,
        Err(discords) => {
            for discord in &discords {
                eprintln!("{discord}");
            }
            eprintln!("the Macs together: not proven: {} differences", discords.len());
            return Ok(ExitCode::from(NOT_PROVEN));
        }
    };
    let one = |(name, _, _, proof): (String, Plan, String, Proof)| OneMac {
        name,
        rules: proof.rules,
        classes: proof.classes,
    };
    let pairs = composition.pairs;
    let told = AllMacs { proven: true, macs: macs.into_iter().map(one).collect(), pairs };
    print(&match format {
        Format::Text => painted(&text(&told), Paint::Proof),
        Format::Json => versioned(&told)?,
    })?;
    Ok(ExitCode::SUCCESS)
}

fn text(told: &AllMacs) -> String {
    let line = |mac: &OneMac| format!("{}: proven: {} rules\n", mac.name, mac.rules);
    let lines: String = told.macs.iter().map(line).collect();
    let pairs = told.pairs;
    format!(
        "{lines}proven: between any two of them ({pairs} ways) exactly the declared traffic passes both\n"
    )
}
