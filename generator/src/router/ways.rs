//! The ways between nodes: what a link's conditions make of them, and which are cut.
//!
//! A condition is one pipe for all that it covers, as one of dummynet's is: its bandwidth is shared. Loss follows a
//! sequence that is the same in every run. Never: a packet's bytes.

use std::time::Duration;

use super::topology::{NodeId, Topology};
use super::walk::Fate;
use crate::model::{Conditions, End};
use crate::plan::Plan;

/// How many bytes wait before a slow pipe: dummynet's 50 packets.
const QUEUE: u64 = 50 * 1500;

/// The ways between all pairs of nodes.
#[derive(Debug, Clone)]
pub struct Ways {
    nodes: usize,
    /// By the number of the sender and of the receiver.
    pairs: Vec<Pair>,
    pipes: Vec<Pipe>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    pipe: Option<usize>,
    is_cut: bool,
}

#[derive(Debug, Clone)]
struct Pipe {
    conditions: Conditions,
    /// When the last packet has left it.
    free: Duration,
    /// The sequence of its losses.
    chance: u64,
}

impl Ways {
    /// The ways of a plan. Of two conditions for one way the first counts.
    pub fn of(plan: &Plan, topology: &Topology) -> Self {
        let nodes = topology.count();
        let mut ways = Self { nodes, pairs: vec![Pair::default(); nodes * nodes], pipes: Vec::new() };
        let members = |ends: &[End]| -> Vec<NodeId> {
            let mut members: Vec<NodeId> =
                ends.iter().flat_map(|end| topology.group(end.name().as_str())).collect();
            members.sort_unstable();
            members.dedup();
            members
        };
        for (number, condition) in plan.conditions.iter().enumerate() {
            let (from, to) = (members(&condition.from), members(&condition.to));
            for source in &from {
                for target in &to {
                    let inside = topology.node(*source).provider == topology.node(*target).provider;
                    let pair = &mut ways.pairs[source.0 * nodes + target.0];
                    if !inside && pair.pipe.is_none() {
                        pair.pipe = Some(number);
                    }
                }
            }
            ways.pipes.push(Pipe {
                conditions: condition.conditions,
                free: Duration::ZERO,
                chance: number as u64,
            });
        }
        ways
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
        self.pairs.iter_mut().for_each(|pair| pair.is_cut = false);
    }

    /// Whether the way from one node to another is cut.
    pub fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.pairs[from.0 * self.nodes + to.0].is_cut
    }

    /// Whether something was declared about the way from one node to another.
    pub fn has_pipe(&self, from: NodeId, to: NodeId) -> bool {
        self.pairs[from.0 * self.nodes + to.0].pipe.is_some()
    }

    fn set_cut(&mut self, one: &[NodeId], other: Option<&[NodeId]>, is_cut: bool) {
        for from in one {
            for to in (0..self.nodes).map(NodeId) {
                let is_meant = other.map_or_else(|| !one.contains(&to), |other| other.contains(&to));
                if is_meant && *from != to {
                    self.pairs[from.0 * self.nodes + to.0].is_cut = is_cut;
                    self.pairs[to.0 * self.nodes + from.0].is_cut = is_cut;
                }
            }
        }
    }

    /// When a packet arrives that is sent now.
    pub(super) fn carry(
        &mut self,
        from: NodeId,
        to: NodeId,
        bytes: usize,
        now: Duration,
    ) -> Result<Duration, Fate> {
        let pair = self.pairs[from.0 * self.nodes + to.0];
        if pair.is_cut {
            return Err(Fate::Cut);
        }
        match pair.pipe.and_then(|pipe| self.pipes.get_mut(pipe)) {
            Some(pipe) => pipe.carry(bytes, now).ok_or(Fate::Lost),
            None => Ok(now),
        }
    }
}

impl Pipe {
    fn carry(&mut self, bytes: usize, now: Duration) -> Option<Duration> {
        if self.conditions.loss.is_some_and(|loss| self.draw() < loss) {
            return None;
        }
        let mut leaves = now;
        if let Some(kilobits) = self.conditions.bandwidth_kbit {
            let rate = u64::from(kilobits) * 1000;
            let time = |bytes: u64| Duration::from_nanos(bytes * 8 * 1_000_000_000 / rate);
            let begins = self.free.max(now);
            if begins > now + time(QUEUE) {
                return None;
            }
            leaves = begins + time(bytes as u64);
            self.free = leaves;
        }
        Some(leaves + Duration::from_millis(self.conditions.latency_ms.unwrap_or(0).into()))
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
