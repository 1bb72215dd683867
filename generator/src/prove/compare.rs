//! One packet of each class before both: the policy, and the rules as the reader of pf evaluates them.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use super::{Astray, Counterexample, EGRESS, Found, Translated, Treatment};
use crate::pf::eval::{
    ACK, Answer, CompiledRule, Detail, Hook, Ip, List, Machine, Outcome, Packet, SYN, Segment, Shaping,
    StateUse, TranslationKind, Transport, Verdict as Kernel, Via,
};
use crate::pf::print_rule;
use crate::pf::syntax::{Block, Direction, NumberMatch, Rule};
use crate::plan::Plan;
use crate::plan::policy::{self, Decision, ICMP, Interface, TCP, Translation, UDP, Verdict};

const ECHO: (u8, u8) = (8, 0);
const ECHO_REPLY: u8 = 0;
/// A protocol that no rule of ours names: SCTP, and those behind it where one does.
const STRANGER: u8 = 132;
/// The source port of packets where no rule looks at it.
const CLIENT: u16 = 40000;

/// What was found so far.
#[derive(Default)]
pub struct Comparison {
    pub classes: usize,
    pub violations: Vec<Counterexample>,
    /// Packets that go through other pipes than they should.
    pub astray: Vec<Astray>,
    /// What was told of these: a rule's line, the pipe that it should be, the pipes that it is.
    told_astray: HashSet<(u32, Option<u16>, Vec<u16>)>,
    /// What was told already: a rule's line, a row of the policy, a treatment.
    told: HashSet<(u32, String, Treatment)>,
    /// Rules whose answers were looked at, at each hook.
    answered: HashSet<(Option<u32>, usize)>,
}

/// A packet without its addresses.
pub struct Service {
    hook: Hook,
    interface: Interface,
    transport: Transport,
    /// For [`Comparison::answered`].
    number: usize,
}

/// The services that matter to packets of one source.
pub struct Services {
    ports: Vec<(u16, u16)>,
}

impl Services {
    pub fn new(plan: &Plan, source: Ipv4Addr) -> Self {
        let ports = plan.policy.ports_for(source);
        Self { ports: ports.into_iter().map(|range| (range.first, range.last)).collect() }
    }

    /// One packet for each class of services that these rules or the policy tell apart, at every hook.
    pub fn of(&mut self, rules: &[&CompiledRule], interfaces: &[String]) -> Vec<Service> {
        let rules: Vec<&Rule> = rules.iter().map(|rule| rule.syntax()).collect();
        let transports = transports(&rules, &self.ports);
        let mut services = Vec::with_capacity(transports.len() * interfaces.len() * 2);
        for (number, name) in interfaces.iter().enumerate() {
            let interface = match name.as_str() {
                "lo0" => Interface::Loopback,
                EGRESS => Interface::Egress,
                _ => Interface::Other,
            };
            for direction in [Direction::In, Direction::Out] {
                let hook = Hook { direction, interface: name.clone() };
                let number = number * 2 + usize::from(direction == Direction::In);
                let service = |transport: &Transport| Service {
                    hook: hook.clone(),
                    interface,
                    transport: *transport,
                    number,
                };
                services.extend(transports.iter().map(service));
            }
        }
        services
    }
}

fn transports(rules: &[&Rule], policy: &[(u16, u16)]) -> Vec<Transport> {
    let named: BTreeSet<u8> = rules.iter().filter_map(|rule| rule.protocol).collect();
    let stranger = (STRANGER..=u8::MAX).find(|number| !named.contains(number));
    let mut all = Vec::new();
    let sources = cuts(rules.iter().filter_map(|rule| rule.source.port), &[], CLIENT);
    let destinations = cuts(rules.iter().filter_map(|rule| rule.destination.port), policy, 1);
    for source in sources {
        for destination in &destinations {
            for flags in flags(rules) {
                let segment = Segment { flags, sequence: 1000, acknowledgement: 0, length: 0, window: 65535 };
                all.push(Transport::Tcp { source, destination: *destination, segment });
            }
            all.push(Transport::Udp { source, destination: *destination });
        }
    }
    let mut kinds = BTreeSet::from([ECHO]);
    for icmp in rules.iter().filter_map(|rule| rule.icmp) {
        kinds
            .extend([(icmp.kind, icmp.code.unwrap_or(0)), (icmp.kind, icmp.code.map_or(1, |code| code ^ 1))]);
    }
    all.extend(kinds.into_iter().map(|(kind, code)| Transport::Icmp { kind, code, id: 7, inner: None }));
    let others = named.into_iter().filter(|number| ![TCP, UDP, ICMP].contains(number));
    all.extend(others.chain(stranger).map(Transport::Other));
    all
}

/// One port of each class that these conditions tell apart, `first` among them where nothing does.
fn cuts(conditions: impl Iterator<Item = NumberMatch<u16>>, ranges: &[(u16, u16)], first: u16) -> Vec<u16> {
    let mut starts = BTreeSet::new();
    let mut cut = |low: u16, high: u16| starts.extend([low].into_iter().chain(high.checked_add(1)));
    for condition in conditions {
        match condition {
            NumberMatch::Equal(a)
            | NumberMatch::NotEqual(a)
            | NumberMatch::Less(a)
            | NumberMatch::LessEqual(a)
            | NumberMatch::Greater(a)
            | NumberMatch::GreaterEqual(a) => cut(a, a),
            NumberMatch::Range(a, b) | NumberMatch::Inside(a, b) | NumberMatch::Outside(a, b) => {
                cut(a, a);
                cut(b, b);
            }
        }
    }
    for (low, high) in ranges {
        cut(*low, *high);
    }
    // pf drops what has port 0.
    starts.remove(&0);
    if starts.is_empty() {
        return vec![first];
    }
    starts.insert(1);
    starts.into_iter().collect()
}

/// The flags of TCP segments that are told apart: opening ones always, and every mix of bits that rules look at.
fn flags(rules: &[&Rule]) -> Vec<u8> {
    let mask = rules.iter().filter_map(|rule| rule.tcp_flags).fold(0, |mask, flags| mask | flags.mask);
    if mask == 0 {
        return vec![SYN, ACK];
    }
    let mask = mask | SYN | ACK;
    // An opening segment first, as the plainest example; then every other subset, by counting inside the mask.
    let mut subsets = vec![SYN];
    let mut subset = mask;
    loop {
        subsets.extend((subset != SYN).then_some(subset));
        if subset == 0 {
            break;
        }
        subset = (subset - 1) & mask;
    }
    subsets
}

impl Comparison {
    /// Puts a packet of each service before both.
    pub fn compare(
        &mut self,
        plan: &Plan,
        machine: &mut Machine,
        egress: Ipv4Addr,
        (source, destination): (Ipv4Addr, Ipv4Addr),
        services: &[Service],
    ) {
        for service in services {
            self.classes += 1;
            let packet = packet(service, source, destination);
            let asked = asked(service, source, destination);
            let expected = plan.policy.decide(&asked);
            let answer = machine.decide(&packet);
            let Answer::Single(kernel) = &answer else { continue };
            self.compare_pipes(plan, machine, &packet, &asked, kernel);
            let mut treatment = treatment(kernel);
            let translation = translation(kernel, egress);
            let rule = kernel.rule.as_ref().map(|rule| rule.number);
            let is_new = kernel.state == StateUse::Created && self.answered.insert((rule, service.number));
            if is_new && !is_answered(machine, &packet) {
                treatment = Treatment::PassWithoutAnswer;
            }
            if is_expected(&expected, treatment, translation) {
                continue;
            }
            self.tell(machine, packet, expected, Found { treatment, translation, rule: None }, kernel);
        }
    }

    /// Whether a packet goes through the pipe that it should, and no other. `no dummynet` keeps what came out of its
    /// pipe, and what is inside a provider, out of others; said of anything else it would keep that from the rules of
    /// others.
    fn compare_pipes(
        &mut self,
        plan: &Plan,
        machine: &Machine,
        packet: &Packet,
        asked: &policy::Packet,
        kernel: &Kernel,
    ) {
        let expected = plan.policy.pipe(asked);
        let found: Vec<u16> = kernel.shaping.iter().filter_map(Shaping::number).collect();
        let keeps_out = kernel.shaping.first().is_some_and(|shaping| shaping.into.is_none());
        if found.iter().copied().eq(expected) && (!keeps_out || plan.policy.is_within(asked)) {
            return;
        }
        let last = kernel.shaping.last();
        let rule = last.and_then(|shaping| rule(machine, List::Dummynet, shaping.rule.number)).map(shown);
        self.add_astray(Astray { packet: packet.clone(), expected, found, rule });
    }

    fn tell(
        &mut self,
        machine: &Machine,
        packet: Packet,
        expected: Decision,
        mut found: Found,
        kernel: &Kernel,
    ) {
        found.rule = deciding(machine, kernel).map(shown);
        self.add(Counterexample { packet, expected, found });
    }

    /// Keeps what was not told of its rule yet.
    fn add(&mut self, example: Counterexample) {
        let line = line(example.found.rule.as_ref());
        if self.told.insert((line, example.expected.to_string(), example.found.treatment)) {
            self.violations.push(example);
        }
    }

    /// The same of packets that go through other pipes.
    fn add_astray(&mut self, astray: Astray) {
        if self.told_astray.insert((line(astray.rule.as_ref()), astray.expected, astray.found.clone())) {
            self.astray.push(astray);
        }
    }

    /// Adds what another comparison found.
    pub fn take(&mut self, other: Self) {
        self.classes += other.classes;
        other.astray.into_iter().for_each(|astray| self.add_astray(astray));
        other.violations.into_iter().for_each(|example| self.add(example));
    }
}

/// A rule as a violation names it: its line, and its canonical text.
fn shown(rule: &Rule) -> (u32, String) {
    (rule.place.line, print_rule(rule))
}

/// The line of a rule; 0 where there is none.
fn line(rule: Option<&(u32, String)>) -> u32 {
    rule.map_or(0, |(line, _)| *line)
}

fn packet(service: &Service, source: Ipv4Addr, destination: Ipv4Addr) -> Packet {
    Packet {
        hooks: vec![service.hook.clone()],
        is_path: false,
        source: source.into(),
        destination: destination.into(),
        transport: service.transport,
        user: None,
        group: None,
        tag: None,
        tos: 0,
        fragment: false,
        ip: Ip::default(),
    }
}

/// The same packet as the policy is asked about it.
fn asked(service: &Service, source: Ipv4Addr, destination: Ipv4Addr) -> policy::Packet {
    let (protocol, port, opening) = match service.transport {
        Transport::Tcp { destination, segment, .. } => (TCP, destination, segment.flags & (SYN | ACK) == SYN),
        Transport::Udp { destination, .. } => (UDP, destination, true),
        Transport::Icmp { .. } => (ICMP, 0, true),
        Transport::Other(protocol) => (protocol, 0, true),
    };
    let direction = match service.hook.direction {
        Direction::In => policy::Direction::In,
        Direction::Out => policy::Direction::Out,
    };
    policy::Packet { direction, interface: service.interface, source, destination, protocol, port, opening }
}

fn treatment(kernel: &Kernel) -> Treatment {
    match (kernel.action, kernel.reply) {
        (Outcome::Block, Some(Block::Drop) | None) => Treatment::Verdict(Verdict::Drop),
        (Outcome::Block, Some(_)) => Treatment::Verdict(Verdict::Refuse),
        (Outcome::Pass, _) if kernel.state == StateUse::Created => Treatment::Verdict(Verdict::Pass),
        (Outcome::Pass, _) if kernel.via == Via::Default => Treatment::Verdict(Verdict::Untouched),
        (Outcome::Pass, _) => Treatment::PassWithoutState,
    }
}

fn translation(kernel: &Kernel, egress: Ipv4Addr) -> Translated {
    let (before, after) = (kernel.before, kernel.after);
    let (source, destination) = (after.source, after.destination);
    let other = Translated::Other { source, destination };
    match kernel.translation.as_ref().map(|translation| translation.kind) {
        None if before == after => Translated::No,
        Some(TranslationKind::Nat) if before.destination == destination => match source {
            IpAddr::V4(source) if source == egress => Translated::Known(Translation::EgressSource),
            IpAddr::V4(source) => Translated::Known(Translation::GatewaySource(source)),
            IpAddr::V6(_) => other,
        },
        Some(TranslationKind::Rdr) if before.source == source && before.detail == after.detail => {
            match destination {
                IpAddr::V4(destination) => Translated::Known(Translation::Published(destination)),
                IpAddr::V6(_) => other,
            }
        }
        _ => other,
    }
}

fn is_expected(expected: &Decision, treatment: Treatment, translation: Translated) -> bool {
    let translated = match (expected.translation, translation) {
        (None, Translated::No) => true,
        (Some(wanted), Translated::Known(found)) => wanted == found,
        // What is blocked is not sent, whatever its addresses were.
        _ => matches!(treatment, Treatment::Verdict(Verdict::Refuse | Verdict::Drop)),
    };
    translated && treatment == Treatment::Verdict(expected.verdict)
}

/// Whether the answer to a packet that passes comes back by the state that it made.
fn is_answered(machine: &mut Machine, packet: &Packet) -> bool {
    let Answer::Single(there) = machine.eval(packet) else { return false };
    let back = answer_to(packet, &there);
    let came_back = match machine.eval(&back) {
        Answer::Single(verdict) => verdict.action == Outcome::Pass && verdict.via == Via::State,
        Answer::Path { .. } => false,
    };
    machine.forget();
    came_back
}

fn answer_to(packet: &Packet, there: &Kernel) -> Packet {
    let hooks = packet.hooks.iter().map(|hook| Hook {
        direction: match hook.direction {
            Direction::In => Direction::Out,
            Direction::Out => Direction::In,
        },
        interface: hook.interface.clone(),
    });
    let ports = match there.after.detail {
        Detail::Ports(source, destination) => (source, destination),
        Detail::Id(id) => (id, id),
        Detail::None => (0, 0),
    };
    let transport = match packet.transport {
        Transport::Tcp { segment, .. } => {
            // To a SYN a SYN-ACK; to anything else an ACK of what came.
            let flags = if segment.flags & (SYN | ACK) == SYN { SYN | ACK } else { ACK };
            let acknowledgement = segment.sequence.wrapping_add(u32::from(segment.flags & SYN != 0));
            let segment = Segment { flags, sequence: 5000, acknowledgement, length: 0, window: 65535 };
            Transport::Tcp { source: ports.1, destination: ports.0, segment }
        }
        Transport::Udp { .. } => Transport::Udp { source: ports.1, destination: ports.0 },
        Transport::Icmp { kind, code, inner, .. } => {
            let kind = if kind == ECHO.0 { ECHO_REPLY } else { kind };
            Transport::Icmp { kind, code, id: ports.0, inner }
        }
        other @ Transport::Other(_) => other,
    };
    Packet {
        hooks: hooks.collect(),
        source: there.after.destination,
        destination: there.after.source,
        transport,
        ..packet.clone()
    }
}

/// The rule that decided, or that translated where none did.
fn deciding<'a>(machine: &'a Machine, kernel: &Kernel) -> Option<&'a Rule> {
    let (list, number) = match (&kernel.rule, &kernel.translation) {
        (Some(rule), _) => (List::Filter, rule.number),
        (None, Some(translation)) => match translation.kind {
            TranslationKind::Nat => (List::Nat, translation.number),
            TranslationKind::Rdr => (List::Rdr, translation.number),
            TranslationKind::Binat => (List::Binat, translation.number),
        },
        (None, None) => return None,
    };
    rule(machine, list, number)
}

/// The rule of a number in a list.
fn rule(machine: &Machine, list: List, number: u32) -> Option<&Rule> {
    let rules = machine.loaded().ruleset(0)?.rules(list);
    rules.iter().map(CompiledRule::syntax).find(|rule| rule.number == number)
}

/// A packet in one line: `in lo0: tcp 10.0.1.2:40000 -> 10.1.1.2:2379 flags S`.
pub fn describe(packet: &Packet) -> String {
    let hook = packet.hooks.first().map_or_else(String::new, |hook| {
        let direction = match hook.direction {
            Direction::In => "in",
            Direction::Out => "out",
        };
        format!("{direction} {}: ", hook.interface)
    });
    let (source, destination) = (packet.source, packet.destination);
    let ends = match packet.transport {
        Transport::Tcp { source: from, destination: to, segment } => {
            let letters = segment.letters();
            let letters = if letters.is_empty() { "none".to_owned() } else { letters };
            format!("tcp {source}:{from} -> {destination}:{to} flags {letters}")
        }
        Transport::Udp { source: from, destination: to } => {
            format!("udp {source}:{from} -> {destination}:{to}")
        }
        Transport::Icmp { kind, code, .. } => {
            format!("icmp {source} -> {destination} type {kind} code {code}")
        }
        Transport::Other(protocol) => format!("protocol {protocol} {source} -> {destination}"),
    };
    format!("{hook}{ends}")
}
