//! The hosts of a lab as probes see them: each on the Mac that it is attached to.
//!
//! Never: which result a probe has.

use std::net::Ipv4Addr;

use nixvol_net::router::{Node, NodeAttachment, NodeId, Topology};

use super::super::running::Lab;

/// How many addresses of a Mac's own processes are probed.
const OF_MAC: usize = 2;

/// The hosts, and the Macs when everything is there.
pub struct Hosts<'a> {
    pub lab: &'a Lab,
    /// By Mac.
    pub topologies: &'a [Topology],
}

impl Hosts<'_> {
    /// A host, as the Mac has it that it is attached to.
    pub fn node(&self, id: NodeId) -> &Node {
        self.topologies[self.lab.mac_of(id)].node(id)
    }

    /// All hosts.
    pub fn all(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        (0..self.lab.nets.len()).map(|number| (NodeId(number), self.node(NodeId(number))))
    }

    /// Whether what one host sends to another crosses no Mac, or would reach another host of the same address: every Mac
    /// has a LAN and an internet of its own.
    pub fn never_meet(&self, from: NodeId, to: NodeId) -> bool {
        let is_outside = |id: NodeId| self.node(id).side == NodeAttachment::Outside;
        is_outside(to) && (is_outside(from) || self.lab.mac_of(from) != self.lab.mac_of(to))
    }

    /// The addresses to probe between two hosts. Loopback addresses are probed only from the Mac's own nodes; a Mac sends
    /// to another one from its address in the tunnel too, and is reached there by that address.
    pub fn pairs(&self, from: NodeId, to: NodeId) -> Vec<(Ipv4Addr, Ipv4Addr)> {
        let (source, target) = (self.node(from), self.node(to));
        let [sender, receiver] = [from, to].map(|id| self.lab.mac_of(id));
        let in_mesh = |mac: usize| self.lab.macs[mac].plan.mesh.as_ref().map(|mesh| mesh.address);
        let is_mac = |mac: usize, id: NodeId| self.topologies[mac].mac() == id;
        let is_near = sender == receiver;
        let mut sources = vec![source.addresses[0]];
        sources.extend(in_mesh(sender).filter(|_| !is_near && is_mac(sender, from)));
        let destinations: Vec<Ipv4Addr> = if !is_near && is_mac(receiver, to) {
            let gateway = target.addresses.get(1).copied();
            in_mesh(receiver).into_iter().chain(gateway.filter(|it| !it.is_loopback())).collect()
        } else {
            let count = if is_mac(receiver, to) { OF_MAC } else { target.addresses.len() };
            let may_ask =
                |address: &Ipv4Addr| !address.is_loopback() || is_near && source.side == NodeAttachment::Here;
            target.addresses.iter().copied().take(count).filter(may_ask).collect()
        };
        let of = |source: Ipv4Addr| destinations.iter().map(move |destination| (source, *destination));
        sources.into_iter().flat_map(of).collect()
    }
}
