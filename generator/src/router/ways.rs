//! The conditions of the paths between nodes: the pipes that rules send packets into, and the faults made on demand.
//!
//! Never: a packet's bytes, or which rule sends what into a pipe.

use std::collections::HashMap;
use std::time::Duration;

use super::faults::Faults;
use super::pipe::Pipe;
use crate::model::Conditions;
use crate::plan;

/// The ways between all pairs of nodes.
#[derive(Debug, Clone)]
pub struct Ways {
    pipes: HashMap<u16, Named>,
    faults: Faults,
    /// Whether pipes carry everything, and at once.
    is_eased: bool,
}

/// A pipe, and who sends through it to whom.
#[derive(Debug, Clone)]
struct Named {
    way: String,
    pipe: Pipe,
}

impl Ways {
    /// Ways that nothing cuts yet, and these pipes.
    pub fn new(pipes: &[plan::Pipe]) -> Self {
        let mut ways = Self { pipes: HashMap::new(), faults: Faults::default(), is_eased: false };
        ways.set_pipes(pipes);
        ways
    }

    /// Puts other pipes in place of what is there.
    pub fn set_pipes(&mut self, pipes: &[plan::Pipe]) {
        let pipe = |pipe: &plan::Pipe| {
            let new = Named { way: pipe.way(), pipe: Pipe::new(pipe.conditions, pipe.number.into()) };
            (pipe.number, new)
        };
        self.pipes = pipes.iter().map(pipe).collect();
    }

    /// Lets pipes carry everything, and at once: for questions about what reaches what, and not how fast. A pipe must be
    /// there all the same.
    pub fn ease(&mut self) {
        self.is_eased = true;
    }

    /// The pipes that are there, by number: each with its way in words, and what it is like.
    pub fn pipes(&self) -> impl Iterator<Item = (u16, &str, Conditions)> {
        let mut all: Vec<_> = self.pipes.iter().collect();
        all.sort_unstable_by_key(|(number, _)| **number);
        all.into_iter().map(|(number, pipe)| (*number, pipe.way.as_str(), pipe.pipe.conditions))
    }

    /// What a pipe is like, if it is there.
    pub(super) fn like(&self, number: u16) -> Option<Conditions> {
        self.pipes.get(&number).map(|named| named.pipe.conditions)
    }

    /// The faults that were made on demand.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The same, to make and heal some.
    pub fn faults_mut(&mut self) -> &mut Faults {
        &mut self.faults
    }

    /// When a packet comes out that goes into a pipe now. In a pipe that is not there it is lost, as in dummynet.
    pub(super) fn carry(&mut self, pipe: u16, bytes: usize, now: Duration) -> Option<Duration> {
        let is_eased = self.is_eased;
        let pipe = self.pipes.get_mut(&pipe)?;
        if is_eased { Some(now) } else { pipe.pipe.carry(bytes, now) }
    }
}
