//! Rules as functions of all packets: which rule decides, translates, puts together, and which pipes are gone through.
//!
//! Each list becomes a function from its last rule to its first, since the first that matches decides (every filter and
//! dummynet rule is quick, or [`super::accept`] has refused it). A number of a function is that of a rule in its list,
//! plus one; 0 is where no rule matches.

use std::collections::HashMap;

use super::world::World;
use crate::packets::{Direction, Family, Field, Map, Set, Side, Space};
use crate::pf::eval::{Loaded, Ranges};
use crate::pf::syntax::{self, Action, Address, Dummynet, Endpoint, NumberMatch, Rule};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The rules of an anchor as functions of packets.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The scrub rule that a packet meets.
    pub scrub: Map,
    /// The nat rule of what goes out and the rdr rule of what comes in; those of rdr are counted behind those of nat.
    pub translation: Map,
    /// What becomes of a whole packet behind its translation, as the number of an [`Outcome`].
    pub outcome: Map,
    /// The filter rule that a fragment meets which is judged alone.
    pub fragment: Map,
    /// What these numbers mean.
    pub outcomes: Vec<Outcome>,
    /// The dummynet rules that a packet goes through, as the number of a sequence.
    pub pipes: Map,
    /// What these numbers mean: the indices of dummynet rules in order.
    pub sequences: Vec<Vec<usize>>,
    /// How many nat rules there are.
    pub nats: usize,
}

/// What translates a packet and what decides about it then, by the numbers of [`Rules::translation`] and of filter rules,
/// each 0 where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Outcome {
    /// The translation, where its rule changes an address.
    pub translation: u32,
    /// The filter rule, as its index plus one.
    pub filter: u32,
}

/// The lists of rules that are read.
#[derive(Debug, Clone, Copy)]
pub struct Lists<'a> {
    /// Normalization.
    pub scrub: &'a [Rule],
    /// Translation of what goes out.
    pub nat: &'a [Rule],
    /// Translation of what comes in.
    pub rdr: &'a [Rule],
    /// The filter.
    pub filter: &'a [Rule],
    /// Pipes.
    pub dummynet: &'a [Rule],
}

impl<'a> Lists<'a> {
    /// The lists of a ruleset.
    pub fn of(rules: &'a syntax::Rules) -> Self {
        let syntax::Rules { scrub, nat, rdr, binat: _, filter, dummynet } = rules;
        Self { scrub, nat, rdr, filter, dummynet }
    }

    /// Every rule.
    pub fn all(&self) -> impl Iterator<Item = &'a Rule> {
        self.scrub.iter().chain(self.nat).chain(self.rdr).chain(self.filter).chain(self.dummynet)
    }

    /// The names of interfaces that the rules tell apart.
    pub fn interfaces(&self) -> impl Iterator<Item = &'a str> {
        self.all().filter_map(|rule| Some(rule.interface.as_ref()?.name.as_str()))
    }
}

/// Reads rules that were accepted. What `loaded` holds are their tables.
pub fn read(space: &mut Space, lists: &Lists, loaded: &Loaded, world: &World) -> Rules {
    let mut reader = Reader { space, loaded, world, tables: HashMap::new() };
    let scrub = reader.first(lists.scrub, Reader::of_header);
    let nats = lists.nat.len();
    let (translation, exchanges) = reader.translations(lists);
    let filter = reader.first(lists.filter, Reader::of_filter);
    let mut outcomes = Outcomes::default();
    let plain =
        reader.space.renumber(filter, &mut |filter| outcomes.number(Outcome { translation: 0, filter }));
    let mut outcome = plain;
    let out = reader.space.direction(Direction::Out);
    let outward = reader.space.choose(out, filter, Map::constant(0));
    for Exchange { number, set, source } in exchanges.into_iter().rev() {
        let behind = match source {
            Some(source) => reader.space.with_address(outward, Side::Source, source.into()),
            // A redirection that passes meets no filter rule.
            None => Map::constant(0),
        };
        let mut renumber = |filter| outcomes.number(Outcome { translation: number, filter });
        outcome = match number {
            // `no nat` and `no rdr`: as if there were none.
            0 => reader.space.choose(set, plain, outcome),
            _ => reader.space.overlay(set, behind, outcome, &mut renumber),
        };
    }
    let (pipes, sequences) = reader.pipes(lists.dummynet);
    let fragment = reader.first(lists.filter, Reader::of_fragment);
    Rules { scrub, translation, outcome, fragment, outcomes: outcomes.all, pipes, sequences, nats }
}

/// Outcomes by number; the first is none at all.
#[derive(Default)]
struct Outcomes {
    all: Vec<Outcome>,
    numbers: HashMap<Outcome, u32>,
}

impl Outcomes {
    fn number(&mut self, outcome: Outcome) -> u32 {
        let all = &mut self.all;
        *self.numbers.entry(outcome).or_insert_with(|| {
            all.push(outcome);
            u32::try_from(all.len() - 1).expect("fewer than 2^31 outcomes")
        })
    }
}

/// A translation rule: its number, or 0 for one that says `no`; the packets that it is about; and their new source, or
/// none where it is the destination that changes.
struct Exchange {
    number: u32,
    set: Set,
    source: Option<std::net::Ipv4Addr>,
}

struct Reader<'a> {
    space: &'a mut Space,
    loaded: &'a Loaded,
    world: &'a World,
    /// The addresses of each table, by side.
    tables: HashMap<(String, Side), Set>,
}

/// The number of a rule in a function.
fn number(index: usize) -> u32 {
    u32::try_from(index + 1).expect("fewer than 2^31 rules")
}

impl Reader<'_> {
    /// The function of a list whose first match decides.
    fn first(&mut self, rules: &[Rule], set: fn(&mut Self, &Rule) -> Set) -> Map {
        let mut function = Map::constant(0);
        for (index, rule) in rules.iter().enumerate().rev() {
            let set = set(self, rule);
            function = self.space.choose(set, Map::constant(number(index)), function);
        }
        function
    }

    fn translations(&mut self, lists: &Lists) -> (Map, Vec<Exchange>) {
        let (out, inward) = (self.space.direction(Direction::Out), self.space.direction(Direction::In));
        let sides =
            lists.nat.iter().map(|rule| (rule, out)).chain(lists.rdr.iter().map(|rule| (rule, inward)));
        let rules: Vec<(&Rule, Set)> = sides.collect();
        let mut function = Map::constant(0);
        let mut exchanges = Vec::new();
        for (index, (rule, side)) in rules.into_iter().enumerate().rev() {
            let set = self.of_translation(rule);
            let set = self.space.and(set, side);
            function = self.space.choose(set, Map::constant(number(index)), function);
            let target = rule.redirect.as_ref().and_then(|pool| Some(&pool.hosts.first()?.address));
            let source = target.filter(|_| rule.action == Action::Nat).and_then(|target| match target {
                Address::Dynamic(dynamic) => self.world.address_of(&dynamic.interface),
                Address::Prefix { address: std::net::IpAddr::V4(address), .. } => Some(*address),
                _ => None,
            });
            let number = if target.is_some() { number(index) } else { 0 };
            exchanges.push(Exchange { number, set, source });
        }
        exchanges.reverse();
        (function, exchanges)
    }

    /// Sequences of pipes: a packet that comes out of one goes on behind the rule that sent it there.
    fn pipes(&mut self, rules: &[Rule]) -> (Map, Vec<Vec<usize>>) {
        let mut sequences: Vec<Vec<usize>> = vec![Vec::new()];
        let mut function = Map::constant(0);
        for (index, rule) in rules.iter().enumerate().rev() {
            let set = self.of_header(rule);
            let goes_on = matches!(rule.dummynet, Some(Dummynet::Pipe(_)));
            let mut known: HashMap<u32, u32> = HashMap::new();
            let mut through = |behind: u32| {
                *known.entry(if goes_on { behind } else { 0 }).or_insert_with_key(|behind| {
                    let rest = usize::try_from(*behind).ok().and_then(|behind| sequences.get(behind));
                    let rest = rest.cloned().unwrap_or_default();
                    sequences.push([index].into_iter().chain(rest).collect());
                    u32::try_from(sequences.len() - 1).expect("fewer than 2^31 sequences")
                })
            };
            function = self.space.overlay(set, function, function, &mut through);
        }
        (function, sequences)
    }

    /// Interface, direction, family, protocol and addresses.
    fn of_header(&mut self, rule: &Rule) -> Set {
        let mut set = self.space.family(Family::Inet);
        if let Some(protocol) = rule.protocol {
            let protocol = self.space.number_is(Field::Protocol, protocol);
            set = self.space.and(set, protocol);
        }
        for (side, end) in [(Side::Destination, &rule.destination), (Side::Source, &rule.source)] {
            let end = self.of_end(side, end);
            set = self.space.and(set, end);
        }
        if let Some(interface) = &rule.interface {
            let named = self.space.interface(&interface.name);
            set = if interface.not { self.space.minus(set, named) } else { self.space.and(set, named) };
        }
        if let Some(direction) = rule.direction {
            let direction = self.space.direction(match direction {
                syntax::Direction::In => Direction::In,
                syntax::Direction::Out => Direction::Out,
            });
            set = self.space.and(set, direction);
        }
        set
    }

    fn of_translation(&mut self, rule: &Rule) -> Set {
        let service = self.of_ports(rule);
        let header = self.of_header(rule);
        self.space.and(header, service)
    }

    fn of_filter(&mut self, rule: &Rule) -> Set {
        let mut service = self.of_ports(rule);
        if let Some(flags) = rule.tcp_flags {
            let tcp = self.space.number_is(Field::Protocol, TCP);
            let shown = self.space.masked(Field::Flags, flags.set, flags.mask);
            let differs = self.space.minus(tcp, shown);
            service = self.space.minus(service, differs);
        }
        if let Some(icmp) = rule.icmp {
            let shown = self.space.number_is(Field::IcmpType, icmp.kind);
            service = self.space.and(service, shown);
            if let Some(code) = icmp.code {
                let code = self.space.number_is(Field::IcmpCode, code);
                service = self.space.and(service, code);
            }
        }
        let header = self.of_header(rule);
        self.space.and(header, service)
    }

    /// A fragment shows neither ports nor flags nor types: a rule that asks for them is not about it.
    fn of_fragment(&mut self, rule: &Rule) -> Set {
        let has_port = rule.source.port.is_some() || rule.destination.port.is_some();
        if matches!(rule.protocol, Some(TCP | UDP)) && has_port {
            return Set::NONE;
        }
        let mut set = self.of_header(rule);
        for (protocol, asks) in [(TCP, rule.tcp_flags.is_some()), (ICMP, rule.icmp.is_some())] {
            if asks {
                let protocol = self.space.number_is(Field::Protocol, protocol);
                set = self.space.minus(set, protocol);
            }
        }
        set
    }

    /// Conditions on ports count where the rule itself names a protocol that has them.
    fn of_ports(&mut self, rule: &Rule) -> Set {
        let mut set = Set::ALL;
        if matches!(rule.protocol, Some(TCP | UDP)) {
            for (field, end) in
                [(Field::SourcePort, &rule.source), (Field::DestinationPort, &rule.destination)]
            {
                if let Some(condition) = end.port {
                    let ports = self.space.numbers(field, &ranges(condition));
                    set = self.space.and(set, ports);
                }
            }
        }
        set
    }

    fn of_end(&mut self, side: Side, end: &Endpoint) -> Set {
        let set = match &end.address {
            Address::Any => Set::ALL,
            Address::Prefix { address, prefix } => self.space.network(side, *address, *prefix),
            Address::Table(name) => self.of_table(side, name),
            Address::Dynamic(dynamic) => match self.world.address_of(&dynamic.interface) {
                Some(address) => self.space.network(side, address.into(), 32),
                None => Set::NONE,
            },
            Address::Range(..) | Address::NoRoute | Address::UrpfFailed | Address::RouteLabel(_) => Set::NONE,
        };
        if end.not { self.space.not(set) } else { set }
    }

    fn of_table(&mut self, side: Side, name: &str) -> Set {
        if let Some(known) = self.tables.get(&(name.to_owned(), side)) {
            return *known;
        }
        let tables = self.loaded.tables();
        let ranges =
            tables.named("", name).map_or_else(Ranges::none, |id| tables.ranges(id, syntax::Family::Inet));
        let ranges: Vec<(u128, u128)> = ranges.iter().collect();
        let set = self.space.addresses(side, Family::Inet, &ranges);
        self.tables.insert((name.to_owned(), side), set);
        set
    }
}

/// The ports that fulfil a condition.
fn ranges(condition: NumberMatch<u16>) -> Vec<(u128, u128)> {
    const LAST: u128 = u16::MAX as u128;
    let below = |port: u16| port.checked_sub(1).map(|last| (0, u128::from(last)));
    let above = |port: u16| port.checked_add(1).map(|first| (u128::from(first), LAST));
    let both = |a: u16, b: u16| (a <= b).then_some((u128::from(a), u128::from(b)));
    let parts = match condition {
        NumberMatch::Equal(a) => [both(a, a), None],
        NumberMatch::NotEqual(a) => [below(a), above(a)],
        NumberMatch::Less(a) => [below(a), None],
        NumberMatch::LessEqual(a) => [both(0, a), None],
        NumberMatch::Greater(a) => [above(a), None],
        NumberMatch::GreaterEqual(a) => [both(a, u16::MAX), None],
        NumberMatch::Range(a, b) => [both(a, b), None],
        NumberMatch::Inside(a, b) => {
            [a.checked_add(1).zip(b.checked_sub(1)).and_then(|(a, b)| both(a, b)), None]
        }
        NumberMatch::Outside(a, b) => [below(a), above(b)],
    };
    match parts {
        [Some(low), Some(high)] if low.1 >= high.0 => vec![(0, LAST)],
        parts => parts.into_iter().flatten().collect(),
    }
}
