//! Probes: the packets by which `test` sees on the Mac that what was declared is so.
//!
//! Their number grows with providers and flows: each volume's gateway is a provider's, each flow is tried from
//! every provider that it lets out, and of what is forbidden there is a sample.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde::Serialize;

use crate::model::{End, Name, Protocol, VolumeAttachment};
use crate::plan::policy::{Direction, ICMP, Interface, Packet, Verdict};
use crate::plan::{Flow, Plan, Volume};

/// One probe, from an address that this Mac holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Probe {
    /// `pass` or `block`.
    pub expected: &'static str,
    /// `icmp` or `tcp`.
    pub protocol: &'static str,
    /// The volume that asks.
    pub from: String,
    /// Its address.
    pub source: String,
    /// A volume, or a bridge.
    pub to: String,
    /// Its address.
    pub destination: String,
    /// The port, or nothing.
    pub port: String,
}

/// The probes of a plan, each once.
pub fn probes(plan: &Plan) -> Vec<Probe> {
    let speakers = speakers(plan);
    let mut probes: Vec<Probe> = speakers.iter().map(|volume| gateway(plan, volume)).collect();
    for flow in &plan.flows {
        probes.extend(of_flow(plan, &speakers, flow));
    }
    probes.extend(forbidden(plan, &speakers));
    let mut seen = BTreeSet::new();
    probes.retain(|probe| seen.insert(probe.clone()));
    probes
}

/// A volume for each provider that can speak from this Mac: one that needs no mount, if there is one.
fn speakers(plan: &Plan) -> Vec<&Volume> {
    let of_provider = |provider: &Name| {
        let hosts = plan
            .volumes
            .iter()
            .filter(|volume| volume.provider == *provider && volume.attachment == VolumeAttachment::Host);
        hosts.min_by_key(|volume| volume.mount_point.is_some())
    };
    plan.bridges.iter().filter_map(|bridge| of_provider(&bridge.provider)).collect()
}

fn probe(expected: &'static str, from: &Volume, to: &str, address: Ipv4Addr, port: Option<u16>) -> Probe {
    Probe {
        expected,
        protocol: if port.is_some() { "tcp" } else { "icmp" },
        from: from.name.to_string(),
        source: from.address.to_string(),
        to: to.to_owned(),
        destination: address.to_string(),
        port: port.map_or_else(|| super::script::NOTHING.to_owned(), |port| port.to_string()),
    }
}

fn gateway(plan: &Plan, volume: &Volume) -> Probe {
    let bridge = plan.bridges.iter().find(|bridge| bridge.provider == volume.provider);
    let name = bridge.map_or("", |bridge| bridge.logical.as_str());
    probe("pass", volume, name, volume.gateway, None)
}

/// A flow, from every provider that it lets out to one that it lets in. UDP has no answer to wait for.
fn of_flow(plan: &Plan, speakers: &[&Volume], flow: &Flow) -> Vec<Probe> {
    let port = match (flow.protocol, &flow.ports) {
        (None | Some(Protocol::Icmp), None) => None,
        (Some(Protocol::Tcp), None) => Some(80),
        (Some(Protocol::Tcp), Some(ports)) => ports.ranges().first().map(|range| range.first),
        _ => return Vec::new(),
    };
    let members = |ends: &[End]| -> Vec<&Volume> {
        let of = |end: &End| match end {
            End::Provider(name) => speakers.iter().find(|volume| volume.provider == *name).copied(),
            End::Volume(name) => {
                plan.volume(name).filter(|volume| volume.attachment == VolumeAttachment::Host)
            }
        };
        ends.iter().filter_map(of).collect()
    };
    let (from, to) = (members(&flow.from), members(&flow.to));
    let mut probes = Vec::new();
    for (index, source) in from.iter().enumerate() {
        // Beginning behind its own place, so that a mesh is not all tried against one provider.
        let turned = to.iter().cycle().skip((index + 1) % to.len().max(1)).take(to.len());
        let other = turned.into_iter().find(|volume| volume.provider != source.provider);
        probes.extend(other.map(|other| probe("pass", source, other.name.as_str(), other.address, port)));
    }
    probes
}

/// For each provider one thing that it must not do, if there is any.
fn forbidden(plan: &Plan, speakers: &[&Volume]) -> Vec<Probe> {
    let refused = |from: &Volume, to: &Volume| {
        let packet = Packet {
            direction: Direction::Out,
            interface: Interface::Loopback,
            source: from.address,
            destination: to.address,
            protocol: ICMP,
            port: 0,
            opening: true,
        };
        plan.policy.decide(&packet).verdict == Verdict::Refuse
    };
    let mut probes = Vec::new();
    for (index, from) in speakers.iter().enumerate() {
        let turned = speakers.iter().cycle().skip(index + 1).take(speakers.len());
        let victim = turned.into_iter().find(|to| refused(from, to));
        probes.extend(victim.map(|to| probe("block", from, to.name.as_str(), to.address, None)));
    }
    probes
}
