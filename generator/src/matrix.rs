//! Who may open connections to whom, provider by provider, as a table for people.
//!
//! Sees: plan, identity. Never: rules; this is what was declared, not what was proven.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::identity::Identities;
use crate::model::{End, Name};
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
    /// The word for it in a table.
    pub fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Some => "some",
            Self::None => "-",
        }
    }
}

/// How much every provider may open to every other.
pub struct Matrix<'a> {
    bridges: &'a [Bridge],
    /// Row by row, in the order of the bridges.
    cells: Vec<Reach>,
}

impl<'a> Matrix<'a> {
    /// The matrix of a plan.
    pub fn of(plan: &'a Plan) -> Self {
        let bridges = plan.bridges.as_slice();
        let number = |name: &Name| bridges.binary_search_by(|bridge| bridge.provider.cmp(name)).ok();
        // The providers that ends touch, and whether all of each.
        let touched = |ends: &[End]| -> BTreeMap<usize, bool> {
            let touch = |end: &End| match end {
                End::Provider(name) => Some((number(name)?, true)),
                End::Volume(name) => Some((number(&plan.volume(name)?.provider)?, false)),
            };
            let mut touched = BTreeMap::new();
            for (provider, whole) in ends.iter().filter_map(touch) {
                *touched.entry(provider).or_insert(false) |= whole;
            }
            touched
        };
        let mut cells = vec![Reach::None; bridges.len() * bridges.len()];
        for flow in &plan.flows {
            let (from, to) = (touched(&flow.from), touched(&flow.to));
            for (row, from_whole) in &from {
                for (column, to_whole) in &to {
                    let cell = &mut cells[row * bridges.len() + column];
                    let all = flow.protocol.is_none() && *from_whole && *to_whole;
                    *cell = if all || *cell == Reach::All { Reach::All } else { Reach::Some };
                }
            }
        }
        for own in 0..bridges.len() {
            cells[own * bridges.len() + own] = Reach::All;
        }
        Self { bridges, cells }
    }

    /// Each provider with how much it may open to each.
    pub fn rows(&self) -> impl Iterator<Item = (&'a Bridge, &[Reach])> {
        self.bridges.iter().zip(self.cells.chunks(self.bridges.len().max(1)))
    }

    fn count(&self, wanted: Reach) -> usize {
        self.cells.iter().filter(|reach| **reach == wanted).count()
    }
}

/// The table, with a row and a column for every provider, if it fits `width` columns; a sentence otherwise.
pub fn text(plan: &Plan, width: usize) -> String {
    let matrix = Matrix::of(plan);
    let identities = Identities::of(plan);
    let name =
        |bridge: &Bridge| format!("{} {}", identities.provider(&bridge.provider).mark(), bridge.provider);
    let names: Vec<String> = plan.bridges.iter().map(name).collect();
    let wide = |name: &String| name.chars().count();
    let first = names.iter().map(wide).chain([8]).max().unwrap_or(0);
    let columns: Vec<usize> = names.iter().map(|name| wide(name).max(4) + 2).collect();
    if 2 + first + columns.iter().sum::<usize>() + "  internet  localhost".len() > width {
        return sentence(&matrix);
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
    row("", names.iter().map(String::as_str).collect(), "internet", "localhost");
    for ((from, reaches), name) in matrix.rows().zip(&names) {
        let cells = reaches.iter().map(|reach| reach.word()).collect();
        row(name, cells, if from.internet { "NAT" } else { "-" }, "all");
    }
    row("this Mac", vec!["all"; names.len()], "", "");
    row("outside", vec!["-"; names.len()], "", "");
    out
}

/// So many ways are listed.
const MOST: usize = 20;

/// The ways that have conditions, below the table; nothing where there are none.
pub fn conditions(plan: &Plan) -> String {
    if plan.pipes.is_empty() {
        return String::new();
    }
    let mut out = String::from("\nWhat ways between them are like; the narrower counts:\n");
    for pipe in plan.pipes.iter().take(MOST) {
        let _ = writeln!(out, "  {}: {}", pipe.describe(&plan.bridges), pipe.conditions);
    }
    if let Some(more @ 1..) = plan.pipes.len().checked_sub(MOST) {
        let _ = writeln!(out, "  and {more} more (`--format json` has all)");
    }
    out
}

fn sentence(matrix: &Matrix) -> String {
    let providers = matrix.bridges.len();
    format!(
        "Of the {} ordered pairs of providers, {} pass everything, {} something and {} nothing.\n",
        providers * providers.saturating_sub(1),
        matrix.count(Reach::All) - providers,
        matrix.count(Reach::Some),
        matrix.count(Reach::None),
    )
}
