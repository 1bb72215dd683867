//! Who may open connections to whom, provider by provider, as a table for people.
//!
//! Sees: plan. Never: rules; this is what was declared, not what was proven.

use std::fmt::Write;

use crate::model::End;
use crate::plan::{Bridge, Plan};

/// How much one provider may open to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Everything.
    All,
    /// Some of it: by protocol, port or volume.
    Some,
    /// Nothing.
    None,
}

impl Reach {
    fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Some => "some",
            Self::None => "-",
        }
    }
}

/// How much `from` may open to `to`.
pub fn reach(plan: &Plan, from: &Bridge, to: &Bridge) -> Reach {
    if from.provider == to.provider {
        return Reach::All;
    }
    let mut reach = Reach::None;
    for flow in &plan.flows {
        let whole = |ends: &[End], bridge: &Bridge| ends.contains(&End::Provider(bridge.provider.clone()));
        let part = |ends: &[End], bridge: &Bridge| {
            ends.iter().any(|end| match end {
                End::Provider(name) => *name == bridge.provider,
                End::Volume(name) => {
                    plan.volume(name).is_some_and(|volume| volume.provider == bridge.provider)
                }
            })
        };
        if flow.protocol.is_none() && whole(&flow.from, from) && whole(&flow.to, to) {
            return Reach::All;
        }
        if part(&flow.from, from) && part(&flow.to, to) {
            reach = Reach::Some;
        }
    }
    reach
}

/// The table, with a row and a column for every provider, if it fits `width` columns; a sentence otherwise.
pub fn text(plan: &Plan, width: usize) -> String {
    let names: Vec<&str> = plan.bridges.iter().map(|bridge| bridge.provider.as_str()).collect();
    let first = names.iter().map(|name| name.len()).chain([8]).max().unwrap_or(0);
    let columns: Vec<usize> = names.iter().map(|name| name.len().max(4) + 2).collect();
    if 2 + first + columns.iter().sum::<usize>() + "  internet  localhost".len() > width {
        return sentence(plan);
    }
    let mut out = String::from("What may open connections (rows) to what (columns):\n");
    let mut row = |name: &str, cells: Vec<&str>, internet: &str, localhost: &str| {
        let mut line = format!("  {name:<first$}");
        for (cell, width) in cells.iter().zip(&columns) {
            let _ = write!(line, "{cell:>width$}");
        }
        let _ = write!(line, "  {internet:>8}  {localhost:>9}");
        let _ = writeln!(out, "{}", line.trim_end());
    };
    row("", names.clone(), "internet", "localhost");
    for from in &plan.bridges {
        let cells = plan.bridges.iter().map(|to| reach(plan, from, to).word()).collect();
        row(from.provider.as_str(), cells, if from.internet { "NAT" } else { "-" }, "all");
    }
    row("this Mac", vec!["all"; names.len()], "", "");
    row("outside", vec!["-"; names.len()], "", "");
    out
}

fn sentence(plan: &Plan) -> String {
    let pairs = || plan.bridges.iter().flat_map(|from| plan.bridges.iter().map(move |to| (from, to)));
    let count = |wanted| pairs().filter(|(from, to)| from != to && reach(plan, from, to) == wanted).count();
    format!(
        "Of the {} ordered pairs of providers, {} pass everything, {} something and {} nothing.\n",
        plan.bridges.len() * plan.bridges.len().saturating_sub(1),
        count(Reach::All),
        count(Reach::Some),
        count(Reach::None),
    )
}
