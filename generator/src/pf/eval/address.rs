//! Addresses as numbers, and sets of addresses as ranges.
//!
//! It exists so that prefixes, tables and interface addresses are compared in the same way, for both families. Sees:
//! addresses. Never: rules or packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::pf::syntax::Family;

/// An address as a number; an IPv4 address is in the low 32 bits.
pub type Bits = u128;

/// The family of an address.
pub fn family_of(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::Inet,
        IpAddr::V6(_) => Family::Inet6,
    }
}

/// The number of an address.
pub fn bits_of(address: IpAddr) -> Bits {
    match address {
        IpAddr::V4(v4) => Bits::from(u32::from(v4)),
        IpAddr::V6(v6) => Bits::from(v6),
    }
}

/// The address with this number.
pub fn address_of(family: Family, bits: Bits) -> IpAddr {
    match family {
        // Only the low 32 bits are ever set.
        Family::Inet => IpAddr::V4(Ipv4Addr::from(low_word(bits))),
        Family::Inet6 => IpAddr::V6(Ipv6Addr::from(bits)),
    }
}

fn low_word(bits: Bits) -> u32 {
    u32::try_from(bits & Bits::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// Number of bits in an address of a family.
pub fn width(family: Family) -> u8 {
    match family {
        Family::Inet => 32,
        Family::Inet6 => 128,
    }
}

/// The highest address of a family.
pub fn last(family: Family) -> Bits {
    match family {
        Family::Inet => Bits::from(u32::MAX),
        Family::Inet6 => Bits::MAX,
    }
}

/// The netmask of a prefix length; a length beyond the family's width is the full width.
pub fn mask(family: Family, prefix: u8) -> Bits {
    let host = u32::from(width(family).saturating_sub(prefix));
    last(family) & Bits::MAX.checked_shl(host).unwrap_or(0)
}

/// The network part of `network` and the host part of `host`.
pub fn blend(network: Bits, mask: Bits, host: Bits, family: Family) -> Bits {
    (network & mask) | (host & !mask & last(family))
}

/// The next address; 0 after the last one.
pub fn next(family: Family, bits: Bits) -> Bits {
    if bits >= last(family) { 0 } else { bits + 1 }
}

/// The order in which the kernel compares the bounds of `a - b`: it compares words in network byte order as if they
/// were in host order, so on a little-endian Mac the last byte of an IPv4 address is the most significant.
pub fn range_order(family: Family, bits: Bits) -> Bits {
    match family {
        Family::Inet => Bits::from(low_word(bits).swap_bytes()),
        Family::Inet6 => (0..4).fold(0, |order, word| {
            let shift = 96 - 32 * word;
            (order << 32) | Bits::from(low_word(bits >> shift).swap_bytes())
        }),
    }
}

/// A set of addresses of one family: sorted, disjoint ranges with inclusive bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(Bits, Bits)>);

impl Ranges {
    /// All addresses of a family.
    pub fn all(family: Family) -> Self {
        Self(vec![(0, last(family))])
    }

    /// The empty set.
    pub fn none() -> Self {
        Self::default()
    }

    /// The addresses of a prefix.
    pub fn prefix(family: Family, bits: Bits, prefix: u8) -> Self {
        let mask = mask(family, prefix);
        Self(vec![(bits & mask, blend(bits, mask, last(family), family))])
    }

    /// All addresses of the family that are not in the set.
    #[must_use]
    pub fn complement(&self, family: Family) -> Self {
        let mut gaps = Vec::new();
        let mut from = Some(0);
        for &(low, high) in &self.0 {
            if let Some(start) = from.filter(|&start| start < low) {
                gaps.push((start, low - 1));
            }
            from = (high < last(family)).then(|| high + 1);
        }
        gaps.extend(from.map(|start| (start, last(family))));
        Self(gaps)
    }

    /// Whether an address is in the set.
    pub fn contains(&self, bits: Bits) -> bool {
        let after = self.0.partition_point(|&(low, _)| low <= bits);
        after > 0 && self.0[after - 1].1 >= bits
    }

    /// The ranges in order, with inclusive bounds.
    pub fn iter(&self) -> impl Iterator<Item = (Bits, Bits)> + '_ {
        self.0.iter().copied()
    }

    /// Appends a range after all others, merged with the last one if they are adjacent.
    pub(super) fn push(&mut self, low: Bits, high: Bits) {
        match self.0.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(low) => *end = high,
            _ => self.0.push((low, high)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(text: &str) -> Bits {
        bits_of(text.parse().expect("an address"))
    }

    #[test]
    fn masks() {
        assert_eq!(mask(Family::Inet, 0), 0);
        assert_eq!(mask(Family::Inet, 24), 0xffff_ff00);
        assert_eq!(mask(Family::Inet, 200), 0xffff_ffff);
        assert_eq!(mask(Family::Inet6, 128), Bits::MAX);
    }

    #[test]
    fn the_complement_of_a_prefix_is_what_lies_around_it() {
        let inside = Ranges::prefix(Family::Inet, v4("10.0.0.0"), 8);
        let outside = inside.complement(Family::Inet);
        assert!(inside.contains(v4("10.255.255.255")) && !outside.contains(v4("10.0.0.0")));
        assert!(outside.contains(0) && outside.contains(v4("255.255.255.255")));
        assert_eq!(outside.complement(Family::Inet), inside);
        assert_eq!(Ranges::all(Family::Inet).complement(Family::Inet), Ranges::none());
    }

    #[test]
    fn ranges_compare_bytes_from_the_right() {
        let order = |text| range_order(Family::Inet, v4(text));
        assert!(order("10.0.0.1") < order("9.0.0.2"));
        assert!(order("10.0.0.1") > order("9.0.0.1"));
    }
}
