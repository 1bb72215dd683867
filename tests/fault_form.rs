//! The rules of partitions and slow paths, for every pair of endpoints. The manager prints the rules of a pair; with
//! them before ours, exactly the packets between the two endpoints are treated differently, for all packets at all
//! hooks.

use nixvol_net::packets::{Map, PacketDirection, Set, Side, Space};
use nixvol_net::pf::eval::Machine;
use nixvol_net::pf::syntax::Ruleset;
use nixvol_net::pf::{self, Environment};
use nixvol_net::plan::Plan;
use nixvol_net::plan::faults::{self, FaultEndpoint};
use nixvol_net::plan::policy::PolicyVerdict;
use nixvol_net::prove::World;
use nixvol_net::prove::outcome::{HookOutcome, Outcomes};
use nixvol_net::prove::rules::{self, RuleFunctions};
use serde_json::Value;

use crate::network::Network;
use crate::support::{declared, default_input, fixture, rendered};

/// An endpoint; `None` means all others.
type End<'a> = Option<&'a str>;

/// A topology, with its rules parsed.
struct Stand {
    network: Network,
    plan: Plan,
    world: World,
    ours: Ruleset,
    names: Vec<String>,
}

impl Stand {
    fn new(mut input: Value) -> Self {
        // The paths on the Mac are set by the test rig.
        for field in ["base", "stateDir", "logFile", "hostsFile"] {
            input.as_object_mut().expect("an input").remove(field);
        }
        let plan = Plan::of(&declared(&input));
        let world = World::new(&plan, &rendered(&input).files["pf/anchor.conf"].text);
        let ours = pf::parse(world.text(), &world.environment()).expect("our rules");
        let providers = plan.bridges.iter().map(|it| it.provider.as_str());
        let names = providers.chain(plan.volumes.iter().map(|it| it.name.as_str()));
        let names = names.map(str::to_owned).collect();
        Self { network: Network::new(&input), plan, world, ours, names }
    }

    /// The rules that the manager would load for a pair.
    fn printed(&self, command: &str) -> Ruleset {
        let text = self.network.ok(&format!("{command} --print"));
        pf::parse(&text, &Environment::default())
            .unwrap_or_else(|errors| panic!("{command}: {errors:?}\n{text}"))
    }

    /// Merges two rulesets as pf evaluates two children of `com.apple` one after the other: within each kind of rule,
    /// `front` comes first.
    fn before_ours(&self, front: Ruleset) -> Ruleset {
        let mut both = self.ours.clone();
        both.settings.splice(0..0, front.settings);
        let (lists, rules) = (&mut both.rules, front.rules);
        assert!(rules.scrub.is_empty() && rules.binat.is_empty());
        lists.nat.splice(0..0, rules.nat);
        lists.rdr.splice(0..0, rules.rdr);
        lists.filter.splice(0..0, rules.filter);
        lists.dummynet.splice(0..0, rules.dummynet);
        both
    }

    fn read(&self, space: &mut Space, ruleset: &Ruleset, outcomes: &mut Outcomes) -> RuleFunctions {
        let mut machine = Machine::new(self.world.environment().interfaces);
        machine.load("", ruleset);
        machine.index();
        rules::read(space, &ruleset.rules, machine.loaded(), &self.world, outcomes)
    }

    /// The packets from one endpoint to another.
    fn way(&self, space: &mut Space, from: End, to: End) -> Set {
        let mut side = |side, end: End, other: End| {
            let FaultEndpoint { networks, without } = faults::reach(&self.plan, end, other).expect("an end");
            let parts: Vec<Set> =
                networks.iter().map(|net| space.network(side, net.addr().into(), net.prefix_len())).collect();
            let all = space.union(&parts);
            without.into_iter().fold(all, |rest, address| {
                let one = space.network(side, address.into(), 32);
                space.minus(rest, one)
            })
        };
        let (source, destination) = (side(Side::Source, from, to), side(Side::Destination, to, from));
        space.and(source, destination)
    }

    fn space(&self) -> Space {
        self.world.space(&self.ours.rules)
    }

    /// Checks the rules of a partition: packets between the two endpoints are dropped without an answer and not
    /// translated; everything else is unchanged. Returns the first difference.
    fn wrong_of_partition(&self, one: &str, other: End, front: Ruleset) -> Option<String> {
        let both = self.before_ours(front);
        let (mut space, mut outcomes) = (self.space(), Outcomes::default());
        let alone = self.read(&mut space, &self.ours, &mut outcomes);
        let cut = self.read(&mut space, &both, &mut outcomes);
        let (there, back) = (self.way(&mut space, Some(one), other), self.way(&mut space, other, Some(one)));
        let between = space.or(there, back);
        assert!(!there.is_empty() && !back.is_empty(), "{one} {other:?}");
        let drop = outcomes.constant(HookOutcome { verdict: PolicyVerdict::Drop, translation: None });
        let must = space.choose(between, drop, alone.outcome);
        let alone_must = space.choose(between, drop, alone.fragment);
        let pipes = (&cut.pipes, &cut.sequences) == (&alone.pipes, &alone.sequences);
        differs(&mut space, "packets", cut.outcome, must)
            .or_else(|| differs(&mut space, "fragments", cut.fragment, alone_must))
            .or_else(|| differs(&mut space, "reassembly", cut.reassembly, alone.reassembly))
            .or_else(|| (!pipes).then(|| "pipes".to_owned()))
    }

    fn partition(&self, one: &str, other: End) {
        let command = format!("partition {one} {}", other.unwrap_or_default());
        assert_eq!(self.wrong_of_partition(one, other, self.printed(&command)), None, "{command}");
    }

    /// Checks the rules of a slow path: packets that leave for the other endpoint, or come in by wire for an address of
    /// this Mac, go through the pipe of their direction and no other.
    fn slow(&self, one: &str, other: End) {
        let command = format!("slow {one} {} --latency 10", other.unwrap_or_default());
        let both = self.before_ours(self.printed(&command));
        let (mut space, mut outcomes) = (self.space(), Outcomes::default());
        let alone = self.read(&mut space, &self.ours, &mut outcomes);
        let slow = self.read(&mut space, &both, &mut outcomes);
        assert_eq!(
            (slow.outcome, slow.fragment, slow.reassembly),
            (alone.outcome, alone.fragment, alone.reassembly)
        );
        // Sequences of both rulesets are numbered by one list, so that the numbers can be compared.
        let mut known: Vec<Vec<Option<u16>>> = Vec::new();
        let mut number = |sequence: &[Option<u16>]| {
            let at = known.iter().position(|it| it == sequence).unwrap_or_else(|| {
                known.push(sequence.to_vec());
                known.len() - 1
            });
            u32::try_from(at).expect("few sequences")
        };
        let found = space.renumber(slow.pipes, &mut |at| number(&slow.sequences[at as usize]));
        let mut must = space.renumber(alone.pipes, &mut |at| number(&alone.sequences[at as usize]));
        let out = space.direction(PacketDirection::Out);
        let loopback = space.interface("lo0");
        for (from, to, pipe) in [(Some(one), other, 29_999), (other, Some(one), 29_998)] {
            let way = self.way(&mut space, from, to);
            let leaves = space.and(way, out);
            // Each packet once: one that comes in by wire for an address of this Mac has not left by an interface
            // before.
            let here = self.here(&mut space, to, from);
            let comes = space.and(way, here);
            let comes = space.minus(comes, out);
            let comes = space.minus(comes, loopback);
            let all = space.or(leaves, comes);
            must = space.choose(all, Map::constant(number(&[Some(pipe), None])), must);
        }
        assert_eq!(differs(&mut space, "pipes", found, must), None, "{command}");
    }

    /// The packets to those addresses of an endpoint that this Mac has.
    fn here(&self, space: &mut Space, end: End, other: End) -> Set {
        // Judged by the model, not by the names that the plan takes from tables.
        let is_of = |provider: &str, name: &str| match end {
            Some(end) => provider == end || name == end,
            None => Some(provider) != other && Some(name) != other,
        };
        let gateways =
            self.plan.bridges.iter().filter(|it| is_of(it.provider.as_str(), "")).map(|it| it.gateway.addr());
        let served = |it: &&nixvol_net::plan::PlannedVolume| {
            it.attachment == nixvol_net::model::VolumeAttachment::Host
                && is_of(it.provider.as_str(), it.name.as_str())
        };
        let volumes = self.plan.volumes.iter().filter(served).map(|it| it.address);
        let parts: Vec<Set> =
            gateways.chain(volumes).map(|ip| space.network(Side::Destination, ip.into(), 32)).collect();
        let all = space.union(&parts);
        let listed = faults::here(&self.plan, end, other);
        let listed: Vec<Set> =
            listed.into_iter().map(|ip| space.network(Side::Destination, ip.into(), 32)).collect();
        let listed = space.union(&listed);
        // What both endpoints have in common is not on the way, such as a volume and the gateway of its provider.
        let (way, one, two) = (self.way(space, other, end), all, listed);
        assert_eq!(space.and(way, one), space.and(way, two), "{end:?} {other:?}");
        all
    }
}

/// A packet for which a function does not have its required value.
fn differs(space: &mut Space, what: &str, found: Map, must: Map) -> Option<String> {
    if found == must {
        return None;
    }
    let differs = space.join(found, must, &mut |one, other| u32::from(one != other));
    let packets = space.select(differs, |it| it == 1);
    Some(format!("{what}: {:?}", space.any(packets)))
}

/// Checks every pair of endpoints of a topology.
fn every_pair(input: Value) {
    let stand = Stand::new(input);
    let mut pairs = 0;
    for (at, one) in stand.names.iter().enumerate() {
        for other in &stand.names[at + 1..] {
            stand.partition(one, Some(other));
            stand.slow(other, Some(one));
            pairs += 1;
        }
        stand.partition(one, None);
        stand.slow(one, None);
    }
    eprintln!("{pairs} pairs");
}

#[test]
fn every_pair_of_a_restricted_network() {
    every_pair(fixture("restricted.json"));
}

#[test]
fn every_pair_with_conditions() {
    every_pair(fixture("ways.json"));
}

#[test]
fn every_pair_with_masquerade_guests_and_published_ports() {
    every_pair(fixture("rich.json"));
}

#[test]
fn every_pair_of_the_default_topology() {
    every_pair(default_input());
}

/// Every rule of a partition is needed by some pair, and altered rules are refuted.
#[test]
fn a_partition_with_fewer_or_altered_rules_is_refuted() {
    let stand = Stand::new(fixture("rich.json"));
    let mut needed = [false; 6];
    for one in &stand.names {
        for other in stand.names.iter().filter(|it| *it != one) {
            let form = stand.printed(&format!("partition {one} {other}"));
            for (at, is_needed) in needed.iter_mut().enumerate().filter(|(_, is_needed)| !**is_needed) {
                let mut less = form.clone();
                let lists = [&mut less.rules.nat, &mut less.rules.rdr, &mut less.rules.filter];
                assert_eq!(lists.each_ref().map(|list| list.len()), [2; 3]);
                lists.into_iter().nth(at / 2).expect("a list").remove(at % 2);
                *is_needed = stand.wrong_of_partition(one, Some(other), less).is_some();
            }
            if needed == [true; 6] {
                break;
            }
        }
    }
    assert_eq!(needed, [true; 6]);
    let (one, other) = (&stand.names[0], &stand.names[1]);
    let command = format!("partition {one} {other} --print");
    let text = stand.network.ok(&command);
    let from = format!("block drop quick inet from <one1-{one}>");
    for (rule, wrong) in [
        ("block drop quick", "block return quick"),
        ("block drop quick", "block drop in quick"),
        ("block drop quick", "pass quick"),
        (&from, "block drop quick inet from any"),
        ("no rdr", "rdr"),
    ] {
        let text = match wrong {
            "rdr" => text.replacen(
                &format!("no rdr inet from <one1-{one}> to <two1-{other}>"),
                &format!("rdr inet from <one1-{one}> to <two1-{other}> -> 10.9.9.9"),
                1,
            ),
            _ => text.replacen(rule, wrong, 1),
        };
        let form = pf::parse(&text, &Environment::default()).expect("rules");
        assert!(stand.wrong_of_partition(one, Some(other), form).is_some(), "{wrong}: {text}");
    }
}
