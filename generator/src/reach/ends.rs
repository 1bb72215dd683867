//! The endpoints of flows as sets: networks, volumes, the Mac's addresses, and the paths between them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::packets::{Family, Map, Row, Set, Side, Space};
use crate::plan::Region;
use crate::plan::policy::{Ends, Parts};

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
pub fn region(space: &mut Space, side: Side, region: &Region) -> Set {
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
    let numbers: BTreeSet<u128> = all.into_iter().map(|address| u32::from(*address).into()).collect();
    let ranges: Vec<(u128, u128)> = numbers.into_iter().map(|number| (number, number)).collect();
    space.addresses(side, Family::Inet, &ranges)
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
        let mut rows = vec![Row { top: within, rest: Set::ALL, then: Map::constant(0) }];
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
                    rows.push(Row { top, rest, then: Map::constant(way.pipe.map_or(0, u32::from)) });
                }
            }
        }
        let pipe = space.first_match(&rows);
        space.over(pipe, Map::constant(0))
    }
}
