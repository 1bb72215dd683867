//! The probes of a lab: real connections between all nodes, each compared with the verdict of `explain`.
//!
//! The two sides are independent: one is the explanation of the packet, the other the reaction of a kernel's stack to
//! the packets that come back. The first difference is reported with its packets and rules.

mod ask;
mod expected;
mod record;
mod report;
mod sockets;
mod trials;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::mpsc::sync_channel;

use anyhow::Result;
use nixvol_net::model::Protocol;
use nixvol_net::plan::Plan;
use nixvol_net::render::{self, ANCHOR};
use nixvol_net::router::{Filter, Node, NodeAttachment, NodeId, Topology};

use super::running::Lab;
use ask::{PATIENCE, SEEN, ask_all, ask_twice, listen};
use expected::{expected, explanation};
use record::{ANY_PORT, BIG, Difference, Probe, ProbeResult, ProbedService, SMALL, Trial};

/// With more nodes than this, only some nodes of each provider are probed.
const MANY: usize = 40;
/// Runs all probes and prints the result; returns the exit code of `lab test`.
pub fn run(lab: &Arc<Lab>, json: bool) -> Result<ExitCode> {
    let topology = lab.shared.router().topology().clone();
    let services = services(&lab.plan);
    let bundle = render::bundle(&lab.declaration, &lab.plan)?;
    let anchor = bundle.files[ANCHOR].text.as_str();
    let mut probes = probes(lab, &topology, &services, anchor)?;
    let listeners = listen(lab, &topology, &probes)?;
    ask_twice(lab, &mut probes)?;
    let difference = probes.iter().find(|probe| probe.found != probe.expected).cloned();
    let mut told = difference.map(|probe| tell(lab, &topology, anchor, probe)).transpose()?;
    drop(listeners);
    let (more, leaks) = trials::run(lab, &topology, anchor, &loaded(lab))?;
    let difference = more.iter().find(|probe| probe.found != probe.expected);
    told = told
        .or_else(|| leaks.into_iter().next())
        .or_else(|| difference.map(|it| trials::told(&topology, it)));
    probes.extend(more);
    report::print(&topology, &probes, told.as_ref(), json)?;
    Ok(if told.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The services to probe: the bounds of every declared port range, the ports just outside, and one port that no link
/// names.
fn services(plan: &Plan) -> Vec<ProbedService> {
    let mut ports: BTreeMap<Protocol, BTreeSet<u16>> = BTreeMap::new();
    let mut add = |protocol, port: u32| {
        if let Ok(port) = u16::try_from(port)
            && port > 0
        {
            ports.entry(protocol).or_default().insert(port);
        }
    };
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        add(protocol, ANY_PORT.into());
    }
    for flow in &plan.flows {
        let (Some(protocol), Some(set)) = (flow.protocol, &flow.ports) else { continue };
        for range in set.ranges() {
            let (first, last) = (u32::from(range.first), u32::from(range.last));
            for port in [first - 1, first, last, last + 1] {
                add(protocol, port);
            }
        }
    }
    for publish in &plan.publishes {
        add(Protocol::Tcp, publish.port.into());
    }
    let with_ports = ports
        .into_iter()
        .flat_map(|(protocol, ports)| ports.into_iter().map(move |port| ProbedService { protocol, port }));
    with_ports.chain([ProbedService { protocol: Protocol::Icmp, port: 0 }]).collect()
}

/// All probes that involve the Mac's rules.
fn probes(lab: &Lab, topology: &Topology, services: &[ProbedService], anchor: &str) -> Result<Vec<Probe>> {
    let chosen = chosen(lab, topology);
    let mut probes = Vec::new();
    for &from in &chosen {
        let source = topology.node(from);
        for &to in &chosen {
            if from == to || both_outside(source, topology.node(to)) {
                continue;
            }
            for destination in destinations(source, topology.node(to), to == topology.mac()) {
                let source = source.addresses[0];
                // For each pair, one fragmented datagram that passes and one that does not.
                let mut is_asked = [false; 2];
                for &service in services {
                    let (trial, found, size) = (Trial::Whole, ProbeResult::Silence, SMALL);
                    let Some(expected) = expected(lab, anchor, source, destination, service, size)? else {
                        continue;
                    };
                    let small =
                        Probe { trial, from, to, source, destination, service, size, expected, found };
                    let is_open = usize::from(expected == ProbeResult::Connected);
                    let is_first = service.protocol == Protocol::Udp && !is_asked[is_open];
                    if is_first
                        && let Some(expected) =
                            expected::expected(lab, anchor, source, destination, service, BIG)?
                    {
                        is_asked[is_open] = true;
                        probes.push(Probe { size: BIG, expected, ..small.clone() });
                    }
                    probes.push(small);
                }
            }
        }
    }
    Ok(probes)
}

/// The anchor that the lab was started with.
fn loaded(lab: &Lab) -> String {
    lab.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The nodes to probe: all; or, if there are many, those named in links and the first of each provider and kind.
fn chosen(lab: &Lab, topology: &Topology) -> Vec<NodeId> {
    let is_few = topology.count() <= MANY;
    let named: BTreeSet<&str> = lab
        .declaration
        .links
        .iter()
        .flat_map(|link| link.from.iter().chain(&link.to))
        .map(|end| end.name().as_str())
        .collect();
    let mut kinds = BTreeSet::new();
    let mut is_chosen = |node: &Node| {
        let kind = (node.provider.clone(), node.side == NodeAttachment::Here);
        is_few || node.provider.is_none() || named.contains(node.name.as_str()) || kinds.insert(kind)
    };
    topology.nodes().filter(|(_, node)| is_chosen(node)).map(|(id, _)| id).collect()
}

fn both_outside(one: &Node, other: &Node) -> bool {
    one.side == NodeAttachment::Outside && other.side == NodeAttachment::Outside
}

/// The addresses of a node to probe. Loopback addresses are probed only from the Mac's own nodes.
fn destinations(from: &Node, to: &Node, is_mac: bool) -> Vec<Ipv4Addr> {
    let count = if is_mac { 2 } else { to.addresses.len() };
    let may_ask = |address: &Ipv4Addr| !address.is_loopback() || from.side == NodeAttachment::Here;
    to.addresses.iter().copied().take(count).filter(may_ask).collect()
}

/// Repeats a probe, and records every packet of it.
fn tell(lab: &Lab, topology: &Topology, anchor: &str, probe: Probe) -> Result<Difference> {
    let (sink, packets) = sync_channel(256);
    let id = lab.shared.router().watches_mut().add(Filter::Between(vec![probe.from], vec![probe.to]));
    lab.shared.sinks.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sink);
    ask_all(lab, &mut [probe.clone()], PATIENCE[0])?;
    let mut seen = Vec::new();
    while let Ok(packet) = packets.recv_timeout(SEEN) {
        seen.push(trials::line(&packet));
    }
    lab.shared.router().watches_mut().remove(id);
    let explanation = explanation(lab, anchor, probe.source, probe.destination, probe.service)?;
    Ok(Difference {
        packet: report::asked(topology, &probe),
        by: "`explain`",
        expected: probe.expected.to_string(),
        found: probe.found.to_string(),
        explanation: explanation.verdict,
        seen,
    })
}
