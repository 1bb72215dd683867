//! The Macs of a lab: a router for each, and the WireGuard that joins several.
//!
//! A packet for another Mac leaves its router by the tunnel, is sealed, and the datagram goes through the same router
//! again, out by the link between the Macs; the other Mac's router takes it in, and its WireGuard opens it. Never: a
//! device, or the time of day.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context, Result};
use nixvol_net::plan::Plan;
use nixvol_net::router::{JoinedMac, Node, NodeAttachment, NodeId, Router, Topology, joined};
use nixvol_net::tunnel::{PeerCounts, PrivateKey, Sealed, TunnelEnd, TunnelPeer};
use nixvol_net::wire::{self, Offload};

/// The Macs, and what each of them makes of every node.
pub struct Macs {
    all: Vec<PlayedMac>,
    /// For each Mac the end of every node.
    ends: Vec<Vec<End>>,
    hops: VecDeque<Hop>,
}

/// One Mac.
pub struct PlayedMac {
    /// Its routes, rules, states and path conditions.
    pub router: Router,
    /// Its WireGuard, if there are several Macs.
    link: Option<MacLink>,
}

/// The WireGuard of a Mac.
struct MacLink {
    tunnel: TunnelEnd,
    /// The node of its socket.
    wire: NodeId,
    /// The address and port of its socket.
    at: SocketAddrV4,
    /// The Mac and the socket of each peer of the tunnel.
    peers: Vec<(usize, SocketAddrV4)>,
}

/// Who takes what is delivered to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The programs in its namespace.
    Programs,
    /// The tunnel of this Mac.
    Tunnel,
    /// The WireGuard of this Mac.
    WireGuard,
    /// The link to this other Mac.
    Link(usize),
}

/// A packet on its way between the Macs.
struct Hop {
    mac: usize,
    to: NodeId,
    bytes: Vec<u8>,
    offload: Offload,
}

/// Where packets go that leave the Macs.
pub trait Outlet {
    /// Hands a packet to a node's namespace.
    fn send(&mut self, to: NodeId, bytes: &[u8], offload: &Offload);
    /// Keeps a packet that a Mac delivers later.
    fn later(&mut self, at: Duration, mac: usize, to: NodeId, bytes: Vec<u8>, offload: Offload);
}

impl Macs {
    /// These Macs, each with the plan that it was made from.
    pub fn new(routers: Vec<Router>, plans: &[&Plan]) -> Result<Self> {
        let ends = routers.iter().map(|router| ends(router.topology())).collect();
        let links = links(plans, &routers)?;
        let all = routers.into_iter().zip(links).map(|(router, link)| PlayedMac { router, link }).collect();
        Ok(Self { all, ends, hops: VecDeque::new() })
    }

    /// All Macs, in order.
    pub fn all(&self) -> &[PlayedMac] {
        &self.all
    }

    /// All Macs, to change them.
    pub fn all_mut(&mut self) -> &mut [PlayedMac] {
        &mut self.all
    }

    /// The router of a Mac.
    pub fn router(&self, mac: usize) -> &Router {
        &self.all[mac].router
    }

    /// The router of a Mac, to change it.
    pub fn router_mut(&mut self, mac: usize) -> &mut Router {
        &mut self.all[mac].router
    }

    /// The hosts: each as the Mac sees it that it is attached to.
    pub fn hosts(&self) -> impl Iterator<Item = (usize, NodeId, &Node)> {
        let of_mac = |(mac, ends): (usize, &Vec<End>)| {
            let topology = self.all[mac].router.topology();
            let is_host = |(id, node): &(NodeId, &Node)| {
                ends[id.0] == End::Programs && node.side != NodeAttachment::Elsewhere
            };
            topology.nodes().filter(is_host).map(move |(id, node)| (mac, id, node)).collect::<Vec<_>>()
        };
        let mut hosts: Vec<_> = self.ends.iter().enumerate().flat_map(of_mac).collect();
        hosts.sort_by_key(|(_, id, _)| *id);
        hosts.into_iter()
    }

    /// The node of a Mac's WireGuard.
    pub fn wire(&self, mac: usize) -> Option<NodeId> {
        self.all[mac].link.as_ref().map(|link| link.wire)
    }

    /// The port of a Mac's WireGuard, and its peers: the Mac, and what is known of it.
    pub fn peers(&self, mac: usize) -> Option<(SocketAddrV4, Vec<(usize, PeerCounts)>)> {
        let link = self.all[mac].link.as_ref()?;
        Some((link.at, link.peers.iter().map(|(mac, _)| *mac).zip(link.tunnel.counts()).collect()))
    }

    /// Advances the clocks of all Macs.
    pub fn tell_time(&mut self, now: Duration) {
        for mac in &mut self.all {
            mac.router.tell_time(now);
        }
    }

    /// Sends the handshakes and keepalives that are due.
    pub fn tick(&mut self, now: Duration, out: &mut impl Outlet) {
        for mac in 0..self.all.len() {
            let Some(link) = &mut self.all[mac].link else { return };
            for sealed in link.tunnel.tick() {
                self.transmit(mac, &sealed, now, out);
            }
        }
        self.settle(now, out);
    }

    /// Takes a packet of a node that is attached to a Mac, which may change it in place.
    pub fn receive(
        &mut self,
        (mac, from): (usize, NodeId),
        bytes: &mut [u8],
        offload: Offload,
        now: Duration,
        out: &mut impl Outlet,
    ) {
        self.step((mac, from), bytes, offload, now, out);
        self.settle(now, out);
    }

    /// Delivers a packet that was kept for later.
    pub fn arrive(
        &mut self,
        (mac, to): (usize, NodeId),
        bytes: Vec<u8>,
        offload: Offload,
        now: Duration,
        out: &mut impl Outlet,
    ) {
        self.hops.push_back(Hop { mac, to, bytes, offload });
        self.settle(now, out);
    }

    /// Takes a packet through one router.
    fn step(
        &mut self,
        (mac, from): (usize, NodeId),
        bytes: &mut [u8],
        offload: Offload,
        now: Duration,
        out: &mut impl Outlet,
    ) {
        let (_, deliveries) = self.all[mac].router.receive(from, bytes, offload, now);
        for delivery in deliveries {
            let (to, offload) = (delivery.to, delivery.offload);
            let own = || delivery.bytes.clone().unwrap_or_else(|| bytes[..delivery.length].to_vec());
            if delivery.at > now {
                out.later(delivery.at, mac, to, own(), offload);
            } else if self.ends[mac][to.0] == End::Programs {
                let bytes = delivery.bytes.as_deref().unwrap_or_else(|| &bytes[..delivery.length]);
                out.send(to, bytes, &offload);
            } else {
                self.hops.push_back(Hop { mac, to, bytes: own(), offload });
            }
        }
    }

    /// Carries packets between the Macs until none is left.
    fn settle(&mut self, now: Duration, out: &mut impl Outlet) {
        while let Some(Hop { mac, to, mut bytes, offload }) = self.hops.pop_front() {
            match self.ends[mac][to.0] {
                End::Programs => out.send(to, &bytes, &offload),
                End::Link(other) => {
                    if let Some(from) = self.wire(mac) {
                        self.step((other, from), &mut bytes, offload, now, out);
                    }
                }
                End::Tunnel => {
                    let link = self.all[mac].link.as_mut();
                    if let Some(sealed) = link.and_then(|link| link.tunnel.seal(&bytes)) {
                        self.transmit(mac, &sealed, now, out);
                    }
                }
                End::WireGuard => self.open(mac, &bytes, now, out),
            }
        }
    }

    /// Sends a message of a Mac's WireGuard through the Mac.
    fn transmit(&mut self, mac: usize, sealed: &Sealed, now: Duration, out: &mut impl Outlet) {
        let Some(link) = &self.all[mac].link else { return };
        let (_, to) = link.peers[sealed.peer];
        let Some(mut bytes) = wire::udp(link.at, to, &sealed.message) else { return };
        let from = link.wire;
        self.step((mac, from), &mut bytes, Offload::default(), now, out);
    }

    /// Opens what came to the socket of a Mac's WireGuard, and puts the packet into the tunnel's interface.
    fn open(&mut self, mac: usize, bytes: &[u8], now: Duration, out: &mut impl Outlet) {
        let Some(link) = &mut self.all[mac].link else { return };
        let Ok(datagram) = wire::read(bytes) else { return };
        // What is for another port meets no socket.
        let Some((from, to, message)) = wire::udp_payload(bytes, &datagram) else { return };
        let known = link.peers.iter().position(|(_, at)| *at == from).filter(|_| to == link.at);
        let Some(peer) = known else { return };
        let opened = link.tunnel.open(peer, *from.ip(), message);
        for sealed in &opened.messages {
            self.transmit(mac, sealed, now, out);
        }
        let Some(mut packet) = opened.packet else { return };
        let source = wire::read(&packet).map(|datagram| datagram.source());
        let topology = self.all[mac].router.topology();
        if let Some(from) = source.ok().and_then(|source| topology.behind_mesh(source)) {
            self.step((mac, from), &mut packet, Offload::default(), now, out);
        }
    }
}

/// Who takes what is delivered to each node of a topology.
fn ends(topology: &Topology) -> Vec<End> {
    let end = |(id, node): (NodeId, &Node)| {
        let mac = topology.wires().iter().position(|wire| *wire == id);
        match (node.side, mac) {
            (NodeAttachment::Underlay, Some(mac)) => End::Link(mac),
            (_, Some(_)) => End::WireGuard,
            (NodeAttachment::Mesh, None) => End::Tunnel,
            _ => End::Programs,
        }
    };
    topology.nodes().map(end).collect()
}

/// The WireGuard of every Mac, with keys of the lab: the private keys of the declared ones are on the Macs alone.
fn links(plans: &[&Plan], routers: &[Router]) -> Result<Vec<Option<MacLink>>> {
    if plans.len() < 2 {
        return Ok(plans.iter().map(|_| None).collect());
    }
    let key = |_: &&Plan| {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).context("no random numbers for the keys of the lab")?;
        Ok(PrivateKey::new(bytes))
    };
    let keys: Vec<PrivateKey> = plans.iter().map(key).collect::<Result<_>>()?;
    let macs: Vec<JoinedMac> = plans.iter().flat_map(|plan| joined(plan)).filter(|mac| mac.is_this).collect();
    let ports: Vec<u16> = plans.iter().filter_map(|plan| Some(plan.mesh.as_ref()?.listen_port)).collect();
    let at = |mac: usize| SocketAddrV4::new(macs[mac].underlay.addr(), ports[mac]);
    let link = |(mac, router): (usize, &Router)| {
        let others: Vec<usize> = (0..plans.len()).filter(|other| *other != mac).collect();
        let peer = |other: &usize| TunnelPeer {
            public: keys[*other].public(),
            allowed: macs[*other].allowed().collect(),
        };
        let peers: Vec<TunnelPeer> = others.iter().map(peer).collect();
        let wire = router.topology().wires().get(mac).copied().context("a Mac without WireGuard")?;
        let tunnel = TunnelEnd::new(&keys[mac], &peers);
        Ok(Some(MacLink {
            tunnel,
            wire,
            at: at(mac),
            peers: others.iter().map(|it| (*it, at(*it))).collect(),
        }))
    };
    routers.iter().enumerate().map(link).collect()
}
