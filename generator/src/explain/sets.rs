//! The rules and links that an address belongs to, as bits: what two endpoints share is one `and` of words.

use std::net::{IpAddr, Ipv4Addr};

use super::every::ranges;
use super::live::Loaded;
use crate::model::{Declaration, End};
use crate::pf::eval::{CompiledRule, List, Ranges, Side, bits_of};
use crate::pf::syntax::{Action, Address, Direction, Family, NumberMatch};
use crate::plan::Plan;

/// A set of numbers.
pub(super) type Bits = Vec<u64>;

/// Where an address belongs: as a source and as a destination, by rule and by link.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Members {
    rules: [Bits; 2],
    links: [Bits; 2],
}

/// The sets of addresses that rules and links name.
pub(super) struct Sets {
    rules: Vec<Matcher>,
    links: Vec<Link>,
    /// Members of what translations put in place of a source or a destination, by the number of the rule.
    translated: Vec<(usize, bool, Members)>,
}

struct Matcher {
    /// Sources and destinations, as sorted ranges.
    ends: [Vec<(u128, u128)>; 2],
    ports: Vec<(u16, u16)>,
}

struct Link {
    ends: [Vec<(u128, u128)>; 2],
    ports: Vec<(u16, u16)>,
}

impl Sets {
    /// What the loaded anchor and the declaration name.
    pub fn of(declaration: &Declaration, plan: &Plan, loaded: &Loaded) -> Self {
        let all = loaded.machine.loaded();
        let ruleset = all.find(plan.anchor.as_str()).and_then(|index| all.ruleset(index));
        let lists = [List::Nat, List::Rdr, List::Filter, List::Dummynet];
        let compiled: Vec<&CompiledRule> = ruleset
            .into_iter()
            .flat_map(|ruleset| lists.map(|list| ruleset.rules(list)).into_iter().flatten())
            .collect();
        let side = |side: &Side, is_source| -> Vec<(u128, u128)> {
            let ranges = side.addresses(all, Family::Inet, is_source);
            ranges.as_ref().map(|ranges| Ranges::iter(ranges).collect()).unwrap_or_default()
        };
        let matcher = |rule: &&CompiledRule| {
            let mut ends = [side(rule.source(), true), side(rule.destination(), false)];
            if let (Some(network), Some(direction)) = (bridged(plan, rule), rule.syntax().direction) {
                // What comes in over a bridge is of its network, and what goes out there is for it.
                let end = usize::from(direction == Direction::Out);
                ends[end] = within(&ends[end], network);
            }
            Matcher { ends, ports: rule.syntax().destination.port.map(range).into_iter().collect() }
        };
        let rules = compiled.iter().map(matcher).collect();
        let mut sets = Self { rules, links: both_ways(declaration), translated: Vec::new() };
        for (number, rule) in compiled.iter().enumerate() {
            let source = matches!(rule.syntax().action, Action::Nat);
            for address in targets(rule) {
                sets.translated.push((number, source, sets.members(address)));
            }
        }
        sets
    }

    /// Where an address belongs.
    pub fn members(&self, address: Ipv4Addr) -> Members {
        let at = bits_of(address.into());
        let of = |ends: &dyn Fn(usize) -> bool, count: usize| {
            let mut bits = vec![0; count.div_ceil(64)];
            (0..count)
                .filter(|number| ends(*number))
                .for_each(|number| bits[number / 64] |= 1 << (number % 64));
            bits
        };
        Members {
            rules: [0, 1]
                .map(|side| of(&|number| holds(&self.rules[number].ends[side], at), self.rules.len())),
            links: [0, 1]
                .map(|side| of(&|number| holds(&self.links[number].ends[side], at), self.links.len())),
        }
    }

    /// The rules that can match a packet between two ends: as it is, its answer, and as translations make it.
    pub fn rules(&self, from: &Members, to: &Members) -> Vec<Bits> {
        let there = and(&from.rules[0], &to.rules[1]);
        let mut all = vec![there.clone(), and(&to.rules[0], &from.rules[1])];
        for (number, is_source, members) in &self.translated {
            if there[number / 64] >> (number % 64) & 1 == 1 {
                let (from, to) = if *is_source { (members, to) } else { (from, members) };
                all.push(and(&from.rules[0], &to.rules[1]));
            }
        }
        all
    }

    /// The ranges of ports that these rules and links distinguish.
    pub fn ports<'a>(
        &'a self,
        rules: impl Iterator<Item = &'a Bits> + 'a,
        links: &'a Bits,
    ) -> impl Iterator<Item = (u16, u16)> + 'a {
        let of_rules = rules.flat_map(ones).flat_map(|number| &self.rules[number].ports);
        let of_links = ones(links).flat_map(|number| &self.links[number].ports);
        of_rules.chain(of_links).copied()
    }
}

/// The links that name two ends in this direction.
pub(super) fn links(from: &Members, to: &Members) -> Bits {
    and(&from.links[0], &to.links[1])
}

/// Both directions of every link: where one is allowed it decides, and where it is not it may be told.
fn both_ways(declaration: &Declaration) -> Vec<Link> {
    let ranges_of = |ends: &std::collections::BTreeSet<End>| {
        let range = |end: &End| {
            let net = declaration.range(end);
            (bits_of(net.network().into()), bits_of(net.broadcast().into()))
        };
        let mut ranges: Vec<(u128, u128)> = ends.iter().map(range).collect();
        // A volume is inside its provider: the wider range first, and what it holds away.
        ranges.sort_unstable_by_key(|(low, high)| (*low, std::cmp::Reverse(*high)));
        ranges.dedup_by(|inner, outer| inner.1 <= outer.1);
        ranges
    };
    let mut all = Vec::new();
    for link in &declaration.links {
        let (from, to) = (ranges_of(&link.from), ranges_of(&link.to));
        let ports: Vec<(u16, u16)> = link.ports.iter().flat_map(ranges).collect();
        if link.bidirectional {
            all.push(Link { ends: [to.clone(), from.clone()], ports: ports.clone() });
        }
        all.push(Link { ends: [from, to], ports });
    }
    all
}

/// The network behind the bridge that a rule names, if it names one.
fn bridged(plan: &Plan, rule: &CompiledRule) -> Option<(u128, u128)> {
    let interface = rule.syntax().interface.as_ref().filter(|interface| !interface.not)?;
    let bridge = plan.bridges.iter().find(|bridge| bridge.logical.as_str() == interface.name)?;
    Some((bits_of(bridge.network.network().into()), bits_of(bridge.network.broadcast().into())))
}

/// What of these ranges is in another.
fn within(ranges: &[(u128, u128)], (first, last): (u128, u128)) -> Vec<(u128, u128)> {
    let inside = ranges.iter().map(|(low, high)| (*low.max(&first), *high.min(&last)));
    inside.filter(|(low, high)| low <= high).collect()
}

fn holds(ranges: &[(u128, u128)], at: u128) -> bool {
    let behind = ranges.partition_point(|(low, _)| *low <= at);
    ranges[..behind].last().is_some_and(|(_, high)| at <= *high)
}

fn and(a: &Bits, b: &Bits) -> Bits {
    a.iter().zip(b).map(|(a, b)| a & b).collect()
}

fn ones(bits: &Bits) -> impl Iterator<Item = usize> + '_ {
    (0..bits.len() * 64).filter(|number| bits[number / 64] >> (number % 64) & 1 == 1)
}

/// The addresses that a translation puts in the packet.
fn targets(rule: &CompiledRule) -> Vec<Ipv4Addr> {
    let hosts = rule.syntax().redirect.iter().flat_map(|pool| &pool.hosts);
    let address = |address: &Address| match address {
        Address::Prefix { address: IpAddr::V4(address), .. } => Some(*address),
        _ => None,
    };
    hosts.filter_map(|host| address(&host.address)).collect()
}

/// Where a condition on a port changes its mind.
fn range(condition: NumberMatch<u16>) -> (u16, u16) {
    match condition {
        NumberMatch::Equal(a)
        | NumberMatch::NotEqual(a)
        | NumberMatch::Less(a)
        | NumberMatch::LessEqual(a)
        | NumberMatch::Greater(a)
        | NumberMatch::GreaterEqual(a) => (a, a),
        NumberMatch::Range(a, b) | NumberMatch::Inside(a, b) | NumberMatch::Outside(a, b) => (a, b),
    }
}
