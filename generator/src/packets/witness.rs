//! Witnesses: a realistic packet of a set, and the value of a function for one packet.

use std::ops::Range;

use super::bits::Bits;
use super::combine::FirstMatchRow;
use super::diagram::{Map, Set};
use super::packet::{Field, PacketDirection, PacketFamily, Side, WitnessPacket, number_of};
use super::protocol;
use super::space::Space;

impl Space {
    /// A packet of a set, `None` if it is empty. Each preference is honoured if the earlier ones allow it.
    pub fn witness(&mut self, set: Set, preferences: &[Set]) -> Option<WitnessPacket> {
        let mut set = set;
        for preference in preferences {
            let both = self.and(set, *preference);
            if !both.is_empty() {
                set = both;
            }
        }
        self.any(set)
    }

    /// Any packet of a set, as close to the default packet as the set allows; `None` if it is empty.
    pub fn any(&self, set: Set) -> Option<WitnessPacket> {
        let usual = &self.usual;
        let way = self.diagrams.pick(set.as_map(), Set::NONE.as_map(), |level| usual.has(level))?;
        Some(self.packet(&way))
    }

    /// Any packet that a row of a first-match table matches. Cheap if the row's function tests few of the bits that its
    /// `top` tests.
    pub fn any_of_row(&mut self, FirstMatchRow { top, then }: FirstMatchRow) -> Option<WitnessPacket> {
        let (mut wished, mut told) = (self.usual.clone(), Bits::default());
        let mut way = self.diagrams.pick(top.as_map(), Set::NONE.as_map(), |level| wished.has(level))?;
        for (level, bit) in &way {
            wished.put(*level, *bit);
            told.put(*level, true);
        }
        let rest = self.diagrams.pick(then, Map::UNDECIDED, |level| wished.has(level))?;
        let is_told = |(level, bit): &(u16, bool)| told.has(*level) && wished.has(*level) != *bit;
        if rest.iter().any(is_told) {
            let both = self.only(top, then);
            way = self.diagrams.pick(both, Map::UNDECIDED, |level| wished.has(level))?;
        } else {
            way.extend(rest);
        }
        Some(self.packet(&way))
    }

    /// Every value of a function, each with a packet that has it.
    pub fn each(&self, map: Map) -> Vec<(u32, WitnessPacket)> {
        let found = self.diagrams.each_number(map);
        found.into_iter().map(|(number, way)| (number, self.packet(&way))).collect()
    }

    /// The value of a function for a packet.
    pub fn of(&self, map: Map, packet: &WitnessPacket) -> u32 {
        let bits = self.bits(packet);
        self.diagrams.number(map, |level| bits.has(level))
    }

    /// The values of several functions for a packet.
    pub fn all_of_packet<const N: usize>(&self, maps: [Map; N], packet: &WitnessPacket) -> [u32; N] {
        let bits = self.bits(packet);
        let mut values = [0; N];
        for (value, map) in values.iter_mut().zip(maps) {
            *value = self.diagrams.number(map, |level| bits.has(level));
        }
        values
    }

    /// Whether a packet is in a set.
    pub fn has(&self, set: Set, packet: &WitnessPacket) -> bool {
        self.of(set.as_map(), packet) == 1
    }

    fn numbers_of(&self, packet: &WitnessPacket) -> [(Range<u16>, u128); 13] {
        let family = PacketFamily::of(packet.source);
        let known = self.interfaces.binary_search(&packet.interface);
        let address = |side, address| {
            let start = self.side_levels(side).start;
            (start..start + family.bits(), number_of(address))
        };
        let field = |field, number: u16| (self.field_levels(field), u128::from(number));
        let direction = Self::direction_level();
        [
            (direction..direction + 1, u128::from(packet.direction == PacketDirection::Out)),
            (self.interface_levels(), known.unwrap_or(self.interfaces.len()) as u128),
            (self.family_level()..self.family_level() + 1, u128::from(family == PacketFamily::Inet6)),
            address(Side::Source, packet.source),
            address(Side::Destination, packet.destination),
            field(Field::Protocol, protocol::code(packet.protocol)),
            field(Field::Fragment, packet.fragment.into()),
            field(Field::DestinationPort, packet.destination_port),
            field(Field::SourcePort, packet.source_port),
            field(Field::Flags, packet.flags.into()),
            field(Field::IcmpType, packet.icmp_type.into()),
            field(Field::IcmpCode, packet.icmp_code.into()),
            field(Field::Options, packet.options.into()),
        ]
    }

    /// The bits of a packet by level.
    pub(super) fn bits(&self, packet: &WitnessPacket) -> Bits {
        let mut bits = Bits::default();
        for (levels, number) in self.numbers_of(packet) {
            bits.put_number(levels, number);
        }
        bits
    }

    /// The packet on a path: its bits where the path fixes them, those of the default packet elsewhere.
    fn packet(&self, way: &[(u16, bool)]) -> WitnessPacket {
        let mut bits = self.usual.clone();
        for (level, bit) in way {
            bits.put(*level, *bit);
        }
        let number = |levels: Range<u16>| bits.number(levels);
        let direction = Self::direction_level();
        let inet6 = bits.has(self.family_level());
        let family = if inet6 { PacketFamily::Inet6 } else { PacketFamily::Inet };
        let address = |side| {
            let start = self.side_levels(side).start;
            family.address(number(start..start + family.bits()))
        };
        let port = |field| u16::try_from(number(self.field_levels(field))).unwrap_or(u16::MAX);
        let byte = |field| u8::try_from(number(self.field_levels(field))).unwrap_or(u8::MAX);
        let interface = usize::try_from(number(self.interface_levels())).unwrap_or(usize::MAX);
        WitnessPacket {
            direction: if bits.has(direction) { PacketDirection::Out } else { PacketDirection::In },
            interface: self.interfaces.get(interface).unwrap_or(&self.stranger).clone(),
            source: address(Side::Source),
            destination: address(Side::Destination),
            protocol: protocol::number(port(Field::Protocol)),
            source_port: port(Field::SourcePort),
            destination_port: port(Field::DestinationPort),
            flags: byte(Field::Flags),
            icmp_type: byte(Field::IcmpType),
            icmp_code: byte(Field::IcmpCode),
            fragment: byte(Field::Fragment) == 1,
            options: byte(Field::Options) == 1,
        }
    }
}
