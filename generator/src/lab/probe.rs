//! The probes of a lab: real connections between all nodes, each compared with what `explain` says.
//!
//! Each verdict comes from two independent sources: the explanation of the packet, and the reaction of a kernel's
//! stack to the packets that return. The first difference is reported with its packets and rules.

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
use nixvol_net::router::{EGRESS, Filter, Node, NodeId, Rules, Side, Source, Topology};
use serde::Serialize;

use super::control::Lab;
use super::node::inside;
use super::serve::unreadable;
use sockets::{Answer, Ask, BIG, SMALL};

/// A port that no link names unless it names all.
const ANY_PORT: u16 = 40_004;
/// With more nodes than this, some of each provider stand for the others.
const MANY: usize = 40;
/// How long to wait for an answer, and again where one was expected: a busy machine is not a silence.
const PATIENCE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// How long to wait for the packets of a difference to be seen.
const SEEN: Duration = Duration::from_millis(100);

/// A protocol, and the port where it has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    pub protocol: Protocol,
    pub port: u16,
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.protocol {
            Protocol::Icmp => f.write_str("icmp"),
            protocol => write!(f, "{} {}", protocol.word(), self.port),
        }
    }
}

/// What the Mac is like when it is probed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trial {
    /// As the manager makes it.
    #[default]
    Whole,
    /// The bridge of a provider is gone, and the rules are as they were loaded with it.
    BridgeGone(String),
    /// The same after the manager has loaded the rules that are left.
    BridgeGoneAndReloaded(String),
    /// The source is another's address.
    Forged,
}

/// One probe, and what came of it.
#[derive(Debug, Clone)]
pub struct Probe {
    pub trial: Trial,
    pub from: NodeId,
    pub to: NodeId,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub service: Service,
    /// How many bytes it carries.
    pub size: usize,
    pub expected: Answer,
    pub found: Answer,
}

impl Probe {
    /// Whether its datagrams are cut on their way.
    pub fn is_big(&self) -> bool {
        self.size > SMALL
    }
}

/// Probes everything and tells what was found; the exit code of the whole.
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

/// A difference, with what was seen of it.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// Who, whom, and what.
    pub packet: String,
    /// Who expects otherwise: `explain`, or the policy where nothing is explained.
    #[serde(skip)]
    pub by: &'static str,
    /// What it says.
    pub expected: String,
    /// What came of it.
    pub found: String,
    /// The verdict of the explanation, or of the policy where nothing is explained.
    pub explanation: String,
    /// What pf made of each packet in each place.
    pub seen: Vec<String>,
}

/// The services to ask for: the ends of every declared range, what lies just outside, and one that is not named.
fn services(plan: &Plan) -> Vec<Service> {
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
        .flat_map(|(protocol, ports)| ports.into_iter().map(move |port| Service { protocol, port }));
    with_ports.chain([Service { protocol: Protocol::Icmp, port: 0 }]).collect()
}

/// Every probe that the Mac's rules have something to say about.
fn probes(lab: &Lab, topology: &Topology, services: &[Service], anchor: &str) -> Result<Vec<Probe>> {
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
                // Of datagrams that are cut one that gets through and one that does not.
                let mut is_asked = [false; 2];
                for &service in services {
                    let (trial, found, size) = (Trial::Whole, Answer::Silence, SMALL);
                    let Some(expected) = expected(lab, anchor, source, destination, service, size)? else {
                        continue;
                    };
                    let small =
                        Probe { trial, from, to, source, destination, service, size, expected, found };
                    let is_open = usize::from(expected == Answer::Connected);
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

/// The text that the lab was made from.
fn loaded(lab: &Lab) -> String {
    lab.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Rules as they are loaded on a Mac with these interfaces.
fn rules(lab: &Lab, topology: &Topology, anchor: &str, interfaces: &Interfaces) -> Result<Rules> {
    let path = lab.plan.anchor.as_str();
    let source = Source { main: STOCK_MAIN, path, text: anchor, file: ANCHOR, interfaces };
    Rules::load(topology, &source).map_err(|errors| anyhow!(unreadable(ANCHOR, &errors)))
}

/// The nodes to probe: all, or of many volumes those that links name and the first of each provider and kind.
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
        let kind = (node.provider.clone(), node.side == Side::Here);
        is_few || node.provider.is_none() || named.contains(node.name.as_str()) || kinds.insert(kind)
    };
    topology.nodes().filter(|(_, node)| is_chosen(node)).map(|(id, _)| id).collect()
}

fn both_outside(one: &Node, other: &Node) -> bool {
    one.side == Side::Outside && other.side == Side::Outside
}

/// The addresses at which a node is asked. Loopback addresses are the Mac's own, and no one else's.
fn destinations(from: &Node, to: &Node, is_mac: bool) -> Vec<Ipv4Addr> {
    let count = if is_mac { 2 } else { to.addresses.len() };
    let may_ask = |address: &Ipv4Addr| !address.is_loopback() || from.side == Side::Here;
    to.addresses.iter().copied().take(count).filter(may_ask).collect()
}

/// What the explanation says a probe will meet; `None` where macOS itself ends it, which no other stack shows, and
/// where the source has become the destination's own address, from which only the same stack would take a packet.
fn expected(
    lab: &Lab,
    anchor: &str,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    service: Service,
    size: usize,
) -> Result<Option<Answer>> {
    let explanation = explanation(lab, anchor, source, destination, service)?;
    let is_own = |hop: &explain::Hop| hop.after.source == hop.after.destination;
    if explanation.refused.is_some() || explanation.packet.iter().any(is_own) {
        return Ok(None);
    }
    if explanation.passes {
        return Ok(Some(Answer::Connected));
    }
    // Whether a refusal reaches whoever is refused is more than the rule's word: it is played.
    let topology = Topology::of(&lab.plan, &lab.cast);
    let rules = rules(lab, &topology, anchor, &Interfaces::logical(&lab.plan, EGRESS))?;
    Ok(Some(refusal(lab, topology, rules, (source, destination), service, size)))
}

/// How a refusal reaches whoever is refused: it is played.
fn refusal(
    lab: &Lab,
    topology: Topology,
    rules: Rules,
    (from, to): (Ipv4Addr, Ipv4Addr),
    service: Service,
    size: usize,
) -> Answer {
    let port = (service.protocol != Protocol::Icmp).then_some(service.port);
    let opened = Opened { from, to, protocol: service.protocol.word(), port, size: Some(size) };
    match client_sees(&lab.plan, topology, rules, &opened, Stack::Linux) {
        Some(Client::Refused | Client::RefusedLate) => Answer::Refused,
        // A port that ICMP says is closed is one to Linux's TCP, too.
        Some(Client::Error(error)) if error == "unreachable:3" => Answer::Refused,
        _ => Answer::Silence,
    }
}

fn explanation(
    lab: &Lab,
    anchor: &str,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    service: Service,
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
    let rules = explain::Rules { anchor, name: ANCHOR, captured: &[] };
    explain::explain(&lab.declaration, &lab.plan, &rules, &question)
        .map_err(|error| anyhow!("{source} -> {to} cannot be explained: {error:?}"))
}

/// Listens everywhere that is asked, until what it gives is dropped.
fn listen(lab: &Lab, topology: &Topology, probes: &[Probe]) -> Result<Vec<sockets::Listeners>> {
    let mut asked: BTreeMap<NodeId, BTreeSet<(Ipv4Addr, Service)>> = BTreeMap::new();
    for probe in probes {
        asked.entry(probe.to).or_default().insert((probe.destination, probe.service));
    }
    sockets::allow_many()?;
    let listen = |(id, asked): (NodeId, BTreeSet<(Ipv4Addr, Service)>)| {
        let node = topology.node(id);
        // A published port is the volume's own after its alias.
        let at = asked.into_iter().map(|(address, service)| {
            (if node.addresses.contains(&address) { address } else { node.addresses[0] }, service)
        });
        inside(&lab.nets[id.0], || sockets::Listeners::new(at.collect::<BTreeSet<_>>()))?
            .with_context(|| format!("cannot listen as {}", node.name))
    };
    asked.into_iter().map(listen).collect()
}

/// Asks all, and those once more that were otherwise than expected: a busy machine is no silence.
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

/// Asks all, the probes of each node in a thread in its namespace.
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

/// Asks once more, and writes down every packet.
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
