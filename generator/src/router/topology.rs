//! The nodes of a lab: one for every volume, the Mac's own processes, a host on the LAN and a host on the internet.
//!
//! A node describes a namespace: its addresses, its routes, and where it is attached to the Mac. Only this module
//! decides which node has an address. Never: a rule.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::host::{ChosenRoute, MacInterface, MacNetwork, StaticRoute};
use super::interface::Over;
use super::node::NodeId;
use crate::model::VolumeAttachment;
use crate::plan::{Plan, PlannedVolume};

/// The egress interface.
pub const EGRESS: &str = "en0";
/// The MTU of lo0 on macOS.
const LOOPBACK_MTU: u16 = 16_384;
/// Prefix length of the Mac's network on the egress interface.
const EGRESS_PREFIX: u8 = 24;
/// Longest packet that the Mac's own processes send: lo0 accepts a datagram longer than its MTU without fragmenting
/// it, and what leaves by another interface is fragmented after pf.
const LONGEST: u16 = u16::MAX;
/// The MTU of Ethernet.
const ETHERNET_MTU: u16 = 1500;

/// Addresses that no declaration contains; `explain` and the lab use the same ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExampleHosts {
    /// The Mac, on the egress interface.
    pub mac: Ipv4Addr,
    /// A host on the Mac's LAN.
    pub lan: Ipv4Addr,
    /// A host on the internet.
    pub internet: Ipv4Addr,
    /// A host that is not a volume, by the bridge of the provider's network that it is in; only the bridges listed
    /// get one.
    pub strangers: Vec<(usize, Ipv4Addr)>,
}

/// Where a node is attached to the Mac. Bridges are numbered as in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeAttachment {
    /// It stands for processes of the Mac itself: what it sends to another such node is seen on lo0.
    Here,
    /// A VM behind a bridge.
    Bridge(usize),
    /// A host beyond the egress interface.
    Outside,
}

/// A host of the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The volume's name, `mac`, `lan`, `internet`, or the provider of a host that is not a volume.
    pub name: String,
    /// Where it is attached.
    pub side: NodeAttachment,
    /// Its addresses; the first is the default source.
    pub addresses: Vec<Ipv4Addr>,
    /// Its default gateway, if it has one.
    pub gateway: Option<Ipv4Addr>,
    /// Networks to which it sends from another address than the default source.
    pub routes: Vec<SourceRoute>,
    /// Longest packet that it sends, in bytes.
    pub mtu: u16,
    /// Its provider, if it is in a provider's network.
    pub provider: Option<String>,
}

/// A destination network with the source address for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceRoute {
    /// The destination network.
    pub network: Ipv4Net,
    /// The source address.
    pub source: Ipv4Addr,
}

/// The nodes, the Mac that joins them, and the owner of each address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    nodes: Vec<Node>,
    by_address: HashMap<Ipv4Addr, NodeId>,
    host: MacNetwork,
    mac: NodeId,
    /// The node that gets what is sent to a next hop outside for an address that no node has.
    router: Option<NodeId>,
}

impl Topology {
    /// The nodes of a plan: one per volume, then `mac`, `lan`, `internet` and the strangers of the cast.
    pub fn of(plan: &Plan, cast: &ExampleHosts) -> Self {
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

    /// A topology of these nodes and this Mac. `router` is described at [`Self::with_router`].
    pub fn new(nodes: Vec<Node>, host: MacNetwork, mac: NodeId, router: Option<NodeId>) -> Self {
        let addresses = (0..)
            .zip(&nodes)
            .flat_map(|(number, node)| node.addresses.iter().map(move |address| (*address, NodeId(number))));
        let by_address = addresses.collect();
        Self { nodes, by_address, host, mac, router }
    }

    /// A copy without a bridge: what was sent to its network takes other routes.
    #[must_use]
    pub fn without(&self, bridge: usize) -> Self {
        Self { host: self.host.without(Over::Bridge(bridge)), ..self.clone() }
    }

    /// A copy with the Mac's interfaces renamed where `name` returns a name.
    #[must_use]
    pub fn named_as(&self, name: impl Fn(Over) -> Option<String>) -> Self {
        Self { host: self.host.named_as(name), ..self.clone() }
    }

    /// A copy in which `router` gets what is sent to a next hop for an address that no node on that side has.
    #[must_use]
    pub fn with_router(&self, router: NodeId) -> Self {
        Self { router: Some(router), ..self.clone() }
    }

    /// The Mac's interfaces, addresses and routes.
    pub fn host(&self) -> &MacNetwork {
        &self.host
    }

    /// All nodes with their ids, in order.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(number, node)| (NodeId(number), node))
    }

    /// Number of nodes.
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// A node. Panics if the id is of another topology.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The node of this name. Volumes come first, so they win over `mac`, `lan` and `internet`.
    pub fn named(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|node| node.name == name).map(NodeId)
    }

    /// The nodes that a name stands for: a volume or other host, or all nodes of a provider.
    pub fn group(&self, name: &str) -> Vec<NodeId> {
        if let Some(node) = self.named(name).filter(|node| self.node(*node).provider.as_deref() != Some(name))
        {
            return vec![node];
        }
        let of_provider = |(_, node): &(NodeId, &Node)| node.provider.as_deref() == Some(name);
        self.nodes().filter(of_provider).map(|(id, _)| id).collect()
    }

    /// The node of the Mac's own processes.
    pub fn mac(&self) -> NodeId {
        self.mac
    }

    /// The node that has an address.
    pub fn owner(&self, address: Ipv4Addr) -> Option<NodeId> {
        self.by_address.get(&address).copied()
    }

    /// The names of the Mac's interfaces; bridges have their logical names.
    pub fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.host.links().iter().map(|link| link.name.as_str())
    }

    /// The name of an interface, for a bridge the logical one; `?` if it is absent.
    pub fn name(&self, over: Over) -> &str {
        self.host.link(over).map_or("?", |link| link.name.as_str())
    }

    /// Longest packet that gets from one node to another unfragmented.
    pub(super) fn mtu(&self, from: NodeId, to: NodeId) -> u16 {
        self.node(from).mtu.min(self.node(to).mtu)
    }

    /// The node that gets a packet for an address of the Mac.
    pub(super) fn here(&self, address: Ipv4Addr) -> NodeId {
        let owner = self.owner(address).filter(|id| self.node(*id).side == NodeAttachment::Here);
        owner.unwrap_or(self.mac)
    }

    /// The node that gets a packet that the Mac sends along `path`.
    pub(super) fn receiver(&self, path: &ChosenRoute, to: Ipv4Addr) -> Option<NodeId> {
        let side = match path.over {
            Over::Loopback => return Some(self.here(to)),
            Over::Bridge(bridge) => NodeAttachment::Bridge(bridge),
            Over::Egress => NodeAttachment::Outside,
        };
        let owner = self.owner(to).filter(|id| self.node(*id).side == side);
        owner.or(self.router.filter(|_| path.gateway.is_some()))
    }
}

fn volume_node(plan: &Plan, volume: &PlannedVolume) -> Node {
    let bridge =
        plan.bridges.iter().position(|bridge| bridge.provider == volume.provider).unwrap_or_default();
    match volume.attachment {
        VolumeAttachment::Guest => guest(volume.name.as_str(), volume.address, bridge, &plan.bridges[bridge]),
        VolumeAttachment::Host => Node {
            name: volume.name.to_string(),
            side: NodeAttachment::Here,
            addresses: [Some(volume.address), volume.alias].into_iter().flatten().collect(),
            gateway: None,
            routes: Vec::new(),
            mtu: LONGEST,
            provider: Some(volume.provider.to_string()),
        },
    }
}

/// A guest as its rendered files configure it: one address, and a default route by the gateway.
fn guest(name: &str, address: Ipv4Addr, bridge: usize, plan: &crate::plan::Bridge) -> Node {
    Node {
        name: name.to_owned(),
        side: NodeAttachment::Bridge(bridge),
        addresses: vec![address],
        gateway: Some(plan.gateway.addr()),
        routes: Vec::new(),
        mtu: ETHERNET_MTU,
        provider: Some(plan.provider.to_string()),
    }
}

/// The Mac's own processes. They send to a provider's network from its gateway: macOS takes the address of the
/// bridge, or, for a volume that it serves, the destination's own, which no other stack would accept from another
/// machine.
fn mac_node(plan: &Plan, cast: &ExampleHosts) -> Node {
    let gateways = plan.bridges.iter().map(|bridge| bridge.gateway.addr());
    let guests = plan.volumes.iter().filter(|volume| volume.attachment == VolumeAttachment::Guest);
    let aliases = guests.filter_map(|volume| volume.alias).chain([plan.localhost.gateway.addr()]);
    let routes = plan
        .bridges
        .iter()
        .map(|bridge| SourceRoute { network: bridge.network, source: bridge.gateway.addr() });
    Node {
        name: "mac".to_owned(),
        side: NodeAttachment::Here,
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
        side: NodeAttachment::Outside,
        addresses: vec![address],
        gateway: None,
        routes: Vec::new(),
        mtu: ETHERNET_MTU,
        provider: None,
    }
}

/// The Mac of a plan, as the manager configures it.
fn host(plan: &Plan, cast: &ExampleHosts) -> MacNetwork {
    let single = |address: Ipv4Addr| Ipv4Net::from(address);
    let served = plan.volumes.iter().filter(|volume| volume.attachment == VolumeAttachment::Host);
    let own = served.map(|volume| single(volume.address));
    let aliases = plan.volumes.iter().filter_map(|volume| volume.alias);
    let aliases = aliases.chain([plan.localhost.gateway.addr()]).map(single);
    let loopback = MacInterface {
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
    // On its network there is only the host of the LAN. Like Wi-Fi, it offloads no checksums.
    let egress = MacInterface {
        over: Over::Egress,
        name: EGRESS.to_owned(),
        addresses: vec![Ipv4Net::new_assert(cast.mac, EGRESS_PREFIX)],
        offloads: false,
        mtu: ETHERNET_MTU,
    };
    let bridges = plan.bridges.iter().enumerate().map(|(number, bridge)| MacInterface {
        over: Over::Bridge(number),
        name: bridge.logical.to_string(),
        addresses: vec![bridge.gateway],
        offloads: true,
        mtu: ETHERNET_MTU,
    });
    let roads = plan.bridges.iter().enumerate().map(|(number, bridge)| StaticRoute {
        network: bridge.network,
        over: Over::Bridge(number),
        gateway: None,
    });
    let router = Some(Ipv4Addr::from(u32::from(Ipv4Net::new_assert(cast.mac, EGRESS_PREFIX).network()) + 1));
    let default = StaticRoute { network: Ipv4Net::default(), over: Over::Egress, gateway: router };
    let links = [loopback, egress].into_iter().chain(bridges).collect();
    MacNetwork::new(links, roads.chain([default]).collect(), true)
}
