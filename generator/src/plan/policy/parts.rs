//! The parts of the policy, for building a function of all packets instead of asking about one packet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::{EndSet, ICMP, Policy, TCP, UDP};
use crate::model::{Name, PortSet, Protocol};
use crate::plan::Region;

/// The parts of a policy.
#[derive(Debug, Clone)]
pub struct Parts<'a> {
    /// The networks of providers, in the order of their addresses.
    pub networks: Vec<NetworkPart<'a>>,
    /// Every direction of every link.
    pub permissions: Vec<PermissionPart>,
    /// Every path that has conditions. The narrower takes precedence, the sender's breadth before the receiver's, and
    /// of the same breadth the first.
    pub ways: Vec<WayPart>,
    /// Ports that answer on a localhost alias: the alias and port, and the volume's address.
    pub publishes: &'a BTreeMap<(Ipv4Addr, u16), Ipv4Addr>,
    /// What the Mac itself has of providers and volumes.
    pub here: &'a BTreeSet<Ipv4Addr>,
}

/// A provider's network.
#[derive(Debug, Clone, Copy)]
pub struct NetworkPart<'a> {
    /// The index of the provider's bridge in the plan.
    pub bridge: usize,
    /// Its addresses.
    pub region: &'a Region,
    /// Its gateway.
    pub gateway: Ipv4Addr,
    /// Whether it may open connections to the outside.
    pub internet: bool,
}

/// Ends of one side: networks by their index, and volumes by their address, none in one of the networks.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ends {
    /// Networks, by their index in [`Parts::networks`].
    pub networks: BTreeSet<usize>,
    /// Addresses of volumes.
    pub volumes: BTreeSet<Ipv4Addr>,
}

/// One direction of a link.
#[derive(Debug, Clone)]
pub struct PermissionPart {
    /// Who may open.
    pub from: Ends,
    /// The endpoints that they may reach.
    pub to: Ends,
    /// The protocol by IANA's number; without one and with ports, TCP and UDP.
    pub protocol: Option<u8>,
    /// Ranges of destination ports in order, or every one.
    pub ports: Option<Vec<(u16, u16)>>,
    /// Whether its packets get the gateway address of the network that receives them.
    pub masquerade: bool,
}

/// One direction of a link that has conditions.
#[derive(Debug, Clone)]
pub struct WayPart {
    /// Who sends.
    pub from: Ends,
    /// Who receives.
    pub to: Ends,
    /// The number of its pipe; none where others have all its packets.
    pub pipe: Option<u16>,
}

impl Policy {
    /// The parts that it is made of.
    pub fn parts(&self) -> Parts<'_> {
        let named = Named::of(self);
        let mut senders = vec![EndSet::default(); self.links.len()];
        for (name, numbers) in &self.by_source {
            for number in numbers {
                named.add(name, &mut senders[*number]);
            }
        }
        let permissions = self.links.iter().zip(&senders).map(|(link, from)| PermissionPart {
            from: named.ends(from),
            to: named.ends(&link.to),
            protocol: link.protocol.map(number_of),
            ports: link.ports.as_ref().map(ranges_of),
            masquerade: link.masquerade,
        });
        let ways = self.ways.iter().map(|way| WayPart {
            from: named.ends(&way.from),
            to: named.ends(&way.to),
            pipe: way.pipe,
        });
        let networks = self.networks.iter().map(|network| NetworkPart {
            bridge: network.bridge,
            region: &network.region,
            gateway: network.gateway,
            internet: network.internet,
        });
        Parts {
            permissions: permissions.collect(),
            ways: ways.collect(),
            networks: networks.collect(),
            publishes: &self.publishes,
            here: &self.here,
        }
    }
}

/// The number of a protocol.
pub fn number_of(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
        Protocol::Icmp => ICMP,
    }
}

/// Ports as ranges of numbers.
pub fn ranges_of(ports: &PortSet) -> Vec<(u16, u16)> {
    ports.ranges().iter().map(|range| (range.first, range.last)).collect()
}

/// What names stand for.
struct Named<'a> {
    networks: BTreeMap<&'a Name, usize>,
    /// The address of each volume, and the index of its network.
    volumes: BTreeMap<&'a Name, (Ipv4Addr, Option<usize>)>,
}

impl<'a> Named<'a> {
    fn of(policy: &'a Policy) -> Self {
        let networks = policy.networks.iter().enumerate().map(|(index, it)| (&it.provider, index)).collect();
        let of_volume = |(address, name): (&Ipv4Addr, &'a Name)| {
            let network = policy.network(*address).map(|it| it.region.network.network());
            let index = network.and_then(|first| {
                policy.networks.binary_search_by_key(&first, |it| it.region.network.network()).ok()
            });
            (name, (*address, index))
        };
        Self { networks, volumes: policy.volumes.iter().map(of_volume).collect() }
    }

    fn add(&self, name: &Name, ends: &mut EndSet) {
        if self.networks.contains_key(name) {
            ends.providers.insert(name.clone());
        } else {
            ends.volumes.insert(name.clone());
        }
    }

    fn ends(&self, ends: &EndSet) -> Ends {
        let networks: BTreeSet<usize> =
            ends.providers.iter().filter_map(|name| self.networks.get(name).copied()).collect();
        let volumes = ends.volumes.iter().filter_map(|name| self.volumes.get(name));
        let outside =
            volumes.filter(|(_, network)| network.is_none_or(|network| !networks.contains(&network)));
        Ends { volumes: outside.map(|(address, _)| *address).collect(), networks }
    }
}
