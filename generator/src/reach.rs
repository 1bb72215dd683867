//! End-to-end reachability: the outcome of all flows, as exact functions.
//!
//! A flow is what opens a connection or exchange: a TCP SYN, a datagram, an ICMP message that is not an error. It is
//! opened by this Mac or by an address: of a provider or a volume, localhost, or outside. Its outcome follows from the
//! table of what is permitted, row by row. [`crate::plan::policy`] is how that is realized at the hooks of macOS, and
//! the tests compare the two. Two declarations can share a [`Flows`], so that their functions can be compared.
//!
//! The outcome is what pf does. Not modelled: that macOS itself drops packets that arrive from a wire for 127.0.0.0/8,
//! and whether any host has an address. Sees: plan, packets. Never: hooks, rules, or one pair of endpoints at a time.

pub mod ends;
mod services;

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::{Deref, DerefMut};

use crate::packets::{FirstMatchRow, Map, PacketFamily, Set, Side, Space, WitnessPacket};
use crate::plan::Plan;
use crate::plan::policy::{Parts, TCP, Translation};
use ends::Sets;
pub use ends::service;
pub use services::Services;

/// The interface name that represents this Mac as the opener.
const THIS_MAC: &str = "this Mac";

/// The space of flows: a packet space in which the interface tells whether this Mac opens the flow.
#[derive(Debug, Clone)]
pub struct Flows(Space);

impl Deref for Flows {
    type Target = Space;

    fn deref(&self) -> &Space {
        &self.0
    }
}

impl DerefMut for Flows {
    fn deref_mut(&mut self) -> &mut Space {
        &mut self.0
    }
}

/// The opener of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Opener {
    /// This Mac, from an address of its own that belongs to no provider.
    ThisMac,
    /// The host with this address; outside, if the address is neither declared nor localhost.
    Address(Ipv4Addr),
}

/// One flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// The opener.
    pub opener: Opener,
    /// The destination address.
    pub destination: Ipv4Addr,
    /// The IANA protocol number.
    pub protocol: u8,
    /// The destination port; 0 if the protocol has no ports.
    pub port: u16,
}

/// The outcome of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowVerdict {
    /// It passes, perhaps with a translated address.
    Passes(Option<Translation>),
    /// It is blocked, and the opener gets an answer (RST or ICMP).
    Refused,
    /// It is blocked without an answer.
    Dropped,
    /// It does not concern this network: no rule of ours decides.
    Untouched,
}

/// The part of the declaration that decides a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Source and destination belong to the same provider.
    Within,
    /// A link covers it.
    Links,
    /// No link covers it.
    NoLink,
    /// The source's provider may open connections to the outside.
    Internet,
    /// The source's provider may not.
    NoInternet,
    /// Between volumes and localhost, or to a published port.
    Localhost,
    /// From this Mac to a volume.
    ThisMac,
    /// From the outside to a volume.
    Outside,
    /// Neither endpoint belongs to a provider.
    NotOurs,
}

/// The outcome of a flow, with the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowOutcome {
    /// What happens to the flow.
    pub fate: FlowVerdict,
    /// What decides.
    pub reason: Reason,
}

/// The outcomes of all flows under a plan.
#[derive(Debug, Clone)]
pub struct Reach {
    /// The number of each flow's outcome.
    pub outcome: Map,
    /// The outcomes by number.
    pub outcomes: Vec<FlowOutcome>,
    /// The number of the pipe between two addresses; 0 means none.
    pub pipe: Map,
    /// The flows inside one provider.
    pub within: Set,
}

impl Default for Flows {
    fn default() -> Self {
        Self(Space::new([THIS_MAC.to_owned()]))
    }
}

impl Flows {
    /// The flows that this Mac opens.
    pub fn of_this_mac(&mut self) -> Set {
        self.interface(THIS_MAC)
    }

    /// The flows of an opener.
    pub fn opened_by(&mut self, opener: Opener) -> Set {
        let mac = self.of_this_mac();
        match opener {
            Opener::ThisMac => mac,
            Opener::Address(address) => {
                let from = self.network(Side::Source, address.into(), 32);
                self.minus(from, mac)
            }
        }
    }

    /// A function restricted to one opener.
    pub fn from(&mut self, map: Map, opener: Opener) -> Map {
        let address = match opener {
            Opener::ThisMac => WitnessPacket::default().source,
            Opener::Address(address) => address.into(),
        };
        let of_opener = self.with_address(map, Side::Source, address);
        self.with_interface(of_opener, if opener == Opener::ThisMac { THIS_MAC } else { "" })
    }

    /// A set of flows by addresses alone: as it would be for openers other than this Mac.
    pub fn on_wire(&mut self, set: Set) -> Set {
        let map = self.with_interface(set.as_map(), "");
        self.select(map, |number| number == 1)
    }

    /// A function restricted to one destination.
    pub fn to(&mut self, map: Map, destination: Ipv4Addr) -> Map {
        self.with_address(map, Side::Destination, destination.into())
    }

    /// The value of a fully restricted function; if bits are left free, its value for a default flow.
    pub fn of_constant(&self, map: Map) -> u32 {
        map.as_constant().unwrap_or_else(|| self.of(map, &WitnessPacket::default()))
    }

    /// The value of a function for one flow.
    pub fn of_flow(&self, map: Map, flow: &Flow) -> u32 {
        self.of(map, &packet(flow))
    }

    /// Whether a flow is in a set.
    pub fn holds(&self, set: Set, flow: &Flow) -> bool {
        self.has(set, &packet(flow))
    }

    /// A flow of a set, `None` if it is empty. Each preference is honoured if the earlier ones allow it.
    pub fn example(&mut self, set: Set, preferences: &[Set]) -> Option<Flow> {
        let inet = self.family(PacketFamily::Inet);
        let set = self.and(set, inet);
        let packet = self.witness(set, preferences)?;
        let v4 = |address| match address {
            std::net::IpAddr::V4(v4) => Some(v4),
            std::net::IpAddr::V6(_) => None,
        };
        let opener = match packet.interface.as_str() {
            THIS_MAC => Opener::ThisMac,
            _ => Opener::Address(v4(packet.source)?),
        };
        let destination = v4(packet.destination)?;
        let port = if matches!(packet.protocol, TCP | 17) { packet.destination_port } else { 0 };
        Some(Flow { opener, destination, protocol: packet.protocol, port })
    }
}

fn packet(flow: &Flow) -> WitnessPacket {
    let usual = WitnessPacket::default();
    let (interface, source) = match flow.opener {
        Opener::ThisMac => (THIS_MAC.to_owned(), usual.source),
        Opener::Address(address) => (String::new(), address.into()),
    };
    WitnessPacket {
        interface,
        source,
        destination: flow.destination.into(),
        protocol: flow.protocol,
        destination_port: flow.port,
        ..usual
    }
}

impl Reach {
    /// The outcomes of all flows under a plan.
    pub fn of(flows: &mut Flows, plan: &Plan) -> Self {
        let parts = plan.policy.parts();
        let sets = Sets::of(flows, &parts);
        let pipe = sets.pipes(flows, &parts);
        let within = sets.within(flows);
        let mut table = Table { flows, sets, rows: Vec::new(), outcomes: Vec::new() };
        table.fill(&parts, within);
        let Table { flows, sets: _, mut rows, outcomes } = table;
        rows.reverse();
        Self { outcome: flows.first_match(&rows), outcomes, pipe, within }
    }

    /// The outcome of one flow.
    pub fn outcome_of(&self, flows: &Flows, flow: &Flow) -> FlowOutcome {
        self.outcomes[flows.of_flow(self.outcome, flow) as usize]
    }

    /// The flows whose fate satisfies a predicate.
    pub fn with_fate(&self, flows: &mut Flows, is_meant: impl Fn(FlowVerdict) -> bool) -> Set {
        flows.select(self.outcome, |number| is_meant(self.outcomes[number as usize].fate))
    }

    /// The flows that our rules pass.
    pub fn passing(&self, flows: &mut Flows) -> Set {
        self.with_fate(flows, FlowVerdict::passes)
    }
}

impl FlowVerdict {
    /// Whether our rules pass the flow.
    pub fn passes(self) -> bool {
        matches!(self, Self::Passes(_))
    }
}

impl fmt::Display for FlowVerdict {
    /// `passed`, `passed from 10.1.1.1`, `refused`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passes(None) => f.write_str("passed"),
            Self::Passes(Some(Translation::EgressSource)) => f.write_str("passed with NAT"),
            Self::Passes(Some(translation)) => write!(f, "passed {translation}"),
            Self::Refused => f.write_str("refused"),
            Self::Dropped => f.write_str("dropped"),
            Self::Untouched => f.write_str("untouched"),
        }
    }
}

/// The table of what is permitted, filled from its last row to its first.
struct Table<'a> {
    flows: &'a mut Flows,
    sets: Sets,
    rows: Vec<FirstMatchRow>,
    outcomes: Vec<FlowOutcome>,
}

impl Table<'_> {
    fn put(&mut self, set: Set, fate: FlowVerdict, reason: Reason) {
        self.put_both((set, Set::ALL), fate, reason);
    }

    /// Adds a row before all others, for the intersection of two sets: by opener, and by everything after it.
    fn put_both(&mut self, (top, rest): (Set, Set), fate: FlowVerdict, reason: Reason) {
        let outcome = FlowOutcome { fate, reason };
        let number = self.outcomes.iter().position(|known| *known == outcome).unwrap_or_else(|| {
            self.outcomes.push(outcome);
            self.outcomes.len() - 1
        });
        let then = Map::constant(u32::try_from(number).expect("fewer than 2^31 outcomes"));
        self.rows.push(FirstMatchRow { top, then: self.flows.only(rest, then) });
    }

    fn all(&mut self, sets: impl IntoIterator<Item = Set>) -> Set {
        sets.into_iter().fold(Set::ALL, |all, set| self.flows.and(all, set))
    }

    fn fill(&mut self, parts: &Parts, within: Set) {
        let (from, to) = (self.sets.from_any, self.sets.to_any);
        self.put(Set::ALL, FlowVerdict::Untouched, Reason::NotOurs);
        self.put(to, FlowVerdict::Dropped, Reason::Outside);
        self.outward(parts);
        let between = self.flows.and(from, to);
        self.put(between, FlowVerdict::Refused, Reason::NoLink);
        self.links(parts);
        self.put(within, FlowVerdict::Passes(None), Reason::Within);
        let [from_localhost, to_localhost] =
            [Side::Source, Side::Destination].map(|side| self.localhost(side));
        for (one, other) in [(from, to_localhost), (from_localhost, to)] {
            let both = self.flows.and(one, other);
            self.put(both, FlowVerdict::Passes(None), Reason::Localhost);
        }
        let mac = self.flows.of_this_mac();
        self.put(mac, FlowVerdict::Untouched, Reason::NotOurs);
        let to_volumes = self.flows.and(mac, to);
        self.put(to_volumes, FlowVerdict::Passes(None), Reason::ThisMac);
        let local = self.flows.or(from, from_localhost);
        let local = self.flows.or(local, mac);
        self.published(parts, local);
    }

    fn localhost(&mut self, side: Side) -> Set {
        self.flows.network(side, Ipv4Addr::new(127, 0, 0, 0).into(), 8)
    }

    /// From volumes to the outside.
    fn outward(&mut self, parts: &Parts) {
        let fates =
            [(false, FlowVerdict::Refused), (true, FlowVerdict::Passes(Some(Translation::EgressSource)))];
        for (internet, fate) in fates {
            let networks = parts.networks.iter().zip(&self.sets.from);
            let meant = networks.filter(|(network, _)| network.internet == internet);
            let from: Vec<Set> = meant.map(|(_, set)| *set).collect();
            let from = self.flows.union(&from);
            self.put(from, fate, if internet { Reason::Internet } else { Reason::NoInternet });
        }
    }

    /// What links cover.
    fn links(&mut self, parts: &Parts) {
        // A packet from a guest to an address of the Mac leaves by no interface, so it is never masqueraded.
        let mut served = Vec::new();
        for addresses in parts.served {
            let side = |flows: &mut Flows, side| ends::addresses(flows, side, addresses);
            served.push([side(self.flows, Side::Source), side(self.flows, Side::Destination)]);
        }
        let mut stays = Vec::new();
        // Masquerading rows take precedence, so they are put after the others: the table is filled backwards.
        for (link, from, to) in ends::links(parts) {
            let from = self.sets.ends(self.flows, Side::Source, &from);
            let service = service(self.flows, link.protocol, link.ports);
            let set = self.sets.ends(self.flows, Side::Destination, &to);
            let covered = self.flows.and(service, set);
            if !link.masquerade {
                self.put_both((from, covered), FlowVerdict::Passes(None), Reason::Links);
                continue;
            }
            for [served_from, served_to] in &served {
                stays.push((self.flows.minus(from, *served_from), self.flows.and(covered, *served_to)));
            }
            for (network, to) in self.sets.by_network(self.flows, parts, &to) {
                let gateway = Translation::GatewaySource(parts.networks[network].gateway);
                let leaves = self.flows.and(service, to);
                self.put_both((from, leaves), FlowVerdict::Passes(Some(gateway)), Reason::Links);
            }
        }
        for both in stays {
            self.put_both(both, FlowVerdict::Passes(None), Reason::Links);
        }
    }

    fn published(&mut self, parts: &Parts, local: Set) {
        for ((alias, port), volume) in parts.publishes {
            let alias = self.flows.network(Side::Destination, (*alias).into(), 32);
            let service = service(self.flows, Some(TCP), Some(&[(*port, *port)]));
            let set = self.all([service, alias, local]);
            self.put(set, FlowVerdict::Passes(Some(Translation::Published(*volume))), Reason::Localhost);
        }
    }
}
