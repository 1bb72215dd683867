//! An index of the rules of a list by the addresses that they can match.
//!
//! It exists so that the cost of a packet does not grow with rules for other addresses: the address space is
//! partitioned at the bounds of the rules' conditions, and each part lists the rules that can match there. An index
//! leaves out only rules whose condition on an address fails, as the walk would find one by one. Sees: conditions on
//! addresses. Never: ports, states, or whether a rule matches.

use std::collections::HashMap;

use super::address::{Bits, Ranges, last};
use super::name::NameId;
use super::packet::{TCP, UDP};
use super::rule::{CompiledRule, HostTest, RuleList};
use super::tables::Tables;
use crate::pf::syntax::{Direction, Family};

/// Shorter lists have no index.
const SHORT: usize = 12;
/// Rules of one interface are listed separately up to this number.
const FEW: usize = 32;
/// A list whose index would have more entries than this gets none.
const LARGEST: usize = 4_000_000;

/// The rules of a list by the addresses that they can match. It covers IPv4 only.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    source: Option<Parts>,
    destination: Option<Parts>,
    /// Whether the destination restricts only incoming packets.
    is_inward: bool,
    /// Rules for a single interface, if they are few; these are not in the parts.
    by_interface: HashMap<NameId, Vec<usize>>,
}

/// A partition of the address space, with the rules that can match in each part, in order.
#[derive(Clone, Debug)]
struct Parts {
    /// The first address of each part, in order, beginning with 0.
    starts: Vec<Bits>,
    /// Where the rules of each part begin in `rules`, and finally its length.
    offsets: Vec<usize>,
    rules: Vec<usize>,
}

/// The fields of a packet that an index needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Toward {
    pub interface: NameId,
    pub direction: Direction,
    pub family: Family,
    pub source: Bits,
    pub destination: Bits,
}

impl Index {
    /// The index of a list; `None` if it would gain nothing or change a verdict.
    pub fn new(list: RuleList, rules: &[CompiledRule], tables: &Tables) -> Option<Self> {
        if rules.len() < SHORT {
            return None;
        }
        let by_interface = by_interface(rules);
        let is_common = |rule: &CompiledRule| only(rule).is_none_or(|name| !by_interface.contains_key(&name));
        let source = || Parts::new(rules, &is_common, tables, |rule| &rule.source, true);
        let destination = || Parts::new(rules, &is_common, tables, |rule| &rule.destination, false);
        // If the source port of a translation rule does not match, the kernel skips following rules; without that
        // rule it would not.
        let no_jumps = rules.iter().all(|rule| rule.source.port.is_none());
        let none = || None;
        let (source, destination, is_inward) = match list {
            // In this list the kernel skips rules for fragments before it compares the destination.
            RuleList::Dummynet if rules.iter().any(|rule| matches!(rule.protocol, Some(TCP | UDP))) => {
                (source(), none(), false)
            }
            RuleList::Filter | RuleList::Dummynet => (source(), destination(), false),
            RuleList::Nat => (source(), none(), false),
            RuleList::Rdr if no_jumps => (none(), destination(), true),
            RuleList::Rdr | RuleList::Binat | RuleList::Scrub => return None,
        };
        (source.is_some() || destination.is_some()).then_some(Self {
            source,
            destination,
            is_inward,
            by_interface,
        })
    }

    /// The rules that can match: those listed for the interface, and the others, each in order. `None` if all can.
    pub fn candidates(&self, toward: &Toward) -> Option<[&[usize]; 2]> {
        if toward.family != Family::Inet || (self.is_inward && toward.direction == Direction::Out) {
            return None;
        }
        let by_source = self.source.as_ref().map(|parts| parts.at(toward.source));
        let by_destination = self.destination.as_ref().map(|parts| parts.at(toward.destination));
        let common = match (by_source, by_destination) {
            (Some(one), Some(other)) if other.len() < one.len() => Some(other),
            (one, other) => one.or(other),
        };
        let own = self.by_interface.get(&toward.interface).map_or(&[][..], Vec::as_slice);
        common.map(|common| [own, common])
    }
}

/// The only interface that a rule applies to.
fn only(rule: &CompiledRule) -> Option<NameId> {
    rule.interface.filter(|(_, not)| !not && rule.call.is_none()).map(|(name, _)| name)
}

fn by_interface(rules: &[CompiledRule]) -> HashMap<NameId, Vec<usize>> {
    let mut all: HashMap<NameId, Vec<usize>> = HashMap::new();
    for (number, rule) in rules.iter().enumerate() {
        if let Some(name) = only(rule) {
            all.entry(name).or_default().push(number);
        }
    }
    all.retain(|_, numbers| numbers.len() <= FEW);
    all
}

impl Parts {
    fn new(
        rules: &[CompiledRule],
        is_common: &impl Fn(&CompiledRule) -> bool,
        tables: &Tables,
        side: fn(&CompiledRule) -> &HostTest,
        is_source: bool,
    ) -> Option<Self> {
        let (all, nowhere) = (Ranges::all(Family::Inet), Ranges::none());
        // A condition that ranges cannot express may match anywhere; so may an anchor rule, whose conditions are
        // evaluated differently.
        let of_rule = |rule: &CompiledRule| {
            if !is_common(rule) {
                return nowhere.clone();
            }
            let own = side(rule).addresses(tables, Family::Inet, is_source);
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
