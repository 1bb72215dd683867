//! The parts of the policy, for building a function of all packets instead of deciding one packet at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::{EndSet, ICMP, Policy, TCP, UDP};
use crate::model::{Name, PortSet, Protocol};
use crate::plan::AddressRegion;

/// The parts of a policy.
#[derive(Debug, Clone)]
pub struct Parts<'a> {
    /// The networks of providers, sorted by address.
    pub networks: Vec<NetworkPart<'a>>,
    /// Every direction of every link.
    pub permissions: Vec<PermissionPart>,
    /// Every path that has conditions. Narrower ones take precedence, first by sender, then by receiver; of the same
    /// breadth, the first one.
    pub ways: Vec<WayPart>,
    /// Published ports: the volume's address by localhost alias and port.
    pub publishes: &'a BTreeMap<(Ipv4Addr, u16), Ipv4Addr>,
    /// The addresses that the Mac itself has: gateways, and volumes that it serves.
    pub here: &'a BTreeSet<Ipv4Addr>,
    /// The same for each Mac that shares the declaration.
    pub served: &'a [BTreeSet<Ipv4Addr>],
    /// The addresses of the Macs in the tunnel, this one's first, then those of the others; `None` with one Mac.
    pub mesh: Option<(Ipv4Addr, &'a BTreeSet<Ipv4Addr>)>,
}

/// A provider's network.
#[derive(Debug, Clone, Copy)]
pub struct NetworkPart<'a> {
    /// The index of the provider's bridge in the plan.
    pub bridge: usize,
    /// Its addresses.
    pub region: &'a AddressRegion,
    /// The address of its gateway.
    pub gateway: Ipv4Addr,
    /// Whether it may open connections to the outside.
    pub internet: bool,
    /// Whether it is on this Mac.
    pub is_here: bool,
}

/// The endpoints of one side: networks by index and volumes by address. No volume is in one of the networks.
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
    /// The endpoints that may open connections.
    pub from: Ends,
    /// The endpoints that they may reach.
    pub to: Ends,
    /// The protocol number; `None` means any, or with ports TCP and UDP.
    pub protocol: Option<u8>,
    /// Ranges of destination ports, inclusive, in ascending order; `None` means all.
    pub ports: Option<Vec<(u16, u16)>>,
    /// Whether the source becomes the gateway address of the receiving network.
    pub masquerade: bool,
}

/// One direction of a link that has conditions.
#[derive(Debug, Clone)]
pub struct WayPart {
    /// The sending endpoints.
    pub from: Ends,
    /// The receiving endpoints.
    pub to: Ends,
    /// The number of its pipe; `None` if earlier ways of the same breadth cover all of its packets.
    pub pipe: Option<u16>,
}

impl Policy {
    /// The parts of this policy.
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
            is_here: network.is_here,
        });
        Parts {
            permissions: permissions.collect(),
            ways: ways.collect(),
            networks: networks.collect(),
            publishes: &self.publishes,
            here: &self.here,
            served: &self.served,
            mesh: self.mesh.as_ref().map(|mesh| (mesh.own, &mesh.others)),
        }
    }
}

/// The protocol number of a protocol.
pub fn number_of(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => TCP,
        Protocol::Udp => UDP,
        Protocol::Icmp => ICMP,
    }
}

/// Ports as inclusive ranges of numbers.
pub fn ranges_of(ports: &PortSet) -> Vec<(u16, u16)> {
    ports.ranges().iter().map(|range| (range.first, range.last)).collect()
}

/// What the names of providers and volumes refer to.
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
