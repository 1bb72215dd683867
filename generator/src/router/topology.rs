//! The nodes of a lab: one for every volume, the Mac's own processes, a host on the LAN and a host on the internet.
//!
//! A node is the description of a namespace: its addresses, its routes, and the side of the Mac that it is on. The
//! node of an address is decided here, once. Never: a rule.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::host::{Host, Link, Path, Road};
use super::trace::Over;
use crate::model::VolumeAttachment;
use crate::plan::{Plan, Volume};

/// The name of the interface that leads outside.
pub const EGRESS: &str = "en0";
/// What lo0 of macOS takes.
const LOOPBACK_MTU: u16 = 16_384;
/// The length of the Mac's network outside.
const EGRESS_PREFIX: u8 = 24;
/// What this Mac's own processes send at most: lo0 takes a datagram whole that is longer than its MTU, and what
/// leaves by another interface is cut behind pf.
const LONGEST: u16 = u16::MAX;
/// What an Ethernet takes.
const ETHERNET_MTU: u16 = 1500;

/// The number of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// Addresses that no declaration has: whoever explains packets and whoever carries them take the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cast {
    /// The Mac's, on the interface that leads outside.
    pub mac: Ipv4Addr,
    /// A neighbour's.
    pub lan: Ipv4Addr,
    /// That of a machine of the internet.
    pub internet: Ipv4Addr,
    /// Someone's in each provider's network who is not a volume, by bridge; only these get a node.
    pub strangers: Vec<(usize, Ipv4Addr)>,
}

/// Which side of the Mac a node is on. Bridges are numbered as the plan has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It stands for processes of the Mac itself: what it sends to others of them is seen on lo0.
    Here,
    /// A VM behind a bridge.
    Bridge(usize),
    /// Beyond the interface that leads outside.
    Outside,
}

/// A participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The volume's name, `mac`, `lan`, `internet`, or the provider of a stranger.
    pub name: String,
    /// Its side.
    pub side: Side,
    /// Its addresses; the first is the one that it sends from.
    pub addresses: Vec<Ipv4Addr>,
    /// The router that it sends everything to, where it has one.
    pub gateway: Option<Ipv4Addr>,
    /// Networks that it sends to from another address than its first.
    pub routes: Vec<Route>,
    /// The longest packet that it sends.
    pub mtu: u16,
    /// The provider that it belongs to.
    pub provider: Option<String>,
}

/// A network, and the address that packets to it come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The network.
    pub network: Ipv4Net,
    /// The address.
    pub source: Ipv4Addr,
}

/// The hosts, and where addresses live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    nodes: Vec<Node>,
    by_address: HashMap<Ipv4Addr, NodeId>,
    host: Host,
    mac: NodeId,
    /// Who takes what goes to a router outside and is no other node's.
    router: Option<NodeId>,
}

impl Topology {
    /// The nodes of a plan.
    pub fn of(plan: &Plan, cast: &Cast) -> Self {
        let mut nodes: Vec<Node> = plan.volumes.iter().map(|volume| volume_node(plan, volume)).collect();
        let mac = NodeId(nodes.len());
        nodes.push(mac_node(plan, cast));
        nodes.push(outside("lan", cast.lan));
        nodes.push(outside("internet", cast.internet));
        for (bridge, address) in &cast.strangers {
            let plan = &plan.bridges[*bridge];
            nodes.push(guest(plan.provider.as_str(), *address, *bridge, plan));
        }
        Self::new(nodes, host(plan, cast), mac, None)
    }

    /// These nodes and this Mac.
    pub fn new(nodes: Vec<Node>, host: Host, mac: NodeId, router: Option<NodeId>) -> Self {
        let addresses = (0..)
            .zip(&nodes)
            .flat_map(|(number, node)| node.addresses.iter().map(move |address| (*address, NodeId(number))));
        let by_address = addresses.collect();
        Self { nodes, by_address, host, mac, router }
    }

    /// The same, but for a bridge that is not there: what was meant for its network goes by other routes.
    #[must_use]
    pub fn without(&self, bridge: usize) -> Self {
        Self { host: self.host.without(Over::Bridge(bridge)), ..self.clone() }
    }

    /// The same, with other names of interfaces where there is one.
    #[must_use]
    pub fn named_as(&self, name: impl Fn(Over) -> Option<String>) -> Self {
        Self { host: self.host.named_as(name), ..self.clone() }
    }

    /// The same, with somebody who takes what goes to a router outside and is no other node's.
    #[must_use]
    pub fn with_router(&self, router: NodeId) -> Self {
        Self { router: Some(router), ..self.clone() }
    }

    /// The Mac's interfaces, addresses and routes.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Every node, by its number.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(number, node)| (NodeId(number), node))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The node of this name: volumes go before our own words.
    pub fn named(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|node| node.name == name).map(NodeId)
    }

    /// The nodes that a name means: a volume, or all of a provider.
    pub fn group(&self, name: &str) -> Vec<NodeId> {
        if let Some(node) = self.named(name).filter(|node| self.node(*node).provider.as_deref() != Some(name))
        {
            return vec![node];
        }
        let of_provider = |(_, node): &(NodeId, &Node)| node.provider.as_deref() == Some(name);
        self.nodes().filter(of_provider).map(|(id, _)| id).collect()
    }

    /// The Mac's own processes.
    pub fn mac(&self) -> NodeId {
        self.mac
    }

    /// The node that has an address.
    pub fn owner(&self, address: Ipv4Addr) -> Option<NodeId> {
        self.by_address.get(&address).copied()
    }

    /// The Mac's interfaces with their logical names.
    pub fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.host.links().iter().map(|link| link.name.as_str())
    }

    /// An interface's name; a bridge has its logical one.
    pub fn name(&self, over: Over) -> &str {
        self.host.link(over).map_or("?", |link| link.name.as_str())
    }

    /// The longest packet that gets from one node to another whole.
    pub(super) fn mtu(&self, from: NodeId, to: NodeId) -> u16 {
        self.node(from).mtu.min(self.node(to).mtu)
    }

    /// The node that gets what is for an address of the Mac.
    pub(super) fn here(&self, address: Ipv4Addr) -> NodeId {
        let owner = self.owner(address).filter(|id| self.node(*id).side == Side::Here);
        owner.unwrap_or(self.mac)
    }

    /// The node that gets what leaves the Mac.
    pub(super) fn receiver(&self, path: &Path, to: Ipv4Addr) -> Option<NodeId> {
        let side = match path.over {
            Over::Loopback => return Some(self.here(to)),
            Over::Bridge(bridge) => Side::Bridge(bridge),
            Over::Egress => Side::Outside,
        };
        let owner = self.owner(to).filter(|id| self.node(*id).side == side);
        owner.or(self.router.filter(|_| path.gateway.is_some()))
    }
}

fn volume_node(plan: &Plan, volume: &Volume) -> Node {
    let bridge =
        plan.bridges.iter().position(|bridge| bridge.provider == volume.provider).unwrap_or_default();
    match volume.attachment {
        VolumeAttachment::Guest => guest(volume.name.as_str(), volume.address, bridge, &plan.bridges[bridge]),
        VolumeAttachment::Host => Node {
            name: volume.name.to_string(),
            side: Side::Here,
            addresses: [Some(volume.address), volume.alias].into_iter().flatten().collect(),
            gateway: None,
            routes: Vec::new(),
            mtu: LONGEST,
            provider: Some(volume.provider.to_string()),
        },
    }
}

/// What the guest's files say: an address of its own, and a way to everything by the gateway.
fn guest(name: &str, address: Ipv4Addr, bridge: usize, plan: &crate::plan::Bridge) -> Node {
    Node {
        name: name.to_owned(),
        side: Side::Bridge(bridge),
        addresses: vec![address],
        gateway: Some(plan.gateway.addr()),
        routes: Vec::new(),
        mtu: ETHERNET_MTU,
        provider: Some(plan.provider.to_string()),
    }
}

/// The Mac's own processes. To a provider's network they send from its gateway: macOS takes the address of the bridge,
/// or for what it serves itself the destination's own, which no other stack would take for another machine's.
fn mac_node(plan: &Plan, cast: &Cast) -> Node {
    let gateways = plan.bridges.iter().map(|bridge| bridge.gateway.addr());
    let guests = plan.volumes.iter().filter(|volume| volume.attachment == VolumeAttachment::Guest);
    let aliases = guests.filter_map(|volume| volume.alias).chain([plan.localhost.gateway.addr()]);
    let routes =
        plan.bridges.iter().map(|bridge| Route { network: bridge.network, source: bridge.gateway.addr() });
    Node {
        name: "mac".to_owned(),
        side: Side::Here,
        addresses: [cast.mac].into_iter().chain(gateways).chain(aliases).collect(),
        gateway: None,
        routes: routes.collect(),
        mtu: LONGEST,
        provider: None,
    }
}

fn outside(name: &str, address: Ipv4Addr) -> Node {
    Node {
        name: name.to_owned(),
        side: Side::Outside,
        addresses: vec![address],
        gateway: None,
        routes: Vec::new(),
        mtu: ETHERNET_MTU,
        provider: None,
    }
}

/// The Mac of a plan, as the manager makes it.
fn host(plan: &Plan, cast: &Cast) -> Host {
    let single = |address: Ipv4Addr| Ipv4Net::from(address);
    let served = plan.volumes.iter().filter(|volume| volume.attachment == VolumeAttachment::Host);
    let own = served.map(|volume| single(volume.address));
    let aliases = plan.volumes.iter().filter_map(|volume| volume.alias);
    let aliases = aliases.chain([plan.localhost.gateway.addr()]).map(single);
    let loopback = Link {
        over: Over::Loopback,
        name: "lo0".to_owned(),
        addresses: [Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8)]
            .into_iter()
            .chain(own)
            .chain(aliases)
            .collect(),
        offloads: true,
        mtu: LOOPBACK_MTU,
    };
    // No one beyond it is on its network but the neighbour: as Wi-Fi, it finishes no sums.
    let egress = Link {
        over: Over::Egress,
        name: EGRESS.to_owned(),
        addresses: vec![Ipv4Net::new_assert(cast.mac, EGRESS_PREFIX)],
        offloads: false,
        mtu: ETHERNET_MTU,
    };
    let bridges = plan.bridges.iter().enumerate().map(|(number, bridge)| Link {
        over: Over::Bridge(number),
        name: bridge.logical.to_string(),
        addresses: vec![bridge.gateway],
        offloads: true,
        mtu: ETHERNET_MTU,
    });
    let roads = plan.bridges.iter().enumerate().map(|(number, bridge)| Road {
        network: bridge.network,
        over: Over::Bridge(number),
        gateway: None,
    });
    let router = Some(Ipv4Addr::from(u32::from(Ipv4Net::new_assert(cast.mac, EGRESS_PREFIX).network()) + 1));
    let default = Road { network: Ipv4Net::default(), over: Over::Egress, gateway: router };
    let links = [loopback, egress].into_iter().chain(bridges).collect();
    Host::new(links, roads.chain([default]).collect(), true)
}
