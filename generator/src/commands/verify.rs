//! `verify`: checks a bundle on disk against its own declaration and that declaration's expectations.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use nixvol_net::model::{self, Declaration};
use nixvol_net::plan::Plan;
use nixvol_net::render::{ANCHOR, NETWORK, bundle};
use serde_json::json;

use super::expect::Expectations;
use super::paint::{Paint, painted};
use super::{BAD_INPUT, NOT_PROVEN, Reading, print, prove, reject, versioned};
use crate::cli::Format;
use crate::disk;

/// Runs `verify`.
pub fn run(directory: &Path, format: Format) -> Result<ExitCode> {
    let files = disk::read(directory)?;
    let network = &files[NETWORK];
    let name = directory.join(NETWORK).display().to_string();
    let reading = Reading { name, declaration: model::read(network.as_bytes()) };
    let declaration = match &reading.declaration {
        Ok(declaration) => declaration,
        Err(rejected) => return Ok(reject(&reading.name, rejected)),
    };
    let plan = Plan::of(declaration);
    let Some(anchor) = files.get(ANCHOR) else {
        eprintln!("error: {} has no {ANCHOR}", directory.display());
        return Ok(ExitCode::from(BAD_INPUT));
    };
    let strangers = strangers(directory, declaration, &plan, &files)?;
    for (path, what) in &strangers {
        eprintln!("{}: {what}", directory.join(path).display());
    }
    let name = directory.join(ANCHOR).display().to_string();
    let proof = prove::proven(&plan, &declaration.positions, &name, anchor);
    let expectations = Expectations::of(declaration, &plan, anchor);
    expectations.tell();
    let is_right = proof.is_ok() && strangers.is_empty() && expectations.hold();
    let text = match (&proof, format) {
        (Ok(proof), Format::Text) => {
            let words = prove::words(proof);
            if strangers.is_empty() {
                format!("proven: {words}\n{}", expectations.holding())
            } else {
                format!("not proven: {words}, but files differ\n")
            }
        }
        (Err(_), Format::Text) => String::new(),
        (proof, Format::Json) => {
            let violations = match proof {
                Ok(_) => Vec::new(),
                Err(refutation) => prove::data(refutation, &declaration.positions),
            };
            let (rules, classes) =
                proof.as_ref().map_or((None, None), |proof| (Some(proof.rules), Some(proof.classes)));
            let files: Vec<_> =
                strangers.iter().map(|(path, what)| json!({ "path": path, "message": what })).collect();
            let proven = proof.is_ok() && strangers.is_empty();
            let value = json!({ "proven": proven, "rules": rules, "classes": classes, "violations": violations, "files": files,
                                "expectations": expectations.data() });
            versioned(&value)?
        }
    };
    print(&if format == Format::Text { painted(&text, Paint::Proof) } else { text })?;
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::from(NOT_PROVEN) })
}

/// Files that differ from what the bundle's declaration renders, with the reason. The anchor is not compared: it is
/// proven.
fn strangers(
    directory: &Path,
    declaration: &Declaration,
    plan: &Plan,
    files: &disk::FileTexts,
) -> Result<Vec<(String, &'static str)>> {
    let rendered = bundle(declaration, plan)?;
    let mut strangers = Vec::new();
    for (path, file) in &rendered.files {
        match files.get(path) {
            None => strangers.push((path.clone(), "is missing")),
            Some(text) if path != ANCHOR && *text != file.text => {
                strangers.push((path.clone(), "is not what the declaration renders"));
            }
            Some(_) => {
                let what = disk::wrong_mode(&directory.join(path), file.executable)?;
                strangers.extend(what.map(|what| (path.clone(), what)));
            }
        }
    }
    let extra = files.keys().filter(|path| !rendered.files.contains_key(*path));
    strangers.extend(extra.map(|path| (path.clone(), "is not part of this bundle")));
    Ok(strangers)
}
