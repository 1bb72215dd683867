//! Decomposition of a set into few rectangles, and the ranges that a side of a rectangle consists of.

use std::collections::BTreeMap;

use super::{Family, Field, Map, Set, Side, Space, protocol};

/// A product set: every packet at some hooks, from some sources, to some destinations, by some services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rectangle {
    /// Restricts direction and interface only.
    pub hooks: Set,
    /// Restricts family and source only.
    pub sources: Set,
    /// Restricts the destination only.
    pub destinations: Set,
    /// Restricts the fields after the addresses only.
    pub services: Set,
}

impl Space {
    /// Decomposes a set into disjoint rectangles, in which sources and destinations with equal treatment are together.
    pub fn rectangles(&mut self, set: Set) -> Vec<Rectangle> {
        let levels = [
            self.family_level(),
            self.side_levels(Side::Destination).start,
            self.side_levels(Side::Destination).end,
        ];
        let mut by_ends: BTreeMap<(Set, Set, Set), Set> = BTreeMap::new();
        for (hooks, rest) in self.diagrams.cut(set.as_map(), levels[0]) {
            for (sources, rest) in self.diagrams.cut(rest, levels[1]) {
                for (destinations, services) in self.diagrams.cut(rest, levels[2]) {
                    let services = self.diagrams.set(services);
                    if services.is_empty() {
                        continue;
                    }
                    let key = (sources, destinations, services);
                    let known = by_ends.get(&key).copied().unwrap_or(Set::NONE);
                    let all = self.or(known, hooks);
                    by_ends.insert(key, all);
                }
            }
        }
        let rectangle =
            |((sources, destinations, services), hooks)| Rectangle { hooks, sources, destinations, services };
        by_ends.into_iter().map(rectangle).collect()
    }

    /// The packets of a rectangle.
    pub fn all_of(&mut self, rectangle: &Rectangle) -> Set {
        let Rectangle { hooks, sources, destinations, services } = *rectangle;
        [sources, destinations, services].into_iter().fold(hooks, |all, side| self.and(all, side))
    }

    /// The addresses of a set that restricts only one side, as ranges of numbers of a family.
    pub fn address_ranges(&mut self, set: Set, side: Side, family: Family) -> Vec<(u128, u128)> {
        let of_family = self.with_family(set, family);
        let start = self.side_levels(side).start;
        self.number_ranges(of_family, start..start + family.bits())
    }

    /// The values of a set that restricts only one field, as ranges. Not for the protocol, which is encoded.
    pub fn field_ranges(&mut self, set: Set, field: Field) -> Vec<(u128, u128)> {
        let levels = self.field_levels(field);
        self.number_ranges(set.as_map(), levels)
    }

    fn with_family(&mut self, set: Set, family: Family) -> Map {
        let level = self.family_level();
        self.diagrams.fix(set.as_map(), &|at| (at == level).then_some(family == Family::Inet6), level)
    }

    fn number_ranges(&self, map: Map, levels: std::ops::Range<u16>) -> Vec<(u128, u128)> {
        let mut found: Vec<(u128, u128)> = Vec::new();
        self.add_ranges(map, levels.start, (levels.end, 0), &mut found);
        found
    }

    fn add_ranges(&self, map: Map, level: u16, (end, low): (u16, u128), found: &mut Vec<(u128, u128)>) {
        if map == Set::NONE.as_map() {
            return;
        }
        if level == end || map == Set::ALL.as_map() {
            let width = u32::from(end - level);
            let size = 1u128.checked_shl(width).map_or(u128::MAX, |size| size - 1);
            let low = low.checked_shl(width).unwrap_or(0);
            match found.last_mut() {
                Some((_, high)) if high.checked_add(1) == Some(low) => *high = low + size,
                _ => found.push((low, low + size)),
            }
            return;
        }
        let (below, above) = self.diagrams.sides(map, level);
        self.add_ranges(below, level + 1, (end, low << 1), found);
        self.add_ranges(above, level + 1, (end, low << 1 | 1), found);
    }

    /// Splits a function by the values of a field: sorted ranges, each with the restricted function. The function must
    /// test no bit before the field, which must not be the protocol.
    pub fn by_number(&self, map: Map, field: Field) -> Vec<((u128, u128), Map)> {
        let levels = self.field_levels(field);
        let mut found: Vec<((u128, u128), Map)> = Vec::new();
        self.add_parts(map, levels.start, (levels.end, 0), &mut found);
        found
    }

    fn add_parts(&self, map: Map, level: u16, (end, low): (u16, u128), found: &mut Vec<((u128, u128), Map)>) {
        if self.diagrams.level(map) >= end {
            let width = u32::from(end - level);
            let (low, size) = (low << width, (1u128 << width) - 1);
            match found.last_mut() {
                Some(((_, high), known)) if *known == map => *high = low + size,
                _ => found.push(((low, low + size), map)),
            }
            return;
        }
        let (below, above) = self.diagrams.sides(map, level);
        self.add_parts(below, level + 1, (end, low << 1), found);
        self.add_parts(above, level + 1, (end, low << 1 | 1), found);
    }

    /// Splits a set by the fields after the addresses: each service, with the source-destination pairs that have it.
    pub fn by_service(&mut self, set: Set) -> Vec<(Set, Set)> {
        let end = self.side_levels(Side::Destination).end;
        let parts = self.diagrams.cut(set.as_map(), end).into_iter();
        parts
            .map(|(pairs, rest)| (pairs, self.diagrams.set(rest)))
            .filter(|(_, rest)| !rest.is_empty())
            .collect()
    }

    /// Splits a set before the destination: senders that the rest of the set does not distinguish are together.
    pub fn by_sender(&mut self, set: Set) -> Vec<(Set, Set)> {
        let start = self.side_levels(Side::Destination).start;
        let parts = self.diagrams.cut(set.as_map(), start).into_iter();
        parts
            .map(|(from, rest)| (from, self.diagrams.set(rest)))
            .filter(|(_, rest)| !rest.is_empty())
            .collect()
    }

    /// The packets that share hook and source with a packet of the set.
    pub fn senders(&mut self, set: Set) -> Set {
        let levels = self.side_levels(Side::Destination).start..self.field_levels(Field::Options).end;
        self.diagrams.forget(set, levels)
    }

    /// The packets that share the destination with a packet of the set.
    pub fn receivers(&mut self, set: Set) -> Set {
        let services = self.side_levels(Side::Destination).end..self.field_levels(Field::Options).end;
        let set = self.diagrams.forget(set, services);
        let set = self.diagrams.forget(set, 0..self.family_level());
        let sources = self.side_levels(Side::Source);
        self.diagrams.forget(set, sources)
    }

    /// A function restricted to one value of a field.
    pub fn with_number(&mut self, map: Map, field: Field, number: u8) -> Map {
        let levels = self.field_levels(field);
        let code = if field == Field::Protocol { protocol::code(number) } else { number.into() };
        let bit = |level: u16| levels.contains(&level).then(|| code >> (levels.end - 1 - level) & 1 == 1);
        self.diagrams.fix(map, &bit, levels.end - 1)
    }
}
