//! The Mac's part in a network of real programs: what macOS would do with every packet that one of them sends.
//!
//! It exists because a simulation of packets says nothing about stacks: who is behind a TUN device sends what a kernel
//! sends, and gets what pf lets through, changed as pf changes it, or the answer of the rule that blocks. It takes
//! bytes and gives bytes, so that it is tested as a function; devices and clocks are its caller's.
//! Sees: loading, model, plan, pf, wire. Never: a device, a clock, or how a rule is written.

mod faults;
mod host;
mod pipe;
mod rules;
mod topology;
mod trace;
mod walk;
mod watch;
mod ways;

use std::net::IpAddr;
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::wire::{self, Offload};

pub use faults::{Fault, Faults, Trouble};
pub use host::{Host, Link, NoWay, Path, Road, Sender};
pub use rules::{RuleAt, Rules, Source};
pub use topology::{Cast, EGRESS, Node, NodeId, Route, Side, Topology};
pub use trace::{Fate, Hop, Made, Over, Piped, Stop, Story};
pub use watch::{Filter, Seen, WatchId};
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
    /// How often pf has been asked.
    asked: u64,
    told: u64,
    /// What is told of every packet, for a player; no one does in a lab.
    stories: Option<Vec<Story>>,
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
            asked: 0,
            told: 0,
            stories: None,
        }
    }

    /// The hosts.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Takes another Mac's interfaces and routes for these nodes: a bridge that comes or goes. States stay.
    pub fn set_topology(&mut self, topology: Topology) {
        self.topology = topology;
    }

    /// Takes a bridge away, as when vmnet's is not up yet or somebody has destroyed it. States stay.
    pub fn lose_bridge(&mut self, bridge: usize) {
        self.topology = self.topology.without(bridge);
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The rules, to load others.
    pub fn rules_mut(&mut self) -> &mut Rules {
        &mut self.rules
    }

    /// The conditions of the paths between nodes.
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

    /// Ends connections from someone in the first network of a pair to someone in the second, as `pfctl -k` does with
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
        self.receive_as(from, bytes, offload, now, None)
    }

    /// The same for what the Mac itself sends, where more than the packet narrows its way: see [`Sender`].
    pub fn receive_as(
        &mut self,
        from: NodeId,
        bytes: &mut [u8],
        offload: Offload,
        now: Duration,
        sender: Option<Sender>,
    ) -> (Fate, &[Delivery]) {
        self.tell_time(now);
        self.out.clear();
        let fate = match wire::read(bytes) {
            Ok(datagram) => self.carry(from, bytes, &datagram, offload, now, sender),
            Err(malformed) => Fate::Malformed(malformed),
        };
        match fate {
            Fate::Delivered(_) => self.counts.delivered += 1,
            Fate::Stopped(Stop::Blocked { .. }) => self.counts.blocked += 1,
            _ => self.counts.dropped += 1,
        }
        (fate, &self.out)
    }

    /// Writes down from now on what is told of every packet.
    pub fn write_down(&mut self) {
        self.stories = Some(Vec::new());
    }

    /// What was told since the last time.
    pub fn take_stories(&mut self) -> Vec<Story> {
        self.stories.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn carry(
        &mut self,
        from: NodeId,
        bytes: &mut [u8],
        datagram: &wire::Datagram,
        offload: Offload,
        now: Duration,
        sender: Option<Sender>,
    ) -> Fate {
        let machine = self.rules.machine_mut();
        let mut walk =
            walk::Walk::new(&self.topology, machine, &mut self.ways, &mut self.asked, &mut self.out);
        walk.is_watched = self.stories.is_some() || self.watches.is_asked();
        let fate = walk.carry(from, bytes, datagram, offload, now, sender);
        let stories = walk.stories;
        for story in stories {
            self.watches.tell(&story, &self.topology, &self.rules, &self.ways);
            if let Some(all) = &mut self.stories {
                all.push(story);
            }
        }
        fate
    }

    /// Tells the time, also while no packet comes: faults end, and states expire by the second.
    pub fn tell_time(&mut self, now: Duration) {
        self.ways.faults_mut().expire(now);
        if now.as_secs() > self.told {
            self.told = now.as_secs();
            self.rules.machine_mut().tell_time(self.told);
        }
    }
}
