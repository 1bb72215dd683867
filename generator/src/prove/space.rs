//! The space of addresses, cut where something tells two of them apart.
//!
//! Sets of addresses become sets of a few thousand atoms, and sets of atoms are words of bits: refining a
//! partition by a table of a thousand networks costs what refining it by one address does.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use crate::pf::eval::Ranges;

/// IPv4 addresses in atoms: neighbours that nothing tells apart.
pub struct Space {
    /// The first address of each atom, in order; the first is 0.
    starts: Vec<u32>,
}

/// A set of atoms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set(Vec<u64>);

impl Space {
    /// The space cut at the ends of all these sets.
    pub fn cut<'a>(sets: impl IntoIterator<Item = &'a Ranges>) -> Self {
        let mut starts = vec![0];
        for (low, high) in sets.into_iter().flat_map(Ranges::iter) {
            starts.extend([u32::try_from(low).ok(), u32::try_from(high + 1).ok()].into_iter().flatten());
        }
        starts.sort_unstable();
        starts.dedup();
        Self { starts }
    }

    /// The atoms of a set. Its ends must be among those that the space was cut at.
    pub fn set(&self, ranges: &Ranges) -> Set {
        let mut set = Set(vec![0; self.starts.len().div_ceil(64)]);
        self.add(ranges, &mut set);
        set
    }

    fn add(&self, ranges: &Ranges, set: &mut Set) {
        for (low, high) in ranges.iter() {
            let from = self.starts.partition_point(|start| u128::from(*start) < low);
            let to = self.starts.partition_point(|start| u128::from(*start) <= high);
            for atom in from..to {
                set.0[atom / 64] |= 1 << (atom % 64);
            }
        }
    }

    /// The atoms of several sets together.
    pub fn union(&self, sets: &[Ranges]) -> Set {
        let mut all = Set(vec![0; self.starts.len().div_ceil(64)]);
        for set in sets {
            self.add(set, &mut all);
        }
        all
    }

    /// The number of the atom that an address lies in.
    pub fn atom(&self, address: Ipv4Addr) -> usize {
        self.starts.partition_point(|start| *start <= u32::from(address)) - 1
    }

    /// Every atom.
    pub fn whole(&self) -> Set {
        let mut words = vec![u64::MAX; self.starts.len().div_ceil(64)];
        if let (Some(last), left @ 1..) = (words.last_mut(), self.starts.len() % 64) {
            *last = (1 << left) - 1;
        }
        Set(words)
    }

    /// The first address of the first atom of a set that is not empty.
    pub fn first(&self, set: &Set) -> Option<u32> {
        let word = set.0.iter().position(|word| *word != 0)?;
        self.starts.get(word * 64 + set.0[word].trailing_zeros() as usize).copied()
    }

    /// Atoms that are in the same of all these sets stand for one another: the first of each such group.
    pub fn groups<'a>(&self, sets: impl IntoIterator<Item = &'a Set>) -> Vec<u32> {
        let mut signatures = vec![0u128; self.starts.len()];
        for (number, set) in sets.into_iter().enumerate() {
            let mark = mark(number as u64);
            for atom in set.atoms() {
                signatures[atom] ^= mark;
            }
        }
        let mut first: HashMap<u128, u32> = HashMap::new();
        for (start, signature) in self.starts.iter().zip(signatures) {
            first.entry(signature).or_insert(*start);
        }
        let mut groups: Vec<u32> = first.into_values().collect();
        groups.sort_unstable();
        groups
    }
}

/// 128 well-mixed bits for a number (splitmix64 twice): sets of numbers have equal sums only by a chance that
/// is not worth counting.
fn mark(number: u64) -> u128 {
    let mix = |seed: u64| {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (u128::from(mix(number)) << 64) | u128::from(mix(!number))
}

impl Set {
    /// Whether an atom is in it.
    pub fn has(&self, atom: usize) -> bool {
        self.0[atom / 64] >> (atom % 64) & 1 == 1
    }

    fn atoms(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(index, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(index * 64 + bit)
            })
        })
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn with(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }

    fn without(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a & !b).collect())
    }
}

/// Splits every part by a set: no part of the result lies half inside it.
pub fn refine(parts: Vec<Set>, by: &Set) -> Vec<Set> {
    let mut refined = Vec::with_capacity(parts.len() + 1);
    for part in parts {
        let inside = part.with(by);
        if inside.is_empty() {
            refined.push(part);
            continue;
        }
        let outside = part.without(by);
        refined.push(inside);
        if !outside.is_empty() {
            refined.push(outside);
        }
    }
    refined
}
