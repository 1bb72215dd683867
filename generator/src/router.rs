//! The Mac's part in a network of real programs: what macOS would do with every packet that one of them sends.
//!
//! It exists because simulated packets exercise no network stack. A node behind a TUN device sends real kernel
//! traffic and receives what pf passes, rewritten as pf rewrites it, or the answer of the rule that blocks. It maps
//! bytes to bytes, so that it can be tested as a function; devices and clocks belong to the caller. Sees: loading,
//! model, plan, pf, wire. Never: a device, a clock, or how a rule is written.

mod faults;
mod host;
mod interface;
mod joined;
mod node;
mod pipe;
mod rules;
mod tally;
mod topology;
mod trace;
mod walk;
mod watch;
mod ways;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::wire::{self, Offload};

pub use faults::{Fault, Faults, Trouble};
pub use host::{ChosenRoute, MacInterface, MacNetwork, SendError, Sender, StaticRoute};
pub use interface::Over;
pub use joined::{JoinedMac, MACS, TUNNEL_MTU, UNDERLAY, joined, mac_end};
pub use node::{Node, NodeAttachment, NodeId, SourceRoute};
pub use rules::{AnchorSource, LoadedRule, RouterRules};
pub use tally::Tally;
pub use topology::{EGRESS, ExampleHosts, Topology};
pub use trace::{Delivery, Made, PacketFate, PacketTrace, PipePassage, Stop, TracedHook};
pub use watch::{Filter, Seen, WatchId};
pub use ways::Ways;

/// The emulated Mac that forwards packets between nodes.
#[derive(Debug)]
pub struct Router {
    topology: Topology,
    rules: RouterRules,
    ways: Ways,
    watches: watch::Watches,
    counts: PacketCounts,
    tallies: tally::Tallies,
    /// Packets to deliver, in order; a field so that its allocation is reused.
    out: Vec<Delivery>,
    /// How often pf has been evaluated.
    asked: u64,
    told: u64,
    /// A record of every packet, kept for the replay of recorded scenarios; `None` in a lab.
    stories: Option<Vec<PacketTrace>>,
}

/// Number of packets by fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PacketCounts {
    /// Delivered, or scheduled for delivery.
    pub delivered: u64,
    /// Blocked by a rule or by a state.
    pub blocked: u64,
    /// Not delivered for any other reason.
    pub dropped: u64,
}

impl Router {
    /// A Mac with these nodes, rules and path conditions; no state and no observer yet.
    pub fn new(topology: Topology, rules: RouterRules, ways: Ways) -> Self {
        Self {
            topology,
            rules,
            ways,
            watches: watch::Watches::default(),
            counts: PacketCounts::default(),
            tallies: tally::Tallies::default(),
            out: Vec::new(),
            asked: 0,
            told: 0,
            stories: None,
        }
    }

    /// The nodes, and the Mac's interfaces and routes.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Replaces the Mac's interfaces and routes for the same nodes, as when a bridge comes or goes. States stay.
    pub fn set_topology(&mut self, topology: Topology) {
        self.topology = topology;
    }

    /// Removes a bridge: vmnet has not brought it up yet, or it was destroyed. States stay.
    pub fn lose_bridge(&mut self, bridge: usize) {
        self.topology = self.topology.without(bridge);
    }

    /// The loaded rules with their states.
    pub fn rules(&self) -> &RouterRules {
        &self.rules
    }

    /// The loaded rules, to load others.
    pub fn rules_mut(&mut self) -> &mut RouterRules {
        &mut self.rules
    }

    /// The conditions of the paths between nodes, to change them.
    pub fn ways_mut(&mut self) -> &mut Ways {
        &mut self.ways
    }

    /// The conditions of the paths between nodes.
    pub fn ways(&self) -> &Ways {
        &self.ways
    }

    /// Number of packets by fate since the start.
    pub fn counts(&self) -> PacketCounts {
        self.counts
    }

    /// Packets and bytes since the start by the label of the rule that decided, or that created the deciding state.
    pub fn tallies(&self) -> BTreeMap<String, Tally> {
        self.tallies.sorted()
    }

    /// Removes the states of connections from the first network of a pair to the second, by the direction in which
    /// they were opened, as `pfctl -k` does for each pair. Returns the number of states removed.
    pub fn end(&mut self, pairs: &[(Ipv4Net, Ipv4Net)]) -> usize {
        let is_in = |net: &Ipv4Net, address: IpAddr| matches!(address, IpAddr::V4(it) if net.contains(&it));
        self.rules.machine_mut().kill(|talk| {
            pairs.iter().any(|(from, to)| is_in(from, talk.source.0) && is_in(to, talk.destination.0))
        })
    }

    /// The observers of packets.
    pub fn watches_mut(&mut self) -> &mut watch::Watches {
        &mut self.watches
    }

    /// Processes a packet that a node sends at time `now`; returns its fate and what to deliver. `bytes` is changed
    /// in place.
    pub fn receive(
        &mut self,
        from: NodeId,
        bytes: &mut [u8],
        offload: Offload,
        now: Duration,
    ) -> (PacketFate, &[Delivery]) {
        self.receive_as(from, bytes, offload, now, None)
    }

    /// Like [`Self::receive`], for packets of the Mac itself whose socket also restricts the choice of a route: see
    /// [`Sender`].
    pub fn receive_as(
        &mut self,
        from: NodeId,
        bytes: &mut [u8],
        offload: Offload,
        now: Duration,
        sender: Option<Sender>,
    ) -> (PacketFate, &[Delivery]) {
        self.tell_time(now);
        self.out.clear();
        let fate = match wire::read(bytes) {
            Ok(datagram) => self.carry(from, bytes, &datagram, offload, now, sender),
            Err(malformed) => PacketFate::Malformed(malformed),
        };
        match fate {
            PacketFate::Delivered(_) => self.counts.delivered += 1,
            PacketFate::Stopped(Stop::Blocked { .. }) => self.counts.blocked += 1,
            _ => self.counts.dropped += 1,
        }
        (fate, &self.out)
    }

    /// Starts to record a story of every packet, for [`Self::take_stories`].
    pub fn write_down(&mut self) {
        self.stories = Some(Vec::new());
    }

    /// The stories recorded since the last call.
    pub fn take_stories(&mut self) -> Vec<PacketTrace> {
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
    ) -> PacketFate {
        let machine = self.rules.machine_mut();
        let mut walk = walk::Walk::new(
            &self.topology,
            machine,
            &mut self.ways,
            &mut self.tallies,
            &mut self.asked,
            &mut self.out,
        );
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

    /// Advances the clock, also while no packet arrives: faults end, and states expire with a resolution of a second.
    pub fn tell_time(&mut self, now: Duration) {
        self.ways.faults_mut().expire(now);
        if now.as_secs() > self.told {
            self.told = now.as_secs();
            self.rules.machine_mut().tell_time(self.told);
        }
    }
}
