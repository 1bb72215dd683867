//! The space of packets: which bits of a diagram are which header field, and sets of packets by these bits.

use std::ops::{Deref, DerefMut, Range};

use super::bits::Bits;
use super::diagram::{Diagrams, Map, Set};
use super::packet::{ADDRESS, Field, Side, WitnessPacket};
use super::protocol;

/// The fields after the addresses, in the order of their bits, each with its width.
const FIELDS: [(Field, u16); 8] = [
    (Field::Protocol, protocol::WIDTH),
    (Field::Fragment, 1),
    (Field::DestinationPort, 16),
    (Field::SourcePort, 16),
    (Field::Flags, 8),
    (Field::IcmpType, 8),
    (Field::IcmpCode, 8),
    (Field::Options, 1),
];
/// Candidate names for the stranger; the first that no rule names is taken.
const STRANGERS: [&str; 3] = ["en9", "utun9", "bridge100"];

/// A space of packets: the distinguished interfaces, and the diagrams over the header bits.
#[derive(Debug, Clone)]
pub struct Space {
    pub(super) diagrams: Diagrams,
    pub(super) interfaces: Vec<String>,
    pub(super) stranger: String,
    /// The number of bits that encode an interface.
    pub(super) interface_bits: u16,
    /// The bits of the default packet.
    pub(super) usual: Bits,
}

impl Deref for Space {
    type Target = Diagrams;

    fn deref(&self) -> &Diagrams {
        &self.diagrams
    }
}

impl DerefMut for Space {
    fn deref_mut(&mut self) -> &mut Diagrams {
        &mut self.diagrams
    }
}

impl Space {
    /// A space that distinguishes these interfaces; all others are the stranger.
    pub fn new(interfaces: impl IntoIterator<Item = String>) -> Self {
        let mut interfaces: Vec<String> = interfaces.into_iter().collect();
        interfaces.sort_unstable();
        interfaces.dedup();
        let is_free = |name: &String| interfaces.binary_search(name).is_err();
        let usual = STRANGERS.iter().map(|name| (*name).to_owned());
        // One more than there are names, so that one of these is free.
        let others = (0..=interfaces.len()).map(|unit| format!("other{unit}"));
        let stranger = usual.chain(others).find(is_free);
        // One more than there are names, so that a number is left for the stranger.
        let interface_bits = u16::try_from((interfaces.len() + 1).next_power_of_two().trailing_zeros());
        let mut space = Self {
            diagrams: Diagrams::default(),
            interfaces,
            stranger: stranger.unwrap_or_default(),
            interface_bits: interface_bits.unwrap_or(u16::MAX),
            usual: Bits::default(),
        };
        space.usual = space.bits(&WitnessPacket::default());
        space
    }

    /// The names of the distinguished interfaces, sorted.
    pub fn interfaces(&self) -> &[String] {
        &self.interfaces
    }

    /// A name for the stranger: no distinguished interface has it.
    pub fn stranger(&self) -> &str {
        &self.stranger
    }

    pub(super) const fn direction_level() -> u16 {
        0
    }

    pub(super) fn interface_levels(&self) -> Range<u16> {
        1..1 + self.interface_bits
    }

    pub(super) fn family_level(&self) -> u16 {
        1 + self.interface_bits
    }

    pub(super) fn side_levels(&self, side: Side) -> Range<u16> {
        let source = self.family_level() + 1;
        match side {
            Side::Source => source..source + ADDRESS,
            Side::Destination => source + ADDRESS..source + 2 * ADDRESS,
        }
    }

    pub(super) fn field_levels(&self, field: Field) -> Range<u16> {
        let mut start = self.side_levels(Side::Destination).end;
        for (known, width) in FIELDS {
            if known == field {
                return start..start + width;
            }
            start += width;
        }
        start..start
    }

    /// The packets whose bits at these levels are the low bits of a number; higher bits of it are ignored.
    pub(super) fn equal(&mut self, levels: Range<u16>, number: u128) -> Set {
        let mut set = Set::ALL.as_map();
        for (bit, level) in levels.rev().enumerate() {
            let is_set = number >> bit & 1 == 1;
            let (low, high) = if is_set { (Set::NONE.as_map(), set) } else { (set, Set::NONE.as_map()) };
            set = self.diagrams.make(level, low, high);
        }
        Set(set)
    }

    /// The packets whose number at these levels is in one of the ranges, which must be sorted, by their first and by
    /// their last numbers.
    pub(super) fn ranges(&mut self, levels: Range<u16>, ranges: &[(u128, u128)]) -> Set {
        let width = u32::from(levels.end - levels.start);
        let last = u128::MAX.checked_shr(128 - width).unwrap_or(0);
        let made = self.part(levels.start, (0, last), ranges);
        Set(made)
    }

    fn part(&mut self, level: u16, (low, high): (u128, u128), ranges: &[(u128, u128)]) -> Map {
        let from = ranges.partition_point(|range| range.1 < low);
        let to = ranges.partition_point(|range| range.0 <= high);
        match ranges.get(from..to) {
            None | Some([]) => return Set::NONE.as_map(),
            Some([range, ..]) if range.0 <= low && range.1 >= high => return Set::ALL.as_map(),
            Some(_) => {}
        }
        let middle = low + (high - low) / 2;
        let below = self.part(level + 1, (low, middle), &ranges[from..to]);
        let above = self.part(level + 1, (middle + 1, high), &ranges[from..to]);
        self.diagrams.make(level, below, above)
    }
}
