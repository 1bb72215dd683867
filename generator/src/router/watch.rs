//! Observers of packets, and what they get: each packet at each hook, with the rule that decided.
//!
//! Without observers it costs nothing. Never: a file, or its format.

use std::time::Duration;

use super::node::NodeId;
use super::rules::{LoadedRule, RouterRules};
use super::topology::Topology;
use super::trace::{Made, PacketFate, PacketTrace, Stop, TracedHook};
use super::ways::Ways;
use crate::pf::eval::{Detail, Form, Outcome, Verdict, Via};
use crate::pf::syntax::{Block, Direction};

/// Identifies an observer.
pub type WatchId = u64;

/// Which packets an observer gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// All packets.
    All,
    /// Packets that one of these nodes sends or would receive.
    Nodes(Vec<NodeId>),
    /// Packets between a node of the first group and one of the second, in both directions.
    Between(Vec<NodeId>, Vec<NodeId>),
}

/// A packet at a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When pf was evaluated, counted from the start of the router's clock.
    pub at: Duration,
    /// The interface, by its logical name.
    pub interface: String,
    /// The direction at the interface.
    pub direction: Direction,
    /// The packet before pf. A checksum left to the device is incomplete.
    pub bytes: Vec<u8>,
    /// Whether pf passed it: it neither blocked it nor holds it for reassembly.
    pub passes: bool,
    /// What happened to it there, and which rule decided.
    pub comment: String,
}

/// All observers, and what they have not fetched yet.
#[derive(Debug, Default)]
pub struct Watches {
    all: Vec<(WatchId, Filter)>,
    made: WatchId,
    seen: Vec<(WatchId, Seen)>,
}

impl Watches {
    /// Adds an observer.
    pub fn add(&mut self, filter: Filter) -> WatchId {
        self.made += 1;
        self.all.push((self.made, filter));
        self.made
    }

    /// Removes an observer.
    pub fn remove(&mut self, id: WatchId) {
        self.all.retain(|(watch, _)| *watch != id);
    }

    /// The packets seen since the last call, in order.
    pub fn take(&mut self) -> Vec<(WatchId, Seen)> {
        std::mem::take(&mut self.seen)
    }

    /// Whether there is an observer.
    pub(super) fn is_asked(&self) -> bool {
        !self.all.is_empty()
    }

    pub(super) fn tell(
        &mut self,
        story: &PacketTrace,
        topology: &Topology,
        rules: &RouterRules,
        ways: &Ways,
    ) {
        let to = match story.fate {
            Some(PacketFate::Delivered(to)) => Some(to),
            _ => topology.owner(story.destination),
        };
        let is_met = |filter: &Filter| match filter {
            Filter::All => true,
            Filter::Nodes(nodes) => nodes.contains(&story.from) || to.is_some_and(|to| nodes.contains(&to)),
            Filter::Between(one, other) => {
                let joins = |a: &[NodeId], b: &[NodeId]| {
                    a.contains(&story.from) && to.is_some_and(|to| b.contains(&to))
                };
                joins(one, other) || joins(other, one)
            }
        };
        let met: Vec<WatchId> =
            self.all.iter().filter(|(_, filter)| is_met(filter)).map(|(id, _)| *id).collect();
        if met.is_empty() {
            return;
        }
        let seen = seen(story, topology, rules, ways);
        self.seen.extend(met.iter().flat_map(|id| seen.iter().map(|seen| (*id, seen.clone()))));
    }
}

fn seen(story: &PacketTrace, topology: &Topology, rules: &RouterRules, ways: &Ways) -> Vec<Seen> {
    let ends = match story.fate.as_ref() {
        // The comment of the last hop already reports it.
        None
        | Some(
            PacketFate::Delivered(_)
            | PacketFate::Lost
            | PacketFate::Stopped(Stop::Blocked { .. } | Stop::Held),
        ) => None,
        Some(PacketFate::Stopped(stop)) => Some(stop.words()),
        Some(PacketFate::Malformed(malformed)) => Some(malformed.words()),
        Some(PacketFate::LostByFault) => Some("lost: `slow` makes the path lossy"),
        Some(PacketFate::Cut) => Some("lost: the path is partitioned"),
    };
    let last = story.hops.len();
    if last == 0 {
        let comment = ends.unwrap_or("it does not pass through this Mac").to_owned();
        let (interface, bytes) = (topology.name(story.over).to_owned(), story.bytes.clone());
        return vec![Seen {
            at: story.at,
            interface,
            direction: Direction::In,
            bytes,
            passes: false,
            comment,
        }];
    }
    let of_hop = |(number, hop): (usize, &TracedHook)| {
        let mut comment = comment(hop, rules, ways);
        if let Some(ends) = ends.filter(|_| number + 1 == last) {
            comment = format!("{comment}; then {ends}");
        }
        let interface = topology.name(hop.over).to_owned();
        let passes = match &hop.made {
            Made::Judged(verdict) => verdict.action == Outcome::Pass && !verdict.scrubbed.held,
            Made::Own | Made::Swallowed => true,
        };
        Seen { at: hop.at, interface, direction: hop.direction, bytes: hop.bytes.clone(), passes, comment }
    };
    story.hops.iter().enumerate().map(of_hop).collect()
}

/// What happened to a packet at a hook: `passed by pf/anchor.conf:36 pass quick …; through pipe 20000 (40 ms)`.
pub fn comment(hop: &TracedHook, rules: &RouterRules, ways: &Ways) -> String {
    let mut told = match &hop.made {
        Made::Judged(verdict) => decided(verdict, rules),
        Made::Own => "passed: pf's own answer".to_owned(),
        Made::Swallowed => "taken by dummynet".to_owned(),
    };
    for pipe in hop.pipes.iter().filter_map(|piped| piped.shaping.number()) {
        let like = ways.like(pipe).map_or_else(|| "not there".to_owned(), |like| like.to_string());
        told = format!("{told}; through pipe {pipe} ({like})");
    }
    if hop.made == Made::Swallowed {
        told += "; then lost, by the link's conditions";
    }
    let Made::Judged(verdict) = &hop.made else { return told };
    match rules.translating(verdict).filter(|_| verdict.before != verdict.after) {
        Some(rule) => format!("{told}; now {} by {}", ends(&verdict.after), at(rule)),
        None => told,
    }
}

fn decided(verdict: &Verdict, rules: &RouterRules) -> String {
    if verdict.scrubbed.held {
        return "held until its datagram is complete".to_owned();
    }
    let rule = rules.deciding(verdict).map(at);
    match (verdict.action, verdict.via, rule) {
        (_, Via::Abandoned, _) => "not known: the evaluation was abandoned after a million rules".to_owned(),
        (Outcome::Pass, Via::State, Some(rule)) => format!("passed by the state of {rule}"),
        (Outcome::Pass, Via::State, None) => "passed by a state".to_owned(),
        (Outcome::Pass, _, Some(rule)) => format!("passed by {rule}"),
        (Outcome::Pass, _, None) => "passed: no rule matches it".to_owned(),
        (Outcome::Block, Via::State, _) => "blocked by a state: outside its window".to_owned(),
        (Outcome::Block, _, Some(rule)) => format!("blocked{} by {rule}", answered(verdict)),
        (Outcome::Block, _, None) => "blocked: the packet is malformed".to_owned(),
    }
}

fn answered(verdict: &Verdict) -> &'static str {
    match verdict.reply {
        None | Some(Block::Drop) => " silently",
        Some(_) => " with an answer",
    }
}

fn at(rule: &LoadedRule) -> String {
    format!("{}:{} {}", rule.file, rule.line, rule.text)
}

fn ends(form: &Form) -> String {
    let (source, destination) = (form.source, form.destination);
    match form.detail {
        Detail::Ports(from, to) => format!("{source}:{from} > {destination}:{to}"),
        Detail::Id(_) | Detail::None => format!("{source} > {destination}"),
    }
}
