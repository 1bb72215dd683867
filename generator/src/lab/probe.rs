//! The probes of a lab: real connections between all nodes, each compared with the verdict of `explain`.
//!
//! The two sides are independent: one is the explanation of the packet, the other the reaction of a kernel's stack to
//! the packets that come back. The first difference is reported with its packets and rules.

mod report;
mod sockets;
mod trials;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nixvol_net::explain::{self, Explanation, Question, STOCK_MAIN};
use nixvol_net::loading::Interfaces;
use nixvol_net::model::Protocol;
use nixvol_net::plan::Plan;
use nixvol_net::render::{self, ANCHOR};
use nixvol_net::replay::{Client, Opened, Stack, client_sees};
use nixvol_net::router::{AnchorSource, EGRESS, Filter, Node, NodeAttachment, NodeId, RouterRules, Topology};
use serde::Serialize;

use super::control::Lab;
use super::node::inside;
use super::serve::unreadable;
use sockets::{Ask, BIG, ProbeResult, SMALL};

/// A port that only links without ports cover.
const ANY_PORT: u16 = 40_004;
/// With more nodes than this, only some nodes of each provider are probed.
const MANY: usize = 40;
/// How long to wait for an answer, at first and on retry: on a busy machine answers are late.
const PATIENCE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// How long to wait for further packets of a difference.
const SEEN: Duration = Duration::from_millis(100);

/// A protocol, with a destination port for TCP and UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbedService {
    pub protocol: Protocol,
    pub port: u16,
}

impl std::fmt::Display for ProbedService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.protocol {
            Protocol::Icmp => f.write_str("icmp"),
            protocol => write!(f, "{} {}", protocol.word(), self.port),
        }
    }
}

/// The state of the Mac during a probe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trial {
    /// As the manager configures it.
    #[default]
    Whole,
    /// The bridge of a provider is gone, but the rules loaded with it are still in force.
    BridgeGone(String),
    /// The bridge of a provider is gone, and the manager has reloaded the rules without it.
    BridgeGoneAndReloaded(String),
    /// As the manager configures it, but the probe has a forged source address.
    Forged,
}

/// One probe and its result.
#[derive(Debug, Clone)]
pub struct Probe {
    pub trial: Trial,
    pub from: NodeId,
    pub to: NodeId,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub service: ProbedService,
    /// Payload bytes of a datagram.
    pub size: usize,
    pub expected: ProbeResult,
    pub found: ProbeResult,
}

impl Probe {
    /// Whether its datagrams are fragmented.
    pub fn is_big(&self) -> bool {
        self.size > SMALL
    }
}

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

/// A probe with an unexpected result, and the packets seen.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// The probe: source, destination and service.
    pub packet: String,
    /// Where the expectation comes from: `explain`, or the policy if nothing is explained.
    #[serde(skip)]
    pub by: &'static str,
    /// The expected result.
    pub expected: String,
    /// The actual result.
    pub found: String,
    /// The verdict of the explanation, or the rule of the policy if nothing is explained.
    pub explanation: String,
    /// Each packet at each hook, with the decision of pf.
    pub seen: Vec<String>,
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
                            self::expected(lab, anchor, source, destination, service, BIG)?
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

/// An anchor loaded on a Mac with these interfaces.
fn rules(lab: &Lab, topology: &Topology, anchor: &str, interfaces: &Interfaces) -> Result<RouterRules> {
    let path = lab.plan.anchor.as_str();
    let source = AnchorSource { main: STOCK_MAIN, path, text: anchor, file: ANCHOR, interfaces };
    RouterRules::load(topology, &source).map_err(|errors| anyhow!(unreadable(ANCHOR, &errors)))
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

/// The result that the explanation implies; `None` if macOS itself rejects the packet, which a Linux stack does not
/// reproduce, or if a translation makes source and destination equal, which only the same stack would accept.
fn expected(
    lab: &Lab,
    anchor: &str,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    service: ProbedService,
    size: usize,
) -> Result<Option<ProbeResult>> {
    let explanation = explanation(lab, anchor, source, destination, service)?;
    let is_own = |hop: &explain::ExplainedHook| hop.after.source == hop.after.destination;
    if explanation.refused.is_some() || explanation.packet.iter().any(is_own) {
        return Ok(None);
    }
    if explanation.passes {
        return Ok(Some(ProbeResult::Connected));
    }
    // Whether the answer of a blocking rule reaches the client depends on more than the rule, so it is simulated.
    let topology = Topology::of(&lab.plan, &lab.cast);
    let rules = rules(lab, &topology, anchor, &Interfaces::logical(&lab.plan, EGRESS))?;
    Ok(Some(refusal(lab, topology, rules, (source, destination), service, size)))
}

/// Whether a refusal reaches the client, by simulation.
fn refusal(
    lab: &Lab,
    topology: Topology,
    rules: RouterRules,
    (from, to): (Ipv4Addr, Ipv4Addr),
    service: ProbedService,
    size: usize,
) -> ProbeResult {
    let port = (service.protocol != Protocol::Icmp).then_some(service.port);
    let opened = Opened { from, to, protocol: service.protocol.word(), port, size: Some(size) };
    match client_sees(&lab.plan, topology, rules, &opened, Stack::Linux) {
        Some(Client::Refused | Client::RefusedLate) => ProbeResult::Refused,
        // Linux's TCP also treats an ICMP port unreachable as a refusal.
        Some(Client::Error(error)) if error == "unreachable:3" => ProbeResult::Refused,
        _ => ProbeResult::Silence,
    }
}

fn explanation(
    lab: &Lab,
    anchor: &str,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    service: ProbedService,
) -> Result<Explanation> {
    let to = match service.protocol {
        Protocol::Icmp => destination.to_string(),
        _ => format!("{destination}:{}", service.port),
    };
    let source = source.to_string();
    let question = Question {
        source: &source,
        destination: &to,
        protocol: Some(service.protocol.word()),
        egress: EGRESS,
    };
    let rules = explain::ExplainedRules { anchor, name: ANCHOR, captured: &[] };
    explain::explain(&lab.declaration, &lab.plan, &rules, &question)
        .map_err(|error| anyhow!("{source} -> {to} cannot be explained: {error:?}"))
}

/// Opens listeners for all probes, which live until the result is dropped.
fn listen(lab: &Lab, topology: &Topology, probes: &[Probe]) -> Result<Vec<sockets::Listeners>> {
    let mut asked: BTreeMap<NodeId, BTreeSet<(Ipv4Addr, ProbedService)>> = BTreeMap::new();
    for probe in probes {
        asked.entry(probe.to).or_default().insert((probe.destination, probe.service));
    }
    sockets::allow_many()?;
    let listen = |(id, asked): (NodeId, BTreeSet<(Ipv4Addr, ProbedService)>)| {
        let node = topology.node(id);
        // A published port is translated from the alias to the volume's own address.
        let at = asked.into_iter().map(|(address, service)| {
            (if node.addresses.contains(&address) { address } else { node.addresses[0] }, service)
        });
        inside(&lab.nets[id.0], || sockets::Listeners::new(at.collect::<BTreeSet<_>>()))?
            .with_context(|| format!("cannot listen as {}", node.name))
    };
    asked.into_iter().map(listen).collect()
}

/// Runs the probes, then those with an unexpected result again with more patience: the machine may be busy.
fn ask_twice(lab: &Lab, probes: &mut [Probe]) -> Result<()> {
    ask_all(lab, probes, PATIENCE[0])?;
    let (places, mut again): (Vec<usize>, Vec<Probe>) = probes
        .iter()
        .enumerate()
        .filter(|(_, probe)| probe.found != probe.expected)
        .map(|(place, probe)| (place, probe.clone()))
        .unzip();
    ask_all(lab, &mut again, PATIENCE[1])?;
    for (place, second) in places.into_iter().zip(again) {
        probes[place].found = second.found;
    }
    Ok(())
}

/// Runs the probes, those of each source node in a thread in its namespace.
fn ask_all(lab: &Lab, probes: &mut [Probe], patience: Duration) -> Result<()> {
    let mut by_source: BTreeMap<NodeId, Vec<&mut Probe>> = BTreeMap::new();
    for probe in probes {
        by_source.entry(probe.from).or_default().push(probe);
    }
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (from, mut probes) in by_source {
            let net = &lab.nets[from.0];
            threads.push(scope.spawn(move || {
                let asks: Vec<Ask> = probes
                    .iter()
                    .map(|probe| Ask {
                        source: probe.source,
                        destination: probe.destination,
                        service: probe.service,
                        size: probe.size,
                    })
                    .collect();
                let answers = inside(net, || sockets::ask(&asks, patience))??;
                probes.iter_mut().zip(answers).for_each(|(probe, answer)| probe.found = answer);
                anyhow::Ok(())
            }));
        }
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a thread of probes failed"))??;
        }
        Ok(())
    })
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
