//! Probes: the packets with which the manager's `test` checks the declaration on the Mac.
//!
//! Their number grows with providers and flows: each provider's first volume probes its gateway, each flow is probed
//! from every provider that it permits, and of the forbidden flows a sample is probed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::Serialize;

use crate::model::{Endpoint, Name, PortSet, Protocol};
use crate::plan::policy::{ECHO, ICMP, PolicyDirection, PolicyInterface, PolicyPacket, SYN, TCP, UDP};
use crate::plan::{PermittedFlow, Plan, PlannedVolume};

/// The placeholder for an empty field of the manager's table.
pub const NOTHING: &str = "-";

/// A probe, from an address that this Mac has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ManagerProbe {
    /// The expected result: `pass` or `block`.
    pub expected: &'static str,
    /// The protocol: `icmp`, `tcp` or `udp`.
    pub protocol: &'static str,
    /// The name of the volume that sends it.
    pub from: String,
    /// The address of that volume.
    pub source: String,
    /// The name of the destination: a volume, a bridge, or the internet.
    pub to: String,
    /// The address of the destination.
    pub destination: String,
    /// The destination port; `-` without one.
    pub port: String,
}

/// The probes of a plan, without duplicates.
pub fn probes(plan: &Plan) -> Vec<ManagerProbe> {
    let speakers = speakers(plan);
    let mut probes: Vec<ManagerProbe> = speakers.iter().map(|volume| gateway(plan, volume)).collect();
    for flow in &plan.flows {
        probes.extend(of_flow(plan, &speakers, flow));
    }
    probes.extend(forbidden(plan, &speakers));
    let mut seen = BTreeSet::new();
    probes.retain(|probe| seen.insert(probe.clone()));
    probes
}

/// For each provider, a volume that can send from this Mac, in order of providers; preferably one that does not depend
/// on a mount.
fn speakers(plan: &Plan) -> Vec<&PlannedVolume> {
    let mut speakers: BTreeMap<&Name, &PlannedVolume> = BTreeMap::new();
    for volume in plan.volumes.iter().filter(|volume| volume.is_served()) {
        let known = speakers.entry(&volume.provider).or_insert(volume);
        if known.mount_point.is_some() && volume.mount_point.is_none() {
            *known = volume;
        }
    }
    plan.bridges.iter().filter_map(|bridge| speakers.get(&bridge.provider).copied()).collect()
}

/// The index of a provider's volume among these.
fn speaker_of(speakers: &[&PlannedVolume], provider: &Name) -> Option<usize> {
    speakers.binary_search_by(|volume| volume.provider.cmp(provider)).ok()
}

/// The packet: an echo request, or a packet to a port.
#[derive(Clone, Copy)]
enum Sent {
    Echo,
    Tcp(u16),
    Udp(u16),
}

fn probe(
    expected: &'static str,
    from: &PlannedVolume,
    to: &str,
    address: Ipv4Addr,
    sent: Sent,
) -> ManagerProbe {
    let (protocol, port) = match sent {
        Sent::Echo => ("icmp", NOTHING.to_owned()),
        Sent::Tcp(port) => ("tcp", port.to_string()),
        Sent::Udp(port) => ("udp", port.to_string()),
    };
    ManagerProbe {
        expected,
        protocol,
        from: from.name.to_string(),
        source: from.address.to_string(),
        to: to.to_owned(),
        destination: address.to_string(),
        port,
    }
}

fn gateway(plan: &Plan, volume: &PlannedVolume) -> ManagerProbe {
    let bridge = plan.bridges.binary_search_by(|bridge| bridge.provider.cmp(&volume.provider));
    let name = bridge.map_or("", |bridge| plan.bridges[bridge].logical.as_str());
    probe("pass", volume, name, volume.gateway, Sent::Echo)
}

/// Probes a flow, from every provider that it permits as a source to one that it permits as a destination.
fn of_flow(plan: &Plan, speakers: &[&PlannedVolume], flow: &PermittedFlow) -> Vec<ManagerProbe> {
    let first = flow.ports.as_ref().and_then(|ports| ports.ranges().first().map(|range| range.first));
    let sent = match flow.protocol {
        None | Some(Protocol::Icmp) => Sent::Echo,
        Some(Protocol::Tcp) => Sent::Tcp(first.unwrap_or(80)),
        Some(Protocol::Udp) => Sent::Udp(first.unwrap_or(53)),
    };
    let members = |ends: &[Endpoint]| -> Vec<&PlannedVolume> {
        let of = |end: &Endpoint| match end {
            Endpoint::Provider(name) => speaker_of(speakers, name).map(|speaker| speakers[speaker]),
            Endpoint::Volume(name) => plan.volume(name).filter(|volume| volume.is_served()),
        };
        ends.iter().filter_map(of).collect()
    };
    let (from, to) = (members(&flow.from), members(&flow.to));
    let mut probes = Vec::new();
    for (index, source) in from.iter().enumerate() {
        // Start after the source's own index, so that not all probes of a mesh go to the same provider.
        let (before, after) = to.split_at((index + 1) % to.len().max(1));
        let other = after.iter().chain(before).find(|volume| volume.provider != source.provider);
        probes.extend(other.map(|other| probe("pass", source, other.name.as_str(), other.address, sent)));
    }
    probes
}

/// For each provider, a volume that it must not reach, by ICMP and by TCP; and the outside, if it has no internet
/// access.
fn forbidden(plan: &Plan, speakers: &[&PlannedVolume]) -> Vec<ManagerProbe> {
    let refused = |from: &PlannedVolume, destination: Ipv4Addr, sent: Sent| {
        let (protocol, port) = match sent {
            Sent::Echo => (ICMP, 0),
            Sent::Tcp(port) => (TCP, port),
            Sent::Udp(port) => (UDP, port),
        };
        let packet = PolicyPacket {
            direction: if destination == OUTSIDE { PolicyDirection::Out } else { PolicyDirection::In },
            interface: if destination == OUTSIDE {
                PolicyInterface::Egress
            } else {
                PolicyInterface::Loopback
            },
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
    let echo = Allowed::of(plan, speakers, |flow| flow.ports.is_none() && carries(flow, Protocol::Icmp));
    let by_port = UNLIKELY.map(|port| {
        let has_port = |flow: &PermittedFlow| {
            let ranges = flow.ports.as_ref().map(PortSet::ranges);
            ranges.is_none_or(|ranges| ranges.iter().any(|it| (it.first..=it.last).contains(&port)))
        };
        Allowed::of(plan, speakers, |flow| carries(flow, Protocol::Tcp) && has_port(flow))
    });
    let some_port = Allowed::all_of(&by_port);
    for (index, from) in speakers.iter().enumerate() {
        let victim = echo.first_refused(index).map(|to| (speakers[to], Sent::Echo));
        let by_tcp = some_port.first_refused(index).and_then(|to| {
            let port = UNLIKELY.into_iter().zip(&by_port).find(|(_, allowed)| !allowed.has(index, to))?.0;
            Some((speakers[to], Sent::Tcp(port)))
        });
        // The policy decides; the bit sets are only a preselection by flows.
        for (to, sent) in
            victim.into_iter().chain(by_tcp).filter(|(to, sent)| refused(from, to.address, *sent))
        {
            probes.push(probe("block", from, to.name.as_str(), to.address, sent));
        }
        if refused(from, OUTSIDE, Sent::Tcp(443)) {
            probes.push(probe("block", from, "the internet", OUTSIDE, Sent::Tcp(443)));
        }
    }
    probes
}

fn carries(flow: &PermittedFlow, protocol: Protocol) -> bool {
    flow.protocol.is_none_or(|it| it == protocol)
}

/// Which of the volumes may reach which by some of the flows: a bit set for each source.
struct Allowed {
    /// The number of words in a row.
    width: usize,
    count: usize,
    words: Vec<u64>,
}

impl Allowed {
    fn of(plan: &Plan, speakers: &[&PlannedVolume], is_meant: impl Fn(&PermittedFlow) -> bool) -> Self {
        let (count, width) = (speakers.len(), speakers.len().div_ceil(64));
        let mut allowed = Self { width, count, words: vec![0; count * width] };
        let members = |ends: &[Endpoint]| -> BTreeSet<usize> {
            let of = |end: &Endpoint| match end {
                Endpoint::Provider(name) => speaker_of(speakers, name),
                Endpoint::Volume(name) => {
                    let speaker = speaker_of(speakers, &plan.volume(name)?.provider)?;
                    (speakers[speaker].name == *name).then_some(speaker)
                }
            };
            ends.iter().filter_map(of).collect()
        };
        for flow in plan.flows.iter().filter(|flow| is_meant(flow)) {
            let mut to = vec![0u64; width];
            for member in members(&flow.to) {
                to[member / 64] |= 1 << (member % 64);
            }
            for from in members(&flow.from) {
                let row = &mut allowed.words[from * width..(from + 1) * width];
                row.iter_mut().zip(&to).for_each(|(word, more)| *word |= more);
            }
        }
        for own in 0..count {
            allowed.words[own * width + own / 64] |= 1 << (own % 64);
        }
        allowed
    }

    /// The intersection: what all of them permit.
    fn all_of<const N: usize>(all: &[Self; N]) -> Self {
        let [first, rest @ ..] = all.as_slice() else {
            return Self { width: 0, count: 0, words: Vec::new() };
        };
        let mut words = first.words.clone();
        for other in rest {
            words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
        }
        Self { words, ..*first }
    }

    fn has(&self, from: usize, to: usize) -> bool {
        self.words[from * self.width + to / 64] >> (to % 64) & 1 == 1
    }

    /// The first volume after the source, cyclically, that it may not reach.
    fn first_refused(&self, from: usize) -> Option<usize> {
        let row = &self.words[from * self.width..(from + 1) * self.width];
        let first_in = |start: usize, end: usize| {
            (start / 64..end.div_ceil(64)).find_map(|word| {
                let before = if word == start / 64 { (1u64 << (start % 64)) - 1 } else { 0 };
                let refused = !(row[word] | before);
                let place = word * 64 + refused.trailing_zeros() as usize;
                (refused != 0 && place < end).then_some(place)
            })
        };
        first_in(from + 1, self.count).or_else(|| first_in(0, from))
    }
}

/// Ports that links rarely name; the first that no link permits is probed.
const UNLIKELY: [u16; 4] = [9, 19, 6, 65000];
/// An address reserved for documentation (RFC 5737), where no host can be disturbed.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
