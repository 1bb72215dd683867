//! Partitions on a Mac, derived from their rules: the manager can block all traffic between two endpoints at run time.
//!
//! These rules are in an anchor of their own, which is evaluated before ours. They use tables, which a capture does not
//! contain; their labels name the endpoints, so that the content of the tables follows from the plan.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::Plan;

/// The anchor for partitions and slowed paths; it sorts before the default anchor.
pub const ANCHOR: &str = "com.apple/249.nixvol-faults";

/// The addresses of an endpoint of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The networks that belong to it.
    pub networks: Vec<Ipv4Net>,
    /// Addresses in these networks that do not: if the other endpoint is a volume of this provider, the volume's
    /// address, and the gateway, which is the source of masqueraded traffic.
    pub without: Vec<Ipv4Addr>,
}

/// The two endpoints named by the label of a partition's rule; `None` for other labels.
pub fn ends(label: &str) -> Option<(&str, &str)> {
    label.strip_prefix("partition:")?.split_once(':')
}

/// The addresses of an endpoint, where `other` is the other one. A provider has its network and the localhost aliases
/// of its volumes; a volume has its address and its alias. `None` if the plan has no such name.
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
