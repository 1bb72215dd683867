//! Of a thousand random edits of rendered anchors, none that changes the fate of a packet is accepted; and for random
//! packets the functions of rules and policy agree with the evaluator and the policy itself.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use nixvol_net::loading::{self, Interfaces};
use nixvol_net::packets;
use nixvol_net::pf::eval::{self, Hook, Machine, Packet, PathVerdicts, Shaping, TcpSegment, Transport};
use nixvol_net::pf::syntax::Direction;
use nixvol_net::pf::{self, Environment};
use nixvol_net::plan::Plan;
use nixvol_net::plan::policy::{self, PolicyVerdict};
use nixvol_net::prove::outcome::{HookOutcome, Outcomes};
use nixvol_net::prove::policy::FragmentTreatment;
use nixvol_net::prove::{self, World};

use crate::proof_edits::{every_kind, plan_and_anchor, refusal};
use crate::support::{default_input, fixture};

/// A deterministic sequence (splitmix64), so that every run has the same edits and packets.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("it is below a usize")
    }

    fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }
}

/// Parts of rules to insert, in addition to those of the anchor.
const PARTS: [&str; 38] = [
    "in",
    "out",
    "quick",
    "on lo0",
    "on ! lo0",
    "on $egress",
    "on $outside",
    "on bridge2000",
    "on en0",
    "proto tcp",
    "proto udp",
    "proto icmp",
    "from any",
    "to any",
    "from <nixvol>",
    "to <nixvol>",
    "to ! <local>",
    "from <internet>",
    "from <here>",
    "from 127.0.0.0/8",
    "to 127.0.0.0/8",
    "to 8.8.8.0/24",
    "from ! <nixvol>",
    "port 443",
    "port { 53 5432 }",
    "flags S/SA",
    "flags any",
    "flags R/R",
    "keep state",
    "no state",
    "icmp-type unreach",
    "no-df",
    "fragment reassemble",
    "allow-opts",
    "label \"x\"",
    "static-port",
    "pipe 20001",
    "inet",
];
const RULES: [&str; 7] = ["pass", "block", "nat", "no", "rdr", "dummynet", "scrub"];

/// Splits a rule into its parts; `from X`, `on X` and `keep state (…)` are one part each.
fn parts(line: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut is_open = false;
    for word in line.split(' ').filter(|word| !word.is_empty()) {
        let behind = [
            "from",
            "to",
            "on",
            "proto",
            "port",
            "flags",
            "keep",
            "icmp-type",
            "fragment",
            "label",
            "->",
            "!",
            "pipe",
        ];
        let last = parts.last().and_then(|part| part.split(' ').next_back()).unwrap_or_default();
        let belongs =
            is_open || behind.contains(&last) || word.starts_with('(') || (last == "no" && word == "state");
        match parts.last_mut() {
            Some(part) if belongs => *part = format!("{part} {word}"),
            _ => parts.push(word.to_owned()),
        }
        is_open = (is_open || word.starts_with(['(', '{'])) && !word.ends_with([')', '}']);
    }
    parts
}

/// Applies one to three random changes to the rules of an anchor.
fn edited(anchor: &str, chance: &mut Chance) -> String {
    let mut lines: Vec<String> = anchor.lines().map(str::to_owned).collect();
    for _ in 0..=chance.below(3) {
        let is_rule = |line: &str| RULES.iter().any(|word| line.split(' ').next() == Some(word));
        let rules: Vec<usize> = (0..lines.len()).filter(|at| is_rule(&lines[*at])).collect();
        let (at, other) = (chance.of(&rules), chance.of(&rules));
        let mut own = parts(&lines[at]);
        let foreign: Vec<String> =
            PARTS.iter().map(|part| (*part).to_owned()).chain(parts(&lines[other])).collect();
        let part = chance.below(own.len());
        match chance.below(8) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(other, lines[at].clone()),
            2 => lines.swap(at, other),
            3 => {
                own.remove(part);
                lines[at] = own.join(" ");
            }
            4 => {
                own.insert(part, chance.of(&foreign));
                lines[at] = own.join(" ");
            }
            _ => {
                // Replace it by a part of the same kind, if there is one.
                let kind = own[part].split(' ').next().unwrap_or_default().to_owned();
                let same: Vec<String> =
                    foreign.iter().filter(|it| it.split(' ').next() == Some(&kind)).cloned().collect();
                own[part] = chance.of(if same.is_empty() { &foreign } else { &same });
                lines[at] = own.join(" ");
            }
        }
    }
    lines.join("\n") + "\n"
}

/// Pairs of foreign anchors below `com.apple`, evaluated before and after ours.
const OTHERS: [(&str, &str); 3] = [
    ("", ""),
    ("", "rdr pass on lo0 inet proto tcp from any to any port 443 -> 127.0.0.1\nblock return quick all\n"),
    (
        "pass out on en0 all keep state\n",
        "nat on en1 inet from 8.8.8.0/24 to any -> 192.0.2.99\npass quick all keep state\n",
    ),
];
const MAIN: &str = "scrub-anchor \"com.apple/*\"\nnat-anchor \"com.apple/*\"\nrdr-anchor \"com.apple/*\"\ndummynet-anchor \"com.apple/*\"\nanchor \"com.apple/*\"\n";
const INTERFACES: [&str; 8] = ["lo0", "en0", "en1", "utun4", "bridge100", "bridge2000", "bridge2001", "en7"];

/// A machine with several interfaces, on which the anchor is loaded between two foreign ones; none if pfctl would
/// reject it.
fn machine(plan: &Plan, anchor: &str, (first, last): (&str, &str)) -> Option<Machine> {
    let mut environment = Environment::default();
    for (name, address) in [("en0", [192, 0, 2, 10]), ("en1", [198, 51, 100, 10]), ("utun4", [100, 64, 0, 9])]
    {
        environment.add_address(name, Ipv4Addr::from(address).into(), 24);
    }
    let bridges = plan
        .bridges
        .iter()
        .zip(2000..)
        .map(|(bridge, unit)| (bridge.provider.to_string(), format!("bridge{unit}")));
    let bridges: Vec<(String, String)> = bridges.collect();
    let bridges = bridges.iter().map(|(provider, name)| (provider.as_str(), name.as_str()));
    let interfaces = Interfaces::new(["en0", "en1"], bridges).with_foreign(["utun4", "bridge100"]);
    let loaded = loading::load(anchor, &interfaces);
    let mut machine = Machine::new(environment.interfaces.clone());
    machine.load("", &pf::parse(MAIN, &environment).expect("the main ruleset"));
    machine.load("com.apple/100.before", &pf::parse(first, &environment).expect("another's anchor"));
    machine.load("com.apple/250.nixvol", &pf::parse(&loaded.text, &environment).ok()?);
    machine.load("com.apple/300.behind", &pf::parse(last, &environment).expect("another's anchor"));
    Some(machine)
}

/// The addresses in these texts, their neighbours, and a few others.
fn addresses(texts: &[&str]) -> Vec<Ipv4Addr> {
    let mut all: BTreeSet<u32> =
        ["127.0.0.1", "127.0.1.11", "8.8.8.8", "192.0.2.10", "198.51.100.10", "224.0.0.251"]
            .iter()
            .map(|address| u32::from(address.parse::<Ipv4Addr>().expect("an address")))
            .collect();
    for word in
        texts.iter().flat_map(|text| text.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == '/')))
    {
        let (address, prefix) = word.split_once('/').unwrap_or((word, "32"));
        let (Ok(address), Ok(prefix)) = (address.parse::<Ipv4Addr>(), prefix.parse::<u32>()) else {
            continue;
        };
        let mask = u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0);
        let (low, high) = (u32::from(address) & mask, u32::from(address) | !mask);
        all.extend([low, high, low.wrapping_add(9), low.wrapping_sub(1), high.wrapping_add(1)]);
    }
    all.into_iter().map(Ipv4Addr::from).collect()
}

fn packet(chance: &mut Chance, addresses: &[Ipv4Addr], ports: &[u16]) -> Packet {
    let direction = chance.of(&[Direction::In, Direction::Out]);
    let (source, destination) = (chance.of(addresses), chance.of(addresses));
    let (sport, dport) = (chance.of(&[40_000, 443, 53]), chance.of(ports));
    let flags = chance.of(&[0x02, 0x02, 0x10, 0x12, 0x04, 0x14, 0x11, 0x00, 0x06, 0x29]);
    let segment = TcpSegment { flags, sequence: 1000, acknowledgement: 0, length: 0, window: 65_535 };
    let transport = match chance.below(5) {
        0 | 1 => Transport::Tcp { source: sport, destination: dport, segment },
        2 => Transport::Udp { source: sport, destination: dport },
        3 => Transport::Icmp {
            kind: chance.of(&[8, 3, 11, 0]),
            code: chance.of(&[0, 1, 3]),
            id: 7,
            inner: None,
        },
        _ => Transport::Other(chance.of(&[47, 50, 132, 2])),
    };
    Packet {
        hooks: vec![Hook { direction, interface: chance.of(&INTERFACES).to_owned() }],
        is_path: false,
        source: source.into(),
        destination: destination.into(),
        transport,
        user: None,
        group: None,
        tag: None,
        tos: 0,
        fragment: chance.below(6) == 0,
        ip: eval::Ip { options: chance.below(6) == 0, ..eval::Ip::default() },
    }
}

/// Everything of a verdict except which rule decided.
fn what(answer: &PathVerdicts) -> impl PartialEq + std::fmt::Debug + use<> {
    let eval::Verdict { action, via, state, translation, shaping, after, reply, .. } =
        answer.verdicts()[0].clone();
    let translation = translation.map(|translation| (translation.kind, translation.anchor));
    let shaping: Vec<_> = shaping.into_iter().map(|shaping| (shaping.into, shaping.rule.anchor)).collect();
    (action, via, state, translation, shaping, after, reply)
}

#[test]
fn no_edit_that_changes_a_verdict_is_proven() {
    let mut chance = Chance(20_261_126);
    let inputs = [default_input(), every_kind(), fixture("conditions.json"), fixture("restricted.json")];
    let originals: Vec<(Plan, String)> = inputs.iter().map(plan_and_anchor).collect();
    let machines = |(plan, anchor): &(Plan, String)| -> Vec<Machine> {
        OTHERS.iter().map(|others| machine(plan, anchor, *others).expect("it is rendered")).collect()
    };
    let before: Vec<Vec<Machine>> = originals.iter().map(machines).collect();
    let (mut proven, mut refuted, mut seen) = (0, 0, 0);
    for round in 0..1000 {
        let (plan, anchor) = &originals[round % originals.len()];
        let edited = loop {
            let edited = edited(anchor, &mut chance);
            // Skip edits that pfctl would not load.
            if machine(plan, &edited, OTHERS[0]).is_some() {
                break edited;
            }
        };
        let refusal = refusal(plan, &edited);
        if let Some(refusal) = &refusal {
            assert!(!refusal.contains("disagree"), "{refusal}\n{edited}");
        }
        // Edits that are proven get many more packets.
        let (worlds, packets) = if refusal.is_none() { (OTHERS.len(), 300) } else { (1, 40) };
        let addresses = addresses(&[anchor, &edited]);
        let differs = (0..worlds).find_map(|world| {
            let after = machine(plan, &edited, OTHERS[world])?;
            (0..packets).find_map(|_| {
                let packet = packet(&mut chance, &addresses, &[443, 53, 5432, 2379, 2381, 1, 65_535]);
                let machine = &before[round % originals.len()][world];
                let (one, other) = (what(&machine.decide(&packet)), what(&after.decide(&packet)));
                (one != other).then(|| format!("{packet:?}\n{one:?}\n{other:?}"))
            })
        });
        match (refusal, differs) {
            (None, Some(difference)) => panic!("proven, but it differs: {difference}\n{edited}"),
            (None, None) => proven += 1,
            (Some(_), Some(_)) => seen += 1,
            (Some(_), None) => refuted += 1,
        }
    }
    assert!(proven > 50 && seen > 200, "{proven} proven, {seen} refuted and seen, {refuted} refuted");
}

/// Converts a packet of the evaluator to one of the packet sets.
pub fn asked(packet: &Packet) -> packets::WitnessPacket {
    let hook = &packet.hooks[0];
    let mut asked = packets::WitnessPacket {
        direction: if hook.direction == Direction::In {
            packets::PacketDirection::In
        } else {
            packets::PacketDirection::Out
        },
        interface: hook.interface.clone(),
        source: packet.source,
        destination: packet.destination,
        protocol: packet.protocol(),
        fragment: packet.fragment,
        options: packet.ip.options,
        ..packets::WitnessPacket::default()
    };
    match packet.transport {
        Transport::Tcp { source, destination, segment } => {
            (asked.source_port, asked.destination_port, asked.flags) = (source, destination, segment.flags);
        }
        Transport::Udp { source, destination } => {
            (asked.source_port, asked.destination_port) = (source, destination);
        }
        Transport::Icmp { kind, code, .. } => (asked.icmp_type, asked.icmp_code) = (kind, code),
        Transport::Esp { .. } | Transport::Other(_) => {}
    }
    asked
}

/// The functions of a proof agree with the evaluator and the policy about single packets.
#[test]
fn functions_agree_with_the_evaluator_and_the_policy() {
    let mut chance = Chance(4);
    for input in
        [default_input(), fixture("rich.json"), fixture("conditions.json"), fixture("restricted.json")]
    {
        let (plan, anchor) = plan_and_anchor(&input);
        let world = World::new(&plan, &anchor);
        let environment = world.environment();
        let ruleset = pf::parse(world.text(), &environment).expect("a ruleset");
        let mut machine = Machine::new(environment.interfaces);
        machine.load("", &ruleset);
        let lists = &ruleset.rules;
        let mut space = world.space(lists);
        let mut outcomes = Outcomes::default();
        let rules = prove::rules::read(&mut space, lists, machine.loaded(), &world, &mut outcomes);
        let policy = prove::policy::functions(&mut space, &plan, &world, &mut outcomes);
        assert_eq!(rules.outcome, policy.outcome, "equal functions are one");
        let interfaces: Vec<&str> =
            world.interfaces().map(|(name, _)| name).chain([space.stranger()]).collect();
        let addresses = addresses(&[&anchor]);
        for _ in 0..4000 {
            let mut packet = packet(&mut chance, &addresses, &[443, 53, 5432, 2379, 2381, 1, 65_535]);
            packet.hooks[0].interface = chance.of(&interfaces).to_owned();
            let asked = asked(&packet);
            let answer = machine.decide(&packet);
            let kernel = &answer.verdicts()[0];
            if packet.ip.options {
                // pf drops packets with IP options whatever the rules say; rules that would let them pass are not
                // proven.
                assert_eq!(kernel.action, eval::Outcome::Block, "{packet:?}");
                continue;
            }
            let own = world.address_of(&asked.interface);
            let found = HookOutcome::of(kernel, own);
            if packet.fragment {
                let alone = outcomes.outcome(space.of(rules.fragment, &asked)).verdict;
                let alone = if alone == PolicyVerdict::Pass { PolicyVerdict::Carry } else { alone };
                let is_held = FragmentTreatment::of(space.of(rules.reassembly, &asked)).is_held();
                assert_eq!(found.verdict, if is_held { PolicyVerdict::Drop } else { alone }, "{packet:?}");
                continue;
            }
            let decision = plan.policy.decide(&policy_packet(&packet, &world));
            let expected = HookOutcome { verdict: decision.verdict, translation: decision.translation };
            assert_eq!(outcomes.outcome(space.of(policy.outcome, &asked)), expected, "{packet:?}");
            assert_eq!(outcomes.outcome(space.of(rules.outcome, &asked)), found, "{packet:?}");
            let sequence = &rules.sequences[space.of(rules.pipes, &asked) as usize];
            let met: Vec<Option<u16>> = kernel.shaping.iter().map(Shaping::number).collect();
            assert_eq!(sequence, &met, "{packet:?}");
            let pipe = plan.policy.pipe(&policy_packet(&packet, &world));
            assert_eq!(space.of(policy.pipe, &asked), pipe.map_or(0, u32::from), "{packet:?}");
        }
    }
}

fn policy_packet(packet: &Packet, world: &World) -> policy::PolicyPacket {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (packet.source, packet.destination) else {
        panic!("only IPv4 is asked about");
    };
    let (port, flags, icmp) = match packet.transport {
        Transport::Tcp { destination, segment, .. } => (destination, segment.flags, 0),
        Transport::Udp { destination, .. } => (destination, 0, 0),
        Transport::Icmp { kind, .. } => (0, 0, kind),
        Transport::Esp { .. } | Transport::Other(_) => (0, 0, 0),
    };
    policy::PolicyPacket {
        direction: match packet.hooks[0].direction {
            Direction::In => policy::PolicyDirection::In,
            Direction::Out => policy::PolicyDirection::Out,
        },
        interface: world.kind(&packet.hooks[0].interface),
        source,
        destination,
        protocol: packet.protocol(),
        port,
        flags,
        icmp,
    }
}
