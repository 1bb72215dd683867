//! Faults made on demand: paths between groups of nodes that are cut or slowed until they are healed or time out.
//!
//! As on a Mac, the same endpoints have at most one fault of a kind, and the latest slow path that covers a packet takes
//! the place of earlier ones and of the conditions of links. Never: a packet's bytes, or the pipes that rules send
//! packets into, which are those of [`super::Ways`].

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
    /// The name of the other group; `None` for all other volumes and providers.
    pub other: Option<String>,
    /// What happens to packets between the groups.
    pub trouble: Trouble,
    /// When it ends by itself, if ever.
    pub until: Option<Duration>,
    /// The ordered pairs of nodes that it affects, each with the index of its pipe in `pipes`.
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
    /// A fault between two groups of nodes, each with the name that it was given.
    pub fn new(
        (one, ones): (String, &[NodeId]),
        (other, others): (Option<String>, &[NodeId]),
        trouble: Trouble,
    ) -> Self {
        let mut paths = BTreeMap::new();
        for &from in ones {
            for &to in others.iter().filter(|to| **to != from) {
                paths.insert((from, to), 0);
                paths.insert((to, from), 1);
            }
        }
        Self { owner: None, one, other, trouble, until: None, paths, pipes: [None, None] }
    }

    /// Whether it is of the same kind, between the same endpoints in either order.
    fn is_renewed_by(&self, new: &Self) -> bool {
        let of = |fault: &Self| {
            let (one, other) = (Some(fault.one.clone()), fault.other.clone());
            (matches!(fault.trouble, Trouble::Cut), one.clone().min(other.clone()), one.max(other))
        };
        of(self) == of(new)
    }

    fn affects(&self, from: NodeId, to: NodeId) -> bool {
        self.paths.contains_key(&(from, to))
    }
}

impl Faults {
    /// Puts a fault into force; it takes the place of one of the same kind between the same endpoints.
    pub fn add(&mut self, mut fault: Fault) {
        self.made += 1;
        if let Trouble::Slow(conditions) = fault.trouble {
            fault.pipes = [0, 1].map(|side| Some(Pipe::new(conditions, 2 * self.made + side)));
        }
        self.all.retain(|earlier| !earlier.is_renewed_by(&fault));
        self.all.push(fault);
    }

    /// The faults in force, in the order in which they were made.
    pub fn all(&self) -> &[Fault] {
        &self.all
    }

    /// Ends the faults between two endpoints, those that one endpoint has, or all, and returns them. A provider means its
    /// volumes too: `belongs(NAME, END)` tells whether an endpoint is another or belongs to it.
    pub fn heal(&mut self, ends: [Option<&str>; 2], belongs: impl Fn(&str, &str) -> bool) -> Vec<Fault> {
        let within = |name: Option<&str>, end: Option<&str>| match (name, end) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(name), Some(end)) => belongs(name, end),
        };
        let [one, other] = ends;
        let is_meant = |fault: &mut Fault| {
            let names = (Some(fault.one.as_str()), fault.other.as_deref());
            (within(names.0, one) && within(names.1, other))
                || (within(names.1, one) && within(names.0, other))
        };
        self.all.extract_if(.., is_meant).collect()
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

    /// Whether a fault slows the path from one node to another.
    pub fn is_slowed(&self, from: NodeId, to: NodeId) -> bool {
        self.all.iter().any(|fault| fault.trouble != Trouble::Cut && fault.affects(from, to))
    }

    /// When a packet sent now arrives, after the latest fault that slows its path; `None` if it is lost there.
    pub(super) fn carry(&mut self, path: (NodeId, NodeId), bytes: usize, now: Duration) -> Option<Duration> {
        let slow = |fault: &&mut Fault| fault.trouble != Trouble::Cut && fault.paths.contains_key(&path);
        let Some(fault) = self.all.iter_mut().rev().find(slow) else { return Some(now) };
        match &mut fault.pipes[fault.paths[&path]] {
            Some(pipe) => pipe.carry(bytes, now),
            None => Some(now),
        }
    }
}
