//! Traversals of one function: renumbering, restriction, splitting, and evaluation for one packet.

use std::collections::{BTreeMap, HashSet};

use super::diagram::{Diagrams, Map, Memo, Set, Way};

/// The capacity for a path; most have fewer bits.
const LONG: usize = 128;

impl Diagrams {
    /// A function with each value replaced by `number` of it.
    pub fn renumber(&mut self, map: Map, number: &mut impl FnMut(u32) -> u32) -> Map {
        let walk = self.walk();
        self.behind_within(
            map,
            u16::MAX,
            &mut |_, map| Map::constant(number(map.as_constant().unwrap_or(0))),
            walk,
        )
    }

    /// The packets whose value satisfies a predicate.
    pub fn select(&mut self, map: Map, is_meant: impl Fn(u32) -> bool) -> Set {
        let set = self.renumber(map, &mut |number| u32::from(is_meant(number)));
        Set(set)
    }

    /// Replaces the part of a function from a level on by what `change` returns for it.
    pub(super) fn behind(
        &mut self,
        map: Map,
        level: u16,
        change: &mut impl FnMut(&mut Self, Map) -> Map,
    ) -> Map {
        let mut changed: Memo<Map, Map> = Memo::default();
        let walk = self.walk();
        let mut once = |diagrams: &mut Self, map: Map| {
            if let Some(known) = changed.get(&map) {
                return *known;
            }
            let made = change(diagrams, map);
            changed.insert(map, made);
            made
        };
        self.behind_within(map, level, &mut once, walk)
    }

    fn behind_within(
        &mut self,
        map: Map,
        level: u16,
        change: &mut impl FnMut(&mut Self, Map) -> Map,
        walk: u32,
    ) -> Map {
        let node = self.node(map);
        if node.level >= level {
            return change(self, map);
        }
        if let Some(known) = self.answered(walk, map) {
            return known;
        }
        let low = self.behind_within(node.low, level, change, walk);
        let high = self.behind_within(node.high, level, change, walk);
        let made = self.make(node.level, low, high);
        self.answer(walk, map, made);
        made
    }

    /// Restricts a function: `bits` gives the known bits by level, `None` for free ones, for all levels up to `last`.
    pub(super) fn fix(&mut self, map: Map, bits: &impl Fn(u16) -> Option<bool>, last: u16) -> Map {
        let walk = self.walk();
        self.fix_within(map, bits, last, walk)
    }

    fn fix_within(&mut self, map: Map, bits: &impl Fn(u16) -> Option<bool>, last: u16, walk: u32) -> Map {
        let node = self.node(map);
        if node.level > last {
            return map;
        }
        if let Some(known) = self.answered(walk, map) {
            return known;
        }
        let fixed = if let Some(bit) = bits(node.level) {
            self.fix_within(if bit { node.high } else { node.low }, bits, last, walk)
        } else {
            let low = self.fix_within(node.low, bits, last, walk);
            let high = self.fix_within(node.high, bits, last, walk);
            self.make(node.level, low, high)
        };
        self.answer(walk, map, fixed);
        fixed
    }

    /// Existential quantification: the packets that are in the set for some value of the bits at these levels.
    pub(super) fn forget(&mut self, set: Set, levels: std::ops::Range<u16>) -> Set {
        let walk = self.walk();
        self.forget_within(set, &levels, walk)
    }

    fn forget_within(&mut self, set: Set, levels: &std::ops::Range<u16>, walk: u32) -> Set {
        let node = self.node(set.0);
        if node.level >= levels.end {
            return set;
        }
        if let Some(known) = self.answered(walk, set.0) {
            return Set(known);
        }
        let low = self.forget_within(Set(node.low), levels, walk);
        let high = self.forget_within(Set(node.high), levels, walk);
        let forgot = if levels.contains(&node.level) {
            self.or(low, high)
        } else {
            Set(self.make(node.level, low.0, high.0))
        };
        self.answer(walk, set.0, forgot.0);
        forgot
    }

    /// Splits a set at a level: every set that remains from there on, except the empty one, after the set of packets, by
    /// the bits before, that lead to it.
    pub(super) fn split(&mut self, set: Set, level: u16) -> Vec<(Set, Set)> {
        // Level by level, so that all paths to a node are known when it is expanded.
        let mut waiting: BTreeMap<(u16, Map), Set> =
            BTreeMap::from([((self.level(set.0).min(level), set.0), Set::ALL)]);
        let mut parts = Vec::new();
        while let Some(((at, map), reached)) = waiting.pop_first() {
            if map == Set::NONE.0 {
                continue;
            }
            if at >= level {
                parts.push((reached, Set(map)));
                continue;
            }
            let bit = Set(self.make(at, Set::NONE.0, Set::ALL.0));
            let (low, high) = self.sides(map, at);
            for (next, by) in [(low, self.minus(reached, bit)), (high, self.and(reached, bit))] {
                let key = (self.level(next).min(level), next);
                let so_far = waiting.get(&key).copied().unwrap_or(Set::NONE);
                let all = self.or(so_far, by);
                waiting.insert(key, all);
            }
        }
        parts
    }

    /// The union of `bits` over all values of a function.
    pub(super) fn all_bits(
        &self,
        map: Map,
        bits: &mut impl FnMut(u32) -> u32,
        known: &mut Memo<Map, u32>,
    ) -> u32 {
        if let Some(number) = map.as_constant() {
            return bits(number);
        }
        if let Some(known) = known.get(&map) {
            return *known;
        }
        let node = self.node(map);
        let all = self.all_bits(node.low, bits, known) | self.all_bits(node.high, bits, known);
        known.insert(map, all);
        all
    }

    /// Every value of a function, each with the bits on one path to it.
    pub(super) fn each_number(&self, map: Map) -> Vec<(u32, Way)> {
        let mut seen = vec![false; self.size()];
        let mut ends: HashSet<Map> = HashSet::new();
        let mut found = Vec::new();
        let mut way = Way::new();
        // Nodes to visit, each with the length of the path to its parent and the last step.
        let mut waiting = vec![(map, 0, None)];
        while let Some((map, length, step)) = waiting.pop() {
            let is_new = match seen.get_mut(map.index()) {
                Some(seen) => !std::mem::replace(seen, true),
                None => ends.insert(map),
            };
            if !is_new {
                continue;
            }
            way.truncate(length);
            way.extend(step);
            if let Some(number) = map.as_constant() {
                found.push((number, way.clone()));
                continue;
            }
            let node = self.node(map);
            waiting.push((node.high, way.len(), Some((node.level, true))));
            waiting.push((node.low, way.len(), Some((node.level, false))));
        }
        found
    }

    /// The bits of a packet for which a function is not `unwanted`, each as `wished` if possible; `None` if there is no
    /// such packet.
    pub(super) fn pick(&self, mut map: Map, unwanted: Map, wished: impl Fn(u16) -> bool) -> Option<Way> {
        let mut way = Way::with_capacity(LONG);
        while map.as_constant().is_none() {
            let node = self.node(map);
            let wished = wished(node.level);
            let (wish, other) = if wished { (node.high, node.low) } else { (node.low, node.high) };
            let takes_wish = wish != unwanted;
            way.push((node.level, wished == takes_wish));
            map = if takes_wish { wish } else { other };
        }
        (map != unwanted).then_some(way)
    }

    /// The value of a function for one packet.
    pub(super) fn number(&self, mut map: Map, bit: impl Fn(u16) -> bool) -> u32 {
        while map.as_constant().is_none() {
            let node = self.node(map);
            map = if bit(node.level) { node.high } else { node.low };
        }
        map.as_constant().unwrap_or(0)
    }
}
