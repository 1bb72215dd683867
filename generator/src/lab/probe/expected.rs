//! The result that a probe should have: the verdict of `explain`, and whether the refusal of a rule reaches the client.

use std::net::Ipv4Addr;

use anyhow::{Result, anyhow};
use nixvol_net::explain::{self, Explanation, Question, STOCK_MAIN};
use nixvol_net::loading::Interfaces;
use nixvol_net::model::Protocol;
use nixvol_net::render::ANCHOR;
use nixvol_net::replay::{Client, Opened, Stack, client_sees};
use nixvol_net::router::{AnchorSource, EGRESS, RouterRules, Topology};

use super::super::running::{Lab, unreadable};
use super::record::{ProbeResult, ProbedService};

/// An anchor loaded on a Mac with these interfaces.
pub fn rules(lab: &Lab, topology: &Topology, anchor: &str, interfaces: &Interfaces) -> Result<RouterRules> {
    let path = lab.plan.anchor.as_str();
    let source = AnchorSource { main: STOCK_MAIN, path, text: anchor, file: ANCHOR, interfaces };
    RouterRules::load(topology, &source).map_err(|errors| anyhow!(unreadable(ANCHOR, &errors)))
}

/// The result that the explanation implies; `None` if macOS itself rejects the packet, which a Linux stack does not
/// reproduce, or if a translation makes source and destination equal, which only the same stack would accept.
pub fn expected(
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
pub fn refusal(
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

pub fn explanation(
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
