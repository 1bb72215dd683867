//! The composition of several Macs: through the anchors of two Macs, exactly the declared traffic passes.
//!
//! Each anchor alone is proven by [`super::prove()`]. Here the rules of all of them, read from their bytes, are functions
//! of one space of packets. What the ends of a Mac can send into the tunnel, and what another Mac accepts from it for
//! its own ends, are sets of headers; their intersection is compared with the links, for every pair of Macs.

use std::collections::BTreeSet;
use std::fmt;

use super::outcome::Outcomes;
use super::packet::{describe, evaluated};
use super::rules::{self, RuleFunctions};
use super::world::World;
use crate::packets::{Field, PacketDirection, PacketFamily, Set, Side, Space};
use crate::pf::eval::Machine;
use crate::pf::{self, Ruleset};
use crate::plan::Plan;
use crate::plan::policy::{Parts, PermissionPart, PolicyInterface, SYN, TCP};
use crate::reach::ends::{Sets, addresses};
use crate::reach::service;

/// One Mac: its plan, and the anchor that it loads.
#[derive(Debug, Clone, Copy)]
pub struct OfMac<'a> {
    /// The plan for this Mac.
    pub plan: &'a Plan,
    /// The text of its anchor.
    pub anchor: &'a str,
}

/// What was proven of the composition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Composition {
    /// The number of pairs of a sending and a receiving Mac.
    pub pairs: usize,
    /// The number of diagram nodes that were made: a measure of the cost that does not depend on the machine.
    pub nodes: usize,
}

/// A packet whose fate between two Macs is not the declared one.
#[derive(Debug, Clone, PartialEq)]
pub struct Discord {
    /// The Mac of the sender.
    pub from: String,
    /// The Mac of the receiver.
    pub to: String,
    /// The packet.
    pub packet: pf::eval::Packet,
    /// What is wrong, as a clause about the packet.
    pub what: &'static str,
}

impl fmt::Display for Discord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}: {}: {}", self.from, self.to, describe(&self.packet), self.what)
    }
}

/// The rules of one Mac, as functions.
struct Mac<'a> {
    name: &'a str,
    parts: Parts<'a>,
    world: World,
    rules: RuleFunctions,
}

/// What a Mac does with the traffic of its ends, as sets of headers.
struct Ends {
    /// What its ends can send into the tunnel.
    sent: Set,
    /// Of what arrives by the tunnel, what its ends get.
    accepted: Set,
    /// What it sends into the tunnel with another source, or through more than the pipes of its own links.
    altered: Set,
    /// What it would delay, lose or limit although the sender's Mac does.
    twice: Set,
    /// The sources that are its own: its providers, and itself in the tunnel.
    sources: Set,
    /// The destinations that are its own.
    destinations: Set,
    /// The packets from itself, not from a volume.
    itself: Set,
}

/// Compares what passes through the anchors of every two Macs with what is declared. Anchors must be proven, each for
/// its plan; a plan without a mesh composes with nothing.
///
/// # Errors
/// Packets that pass and should not, or the reverse: one for each pair of Macs and kind of difference.
///
/// # Panics
/// If an anchor cannot be read, so that it was not proven.
pub fn compose(macs: &[OfMac]) -> Result<Composition, Vec<Discord>> {
    let worlds: Vec<World> = macs.iter().map(|mac| World::new(mac.plan, mac.anchor)).collect();
    let rulesets: Vec<Ruleset> = worlds
        .iter()
        .map(|world| pf::parse(world.text(), &world.environment()).expect("a proven anchor"))
        .collect();
    let spaces = worlds.iter().zip(&rulesets).map(|(world, ruleset)| world.space(&ruleset.rules));
    let interfaces: BTreeSet<String> = spaces.flat_map(|space| space.interfaces().to_vec()).collect();
    let mut space = Space::new(interfaces);
    let mut outcomes = Outcomes::default();
    let mut all = Vec::new();
    for ((mac, world), ruleset) in macs.iter().zip(&worlds).zip(&rulesets) {
        let Some(mesh) = &mac.plan.mesh else { continue };
        let mut machine = Machine::new(world.environment().interfaces);
        machine.load("", ruleset);
        machine.index();
        let rules = rules::read(&mut space, &ruleset.rules, machine.loaded(), world, &mut outcomes);
        let parts = mac.plan.policy.parts();
        all.push(Mac { name: mesh.mac.as_str(), parts, world: world.clone(), rules });
    }
    let Some(first) = all.first() else { return Ok(Composition { pairs: 0, nodes: space.size() }) };
    let declared = declared(&mut space, &first.parts);
    let ends: Vec<Ends> = all.iter().map(|mac| mac.ends(&mut space, &outcomes)).collect();
    let opens = opening(&mut space);
    let mut found = Vec::new();
    let mut pairs = 0;
    for (one, sender) in all.iter().zip(&ends) {
        for (other, receiver) in all.iter().zip(&ends).filter(|(other, _)| other.name != one.name) {
            pairs += 1;
            let between = space.and(sender.sources, receiver.destinations);
            let between = space.and(between, opens);
            let passes = space.and(sender.sent, receiver.accepted);
            let meant = space.or(declared, sender.itself);
            let [more, less] = [space.minus(passes, meant), space.minus(meant, passes)];
            let altered = space.and(passes, sender.altered);
            let twice = space.and(passes, receiver.twice);
            let kinds = [
                (more, "it passes both Macs, but no link covers it"),
                (less, "a link covers it, but it does not pass both Macs"),
                (altered, "it leaves its Mac with another source"),
                (twice, "the receiver's Mac delays or limits it too"),
            ];
            for (set, what) in kinds {
                let set = space.and(set, between);
                if let Some(packet) = space.any(set) {
                    // It is seen at hooks of two Macs.
                    let packet = pf::eval::Packet { hooks: Vec::new(), ..evaluated(&packet) };
                    let (from, to) = (one.name.to_owned(), other.name.to_owned());
                    found.push(Discord { from, to, packet, what });
                }
            }
        }
    }
    if found.is_empty() { Ok(Composition { pairs, nodes: space.size() }) } else { Err(found) }
}

impl Mac<'_> {
    fn ends(&self, space: &mut Space, outcomes: &Outcomes) -> Ends {
        let sets = Sets::of(space, &self.parts);
        let [here_from, here_to] =
            [Side::Source, Side::Destination].map(|side| addresses(space, side, self.parts.here));
        let mesh = self.name_of(PolicyInterface::Mesh);
        let passing = outcomes.select(space, self.rules.outcome, |it| it.verdict.passes());
        let translated =
            outcomes.select(space, self.rules.outcome, |it| it.verdict.passes() && it.translation.is_some());
        let sequences = &self.rules.sequences;
        let piped =
            space.select(self.rules.pipes, |number| sequences[number as usize].iter().any(Option::is_some));
        let at = |space: &mut Space, set, direction, name: &str| space.at_hook(set, direction, name);
        let leaves = at(space, passing, PacketDirection::Out, &mesh);
        let arrives = at(space, passing, PacketDirection::In, &mesh);
        let altered = at(space, translated, PacketDirection::Out, &mesh);
        let mut twice = at(space, piped, PacketDirection::In, &mesh);
        // Volumes that the Mac serves, and its gateways, send from it; all others by their bridge.
        let (mut sent, mut accepted) = (here_from, here_to);
        let (mut sources, mut destinations) = (Set::NONE, Set::NONE);
        for (index, network) in self.parts.networks.iter().enumerate().filter(|(_, it)| it.is_here) {
            let bridge = self.name_of(PolicyInterface::Bridge(network.bridge));
            let entering = at(space, passing, PacketDirection::In, &bridge);
            let from = space.minus(sets.from[index], here_from);
            let from = space.and(from, entering);
            sent = space.or(sent, from);
            let exiting = at(space, passing, PacketDirection::Out, &bridge);
            let to = space.minus(sets.to[index], here_to);
            let to = space.and(to, exiting);
            accepted = space.or(accepted, to);
            let piped = at(space, piped, PacketDirection::Out, &bridge);
            let piped = space.and(piped, to);
            twice = space.or(twice, piped);
            sources = space.or(sources, sets.from[index]);
            destinations = space.or(destinations, sets.to[index]);
        }
        let own = self.parts.mesh.map(|(own, _)| own);
        let itself = addresses(space, Side::Source, own.iter());
        let sent = space.or(sent, itself);
        let (sent, accepted) = (space.and(sent, leaves), space.and(accepted, arrives));
        let sources = space.or(sources, itself);
        Ends { sent, accepted, altered, twice, sources, destinations, itself }
    }

    fn name_of(&self, kind: PolicyInterface) -> String {
        let named = self.world.interfaces().find(|(_, known)| *known == kind);
        named.map(|(name, _)| name.to_owned()).unwrap_or_default()
    }
}

/// What the links permit, whatever the interface.
fn declared(space: &mut Space, parts: &Parts) -> Set {
    let sets = Sets::of(space, parts);
    let permitted: Vec<Set> = parts
        .permissions
        .iter()
        .map(|PermissionPart { from, to, protocol, ports, masquerade: _ }| {
            let from = sets.ends(space, Side::Source, from);
            let to = sets.ends(space, Side::Destination, to);
            let service = service(space, *protocol, ports.as_deref());
            let to = space.and(to, service);
            space.and(from, to)
        })
        .collect();
    space.union(&permitted)
}

/// Whole IPv4 packets that open a connection: a SYN alone, or a packet that is not TCP.
fn opening(space: &mut Space) -> Set {
    let tcp = space.number_is(Field::Protocol, TCP);
    let opened = space.masked(Field::Flags, SYN, u8::MAX);
    let others = space.minus(tcp, opened);
    let inet = space.family(PacketFamily::Inet);
    let [whole, plain] = [Field::Fragment, Field::Options].map(|field| space.number_is(field, 0));
    let whole = space.and(whole, plain);
    let whole = space.and(whole, inet);
    space.minus(whole, others)
}
