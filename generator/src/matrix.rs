//! Who may open connections to whom, provider by provider, as a table for people.
//!
//! Sees: plan. Never: rules; this is what was declared, not what was proven.

use std::fmt::Write;

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

/// The rows of a matrix as words of bits: a bit for each column that passes everything, and for each that passes something.
struct Cells {
    /// Words in a row.
    width: usize,
    all: Vec<u64>,
    some: Vec<u64>,
}

impl Cells {
    fn of(plan: &Plan) -> Self {
        let bridges = plan.bridges.as_slice();
        let number = |name: &Name| bridges.binary_search_by(|bridge| bridge.provider.cmp(name)).ok();
        let width = bridges.len().div_ceil(64);
        let mut cells =
            Self { width, all: vec![0; width * bridges.len()], some: vec![0; width * bridges.len()] };
        // The providers that ends touch, and those of which they are all.
        let touched = |ends: &[End]| {
            let (mut whole, mut part) = (vec![0; width], vec![0; width]);
            for end in ends {
                let (number, bits) = match end {
                    End::Provider(name) => (number(name), &mut whole),
                    End::Volume(name) => (plan.volume(name).and_then(|it| number(&it.provider)), &mut part),
                };
                if let Some(number) = number {
                    bits[number / 64] |= 1u64 << (number % 64);
                }
            }
            (whole, part)
        };
        for flow in &plan.flows {
            let ((from_whole, from_part), (to_whole, to_part)) = (touched(&flow.from), touched(&flow.to));
            for row in ones(from_whole.iter().zip(&from_part).map(|(whole, part)| whole | part)) {
                let takes_all = from_whole[row / 64] >> (row % 64) & 1 == 1 && flow.protocol.is_none();
                for word in 0..width {
                    cells.all[row * width + word] |= if takes_all { to_whole[word] } else { 0 };
                    cells.some[row * width + word] |= to_whole[word] | to_part[word];
                }
            }
        }
        for own in 0..bridges.len() {
            cells.all[own * width + own / 64] |= 1 << (own % 64);
        }
        cells
    }

    fn reach(&self, row: usize, column: usize) -> Reach {
        let has = |bits: &[u64]| bits[row * self.width + column / 64] >> (column % 64) & 1 == 1;
        match (has(&self.all), has(&self.some)) {
            (true, _) => Reach::All,
            (false, true) => Reach::Some,
            (false, false) => Reach::None,
        }
    }

    /// How many cells are everything, and how many something.
    fn counts(&self) -> (usize, usize) {
        let some = self.some.iter().zip(&self.all).map(|(some, all)| some & !all);
        let count = |words: &mut dyn Iterator<Item = u64>| words.map(|word| word.count_ones() as usize).sum();
        (count(&mut self.all.iter().copied()), count(&mut { some }))
    }
}

/// The places of the ones in words of bits.
fn ones(words: impl Iterator<Item = u64>) -> impl Iterator<Item = usize> {
    words.enumerate().flat_map(|(number, word)| {
        let places = std::iter::successors(Some(word), |left| left.checked_sub(1).map(|less| left & less));
        places.take_while(|left| *left != 0).map(move |left| number * 64 + left.trailing_zeros() as usize)
    })
}

impl<'a> Matrix<'a> {
    /// The matrix of a plan.
    pub fn of(plan: &'a Plan) -> Self {
        let (bridges, cells) = (plan.bridges.as_slice(), Cells::of(plan));
        let rows = 0..bridges.len();
        let row = |row| rows.clone().map(move |column| (row, column));
        let cells = rows.clone().flat_map(row).map(|(row, column)| cells.reach(row, column)).collect();
        Self { bridges, cells }
    }

    /// Each provider with how much it may open to each.
    pub fn rows(&self) -> impl Iterator<Item = (&'a Bridge, &[Reach])> {
        self.bridges.iter().zip(self.cells.chunks(self.bridges.len().max(1)))
    }
}

/// The table, with a row and a column for every provider, if it fits `width` columns; a sentence otherwise.
pub fn text(plan: &Plan, width: usize) -> String {
    let names: Vec<&str> = plan.bridges.iter().map(|bridge| bridge.provider.as_str()).collect();
    let first = names.iter().map(|name| name.len()).chain([8]).max().unwrap_or(0);
    let columns: Vec<usize> = names.iter().map(|name| name.len().max(4) + 2).collect();
    if 2 + first + columns.iter().sum::<usize>() + "  internet  localhost".len() > width {
        return sentence(plan);
    }
    let matrix = Matrix::of(plan);
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
    for (from, reaches) in matrix.rows() {
        let cells = reaches.iter().map(|reach| reach.word()).collect();
        row(from.provider.as_str(), cells, if from.internet { "NAT" } else { "-" }, "all");
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

fn sentence(plan: &Plan) -> String {
    let providers = plan.bridges.len();
    let (all, some) = Cells::of(plan).counts();
    format!(
        "Of the {} ordered pairs of providers, {} pass everything, {some} something and {} nothing.\n",
        providers * providers.saturating_sub(1),
        all - providers,
        providers * providers - all - some,
    )
}
