//! All answers of the page: what happens to connections between any two addresses, by classes of endpoints that the
//! policy does not distinguish.
//!
//! The answers are those of [`crate::reach`], split into ranges of services for each pair of classes. Equal rows, cells
//! and outcomes are stored once, so that the page grows with the declaration and not with the number of pairs. Never:
//! knows rules, or the hooks on a packet's path.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use crate::explain::{Examples, examples};
use crate::model::{Endpoint, Name};
use crate::packets::{Along, Field, Map, Side};
use crate::plan::Plan;
use crate::plan::policy::{ICMP, TCP, UDP};
use crate::reach::{FlowOutcome, FlowVerdict, Flows, Opener, Reach};

/// A protocol number that no link can name (SCTP); it represents all such protocols.
pub const OTHER: u8 = 132;

/// All answers.
pub struct AnswerTable {
    /// The class of each volume, in the order of the plan.
    pub volumes: Vec<usize>,
    /// The class of each volume's localhost alias.
    pub aliases: Vec<Option<usize>>,
    /// For each provider, the class of its addresses that are neither volumes nor the gateway.
    pub providers: Vec<usize>,
    /// The class of each provider's gateway.
    pub gateways: Vec<usize>,
    /// The class of 127.0.0.0/8, except for aliases with published ports.
    pub loopback: usize,
    /// The class of this Mac, by an address of its own.
    pub own: usize,
    /// The class of the outside.
    pub outside: usize,
    /// Example addresses for what has no name.
    pub examples: Examples,
    /// Rows of cells, each once.
    pub rows: Vec<AnswerRow>,
    /// The number of the row of each class of sources.
    pub row_of: Vec<usize>,
    /// The answers for pairs of classes.
    pub cells: Vec<AnswerCell>,
    /// The outcomes by number.
    pub outcomes: Vec<FlowOutcome>,
}

/// The cells of a class of sources by class of destinations: runs of equal cells, each with the class after its last.
pub type AnswerRow = Vec<(u32, usize)>;

/// The answers for a pair of classes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AnswerCell {
    /// Ranges of services, in order.
    pub spans: Vec<ServiceSpan>,
    /// The number of the pipe there; 0 means none.
    pub pipe: u32,
}

/// A range of services with the same outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServiceSpan {
    /// TCP, UDP, ICMP, or [`OTHER`] for every other protocol.
    pub protocol: u8,
    /// The first port; 0 if the protocol has no ports.
    pub first: u16,
    /// The last port, inclusive; 0 if the protocol has no ports.
    pub last: u16,
    /// The number of the outcome.
    pub outcome: u32,
}

/// How many services pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceShare {
    /// All services.
    All,
    /// Some services.
    Some,
    /// No service.
    None,
}

/// Everything that the policy can depend on for an endpoint: its provider; its name, if links or pipes use it; whether
/// this Mac has the address, if that affects masquerading; its alias, if that has published ports.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind<'a> {
    Inside { provider: usize, volume: Option<&'a Name>, here: bool },
    Loopback(Option<Ipv4Addr>),
    Own,
    Outside,
}

impl AnswerTable {
    /// The answers for a plan.
    pub fn of(plan: &Plan) -> Self {
        let examples = examples(plan);
        let mut classes = Classes::of(plan);
        let volumes = plan.volumes.iter().map(|volume| classes.volume(plan, volume)).collect();
        let published: BTreeSet<Ipv4Addr> = plan.publishes.iter().map(|it| it.alias).collect();
        let mut alias = |alias: Ipv4Addr| {
            let named = published.contains(&alias).then_some(alias);
            classes.number(Kind::Loopback(named), alias)
        };
        let aliases: Vec<Option<usize>> = plan.volumes.iter().map(|it| it.alias.map(&mut alias)).collect();
        let stranger = |provider: usize| {
            let gateway = plan.bridges[provider].gateway.addr();
            examples.strangers[provider].unwrap_or(gateway)
        };
        let numbers = 0..plan.bridges.len();
        let providers = numbers
            .clone()
            .map(|provider| classes.inside(provider, None, false, stranger(provider)))
            .collect();
        let gateways = numbers
            .map(|provider| classes.inside(provider, None, true, plan.bridges[provider].gateway.addr()))
            .collect();
        let loopback = classes.number(Kind::Loopback(None), Ipv4Addr::LOCALHOST);
        let own = classes.number(Kind::Own, examples.mac);
        let outside = classes.number(Kind::Outside, examples.internet);
        let (in_order, rank) = classes.in_order();
        let ranked = |all: Vec<usize>| all.into_iter().map(|class| rank[class]).collect::<Vec<_>>();
        let Asked { rows, row_of, cells, outcomes } = asked(plan, &in_order);
        Self {
            volumes: ranked(volumes),
            aliases: aliases.into_iter().map(|alias| alias.map(|class| rank[class])).collect(),
            providers: ranked(providers),
            gateways: ranked(gateways),
            loopback: rank[loopback],
            own: rank[own],
            outside: rank[outside],
            examples,
            rows,
            row_of,
            cells,
            outcomes,
        }
    }

    /// The answers from one class to another.
    pub fn cell(&self, from: usize, to: usize) -> &AnswerCell {
        let row = &self.rows[self.row_of[from]];
        let (cell, _) = row[row.partition_point(|(_, behind)| *behind <= to)];
        &self.cells[cell as usize]
    }

    /// How many services pass from one class to another.
    pub fn part(&self, from: usize, to: usize) -> ServiceShare {
        let cell = self.cell(from, to);
        let passes = |span: &&ServiceSpan| {
            self.outcomes[span.outcome as usize].fate != FlowVerdict::Refused
                && self.outcomes[span.outcome as usize].fate != FlowVerdict::Dropped
        };
        match cell.spans.iter().filter(passes).count() {
            0 => ServiceShare::None,
            count if count == cell.spans.len() => ServiceShare::All,
            _ => ServiceShare::Some,
        }
    }

    /// Groups volumes of the same provider with equal answers; indices are those of the plan. `None` if there are more
    /// than `most` groups.
    pub fn groups(&self, plan: &Plan, most: usize) -> Option<Vec<Vec<usize>>> {
        // By provider, attachment and row; then refined by the column entries of one row after the other.
        let mut known = HashMap::new();
        let mut of_volume: Vec<usize> = Vec::with_capacity(plan.volumes.len());
        for (volume, class) in plan.volumes.iter().zip(&self.volumes) {
            let next = known.len();
            let key = (&volume.provider, volume.attachment, self.row_of[*class]);
            of_volume.push(*known.entry(key).or_insert(next));
        }
        let mut in_order: Vec<usize> = (0..plan.volumes.len()).collect();
        in_order.sort_by_key(|number| self.volumes[*number]);
        let mut count = known.len();
        for row in &self.rows {
            if count > most {
                return None;
            }
            let mut runs = row.iter();
            let mut run = runs.next();
            let mut parts = HashMap::new();
            for number in &in_order {
                while run.is_some_and(|(_, behind)| *behind <= self.volumes[*number]) {
                    run = runs.next();
                }
                let next = parts.len();
                let key = (of_volume[*number], run.map(|(cell, _)| *cell));
                of_volume[*number] = *parts.entry(key).or_insert(next);
            }
            count = parts.len();
        }
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (number, group) in of_volume.into_iter().enumerate() {
            groups.entry(group).or_default().push(number);
        }
        let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
        groups.sort_by_key(|group| {
            let first = &plan.volumes[group[0]];
            (&first.provider, &first.name)
        });
        (groups.len() <= most).then_some(groups)
    }
}

/// The classes by number, each with an example address.
struct Classes<'a> {
    known: HashMap<Kind<'a>, usize>,
    all: Vec<(Opener, Ipv4Addr)>,
    named: BTreeSet<&'a Name>,
    provider: HashMap<&'a Name, usize>,
    masquerades: bool,
}

impl<'a> Classes<'a> {
    fn of(plan: &'a Plan) -> Self {
        let mut named = BTreeSet::new();
        let links = plan.links.iter().flat_map(|link| link.from.iter().chain(&link.to));
        for end in links {
            if let Endpoint::Volume(name) = end {
                named.insert(name);
            }
        }
        let provider = plan.bridges.iter().enumerate().map(|(number, it)| (&it.provider, number)).collect();
        let masquerades = !plan.masquerades.is_empty();
        Self { known: HashMap::new(), all: Vec::new(), named, provider, masquerades }
    }

    fn number(&mut self, kind: Kind<'a>, address: Ipv4Addr) -> usize {
        let opener = if kind == Kind::Own { Opener::ThisMac } else { Opener::Address(address) };
        let all = &mut self.all;
        *self.known.entry(kind).or_insert_with(|| {
            all.push((opener, address));
            all.len() - 1
        })
    }

    fn inside(&mut self, provider: usize, volume: Option<&'a Name>, here: bool, address: Ipv4Addr) -> usize {
        let here = here && self.masquerades;
        self.number(Kind::Inside { provider, volume, here }, address)
    }

    /// All classes in the order of their addresses, and the position of each by its number.
    fn in_order(self) -> (Vec<(Opener, Ipv4Addr)>, Vec<usize>) {
        let mut order: Vec<usize> = (0..self.all.len()).collect();
        order.sort_by_key(|class| self.all[*class].1);
        let mut rank = vec![0; order.len()];
        for (place, class) in order.iter().enumerate() {
            rank[*class] = place;
        }
        (order.into_iter().map(|class| self.all[class]).collect(), rank)
    }

    fn volume(&mut self, plan: &'a Plan, volume: &'a crate::plan::PlannedVolume) -> usize {
        let provider = self.provider.get(&volume.provider).copied().unwrap_or(plan.bridges.len());
        let named = self.named.contains(&volume.name).then_some(&volume.name);
        self.inside(provider, named, volume.is_served(), volume.address)
    }
}

/// The answers that [`Flows`] give; see [`AnswerTable`].
struct Asked {
    rows: Vec<AnswerRow>,
    row_of: Vec<usize>,
    cells: Vec<AnswerCell>,
    outcomes: Vec<FlowOutcome>,
}

/// Computes the answers for every pair of classes, which are in the order of their addresses. Each function of
/// destinations, and each function of services, is evaluated once.
fn asked(plan: &Plan, classes: &[(Opener, Ipv4Addr)]) -> Asked {
    let mut flows = Flows::default();
    let reach = Reach::of(&mut flows, plan);
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    let mut numbers: HashMap<(u32, u32), u32> = HashMap::new();
    let both = flows.join(reach.outcome, reach.pipe, &mut |outcome, pipe| {
        *numbers.entry((outcome, pipe)).or_insert_with(|| {
            pairs.push((outcome, pipe));
            u32::try_from(pairs.len() - 1).expect("fewer than 2^31 pairs")
        })
    });
    let addresses: Vec<Ipv4Addr> = classes.iter().map(|(_, address)| *address).collect();
    let mut along = Along::new(Side::Destination, &addresses);
    let (mut known_rows, mut known_cells) = (HashMap::new(), HashMap::new());
    let (mut same_rows, mut same_cells) = (HashMap::new(), HashMap::new());
    let (mut rows, mut cells) = (Vec::new(), Vec::new());
    let mut cell = |flows: &mut Flows, services: Map| {
        *known_cells.entry(services).or_insert_with(|| {
            let cell = AnswerCell::of(flows, services, &pairs);
            *same_cells.entry(cell).or_insert_with_key(|cell| {
                cells.push(cell.clone());
                u32::try_from(cells.len() - 1).expect("fewer than 2^32 cells")
            })
        })
    };
    let mut row = |(opener, _): &(Opener, Ipv4Addr)| {
        let of_opener = flows.from(both, *opener);
        *known_rows.entry(of_opener).or_insert_with(|| {
            let runs = flows.along(of_opener, &mut along);
            let mut row = AnswerRow::new();
            for (services, behind) in runs.iter() {
                let number = cell(&mut flows, *services);
                match row.last_mut() {
                    Some((known, end)) if *known == number => *end = *behind,
                    _ => row.push((number, *behind)),
                }
            }
            *same_rows.entry(row).or_insert_with_key(|row| {
                rows.push(row.clone());
                rows.len() - 1
            })
        })
    };
    let row_of = classes.iter().map(&mut row).collect();
    Asked { rows, row_of, cells, outcomes: reach.outcomes }
}

impl AnswerCell {
    /// The answers of a function of services to pairs of an outcome and a pipe.
    fn of(flows: &mut Flows, services: Map, pairs: &[(u32, u32)]) -> Self {
        let mut spans: Vec<ServiceSpan> = Vec::new();
        let mut pipe = 0;
        for span in self::spans(flows, services) {
            let (outcome, its) = pairs[span.outcome as usize];
            pipe = its;
            spans.push(ServiceSpan { outcome, ..span });
        }
        Self { spans, pipe }
    }
}

/// Splits a function of services into ranges with a constant outcome.
fn spans(flows: &mut Flows, services: Map) -> Vec<ServiceSpan> {
    let mut spans = Vec::new();
    for protocol in [TCP, UDP, ICMP, OTHER] {
        let ports = flows.with_number(services, Field::Protocol, protocol);
        if !matches!(protocol, TCP | UDP) {
            let outcome = flows.of_constant(ports);
            spans.push(ServiceSpan { protocol, first: 0, last: 0, outcome });
            continue;
        }
        for ((first, last), map) in flows.by_number(ports, Field::DestinationPort) {
            let port = |number: u128| u16::try_from(number).unwrap_or(u16::MAX);
            // Port 0 does not exist.
            let (first, last) = (port(first).max(1), port(last));
            if last > 0 {
                spans.push(ServiceSpan { protocol, first, last, outcome: flows.of_constant(map) });
            }
        }
    }
    spans
}
