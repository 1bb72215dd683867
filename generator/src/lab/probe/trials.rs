//! Probes of what must not happen: leaks while a bridge is gone, and packets with a forged source.
//!
//! The answer alone proves too little, because a leaked packet may get none. So every packet is observed: none may
//! leave by the egress interface for a provider's network, and none with a forged source may pass.
//! Never: what a rule says.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::PoisonError;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use anyhow::{Result, anyhow};
use ipnet::Ipv4Net;
use nixvol_net::explain::examples;
use nixvol_net::loading::Interfaces;
use nixvol_net::model::Protocol;
use nixvol_net::pf::syntax::Direction;
use nixvol_net::router::{EGRESS, Filter, Node, NodeAttachment, NodeId, Seen, Topology};
use nixvol_net::wire;

use super::super::device::borrow_address;
use super::super::node::inside;
use super::super::pump::SeenOn;
use super::super::running::{Lab, OneMac};
use super::ask::{PATIENCE, SEEN, ask_all, ask_twice};
use super::expected::{refusal, rules};
use super::hosts::Hosts;
use super::record::{ANY_PORT, BIG, Difference, Probe, ProbeResult, ProbedService, SMALL, Trial};
use super::report;
use super::sockets::Listeners;

/// Number of bridges removed and of nodes that forge: more would show nothing new.
const SOME: usize = 5;
/// Most observed packets queued.
const WAITING: usize = 4096;
/// The expectation of a probe that must not leak.
const NOTHING: &str = "nothing that passes";
/// Where the expectation comes from.
const POLICY: &str = "the policy";

/// The probes sent, and a difference for every packet that passed where none may.
pub type Tried = (Vec<Probe>, Vec<Difference>);

/// What is taken away from a Mac.
#[derive(Debug, Clone, Copy)]
enum Lost {
    Bridge(usize),
    Tunnel,
}

/// Runs all trials of a Mac. `anchor` is the rendered text of its anchor.
pub fn run(hosts: &Hosts, mac: usize, whole: &Topology, anchor: &str) -> Result<Tried> {
    let (mut probes, mut leaks) = (Vec::new(), Vec::new());
    let mut add = |(more, found): Tried| {
        probes.extend(more);
        leaks.extend(found);
    };
    let played = Played { hosts, mac, one: &hosts.lab.macs[mac], whole, anchor };
    let plan = &played.one.plan;
    let own = plan.bridges.iter().enumerate().filter(|(_, bridge)| bridge.is_here());
    let bridges = own.map(|(number, _)| Lost::Bridge(number)).take(SOME);
    for lost in bridges.chain(plan.mesh.as_ref().map(|_| Lost::Tunnel)) {
        add(played.without(lost)?);
    }
    add(played.forged()?);
    Ok((probes, leaks))
}

/// A Mac under trial.
struct Played<'a> {
    hosts: &'a Hosts<'a>,
    mac: usize,
    one: &'a OneMac,
    whole: &'a Topology,
    anchor: &'a str,
}

/// A difference without packets.
pub fn told(hosts: &Hosts, probe: &Probe) -> Difference {
    Difference {
        packet: report::asked(hosts, probe),
        by: POLICY,
        expected: probe.expected.to_string(),
        found: probe.found.to_string(),
        explanation: match probe.trial {
            Trial::Forged => "a forged source gets nowhere",
            _ => "what is meant for a volume never leaves this Mac another way",
        }
        .to_owned(),
        seen: Vec::new(),
    }
}

fn services() -> [ProbedService; 3] {
    [Protocol::Tcp, Protocol::Udp, Protocol::Icmp].map(|protocol| ProbedService {
        protocol,
        port: if protocol == Protocol::Icmp { 0 } else { ANY_PORT },
    })
}

/// Each service with a small datagram, and UDP also with a fragmented one.
fn sized() -> impl Iterator<Item = (ProbedService, usize)> {
    let big = services().into_iter().filter(|service| service.protocol == Protocol::Udp);
    services().into_iter().map(|service| (service, SMALL)).chain(big.map(|service| (service, BIG)))
}

/// A probe of each service and size, with the result that it should have.
fn probes_of(
    trial: &Trial,
    (from, to): (NodeId, NodeId),
    (source, destination): (Ipv4Addr, Ipv4Addr),
    expected: impl Fn(ProbedService, usize) -> Result<ProbeResult>,
) -> Result<Vec<Probe>> {
    let probe = |(service, size)| {
        let (trial, expected, found) = (trial.clone(), expected(service, size)?, ProbeResult::Silence);
        Ok(Probe { trial, from, to, source, destination, service, size, expected, found })
    };
    sized().map(probe).collect()
}

impl Played<'_> {
    /// The first node of each provider and side, and all nodes without a provider, that are attached to this Mac.
    fn one_of_each(&self) -> Vec<NodeId> {
        let mut kinds = BTreeSet::new();
        let mut is_new = |node: &Node| {
            node.provider.is_none()
                || kinds.insert((node.provider.clone(), node.side == NodeAttachment::Here))
        };
        let own = self.hosts.all().filter(|(id, _)| self.hosts.lab.mac_of(*id) == self.mac);
        own.filter(|(_, node)| is_new(node)).map(|(id, _)| id).collect()
    }

    /// The networks that are reached by what is lost, and an address there that a host outside can take.
    fn target(&self, lost: Lost) -> (Vec<Ipv4Net>, Option<Ipv4Addr>) {
        let plan = &self.one.plan;
        match lost {
            Lost::Bridge(bridge) => {
                let is_guest = |(_, node): &(NodeId, &Node)| node.side == NodeAttachment::Bridge(bridge);
                let guest = self.whole.nodes().find(is_guest).map(|(_, node)| node.addresses[0]);
                (vec![plan.bridges[bridge].network], guest.or(examples(plan).strangers[bridge]))
            }
            Lost::Tunnel => {
                let remote = || plan.bridges.iter().filter(|bridge| !bridge.is_here());
                let volume = plan.volumes.iter().find(|volume| !volume.is_here());
                let gateway = || remote().next().map(|bridge| bridge.gateway.addr());
                (
                    remote().map(|bridge| bridge.network).collect(),
                    volume.map(|it| it.address).or_else(gateway),
                )
            }
        }
    }

    /// Takes a bridge or the tunnel away. On the route that remains, another host takes an address that was behind it,
    /// and answers.
    fn without(&self, lost: Lost) -> Result<Tried> {
        let Self { hosts, mac, one, whole, anchor } = *self;
        let lab = hosts.lab;
        let (networks, Some(target)) = self.target(lost) else {
            return Ok(Tried::default());
        };
        let internet = whole.internet().ok_or_else(|| anyhow!("nobody is the internet"))?;
        let put_in = one.interfaces();
        let (left, reloaded, trials, side) = match lost {
            Lost::Bridge(bridge) => {
                let name = one.plan.bridges[bridge].provider.to_string();
                let reloaded = put_in.without(&name);
                let trials = [Trial::BridgeGone(name.clone()), Trial::BridgeGoneAndReloaded(name)];
                (whole.without(bridge), reloaded, trials, Some(NodeAttachment::Bridge(bridge)))
            }
            Lost::Tunnel => {
                let reloaded = Interfaces { mesh: None, ..put_in.clone() };
                let trials = [Trial::TunnelGone, Trial::TunnelGoneAndReloaded];
                (whole.without_mesh(), reloaded, trials, None)
            }
        };
        let lost = left.with_router(internet);
        let may_send = |id: &NodeId| {
            let at = whole.node(*id).side;
            at != NodeAttachment::Outside && Some(at) != side
        };
        let senders: Vec<NodeId> = self.one_of_each().into_iter().filter(may_send).collect();
        let (mut probes, mut leaks) = (Vec::new(), Vec::new());
        let loaded = one.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone();
        lab.shared.macs().router_mut(mac).set_topology(lost.clone());
        borrowed(lab, internet, target, || {
            let asked = services().into_iter().map(|service| (target, service)).collect::<BTreeSet<_>>();
            let listeners = inside(&lab.nets[internet.0], || Listeners::new(asked))??;
            for (trial, put_in) in trials.into_iter().zip([put_in.clone(), reloaded]) {
                self.load(&loaded, &put_in)?;
                let rules = rules(one, &lost, anchor, &put_in)?;
                let mut asks = Vec::new();
                for &from in &senders {
                    let node = whole.node(from);
                    let ends = (node.addresses[0], target);
                    asks.extend(probes_of(&trial, (from, internet), ends, |service, size| {
                        Ok(refusal(one, lost.clone(), rules.clone(), ends, service, size))
                    })?);
                }
                let is_leak = |seen: &Seen| {
                    let out = seen.direction == Direction::Out && seen.interface == EGRESS;
                    let is_there = |to: Ipv4Addr| networks.iter().any(|network| network.contains(&to));
                    out && destination(seen).is_some_and(is_there) && seen.passes
                };
                leaks.extend(watched(hosts, mac, &mut asks, is_leak)?);
                probes.extend(asks);
            }
            drop(listeners);
            Ok(())
        })?;
        lab.shared.macs().router_mut(mac).set_topology(whole.clone());
        self.load(&loaded, &put_in)?;
        Ok((probes, leaks))
    }

    /// Loads the Mac's anchor for these interfaces.
    fn load(&self, text: &str, put_in: &Interfaces) -> Result<()> {
        let mut macs = self.hosts.lab.shared.macs();
        let rules = macs.router_mut(self.mac).rules_mut();
        rules.apply_for(text, put_in).map_err(|_| anyhow!("no rules"))
    }

    /// Guests and the LAN host send with forged source addresses.
    fn forged(&self) -> Result<Tried> {
        let Self { hosts, mac, one, whole, anchor: _ } = *self;
        let (lab, plan) = (hosts.lab, &one.plan);
        let strangers = examples(plan).strangers;
        let network = |bridge: usize| plan.bridges[bridge].network;
        let all = 0..plan.bridges.len();
        let internet = whole.internet();
        let forgers = self.one_of_each().into_iter().filter(|id| {
            let side = whole.node(*id).side;
            matches!(side, NodeAttachment::Bridge(_))
                || side == NodeAttachment::Outside && Some(*id) != internet
        });
        let (mut probes, mut leaks) = (Vec::new(), Vec::new());
        for from in forgers.take(SOME) {
            let own = match whole.node(from).side {
                NodeAttachment::Bridge(bridge) => Some(bridge),
                NodeAttachment::Here
                | NodeAttachment::Outside
                | NodeAttachment::Mesh
                | NodeAttachment::Underlay
                | NodeAttachment::Elsewhere => None,
            };
            // A host in another provider's network, and a volume that this Mac serves.
            let other =
                all.clone().filter(|bridge| Some(*bridge) != own).find_map(|bridge| strangers[bridge]);
            let served =
                whole.nodes().find(|(_, node)| node.side == NodeAttachment::Here && node.provider.is_some());
            let sources = other.into_iter().chain(served.map(|(_, node)| node.addresses[0]));
            for source in sources.collect::<BTreeSet<_>>() {
                let targets = all.clone().filter_map(|bridge| {
                    whole.nodes().find(|(_, node)| {
                        node.provider.is_some()
                            && network(bridge).contains(&node.addresses[0])
                            && node.addresses[0] != source
                    })
                });
                let mut asks = Vec::new();
                for (to, node) in targets.take(SOME).filter(|(to, _)| *to != from) {
                    let ends = (source, node.addresses[0]);
                    let silence = |_, _| Ok(ProbeResult::Silence);
                    asks.extend(probes_of(&Trial::Forged, (from, to), ends, silence)?);
                }
                let is_leak = |seen: &Seen| {
                    seen.direction == Direction::In && self::source(seen) == Some(source) && seen.passes
                };
                // A packet of an open conversation passes by its state, whoever sends it.
                lab.shared.macs().router_mut(mac).end(&[(source.into(), Ipv4Net::default())]);
                borrowed(lab, from, source, || {
                    leaks.extend(watched(hosts, mac, &mut asks, is_leak)?);
                    Ok(())
                })?;
                probes.extend(asks);
            }
        }
        Ok((probes, leaks))
    }
}

/// Runs a closure while a node has an additional address.
fn borrowed(lab: &Lab, node: NodeId, address: Ipv4Addr, deed: impl FnOnce() -> Result<()>) -> Result<()> {
    inside(&lab.nets[node.0], || borrow_address(address, true))??;
    let done = deed();
    inside(&lab.nets[node.0], || borrow_address(address, false))??;
    done
}

/// Runs probes while every packet on a Mac is observed; returns the leaks, one difference per flow.
fn watched(
    hosts: &Hosts,
    mac: usize,
    asks: &mut [Probe],
    is_leak: impl Fn(&Seen) -> bool,
) -> Result<Vec<Difference>> {
    let lab = hosts.lab;
    let (sink, packets) = sync_channel(WAITING);
    let ids = lab.shared.watch(&Filter::All, &sink);
    // If no answer is expected, waiting longer proves nothing more: every packet is observed anyway.
    let is_brief = asks.iter().all(|probe| probe.expected == ProbeResult::Silence);
    let asked = if is_brief { ask_all(lab, asks, PATIENCE[0] / 4) } else { ask_twice(lab, asks) };
    let mut seen = Vec::new();
    // Packets of other Macs' trials may never pause.
    let ends = Instant::now() + SEEN;
    while let Ok(packet) = packets.recv_timeout(ends.saturating_duration_since(Instant::now())) {
        seen.extend(Some(packet).filter(|packet| packet.mac == mac));
    }
    lab.shared.unwatch(&ids);
    asked?;
    let leak = |packet: &SeenOn| Difference {
        packet: format!("{}: {}", packet.seen.interface, report::packet(&packet.seen.bytes)),
        by: POLICY,
        expected: NOTHING.to_owned(),
        found: packet.seen.comment.clone(),
        explanation: asks.first().map_or_else(String::new, |probe| told(hosts, probe).explanation),
        seen: seen
            .iter()
            .filter(|other| is_of(&other.seen, &packet.seen))
            .map(|packet| line(lab, packet))
            .collect(),
    };
    Ok(seen.iter().filter(|packet| is_leak(&packet.seen)).map(leak).collect())
}

/// Whether two packets have the same source and destination.
fn is_of(one: &Seen, other: &Seen) -> bool {
    (source(one), destination(one)) == (source(other), destination(other))
}

/// An observed packet as a line of text.
pub fn line(lab: &Lab, SeenOn { mac, seen }: &SeenOn) -> String {
    let direction = match seen.direction {
        Direction::In => "in",
        Direction::Out => "out",
    };
    let on = lab.macs[*mac].name().map_or_else(String::new, |name| format!("{name}: "));
    format!("{on}{direction} {}: {} {}", seen.interface, report::packet(&seen.bytes), seen.comment)
}

fn destination(packet: &Seen) -> Option<Ipv4Addr> {
    wire::read(&packet.bytes).ok().map(|datagram| datagram.destination())
}

fn source(packet: &Seen) -> Option<Ipv4Addr> {
    wire::read(&packet.bytes).ok().map(|datagram| datagram.source())
}
