//! The endpoints of flows as sets: networks, volumes, the Mac's addresses, and the paths between them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::packets::{Field, FirstMatchRow, Map, PacketFamily, Set, Side, Space};
use crate::plan::AddressRegion;
use crate::plan::policy::{Ends, Parts, PermissionPart, TCP, UDP};

/// The providers' networks as sets, in the order of [`Parts::networks`].
#[derive(Debug, Clone)]
pub struct Sets {
    /// The flows from each network.
    pub from: Vec<Set>,
    /// The flows to each network.
    pub to: Vec<Set>,
    /// The flows from any of them.
    pub from_any: Set,
    /// The flows to any of them.
    pub to_any: Set,
}

/// The packets whose source or destination is in a region.
pub fn region(space: &mut Space, side: Side, region: &AddressRegion) -> Set {
    let mut set = Set::NONE;
    // Prefixes are sorted: the longest that contains an address comes last, and so decides.
    for (prefix, is_out) in region.prefixes() {
        let part = space.network(side, prefix.network().into(), prefix.prefix_len());
        set = if is_out { space.minus(set, part) } else { space.or(set, part) };
    }
    set
}

/// The packets whose source or destination is one of these addresses.
pub fn addresses<'a>(space: &mut Space, side: Side, all: impl IntoIterator<Item = &'a Ipv4Addr>) -> Set {
    let mut ranges: Vec<(u128, u128)> = all
        .into_iter()
        .map(|address| u128::from(u32::from(*address)))
        .map(|number| (number, number))
        .collect();
    ranges.sort_unstable();
    ranges.dedup();
    space.addresses(side, PacketFamily::Inet, &ranges)
}

/// The packets of a protocol and ports; ports without a protocol mean those of TCP and UDP.
pub fn service(space: &mut Space, protocol: Option<u8>, ports: Option<&[(u16, u16)]>) -> Set {
    let protocols: &[u8] = match (&protocol, ports) {
        (Some(protocol), _) => std::slice::from_ref(protocol),
        (None, Some(_)) => &[TCP, UDP],
        (None, None) => return Set::ALL,
    };
    let ranges: Vec<(u128, u128)> = protocols.iter().map(|it| ((*it).into(), (*it).into())).collect();
    let protocols = space.numbers(Field::Protocol, &ranges);
    let Some(ports) = ports else { return protocols };
    let ports: Vec<(u128, u128)> =
        ports.iter().map(|(first, last)| ((*first).into(), (*last).into())).collect();
    let ports = space.numbers(Field::DestinationPort, &ports);
    space.and(protocols, ports)
}

/// What links have in common whose ends are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MergedLink<'p> {
    /// Whether the sources are translated; these come last.
    pub masquerade: bool,
    /// The IANA protocol number; `None` for any.
    pub protocol: Option<u8>,
    /// The destination ports; `None` for any.
    pub ports: Option<&'p [(u16, u16)]>,
}

/// What links cover, each with its senders and receivers. Links with the same service and receivers are merged; then
/// those with the same senders.
pub fn links<'p>(parts: &'p Parts) -> Vec<(MergedLink<'p>, Ends, Ends)> {
    let add = |all: &mut Ends, more: &Ends| {
        all.networks.extend(&more.networks);
        all.volumes.extend(&more.volumes);
    };
    let mut by_receivers: BTreeMap<(MergedLink, &Ends), Ends> = BTreeMap::new();
    for PermissionPart { from, to, protocol, ports, masquerade } in &parts.permissions {
        let link = MergedLink { masquerade: *masquerade, protocol: *protocol, ports: ports.as_deref() };
        add(by_receivers.entry((link, to)).or_default(), from);
    }
    let mut by_senders: BTreeMap<(MergedLink, Ends), Ends> = BTreeMap::new();
    for ((link, to), from) in by_receivers {
        add(by_senders.entry((link, from)).or_default(), to);
    }
    by_senders.into_iter().map(|((link, from), to)| (link, from, to)).collect()
}

impl Sets {
    /// The networks of a policy as sets.
    pub fn of(space: &mut Space, parts: &Parts) -> Self {
        let mut side =
            |side| -> Vec<Set> { parts.networks.iter().map(|it| region(space, side, it.region)).collect() };
        let (from, to) = (side(Side::Source), side(Side::Destination));
        let [from_any, to_any] = [&from, &to].map(|all| space.union(all));
        Self { from, to, from_any, to_any }
    }

    /// The packets between addresses of one provider.
    pub fn within(&self, space: &mut Space) -> Set {
        let pairs = self.from.iter().zip(&self.to);
        let pairs: Vec<Set> = pairs.map(|(from, to)| space.and(*from, *to)).collect();
        space.union(&pairs)
    }

    /// The packets whose source or destination is one of these endpoints.
    pub fn ends(&self, space: &mut Space, side: Side, ends: &Ends) -> Set {
        let volumes = addresses(space, side, &ends.volumes);
        let networks = match side {
            Side::Source => &self.from,
            Side::Destination => &self.to,
        };
        let sets: Vec<Set> =
            ends.networks.iter().map(|network| networks[*network]).chain([volumes]).collect();
        space.union(&sets)
    }

    /// The receivers grouped by network: its index, and the packets to those inside it.
    pub fn by_network(&self, space: &mut Space, parts: &Parts, ends: &Ends) -> Vec<(usize, Set)> {
        let mut sets: BTreeMap<usize, Set> =
            ends.networks.iter().map(|network| (*network, self.to[*network])).collect();
        for address in &ends.volumes {
            let first = parts.networks.partition_point(|it| it.region.network.network() <= *address);
            let Some(network) = first.checked_sub(1) else { continue };
            let one = space.network(Side::Destination, (*address).into(), 32);
            let known = sets.get(&network).copied().unwrap_or(Set::NONE);
            sets.insert(network, space.or(known, one));
        }
        sets.into_iter().collect()
    }

    /// The number of the pipe from one address to another; 0 means none.
    pub fn pipes(&self, space: &mut Space, parts: &Parts) -> Map {
        if parts.ways.is_empty() {
            return Map::constant(0);
        }
        let within = self.within(space);
        let mut rows = vec![FirstMatchRow { top: within, then: Map::constant(0) }];
        // Volumes take precedence over networks, on the sender's side first; among equals the first declared path wins.
        for breadths in [[false, false], [false, true], [true, false], [true, true]] {
            for way in &parts.ways {
                let part = |ends: &Ends, is_network: bool| {
                    let nothing = Ends::default();
                    let Ends { networks, volumes } = ends.clone();
                    if is_network { Ends { networks, ..nothing } } else { Ends { volumes, ..nothing } }
                };
                let top = self.ends(space, Side::Source, &part(&way.from, breadths[0]));
                let rest = self.ends(space, Side::Destination, &part(&way.to, breadths[1]));
                if !top.is_empty() && !rest.is_empty() {
                    let pipe = Map::constant(way.pipe.map_or(0, u32::from));
                    rows.push(FirstMatchRow { top, then: space.only(rest, pipe) });
                }
            }
        }
        let pipe = space.first_match(&rows);
        space.over(pipe, Map::constant(0))
    }
}
