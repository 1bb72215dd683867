//! A function along a list of addresses: runs of those with the same of what stands behind.

use std::net::Ipv4Addr;
use std::rc::Rc;

use super::diagram::{Diagrams, Map, Memo};
use super::{Family, Side, Space};

/// Runs of addresses, each with the function that stands behind them and the place behind the last.
pub type Runs = Rc<[(Map, usize)]>;

/// IPv4 addresses at one end, and what some functions are along them. Functions that are equal along a part of the
/// addresses share what is known of it.
#[derive(Debug)]
pub struct Along<'a> {
    side: Side,
    /// In order.
    addresses: &'a [Ipv4Addr],
    known: Memo<(Map, usize, usize), Runs>,
}

impl<'a> Along<'a> {
    /// Addresses in order.
    pub fn new(side: Side, addresses: &'a [Ipv4Addr]) -> Self {
        Self { side, addresses, known: Memo::default() }
    }

    /// How many parts were looked at: what it costs, on whatever machine.
    pub fn parts(&self) -> usize {
        self.known.len()
    }

    /// A function along part of the addresses, whose bits before its level are the same in all.
    fn within(&mut self, diagrams: &Diagrams, map: Map, first: u16, (from, to): (usize, usize)) -> Runs {
        let bits = |at: usize| u32::from(self.addresses[at]);
        let (Some(last), end) = (to.checked_sub(1).filter(|last| from <= *last), first + Family::Inet.bits())
        else {
            return Rc::new([]);
        };
        // The first bit that differs among them; the function goes on by those before it.
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
    /// A function that looks at nothing before these addresses, along them.
    pub fn along(&self, map: Map, along: &mut Along) -> Runs {
        let first = self.side_levels(along.side).start;
        along.within(&self.diagrams, map, first, (0, along.addresses.len()))
    }
}
