//! Probes of what must not happen: leaks while a bridge is gone, and packets with a forged source.
//!
//! The answer alone proves too little, because a leaked packet may get none. So every packet is observed: none may
//! leave by the egress interface for a provider's network, and none with a forged source may pass.
//! Never: what a rule says.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::PoisonError;
use std::sync::mpsc::sync_channel;

use anyhow::{Result, anyhow};
use nixvol_net::explain::examples;
use nixvol_net::loading::Interfaces;
use nixvol_net::model::Protocol;
use nixvol_net::pf::syntax::Direction;
use nixvol_net::router::{EGRESS, Filter, Node, NodeAttachment, NodeId, Seen, Topology};
use nixvol_net::wire;

use super::super::device::borrow_address;
use super::super::node::inside;
use super::super::running::Lab;
use super::ask::{PATIENCE, SEEN, ask_all, ask_twice};
use super::expected::{refusal, rules};
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
type Tried = (Vec<Probe>, Vec<Difference>);

/// Runs all trials. `anchor` is the rendered text, `loaded` the one that the lab was started with.
pub fn run(lab: &Lab, whole: &Topology, anchor: &str, loaded: &str) -> Result<Tried> {
    let (mut probes, mut leaks) = (Vec::new(), Vec::new());
    let mut add = |(more, found): Tried| {
        probes.extend(more);
        leaks.extend(found);
    };
    for bridge in (0..lab.plan.bridges.len()).take(SOME) {
        add(without_bridge(lab, whole, (anchor, loaded), bridge)?);
    }
    add(forged(lab, whole)?);
    Ok((probes, leaks))
}

/// A difference without packets.
pub fn told(topology: &Topology, probe: &Probe) -> Difference {
    Difference {
        packet: report::asked(topology, probe),
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

/// The first node of each provider and side, and all nodes without a provider.
fn one_of_each(topology: &Topology) -> Vec<NodeId> {
    let mut kinds = BTreeSet::new();
    let mut is_new = |node: &Node| {
        node.provider.is_none() || kinds.insert((node.provider.clone(), node.side == NodeAttachment::Here))
    };
    topology.nodes().filter(|(_, node)| is_new(node)).map(|(id, _)| id).collect()
}

/// Removes a bridge. On the route that remains, another host takes the address that was behind the bridge, and
/// answers.
fn without_bridge(
    lab: &Lab,
    whole: &Topology,
    (anchor, loaded): (&str, &str),
    bridge: usize,
) -> Result<Tried> {
    let (provider, network) = (lab.plan.bridges[bridge].provider.as_str(), lab.plan.bridges[bridge].network);
    let guest = whole.nodes().find(|(_, node)| node.side == NodeAttachment::Bridge(bridge));
    let stranger = examples(&lab.plan).strangers[bridge];
    let Some(target) = guest.map(|(_, node)| node.addresses[0]).or(stranger) else {
        return Ok(Tried::default());
    };
    let internet = whole.named("internet").ok_or_else(|| anyhow!("nobody is the internet"))?;
    let lost = whole.without(bridge).with_router(internet);
    let may_send = |id: &NodeId| {
        !matches!(whole.node(*id).side, NodeAttachment::Outside)
            && whole.node(*id).side != NodeAttachment::Bridge(bridge)
    };
    let senders: Vec<NodeId> = one_of_each(whole).into_iter().filter(may_send).collect();
    let put_in = Interfaces::logical(&lab.plan, EGRESS);
    let (mut probes, mut leaks) = (Vec::new(), Vec::new());
    lab.shared.router().set_topology(lost.clone());
    borrowed(lab, internet, target, || {
        let asked = services().into_iter().map(|service| (target, service)).collect::<BTreeSet<_>>();
        let listeners = inside(&lab.nets[internet.0], || Listeners::new(asked))??;
        let name = || provider.to_owned();
        for (trial, put_in) in [
            (Trial::BridgeGone(name()), put_in.clone()),
            (Trial::BridgeGoneAndReloaded(name()), put_in.without(provider)),
        ] {
            lab.shared.router().rules_mut().apply_for(loaded, &put_in).map_err(|_| anyhow!("no rules"))?;
            let mut asks = Vec::new();
            for &from in &senders {
                let node = whole.node(from);
                for (service, size) in sized() {
                    let source = node.addresses[0];
                    let rules = rules(lab, &lost, anchor, &put_in)?;
                    let expected = refusal(lab, lost.clone(), rules, (source, target), service, size);
                    let (trial, to, found) = (trial.clone(), internet, ProbeResult::Silence);
                    let destination = target;
                    asks.push(Probe { trial, from, to, source, destination, service, size, expected, found });
                }
            }
            let is_leak = |seen: &Seen| {
                let out = seen.direction == Direction::Out && seen.interface == EGRESS;
                out && destination(seen).is_some_and(|to| network.contains(&to)) && seen.passes
            };
            leaks.extend(watched(lab, whole, &mut asks, is_leak)?);
            probes.extend(asks);
        }
        drop(listeners);
        Ok(())
    })?;
    let mut router = lab.shared.router();
    router.set_topology(whole.clone());
    router.rules_mut().apply_for(loaded, &put_in).map_err(|_| anyhow!("no rules"))?;
    Ok((probes, leaks))
}

/// Guests and the LAN host send with forged source addresses.
fn forged(lab: &Lab, whole: &Topology) -> Result<Tried> {
    let strangers = examples(&lab.plan).strangers;
    let network = |bridge: usize| lab.plan.bridges[bridge].network;
    let all = 0..lab.plan.bridges.len();
    let forgers = one_of_each(whole).into_iter().filter(|id| {
        let node = whole.node(*id);
        matches!(node.side, NodeAttachment::Bridge(_)) || node.name == "lan"
    });
    let (mut probes, mut leaks) = (Vec::new(), Vec::new());
    for from in forgers.take(SOME) {
        let own = match whole.node(from).side {
            NodeAttachment::Bridge(bridge) => Some(bridge),
            NodeAttachment::Here | NodeAttachment::Outside => None,
        };
        // A host in another provider's network, and a volume that this Mac serves.
        let other = all.clone().filter(|bridge| Some(*bridge) != own).find_map(|bridge| strangers[bridge]);
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
                for (service, size) in sized() {
                    let (trial, destination) = (Trial::Forged, node.addresses[0]);
                    let (expected, found) = (ProbeResult::Silence, ProbeResult::Silence);
                    asks.push(Probe { trial, from, to, source, destination, service, size, expected, found });
                }
            }
            let is_leak = |seen: &Seen| {
                seen.direction == Direction::In && self::source(seen) == Some(source) && seen.passes
            };
            borrowed(lab, from, source, || {
                leaks.extend(watched(lab, whole, &mut asks, is_leak)?);
                Ok(())
            })?;
            probes.extend(asks);
        }
    }
    Ok((probes, leaks))
}

/// Runs a closure while a node has an additional address.
fn borrowed(lab: &Lab, node: NodeId, address: Ipv4Addr, deed: impl FnOnce() -> Result<()>) -> Result<()> {
    inside(&lab.nets[node.0], || borrow_address(address, true))??;
    let done = deed();
    inside(&lab.nets[node.0], || borrow_address(address, false))??;
    done
}

/// Runs probes while every packet is observed; returns the leaks, one difference per flow.
fn watched(
    lab: &Lab,
    topology: &Topology,
    asks: &mut [Probe],
    is_leak: impl Fn(&Seen) -> bool,
) -> Result<Vec<Difference>> {
    let (sink, packets) = sync_channel(WAITING);
    let id = lab.shared.router().watches_mut().add(Filter::All);
    lab.shared.sinks.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sink);
    // If no answer is expected, waiting longer proves nothing more: every packet is observed anyway.
    let is_brief = asks.iter().all(|probe| probe.expected == ProbeResult::Silence);
    let asked = if is_brief { ask_all(lab, asks, PATIENCE[0] / 4) } else { ask_twice(lab, asks) };
    let mut seen = Vec::new();
    while let Ok(packet) = packets.recv_timeout(SEEN) {
        seen.push(packet);
    }
    lab.shared.router().watches_mut().remove(id);
    asked?;
    let leak = |packet: &Seen| Difference {
        packet: format!("{}: {}", packet.interface, report::packet(&packet.bytes)),
        by: POLICY,
        expected: NOTHING.to_owned(),
        found: packet.comment.clone(),
        explanation: asks.first().map_or_else(String::new, |probe| told(topology, probe).explanation),
        seen: seen.iter().filter(|other| is_of(other, packet)).map(line).collect(),
    };
    Ok(seen.iter().filter(|packet| is_leak(packet)).map(leak).collect())
}

/// Whether two packets have the same source and destination.
fn is_of(one: &Seen, other: &Seen) -> bool {
    (source(one), destination(one)) == (source(other), destination(other))
}

/// An observed packet as a line of text.
pub fn line(packet: &Seen) -> String {
    let direction = match packet.direction {
        Direction::In => "in",
        Direction::Out => "out",
    };
    format!("{direction} {}: {} {}", packet.interface, report::packet(&packet.bytes), packet.comment)
}

fn destination(packet: &Seen) -> Option<Ipv4Addr> {
    wire::read(&packet.bytes).ok().map(|datagram| datagram.destination())
}

fn source(packet: &Seen) -> Option<Ipv4Addr> {
    wire::read(&packet.bytes).ok().map(|datagram| datagram.source())
}
