//! The conditions of the paths between nodes: the pipes that rules send packets into, and the faults made on demand.
//!
//! Never: a packet's bytes, or which rule sends packets into a pipe.

use std::collections::HashMap;
use std::time::Duration;

use super::faults::Faults;
use super::pipe::Pipe;
use crate::model::Conditions;
use crate::plan;

/// Pipes by number, and the faults in force.
#[derive(Debug, Clone)]
pub struct Ways {
    pipes: HashMap<u16, Named>,
    faults: Faults,
    /// Whether pipes pass everything without delay.
    is_eased: bool,
}

/// A pipe, with the endpoints of its path in words.
#[derive(Debug, Clone)]
struct Named {
    way: String,
    pipe: Pipe,
}

impl Ways {
    /// These pipes, and no faults.
    pub fn new(pipes: &[plan::Pipe]) -> Self {
        let mut ways = Self { pipes: HashMap::new(), faults: Faults::default(), is_eased: false };
        ways.set_pipes(pipes);
        ways
    }

    /// Replaces all pipes.
    pub fn set_pipes(&mut self, pipes: &[plan::Pipe]) {
        let pipe = |pipe: &plan::Pipe| {
            let new = Named { way: pipe.way(), pipe: Pipe::new(pipe.conditions, pipe.number.into()) };
            (pipe.number, new)
        };
        self.pipes = pipes.iter().map(pipe).collect();
    }

    /// Makes all pipes pass everything without delay, for questions of reachability. A packet sent into a pipe that
    /// does not exist is still lost.
    pub fn ease(&mut self) {
        self.is_eased = true;
    }

    /// All pipes by number, each with its path in words (`aws -> azure`) and its conditions.
    pub fn pipes(&self) -> impl Iterator<Item = (u16, &str, Conditions)> {
        let mut all: Vec<_> = self.pipes.iter().collect();
        all.sort_unstable_by_key(|(number, _)| **number);
        all.into_iter().map(|(number, pipe)| (*number, pipe.way.as_str(), pipe.pipe.conditions))
    }

    /// The conditions of a pipe, if it exists.
    pub(super) fn like(&self, number: u16) -> Option<Conditions> {
        self.pipes.get(&number).map(|named| named.pipe.conditions)
    }

    /// The faults in force.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The faults in force, to make and heal some.
    pub fn faults_mut(&mut self) -> &mut Faults {
        &mut self.faults
    }

    /// When a packet that enters a pipe now comes out; `None` if it is lost, as in dummynet also where the pipe does
    /// not exist.
    pub(super) fn carry(&mut self, pipe: u16, bytes: usize, now: Duration) -> Option<Duration> {
        let is_eased = self.is_eased;
        let pipe = self.pipes.get_mut(&pipe)?;
        if is_eased { Some(now) } else { pipe.pipe.carry(bytes, now) }
    }
}
