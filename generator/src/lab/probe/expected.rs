//! The result that a probe should have: the verdict of `explain`, and whether the refusal of a rule reaches the client.

use std::net::Ipv4Addr;

use anyhow::{Result, anyhow};
use nixvol_net::explain::{self, Explanation, Question, STOCK_MAIN};
use nixvol_net::loading::Interfaces;
use nixvol_net::model::Protocol;
use nixvol_net::render::ANCHOR;
use nixvol_net::replay::{Client, Opened, Stack, client_sees};
use nixvol_net::router::{AnchorSource, EGRESS, RouterRules, Topology, joined};

use super::super::running::{Lab, OneMac, unreadable};
use super::record::{ProbeResult, ProbedService};

/// Two ends: the nodes with the Macs that they are attached to, and the addresses of the packet.
#[derive(Debug, Clone, Copy)]
pub struct ProbeEnds {
    /// The Mac of the sender, and that of the receiver.
    pub macs: (usize, usize),
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
}

/// An anchor loaded on a Mac with these interfaces.
pub fn rules(
    mac: &OneMac,
    topology: &Topology,
    anchor: &str,
    interfaces: &Interfaces,
) -> Result<RouterRules> {
    let path = mac.plan.anchor.as_str();
    let source = AnchorSource { main: STOCK_MAIN, path, text: anchor, file: ANCHOR, interfaces };
    RouterRules::load(topology, &source).map_err(|errors| anyhow!(unreadable(ANCHOR, &errors)))
}

/// The result that the explanation implies, with several Macs those of both: the second one sees what the first lets
/// through, and what WireGuard takes from it. `None` if macOS itself rejects the packet, which a Linux stack does not
/// reproduce, or if a translation makes source and destination equal, which only the same stack would accept.
pub fn expected(
    lab: &Lab,
    anchors: &[String],
    ends: ProbeEnds,
    service: ProbedService,
    size: usize,
) -> Result<Option<ProbeResult>> {
    let ProbeEnds { macs: (first, second), source, destination } = ends;
    let mut way = vec![first];
    way.extend(Some(second).filter(|second| *second != first));
    for (hop, &at) in way.iter().enumerate() {
        let (mac, anchor) = (&lab.macs[at], anchors[at].as_str());
        if hop > 0 && !is_of_mac(mac, lab.macs[first].name(), source) {
            return Ok(Some(ProbeResult::Silence));
        }
        let explanation = explanation(mac, anchor, (source, destination), service)?;
        let is_own = |hop: &explain::ExplainedHook| hop.after.source == hop.after.destination;
        if explanation.refused.is_some() || explanation.packet.iter().any(is_own) {
            return Ok(None);
        }
        if !explanation.passes {
            // Whether the answer of a blocking rule reaches the client depends on more than the rule, so it is simulated.
            let topology = Topology::of(&mac.plan, &mac.cast);
            let rules = rules(mac, &topology, anchor, &mac.interfaces())?;
            return Ok(Some(refusal(mac, topology, rules, (source, destination), service, size)));
        }
    }
    Ok(Some(ProbeResult::Connected))
}

/// Whether WireGuard takes a packet with this source from another Mac.
fn is_of_mac(mac: &OneMac, other: Option<&str>, source: Ipv4Addr) -> bool {
    let macs = joined(&mac.plan);
    let peer = macs.iter().find(|peer| Some(peer.name.as_str()) == other);
    peer.is_some_and(|peer| peer.allowed().any(|network| network.contains(&source)))
}

/// Whether a refusal reaches the client, by simulation.
pub fn refusal(
    mac: &OneMac,
    topology: Topology,
    rules: RouterRules,
    (from, to): (Ipv4Addr, Ipv4Addr),
    service: ProbedService,
    size: usize,
) -> ProbeResult {
    let port = (service.protocol != Protocol::Icmp).then_some(service.port);
    let opened = Opened { from, to, protocol: service.protocol.word(), port, size: Some(size) };
    match client_sees(&mac.plan, topology, rules, &opened, Stack::Linux) {
        Some(Client::Answered) => ProbeResult::Connected,
        Some(Client::Refused | Client::RefusedLate) => ProbeResult::Refused,
        // Linux's TCP also treats an ICMP port unreachable as a refusal.
        Some(Client::Error(error)) if error == "unreachable:3" => ProbeResult::Refused,
        _ => ProbeResult::Silence,
    }
}

/// What `explain` says of a packet on one Mac.
pub fn explanation(
    mac: &OneMac,
    anchor: &str,
    (source, destination): (Ipv4Addr, Ipv4Addr),
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
    explain::explain(&mac.declaration, &mac.plan, &rules, &question)
        .map_err(|error| anyhow!("{source} -> {to} cannot be explained: {error:?}"))
}
