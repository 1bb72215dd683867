//! The rules of a list that can be about an address.
//!
//! It exists so that what a packet costs does not grow with the rules that speak of others: the addresses are cut
//! where a rule begins or ends to match, and each part knows the rules that can match there. An index only leaves out
//! rules whose condition on an address fails, which the walk would find out one by one.
//! Sees: conditions on addresses. Never: ports, states, or whether a rule matches.

use super::address::{Bits, Ranges, last};
use super::loaded::List;
use super::packet::{TCP, UDP};
use super::rule::{CompiledRule, Side};
use super::tables::Tables;
use crate::pf::syntax::{Direction, Family};

/// Lists that are shorter are walked.
const SHORT: usize = 12;
/// Lists whose index would hold more than this are walked.
const LARGEST: usize = 4_000_000;

/// The rules of a list by the addresses that they can be about. Only IPv4 has one.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    source: Option<Parts>,
    destination: Option<Parts>,
    /// The destination tells rules apart coming in only.
    is_inward: bool,
}

/// Parts of the addresses, each with the rules that can match there, in order.
#[derive(Clone, Debug)]
struct Parts {
    /// The first address of each part, in order; the first is 0.
    starts: Vec<Bits>,
    /// Where the rules of each part begin in `rules`, and where the last ones end.
    offsets: Vec<usize>,
    rules: Vec<usize>,
}

/// What a walk knows of a packet's addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Toward {
    pub direction: Direction,
    pub family: Family,
    pub source: Bits,
    pub destination: Bits,
}

impl Index {
    /// The index of a list, where one is worth it and changes nothing.
    pub fn new(list: List, rules: &[CompiledRule], tables: &Tables) -> Option<Self> {
        if rules.len() < SHORT {
            return None;
        }
        let source = || Parts::new(rules, tables, |rule| &rule.source, true);
        let destination = || Parts::new(rules, tables, |rule| &rule.destination, false);
        // A translation rule whose source port differs makes the kernel jump, and over what it jumps must stay so.
        let no_jumps = rules.iter().all(|rule| rule.source.port.is_none());
        match list {
            // Here fragments jump, before the destination is looked at.
            List::Dummynet if rules.iter().any(|rule| matches!(rule.protocol, Some(TCP | UDP))) => {
                Some(Self { source: source(), ..Self::default() })
            }
            List::Filter | List::Dummynet => {
                Some(Self { source: source(), destination: destination(), is_inward: false })
            }
            List::Nat => Some(Self { source: source(), ..Self::default() }),
            List::Rdr if no_jumps => Some(Self { destination: destination(), is_inward: true, source: None }),
            List::Rdr | List::Binat | List::Scrub => None,
        }
    }

    /// The rules that can match, in order; `None` where all can.
    pub fn candidates(&self, toward: &Toward) -> Option<&[usize]> {
        if toward.family != Family::Inet || (self.is_inward && toward.direction == Direction::Out) {
            return None;
        }
        let by_source = self.source.as_ref().map(|parts| parts.at(toward.source));
        let by_destination = self.destination.as_ref().map(|parts| parts.at(toward.destination));
        match (by_source, by_destination) {
            (Some(one), Some(other)) if other.len() < one.len() => Some(other),
            (one, other) => one.or(other),
        }
    }
}

impl Parts {
    fn new(
        rules: &[CompiledRule],
        tables: &Tables,
        side: fn(&CompiledRule) -> &Side,
        is_source: bool,
    ) -> Option<Self> {
        let all = Ranges::all(Family::Inet);
        // What no set of ranges says well may match anywhere; an anchor's own condition is looked at in other ways.
        let of_rule = |rule: &CompiledRule| {
            let own = side(rule).ranges(tables, Family::Inet, is_source);
            own.filter(|_| rule.call.is_none()).unwrap_or_else(|| all.clone())
        };
        let ranges: Vec<Ranges> = rules.iter().map(of_rule).collect();
        let mut starts = vec![0];
        for (low, high) in ranges.iter().flat_map(Ranges::iter) {
            starts.push(low);
            starts.extend((high < last(Family::Inet)).then(|| high + 1));
        }
        starts.sort_unstable();
        starts.dedup();
        let mut parts: Vec<Vec<usize>> = vec![Vec::new(); starts.len()];
        let mut held = 0;
        for (number, ranges) in ranges.iter().enumerate() {
            for (low, high) in ranges.iter() {
                let from = starts.partition_point(|start| *start < low);
                let to = starts.partition_point(|start| *start <= high);
                held += to - from;
                if held > LARGEST {
                    return None;
                }
                parts[from..to].iter_mut().for_each(|part| part.push(number));
            }
        }
        let mut offsets = vec![0];
        let mut rules = Vec::with_capacity(held);
        for part in parts {
            rules.extend(part);
            offsets.push(rules.len());
        }
        Some(Self { starts, offsets, rules })
    }

    fn at(&self, bits: Bits) -> &[usize] {
        let part = self.starts.partition_point(|start| *start <= bits).saturating_sub(1);
        &self.rules[self.offsets[part]..self.offsets[part + 1]]
    }
}
