//! All answers of the page: what happens to connections between any two addresses, by classes of endpoints that the
//! policy does not distinguish.
//!
//! The answers are those of [`crate::reach`], split into ranges of services for each pair of classes. Equal rows, cells
//! and outcomes are stored once, so that the page grows with the declaration and not with the number of pairs. Never:
//! knows rules, or the hooks on a packet's path.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use crate::explain::{Examples, examples};
use crate::model::{End, Name, VolumeAttachment};
use crate::packets::{Field, Map};
use crate::plan::Plan;
use crate::plan::policy::{ICMP, TCP, UDP};
use crate::reach::{Fate, Flows, Opener, Outcome, Reach};

/// A protocol number that no link can name (SCTP); it represents all such protocols.
pub const OTHER: u8 = 132;

/// All answers.
pub struct Answers {
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
    /// For each class of sources, the index of the cell by class of destinations.
    pub rows: Vec<Vec<u32>>,
    /// The answers for pairs of classes.
    pub cells: Vec<Cell>,
    /// The outcomes by number.
    pub outcomes: Vec<Outcome>,
}

/// The answers for a pair of classes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cell {
    /// Ranges of services, in order.
    pub spans: Vec<Span>,
    /// The numbers of the pipes there and back; 0 means none.
    pub pipes: [u32; 2],
}

/// A range of services with the same outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
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
pub enum Part {
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

impl Answers {
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
        let aliases = plan.volumes.iter().map(|volume| volume.alias.map(&mut alias)).collect();
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
        let (rows, cells, outcomes) = asked(plan, &classes);
        Self {
            volumes,
            aliases,
            providers,
            gateways,
            loopback,
            own,
            outside,
            examples,
            rows,
            cells,
            outcomes,
        }
    }

    /// The answers from one class to another.
    pub fn cell(&self, from: usize, to: usize) -> &Cell {
        &self.cells[self.rows[from][to] as usize]
    }

    /// How many services pass from one class to another.
    pub fn part(&self, from: usize, to: usize) -> Part {
        let cell = self.cell(from, to);
        let passes = |span: &&Span| {
            self.outcomes[span.outcome as usize].fate != Fate::Refused
                && self.outcomes[span.outcome as usize].fate != Fate::Dropped
        };
        match cell.spans.iter().filter(passes).count() {
            0 => Part::None,
            count if count == cell.spans.len() => Part::All,
            _ => Part::Some,
        }
    }

    /// Groups volumes of the same provider with equal answers; indices are those of the plan.
    pub fn groups(&self, plan: &Plan) -> Vec<Vec<usize>> {
        let mut columns: HashMap<usize, Vec<u32>> = HashMap::new();
        for class in &self.volumes {
            columns.entry(*class).or_insert_with(|| self.rows.iter().map(|row| row[*class]).collect());
        }
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut known: HashMap<Alike, usize> = HashMap::new();
        for (number, volume) in plan.volumes.iter().enumerate() {
            let class = self.volumes[number];
            let key = (
                &volume.provider,
                volume.attachment,
                self.rows[class].as_slice(),
                columns[&class].as_slice(),
            );
            let next = known.len();
            let group = *known.entry(key).or_insert(next);
            groups.entry(group).or_default().push(number);
        }
        let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
        groups.sort_by_key(|group| {
            let first = &plan.volumes[group[0]];
            (&first.provider, &first.name)
        });
        groups
    }
}

/// What the volumes of a group have in common: provider, attachment, and the cells of their row and of their column.
type Alike<'a> = (&'a Name, VolumeAttachment, &'a [u32], &'a [u32]);

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
            if let End::Volume(name) = end {
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

    fn volume(&mut self, plan: &'a Plan, volume: &'a crate::plan::Volume) -> usize {
        let provider = self.provider.get(&volume.provider).copied().unwrap_or(plan.bridges.len());
        let named = self.named.contains(&volume.name).then_some(&volume.name);
        self.inside(provider, named, volume.attachment == VolumeAttachment::Host, volume.address)
    }
}

/// Computes the answers for every pair of classes.
fn asked(plan: &Plan, classes: &Classes) -> (Vec<Vec<u32>>, Vec<Cell>, Vec<Outcome>) {
    let mut flows = Flows::default();
    let reach = Reach::of(&mut flows, plan);
    let mut known: HashMap<(Map, Map, Map), u32> = HashMap::new();
    let mut numbers: HashMap<Cell, u32> = HashMap::new();
    let mut cells: Vec<Cell> = Vec::new();
    let has_pipes = !plan.pipes.is_empty();
    let from: Vec<[Map; 2]> = classes
        .all
        .iter()
        .map(|(opener, _)| [reach.outcome, reach.pipe].map(|map| flows.from(map, *opener)))
        .collect();
    let mut rows = Vec::with_capacity(classes.all.len());
    for (row, (_, source)) in from.iter().zip(&classes.all) {
        let mut cells_of_row = Vec::with_capacity(classes.all.len());
        for ((_, destination), back) in classes.all.iter().zip(&from) {
            let services = flows.to(row[0], *destination);
            let nothing = Map::constant(0);
            let [there, back] = if has_pipes {
                [flows.to(row[1], *destination), flows.to(back[1], *source)]
            } else {
                [nothing; 2]
            };
            let number = *known.entry((services, there, back)).or_insert_with(|| {
                let pipes = [there, back].map(|map| map.as_constant().unwrap_or(0));
                let cell = Cell { spans: spans(&mut flows, services), pipes };
                let next = u32::try_from(cells.len()).unwrap_or(u32::MAX);
                *numbers.entry(cell).or_insert_with_key(|cell| {
                    cells.push(cell.clone());
                    next
                })
            });
            cells_of_row.push(number);
        }
        rows.push(cells_of_row);
    }
    (rows, cells, reach.outcomes)
}

/// Splits a function of services into ranges with a constant outcome.
fn spans(flows: &mut Flows, services: Map) -> Vec<Span> {
    let mut spans = Vec::new();
    for protocol in [TCP, UDP, ICMP, OTHER] {
        let ports = flows.with_number(services, Field::Protocol, protocol);
        if !matches!(protocol, TCP | UDP) {
            let outcome = flows.of_constant(ports);
            spans.push(Span { protocol, first: 0, last: 0, outcome });
            continue;
        }
        for ((first, last), map) in flows.by_number(ports, Field::DestinationPort) {
            let port = |number: u128| u16::try_from(number).unwrap_or(u16::MAX);
            // Port 0 does not exist.
            let (first, last) = (port(first).max(1), port(last));
            if last > 0 {
                spans.push(Span { protocol, first, last, outcome: flows.of_constant(map) });
            }
        }
    }
    spans
}
