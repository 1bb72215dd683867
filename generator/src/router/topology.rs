//! Who takes part: a node for every volume, the Mac's own processes, a neighbour and a machine of the internet.
//!
//! A node is what a namespace is made from: its addresses, its routes, and the side of the Mac that it is on. Where an
//! address lives is decided here, once. Never: a rule.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::model::VolumeAttachment;
use crate::plan::{Plan, Volume};

/// The name of the interface that leads outside.
pub const EGRESS: &str = "en0";
/// What lo0 of macOS takes.
const LOOPBACK_MTU: u16 = 16_384;
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
    /// Somebody's in each provider's network who is no volume, by bridge; only these get a node.
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

/// Where an address lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// On the Mac itself, as a node's.
    Here(NodeId),
    /// Behind a bridge, where a node may have it or nobody.
    Bridge(usize, Option<NodeId>),
    /// Outside; the same.
    Outside(Option<NodeId>),
    /// No machine's: everybody's, or nobody's.
    Nowhere,
}

/// Who takes part, and where addresses live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    nodes: Vec<Node>,
    by_address: HashMap<Ipv4Addr, NodeId>,
    /// Networks of bridges with their numbers, in order.
    networks: Vec<(Ipv4Net, usize)>,
    bridges: Vec<Bridge>,
    mac: NodeId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Bridge {
    logical: String,
    gateway: Ipv4Addr,
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
        let addresses = (0..)
            .zip(&nodes)
            .flat_map(|(number, node)| node.addresses.iter().map(move |address| (*address, NodeId(number))));
        let by_address = addresses.collect();
        let mut networks: Vec<(Ipv4Net, usize)> =
            plan.bridges.iter().enumerate().map(|(number, bridge)| (bridge.network, number)).collect();
        networks.sort();
        let bridge = |bridge: &crate::plan::Bridge| Bridge {
            logical: bridge.logical.to_string(),
            gateway: bridge.gateway.addr(),
        };
        Self { nodes, by_address, networks, bridges: plan.bridges.iter().map(bridge).collect(), mac }
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
        ["lo0", EGRESS].into_iter().chain(self.bridges.iter().map(|bridge| bridge.logical.as_str()))
    }

    pub(super) fn bridge_name(&self, bridge: usize) -> &str {
        &self.bridges[bridge].logical
    }

    /// The Mac's address towards a node.
    pub(super) fn address_towards(&self, node: NodeId) -> Ipv4Addr {
        match self.node(node).side {
            Side::Bridge(bridge) => self.bridges[bridge].gateway,
            Side::Here | Side::Outside => self.node(self.mac).addresses[0],
        }
    }

    pub(super) fn is_gateway(&self, address: Ipv4Addr) -> bool {
        self.bridges.iter().any(|bridge| bridge.gateway == address)
    }

    /// The longest packet that gets from one node to another whole.
    pub(super) fn mtu(&self, from: NodeId, to: NodeId) -> u16 {
        self.node(from).mtu.min(self.node(to).mtu)
    }

    pub(super) fn place(&self, address: Ipv4Addr) -> Place {
        if let Some(&node) = self.by_address.get(&address) {
            return match self.node(node).side {
                Side::Here => Place::Here(node),
                Side::Bridge(bridge) => Place::Bridge(bridge, Some(node)),
                Side::Outside => Place::Outside(Some(node)),
            };
        }
        if address.is_loopback() {
            return Place::Here(self.mac);
        }
        if address.is_multicast() || address.is_broadcast() || address.is_unspecified() {
            return Place::Nowhere;
        }
        let behind = self.networks.partition_point(|(network, _)| network.network() <= address);
        let network = behind.checked_sub(1).and_then(|at| self.networks.get(at));
        match network.filter(|(network, _)| network.contains(&address)) {
            Some((network, _)) if address == network.broadcast() && network.prefix_len() < 31 => {
                Place::Nowhere
            }
            Some((_, bridge)) => Place::Bridge(*bridge, None),
            None => Place::Outside(None),
        }
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
            mtu: LOOPBACK_MTU,
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
        mtu: LOOPBACK_MTU,
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
