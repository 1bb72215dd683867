//! Packet sets: exact sets of packets and functions of packets, over every header field that pf can look at.
//!
//! Every question about all packets (is this the declared policy, what changed, what reaches what) is answered here,
//! so that there is one partition of the packet space. A ruleset becomes a [`Map`] from packets to the rule that
//! decides, built from its last rule to its first with [`Diagrams::choose`]. Each step costs only the size of the
//! rule's match, because equal functions share one node. A [`Set`] has union, intersection, difference, emptiness,
//! implication, a witness and decompositions by service and by sender. All of them are exact: nothing is sampled or represented
//! by a hash.
//!
//! Interfaces are a symbolic domain: the names that some rule distinguishes, and one *stranger* that represents every
//! other interface that exists or may appear. An address has the bits of its family; only the layout knows how many
//! these are. The usual protocols have a bit each.
//!
//! The decision diagrams are our own because the alternatives measured slower. First match over one rule for each of
//! 250, 500 and 1,000 providers, in millions of instructions: own 13, 24, 47; oxidd 0.13 24, 49, 104 (its
//! multi-terminal diagrams lack `choose`, and it brings nine crates); biodivine-lib-bdd 0.6 381, 1,387, 5,142 (each of
//! its operations copies the whole diagram). Sees: nothing. Never: rules, a plan, or what a packet means to either.

mod along;
mod combine;
mod diagram;
mod parts;
mod protocol;
mod walk;
mod witness;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::{Deref, DerefMut, Range};

pub use along::{Along, Runs};
pub use combine::FirstMatchRow;
use diagram::Memo;
pub use diagram::{Diagrams, Map, Set};
pub use witness::WitnessPacket;

/// The direction in which a packet crosses an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PacketDirection {
    /// Into the machine.
    In,
    /// Out of the machine.
    Out,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PacketFamily {
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

/// One of a packet's two addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The source address.
    Source,
    /// The destination address.
    Destination,
}

/// A numeric header field. Where a packet lacks a field, no function depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// The IANA protocol number.
    Protocol,
    /// 1 for a fragment that is evaluated without being reassembled.
    Fragment,
    /// The destination port of TCP and UDP.
    DestinationPort,
    /// The source port of TCP and UDP.
    SourcePort,
    /// The flags of TCP: F S R P A U E W, from the lowest bit.
    Flags,
    /// The type of ICMP.
    IcmpType,
    /// The code of ICMP.
    IcmpCode,
    /// 1 for a packet with IP options.
    Options,
}

/// The number of bits of the widest address.
const ADDRESS: u16 = 128;
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
    diagrams: Diagrams,
    interfaces: Vec<String>,
    stranger: String,
    /// The number of bits that encode an interface.
    interface_bits: u16,
    /// The bits of the default packet.
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

impl PacketFamily {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Inet } else { Self::Inet6 }
    }

    /// The number of bits of its addresses.
    pub fn bits(self) -> u16 {
        match self {
            Self::Inet => 32,
            Self::Inet6 => ADDRESS,
        }
    }

    /// Its greatest address, as a number.
    pub fn last(self) -> u128 {
        u128::MAX >> (ADDRESS - self.bits())
    }

    /// The address that a number encodes.
    pub fn address(self, number: u128) -> IpAddr {
        match self {
            Self::Inet => Ipv4Addr::from(u32::try_from(number & self.last()).unwrap_or(u32::MAX)).into(),
            Self::Inet6 => Ipv6Addr::from(number).into(),
        }
    }
}

/// An address as a number.
pub fn number_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
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
            usual: witness::Bits::default(),
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

    /// The packets whose bits at these levels are the low bits of a number; higher bits of it are ignored.
    fn equal(&mut self, levels: Range<u16>, number: u128) -> Set {
        let mut set = Set::ALL.as_map();
        for (bit, level) in levels.rev().enumerate() {
            let is_set = number >> bit & 1 == 1;
            let (low, high) = if is_set { (Set::NONE.as_map(), set) } else { (set, Set::NONE.as_map()) };
            set = self.diagrams.make(level, low, high);
        }
        Set(set)
    }

    /// The packets whose number at these levels is in one of the ranges, which must be sorted and disjoint.
    fn ranges(&mut self, levels: Range<u16>, ranges: &[(u128, u128)]) -> Set {
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

    /// The packets of one direction.
    pub fn direction(&mut self, direction: PacketDirection) -> Set {
        let level = Self::direction_level();
        self.equal(level..level + 1, u128::from(direction == PacketDirection::Out))
    }

    /// The packets on a distinguished interface; empty for any other name.
    pub fn interface(&mut self, name: &str) -> Set {
        let known = self.interfaces.binary_search_by(|known| known.as_str().cmp(name));
        match known {
            Ok(number) => self.equal(self.interface_levels(), number as u128),
            Err(_) => Set::NONE,
        }
    }

    /// The packets of an address family.
    pub fn family(&mut self, family: PacketFamily) -> Set {
        let level = self.family_level();
        self.equal(level..level + 1, u128::from(family == PacketFamily::Inet6))
    }

    /// The packets of a family whose address is in one of the ranges, which must be sorted and disjoint.
    pub fn addresses(&mut self, side: Side, family: PacketFamily, ranges: &[(u128, u128)]) -> Set {
        let start = self.side_levels(side).start;
        let addresses = self.ranges(start..start + family.bits(), ranges);
        self.of_family(family, addresses)
    }

    /// The packets whose source or destination is in a network.
    pub fn network(&mut self, side: Side, address: IpAddr, prefix: u8) -> Set {
        let family = PacketFamily::of(address);
        let start = self.side_levels(side).start;
        let prefix = u16::from(prefix).min(family.bits());
        let number = number_of(address).checked_shr(u32::from(family.bits() - prefix)).unwrap_or(0);
        let network = self.equal(start..start + prefix, number);
        self.of_family(family, network)
    }

    /// The packets of a family in a set that tests no bit before the family's.
    fn of_family(&mut self, family: PacketFamily, set: Set) -> Set {
        let (set, none) = (set.as_map(), Set::NONE.as_map());
        let (low, high) = if family == PacketFamily::Inet { (set, none) } else { (none, set) };
        let level = self.family_level();
        let of_family = self.diagrams.make(level, low, high);
        Set(of_family)
    }

    /// The packets in which a field is in one of the ranges, which must be sorted and disjoint.
    pub fn numbers(&mut self, field: Field, ranges: &[(u128, u128)]) -> Set {
        let levels = self.field_levels(field);
        match ranges {
            _ if field == Field::Protocol => self.protocols(ranges),
            [(first, last)] if first == last => self.equal(levels, *first),
            _ => self.ranges(levels, ranges),
        }
    }

    /// The packets in which a field has this value.
    pub fn number_is(&mut self, field: Field, number: u8) -> Set {
        let number = u128::from(number);
        self.numbers(field, &[(number, number)])
    }

    /// The packets in which a field, masked, has these bits.
    pub fn masked(&mut self, field: Field, bits: u8, mask: u8) -> Set {
        let levels = self.field_levels(field);
        let mut set = Set::ALL;
        for (bit, level) in levels.rev().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1) {
            let one = self.equal(level..level + 1, u128::from(bits >> bit & 1));
            set = self.and(set, one);
        }
        set
    }

    /// A function restricted to one source or destination: its value for each packet if it had that address.
    pub fn with_address(&mut self, map: Map, side: Side, address: IpAddr) -> Map {
        let (family, level) = (PacketFamily::of(address), self.family_level());
        let map = self.fixed(map, level..level + 1, u128::from(family == PacketFamily::Inet6));
        let start = self.side_levels(side).start;
        self.fixed(map, start..start + family.bits(), number_of(address))
    }

    /// A function restricted to fragments that are evaluated without reassembly, or to everything else.
    pub fn with_fragment(&mut self, map: Map, is_fragment: bool) -> Map {
        self.fixed(map, self.field_levels(Field::Fragment), is_fragment.into())
    }

    /// A function restricted to the packets whose bits at these levels are the low bits of a number.
    fn fixed(&mut self, map: Map, levels: Range<u16>, number: u128) -> Map {
        let bit = |level: u16| levels.contains(&level).then(|| number >> (levels.end - 1 - level) & 1 == 1);
        self.diagrams.fix(map, &bit, levels.end - 1)
    }

    /// Merges all services: the value of a packet becomes the union of `bits` over the values of all packets that
    /// differ from it only in ports, flags, types and other fields after the addresses.
    pub fn of_any_service(&mut self, map: Map, bits: &mut impl FnMut(u32) -> u32) -> Map {
        let level = self.field_levels(Field::DestinationPort).start;
        let mut known = Memo::default();
        self.diagrams
            .behind(map, level, &mut |diagrams, map| Map::constant(diagrams.all_bits(map, bits, &mut known)))
    }

    /// Replaces the part of a function that tests the fields after the addresses by what `change` returns for it.
    pub fn behind_addresses(&mut self, map: Map, change: &mut impl FnMut(&mut Diagrams, Map) -> Map) -> Map {
        let level = self.side_levels(Side::Destination).end;
        self.diagrams.behind(map, level, change)
    }

    /// A function restricted to one interface: its value for each packet if the packet were on it.
    pub fn with_interface(&mut self, map: Map, name: &str) -> Map {
        let number = self.interfaces.binary_search_by(|known| known.as_str().cmp(name));
        let number = number.unwrap_or(self.interfaces.len());
        self.fixed(map, self.interface_levels(), number as u128)
    }

    /// The packets whose headers a set has at one hook, whatever their own hook is.
    pub fn at_hook(&mut self, set: Set, direction: PacketDirection, name: &str) -> Set {
        let level = Self::direction_level();
        let number = u128::from(direction == PacketDirection::Out);
        let directed = self.fixed(set.as_map(), level..level + 1, number);
        let fixed = self.with_interface(directed, name);
        self.diagrams.select(fixed, |number| number != 0)
    }
}
