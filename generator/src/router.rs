//! The Mac's part in a network of real programs: for every packet that one of them sends, what macOS would do with it.
//!
//! It exists because a simulation of packets says nothing about stacks: who is behind a TUN device sends what a kernel
//! sends, and gets what pf lets through, changed as pf changes it, or the answer of the rule that blocks. It takes
//! bytes and gives bytes, so that it is tested as a function; devices and clocks are its caller's.
//! Sees: model, plan, pf, wire. Never: a device, a clock, or how a rule is written.

mod rules;
mod topology;
mod walk;
mod watch;
mod ways;

use std::net::IpAddr;
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::wire::{self, Offload, complete};

pub use rules::{RuleAt, Rules, Source};
pub use topology::{Cast, EGRESS, Node, NodeId, Route, Side, Topology};
pub use walk::{Fate, Hop, Over, Stop};
pub use watch::{Filter, Seen, Story, WatchId};
pub use ways::Ways;

/// The Mac between programs.
#[derive(Debug)]
pub struct Router {
    topology: Topology,
    rules: Rules,
    ways: Ways,
    watches: watch::Watches,
    counts: Counts,
    /// What goes out, in order; kept for its room.
    out: Vec<Delivery>,
    told: u64,
}

/// How many packets met which fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Delivered, or on their way.
    pub delivered: u64,
    /// Blocked by a rule, or refused by a state.
    pub blocked: u64,
    /// Not delivered for another reason.
    pub dropped: u64,
}

/// Something to hand to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// To whom.
    pub to: NodeId,
    /// Not before.
    pub at: Duration,
    /// The packet; none where it is the one that came in, in its own buffer.
    pub bytes: Option<Vec<u8>>,
    /// The length of the packet.
    pub length: usize,
    /// What is left to do for it.
    pub offload: Offload,
}

impl Router {
    /// A Mac with rules between nodes.
    pub fn new(topology: Topology, rules: Rules, ways: Ways) -> Self {
        Self {
            topology,
            rules,
            ways,
            watches: watch::Watches::default(),
            counts: Counts::default(),
            out: Vec::new(),
            told: 0,
        }
    }

    /// Who takes part.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The rules, to load others.
    pub fn rules_mut(&mut self) -> &mut Rules {
        &mut self.rules
    }

    /// What the ways between nodes are like.
    pub fn ways_mut(&mut self) -> &mut Ways {
        &mut self.ways
    }

    /// The same, to look at.
    pub fn ways(&self) -> &Ways {
        &self.ways
    }

    /// What became of packets so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Ends connections from somebody in the first network of a pair to somebody in the second, as `pfctl -k` does with
    /// each: by who opened it. How many states went.
    pub fn end(&mut self, pairs: &[(Ipv4Net, Ipv4Net)]) -> usize {
        let is_in = |net: &Ipv4Net, address: IpAddr| matches!(address, IpAddr::V4(it) if net.contains(&it));
        self.rules.machine_mut().kill(|talk| {
            pairs.iter().any(|(from, to)| is_in(from, talk.source.0) && is_in(to, talk.destination.0))
        })
    }

    /// Who watches.
    pub fn watches_mut(&mut self) -> &mut watch::Watches {
        &mut self.watches
    }

    /// Takes a packet from a node at a time, and says what goes where. The bytes are changed in their place.
    pub fn receive(
        &mut self,
        from: NodeId,
        bytes: &mut [u8],
        offload: Offload,
        now: Duration,
    ) -> (Fate, &[Delivery]) {
        self.tell_time(now);
        self.out.clear();
        let (fate, story) = match wire::read(bytes) {
            Ok(datagram) => self.carry(from, bytes, &datagram, offload, now),
            Err(malformed) => (Fate::Malformed(malformed), None),
        };
        match fate {
            Fate::Delivered(_) => self.counts.delivered += 1,
            Fate::Stopped(Stop::Blocked { .. }) => self.counts.blocked += 1,
            _ => self.counts.dropped += 1,
        }
        if let Some(story) = story {
            self.watches.tell(story, &fate, &self.topology, &self.rules, &self.ways);
        }
        (fate, &self.out)
    }

    fn carry(
        &mut self,
        from: NodeId,
        bytes: &mut [u8],
        datagram: &wire::Datagram,
        offload: Offload,
        now: Duration,
    ) -> (Fate, Option<Story>) {
        let story = self.watches.begin(from, bytes, datagram, now);
        let mut walk = walk::Walk::new(&self.topology, self.rules.machine_mut(), datagram, offload, story);
        let end = walk.from(from, bytes);
        let (moved, pipes, story) = (walk.datagram, walk.pipes, walk.story);
        match end {
            Ok(to) => (self.deliver(from, to, bytes, &moved, offload, &pipes, now), story),
            Err(stop) => {
                // A rule blocks what has come out of the pipes.
                let at = match self.ways.carry(&pipes, moved.total, now) {
                    Ok(at) => at,
                    Err(fate) => return (fate, story),
                };
                let answer = stop.answer(bytes, datagram, &offload);
                self.out.extend(answer.map(|answer| Delivery {
                    to: from,
                    at,
                    length: answer.len(),
                    bytes: Some(answer),
                    offload: Offload::default(),
                }));
                (Fate::Stopped(stop), story)
            }
        }
    }

    /// Puts a packet on the way to a node, whole or cut.
    #[expect(clippy::too_many_arguments, reason = "a packet has as many sides")]
    fn deliver(
        &mut self,
        from: NodeId,
        to: NodeId,
        bytes: &mut [u8],
        datagram: &wire::Datagram,
        mut offload: Offload,
        pipes: &[u16],
        now: Duration,
    ) -> Fate {
        if self.ways.is_cut(from, to) {
            return Fate::Cut;
        }
        let mtu = usize::from(self.topology.mtu(from, to));
        let mut pieces = Vec::new();
        if !pipes.is_empty() && offload.segments.is_some() {
            pieces = wire::segments(bytes, datagram, &offload);
            offload = Offload::default();
        } else if offload.segments.is_none() && datagram.total > mtu {
            complete(&mut bytes[..datagram.total], &mut offload);
            pieces = wire::fragments(bytes, datagram, mtu);
        }
        let mut fate = Fate::Lost;
        if pieces.is_empty() {
            match self.ways.carry(pipes, datagram.total, now) {
                Ok(at) => {
                    self.out.push(Delivery { to, at, bytes: None, length: datagram.total, offload });
                    fate = Fate::Delivered(to);
                }
                Err(stopped) => fate = stopped,
            }
        }
        for piece in pieces {
            match self.ways.carry(pipes, piece.len(), now) {
                Ok(at) => {
                    let length = piece.len();
                    self.out.push(Delivery { to, at, bytes: Some(piece), length, offload });
                    fate = Fate::Delivered(to);
                }
                Err(stopped) if fate == Fate::Lost => fate = stopped,
                Err(_) => {}
            }
        }
        fate
    }

    /// States expire by the second.
    fn tell_time(&mut self, now: Duration) {
        if now.as_secs() > self.told {
            self.told = now.as_secs();
            self.rules.machine_mut().tell_time(self.told);
        }
    }
}
