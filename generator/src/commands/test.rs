//! `test`: the declaration rendered in memory, proven, and shown as a matrix; on a Mac, probed as well.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};
use nixvol_net::matrix::{self, Matrix, Reach};
use nixvol_net::model::{Declaration, End};
use nixvol_net::plan::{Bridge, Pipe, Plan};
use nixvol_net::render::{MANAGER, picture};
use serde_json::{Value, json};

use super::prove::{self, Alone};
use super::{NOT_PROVEN, print, print_with_marks};
use crate::cli::{Format, Source};

/// Runs `test`.
pub fn run(source: &Source, live: bool, format: Format) -> Result<ExitCode> {
    let proven = match prove::proven_alone(source)? {
        Ok(proven) => proven,
        Err(exit) => return Ok(exit),
    };
    let expected = proven.expectations();
    let Alone { declaration, plan, anchor: _, proof } = &proven;
    let text = match format {
        Format::Text => format!(
            "proven: {} rules do what was declared, in each of {} classes of packets\n{}\n{}{}",
            proof.rules,
            proof.classes,
            expected.holding(),
            matrix::text(plan, picture::WIDTH),
            matrix::conditions(plan)
        ),
        Format::Json => {
            let value = json!({ "proven": true, "rules": proof.rules, "classes": proof.classes, "reach": reach(plan),
                                "conditions": conditions(plan), "expectations": expected.data() });
            format!("{value:#}\n")
        }
    };
    match format {
        Format::Json => print(&text)?,
        Format::Text => print_with_marks(plan, &text)?,
    }
    if live { probe(declaration) } else { Ok(ExitCode::SUCCESS) }
}

/// From each provider, to each provider: `all`, `some` or `none`.
fn reach(plan: &Plan) -> Value {
    let matrix = Matrix::of(plan);
    let word = |reach: &Reach| match reach {
        Reach::All => "all",
        Reach::Some => "some",
        Reach::None => "none",
    };
    let cell = |(to, reach): (&Bridge, &Reach)| (to.provider.to_string(), json!(word(reach)));
    let row = |reaches: &[Reach]| plan.bridges.iter().zip(reaches).map(cell).collect::<Value>();
    matrix.rows().map(|(from, reaches)| (from.provider.to_string(), row(reaches))).collect()
}

/// The ways that have conditions, in the fields of the declaration.
fn conditions(plan: &Plan) -> Value {
    let names = |ends: &[End]| ends.iter().map(|end| end.name().as_str().to_owned()).collect::<Vec<_>>();
    let way = |pipe: &Pipe| {
        let it = pipe.conditions;
        json!({ "pipe": pipe.number, "from": names(&pipe.from), "to": names(&pipe.to), "latencyMs": it.latency_ms,
                "loss": it.loss, "bandwidthKbit": it.bandwidth_kbit })
    };
    plan.pipes.iter().map(way).collect()
}

/// Lets the installed manager probe the running network.
fn probe(declaration: &Declaration) -> Result<ExitCode> {
    let manager = Path::new(declaration.base.as_str()).join("networking").join(MANAGER);
    let status = match Command::new(&manager).arg("test").status() {
        Ok(status) => status,
        Err(error) => bail!(
            "cannot run {}: {error}\nhint: `--live` is for a Mac on which the network is installed",
            manager.display()
        ),
    };
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::from(NOT_PROVEN) })
}
