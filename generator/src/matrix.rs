//! A table for people: which provider may open connections to which, and for which services.
//!
//! Sees: model, plan, identity, reach (its words for services). Never: reads rules; this is what was declared, not what
//! was proven.

mod counts;

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::identity::Identities;
use crate::model::{Endpoint, Name};
use crate::plan::policy::{number_of, ranges_of};
use crate::plan::{Bridge, Plan};
use crate::reach::Services;

/// How much one provider may open to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderReach {
    /// All traffic.
    All,
    /// Some traffic, limited by protocol, port or volume.
    Some,
    /// No traffic.
    None,
}

impl ProviderReach {
    /// The word for it in the table.
    pub fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Some => "some",
            Self::None => "-",
        }
    }
}

/// The permitted traffic from one provider to another, if it is not everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passing<'a> {
    /// The volumes that may open connections; empty means the whole provider.
    pub from: Vec<&'a Name>,
    /// The volumes that may be reached; empty means the whole provider.
    pub to: Vec<&'a Name>,
    /// The permitted protocols and ports.
    pub services: Services,
}

/// Volumes by provider (its index in the plan); an empty list means the whole provider.
type Touched<'a> = BTreeMap<usize, Vec<&'a Name>>;

/// How much every provider may open to every other.
pub struct Matrix<'a> {
    bridges: &'a [Bridge],
    /// Row by row, in the order of the bridges.
    cells: Vec<ProviderReach>,
    /// For each row, the permitted traffic: senders, receivers and services.
    rows: Vec<Vec<Permitted<'a>>>,
    /// Receivers by provider, one entry per flow.
    receivers: Vec<Touched<'a>>,
}

struct Permitted<'a> {
    from: Vec<&'a Name>,
    /// The index in `receivers`, because many rows share an entry.
    to: usize,
    services: Services,
}

/// The providers to which endpoints belong, with the volumes that are named.
fn touched<'a>(plan: &'a Plan, ends: &'a [Endpoint]) -> Touched<'a> {
    let number = |name: &Name| plan.bridges.binary_search_by(|bridge| bridge.provider.cmp(name)).ok();
    let mut touched = Touched::new();
    for end in ends {
        let (provider, volume) = match end {
            Endpoint::Provider(name) => (number(name), None),
            Endpoint::Volume(name) => (plan.volume(name).and_then(|it| number(&it.provider)), Some(name)),
        };
        if let Some(provider) = provider {
            touched.entry(provider).or_default().extend(volume);
        }
    }
    // If the whole provider is named too, its volumes are redundant.
    for whole in ends.iter().filter(|end| matches!(end, Endpoint::Provider(_))) {
        if let Some(volumes) = number(whole.name()).and_then(|provider| touched.get_mut(&provider)) {
            volumes.clear();
        }
    }
    touched
}

impl<'a> Matrix<'a> {
    /// The matrix of a plan.
    pub fn of(plan: &'a Plan) -> Self {
        let bridges = plan.bridges.as_slice();
        let mut cells = vec![ProviderReach::None; bridges.len() * bridges.len()];
        let mut rows: Vec<Vec<Permitted>> = bridges.iter().map(|_| Vec::new()).collect();
        let mut receivers = Vec::new();
        for flow in &plan.flows {
            let (from, to) = (touched(plan, &flow.from), touched(plan, &flow.to));
            for (row, senders) in from {
                for (column, receivers) in &to {
                    let cell = &mut cells[row * bridges.len() + column];
                    let all = flow.protocol.is_none() && senders.is_empty() && receivers.is_empty();
                    *cell = if all || *cell == ProviderReach::All {
                        ProviderReach::All
                    } else {
                        ProviderReach::Some
                    };
                }
                let ports = flow.ports.as_ref().map(ranges_of);
                let services = Services::permitted(flow.protocol.map(number_of), ports.as_deref());
                rows[row].push(Permitted { from: senders, to: receivers.len(), services });
            }
            receivers.push(to);
        }
        for own in 0..bridges.len() {
            cells[own * bridges.len() + own] = ProviderReach::All;
        }
        Self { bridges, cells, rows, receivers }
    }

    /// The permitted traffic from a row to a column, without redundant entries; empty if everything passes, or nothing.
    pub fn passing(&self, row: usize, column: usize) -> Vec<Passing<'a>> {
        if self.cells[row * self.bridges.len() + column] != ProviderReach::Some {
            return Vec::new();
        }
        let mut by_ends: BTreeMap<(&[&'a Name], &[&'a Name]), Services> = BTreeMap::new();
        for permitted in &self.rows[row] {
            if let Some(to) = self.receivers[permitted.to].get(&column) {
                by_ends.entry((&permitted.from, to)).or_default().join(&permitted.services);
            }
        }
        let is_within = |one: &[&Name], other: &[&Name]| {
            other.is_empty() || !one.is_empty() && one.iter().all(|name| other.contains(name))
        };
        // What has all receivers of another has its first, or is about the whole provider.
        let mut by_first: BTreeMap<Option<&Name>, Vec<_>> = BTreeMap::new();
        for (ends, services) in &by_ends {
            let names = ends.1.iter().copied().map(Some).chain(ends.1.is_empty().then_some(None));
            names.for_each(|name| by_first.entry(name).or_default().push((*ends, services)));
        }
        let is_said = |(from, to): &(&[&Name], &[&Name]), services: &Services| {
            let first = to.first().copied();
            let same =
                by_first.get(&first).into_iter().chain(by_first.get(&None).filter(|_| first.is_some()));
            same.flatten().any(|(wider, more)| {
                *wider != (*from, *to)
                    && is_within(from, wider.0)
                    && is_within(to, wider.1)
                    && more.holds(services)
            })
        };
        let found = by_ends.iter().filter(|(ends, services)| !is_said(ends, services));
        found
            .map(|((from, to), services)| Passing {
                from: from.to_vec(),
                to: to.to_vec(),
                services: services.clone(),
            })
            .collect()
    }

    /// Each provider with how much it may open to each provider.
    pub fn rows(&self) -> impl Iterator<Item = (&'a Bridge, &[ProviderReach])> {
        self.bridges.iter().zip(self.cells.chunks(self.bridges.len().max(1)))
    }
}

/// The table, with a row and a column for every provider, if it fits into `width` columns; otherwise a sentence.
pub fn text(plan: &Plan, width: usize) -> String {
    let identities = Identities::of(plan);
    let name =
        |bridge: &Bridge| format!("{} {}", identities.provider(&bridge.provider).mark(), bridge.provider);
    let names: Vec<String> = plan.bridges.iter().map(name).collect();
    let wide = |name: &String| name.chars().count();
    let first = names.iter().map(wide).chain([8]).max().unwrap_or(0);
    let columns: Vec<usize> = names.iter().map(|name| wide(name).max(4) + 2).collect();
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
    row("", names.iter().map(String::as_str).collect(), "internet", "localhost");
    for ((from, reaches), name) in matrix.rows().zip(&names) {
        let cells = reaches.iter().map(|reach| reach.word()).collect();
        row(name, cells, if from.internet { "NAT" } else { "-" }, "all");
    }
    row("this Mac", vec!["all"; names.len()], "", "");
    row("outside", vec!["-"; names.len()], "", "");
    out + &legend(&matrix)
}

/// Explains the cells with `some`. Pairs of providers with the same permissions share a line.
fn legend(matrix: &Matrix) -> String {
    let name = |index: usize| matrix.bridges[index].provider.as_str();
    let mut rows: BTreeMap<(usize, String), Vec<usize>> = BTreeMap::new();
    for row in 0..matrix.bridges.len() {
        for column in 0..matrix.bridges.len() {
            let passing = matrix.passing(row, column);
            if !passing.is_empty() {
                let words: Vec<String> = passing.iter().map(Passing::words).collect();
                rows.entry((row, words.join("; "))).or_default().push(column);
            }
        }
    }
    let words: BTreeMap<&String, usize> = rows.keys().map(|(row, words)| (words, *row)).collect();
    if let ([(words, _)], true) = (words.into_iter().collect::<Vec<_>>().as_slice(), rows.len() > 1)
        && !words.contains(" from ")
        && !words.contains(" to ")
    {
        return format!("some: {words}\n");
    }
    let mut lines: BTreeMap<(Vec<usize>, String), Vec<usize>> = BTreeMap::new();
    for ((row, words), columns) in rows {
        lines.entry((columns, words)).or_default().push(row);
    }
    let mut lines: Vec<(Vec<usize>, Vec<usize>, String)> =
        lines.into_iter().map(|((columns, words), rows)| (rows, columns, words)).collect();
    lines.sort();
    let names = |all: &[usize]| all.iter().map(|index| name(*index)).collect::<Vec<_>>().join(", ");
    let mut out = String::new();
    for (rows, columns, words) in lines.iter().take(MOST) {
        let _ = writeln!(out, "some: {} -> {}: {words}", names(rows), names(columns));
    }
    if let Some(more @ 1..) = lines.len().checked_sub(MOST) {
        let _ = writeln!(out, "  and {more} more (`--format json` has all)");
    }
    out
}

impl Passing<'_> {
    /// In words: `tcp 2379-2380`, `tcp 5432 from api to db`.
    fn words(&self) -> String {
        let names = |word: &str, all: &[&Name]| match all {
            [] => String::new(),
            all => format!(" {word} {}", all.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")),
        };
        format!("{}{}{}", self.services, names("from", &self.from), names("to", &self.to))
    }
}

/// How many lines are listed at most.
const MOST: usize = 20;

/// The paths that have conditions, for display below the table; empty if there are none.
pub fn conditions(plan: &Plan) -> String {
    if plan.pipes.is_empty() {
        return String::new();
    }
    let mut out = String::from("\nConditions of the paths between them; the narrower applies:\n");
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
    let (all, some) = counts::of(plan);
    format!(
        "Of the {} ordered pairs of providers, {} pass everything, {some} something and {} nothing.\n",
        providers * providers.saturating_sub(1),
        all - providers,
        providers * providers - all - some,
    )
}
