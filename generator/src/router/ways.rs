//! The ways between nodes: the pipes that rules send packets into, and which ways are cut.
//!
//! A pipe is one for all that the rules send there, as one of dummynet's is: its bandwidth is shared. Loss and jitter follow
//! a sequence that is the same in every run. Never: a packet's bytes, or which rule sends what into a pipe.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::topology::{NodeId, Topology};
use crate::model::Conditions;
use crate::plan;

/// How many packets wait before a slow pipe, whatever their length: dummynet's slots where nothing else is said.
const SLOTS: usize = 50;

/// The ways between all pairs of nodes.
#[derive(Debug, Clone)]
pub struct Ways {
    nodes: usize,
    /// By the number of the sender and of the receiver.
    is_cut: Vec<bool>,
    pipes: HashMap<u16, Pipe>,
    /// Whether pipes carry everything, and at once.
    is_eased: bool,
}

#[derive(Debug, Clone)]
struct Pipe {
    /// Who sends through it to whom.
    way: String,
    conditions: Conditions,
    /// When each of those that wait will have left, in order.
    waiting: VecDeque<Duration>,
    /// When the last packet comes out: chance delays packets, and none overtakes another.
    last: Duration,
    /// The sequence of its losses.
    chance: u64,
}

impl Ways {
    /// Ways that nothing cuts yet, and these pipes.
    pub fn new(topology: &Topology, pipes: &[plan::Pipe]) -> Self {
        let nodes = topology.count();
        let is_cut = vec![false; nodes * nodes];
        let mut ways = Self { nodes, is_cut, pipes: HashMap::new(), is_eased: false };
        ways.set_pipes(pipes);
        ways
    }

    /// Puts other pipes in place of what is there.
    pub fn set_pipes(&mut self, pipes: &[plan::Pipe]) {
        let pipe = |pipe: &plan::Pipe| {
            let (way, conditions, chance) = (pipe.way(), pipe.conditions, pipe.number.into());
            let new = Pipe { way, conditions, waiting: VecDeque::new(), last: Duration::ZERO, chance };
            (pipe.number, new)
        };
        self.pipes = pipes.iter().map(pipe).collect();
    }

    /// Lets pipes carry everything, and at once: for whoever asks who reaches whom, and not how well. A pipe must be
    /// there all the same.
    pub fn ease(&mut self) {
        self.is_eased = true;
    }

    /// The pipes that are there, by number: each with its way in words, and what it is like.
    pub fn pipes(&self) -> impl Iterator<Item = (u16, &str, Conditions)> {
        let mut all: Vec<_> = self.pipes.iter().collect();
        all.sort_unstable_by_key(|(number, _)| **number);
        all.into_iter().map(|(number, pipe)| (*number, pipe.way.as_str(), pipe.conditions))
    }

    /// What a pipe is like, if it is there.
    pub(super) fn like(&self, number: u16) -> Option<Conditions> {
        self.pipes.get(&number).map(|pipe| pipe.conditions)
    }

    /// Cuts the ways between two groups, or between one and everybody else, in both directions.
    pub fn cut(&mut self, one: &[NodeId], other: Option<&[NodeId]>) {
        self.set_cut(one, other, true);
    }

    /// Mends what was cut.
    pub fn heal(&mut self, one: &[NodeId], other: Option<&[NodeId]>) {
        self.set_cut(one, other, false);
    }

    /// Mends everything.
    pub fn heal_all(&mut self) {
        self.is_cut.fill(false);
    }

    /// Whether the way from one node to another is cut.
    pub fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.is_cut[from.0 * self.nodes + to.0]
    }

    fn set_cut(&mut self, one: &[NodeId], other: Option<&[NodeId]>, is_cut: bool) {
        for from in one {
            for to in (0..self.nodes).map(NodeId) {
                let is_meant = other.map_or_else(|| !one.contains(&to), |other| other.contains(&to));
                if is_meant && *from != to {
                    self.is_cut[from.0 * self.nodes + to.0] = is_cut;
                    self.is_cut[to.0 * self.nodes + from.0] = is_cut;
                }
            }
        }
    }

    /// When a packet comes out that goes into a pipe now. In a pipe that is not there it is lost, as in dummynet.
    pub(super) fn carry(&mut self, pipe: u16, bytes: usize, now: Duration) -> Option<Duration> {
        let is_eased = self.is_eased;
        let pipe = self.pipes.get_mut(&pipe)?;
        if is_eased { Some(now) } else { pipe.carry(bytes, now) }
    }
}

impl Pipe {
    fn carry(&mut self, bytes: usize, now: Duration) -> Option<Duration> {
        if self.conditions.loss.is_some_and(|loss| self.draw() < loss) {
            return None;
        }
        let mut leaves = now;
        if let Some(kilobits) = self.conditions.bandwidth_kbit {
            while self.waiting.front().is_some_and(|leaves| *leaves <= now) {
                self.waiting.pop_front();
            }
            if self.waiting.len() >= SLOTS {
                return None;
            }
            let time = Duration::from_nanos(bytes as u64 * 8 * 1_000_000 / u64::from(kilobits));
            leaves = self.waiting.back().map_or(now, |last| *last) + time;
            self.waiting.push_back(leaves);
        }
        let mut comes = leaves + Duration::from_millis(self.conditions.delay().into());
        if let Some(jitter) = self.conditions.jitter_ms {
            comes += Duration::from_millis(jitter.into()).mul_f64(self.draw());
            comes = comes.max(self.last);
            self.last = comes;
        }
        Some(comes)
    }

    /// The next number of a sequence, at least 0 and below 1 (splitmix64).
    fn draw(&mut self) -> f64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // 53 bits are what a float holds.
        #[expect(clippy::cast_precision_loss)]
        let share = ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
        share
    }
}
