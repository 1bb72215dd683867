//! Sets of prefixes, some of them negated: tables, and the addresses of an interface.
//!
//! It exists because the longest prefix decides in a table, which a list of conditions does not express well. Sees:
//! prefixes. Never: rules or packets.

use super::address::{Bits, Ranges, bits_of, blend, family_of, last, mask, next, width};
use crate::pf::syntax::{Family, TableEntry};

/// A prefix of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub bits: Bits,
    pub prefix: u8,
    pub not: bool,
}

/// Prefixes, flattened into ranges so that one search decides.
#[derive(Clone, Debug, Default)]
pub struct Prefixes {
    inet: OneFamily,
    inet6: OneFamily,
}

#[derive(Clone, Debug, Default)]
struct OneFamily {
    /// In the order in which the kernel walks its tree: by address, longest prefix first.
    blocks: Vec<Block>,
    ranges: Ranges,
}

impl Prefixes {
    /// Prefixes of both families; if two are for the same network, the first counts.
    pub fn new(entries: impl IntoIterator<Item = TableEntry>) -> Self {
        let mut sorted = [Vec::new(), Vec::new()];
        for entry in entries {
            let family = family_of(entry.address);
            let prefix = entry.prefix.min(width(family));
            let bits = bits_of(entry.address) & mask(family, prefix);
            let list = &mut sorted[usize::from(family == Family::Inet6)];
            list.push(Block { bits, prefix, not: entry.not });
        }
        let [inet, inet6] = sorted;
        Self { inet: OneFamily::new(Family::Inet, inet), inet6: OneFamily::new(Family::Inet6, inet6) }
    }

    /// Whether the longest prefix that covers an address is not negated.
    pub fn matches(&self, family: Family, bits: Bits) -> bool {
        self.of(family).ranges.contains(bits)
    }

    /// The addresses that match.
    pub fn ranges(&self, family: Family) -> &Ranges {
        &self.of(family).ranges
    }

    pub(super) fn blocks(&self, family: Family) -> &[Block] {
        &self.of(family).blocks
    }

    fn of(&self, family: Family) -> &OneFamily {
        match family {
            Family::Inet => &self.inet,
            Family::Inet6 => &self.inet6,
        }
    }

    /// The longest prefix that covers an address, negated or not.
    fn longest(&self, family: Family, bits: Bits) -> Option<&Block> {
        self.blocks(family)
            .iter()
            .filter(|block| bits & mask(family, block.prefix) == block.bits)
            .max_by_key(|block| block.prefix)
    }

    /// The next address of a pool and the index of its block: `from` if it is in block `index`, otherwise the first
    /// address of the next block. Parts of a block that a longer prefix covers are left out.
    pub(super) fn draw(&self, family: Family, index: Option<usize>, from: Bits) -> Option<(usize, Bits)> {
        let blocks = self.blocks(family);
        let mut at = index.unwrap_or(0);
        let mut from = index.map(|_| from);
        loop {
            let block = *blocks.get(at)?;
            let inside = |bits: Bits| bits & mask(family, block.prefix) == block.bits;
            let mut bits = match from.take() {
                Some(bits) if inside(bits) => bits,
                Some(_) => {
                    at += 1;
                    continue;
                }
                None => block.bits,
            };
            // The number of iterations is bounded by the number of nested blocks: each one skips a block.
            while inside(bits) {
                match self.longest(family, bits) {
                    Some(longest) if *longest != block => {
                        let end = blend(bits, mask(family, longest.prefix), last(family), family);
                        bits = next(family, end);
                        if bits == 0 {
                            break;
                        }
                    }
                    _ => return Some((at, bits)),
                }
            }
            at += 1;
        }
    }
}

impl OneFamily {
    fn new(family: Family, mut blocks: Vec<Block>) -> Self {
        // The stable sort keeps the first of two equal networks in front, which is the one that stays.
        blocks.sort_by_key(|block| (block.bits, block.prefix));
        blocks.dedup_by_key(|block| (block.bits, block.prefix));
        let ranges = cut(family, &blocks);
        blocks.sort_by_key(|block| (block.bits, u8::MAX - block.prefix));
        Self { blocks, ranges }
    }
}

/// The matching ranges of blocks that are sorted by address and then by length.
fn cut(family: Family, blocks: &[Block]) -> Ranges {
    let mut ranges = Ranges::none();
    let mut open: Vec<(Bits, bool)> = Vec::new();
    // From this address on the innermost open block decides.
    let mut from = Some(0);
    for block in blocks {
        close(&mut open, &mut from, Some(block.bits), &mut ranges);
        let end = blend(block.bits, mask(family, block.prefix), last(family), family);
        open.push((end, !block.not));
    }
    close(&mut open, &mut from, None, &mut ranges);
    ranges
}

/// Emits the matching ranges before `until` (all, if `None`), and closes the blocks that end there.
fn close(open: &mut Vec<(Bits, bool)>, from: &mut Option<Bits>, until: Option<Bits>, ranges: &mut Ranges) {
    while let Some(&(end, matches)) = open.last() {
        let ends_before = until.is_none_or(|until| end < until);
        let stop = if ends_before { Some(end) } else { until.and_then(|until| until.checked_sub(1)) };
        if let (true, Some(low), Some(high)) = (matches, *from, stop)
            && low <= high
        {
            ranges.push(low, high);
        }
        if !ends_before {
            break;
        }
        // A parent may end together with its child: then nothing of it is left.
        *from = from.map_or(end.checked_add(1), |low| end.checked_add(1).map(|next| next.max(low)));
        open.pop();
    }
    if let Some(until) = until {
        *from = Some(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(text: &str) -> Prefixes {
        Prefixes::new(text.split_whitespace().map(|word| {
            let (not, word) = word.strip_prefix('!').map_or((false, word), |rest| (true, rest));
            let (address, prefix) = word.split_once('/').expect("a prefix");
            TableEntry {
                not,
                address: address.parse().expect("an address"),
                prefix: prefix.parse().expect("a length"),
            }
        }))
    }

    fn has(table: &Prefixes, address: &str) -> bool {
        let address = address.parse().expect("an address");
        table.matches(family_of(address), bits_of(address))
    }

    #[test]
    fn the_longest_prefix_decides() {
        let table = prefixes("10.0.0.0/8 !10.1.0.0/16 10.1.2.0/24 !10.1.2.3/32");
        for (address, expected) in [
            ("10.9.9.9", true),
            ("10.1.9.9", false),
            ("10.1.2.9", true),
            ("10.1.2.3", false),
            ("10.1.2.4", true),
            ("11.0.0.0", false),
            ("9.255.255.255", false),
        ] {
            assert_eq!(has(&table, address), expected, "{address}");
        }
    }

    #[test]
    fn order_of_definition_means_nothing() {
        assert!(!has(&prefixes("!10.0.0.0/31 10.0.0.0/8"), "10.0.0.1"));
        assert!(has(&prefixes("!0.0.0.0/0 255.255.255.255/32"), "255.255.255.255"));
        assert!(has(&prefixes("!::/0 ffff::/16"), "ffff::1"));
    }

    #[test]
    fn of_two_equal_networks_the_first_counts() {
        assert!(has(&prefixes("10.0.0.0/8 !10.0.0.0/8"), "10.0.0.1"));
        assert!(!has(&prefixes("!10.0.0.0/8 10.0.0.0/8"), "10.0.0.1"));
    }

    #[test]
    fn families_are_apart() {
        let table = prefixes("0.0.0.0/0 fd00::/8");
        assert!(has(&table, "1.2.3.4") && has(&table, "fd00::1") && !has(&table, "fe80::1"));
    }

    #[test]
    fn ranges_say_what_a_search_by_length_says() {
        let table = prefixes("!10.0.0.0/30 10.0.0.0/24 !10.0.0.128/25 10.0.0.255/32 0.0.0.0/5 !8.0.0.0/6");
        for bits in (0x0a00_0000u32..0x0a00_0200).chain([0, 0x0700_0000, 0x0800_0000, u32::MAX]) {
            let slow = table.longest(Family::Inet, bits.into()).is_some_and(|block| !block.not);
            assert_eq!(table.matches(Family::Inet, bits.into()), slow, "{bits:x}");
        }
    }

    #[test]
    fn a_pool_walks_blocks_and_leaves_out_nested_ones() {
        let table = prefixes("10.0.0.0/30 10.0.0.1/32");
        let mut drawn = Vec::new();
        let mut at = table.draw(Family::Inet, None, 0);
        while let Some((index, bits)) = at {
            drawn.push(bits & 0xff);
            at = table.draw(Family::Inet, Some(index), bits + 1);
        }
        assert_eq!(drawn, [0, 2, 3, 1]);
    }
}
