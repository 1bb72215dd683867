//! Expectations: flows that must, or must never, get through, compared with the outcome of all flows.
//!
//! An expectation denotes a set of flows: from its sources to its destinations, for its service. With `passes`, it
//! fails if any flow of the set does not get through; otherwise, if any does. The failure shows such a flow. A flow
//! that no rule matches counts as getting through. `any` denotes every endpoint, but only flows that involve this
//! network count: an expectation that keeps the internet out does not cover traffic within the internet. Sees: place,
//! model, plan, packets, reach. Never: reads rules or the user's source.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::model::{Declaration, Endpoint, Expectation, Link, Party};
use crate::packets::{Field, PacketFamily, Set, Side};
use crate::place::FieldPath;
use crate::plan::policy::{TCP, Translation, UDP, number_of, ranges_of};
use crate::plan::{AddressRegion, Plan};
use crate::reach::{self, Flow, FlowOutcome, FlowVerdict, Flows, Opener, Reach, Reason, ends};

/// The networks that count as the LAN: private-use (RFC 1918) and link-local (RFC 3927) addresses.
const LAN: [Ipv4Net; 4] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
];
const LOCALHOST: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
/// Familiar addresses, which are preferred for examples: of the internet (RFC 5737), the LAN, localhost.
const USUAL: [Ipv4Addr; 5] = [
    Ipv4Addr::new(198, 51, 100, 7),
    Ipv4Addr::new(203, 0, 113, 7),
    Ipv4Addr::new(192, 168, 1, 77),
    Ipv4Addr::new(172, 16, 1, 77),
    Ipv4Addr::LOCALHOST,
];
/// Well-known ports, which are preferred for examples.
const PORTS: [u128; 3] = [443, 80, 22];

/// The result of checking an expectation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held<'a> {
    /// The expectation.
    pub expectation: &'a Expectation,
    /// A flow that violates it; `None` if it holds.
    pub failure: Option<Failure>,
}

/// A flow that violates an expectation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The flow; one of usually many.
    pub flow: Flow,
    /// Its outcome according to the policy.
    pub outcome: FlowOutcome,
    /// The values of the declaration that decide; empty if the decision does not depend on it.
    pub declared: Vec<FieldPath>,
    /// The reason for the outcome, in words.
    pub because: String,
}

/// Checks every expectation against the outcome of all flows; results are in the order of the user's list.
pub fn hold<'a>(declaration: &'a Declaration, plan: &Plan) -> Vec<Held<'a>> {
    if declaration.expectations.is_empty() {
        return Vec::new();
    }
    let mut holder = Holder::of(declaration, plan);
    let held = |expectation| Held { expectation, failure: holder.failure(expectation) };
    let mut all: Vec<Held> = declaration.expectations.iter().map(held).collect();
    all.sort_by_key(|held| held.expectation.index);
    all
}

/// The set of flows that an expectation denotes, in the space of `flows`, for which `reach` has the outcomes.
pub fn meant(flows: &mut Flows, reach: &Reach, plan: &Plan, expectation: &Expectation) -> Set {
    let from = side(flows, plan, Side::Source, &expectation.from);
    let to = side(flows, plan, Side::Destination, &expectation.to);
    let mut set = flows.and(from, to);
    let is_any = |parties: &BTreeSet<Party>| parties.contains(&Party::Any);
    if is_any(&expectation.from) || is_any(&expectation.to) {
        let from = if is_any(&expectation.from) { Set::ALL } else { from };
        let to = if is_any(&expectation.to) { Set::ALL } else { to };
        let ours =
            flows.select(reach.outcome, |number| reach.outcomes[number as usize].reason != Reason::NotOurs);
        let all = flows.and(from, to);
        let all = flows.and(all, ours);
        set = flows.or(set, all);
    }
    let ports = expectation.ports.as_ref().map(ranges_of);
    let service = reach::service(flows, expectation.protocol.map(number_of), ports.as_deref());
    let set = flows.and(set, service);
    let inet = flows.family(PacketFamily::Inet);
    flows.and(set, inet)
}

/// The flows that have one of these endpoints on a side; `any` contributes none.
fn side(flows: &mut Flows, plan: &Plan, side: Side, parties: &BTreeSet<Party>) -> Set {
    let sets = parties.iter().map(|party| match party {
        Party::End(Endpoint::Provider(name)) => {
            let of = plan.bridges.iter().filter(|bridge| bridge.provider == *name);
            let regions = of.map(|bridge| ends::region(flows, side, &bridge.region)).collect();
            address_set(flows, side, regions)
        }
        Party::End(Endpoint::Volume(name)) => {
            let address = plan.volume(name).map(|volume| volume.address);
            let set = ends::addresses(flows, side, address.as_ref());
            address_set(flows, side, vec![set])
        }
        Party::Internet => {
            let known = LAN.into_iter().chain([LOCALHOST]);
            let known = networks(flows, side, known);
            let inet = flows.family(PacketFamily::Inet);
            let set = flows.minus(inet, known);
            outside(flows, plan, side, set)
        }
        Party::Lan => {
            let set = networks(flows, side, LAN);
            outside(flows, plan, side, set)
        }
        Party::Localhost => {
            let set = networks(flows, side, [LOCALHOST]);
            address_set(flows, side, vec![set])
        }
        Party::Mac if side == Side::Source => flows.of_this_mac(),
        Party::Mac => {
            let gateways: Vec<Ipv4Addr> = plan.bridges.iter().map(|bridge| bridge.gateway.addr()).collect();
            ends::addresses(flows, side, &gateways)
        }
        Party::Any => Set::NONE,
    });
    let sets: Vec<Set> = sets.collect();
    flows.union(&sets)
}

/// The union of sets of flows by address. As sources, addresses do not include what this Mac itself opens.
fn address_set(flows: &mut Flows, side: Side, sets: Vec<Set>) -> Set {
    let set = flows.union(&sets);
    let mac = flows.of_this_mac();
    if side == Side::Source { flows.minus(set, mac) } else { set }
}

/// The flows of a set whose address on this side is in no provider's network.
fn outside(flows: &mut Flows, plan: &Plan, side: Side, set: Set) -> Set {
    let regions: Vec<Set> =
        plan.bridges.iter().map(|bridge| ends::region(flows, side, &bridge.region)).collect();
    let ours = flows.union(&regions);
    let set = flows.minus(set, ours);
    address_set(flows, side, vec![set])
}

fn networks(flows: &mut Flows, side: Side, networks: impl IntoIterator<Item = Ipv4Net>) -> Set {
    let sets = networks.into_iter();
    let sets: Vec<Set> =
        sets.map(|net| flows.network(side, net.network().into(), net.prefix_len())).collect();
    flows.union(&sets)
}

/// Whether a flow with this fate reaches its destination. Traffic that the rules do not touch does.
pub fn gets_through(fate: FlowVerdict) -> bool {
    match fate {
        FlowVerdict::Passes(_) | FlowVerdict::Untouched => true,
        FlowVerdict::Refused | FlowVerdict::Dropped => false,
    }
}

/// Checks expectations one by one.
struct Holder<'a> {
    declaration: &'a Declaration,
    plan: &'a Plan,
    flows: Flows,
    reach: Reach,
    /// The flows that get through.
    through: Set,
    /// The sets that a witness should be in, in order of preference.
    preferences: Vec<Set>,
}

impl<'a> Holder<'a> {
    fn of(declaration: &'a Declaration, plan: &'a Plan) -> Self {
        let mut flows = Flows::default();
        let reach = Reach::of(&mut flows, plan);
        let through = reach.with_fate(&mut flows, gets_through);
        let mut preferences = vec![flows.number_is(Field::Protocol, TCP)];
        let volumes: Vec<Ipv4Addr> = plan.volumes.iter().map(|volume| volume.address).collect();
        let sides = [Side::Destination, Side::Source];
        preferences.extend(sides.map(|side| ends::addresses(&mut flows, side, &volumes)));
        preferences.extend(sides.map(|side| ends::addresses(&mut flows, side, &USUAL)));
        preferences.extend(PORTS.map(|port| flows.numbers(Field::DestinationPort, &[(port, port)])));
        Self { declaration, plan, flows, reach, through, preferences }
    }

    fn failure(&mut self, expectation: &Expectation) -> Option<Failure> {
        let meant = meant(&mut self.flows, &self.reach, self.plan, expectation);
        let otherwise = if expectation.passes {
            self.flows.minus(meant, self.through)
        } else {
            self.flows.and(meant, self.through)
        };
        let flow = self.witness(otherwise)?;
        let outcome = self.reach.outcome_of(&self.flows, &flow);
        let (declared, because) = self.decides(&flow, outcome);
        Some(Failure { flow, outcome, declared, because })
    }

    /// An example from a set: one that a person would choose, if possible between two volumes and not from a volume to
    /// itself.
    fn witness(&mut self, set: Set) -> Option<Flow> {
        let flow = self.flows.example(set, &self.preferences)?;
        if flow.opener != Opener::Address(flow.destination) {
            return Some(flow);
        }
        let from = self.flows.opened_by(flow.opener);
        let to = self.flows.network(Side::Destination, flow.destination.into(), 32);
        let (to_it, from_it) = (self.flows.minus(to, from), self.flows.minus(from, to));
        let found = [to_it, from_it].into_iter().find_map(|others| {
            let others = self.flows.and(set, others);
            self.flows.example(others, &self.preferences)
        });
        found.or(Some(flow))
    }

    /// The values of the declaration that decide a flow, and the same in words.
    fn decides(&self, flow: &Flow, outcome: FlowOutcome) -> (Vec<FieldPath>, String) {
        let source = match flow.opener {
            Opener::ThisMac => None,
            Opener::Address(address) => Some(address),
        };
        let provider = source.and_then(|source| self.provider(source)).unwrap_or_default();
        let field = |field: &str| vec![FieldPath::of(&["providers", provider, field])];
        match outcome.reason {
            Reason::Within => (field("network"), format!("inside `{provider}` everything passes")),
            Reason::Links => {
                let links = source.map_or_else(Vec::new, |source| self.links(source, flow));
                let names: Vec<String> = links.iter().map(|link| format!("`{link}`")).collect();
                let cover = if links.len() == 1 { "covers" } else { "cover" };
                (links, format!("{} {cover} it", names.join(", ")))
            }
            Reason::NoLink => (Vec::new(), "no link covers it".to_owned()),
            Reason::Internet => {
                (field("internet"), format!("`{provider}` may open connections to the outside"))
            }
            Reason::NoInternet => {
                (field("internet"), format!("`{provider}` may not open connections to the outside"))
            }
            Reason::Localhost => match outcome.fate {
                FlowVerdict::Passes(Some(Translation::Published(volume))) => {
                    let name = self.plan.volumes.iter().find(|it| it.address == volume);
                    let name = name.map_or("", |volume| volume.name.as_str());
                    let path = FieldPath::of(&["volumes", name, "publish"]);
                    (vec![path], format!("`{name}` publishes the port"))
                }
                FlowVerdict::Passes(_)
                | FlowVerdict::Refused
                | FlowVerdict::Dropped
                | FlowVerdict::Untouched => {
                    (Vec::new(), "between volumes and localhost everything passes".to_owned())
                }
            },
            Reason::ThisMac => (Vec::new(), "this Mac may open connections to every volume".to_owned()),
            Reason::Outside => (Vec::new(), "nothing outside may open connections to a volume".to_owned()),
            Reason::NotOurs => (Vec::new(), "no volume is involved, and no rule matches it".to_owned()),
        }
    }

    fn provider(&self, address: Ipv4Addr) -> Option<&'a str> {
        let holds = |region: &AddressRegion| region.contains(address);
        let bridge = self.plan.bridges.iter().find(|bridge| holds(&bridge.region))?;
        Some(bridge.provider.as_str())
    }

    /// The links that cover a flow, in the order of the user's list.
    fn links(&self, source: Ipv4Addr, flow: &Flow) -> Vec<FieldPath> {
        let holds = |ends: &BTreeSet<Endpoint>, address: Ipv4Addr| {
            ends.iter().any(|end| match end {
                Endpoint::Provider(name) => self.provider(address) == Some(name.as_str()),
                Endpoint::Volume(name) => self.plan.volume(name).is_some_and(|it| it.address == address),
            })
        };
        let serves = |link: &Link| {
            let is_ported = matches!(flow.protocol, TCP | UDP);
            link.protocol.is_none_or(|protocol| number_of(protocol) == flow.protocol)
                && link.ports.as_ref().is_none_or(|ports| is_ported && ports.contains(flow.port))
        };
        let covers = |link: &&Link| {
            serves(link)
                && link.directions().any(|(from, to)| holds(from, source) && holds(to, flow.destination))
        };
        let mut found: Vec<usize> =
            self.declaration.links.iter().filter(covers).map(|link| link.index).collect();
        found.sort_unstable();
        found.into_iter().map(|index| FieldPath::of(&["links".to_owned(), index.to_string()])).collect()
    }
}
