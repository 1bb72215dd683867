//! The nodes of a lab: one for every volume, the Mac's own processes, a host on the LAN and a host on the internet.
//!
//! A node describes a namespace: its addresses, its routes, and where it is attached to the Mac. Only this module
//! decides which node has an address. With several Macs each has a topology of its own, with the same nodes in the same
//! order. Never: a rule.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::host::{ChosenRoute, MacInterface, MacNetwork, StaticRoute};
use super::interface::Over;
use super::joined::{self, JoinedMac};
use super::node::{Node, NodeAttachment, NodeId, SourceRoute};
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

/// The nodes, the Mac that joins them, and the owner of each address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    nodes: Vec<Node>,
    by_address: HashMap<Ipv4Addr, NodeId>,
    host: MacNetwork,
    mac: NodeId,
    /// The other Macs: the networks that are reached through the tunnel, and the node of each.
    behind: Vec<(Ipv4Net, NodeId)>,
    /// The WireGuard of each Mac, by name of the Mac.
    wires: Vec<NodeId>,
    /// The node that gets what is sent to a next hop outside for an address that no node has.
    router: Option<NodeId>,
}

impl Topology {
    /// The nodes of a plan: one per volume, then `mac`, `lan` and `internet`, for each Mac if there are several, then the
    /// strangers of the cast; at last the WireGuard of each Mac.
    pub fn of(plan: &Plan, cast: &ExampleHosts) -> Self {
        let macs = joined::joined(plan);
        let of_volume = |volume: &PlannedVolume| volume_node(plan, volume, &macs);
        let mut nodes: Vec<Node> = plan.volumes.iter().map(of_volume).collect();
        let (mut mac, mut behind) = (NodeId(nodes.len()), Vec::new());
        if macs.is_empty() {
            nodes.push(mac_node("mac".to_owned(), plan, cast, &macs));
            nodes.push(outside("lan".to_owned(), cast.lan));
            nodes.push(outside("internet".to_owned(), cast.internet));
        }
        for one in &macs {
            let node = NodeId(nodes.len());
            let (lan, internet) = (format!("lan.{}", one.name), format!("internet.{}", one.name));
            if one.is_this {
                mac = node;
                nodes.push(mac_node(joined::mac_end(&one.name), plan, cast, &macs));
                nodes.push(outside(lan, cast.lan));
                nodes.push(outside(internet, cast.internet));
            } else {
                behind.extend(one.allowed().map(|network| (network, node)));
                nodes.push(joined::other_mac(one));
                nodes.extend([lan, internet].map(joined::elsewhere));
            }
        }
        for (bridge, address) in &cast.strangers {
            let plan = &plan.bridges[*bridge];
            let name = plan.provider.to_string();
            nodes.push(if plan.is_here() {
                guest(&name, *address, *bridge, plan)
            } else {
                joined::remote(name.clone(), *address, name)
            });
        }
        let wires = (nodes.len()..).map(NodeId).take(macs.len()).collect();
        nodes.extend(macs.iter().map(joined::wire));
        Self { behind, wires, ..Self::new(nodes, host(plan, cast, &macs), mac, None) }
    }

    /// A topology of these nodes and this Mac. `router` is described at [`Self::with_router`].
    pub fn new(nodes: Vec<Node>, host: MacNetwork, mac: NodeId, router: Option<NodeId>) -> Self {
        let addresses = (0..)
            .zip(&nodes)
            .flat_map(|(number, node)| node.addresses.iter().map(move |address| (*address, NodeId(number))));
        let by_address = addresses.collect();
        Self { nodes, by_address, host, mac, behind: Vec::new(), wires: Vec::new(), router }
    }

    /// A copy without a bridge: what was sent to its network takes other routes.
    #[must_use]
    pub fn without(&self, bridge: usize) -> Self {
        Self { host: self.host.without(Over::Bridge(bridge)), ..self.clone() }
    }

    /// A copy without the tunnel to the other Macs: what was sent to them takes other routes.
    #[must_use]
    pub fn without_mesh(&self) -> Self {
        Self { host: self.host.without(Over::Mesh), ..self.clone() }
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

    /// The host on the internet, beyond this Mac's egress interface.
    pub fn internet(&self) -> Option<NodeId> {
        self.nodes().filter(|(_, node)| node.side == NodeAttachment::Outside).nth(1).map(|(id, _)| id)
    }

    /// The nodes of the WireGuard of each Mac, in the order of their names; none if there is one Mac.
    pub fn wires(&self) -> &[NodeId] {
        &self.wires
    }

    /// The node of another Mac that sends from this address through the tunnel, or gets what is sent to it: the host that
    /// has it, or else the Mac's own processes.
    pub fn behind_mesh(&self, address: Ipv4Addr) -> Option<NodeId> {
        let owner = self.owner(address).filter(|id| self.node(*id).side == NodeAttachment::Mesh);
        owner.or_else(|| {
            let known = self.behind.iter().filter(|(network, _)| network.contains(&address));
            known.max_by_key(|(network, _)| network.prefix_len()).map(|(_, node)| *node)
        })
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
            Over::Mesh => return self.behind_mesh(to),
            Over::Underlay => NodeAttachment::Underlay,
        };
        let owner = self.owner(to).filter(|id| self.node(*id).side == side);
        owner.or(self.router.filter(|_| path.gateway.is_some()))
    }
}

fn volume_node(plan: &Plan, volume: &PlannedVolume, macs: &[JoinedMac]) -> Node {
    if !volume.is_here() {
        return joined::remote(volume.name.to_string(), volume.address, volume.provider.to_string());
    }
    let bridge =
        plan.bridges.iter().position(|bridge| bridge.provider == volume.provider).unwrap_or_default();
    match volume.attachment {
        VolumeAttachment::Guest => guest(volume.name.as_str(), volume.address, bridge, &plan.bridges[bridge]),
        VolumeAttachment::Host => Node {
            name: volume.name.to_string(),
            side: NodeAttachment::Here,
            addresses: [Some(volume.address), volume.alias].into_iter().flatten().collect(),
            gateway: None,
            routes: joined::routes(macs, volume.address).collect(),
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
fn mac_node(name: String, plan: &Plan, cast: &ExampleHosts, macs: &[JoinedMac]) -> Node {
    let gateways = plan.own_bridges().map(|bridge| bridge.gateway.addr());
    let guests = plan.volumes.iter().filter(|volume| volume.is_guest());
    let aliases = guests.filter_map(|volume| volume.alias).chain([plan.localhost.gateway.addr()]);
    let in_mesh = plan.mesh.as_ref().map(|mesh| mesh.address);
    let routes = plan.own_bridges().map(|bridge| SourceRoute {
        network: bridge.network,
        source: bridge.gateway.addr(),
        mtu: None,
    });
    let routes = routes.chain(in_mesh.into_iter().flat_map(|source| joined::routes(macs, source)));
    Node {
        name,
        side: NodeAttachment::Here,
        addresses: [cast.mac].into_iter().chain(gateways).chain(aliases).chain(in_mesh).collect(),
        gateway: None,
        routes: routes.collect(),
        mtu: LONGEST,
        provider: None,
    }
}

fn outside(name: String, address: Ipv4Addr) -> Node {
    Node {
        name,
        side: NodeAttachment::Outside,
        addresses: vec![address],
        gateway: None,
        routes: Vec::new(),
        mtu: ETHERNET_MTU,
        provider: None,
    }
}

/// The Mac of a plan, as the manager configures it.
fn host(plan: &Plan, cast: &ExampleHosts, macs: &[JoinedMac]) -> MacNetwork {
    let single = |address: Ipv4Addr| Ipv4Net::from(address);
    let served = plan.volumes.iter().filter(|volume| volume.is_served());
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
    let here = || plan.bridges.iter().enumerate().filter(|(_, bridge)| bridge.is_here());
    let bridges = here().map(|(number, bridge)| MacInterface {
        over: Over::Bridge(number),
        name: bridge.logical.to_string(),
        addresses: vec![bridge.gateway],
        offloads: true,
        mtu: ETHERNET_MTU,
    });
    let roads = here().map(|(number, bridge)| StaticRoute {
        network: bridge.network,
        over: Over::Bridge(number),
        gateway: None,
    });
    let router = Some(Ipv4Addr::from(u32::from(Ipv4Net::new_assert(cast.mac, EGRESS_PREFIX).network()) + 1));
    let default = StaticRoute { network: Ipv4Net::default(), over: Over::Egress, gateway: router };
    let links = [loopback, egress].into_iter().chain(bridges).chain(joined::links(macs)).collect();
    MacNetwork::new(links, roads.chain(joined::roads(macs)).chain([default]).collect(), true)
}
