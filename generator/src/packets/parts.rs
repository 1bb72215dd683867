//! Parts of functions and sets: by the values of a field, by service, by sender.

use std::ops::Range;

use super::diagram::{Map, Set};
use super::packet::{Field, PacketFamily, Side};
use super::protocol;
use super::space::Space;

impl Space {
    /// The addresses of a set that restricts only one side, as ranges of numbers of a family.
    pub fn address_ranges(&mut self, set: Set, side: Side, family: PacketFamily) -> Vec<(u128, u128)> {
        let level = self.family_level();
        let of_family = self.fixed(set.as_map(), level..level + 1, u128::from(family == PacketFamily::Inet6));
        let start = self.side_levels(side).start;
        self.number_ranges(of_family, start..start + family.bits())
    }

    /// The values of a set that restricts only one field, as ranges. Not for the protocol, which is encoded.
    pub fn field_ranges(&self, set: Set, field: Field) -> Vec<(u128, u128)> {
        self.number_ranges(set.as_map(), self.field_levels(field))
    }

    fn number_ranges(&self, map: Map, levels: Range<u16>) -> Vec<(u128, u128)> {
        let parts = self.ranges_of(map, levels).into_iter();
        parts.filter(|(_, part)| *part != Set::NONE.as_map()).map(|(range, _)| range).collect()
    }

    /// Splits a function by the values of a field: sorted ranges, each with the restricted function. The function must
    /// test no bit before the field, which must not be the protocol.
    pub fn by_number(&self, map: Map, field: Field) -> Vec<((u128, u128), Map)> {
        self.ranges_of(map, self.field_levels(field))
    }

    fn ranges_of(&self, map: Map, levels: Range<u16>) -> Vec<((u128, u128), Map)> {
        let mut found: Vec<((u128, u128), Map)> = Vec::new();
        self.add_ranges(map, levels.start, (levels.end, 0), &mut found);
        found
    }

    fn add_ranges(
        &self,
        map: Map,
        level: u16,
        (end, low): (u16, u128),
        found: &mut Vec<((u128, u128), Map)>,
    ) {
        if self.diagrams.level(map) >= end {
            let width = u32::from(end - level);
            let low = low.checked_shl(width).unwrap_or(0);
            let high = low + u128::MAX.checked_shr(128 - width).unwrap_or(0);
            match found.last_mut() {
                Some(((_, last), known)) if *known == map => *last = high,
                _ => found.push(((low, high), map)),
            }
            return;
        }
        let (below, above) = self.diagrams.sides(map, level);
        self.add_ranges(below, level + 1, (end, low << 1), found);
        self.add_ranges(above, level + 1, (end, low << 1 | 1), found);
    }

    /// Splits a set by the fields after the addresses: each service, with the source-destination pairs that have it.
    pub fn by_service(&mut self, set: Set) -> Vec<(Set, Set)> {
        let level = self.side_levels(Side::Destination).end;
        self.diagrams.split(set, level)
    }

    /// Splits a set before the destination: senders that the rest of the set does not distinguish are together.
    pub fn by_sender(&mut self, set: Set) -> Vec<(Set, Set)> {
        let level = self.side_levels(Side::Destination).start;
        self.diagrams.split(set, level)
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
        let code = if field == Field::Protocol { protocol::code(number) } else { number.into() };
        self.fixed(map, self.field_levels(field), code.into())
    }
}
