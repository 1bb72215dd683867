//! The probes of a lab: real connections between all nodes, each compared with the verdict of `explain`.
//!
//! The two sides are independent: one is the explanation of the packet, the other the reaction of a kernel's stack to
//! the packets that come back. The first difference is reported with its packets and rules.

mod ask;
mod expected;
mod hosts;
mod record;
mod report;
mod sockets;
mod trials;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use anyhow::{Result, anyhow};
use nixvol_net::model::Protocol;
use nixvol_net::render::{self, ANCHOR};
use nixvol_net::router::{Filter, Node, NodeAttachment, NodeId, Topology};

use super::running::{Lab, OneMac};
use ask::{PATIENCE, SEEN, ask_all, ask_twice, listen};
use expected::{ProbeEnds, expected, explanation};
use hosts::Hosts;
use record::{ANY_PORT, BIG, Difference, Probe, ProbeResult, ProbedService, SMALL, Trial};

/// With more nodes than this, only some nodes of each provider are probed.
const MANY: usize = 40;
/// Runs all probes and prints the result; returns the exit code of `lab test`.
pub fn run(lab: &Arc<Lab>, json: bool) -> Result<ExitCode> {
    let topologies: Vec<Topology> =
        lab.shared.macs().all().iter().map(|mac| mac.router.topology().clone()).collect();
    let services = services(lab);
    let anchor = |mac: &OneMac| Ok(render::bundle(&mac.declaration, &mac.plan)?.files[ANCHOR].text.clone());
    let anchors: Vec<String> = lab.macs.iter().map(anchor).collect::<Result<_>>()?;
    let hosts = Hosts { lab, topologies: &topologies };
    let mut probes = probes(&hosts, &services, &anchors)?;
    let listeners = listen(&hosts, &probes)?;
    ask_twice(lab, &mut probes)?;
    let difference = probes.iter().find(|probe| probe.found != probe.expected).cloned();
    let mut told = difference.map(|probe| tell(&hosts, &anchors, probe)).transpose()?;
    drop(listeners);
    // What is tried on one Mac concerns no other.
    let tried = thread::scope(|scope| {
        let hosts = &hosts;
        let run = |(mac, (whole, anchor)): (usize, (&'_ Topology, &'_ String))| {
            let (whole, anchor) = (whole.clone(), anchor.clone());
            scope.spawn(move || trials::run(hosts, mac, &whole, &anchor))
        };
        let all: Vec<_> = topologies.iter().zip(&anchors).enumerate().map(run).collect();
        let joined = |trial: thread::ScopedJoinHandle<'_, Result<trials::Tried>>| {
            trial.join().map_err(|_| anyhow!("a thread of trials failed"))?
        };
        all.into_iter().map(joined).collect::<Result<Vec<_>>>()
    })?;
    for (more, leaks) in tried {
        let difference = more.iter().find(|probe| probe.found != probe.expected);
        told = told
            .or_else(|| leaks.into_iter().next())
            .or_else(|| difference.map(|it| trials::told(&hosts, it)));
        probes.extend(more);
    }
    report::print(&hosts, &probes, told.as_ref(), json)?;
    Ok(if told.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The services to probe: the bounds of every declared port range, the ports just outside, and one port that no link
/// names.
fn services(lab: &Lab) -> Vec<ProbedService> {
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
    for flow in lab.macs.iter().flat_map(|mac| &mac.plan.flows) {
        let (Some(protocol), Some(set)) = (flow.protocol, &flow.ports) else { continue };
        for range in set.ranges() {
            let (first, last) = (u32::from(range.first), u32::from(range.last));
            for port in [first - 1, first, last, last + 1] {
                add(protocol, port);
            }
        }
    }
    for publish in lab.macs.iter().flat_map(|mac| &mac.plan.publishes) {
        add(Protocol::Tcp, publish.port.into());
    }
    let with_ports = ports
        .into_iter()
        .flat_map(|(protocol, ports)| ports.into_iter().map(move |port| ProbedService { protocol, port }));
    with_ports.chain([ProbedService { protocol: Protocol::Icmp, port: 0 }]).collect()
}

/// All probes that involve the rules of a Mac.
fn probes(hosts: &Hosts, services: &[ProbedService], anchors: &[String]) -> Result<Vec<Probe>> {
    let lab = hosts.lab;
    let chosen = chosen(hosts);
    let mut probes = Vec::new();
    for &from in &chosen {
        for &to in &chosen {
            let macs = (lab.mac_of(from), lab.mac_of(to));
            if from == to || hosts.never_meet(from, to) {
                continue;
            }
            for (source, destination) in hosts.pairs(from, to) {
                let ends = ProbeEnds { macs, source, destination };
                // For each pair, one fragmented datagram that passes and one that does not.
                let mut is_asked = [false; 2];
                for &service in services {
                    let (trial, found, size) = (Trial::Whole, ProbeResult::Silence, SMALL);
                    let Some(expected) = expected(lab, anchors, ends, service, size)? else {
                        continue;
                    };
                    let small =
                        Probe { trial, from, to, source, destination, service, size, expected, found };
                    let is_open = usize::from(expected == ProbeResult::Connected);
                    let is_first = service.protocol == Protocol::Udp && !is_asked[is_open];
                    if is_first && let Some(expected) = expected::expected(lab, anchors, ends, service, BIG)?
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

/// The nodes to probe: all; or, if there are many, those named in links and the first of each provider and kind.
fn chosen(hosts: &Hosts) -> Vec<NodeId> {
    let lab = hosts.lab;
    let is_few = lab.nets.len() <= MANY;
    let named: BTreeSet<&str> = lab
        .this()
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
    hosts.all().filter(|(_, node)| is_chosen(node)).map(|(id, _)| id).collect()
}

/// Repeats a probe, and records every packet of it.
fn tell(hosts: &Hosts, anchors: &[String], probe: Probe) -> Result<Difference> {
    let lab = hosts.lab;
    let (sink, packets) = sync_channel(256);
    let ids = lab.shared.watch(&Filter::Between(vec![probe.from], vec![probe.to]), &sink);
    ask_all(lab, &mut [probe.clone()], PATIENCE[0])?;
    let mut seen = Vec::new();
    while let Ok(packet) = packets.recv_timeout(SEEN) {
        seen.push(trials::line(lab, &packet));
    }
    lab.shared.unwatch(&ids);
    let ends = (probe.source, probe.destination);
    let mut macs = vec![lab.mac_of(probe.from), lab.mac_of(probe.to)];
    macs.dedup();
    let verdict = |mac: &usize| {
        let of = explanation(&lab.macs[*mac], &anchors[*mac], ends, probe.service)?;
        let on = lab.macs[*mac].name().map_or_else(String::new, |name| format!("on {name} it "));
        anyhow::Ok(format!("{on}{}", of.verdict))
    };
    let verdicts = macs.iter().map(verdict).collect::<Result<Vec<_>>>()?;
    Ok(Difference {
        packet: report::asked(hosts, &probe),
        by: "`explain`",
        expected: probe.expected.to_string(),
        found: probe.found.to_string(),
        explanation: verdicts.join("; "),
        seen,
    })
}
