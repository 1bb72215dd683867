//! Functions from packets to numbers, as decision diagrams over bits.
//!
//! A node tests one bit and continues with one of two others; the leaves are numbers. Equal functions are one node,
//! so that comparison is by identity, and a change costs what it touches. Never: what a bit means.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A function from packets to numbers below 2^31. Two that say the same are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Map(u32);

/// A set of packets: the function that is 1 on them and 0 elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Set(Map);

/// Marks a number at the end, as opposed to a node.
const END: u32 = 1 << 31;
/// Behind all levels.
const LAST: u16 = u16::MAX;
/// The smallest cache, and the largest: entries of 16 bytes.
const SMALLEST: usize = 1 << 10;
const LARGEST: usize = 1 << 21;

impl Map {
    /// The function that is this number everywhere.
    ///
    /// # Panics
    /// Where the number is 2^31 or more.
    pub fn constant(number: u32) -> Self {
        assert!(number < END, "a number below 2^31");
        Self(number | END)
    }

    /// The number, of a function that is one everywhere.
    pub fn as_constant(self) -> Option<u32> {
        (self.0 & END != 0).then_some(self.0 & !END)
    }
}

impl Set {
    /// No packet.
    pub const NONE: Self = Self(Map(END));
    /// Every packet.
    pub const ALL: Self = Self(Map(END | 1));

    /// Whether no packet is in it.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// The same as a function to 0 and 1.
    pub fn as_map(self) -> Map {
        self.0
    }
}

/// A node: the bit that it looks at, and where it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Node {
    level: u16,
    low: Map,
    high: Map,
}

/// All nodes of some diagrams, each once.
#[derive(Debug, Clone)]
pub struct Diagrams {
    nodes: Vec<Node>,
    /// Numbers of nodes plus one by the hash of the node, with open addressing; its length is a power of two.
    unique: Vec<u32>,
    /// What [`Diagrams::choose`] was asked: by place, the last question there and its answer.
    asked: Vec<[u32; 4]>,
}

/// The bits on a way through a diagram, by level.
pub(super) type Way = Vec<(u16, bool)>;

/// A memory for one walk over diagrams.
pub(super) type Memo<K, V> = HashMap<K, V, BuildHasherDefault<Mix>>;

/// A quick hash for keys of numbers: this is about place, not about identity, which is always compared.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

fn place(a: u32, b: u32, c: u32, length: usize) -> usize {
    let mut hash = u64::from(a).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ u64::from(b)).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    hash = (hash.rotate_left(29) ^ u64::from(c)).wrapping_mul(0x1656_67b1_9e37_79f9);
    // The lengths are powers of two.
    usize::try_from(hash >> 33).unwrap_or(0) & (length - 1)
}

impl Default for Diagrams {
    fn default() -> Self {
        Self { nodes: Vec::new(), unique: vec![0; SMALLEST], asked: vec![[u32::MAX; 4]; SMALLEST] }
    }
}

impl Diagrams {
    /// How many nodes there are.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// A function to 0 and 1 as the set that it is.
    #[expect(clippy::unused_self, reason = "a set belongs to its diagrams")]
    pub(super) fn set(&self, map: Map) -> Set {
        Set(map)
    }

    fn node(&self, map: Map) -> Option<Node> {
        self.nodes.get(map.0 as usize).copied()
    }

    /// The first bit that a function looks at; behind all, where it looks at none.
    pub(super) fn level(&self, map: Map) -> u16 {
        self.node(map).map_or(LAST, |node| node.level)
    }

    /// What a function is where the bit of this level, which is not after its first, is 0 and where it is 1.
    pub(super) fn sides(&self, map: Map, level: u16) -> (Map, Map) {
        match self.node(map) {
            Some(node) if node.level == level => (node.low, node.high),
            _ => (map, map),
        }
    }

    /// The function that is `low` where the bit is 0 and `high` where it is 1; both look at bits after it only.
    pub(super) fn make(&mut self, level: u16, low: Map, high: Map) -> Map {
        if low == high {
            return low;
        }
        if self.nodes.len() * 4 >= self.unique.len() * 3 {
            self.grow();
        }
        let node = Node { level, low, high };
        let mut at = place(low.0, high.0, u32::from(level), self.unique.len());
        loop {
            match self.unique[at].checked_sub(1) {
                None => break,
                Some(known) if self.nodes[known as usize] == node => return Map(known),
                Some(_) => at = (at + 1) & (self.unique.len() - 1),
            }
        }
        let number = u32::try_from(self.nodes.len()).ok().filter(|number| *number < END - 1);
        let number = number.expect("fewer than 2^31 nodes");
        self.nodes.push(node);
        self.unique[at] = number + 1;
        Map(number)
    }

    fn grow(&mut self) {
        let length = self.unique.len() * 2;
        let mut unique = vec![0; length];
        for (number, node) in (1..).zip(&self.nodes) {
            let mut at = place(node.low.0, node.high.0, u32::from(node.level), length);
            while unique[at] != 0 {
                at = (at + 1) & (length - 1);
            }
            unique[at] = number;
        }
        self.unique = unique;
        if self.asked.len() < length.min(LARGEST) {
            let old = std::mem::replace(&mut self.asked, vec![[u32::MAX; 4]; length.min(LARGEST)]);
            for entry in old.into_iter().filter(|entry| entry[0] != u32::MAX) {
                let at = place(entry[0], entry[1], entry[2], self.asked.len());
                self.asked[at] = entry;
            }
        }
    }

    /// The function that is `then` inside a set and `other` outside it.
    pub fn choose(&mut self, set: Set, then: Map, other: Map) -> Map {
        let (one, none) = (Set::ALL.0, Set::NONE.0);
        if set.0 == one || then == other {
            return then;
        }
        if set.0 == none {
            return other;
        }
        if then == one && other == none {
            return set.0;
        }
        let key = [set.0.0, then.0, other.0];
        let at = place(key[0], key[1], key[2], self.asked.len());
        if let [a, b, c, answer] = self.asked[at]
            && [a, b, c] == key
        {
            return Map(answer);
        }
        let level = self.level(set.0).min(self.level(then)).min(self.level(other));
        let (set_low, set_high) = self.sides(set.0, level);
        let (then_low, then_high) = self.sides(then, level);
        let (other_low, other_high) = self.sides(other, level);
        let low = self.choose(Set(set_low), then_low, other_low);
        let high = self.choose(Set(set_high), then_high, other_high);
        let answer = self.make(level, low, high);
        let at = place(key[0], key[1], key[2], self.asked.len());
        self.asked[at] = [key[0], key[1], key[2], answer.0];
        answer
    }

    /// The packets in both.
    pub fn and(&mut self, one: Set, other: Set) -> Set {
        Set(self.choose(one.min(other), one.max(other).0, Set::NONE.0))
    }

    /// The packets in one or the other.
    pub fn or(&mut self, one: Set, other: Set) -> Set {
        Set(self.choose(one.min(other), Set::ALL.0, one.max(other).0))
    }

    /// The packets in the first that are not in the second.
    pub fn minus(&mut self, one: Set, other: Set) -> Set {
        Set(self.choose(other, Set::NONE.0, one.0))
    }

    /// The packets that are not in it.
    pub fn not(&mut self, set: Set) -> Set {
        Set(self.choose(set, Set::NONE.0, Set::ALL.0))
    }

    /// Whether the second holds all packets of the first.
    pub fn implies(&mut self, one: Set, other: Set) -> bool {
        self.minus(one, other).is_empty()
    }

    /// The function that gives for each packet what `join` makes of the numbers of two functions.
    pub fn join(&mut self, one: Map, other: Map, join: &mut impl FnMut(u32, u32) -> u32) -> Map {
        self.join_within(one, other, join, &mut Memo::default())
    }

    fn join_within(
        &mut self,
        one: Map,
        other: Map,
        join: &mut impl FnMut(u32, u32) -> u32,
        memo: &mut Memo<(Map, Map), Map>,
    ) -> Map {
        if let (Some(one), Some(other)) = (one.as_constant(), other.as_constant()) {
            return Map::constant(join(one, other));
        }
        if let Some(known) = memo.get(&(one, other)) {
            return *known;
        }
        let level = self.level(one).min(self.level(other));
        let ((one_low, one_high), (other_low, other_high)) =
            (self.sides(one, level), self.sides(other, level));
        let low = self.join_within(one_low, other_low, join, memo);
        let high = self.join_within(one_high, other_high, join, memo);
        let joined = self.make(level, low, high);
        memo.insert((one, other), joined);
        joined
    }

    /// The function with other numbers.
    pub fn renumber(&mut self, map: Map, number: &mut impl FnMut(u32) -> u32) -> Map {
        let mut known = vec![None; self.nodes.len()];
        self.renumber_within(map, number, &mut known)
    }

    fn renumber_within(
        &mut self,
        map: Map,
        number: &mut impl FnMut(u32) -> u32,
        known: &mut [Option<Map>],
    ) -> Map {
        let Some(Node { level, low, high }) = self.node(map) else {
            return Map::constant(number(map.0 & !END));
        };
        if let Some(known) = known[map.0 as usize] {
            return known;
        }
        let low = self.renumber_within(low, number, known);
        let high = self.renumber_within(high, number, known);
        let made = self.make(level, low, high);
        known[map.0 as usize] = Some(made);
        made
    }

    /// The packets whose number is meant.
    pub fn select(&mut self, map: Map, is_meant: impl Fn(u32) -> bool) -> Set {
        Set(self.renumber(map, &mut |number| u32::from(is_meant(number))))
    }

    /// Inside a set what `number` makes of the first function's numbers, and outside it the second function. It costs
    /// what the set holds of the first.
    pub fn overlay(&mut self, set: Set, then: Map, other: Map, number: &mut impl FnMut(u32) -> u32) -> Map {
        self.overlay_within((set, then, other), number, &mut Memo::default())
    }

    fn overlay_within(
        &mut self,
        (set, then, other): (Set, Map, Map),
        number: &mut impl FnMut(u32) -> u32,
        memo: &mut Memo<(Set, Map, Map), Map>,
    ) -> Map {
        // Inside the set the other function does not matter.
        let other = if set == Set::ALL { Map::constant(0) } else { other };
        match (set, then.as_constant()) {
            (Set::NONE, _) => return other,
            (Set::ALL, Some(constant)) => return Map::constant(number(constant)),
            _ => {}
        }
        if let Some(known) = memo.get(&(set, then, other)) {
            return *known;
        }
        let level = self.level(set.0).min(self.level(then)).min(self.level(other));
        let (set_low, set_high) = self.sides(set.0, level);
        let (then_low, then_high) = self.sides(then, level);
        let (other_low, other_high) = self.sides(other, level);
        let low = self.overlay_within((Set(set_low), then_low, other_low), number, memo);
        let high = self.overlay_within((Set(set_high), then_high, other_high), number, memo);
        let made = self.make(level, low, high);
        memo.insert((set, then, other), made);
        made
    }

    /// What a function is where bits are known: those of `levels`, from the first, as `bits` has them from its highest.
    pub(super) fn fix(&mut self, map: Map, bits: &impl Fn(u16) -> Option<bool>, last: u16) -> Map {
        self.fix_within(map, bits, last, &mut Memo::default())
    }

    fn fix_within(
        &mut self,
        map: Map,
        bits: &impl Fn(u16) -> Option<bool>,
        last: u16,
        memo: &mut Memo<Map, Map>,
    ) -> Map {
        let Some(node) = self.node(map).filter(|node| node.level <= last) else { return map };
        if let Some(known) = memo.get(&map) {
            return *known;
        }
        let fixed = if let Some(bit) = bits(node.level) {
            self.fix_within(if bit { node.high } else { node.low }, bits, last, memo)
        } else {
            let low = self.fix_within(node.low, bits, last, memo);
            let high = self.fix_within(node.high, bits, last, memo);
            self.make(node.level, low, high)
        };
        memo.insert(map, fixed);
        fixed
    }

    /// The packets that are in the set with some value of the bits of these levels.
    pub(super) fn forget(&mut self, set: Set, levels: std::ops::Range<u16>) -> Set {
        let mut known = vec![None; self.nodes.len()];
        self.forget_within(set, &levels, &mut known)
    }

    fn forget_within(&mut self, set: Set, levels: &std::ops::Range<u16>, known: &mut [Option<Set>]) -> Set {
        let Some(node) = self.node(set.0).filter(|node| node.level < levels.end) else { return set };
        if let Some(known) = known[set.0.0 as usize] {
            return known;
        }
        let low = self.forget_within(Set(node.low), levels, known);
        let high = self.forget_within(Set(node.high), levels, known);
        let forgot = if levels.contains(&node.level) {
            self.or(low, high)
        } else {
            Set(self.make(node.level, low.0, high.0))
        };
        known[set.0.0 as usize] = Some(forgot);
        forgot
    }

    /// The set with its bits at other levels, in the same order.
    pub(super) fn shift(&mut self, set: Set, level: &impl Fn(u16) -> u16) -> Set {
        self.shift_within(set, level, &mut Memo::default())
    }

    fn shift_within(&mut self, set: Set, level: &impl Fn(u16) -> u16, memo: &mut Memo<Set, Set>) -> Set {
        let Some(node) = self.node(set.0) else { return set };
        if let Some(known) = memo.get(&set) {
            return *known;
        }
        let low = self.shift_within(Set(node.low), level, memo);
        let high = self.shift_within(Set(node.high), level, memo);
        let shifted = Set(self.make(level(node.level), low.0, high.0));
        memo.insert(set, shifted);
        shifted
    }

    /// A function cut at a level: for everything that it can still be behind the levels before, the set of packets, by
    /// those levels alone, on which it is that. The parts do not overlap and cover all packets.
    pub(super) fn cut(&mut self, map: Map, level: u16) -> Vec<(Set, Map)> {
        // Level by level, so that all ways to a node are known when it is left.
        let mut waiting: BTreeMap<(u16, Map), Set> =
            BTreeMap::from([((self.level(map).min(level), map), Set::ALL)]);
        let mut parts = Vec::new();
        while let Some(((at, map), reached)) = waiting.pop_first() {
            if at >= level {
                parts.push((reached, map));
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

    /// Every number that a function can be, each with the bits on one way to it.
    pub(super) fn each_number(&self, map: Map) -> Vec<(u32, Way)> {
        let mut seen = vec![false; self.nodes.len()];
        let mut ends: HashSet<Map> = HashSet::new();
        let mut found = Vec::new();
        let mut way = Way::new();
        // What is to be visited, and how long the way to it is.
        let mut waiting = vec![(map, 0, None)];
        while let Some((map, length, step)) = waiting.pop() {
            let is_new = match seen.get_mut(map.0 as usize) {
                Some(seen) => !std::mem::replace(seen, true),
                None => ends.insert(map),
            };
            if !is_new {
                continue;
            }
            way.truncate(length);
            way.extend(step);
            match (map.as_constant(), self.node(map)) {
                (Some(number), _) => found.push((number, way.clone())),
                (None, Some(node)) => {
                    waiting.push((node.high, way.len(), Some((node.level, true))));
                    waiting.push((node.low, way.len(), Some((node.level, false))));
                }
                (None, None) => {}
            }
        }
        found
    }

    /// A packet of a set that is not empty, by its bits: `wished` where it can be.
    pub(super) fn pick(&self, set: Set, wished: impl Fn(u16) -> bool) -> Option<Way> {
        let mut way = Way::new();
        let mut map = set.0;
        while let Some(node) = self.node(map) {
            let (wish, other) =
                if wished(node.level) { (node.high, node.low) } else { (node.low, node.high) };
            let takes_wish = wish != Set::NONE.0;
            way.push((node.level, wished(node.level) == takes_wish));
            map = if takes_wish { wish } else { other };
        }
        (map == Set::ALL.0).then_some(way)
    }

    /// What a function is of one packet.
    pub(super) fn number(&self, mut map: Map, bit: impl Fn(u16) -> bool) -> u32 {
        while let Some(node) = self.node(map) {
            map = if bit(node.level) { node.high } else { node.low };
        }
        map.as_constant().unwrap_or(0)
    }
}
