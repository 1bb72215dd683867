//! `explain`: the way of a packet, and who decides.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use nixvol_net::explain::{Captured, Error, Question, Rules, explain};
use nixvol_net::plan::Plan;
use nixvol_net::render::{ANCHOR, bundle};

use super::pf::{self, harmless};
use super::{BAD_INPUT, print, read, reject};
use crate::cli::Format;
use crate::cli::explain::Explain;

/// The exit code of a packet that does not get through.
const BLOCKED: u8 = 1;

/// Runs `explain`.
pub fn run(arguments: &Explain) -> Result<ExitCode> {
    let reading = read(&arguments.input)?;
    let declaration = match &reading.declaration {
        Ok(declaration) => declaration,
        Err(rejected) => return Ok(reject(&reading.name, rejected)),
    };
    let is_stdin = |file: &Path| file == Path::new("-") || file.to_string_lossy().ends_with("=-");
    let readers = arguments.rulesets.iter().chain(&arguments.input.input).filter(|file| is_stdin(file));
    if readers.count() > 1 {
        bail!("`-` is standard input and can be read once only");
    }
    let captured = arguments.rulesets.iter().map(|file| captured(file)).collect::<Result<Vec<_>>>()?;
    let plan = Plan::of(declaration);
    let bundle = bundle(declaration, &plan)?;
    let anchor = &bundle.files[ANCHOR].text;
    let question = Question {
        source: &arguments.from,
        destination: &arguments.to,
        protocol: arguments.protocol.as_deref(),
        egress: &arguments.egress,
    };
    let rules = Rules { anchor, name: ANCHOR, captured: &captured };
    let explanation = match explain(declaration, &plan, &rules, &question) {
        Ok(explanation) => explanation,
        Err(Error::Question(wrong)) => {
            eprintln!("error: {wrong}");
            return Ok(ExitCode::from(BAD_INPUT));
        }
        Err(Error::Rules(refused)) => {
            for refused in refused {
                eprintln!("{}", harmless(&refused.to_string()));
            }
            return Ok(ExitCode::from(BAD_INPUT));
        }
    };
    match arguments.format {
        Format::Text => print(&explanation.text())?,
        Format::Json => print(&format!("{}\n", serde_json::to_string_pretty(&explanation)?))?,
    }
    if explanation.passes && explanation.agrees() {
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::from(BLOCKED))
    }
}

/// Reads `NAME=FILE`, or a file whose lines name the anchors. A path that holds a `=` is written with its `./`.
fn captured(argument: &Path) -> Result<Captured> {
    let text = argument.to_string_lossy();
    let named = text.split_once('=').filter(|_| !text.starts_with(['.', '/']));
    let (anchor, file) = match named {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            (Some(name.to_owned()), Path::new(file))
        }
        Some(_) => bail!("`{text}` names no anchor or no file; expected NAME=FILE"),
        None => (None, argument),
    };
    let text = pf::read(file)?;
    Ok(Captured { name: text.name, anchor, text: text.text })
}
