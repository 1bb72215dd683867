//! Decides which flows may get different answers: a function of all flows whose values differ wherever the outcome, the
//! pipe, a published port, or the links mentioned in the explanation differ.
//!
//! Two flows with the same value, between endpoints in the same kind of place, have the same answer except for names
//! and addresses. The tests compare that with answers computed one by one. Never: an answer, or a rule.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;

use super::end::At;
use crate::packets::{Field, Map, Set, Side};
use crate::plan::Plan;
use crate::plan::policy::{ICMP, PermissionPart, TCP, UDP};
use crate::reach::ends::Sets;
use crate::reach::{self, Flows, Opener, Reach, Reason};

/// Represents ESP and AH, which pf blocks without an answer; `OTHER` represents all protocols without a name here.
pub(super) const ESP: u8 = 50;
pub(super) const OTHER: u8 = 132;

/// An endpoint reduced to its place on the Mac and its address; its name does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub at: At,
    pub address: Ipv4Addr,
    /// The provider whose network contains the address, by its index in the plan.
    pub provider: Option<usize>,
    /// Whether it is a process of this Mac that binds no address, so that the source depends on the destination.
    pub is_unbound: bool,
}

/// Everything that the answers for two endpoints depend on, except their names and addresses.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    places: [(u8, Option<usize>); 2],
    same_bridge: bool,
    /// The function restricted to their flows, in both directions.
    services: [Map; 2],
}

/// The function, with caches.
pub(super) struct Apart<'a> {
    plan: &'a Plan,
    flows: Flows,
    map: Map,
    from: HashMap<Opener, Map>,
    starts: HashMap<Map, BTreeSet<u16>>,
}

/// A number for each pair of numbers.
#[derive(Default)]
struct Numbers(HashMap<(u32, u32), u32>);

impl Numbers {
    fn of(&mut self, one: u32, other: u32) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry((one, other)).or_insert(next)
    }
}

impl<'a> Apart<'a> {
    /// Computes the function for a plan.
    pub fn of(plan: &'a Plan) -> Self {
        let mut flows = Flows::default();
        let reach = Reach::of(&mut flows, plan);
        let mut numbers = Numbers::default();
        let mut map = flows.join(reach.outcome, reach.pipe, &mut |one, other| numbers.of(one, other));
        // Pipes have numbers below this one; after it come the published ports, then three facts for each link.
        let mut fact = u32::from(u16::MAX);
        let mut note = |flows: &mut Flows, map: Map, set: Set| {
            fact += 1;
            flows.overlay(set, map, map, &mut |number| numbers.of(number, fact))
        };
        for (alias, port) in plan.publishes.iter().map(|it| (it.alias, it.port)) {
            let published = reach::service(&mut flows, Some(TCP), Some(&[(port, port)]));
            let alias = flows.network(Side::Destination, alias.into(), 32);
            let set = flows.and(published, alias);
            map = note(&mut flows, map, set);
        }
        let is_of_links = |reason| matches!(reason, Reason::Links | Reason::NoLink);
        let decided =
            flows.select(reach.outcome, |number| is_of_links(reach.outcomes[number as usize].reason));
        let parts = plan.policy.parts();
        let sets = Sets::of(&mut flows, &parts);
        let mut noted = HashSet::new();
        // For each link the flows from its senders to its receivers, those in the opposite direction, and those that it
        // covers.
        for PermissionPart { from, to, protocol, ports, masquerade: _ } in &parts.permissions {
            let [there, back] = [(from, to), (to, from)].map(|(from, to)| {
                let from = sets.ends(&mut flows, Side::Source, from);
                let to = sets.ends(&mut flows, Side::Destination, to);
                let pairs = flows.and(from, to);
                flows.and(pairs, decided)
            });
            let service = reach::service(&mut flows, *protocol, ports.as_deref());
            for set in [there, back, flows.and(there, service)].into_iter().filter(|set| noted.insert(*set)) {
                map = note(&mut flows, map, set);
            }
        }
        Self { plan, flows, map, from: HashMap::new(), starts: HashMap::new() }
    }

    /// The endpoint at an address.
    pub fn spot(&self, address: Ipv4Addr, at: At) -> Spot {
        let provider = self.plan.bridges.iter().position(|bridge| bridge.region.contains(address));
        Spot { at, address, provider, is_unbound: false }
    }

    /// The function restricted to the flows from one endpoint to another: a function of services.
    pub fn services(&mut self, from: &Spot, to: &Spot) -> Map {
        let opener = self.opener(from, to);
        let known = self.from.get(&opener).copied();
        let of_opener = known.unwrap_or_else(|| self.flows.from(self.map, opener));
        self.from.insert(opener, of_opener);
        self.flows.to(of_opener, to.address)
    }

    /// The opener of a flow; a process that binds no address gets one that depends on the destination.
    fn opener(&self, from: &Spot, to: &Spot) -> Opener {
        match (from.at, to.at) {
            (At::Mac, At::Loopback | At::Host | At::Gateway(_)) if from.is_unbound => {
                Opener::Address(to.address)
            }
            (At::Mac, At::Bridge(bridge)) if from.is_unbound => {
                Opener::Address(self.plan.bridges[bridge].gateway.addr())
            }
            (At::Mac, _) => Opener::ThisMac,
            _ => Opener::Address(from.address),
        }
    }

    /// The key under which the answers for two endpoints are cached.
    pub fn key(&mut self, from: &Spot, to: &Spot) -> Key {
        let place = |one: &Spot, other: &Spot| {
            // Rules and reasons name a provider only if the other endpoint belongs to none, or to the same one.
            let is_told = |provider: &usize| other.provider.is_none_or(|other| other == *provider);
            let provider = one.provider.filter(is_told);
            match one.at {
                At::Loopback => (0, None),
                At::Host => (1, provider),
                At::Gateway(_) => (2, provider),
                // The address of a process of the Mac that binds none depends on the destination.
                At::Mac if one.is_unbound => (3, usize::try_from(u32::from(other.address)).ok()),
                At::Bridge(_) | At::OtherMac(_) => (4, provider),
                At::Outside => (5, None),
                At::Mac => (6, None),
            }
        };
        let bridge = |spot: &Spot| match spot.at {
            At::Bridge(bridge) | At::OtherMac(bridge) => Some(bridge),
            _ => None,
        };
        Key {
            places: [place(from, to), place(to, from)],
            same_bridge: bridge(from).is_some() && bridge(from) == bridge(to),
            services: [self.services(from, to), self.services(to, from)],
        }
    }

    /// Ranges of services that may get different answers, by protocol and ports. `more` are further ports at which a
    /// range must start.
    pub fn spans(&mut self, key: &Key, more: &BTreeSet<u16>) -> Vec<(u8, (u16, u16))> {
        let mut spans = Vec::new();
        for protocol in [TCP, UDP] {
            let starts: BTreeSet<u16> = self.starts(key.services[0], protocol).union(more).copied().collect();
            let ends = starts.iter().skip(1).map(|next| next - 1).chain([u16::MAX]);
            spans.extend(starts.iter().copied().zip(ends).map(|range| (protocol, range)));
        }
        spans.extend([ICMP, ESP, OTHER].map(|protocol| (protocol, (0, 0))));
        spans
    }

    /// The ports at which the function changes: the first port of each range.
    fn starts(&mut self, services: Map, protocol: u8) -> BTreeSet<u16> {
        let map = self.flows.with_number(services, Field::Protocol, protocol);
        if let Some(known) = self.starts.get(&map) {
            return known.clone();
        }
        let mut starts = BTreeSet::from([1]);
        for (number, _) in self.flows.each(map) {
            let set = self.flows.select(map, |other| other == number);
            for (first, last) in self.flows.field_ranges(set, Field::DestinationPort) {
                starts.extend([first, last + 1].into_iter().filter_map(|port| u16::try_from(port).ok()));
            }
        }
        // Port 0 is not a usable port.
        starts.remove(&0);
        self.starts.insert(map, starts.clone());
        starts
    }
}
