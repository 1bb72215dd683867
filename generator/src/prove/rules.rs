//! Rules as functions of all packets: their outcome, the reassembly of fragments, and the pipes.
//!
//! Each list becomes a function from its last rule to its first, since the first match decides (every filter and
//! dummynet rule is quick, or `accept` has refused it). The value of a function is the action and not the
//! rule, so that a thousand rules with the same action are one number; the evaluator names the rule for a packet.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use super::outcome::{HookOutcome, Outcomes};
use super::policy::{FragmentTreatment, errors, malformed};
use super::world::World;
use crate::packets::{
    Field, FirstMatchRow, Map, PacketDirection, PacketFamily, Set, Side, Space, WitnessPacket,
};
use crate::pf::eval::{Loaded, Ranges};
use crate::pf::syntax::{
    self, Action, Address, Block, Dummynet, HostMatch, Icmp, NumberMatch, Rule, Scrub, StateKind, TcpFlags,
};
use crate::plan::policy::{PolicyVerdict, Refusal, Translation};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The rules of an anchor as functions of packets.
#[derive(Debug, Clone)]
pub struct RuleFunctions {
    /// The outcome of an unfragmented packet, by number in [`Outcomes`].
    pub outcome: Map,
    /// The outcome of a fragment that is evaluated without being reassembled.
    pub fragment: Map,
    /// Whether and how fragments are reassembled, by number in [`FragmentTreatment`].
    pub reassembly: Map,
    /// The packets whose translation some rule decides, including `no nat` and `no rdr`.
    pub settled: Set,
    /// The pipes that a packet goes through, as an index into `sequences`.
    pub pipes: Map,
    /// Sequences of pipes in order; `None` is a `no dummynet`, which ends one.
    pub sequences: Vec<Vec<Option<u16>>>,
    /// For each rule, a packet that it matches, regardless of the rules before it.
    pub examples: Vec<WitnessPacket>,
}

/// Reads rules that `accept` did not refuse. `loaded` provides the contents of their tables.
pub fn read(
    space: &mut Space,
    lists: &syntax::RuleLists,
    loaded: &Loaded,
    world: &World,
    outcomes: &mut Outcomes,
) -> RuleFunctions {
    let mut reader = Reader::of(space, loaded, world);
    let reassembly = reader.reassembly(&lists.scrub);
    let (filter, fragment) = reader.filter(&lists.filter, outcomes);
    let (settled, translated) = reader.translations(lists, filter, outcomes);
    let malformed = malformed(reader.space);
    let scrubbed = reader.space.select(reassembly, |how| FragmentTreatment::of(how).is_held());
    let malformed = reader.space.and(malformed, scrubbed);
    let outcome = outcomes.without(reader.space, translated, malformed);
    let (pipes, sequences) = reader.pipes(&lists.dummynet);
    let examples = reader.examples;
    RuleFunctions { outcome, fragment, reassembly, settled, pipes, sequences, examples }
}

/// The packets that a rule matches, regardless of the rules before it.
pub fn about(space: &mut Space, loaded: &Loaded, world: &World, rule: &Rule) -> Set {
    let mut reader = Reader::of(space, loaded, world);
    let (top, rest) = match rule.action {
        Action::Pass | Action::Block(_) => {
            let service = reader.of_service(rule);
            let (top, rest) = reader.of_translation(rule);
            (top, reader.space.and(rest, service))
        }
        Action::Nat | Action::NoNat | Action::Rdr | Action::NoRdr => reader.of_translation(rule),
        Action::Scrub
        | Action::NoScrub
        | Action::Dummynet
        | Action::NoDummynet
        | Action::Binat
        | Action::NoBinat => reader.of_header(rule),
    };
    reader.space.and(top, rest)
}

/// The verdict of a filter rule.
fn verdict(rule: &Rule) -> PolicyVerdict {
    match (rule.action, rule.state) {
        (Action::Block(Block::Drop), _) => PolicyVerdict::Drop,
        (Action::Block(Block::ReturnIcmp { icmp: _, icmp6: _ }), _) => PolicyVerdict::Refuse(Refusal::Icmp),
        (Action::Block(Block::Return { icmp: _, icmp6: _ } | Block::ReturnRst { ttl: _ }), _) => {
            PolicyVerdict::Refuse(Refusal::Usual)
        }
        (Action::Pass, StateKind::None) => PolicyVerdict::Carry,
        (Action::Pass, StateKind::Keep | StateKind::Modulate | StateKind::Synproxy) => PolicyVerdict::Pass,
        (
            Action::Scrub
            | Action::NoScrub
            | Action::Nat
            | Action::NoNat
            | Action::Rdr
            | Action::NoRdr
            | Action::Binat
            | Action::NoBinat
            | Action::Dummynet
            | Action::NoDummynet,
            _,
        ) => unreachable!("`accept` refuses an action that no filter rule has"),
    }
}

/// What a scrub rule does with fragments: `accept` refuses every other way of reassembly, and `no scrub`.
fn fragments(rule: &Rule) -> FragmentTreatment {
    let Scrub { no_df, random_id: _, min_ttl: _, max_mss: _, reassemble_tcp: _, fragments: _ } = rule.scrub;
    match rule.action {
        Action::Scrub if no_df => FragmentTreatment::WithoutDf,
        Action::Scrub => FragmentTreatment::Together,
        Action::NoScrub
        | Action::Pass
        | Action::Block(_)
        | Action::Nat
        | Action::NoNat
        | Action::Rdr
        | Action::NoRdr
        | Action::Binat
        | Action::NoBinat
        | Action::Dummynet
        | Action::NoDummynet => FragmentTreatment::AsTheyAre,
    }
}

/// Whether a rule has a condition on ports that applies.
fn asks_ports(rule: &Rule) -> bool {
    let has_port = rule.source.port.is_some() || rule.destination.port.is_some();
    matches!(rule.protocol, Some(TCP | UDP)) && has_port
}

struct Reader<'a> {
    space: &'a mut Space,
    loaded: &'a Loaded,
    world: &'a World,
    /// The addresses of each table, by side.
    tables: HashMap<(String, Side), Set>,
    /// The functions of filter rules that differ in addresses and ports only: of whole packets, and of fragments.
    services: HashMap<Service, [Map; 2]>,
    examples: Vec<WitnessPacket>,
}

/// The conditions of a filter rule on anything but addresses and ports, and its verdict.
type Service = (Option<u8>, Option<TcpFlags>, Option<Icmp>, PolicyVerdict);

impl<'a> Reader<'a> {
    fn of(space: &'a mut Space, loaded: &'a Loaded, world: &'a World) -> Self {
        Self { space, loaded, world, tables: HashMap::new(), services: HashMap::new(), examples: Vec::new() }
    }

    /// A row of a first-match table; an example packet that it matches is recorded.
    fn row(&mut self, top: Set, then: Map) -> FirstMatchRow {
        let row = FirstMatchRow { top, then };
        self.examples.extend(self.space.any_of_row(row));
        row
    }

    /// Which packets are reassembled from fragments, and how.
    fn reassembly(&mut self, rules: &[Rule]) -> Map {
        let mut rows = Vec::with_capacity(rules.len());
        for rule in rules {
            let (top, rest) = self.of_header(rule);
            let then = self.space.only(rest, fragments(rule).constant());
            rows.push(self.row(top, then));
        }
        let first = self.space.first_match(&rows);
        self.space.over(first, FragmentTreatment::AsTheyAre.constant())
    }

    /// The filter's outcomes for unfragmented packets, and for fragments that are evaluated without reassembly.
    fn filter(&mut self, rules: &[Rule], outcomes: &mut Outcomes) -> (Map, Map) {
        let (is_fragment, errors) = (self.space.number_is(Field::Fragment, 1), errors(self.space));
        let mut rows = Vec::with_capacity(rules.len());
        for rule in rules {
            let service = (rule.protocol, rule.tcp_flags, rule.icmp, verdict(rule));
            let known = self.services.get(&service).copied();
            let [whole, alone] = known.unwrap_or_else(|| self.of_verdict(rule, errors, outcomes));
            self.services.insert(service, [whole, alone]);
            // One function holds both; they differ where a rule needs a field that a fragment lacks.
            let ports = self.of_ports(rule);
            let whole = self.space.only(ports, whole);
            let alone = if asks_ports(rule) { Map::UNDECIDED } else { alone };
            let both = self.space.choose(is_fragment, alone, whole);
            let (top, to) = self.of_ends(rule);
            let then = self.space.only(to, both);
            rows.push(self.row(top, then));
        }
        // Packets that no rule matches.
        rows.push(FirstMatchRow { top: Set::ALL, then: Map::constant(0) });
        let both = self.space.first_match(&rows);
        [false, true].map(|is_fragment| self.space.with_fragment(both, is_fragment)).into()
    }

    /// The outcome of a filter rule by everything but addresses and ports: of whole packets, and of fragments.
    fn of_verdict(&mut self, rule: &Rule, errors: Set, outcomes: &mut Outcomes) -> [Map; 2] {
        let outcome = HookOutcome::plain(verdict(rule));
        let (whole, alone) = (self.of_service(rule), self.of_fragment(rule));
        let passed = outcomes.of_packets(self.space, outcome, errors);
        [self.space.only(whole, passed), self.space.only(alone, outcomes.constant(outcome))]
    }

    /// The packets whose translation is decided, and the outcome of all packets: the filter sees the translated packet.
    fn translations(
        &mut self,
        lists: &syntax::RuleLists,
        filter: Map,
        outcomes: &mut Outcomes,
    ) -> (Set, Map) {
        // The value for `no nat` and `no rdr`: treated as if no translation rule matched.
        const NONE: u32 = u32::MAX >> 2;
        let (out, inward) =
            (self.space.direction(PacketDirection::Out), self.space.direction(PacketDirection::In));
        let outward = self.space.choose(out, filter, Map::constant(0));
        let rules =
            lists.nat.iter().map(|rule| (rule, out)).chain(lists.rdr.iter().map(|rule| (rule, inward)));
        let mut rows = Vec::new();
        for (rule, side) in rules {
            let (top, rest) = self.of_translation(rule);
            let top = self.space.and(top, side);
            let Some((translation, source)) = self.translation(rule) else {
                let then = self.space.only(rest, Map::constant(NONE));
                rows.push(self.row(top, then));
                continue;
            };
            let translated = HookOutcome { verdict: PolicyVerdict::Pass, translation: Some(translation) };
            let behind = match source {
                Some(source) => self.space.with_address(outward, Side::Source, source.into()),
                // `rdr pass`: the packet passes without evaluation of the filter.
                None => Map::constant(outcomes.number(translated)),
            };
            let mut through = |number| {
                // A translated packet always has a state.
                if outcomes.outcome(number).verdict.blocks() { number } else { outcomes.number(translated) }
            };
            let then = self.space.overlay(rest, behind, Map::UNDECIDED, &mut through);
            rows.push(self.row(top, then));
        }
        let first = self.space.first_match(&rows);
        let errors = errors(self.space);
        let first = outcomes.settled(self.space, first, errors);
        let undecided = Map::UNDECIDED.as_constant();
        let settled = self.space.select(first, |number| Some(number) != undecided);
        let undecided = undecided.unwrap_or_default();
        let translated =
            self.space.renumber(first, &mut |number| if number == NONE { undecided } else { number });
        (settled, self.space.over(translated, filter))
    }

    /// The translation that a rule does, and the new source if it translates the source.
    fn translation(&self, rule: &Rule) -> Option<(Translation, Option<Ipv4Addr>)> {
        let new_address = || Some(&rule.redirect.as_ref()?.hosts.first()?.address);
        match rule.action {
            Action::Nat => match new_address()? {
                Address::Dynamic(dynamic) => {
                    Some((Translation::EgressSource, self.world.address_of(&dynamic.interface)))
                }
                address => host(address).map(|host| (Translation::GatewaySource(host), Some(host))),
            },
            Action::Rdr => host(new_address()?).map(|host| (Translation::Published(host), None)),
            Action::NoNat
            | Action::NoRdr
            | Action::Binat
            | Action::NoBinat
            | Action::Pass
            | Action::Block(_)
            | Action::Scrub
            | Action::NoScrub
            | Action::Dummynet
            | Action::NoDummynet => None,
        }
    }

    /// The sequences of pipes: a packet that leaves a pipe continues after the rule that sent it there.
    fn pipes(&mut self, rules: &[Rule]) -> (Map, Vec<Vec<Option<u16>>>) {
        let mut sequences: Vec<Vec<Option<u16>>> = vec![Vec::new()];
        let mut numbers: HashMap<Vec<Option<u16>>, u32> = HashMap::from([(Vec::new(), 0)]);
        let mut number = |sequence: Vec<Option<u16>>, sequences: &mut Vec<Vec<Option<u16>>>| {
            *numbers.entry(sequence).or_insert_with_key(|sequence| {
                sequences.push(sequence.clone());
                u32::try_from(sequences.len() - 1).expect("fewer than 2^31 sequences")
            })
        };
        let mut maps = Vec::with_capacity(rules.len());
        for rule in rules {
            let pipe = match rule.dummynet {
                Some(Dummynet::Pipe(pipe) | Dummynet::Queue(pipe)) => Some(pipe),
                None => None,
            };
            let (top, rest) = self.of_header(rule);
            let number = Map::constant(number(vec![pipe], &mut sequences));
            let then = self.space.only(rest, number);
            let FirstMatchRow { top, then } = self.row(top, then);
            let row = self.space.only(top, then);
            maps.push(self.space.over(row, Map::constant(0)));
        }
        let mut one_behind_the_other = |front: u32, behind: u32| {
            if sequences[front as usize].last() == Some(&None) {
                return front;
            }
            let both = [front, behind].map(|number| sequences[number as usize].clone()).concat();
            number(both, &mut sequences)
        };
        let function = self.space.join_all(&maps, 0, &mut one_behind_the_other);
        (function, sequences)
    }

    /// The match of a rule by interface, direction, family and source; and by destination.
    fn of_ends(&mut self, rule: &Rule) -> (Set, Set) {
        let inet = self.space.family(PacketFamily::Inet);
        let source = self.of_end(Side::Source, &rule.source);
        let mut top = self.space.and(inet, source);
        if let Some(interface) = &rule.interface {
            let named = self.space.interface(&interface.name);
            top = if interface.not { self.space.minus(top, named) } else { self.space.and(top, named) };
        }
        if let Some(direction) = rule.direction {
            let direction = self.space.direction(match direction {
                syntax::Direction::In => PacketDirection::In,
                syntax::Direction::Out => PacketDirection::Out,
            });
            top = self.space.and(top, direction);
        }
        (top, self.of_end(Side::Destination, &rule.destination))
    }

    fn of_protocol(&mut self, rule: &Rule) -> Set {
        rule.protocol.map_or(Set::ALL, |protocol| self.space.number_is(Field::Protocol, protocol))
    }

    /// The match of a rule by addresses and protocol: up to the source, and after it.
    fn of_header(&mut self, rule: &Rule) -> (Set, Set) {
        let (top, to) = self.of_ends(rule);
        let protocol = self.of_protocol(rule);
        (top, self.space.and(to, protocol))
    }

    fn of_translation(&mut self, rule: &Rule) -> (Set, Set) {
        let service = self.of_ports(rule);
        let (top, rest) = self.of_header(rule);
        (top, self.space.and(rest, service))
    }

    /// The protocol, flags and ICMP type that a filter rule matches, with any ports.
    fn of_service(&mut self, rule: &Rule) -> Set {
        let mut service = self.of_protocol(rule);
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
        service
    }

    /// A fragment has no ports, flags or ICMP type: a rule with such a condition does not match it.
    fn of_fragment(&mut self, rule: &Rule) -> Set {
        let mut service = self.of_protocol(rule);
        for (protocol, asks) in [(TCP, rule.tcp_flags.is_some()), (ICMP, rule.icmp.is_some())] {
            if asks {
                let protocol = self.space.number_is(Field::Protocol, protocol);
                service = self.space.minus(service, protocol);
            }
        }
        service
    }

    /// A condition on ports applies only if the rule itself names a protocol with ports.
    fn of_ports(&mut self, rule: &Rule) -> Set {
        let mut set = Set::ALL;
        if asks_ports(rule) {
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

    fn of_end(&mut self, side: Side, end: &HostMatch) -> Set {
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
        let set = self.space.addresses(side, PacketFamily::Inet, &ranges);
        self.tables.insert((name.to_owned(), side), set);
        set
    }
}

/// The one IPv4 address that an address in a rule stands for; `None` if it stands for more, or for another kind.
fn host(address: &Address) -> Option<Ipv4Addr> {
    match address {
        Address::Prefix { address: IpAddr::V4(address), prefix: 32 } => Some(*address),
        Address::Prefix { address: IpAddr::V4(_) | IpAddr::V6(_), prefix: _ }
        | Address::Any
        | Address::Table(_)
        | Address::Dynamic(_)
        | Address::Range(..)
        | Address::NoRoute
        | Address::UrpfFailed
        | Address::RouteLabel(_) => None,
    }
}

/// The port ranges that satisfy a condition.
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
    parts.into_iter().flatten().collect()
}
