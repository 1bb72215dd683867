//! Partitions and slow paths on a Mac, derived from their rules: the manager makes them at run time.
//!
//! These rules are in an anchor of their own, which is evaluated before ours. They use tables, whose contents a capture
//! does not have; the names of the tables name the endpoints, so that the contents follow from the plan.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{Bridge, Plan, PlannedVolume};
use crate::model::VolumeAttachment;

/// The anchor for partitions and slowed paths; it sorts before the default anchor.
pub const ANCHOR: &str = "com.apple/249.nixvol-faults";

/// An endpoint in the rules of a fault: a table of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultTable<'a> {
    /// Whether it is the first endpoint that was named; the other may be missing.
    pub is_first: bool,
    /// Whether the table has only those of the addresses that the Mac itself has.
    pub is_here: bool,
    /// The endpoint; `None` means all other providers and volumes.
    pub end: Option<&'a str>,
}

/// The endpoint that a table stands for: `one1-aws`, `two1` for all others, `one1h-aws` for its addresses on this Mac.
pub fn table(name: &str) -> Option<FaultTable<'_>> {
    let is_first = name.starts_with("one");
    let rest = name.strip_prefix("one").or_else(|| name.strip_prefix("two"))?;
    let (number, end) = rest.split_once('-').map_or((rest, None), |(number, end)| (number, Some(end)));
    let (digits, is_here) = number.strip_suffix('h').map_or((number, false), |digits| (digits, true));
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && (end.is_some() || !is_first)).then_some(FaultTable { is_first, is_here, end })
}

/// The two endpoints of a fault by the tables of one of its rules, the first one first.
pub fn ends<'a>(from: &'a str, to: &'a str) -> Option<(&'a str, Option<&'a str>)> {
    let (one, two) = (table(from)?, table(to)?);
    match (one.is_first, two.is_first) {
        (true, false) => Some((one.end?, two.end)),
        (false, true) => Some((two.end?, one.end)),
        (true, true) | (false, false) => None,
    }
}

/// The addresses of an endpoint of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultEndpoint {
    /// The networks that belong to it.
    pub networks: Vec<Ipv4Net>,
    /// Addresses in these networks that do not: if the other endpoint is a volume of this provider, the volume's
    /// address, and the gateway, which is the source of masqueraded traffic.
    pub without: Vec<Ipv4Addr>,
}

/// The addresses of an endpoint, where `other` is the other one. A provider has its network and the localhost aliases
/// of its volumes; a volume has its address and its alias; `None` has what every provider but `other` has. `None` if the
/// plan has no such name.
pub fn reach(plan: &Plan, end: Option<&str>, other: Option<&str>) -> Option<FaultEndpoint> {
    let mut all = FaultEndpoint { networks: Vec::new(), without: Vec::new() };
    match end {
        Some(end) => match volume(plan, end) {
            Some(volume) => all
                .networks
                .extend([Some(volume.address), volume.alias].into_iter().flatten().map(Ipv4Net::from)),
            None => all.add(plan, plan.bridges.iter().find(|bridge| bridge.provider.as_str() == end)?, other),
        },
        None => others(plan, other).for_each(|bridge| all.add(plan, bridge, other)),
    }
    Some(all)
}

/// Those of the addresses of an endpoint that this Mac has: gateways, and volumes that the Mac serves.
pub fn here(plan: &Plan, end: Option<&str>, other: Option<&str>) -> Vec<Ipv4Addr> {
    let is_served = |volume: &&PlannedVolume| volume.attachment == VolumeAttachment::Host;
    if let Some(volume) = end.and_then(|end| volume(plan, end)) {
        return Some(volume).filter(is_served).map(|volume| volume.address).into_iter().collect();
    }
    let is_meant = |bridge: &&Bridge| end.is_none_or(|end| bridge.provider.as_str() == end);
    let mut all = Vec::new();
    for bridge in others(plan, other).filter(is_meant) {
        let holds = within(plan, bridge, other).is_some();
        all.extend(Some(bridge.gateway.addr()).filter(|_| !holds));
        all.extend(volumes(plan, bridge, other).filter(is_served).map(|volume| volume.address));
    }
    all
}

impl FaultEndpoint {
    fn add(&mut self, plan: &Plan, bridge: &Bridge, other: Option<&str>) {
        self.networks.push(bridge.network);
        self.networks.extend(volumes(plan, bridge, other).filter_map(|it| it.alias).map(Ipv4Net::from));
        if let Some(within) = within(plan, bridge, other) {
            self.without.extend([within.address, bridge.gateway.addr()]);
        }
    }
}

fn volume<'a>(plan: &'a Plan, name: &str) -> Option<&'a PlannedVolume> {
    plan.volumes.iter().find(|volume| volume.name.as_str() == name)
}

fn others<'a>(plan: &'a Plan, end: Option<&'a str>) -> impl Iterator<Item = &'a Bridge> {
    plan.bridges.iter().filter(move |bridge| Some(bridge.provider.as_str()) != end)
}

/// The volumes of a provider without the endpoint.
fn volumes<'a>(
    plan: &'a Plan,
    bridge: &'a Bridge,
    but: Option<&'a str>,
) -> impl Iterator<Item = &'a PlannedVolume> {
    plan.volumes.iter().filter(move |it| it.provider == bridge.provider && Some(it.name.as_str()) != but)
}

/// The endpoint, if it is a volume of this provider.
fn within<'a>(plan: &'a Plan, bridge: &Bridge, end: Option<&str>) -> Option<&'a PlannedVolume> {
    volume(plan, end?).filter(|volume| volume.provider == bridge.provider)
}
