//! Probes: the packets by which `test` checks the declaration on the Mac.
//!
//! Their number grows with providers and flows: each volume probes its provider's gateway, each flow is tried from
//! every provider that it permits, and of what is forbidden there is a sample.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde::Serialize;

use crate::model::{End, Name, Protocol, VolumeAttachment};
use crate::plan::policy::{Direction, ECHO, ICMP, Interface, Packet, SYN, TCP, UDP};
use crate::plan::{Flow, Plan, Volume};

/// One probe, from an address that this Mac holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Probe {
    /// `pass` or `block`.
    pub expected: &'static str,
    /// `icmp`, `tcp` or `udp`.
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

/// What is sent: an echo request, or a packet to a port.
#[derive(Clone, Copy)]
enum Sent {
    Echo,
    Tcp(u16),
    Udp(u16),
}

fn probe(expected: &'static str, from: &Volume, to: &str, address: Ipv4Addr, sent: Sent) -> Probe {
    let (protocol, port) = match sent {
        Sent::Echo => ("icmp", super::script::NOTHING.to_owned()),
        Sent::Tcp(port) => ("tcp", port.to_string()),
        Sent::Udp(port) => ("udp", port.to_string()),
    };
    Probe {
        expected,
        protocol,
        from: from.name.to_string(),
        source: from.address.to_string(),
        to: to.to_owned(),
        destination: address.to_string(),
        port,
    }
}

fn gateway(plan: &Plan, volume: &Volume) -> Probe {
    let bridge = plan.bridges.iter().find(|bridge| bridge.provider == volume.provider);
    let name = bridge.map_or("", |bridge| bridge.logical.as_str());
    probe("pass", volume, name, volume.gateway, Sent::Echo)
}

/// A flow, from every provider that it lets out to one that it lets in.
fn of_flow(plan: &Plan, speakers: &[&Volume], flow: &Flow) -> Vec<Probe> {
    let first = flow.ports.as_ref().and_then(|ports| ports.ranges().first().map(|range| range.first));
    let sent = match flow.protocol {
        None | Some(Protocol::Icmp) => Sent::Echo,
        Some(Protocol::Tcp) => Sent::Tcp(first.unwrap_or(80)),
        Some(Protocol::Udp) => Sent::Udp(first.unwrap_or(53)),
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
        // Beginning after its own place, so that a mesh is not all tried against one provider.
        let turned = to.iter().cycle().skip((index + 1) % to.len().max(1)).take(to.len());
        let other = turned.into_iter().find(|volume| volume.provider != source.provider);
        probes.extend(other.map(|other| probe("pass", source, other.name.as_str(), other.address, sent)));
    }
    probes
}

/// For each provider one volume that it must not reach, by ICMP and by TCP; and the outside, where it has none.
fn forbidden(plan: &Plan, speakers: &[&Volume]) -> Vec<Probe> {
    let refused = |from: &Volume, destination: Ipv4Addr, sent: Sent| {
        let (protocol, port) = match sent {
            Sent::Echo => (ICMP, 0),
            Sent::Tcp(port) => (TCP, port),
            Sent::Udp(port) => (UDP, port),
        };
        let packet = Packet {
            direction: if destination == OUTSIDE { Direction::Out } else { Direction::In },
            interface: if destination == OUTSIDE { Interface::Egress } else { Interface::Loopback },
            source: from.address,
            destination,
            protocol,
            port,
            flags: SYN,
            icmp: ECHO,
        };
        plan.policy.decide(&packet).verdict.blocks()
    };
    let mut probes = Vec::new();
    for (index, from) in speakers.iter().enumerate() {
        let turned = || speakers.iter().cycle().skip(index + 1).take(speakers.len());
        let mut try_one = |candidates: &[Sent]| {
            let tries = turned().flat_map(|to| candidates.iter().map(move |sent| (to, *sent)));
            let victim = tries.into_iter().find(|(to, sent)| refused(from, to.address, *sent));
            probes.extend(victim.map(|(to, sent)| probe("block", from, to.name.as_str(), to.address, sent)));
        };
        try_one(&[Sent::Echo]);
        try_one(&UNLIKELY.map(Sent::Tcp));
        if refused(from, OUTSIDE, Sent::Tcp(443)) {
            probes.push(probe("block", from, "the internet", OUTSIDE, Sent::Tcp(443)));
        }
    }
    probes
}

/// Ports that a link rarely names: one that none names is tried.
const UNLIKELY: [u16; 4] = [9, 19, 6, 65000];
/// An address for documentation (RFC 5737): no one is there to be troubled.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
