//! The egress interfaces, and networks of the Mac that conflict with ours.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::seen::Seen;
use crate::darwin::{InterfaceState, RouteEntry};
use crate::place::Harmless;
use crate::plan::Plan;

/// The blocks of private addresses. A route wider than the block that contains a network is not an overlap with it.
pub(super) const BLOCKS: [(Ipv4Addr, u8); 4] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
];
/// A shorter prefix is wider than any single network: the route is part of a default route.
pub(super) const WIDE: u8 = 8;

/// An overlap of another network with a provider's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Overlap {
    /// The name of the provider.
    pub provider: String,
    /// The overlap in words, with the interface of the other network.
    pub text: String,
}

impl Seen<'_> {
    /// The egress interfaces, sorted by name.
    pub(super) fn ways_out(&self, plan: &Plan) -> Vec<String> {
        let leading = self.routes.iter().filter(|route| self.leads_out(plan, route));
        leading.map(|route| route.interface.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The interfaces that are neither lo0 nor ours, sorted by name: what arrives on them comes from others.
    pub(super) fn outside(&self, plan: &Plan) -> Vec<String> {
        let foreign =
            |name: &&String| name.as_str() != "lo0" && !self.is_inner(plan, name) && is_nameable(name);
        self.interfaces.keys().filter(foreign).cloned().collect()
    }

    /// The interface of the default route.
    pub(super) fn default_interface(&self) -> Option<&str> {
        let is_it = |route: &&RouteEntry| route.destination.prefix_len() == 0 && !route.flags.contains('I');
        self.routes.iter().find(is_it).map(|route| route.interface.as_str())
    }

    /// The tunnel to the other Macs: the interface that has this Mac's address in it.
    pub(super) fn tunnel(&self, plan: &Plan) -> Option<&str> {
        let mesh = plan.mesh.as_ref()?;
        let has =
            |(_, interface): &(&String, &InterfaceState)| interface.addresses.contains_key(&mesh.address);
        self.interfaces.iter().find(has).map(|(name, _)| name.as_str()).filter(|name| *name != "lo0")
    }

    /// Whether the manager created the interface, it is the bridge of a provider attached to vmnet, or it leads to the
    /// other Macs.
    fn is_inner(&self, plan: &Plan, name: &str) -> bool {
        self.made(&["if", name])
            || self.tunnel(plan) == Some(name)
            || plan.own_bridges().any(|bridge| self.vmnet_of(bridge) == Some(name))
    }

    /// Whether packets leave this Mac by a route: to a router, or to a directly connected network. Routes that are
    /// cloned, bound to an interface, rejecting or limited to one link do not count.
    fn leads_out(&self, plan: &Plan, route: &RouteEntry) -> bool {
        let name = route.interface.as_str();
        let Some(interface) = self.interfaces.get(name).filter(|it| !it.addresses.is_empty()) else {
            return false;
        };
        let (net, address) = (route.destination, route.destination.addr());
        let own = net.prefix_len() == 32 && interface.addresses.contains_key(&address);
        let stays = address.is_multicast() || address.is_link_local() || address.octets()[0] == 255 || own;
        let bound = !route.flags.contains('U') || route.flags.contains(['I', 'W', 'R', 'B', 'm']);
        if kind_of(name) == "lo" || self.is_inner(plan, name) || stays || bound {
            return false;
        }
        // The peer of a tunnel is not a network.
        let is_peer = route.flags.contains('H') && !route.flags.contains('S');
        route.flags.contains('G') || (!is_peer && !self.hosts_machines(name))
    }

    /// Whether it is an interface for virtual machines on this Mac: they reach the outside through the Mac, not the
    /// reverse.
    fn hosts_machines(&self, name: &str) -> bool {
        match kind_of(name) {
            "vboxnet" | "vmnet" | "vnic" | "ap" => true,
            "bridge" => {
                let unit = name.trim_start_matches("bridge").parse::<u32>().unwrap_or(0);
                let is_virtual = |member: &String| matches!(kind_of(member), "vmenet" | "feth" | "tap");
                let members = self.interfaces.get(name).map(|it| &it.members);
                unit >= 100 || members.is_none_or(|members| members.iter().all(is_virtual))
            }
            _ => false,
        }
    }

    /// Routes and addresses of others that overlap the providers' networks.
    pub(super) fn overlaps(&self, plan: &Plan) -> Vec<Overlap> {
        let mut found: Vec<Overlap> = Vec::new();
        let mut told = BTreeSet::new();
        let mut tell = |bridge: &crate::plan::Bridge, what: &str, net: Ipv4Net, interface: &str| {
            if told.insert((bridge.network, net)) {
                let (network, provider) = (bridge.network, bridge.provider.to_string());
                let interface = Harmless(interface);
                let text =
                    format!("the network {network} of {provider} overlaps the {what} {net} on {interface}");
                found.push(Overlap { provider, text });
            }
        };
        let allowed = |net: Ipv4Net| plan.allow_overlap.iter().any(|allowed| allowed.contains(&net));
        let others = self.routes.iter().filter(|route| {
            route.destination.prefix_len() > 0 && !self.is_known(plan, route) && !allowed(route.destination)
        });
        for route in others {
            let net = route.destination;
            for bridge in &plan.bridges {
                let meets = bridge.network.contains(&net) || net.contains(&bridge.network);
                if meets
                    && !is_everywhere(net, bridge.network)
                    && !self.is_piece(route)
                    && !self.bypasses(route)
                {
                    tell(bridge, "route", net, &route.interface);
                }
            }
        }
        let ours: Vec<&str> = plan.own_bridges().filter_map(|bridge| self.bridge(bridge)).collect();
        for (name, interface) in &self.interfaces {
            for (address, length) in &interface.addresses {
                let own = name == "lo0" && self.made(&["address", "lo0", &address.to_string()]);
                let Ok(net) = Ipv4Net::new(*address, *length) else { continue };
                if own || ours.contains(&name.as_str()) || self.is_ours(plan, *address) || allowed(net) {
                    continue;
                }
                for bridge in plan.bridges.iter().filter(|bridge| bridge.network.contains(address)) {
                    tell(bridge, "address", net, name);
                }
            }
        }
        found
    }

    /// Whether a bridge of ours has this address.
    fn is_ours(&self, plan: &Plan, address: Ipv4Addr) -> bool {
        let bridges = plan.own_bridges().filter_map(|bridge| self.bridge(bridge));
        bridges.filter_map(|name| self.interfaces.get(name)).any(|it| it.addresses.contains_key(&address))
    }

    /// Whether a route belongs to something that the manager created, or to the vmnet of a provider.
    fn is_known(&self, plan: &Plan, route: &RouteEntry) -> bool {
        let (net, interface) = (route.destination, route.interface.as_str());
        let bridges = plan.own_bridges().any(|bridge| self.bridge(bridge) == Some(interface))
            || self.tunnel(plan) == Some(interface);
        let own_route = self.made(&["route", &net.to_string(), interface]);
        let alias = interface == "lo0"
            && net.prefix_len() == 32
            && self.made(&["address", "lo0", &net.addr().to_string()]);
        bridges || own_route || alias || route.flags.contains('W') || self.is_ours(plan, net.addr())
    }

    /// Whether it is one of several routes with the same next hop that together cover at least half of all addresses,
    /// without being covered by another of them: a default route, split to exclude some addresses.
    fn is_piece(&self, route: &RouteEntry) -> bool {
        let beside = |other: &&RouteEntry| {
            (&other.interface, &other.gateway) == (&route.interface, &route.gateway)
                && other.destination.prefix_len() > 0
                && !other.flags.contains(['I', 'W'])
        };
        let size = |route: &RouteEntry| 1_u64 << (32 - route.destination.prefix_len());
        let covered = |other: &RouteEntry| {
            other.destination.prefix_len() < route.destination.prefix_len()
                && other.destination.contains(&route.destination)
        };
        let beside = self.routes.iter().filter(beside);
        !beside.clone().any(covered) && beside.map(size).sum::<u64>() >= 1 << 31
    }

    /// Whether it is a route around a tunnel that takes all other traffic: it goes where the LAN's default route goes.
    fn bypasses(&self, route: &RouteEntry) -> bool {
        let same = |other: &RouteEntry| {
            other.destination.prefix_len() == 0
                && (&other.gateway, &other.interface) == (&route.gateway, &route.interface)
        };
        let tunnel = |other: &RouteEntry| {
            other.destination.prefix_len() < WIDE
                && other.interface != route.interface
                && other.flags.contains('U')
                && !other.flags.contains('I')
        };
        route.flags.contains('G') && self.routes.iter().any(same) && self.routes.iter().any(tunnel)
    }
}

/// Whether a route is a default route, or part of one.
fn is_everywhere(net: Ipv4Net, network: Ipv4Net) -> bool {
    if net.prefix_len() <= 1 {
        return true;
    }
    let block = BLOCKS.into_iter().find(|(address, length)| {
        Ipv4Net::new(*address, *length).is_ok_and(|block| block.contains(&network))
    });
    net.prefix_len() < block.map_or(WIDE, |(_, length)| length)
}

/// The letters at the start of an interface's name.
fn kind_of(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit())
}

/// Whether a name can be used in a rule; all interfaces of macOS have such names.
fn is_nameable(name: &str) -> bool {
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    let bytes = name.as_bytes();
    bytes.len() < 16
        && bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(u8::is_ascii_digit)
        && bytes.iter().all(|c| word(*c))
}
