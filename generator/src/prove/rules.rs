//! Rules as functions of all packets: their outcome, the reassembly of fragments, and the pipes.
//!
//! Each list becomes a function from its last rule to its first, since the first match decides (every filter and
//! dummynet rule is quick, or [`super::accept`] has refused it). A function has the action as its value and not the
//! rule, so that a thousand rules with the same action are one number; the evaluator names the rule for a packet.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use super::outcome::{Outcome, Outcomes};
use super::policy::{AS_THEY_ARE, TOGETHER, WITHOUT_DF, errors, malformed};
use super::world::World;
use crate::packets::{Direction, Family, Field, Map, Set, Side, Space};
use crate::pf::eval::{Loaded, Ranges};
use crate::pf::syntax::{self, Action, Address, Block, Dummynet, Endpoint, NumberMatch, Rule, StateKind};
use crate::plan::policy::{Answer, Translation, Verdict};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The rules of an anchor as functions of packets.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The outcome of a whole packet, by number of [`Outcomes`].
    pub outcome: Map,
    /// The outcome of a fragment that is evaluated alone.
    pub fragment: Map,
    /// How fragments are put together: [`AS_THEY_ARE`], [`TOGETHER`] or [`WITHOUT_DF`].
    ///
    /// [`AS_THEY_ARE`]: super::policy::AS_THEY_ARE
    /// [`TOGETHER`]: super::policy::TOGETHER
    /// [`WITHOUT_DF`]: super::policy::WITHOUT_DF
    pub reassembly: Map,
    /// Packets whose translation some rule decides, also by `no nat` or `no rdr`.
    pub settled: Set,
    /// The pipes that a packet goes through, as the number of a sequence.
    pub pipes: Map,
    /// What these numbers mean: pipes in order; none is a `no dummynet`, which ends it.
    pub sequences: Vec<Vec<Option<u16>>>,
    /// The packets that each rule is about, whatever rules stand before it.
    pub matches: Vec<Set>,
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

    /// The names of interfaces that the rules distinguish.
    pub fn interfaces(&self) -> impl Iterator<Item = &'a str> {
        self.all().filter_map(|rule| Some(rule.interface.as_ref()?.name.as_str()))
    }
}

/// Reads rules that were accepted. What `loaded` holds are their tables.
pub fn read(
    space: &mut Space,
    lists: &Lists,
    loaded: &Loaded,
    world: &World,
    outcomes: &mut Outcomes,
) -> Rules {
    let mut reader = Reader { space, loaded, world, tables: HashMap::new(), matches: Vec::new() };
    let how = |rule: &Rule| match (rule.action, rule.scrub.no_df) {
        (Action::Scrub, true) => WITHOUT_DF,
        (Action::Scrub, false) => TOGETHER,
        _ => AS_THEY_ARE,
    };
    let reassembly = reader.first(lists.scrub, Reader::of_header, how);
    let verdict = |rule: &Rule| outcomes.number(Outcome::plain(verdict(rule)));
    let filter = reader.first(lists.filter, Reader::of_filter, verdict);
    let (settled, translated) = reader.translations(lists, filter, outcomes);
    let (errors, malformed) = (errors(reader.space), malformed(reader.space));
    let scrubbed = reader.space.select(reassembly, |how| how != AS_THEY_ARE);
    let malformed = reader.space.and(malformed, scrubbed);
    let outcome = outcomes.settled(reader.space, translated, errors, malformed);
    let (pipes, sequences) = reader.pipes(lists.dummynet);
    let matches = std::mem::take(&mut reader.matches);
    let alone = |rule: &Rule| outcomes.number(Outcome::plain(self::verdict(rule)));
    let fragment = reader.first(lists.filter, Reader::of_fragment, alone);
    Rules { outcome, fragment, reassembly, settled, pipes, sequences, matches }
}

/// What a filter rule does.
fn verdict(rule: &Rule) -> Verdict {
    match (rule.action, rule.state) {
        (Action::Block(Block::Drop), _) => Verdict::Drop,
        (Action::Block(Block::ReturnIcmp { .. }), _) => Verdict::Refuse(Answer::Icmp),
        (Action::Block(_), _) => Verdict::Refuse(Answer::Usual),
        (_, StateKind::None) => Verdict::Carry,
        _ => Verdict::Pass,
    }
}

struct Reader<'a> {
    space: &'a mut Space,
    loaded: &'a Loaded,
    world: &'a World,
    /// The addresses of each table, by side.
    tables: HashMap<(String, Side), Set>,
    matches: Vec<Set>,
}

impl Reader<'_> {
    /// The function of a list whose first match decides.
    fn first(
        &mut self,
        rules: &[Rule],
        set: fn(&mut Self, &Rule) -> Set,
        mut number: impl FnMut(&Rule) -> u32,
    ) -> Map {
        let mut function = Map::constant(0);
        for rule in rules.iter().rev() {
            let set = set(self, rule);
            self.matches.push(set);
            function = self.space.choose(set, Map::constant(number(rule)), function);
        }
        function
    }

    /// Packets whose translation is decided, and the outcome of all packets after it: the filter sees what it made.
    fn translations(&mut self, lists: &Lists, filter: Map, outcomes: &mut Outcomes) -> (Set, Map) {
        let (out, inward) = (self.space.direction(Direction::Out), self.space.direction(Direction::In));
        let outward = self.space.choose(out, filter, Map::constant(0));
        let rules =
            lists.nat.iter().map(|rule| (rule, out)).chain(lists.rdr.iter().map(|rule| (rule, inward)));
        let rules: Vec<(&Rule, Set)> = rules.collect();
        let (mut settled, mut function) = (Set::NONE, filter);
        for (rule, side) in rules.into_iter().rev() {
            let set = self.of_translation(rule);
            let set = self.space.and(set, side);
            self.matches.push(set);
            settled = self.space.or(settled, set);
            let Some((translation, source)) = self.translation(rule) else {
                // `no nat` and `no rdr`: as if there were none.
                function = self.space.choose(set, filter, function);
                continue;
            };
            let translated = Outcome { verdict: Verdict::Pass, translation: Some(translation) };
            let behind = match source {
                Some(source) => self.space.with_address(outward, Side::Source, source.into()),
                // A redirection passes, and meets no filter rule.
                None => Map::constant(outcomes.number(translated)),
            };
            let mut through = |number| {
                // What is translated always has a state.
                if outcomes.outcome(number).verdict.blocks() { number } else { outcomes.number(translated) }
            };
            function = self.space.overlay(set, behind, function, &mut through);
        }
        (settled, function)
    }

    /// What a rule makes of addresses, and the new source where it is that.
    fn translation(&self, rule: &Rule) -> Option<(Translation, Option<Ipv4Addr>)> {
        let address = &rule.redirect.as_ref()?.hosts.first()?.address;
        match (rule.action, address) {
            (Action::Nat, Address::Dynamic(dynamic)) => {
                Some((Translation::EgressSource, self.world.address_of(&dynamic.interface)))
            }
            (Action::Nat, Address::Prefix { address: IpAddr::V4(address), .. }) => {
                Some((Translation::GatewaySource(*address), Some(*address)))
            }
            (Action::Rdr, Address::Prefix { address: IpAddr::V4(address), .. }) => {
                Some((Translation::Published(*address), None))
            }
            _ => None,
        }
    }

    /// Sequences of pipes: a packet that comes out of one goes on behind the rule that sent it there.
    fn pipes(&mut self, rules: &[Rule]) -> (Map, Vec<Vec<Option<u16>>>) {
        let mut sequences: Vec<Vec<Option<u16>>> = vec![Vec::new()];
        let mut numbers: HashMap<Vec<Option<u16>>, u32> = HashMap::from([(Vec::new(), 0)]);
        let mut function = Map::constant(0);
        for rule in rules.iter().rev() {
            let set = self.of_header(rule);
            self.matches.push(set);
            let mut through = |behind: u32| {
                let sequence = match rule.dummynet {
                    Some(Dummynet::Pipe(pipe) | Dummynet::Queue(pipe)) => {
                        [Some(pipe)].into_iter().chain(sequences[behind as usize].iter().copied()).collect()
                    }
                    None => vec![None],
                };
                *numbers.entry(sequence).or_insert_with_key(|sequence| {
                    sequences.push(sequence.clone());
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
