//! Faults made on demand: paths between groups of nodes that are cut or slowed until they are healed or time out.
//!
//! A fault holds ordered pairs of nodes, so that healing some of them leaves the others in force. Never: a packet's
//! bytes, or the pipes that rules send packets into, which are those of [`super::Ways`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::node::NodeId;
use super::pipe::Pipe;
use crate::model::Conditions;

/// The effect of a fault on a path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trouble {
    /// All packets are lost.
    Cut,
    /// Packets are delayed, lost at random or limited in rate; each direction has its own pipe.
    Slow(Conditions),
}

/// A fault and the paths that it affects.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Who made it, if anyone can withdraw it: see [`Faults::withdraw`].
    pub owner: Option<u64>,
    /// The name of one group of nodes, as it was given.
    pub one: String,
    /// The name of the other group; `None` for all other nodes.
    pub other: Option<String>,
    /// What happens to packets between the groups.
    pub trouble: Trouble,
    /// When it ends by itself, if ever.
    pub until: Option<Duration>,
    /// The ordered pairs of nodes still affected, each with the index of its pipe in `pipes`.
    paths: BTreeMap<(NodeId, NodeId), usize>,
    pipes: [Option<Pipe>; 2],
}

/// All faults in force.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    all: Vec<Fault>,
    /// Number of faults made so far, from which their pipes are seeded.
    made: u64,
}

impl Fault {
    /// A fault between two groups of nodes, or between one group and the rest of `nodes` nodes.
    pub fn new(
        (one, ones): (String, &[NodeId]),
        other: Option<(String, &[NodeId])>,
        nodes: usize,
        trouble: Trouble,
    ) -> Self {
        let others: Vec<NodeId> = match &other {
            Some((_, others)) => others.to_vec(),
            None => (0..nodes).map(NodeId).filter(|node| !ones.contains(node)).collect(),
        };
        let mut paths = BTreeMap::new();
        for &from in ones {
            for &to in others.iter().filter(|to| **to != from) {
                paths.insert((from, to), 0);
                paths.insert((to, from), 1);
            }
        }
        let other = other.map(|(name, _)| name);
        Self { owner: None, one, other, trouble, until: None, paths, pipes: [None, None] }
    }

    fn affects(&self, from: NodeId, to: NodeId) -> bool {
        self.paths.contains_key(&(from, to))
    }
}

impl Faults {
    /// Puts a fault into force.
    pub fn add(&mut self, mut fault: Fault) {
        self.made += 1;
        if let Trouble::Slow(conditions) = fault.trouble {
            fault.pipes = [0, 1].map(|side| Some(Pipe::new(conditions, 2 * self.made + side)));
        }
        self.all.push(fault);
    }

    /// The faults in force, in the order in which they were made.
    pub fn all(&self) -> &[Fault] {
        &self.all
    }

    /// Heals the paths between two groups, or between one group and all other nodes, in both directions.
    pub fn heal(&mut self, one: &[NodeId], other: Option<&[NodeId]>) {
        let is_other = |node: NodeId| other.map_or_else(|| !one.contains(&node), |all| all.contains(&node));
        let is_meant = |from: NodeId, to: NodeId| one.contains(&from) && is_other(to);
        for fault in &mut self.all {
            fault.paths.retain(|&(from, to), _| !is_meant(from, to) && !is_meant(to, from));
        }
        self.all.retain(|fault| !fault.paths.is_empty());
    }

    /// Ends all faults.
    pub fn heal_all(&mut self) {
        self.all.clear();
    }

    /// Ends all faults of an owner, and returns their number.
    pub fn withdraw(&mut self, owner: u64) -> usize {
        let before = self.all.len();
        self.all.retain(|fault| fault.owner != Some(owner));
        before - self.all.len()
    }

    /// Ends the faults whose time is over.
    pub fn expire(&mut self, now: Duration) {
        self.all.retain(|fault| fault.until.is_none_or(|until| until > now));
    }

    /// Whether a fault cuts the path from one node to another.
    pub fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.all.iter().any(|fault| fault.trouble == Trouble::Cut && fault.affects(from, to))
    }

    /// When a packet sent now arrives, after every fault that slows its path; `None` if one of them loses it.
    pub(super) fn carry(&mut self, path: (NodeId, NodeId), bytes: usize, now: Duration) -> Option<Duration> {
        let mut at = now;
        for fault in &mut self.all {
            let Some(side) = fault.paths.get(&path) else { continue };
            if let Some(pipe) = &mut fault.pipes[*side] {
                at = pipe.carry(bytes, at)?;
            }
        }
        Some(at)
    }
}
