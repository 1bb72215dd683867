//! A function evaluated along a sorted list of addresses: runs of addresses with the same remaining function.

use std::net::Ipv4Addr;
use std::rc::Rc;

use super::diagram::{Diagrams, Map, Memo};
use super::packet::{PacketFamily, Side};
use super::space::Space;

/// Runs of addresses: the function that remains after their bits, and the index after the last address of the run.
pub type Runs = Rc<[(Map, usize)]>;

/// IPv4 addresses of one side, with a cache for evaluating functions along them. Functions that share a subdiagram for
/// part of the addresses share its result.
#[derive(Debug)]
pub struct Along<'a> {
    side: Side,
    /// Sorted.
    addresses: &'a [Ipv4Addr],
    known: Memo<(Map, usize, usize), Runs>,
}

impl<'a> Along<'a> {
    /// Prepares sorted addresses.
    pub fn new(side: Side, addresses: &'a [Ipv4Addr]) -> Self {
        Self { side, addresses, known: Memo::default() }
    }

    /// The number of parts that were evaluated: a measure of the cost that does not depend on the machine.
    pub fn parts(&self) -> usize {
        self.known.len()
    }

    /// A function along the addresses `from..to`, which agree in all bits before the function's first level.
    fn within(&mut self, diagrams: &Diagrams, map: Map, first: u16, (from, to): (usize, usize)) -> Runs {
        let bits = |at: usize| u32::from(self.addresses[at]);
        let (Some(last), end) =
            (to.checked_sub(1).filter(|last| from <= *last), first + PacketFamily::Inet.bits())
        else {
            return Rc::new([]);
        };
        // The first bit in which the addresses differ; up to it, the function is followed by their common bits.
        let (low, high) = (bits(from), bits(last));
        let split = u16::try_from((low ^ high).leading_zeros()).unwrap_or(0);
        let bit = |level: u16| low >> (end - 1 - level) & 1 == 1;
        let mut map = map;
        while diagrams.level(map) < end && diagrams.level(map) - first < split {
            let level = diagrams.level(map);
            let (zero, one) = diagrams.sides(map, level);
            map = if bit(level) { one } else { zero };
        }
        if diagrams.level(map) >= end {
            return Rc::new([(map, to)]);
        }
        if let Some(known) = self.known.get(&(map, from, to)) {
            return known.clone();
        }
        let level = first + split;
        let is_zero = |address: &Ipv4Addr| u32::from(*address) >> (end - 1 - level) & 1 == 0;
        let middle = from + self.addresses[from..to].partition_point(is_zero);
        let (zero, one) = diagrams.sides(map, level);
        let below = self.within(diagrams, zero, first, (from, middle));
        let above = self.within(diagrams, one, first, (middle, to));
        let mut runs: Vec<(Map, usize)> = below.to_vec();
        match (runs.last_mut(), above.first()) {
            (Some(one), Some(other)) if one.0 == other.0 => {
                one.1 = other.1;
                runs.extend(&above[1..]);
            }
            _ => runs.extend(above.iter()),
        }
        let runs: Runs = runs.into();
        self.known.insert((map, from, to), runs.clone());
        runs
    }
}

impl Space {
    /// Evaluates a function along addresses. It must test no bit before those of the address.
    pub fn along(&self, map: Map, along: &mut Along) -> Runs {
        let first = self.side_levels(along.side).start;
        along.within(&self.diagrams, map, first, (0, along.addresses.len()))
    }
}
