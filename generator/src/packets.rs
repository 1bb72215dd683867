//! Packet sets: exact sets of packets and functions of packets, over every header field that pf can look at.
//!
//! Every question about all packets (is this the declared policy, what changed, what reaches what) is answered here,
//! so that there is one partition of the packet space. A ruleset becomes a [`Map`] from packets to the rule that
//! decides, built from its last rule to its first with [`Diagrams::choose`]: that costs the size of each match,
//! because equal functions are one node. A set is a [`Set`]: union, intersection, difference, emptiness,
//! implication, a witness and a decomposition into rectangles, none of them by sampling or by a hash that represents
//! a set.
//!
//! Interfaces are a symbolic domain: the names that some rule distinguishes, and one more for every other that
//! exists or may appear. An address has the bits of its family; only the layout knows how many these are. The usual
//! protocols have a bit each.
//!
//! The diagrams are our own because that was measured. First match over a rule for each of 250, 500 and 1,000
//! providers, millions of instructions: own 13, 24, 47; oxidd 0.13 24, 49, 104, whose multi-terminal diagrams lack
//! `choose`, and with nine crates; biodivine-lib-bdd 0.6 381, 1,387, 5,142, because each of its operations copies
//! the whole diagram. Sees: nothing. Never: rules, a plan, or what a packet means to either.

mod along;
mod combine;
mod diagram;
mod protocol;
mod rectangle;
mod walk;
mod witness;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::{Deref, DerefMut, Range};

pub use along::{Along, Runs};
pub use combine::Row;
use diagram::Memo;
pub use diagram::{Diagrams, Map, Set};
pub use rectangle::Rectangle;
pub use witness::Packet;

/// Which way a packet crosses an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Into the machine.
    In,
    /// Out of it.
    Out,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

/// One end of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// Where it comes from.
    Source,
    /// Where it goes to.
    Destination,
}

/// A field that is a number. Where a packet has no such field, no function looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// IANA's number of the protocol.
    Protocol,
    /// 1 for a fragment that is evaluated alone.
    Fragment,
    /// Of TCP and UDP.
    DestinationPort,
    /// Of TCP and UDP.
    SourcePort,
    /// Of TCP: F S R P A U E W from the lowest bit.
    Flags,
    /// Of ICMP.
    IcmpType,
    /// Of ICMP.
    IcmpCode,
    /// 1 for a packet with IP options.
    Options,
}

/// The bits of the widest address.
const ADDRESS: u16 = 128;
/// Fields after the addresses, in the order of their bits, with their width.
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
/// Names for the stranger, of which the first is taken that nothing names.
const STRANGERS: [&str; 3] = ["en9", "utun9", "bridge100"];

/// A space of packets: the interfaces that are distinguished, and the diagrams over it.
#[derive(Debug, Clone)]
pub struct Space {
    diagrams: Diagrams,
    interfaces: Vec<String>,
    stranger: String,
    /// How many bits the number of an interface has.
    interface_bits: u16,
    /// The bits of a usual packet.
    usual: witness::Bits,
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

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Inet } else { Self::Inet6 }
    }

    /// How many bits its addresses have.
    pub fn bits(self) -> u16 {
        match self {
            Self::Inet => 32,
            Self::Inet6 => ADDRESS,
        }
    }

    /// Its greatest address as a number.
    pub fn last(self) -> u128 {
        u128::MAX >> (ADDRESS - self.bits())
    }

    /// The address of a number.
    pub fn address(self, number: u128) -> IpAddr {
        match self {
            Self::Inet => Ipv4Addr::from(u32::try_from(number & self.last()).unwrap_or(u32::MAX)).into(),
            Self::Inet6 => Ipv6Addr::from(number).into(),
        }
    }
}

/// The number of an address.
pub fn number_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

impl Space {
    /// A space in which these interfaces are distinguished, and all others are unknown.
    pub fn new(interfaces: impl IntoIterator<Item = String>) -> Self {
        let mut interfaces: Vec<String> = interfaces.into_iter().collect();
        interfaces.sort_unstable();
        interfaces.dedup();
        let is_free = |name: &String| interfaces.binary_search(name).is_err();
        let usual = STRANGERS.iter().map(|name| (*name).to_owned());
        // One more than there are names, so that one of them is free.
        let others = (0..=interfaces.len()).map(|unit| format!("other{unit}"));
        let stranger = usual.chain(others).find(is_free);
        // One more than there are names, so that a number is left for the stranger.
        let interface_bits = u16::try_from((interfaces.len() + 1).next_power_of_two().trailing_zeros());
        let mut space = Self {
            diagrams: Diagrams::default(),
            interfaces,
            stranger: stranger.unwrap_or_default(),
            interface_bits: interface_bits.unwrap_or(u16::MAX),
            usual: witness::Bits::default(),
        };
        space.usual = space.bits(&Packet::default());
        space
    }

    /// The names of the interfaces that are distinguished.
    pub fn interfaces(&self) -> &[String] {
        &self.interfaces
    }

    /// A name of no interface that is distinguished.
    pub fn stranger(&self) -> &str {
        &self.stranger
    }

    const fn direction_level() -> u16 {
        0
    }

    fn interface_levels(&self) -> Range<u16> {
        1..1 + self.interface_bits
    }

    fn family_level(&self) -> u16 {
        1 + self.interface_bits
    }

    fn side_levels(&self, side: Side) -> Range<u16> {
        let source = self.family_level() + 1;
        match side {
            Side::Source => source..source + ADDRESS,
            Side::Destination => source + ADDRESS..source + 2 * ADDRESS,
        }
    }

    fn field_levels(&self, field: Field) -> Range<u16> {
        let mut start = self.side_levels(Side::Destination).end;
        for (known, width) in FIELDS {
            if known == field {
                return start..start + width;
            }
            start += width;
        }
        start..start
    }

    /// The packets in which the first bits of some levels are the last of a number.
    fn equal(&mut self, levels: Range<u16>, number: u128) -> Set {
        let mut set = Set::ALL.as_map();
        for (bit, level) in levels.rev().enumerate() {
            let is_set = number >> bit & 1 == 1;
            let (low, high) = if is_set { (Set::NONE.as_map(), set) } else { (set, Set::NONE.as_map()) };
            set = self.diagrams.make(level, low, high);
        }
        self.diagrams.set(set)
    }

    /// The packets whose number at some levels is in one of these ranges, which are in order and do not overlap.
    fn ranges(&mut self, levels: Range<u16>, ranges: &[(u128, u128)]) -> Set {
        let width = u32::from(levels.end - levels.start);
        let last = u128::MAX.checked_shr(128 - width).unwrap_or(0);
        let made = self.part(levels.start, (0, last), ranges);
        self.diagrams.set(made)
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

    /// The packets that go this way.
    pub fn direction(&mut self, direction: Direction) -> Set {
        let level = Self::direction_level();
        self.equal(level..level + 1, u128::from(direction == Direction::Out))
    }

    /// The packets on an interface. One that is not distinguished is a stranger, and this is then no packet.
    pub fn interface(&mut self, name: &str) -> Set {
        let known = self.interfaces.binary_search_by(|known| known.as_str().cmp(name));
        match known {
            Ok(number) => self.equal(self.interface_levels(), number as u128),
            Err(_) => Set::NONE,
        }
    }

    /// The packets on an interface that nothing names.
    pub fn strange_interface(&mut self) -> Set {
        let last = (1u128 << self.interface_bits) - 1;
        self.ranges(self.interface_levels(), &[(self.interfaces.len() as u128, last)])
    }

    /// The packets of a family.
    pub fn family(&mut self, family: Family) -> Set {
        let level = self.family_level();
        self.equal(level..level + 1, u128::from(family == Family::Inet6))
    }

    /// The packets of a family with an end in these ranges, which are in order and do not overlap.
    pub fn addresses(&mut self, side: Side, family: Family, ranges: &[(u128, u128)]) -> Set {
        let start = self.side_levels(side).start;
        let addresses = self.ranges(start..start + family.bits(), ranges);
        self.of_family(family, addresses)
    }

    /// The packets with an end in a network.
    pub fn network(&mut self, side: Side, address: IpAddr, prefix: u8) -> Set {
        let family = Family::of(address);
        let start = self.side_levels(side).start;
        let prefix = u16::from(prefix).min(family.bits());
        let number = number_of(address).checked_shr(u32::from(family.bits() - prefix)).unwrap_or(0);
        let network = self.equal(start..start + prefix, number);
        self.of_family(family, network)
    }

    /// The packets of a family in a set that looks at nothing before it.
    fn of_family(&mut self, family: Family, set: Set) -> Set {
        let (set, none) = (set.as_map(), Set::NONE.as_map());
        let (low, high) = if family == Family::Inet { (set, none) } else { (none, set) };
        let level = self.family_level();
        let of_family = self.diagrams.make(level, low, high);
        self.diagrams.set(of_family)
    }

    /// The packets in which a field is in one of these ranges, which are in order and do not overlap.
    pub fn numbers(&mut self, field: Field, ranges: &[(u128, u128)]) -> Set {
        let levels = self.field_levels(field);
        match ranges {
            _ if field == Field::Protocol => self.protocols(ranges),
            [(first, last)] if first == last => self.equal(levels, *first),
            _ => self.ranges(levels, ranges),
        }
    }

    /// The packets in which a field is a number.
    pub fn number_is(&mut self, field: Field, number: u8) -> Set {
        let number = u128::from(number);
        self.numbers(field, &[(number, number)])
    }

    /// The packets in which the bits of a field under a mask are these.
    pub fn masked(&mut self, field: Field, bits: u8, mask: u8) -> Set {
        let levels = self.field_levels(field);
        let mut set = Set::ALL;
        for (bit, level) in levels.rev().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1) {
            let one = self.equal(level..level + 1, u128::from(bits >> bit & 1));
            set = self.and(set, one);
        }
        set
    }

    /// What a function is of the same packets with this address at one end, whatever they have there.
    pub fn with_address(&mut self, map: Map, side: Side, address: IpAddr) -> Map {
        let (family, number) = (Family::of(address), number_of(address));
        let (levels, family_level) = (self.side_levels(side), self.family_level());
        let bit = |level: u16| {
            if level == family_level {
                return Some(family == Family::Inet6);
            }
            let place = level.checked_sub(levels.start).filter(|place| *place < family.bits())?;
            Some(number >> (family.bits() - 1 - place) & 1 == 1)
        };
        self.diagrams.fix(map, &bit, levels.end - 1)
    }

    /// What a function is of the same packets as fragments that are judged alone, or as whole ones.
    pub fn with_fragment(&mut self, map: Map, is_fragment: bool) -> Map {
        let level = self.field_levels(Field::Fragment).start;
        self.diagrams.behind(map, level, &mut |diagrams, map| {
            let (whole, fragment) = diagrams.sides(map, level);
            if is_fragment { fragment } else { whole }
        })
    }

    /// For each packet what all packets have together that differ from it by ports, flags and types: the union of `bits`
    /// of their numbers.
    pub fn of_any_service(&mut self, map: Map, bits: &mut impl FnMut(u32) -> u32) -> Map {
        let level = self.field_levels(Field::DestinationPort).start;
        let mut known = Memo::default();
        self.diagrams
            .behind(map, level, &mut |diagrams, map| Map::constant(diagrams.all_bits(map, bits, &mut known)))
    }

    /// A function in which what stands behind the addresses is what `change` makes of it.
    pub fn behind_addresses(&mut self, map: Map, change: &mut impl FnMut(&mut Diagrams, Map) -> Map) -> Map {
        let level = self.side_levels(Side::Destination).end;
        self.diagrams.behind(map, level, change)
    }

    /// What a function is of the same packets on this interface, whatever they are on.
    pub fn with_interface(&mut self, map: Map, name: &str) -> Map {
        let levels = self.interface_levels();
        let number = self.interfaces.binary_search_by(|known| known.as_str().cmp(name));
        let number = number.unwrap_or(self.interfaces.len());
        let bit = |level: u16| levels.contains(&level).then(|| number >> (levels.end - 1 - level) & 1 == 1);
        self.diagrams.fix(map, &bit, levels.end - 1)
    }

    /// The packets of a set as their answers go: the other way over the same interface, with the ends exchanged. It is
    /// exact where the set does not distinguish ports, flags or types.
    pub fn mirrored(&mut self, set: Set) -> Set {
        let (source, destination) = (self.side_levels(Side::Source), self.side_levels(Side::Destination));
        let (direction, end) = (Self::direction_level(), destination.end);
        let mut mirrored = Set::NONE;
        for (top, rest) in self.diagrams.cut(set.as_map(), source.start) {
            let top = self.turned(top, direction);
            for (from, rest) in self.diagrams.cut(rest, destination.start) {
                let from = self.diagrams.shift(from, &|level| level + ADDRESS);
                for (to, service) in self.diagrams.cut(rest, end) {
                    let to = self.diagrams.shift(to, &|level| level - ADDRESS);
                    let service = self.diagrams.set(service);
                    let ends = self.and(from, to);
                    let part = self.and(ends, service);
                    let part = self.and(top, part);
                    mirrored = self.or(mirrored, part);
                }
            }
        }
        mirrored
    }

    /// A set with the bit of a level turned round.
    fn turned(&mut self, set: Set, level: u16) -> Set {
        let low = self.diagrams.fix(set.as_map(), &|at| (at == level).then_some(false), level);
        let high = self.diagrams.fix(set.as_map(), &|at| (at == level).then_some(true), level);
        let bit = self.equal(level..level + 1, 1);
        let turned = self.choose(bit, low, high);
        self.diagrams.set(turned)
    }
}
