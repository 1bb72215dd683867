//! Several Macs that are joined by a tunnel: what one of them has of the others.
//!
//! Every Mac's topology lists the same nodes in the same order, so that a node has one number in all of them; only where
//! it is attached differs. Never: a packet, or a key.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::host::{MacInterface, StaticRoute};
use super::interface::Over;
use super::node::{Node, NodeAttachment, SourceRoute};
use crate::loading::MESH;
use crate::plan::{Plan, Tunnel};

/// The prefix of a Mac's name where volumes and providers can be named too, as in a path of the declaration.
pub const MACS: &str = "macs.";
/// The MTU that wg-quick gives the tunnel on a link of Ethernet's MTU: 80 bytes are for the headers of IPv6, UDP and
/// WireGuard.
pub const TUNNEL_MTU: u16 = 1420;
/// The interface on the link between the Macs.
pub const UNDERLAY: &str = "en1";
const ETHERNET_MTU: u16 = 1500;
/// Networks for the link between the Macs: the first that no provider overlaps.
const LINKS: [Ipv4Net; 5] = [
    Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 16, 0), 20),
    Ipv4Net::new_assert(Ipv4Addr::new(198, 19, 16, 0), 20),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 30, 240, 0), 20),
    Ipv4Net::new_assert(Ipv4Addr::new(10, 250, 240, 0), 20),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 240, 0), 20),
];

/// One of the Macs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMac {
    /// Its name.
    pub name: String,
    /// Its address in the tunnel.
    pub address: Ipv4Addr,
    /// Its address on the link between the Macs.
    pub underlay: Ipv4Net,
    /// The networks of its providers.
    pub networks: Vec<Ipv4Net>,
    /// Its own addresses in them.
    pub gateways: Vec<Ipv4Addr>,
    /// Whether the plan is this Mac's.
    pub is_this: bool,
}

impl JoinedMac {
    /// What the others send to it through the tunnel.
    pub fn allowed(&self) -> impl Iterator<Item = Ipv4Net> {
        [Ipv4Net::from(self.address)].into_iter().chain(self.networks.iter().copied())
    }
}

/// A Mac's name where volumes and providers can be named too: `macs.mini`.
pub fn mac_end(name: &str) -> String {
    format!("{MACS}{name}")
}

/// All Macs of a plan, by name; none if there is only one.
pub fn joined(plan: &Plan) -> Vec<JoinedMac> {
    let Some(Tunnel { mac, address, peers, listen_port: _ }) = &plan.mesh else { return Vec::new() };
    let others = peers.iter().map(|peer| (&peer.mac, peer.address, false));
    let mut macs: Vec<_> = others.chain([(mac, *address, true)]).collect();
    macs.sort();
    let link = link(plan);
    let one = |(number, (name, address, is_this)): (u32, _)| {
        let of = || plan.bridges.iter().filter(move |bridge| plan.mac_of(bridge) == Some(name));
        let own = Ipv4Addr::from(u32::from(link.network()) + number);
        JoinedMac {
            name: name.to_string(),
            address,
            underlay: Ipv4Net::new_assert(own, link.prefix_len()),
            networks: of().map(|bridge| bridge.network).collect(),
            gateways: of().map(|bridge| bridge.gateway.addr()).collect(),
            is_this,
        }
    };
    (1..).zip(macs).map(one).collect()
}

/// The network of the link between the Macs.
fn link(plan: &Plan) -> Ipv4Net {
    let is_free = |net: &&Ipv4Net| {
        plan.bridges.iter().all(|it| !it.network.contains(*net) && !net.contains(&it.network))
    };
    LINKS.iter().find(is_free).copied().unwrap_or(LINKS[0])
}

/// The node of another Mac's own processes.
pub(super) fn other_mac(mac: &JoinedMac) -> Node {
    let addresses = [mac.address].into_iter().chain(mac.gateways.iter().copied());
    node(mac_end(&mac.name), NodeAttachment::Mesh, addresses.collect(), TUNNEL_MTU)
}

/// A host beside another Mac.
pub(super) fn elsewhere(name: String) -> Node {
    node(name, NodeAttachment::Elsewhere, Vec::new(), ETHERNET_MTU)
}

/// The WireGuard of a Mac.
pub(super) fn wire(mac: &JoinedMac) -> Node {
    let side = if mac.is_this { NodeAttachment::Here } else { NodeAttachment::Underlay };
    node(format!("wireguard.{}", mac.name), side, vec![mac.underlay.addr()], ETHERNET_MTU)
}

/// A host in the network of a provider on another Mac.
pub(super) fn remote(name: String, address: Ipv4Addr, provider: String) -> Node {
    let provider = Some(provider);
    Node { provider, ..node(name, NodeAttachment::Mesh, vec![address], TUNNEL_MTU) }
}

fn node(name: String, side: NodeAttachment, addresses: Vec<Ipv4Addr>, mtu: u16) -> Node {
    Node { name, side, addresses, gateway: None, routes: Vec::new(), mtu, provider: None }
}

/// The routes of this Mac's processes to the other Macs, from an address of theirs.
pub(super) fn routes(macs: &[JoinedMac], source: Ipv4Addr) -> impl Iterator<Item = SourceRoute> {
    let allowed = macs.iter().filter(|mac| !mac.is_this).flat_map(JoinedMac::allowed);
    allowed.map(move |network| SourceRoute { network, source, mtu: Some(TUNNEL_MTU) })
}

/// The interfaces of this Mac that lead to the others. utun offloads no checksums.
pub(super) fn links(macs: &[JoinedMac]) -> impl Iterator<Item = MacInterface> {
    macs.iter().filter(|mac| mac.is_this).flat_map(|mac| {
        [
            (Over::Mesh, MESH, Ipv4Net::from(mac.address), TUNNEL_MTU),
            (Over::Underlay, UNDERLAY, mac.underlay, ETHERNET_MTU),
        ]
        .map(|(over, name, address, mtu)| MacInterface {
            over,
            name: name.to_owned(),
            addresses: vec![address],
            offloads: false,
            mtu,
        })
    })
}

/// The routes of this Mac to the others, as wg-quick adds them: those of `AllowedIPs`.
pub(super) fn roads(macs: &[JoinedMac]) -> impl Iterator<Item = StaticRoute> {
    let allowed = macs.iter().filter(|mac| !mac.is_this).flat_map(JoinedMac::allowed);
    allowed.map(|network| StaticRoute { network, over: Over::Mesh, gateway: None })
}
