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
mod bits;
mod combine;
mod diagram;
mod packet;
mod parts;
mod protocol;
mod space;
mod walk;
mod witness;

use std::net::IpAddr;
use std::ops::Range;

pub use along::{Along, Runs};
pub use combine::FirstMatchRow;
use diagram::Memo;
pub use diagram::{Diagrams, Map, Set};
pub use packet::{Field, PacketDirection, PacketFamily, Side, WitnessPacket, number_of};
use protocol::{LAST, USUAL};
pub use space::Space;

impl Space {
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

    /// The packets in which a field is in one of the ranges, which must be sorted, by their first and by their last
    /// numbers.
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

    /// The packets whose protocol is in these ranges.
    fn protocols(&mut self, ranges: &[(u128, u128)]) -> Set {
        let has = |number: u8| ranges.iter().any(|(first, last)| (*first..=*last).contains(&number.into()));
        let levels = self.field_levels(Field::Protocol);
        let others: Vec<(u128, u128)> = match ranges {
            // The common case; the general one gives the same set.
            [(first, last)] if first == last && *first != LAST.into() => ranges
                .iter()
                .filter(|(number, _)| !USUAL.iter().any(|it| u128::from(*it) == *number))
                .copied()
                .collect(),
            _ => {
                let is_in = |code: &u8| has(if USUAL.contains(code) { LAST } else { *code });
                (0..=LAST).filter(is_in).map(|code| (code.into(), code.into())).collect()
            }
        };
        let mut set = self.ranges(levels.start + 3..levels.end, &others).as_map();
        for (level, usual) in (levels.start..levels.start + 3).zip(USUAL).rev() {
            let is_it = if has(usual) { Set::ALL } else { Set::NONE };
            set = self.diagrams.make(level, set, is_it.as_map());
        }
        Set(set)
    }
}
