//! Partitions on a Mac, as their rules tell of them: the manager cuts two ends from each other at run time.
//!
//! Its rules are in an anchor of their own, which is evaluated before ours. They name tables, which no capture has;
//! their label says the ends, so that what the tables hold follows from the plan.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::Plan;

/// The anchor with what is cut or slow; it sorts before the default anchor.
pub const ANCHOR: &str = "com.apple/249.nixvol-faults";

/// The addresses of an end of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// What belongs to it.
    pub networks: Vec<Ipv4Net>,
    /// Addresses in them that do not: where a volume of it is the other end, that and the gateway, which is the source of
    /// what masquerades.
    pub without: Vec<Ipv4Addr>,
}

/// The two ends that the label of a rule of a partition names.
pub fn ends(label: &str) -> Option<(&str, &str)> {
    label.strip_prefix("partition:")?.split_once(':')
}

/// What an end has, where `other` is the other end: a provider its network and the localhost aliases of its volumes, a
/// volume its address and its alias. None for a name that is not in the plan.
pub fn reach(plan: &Plan, end: &str, other: &str) -> Option<Reach> {
    let volume = |name: &str| plan.volumes.iter().find(|volume| volume.name.as_str() == name);
    if let Some(volume) = volume(end) {
        let networks = [Some(volume.address), volume.alias];
        return Some(Reach {
            networks: networks.into_iter().flatten().map(Ipv4Net::from).collect(),
            without: Vec::new(),
        });
    }
    let bridge = plan.bridges.iter().find(|bridge| bridge.provider.as_str() == end)?;
    let mut networks = vec![bridge.network];
    let own = plan.volumes.iter().filter(|it| it.provider == bridge.provider && it.name.as_str() != other);
    networks.extend(own.filter_map(|it| it.alias).map(Ipv4Net::from));
    let within = volume(other).filter(|it| it.provider == bridge.provider);
    let without = within.map_or_else(Vec::new, |it| vec![it.address, bridge.gateway.addr()]);
    Some(Reach { networks, without })
}
