//! `test`: renders the anchor in memory, proves it, and shows the permissions as a matrix; with `--live`, probes the
//! Mac too.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};
use nixvol_net::matrix::{self, Matrix, Passing, ProviderReach};
use nixvol_net::model::{Declaration, Endpoint, Name};
use nixvol_net::plan::{Bridge, Pipe, Plan};
use nixvol_net::render::{MANAGER, picture};
use serde_json::{Value, json};

use super::paint::{Paint, painted};
use super::prove::{self, Alone};
use super::{NOT_PROVEN, print, print_with_marks, versioned};
use crate::cli::{Format, InputSource};

/// Runs `test`.
pub fn run(source: &InputSource, live: bool, format: Format) -> Result<ExitCode> {
    let proven = match prove::proven_alone(source)? {
        Ok(proven) => proven,
        Err(exit) => return Ok(exit),
    };
    let expected = proven.expectations();
    let Alone { declaration, plan, anchor: _, proof } = &proven;
    expected.tell();
    let text = match format {
        Format::Text if !expected.hold() => String::new(),
        Format::Text => {
            let text = format!(
                "proven: {}\n{}\n{}",
                prove::words(proof),
                expected.holding(),
                matrix::text(plan, picture::WIDTH)
            );
            painted(&text, Paint::Proof) + &matrix::conditions(plan)
        }
        Format::Json => {
            let value = json!({ "proven": true, "rules": proof.rules, "classes": proof.classes, "reach": reach(plan),
                                "conditions": conditions(plan), "expectations": expected.data() });
            versioned(&value)?
        }
    };
    match format {
        Format::Json => print(&text)?,
        Format::Text => print_with_marks(plan, &text)?,
    }
    if !expected.hold() {
        return Ok(ExitCode::from(NOT_PROVEN));
    }
    if live { probe(declaration) } else { Ok(ExitCode::SUCCESS) }
}

/// Who may open connections to whom, as JSON: rows are providers, `mac` and `internet`, columns providers, `internet`
/// and `localhost`. A cell with `some` lists senders, receivers, protocol and ports of what passes.
fn reach(plan: &Plan) -> Value {
    let matrix = Matrix::of(plan);
    let told = |reach: &ProviderReach| match reach {
        ProviderReach::All => json!({ "reach": "all" }),
        ProviderReach::Some => json!({ "reach": "some" }),
        ProviderReach::None => json!({ "reach": "none" }),
    };
    let mut rows = serde_json::Map::new();
    for (row, (from, reaches)) in matrix.rows().enumerate() {
        let mut cells = serde_json::Map::new();
        for (column, (to, reach)) in plan.bridges.iter().zip(reaches).enumerate() {
            let mut cell = told(reach);
            if *reach == ProviderReach::Some {
                let all = matrix.passing(row, column);
                cell["passes"] = all.iter().flat_map(|it| passing(it, (from, to))).collect();
            }
            cells.insert(to.provider.to_string(), cell);
        }
        let mut internet = told(if from.internet { &ProviderReach::All } else { &ProviderReach::None });
        internet["nat"] = json!(from.internet);
        cells.insert("internet".to_owned(), internet);
        cells.insert("localhost".to_owned(), told(&ProviderReach::All));
        rows.insert(from.provider.to_string(), cells.into());
    }
    for (row, reach) in [("mac", ProviderReach::All), ("internet", ProviderReach::None)] {
        let cells = plan.bridges.iter().map(|to| (to.provider.to_string(), told(&reach)));
        rows.insert(row.to_owned(), cells.collect());
    }
    rows.into()
}

/// The permitted traffic between two providers, one entry per protocol.
fn passing(it: &Passing, (from, to): (&Bridge, &Bridge)) -> Vec<Value> {
    let names = |all: &[&Name], provider: &Name| match all {
        [] => json!([provider.as_str()]),
        all => all.iter().map(|name| name.as_str()).collect(),
    };
    let (from, to) = (names(&it.from, &from.provider), names(&it.to, &to.provider));
    let told = |(protocol, ports): (&'static str, Option<Vec<String>>)| json!({ "from": from, "to": to, "protocol": protocol, "ports": ports });
    it.services.by_protocol().into_iter().map(told).collect()
}

/// The paths that have conditions, with the field names of the declaration.
fn conditions(plan: &Plan) -> Value {
    let names = |ends: &[Endpoint]| ends.iter().map(|end| end.name().as_str().to_owned()).collect::<Vec<_>>();
    let way = |pipe: &Pipe| {
        let it = pipe.conditions;
        json!({ "pipe": pipe.number, "from": names(&pipe.from), "to": names(&pipe.to), "latencyMs": it.latency_ms,
                "regions": it.span.map(|span| json!({ "from": span.from.name, "to": span.to.name, "km": span.kilometres().round() })),
                "jitterMs": it.jitter_ms, "loss": it.loss, "bandwidthKbit": it.bandwidth_kbit })
    };
    plan.pipes.iter().map(way).collect()
}

/// Runs the installed manager's `test`, which probes the running network.
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
