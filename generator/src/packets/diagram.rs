//! Functions from packets to numbers, as decision diagrams over bits.
//!
//! A node tests one bit and continues with one of two others; the leaves are numbers. Equal functions share one node,
//! so that comparison is by identity, and an operation costs only the nodes that it visits. Never: what a bit means.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A function from packets to numbers below 2^31. Functions with equal values are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Map(pub(super) u32);

/// A set of packets: the function that is 1 inside and 0 outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Set(pub(super) Map);

/// Marks a leaf, which holds a number, as opposed to a node.
const END: u32 = 1 << 31;
/// The level of a leaf: after all others.
const LAST: u16 = u16::MAX;
/// The smallest and the largest operation cache, in entries of 16 bytes.
const SMALLEST: u32 = 1 << 10;
const LARGEST: usize = 1 << 20;
/// The first operand of a cached operation other than [`Diagrams::choose`] is at least this: no node or constant set.
const FIRST_OPERATION: u32 = END + 2;
/// The operation [`Diagrams::over`].
pub(super) const OVER: u32 = FIRST_OPERATION;
/// An unused cache entry. All zero, so that a new cache is memory that the system has cleared already: the first word of
/// an operation is stored inverted, and none is [`u32::MAX`].
const UNASKED: [u32; 4] = [0; 4];

impl Map {
    /// The function without a value for any packet: see [`Diagrams::over`]. It is stored as the greatest number.
    pub const UNDECIDED: Self = Self(u32::MAX);

    /// The function that has this value everywhere.
    ///
    /// # Panics
    /// If the number is 2^31 or more.
    pub fn constant(number: u32) -> Self {
        assert!(number < END, "a number below 2^31");
        Self(number | END)
    }

    /// The value of a constant function; `None` for any other.
    pub fn as_constant(self) -> Option<u32> {
        (self.0 & END != 0).then_some(self.0 & !END)
    }

    /// The index of the function's node; beyond all nodes for a constant.
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

impl Set {
    /// No packet.
    pub const NONE: Self = Self(Map(END));
    /// Every packet.
    pub const ALL: Self = Self(Map(END | 1));

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// The set as a function to 0 and 1.
    pub fn as_map(self) -> Map {
        self.0
    }
}

/// A node: the level of the bit that it tests, and its two successors. A constant has the level after all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    pub level: u16,
    pub low: Map,
    pub high: Map,
}

impl Node {
    fn words(self) -> [u32; 3] {
        [self.low.0, self.high.0, u32::from(self.level)]
    }

    /// The two successors at a level that is not after the node's own.
    fn sides(self, map: Map, level: u16) -> (Map, Map) {
        if self.level == level { (self.low, self.high) } else { (map, map) }
    }
}

/// A store of nodes in which each node exists once, with a cache of operations.
#[derive(Debug, Clone)]
pub struct Diagrams {
    nodes: Vec<Node>,
    /// A hash table of nodes, with open addressing. The length is a power of two, above the number of nodes: the bits
    /// below it hold the index of the node plus one, the others those bits of its hash, so that a node is read only if
    /// it is very likely the one sought.
    unique: Vec<u32>,
    /// The last index of `unique`, which is also the mask of the bits that hold an index.
    last: u32,
    /// With so many nodes `unique` grows.
    room: usize,
    /// The operation cache: each slot holds the last operation (three words) and its result.
    asked: Vec<[u32; 4]>,
    /// Results by node, each with the number of the traversal that stored it.
    answers: Vec<(u32, Map)>,
    walks: u32,
}

/// A path through a diagram: the bits that it fixes, by level.
pub(super) type Way = Vec<(u16, bool)>;

/// A cache for one traversal.
pub(super) type Memo<K, V> = HashMap<K, V, BuildHasherDefault<Mix>>;

/// A fast hash for integer keys. It only selects a slot; keys are always compared.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
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

fn mixed([a, b, c]: [u32; 3]) -> u32 {
    let hash = (u64::from(a) | u64::from(b) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash = (hash ^ hash >> 32 ^ u64::from(c)).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    // The high bits are the well-mixed ones.
    u32::try_from(hash >> 32).unwrap_or(0)
}

/// An operation and its operands, with their hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct CacheKey {
    words: [u32; 3],
    hash: u32,
}

impl CacheKey {
    pub(super) fn new(words: [u32; 3]) -> Self {
        Self { words, hash: mixed(words) }
    }

    /// The slot among `length`, which is a power of two.
    fn slot(self, length: usize) -> usize {
        self.hash as usize & (length - 1)
    }
}

impl Default for Diagrams {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            unique: vec![0; SMALLEST as usize],
            last: SMALLEST - 1,
            room: SMALLEST as usize / 2,
            asked: vec![UNASKED; SMALLEST as usize],
            answers: Vec::new(),
            walks: 0,
        }
    }
}

impl Diagrams {
    /// The number of nodes.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn node(&self, map: Map) -> Node {
        // The index of a constant is beyond all nodes.
        self.nodes.get(map.index()).copied().unwrap_or(Node { level: LAST, low: map, high: map })
    }

    /// The level of the first bit that a function tests; after all levels for a constant.
    pub(super) fn level(&self, map: Map) -> u16 {
        self.node(map).level
    }

    /// The two restrictions of a function by the bit of a level, which must not be after its first: 0, then 1.
    pub(super) fn sides(&self, map: Map, level: u16) -> (Map, Map) {
        self.node(map).sides(map, level)
    }

    /// The first level that either of two functions tests, and the restrictions of each by its bit.
    pub(super) fn both_sides(&self, one: Map, other: Map) -> (u16, [(Map, Map); 2]) {
        let (first, second) = (self.node(one), self.node(other));
        let level = first.level.min(second.level);
        (level, [first.sides(one, level), second.sides(other, level)])
    }

    /// The function that is `low` if the bit is 0 and `high` if it is 1; both must test only later bits.
    pub(super) fn make(&mut self, level: u16, low: Map, high: Map) -> Map {
        if low == high {
            return low;
        }
        let node = Node { level, low, high };
        let (hash, last) = (mixed(node.words()), self.last);
        let mut at = hash & last;
        loop {
            let entry = self.unique[at as usize];
            if entry == 0 {
                break;
            }
            if (entry ^ hash) & !last == 0 {
                let known = (entry & last) - 1;
                if self.nodes[known as usize] == node {
                    return Map(known);
                }
            }
            at = (at + 1) & last;
        }
        let number = u32::try_from(self.nodes.len()).ok().filter(|number| *number < END - 1);
        let number = number.expect("fewer than 2^31 nodes");
        self.nodes.push(node);
        self.unique[at as usize] = hash & !last | (number + 1);
        if self.nodes.len() >= self.room {
            self.grow();
        }
        Map(number)
    }

    #[inline(never)]
    fn grow(&mut self) {
        // Moving all nodes to a larger table costs as much as adding them; a large table costs memory. So it is also
        // fuller: its probes are adjacent, and compare tags.
        let slots = self.unique.len();
        let length = slots * if slots < LARGEST { 4 } else { 2 };
        let last = u32::try_from(length - 1).expect("fewer than 2^31 nodes");
        let mut unique = vec![0; length];
        for (number, node) in (1..).zip(&self.nodes) {
            let hash = mixed(node.words());
            let mut at = hash & last;
            while unique[at as usize] != 0 {
                at = (at + 1) & last;
            }
            unique[at as usize] = hash & !last | number;
        }
        self.unique = unique;
        self.last = last;
        self.room = length / 3 * 2;
        if length < LARGEST {
            self.room = length / 2;
            self.nodes.reserve_exact(self.room - self.nodes.len());
        }
        let length = length.min(LARGEST);
        if self.asked.len() < length {
            let old = std::mem::replace(&mut self.asked, vec![UNASKED; length]);
            for entry in old.into_iter().filter(|entry| *entry != UNASKED) {
                let key = CacheKey::new([!entry[0], entry[1], entry[2]]);
                self.asked[key.slot(length)] = entry;
            }
        }
    }

    /// The cached result of an operation, if it has not been evicted.
    pub(super) fn known(&self, key: CacheKey) -> Option<Map> {
        let [a, b, c, answer] = self.asked[key.slot(self.asked.len())];
        ([!a, b, c] == key.words).then_some(Map(answer))
    }

    pub(super) fn remember(&mut self, key: CacheKey, answer: Map) {
        let at = key.slot(self.asked.len());
        let [a, b, c] = key.words;
        self.asked[at] = [!a, b, c, answer.0];
    }

    /// Starts a traversal: returns a number that identifies its results.
    pub(super) fn walk(&mut self) -> u32 {
        self.walks += 1;
        self.answers.resize(self.nodes.len(), (0, Map(0)));
        self.walks
    }

    /// The result that a traversal has stored for a node. Nodes made after the traversal began have none.
    pub(super) fn answered(&self, walk: u32, map: Map) -> Option<Map> {
        let (by, answer) = *self.answers.get(map.index())?;
        (by == walk).then_some(answer)
    }

    pub(super) fn answer(&mut self, walk: u32, map: Map, answer: Map) {
        if let Some(place) = self.answers.get_mut(map.index()) {
            *place = (walk, answer);
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
        let key = CacheKey::new([set.0.0, then.0, other.0]);
        if let Some(answer) = self.known(key) {
            return answer;
        }
        let (set_node, then_node, other_node) = (self.node(set.0), self.node(then), self.node(other));
        let level = set_node.level.min(then_node.level).min(other_node.level);
        let (set_low, set_high) = set_node.sides(set.0, level);
        let (then_low, then_high) = then_node.sides(then, level);
        let (other_low, other_high) = other_node.sides(other, level);
        let low = self.choose(Set(set_low), then_low, other_low);
        let high = self.choose(Set(set_high), then_high, other_high);
        let answer = self.make(level, low, high);
        self.remember(key, answer);
        answer
    }

    /// The intersection of two sets.
    pub fn and(&mut self, one: Set, other: Set) -> Set {
        Set(self.choose(one.min(other), one.max(other).0, Set::NONE.0))
    }

    /// The union of two sets.
    pub fn or(&mut self, one: Set, other: Set) -> Set {
        Set(self.choose(one.min(other), Set::ALL.0, one.max(other).0))
    }

    /// The packets of the first set that are not in the second.
    pub fn minus(&mut self, one: Set, other: Set) -> Set {
        Set(self.choose(other, Set::NONE.0, one.0))
    }

    /// The complement of a set.
    pub fn not(&mut self, set: Set) -> Set {
        Set(self.choose(set, Set::NONE.0, Set::ALL.0))
    }

    /// Whether the first set is a subset of the second.
    pub fn implies(&mut self, one: Set, other: Set) -> bool {
        self.minus(one, other).is_empty()
    }
}
