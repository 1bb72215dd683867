//! The trace of a packet: the hops where pf saw it, the verdicts, the outcome, and what is delivered.
//!
//! It is separate so that forwarding, delaying and observing packets do not depend on each other. Never: how any of
//! this is decided.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::interface::Over;
use super::node::NodeId;
use crate::pf::eval::{Shaping, Verdict};
use crate::pf::syntax::{Block, Direction};
use crate::wire::{Malformed, Offload};

/// The outcome of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PacketFate {
    /// Delivered to a node.
    Delivered(NodeId),
    /// Stopped by pf or by macOS.
    Stopped(Stop),
    /// Not a valid packet.
    Malformed(Malformed),
    /// Lost in a pipe.
    Lost,
    /// Lost by a fault that slows the path between two nodes.
    LostByFault,
    /// Lost because a fault cuts the path between two nodes.
    Cut,
}

/// Why pf or macOS stopped a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// pf blocks it, with or without an answer.
    Blocked {
        /// The answer that the rule asks for; `None` if no rule decided.
        reply: Option<Block>,
    },
    /// pf holds the fragment until its datagram is complete.
    Held,
    /// pf drops a packet with IP options, unless a rule allows them.
    Options,
    /// Its TTL expired.
    Expired,
    /// It is longer than the MTU, and has the don't-fragment bit set.
    TooLong {
        /// The MTU of the outgoing interface.
        mtu: u16,
    },
    /// macOS has no route for it; the reason in words.
    Unreachable(&'static str),
    /// macOS drops it; the reason in words.
    Refused(&'static str),
    /// No host has its destination.
    Nobody,
}

impl Stop {
    /// The reason in words.
    pub fn words(&self) -> &'static str {
        match self {
            Self::Blocked { reply: None | Some(Block::Drop) } => "blocked silently",
            Self::Blocked { .. } => "blocked with an answer",
            Self::Held => "held by pf until its datagram is complete",
            Self::Options => "pf drops IP options",
            Self::Expired => "its TTL expired",
            Self::TooLong { .. } => "larger than the MTU, with don't-fragment set",
            Self::Unreachable(why) | Self::Refused(why) => why,
            Self::Nobody => "no host has the address",
        }
    }
}

/// A hook that a packet came to, and what pf decided there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedHook {
    /// When pf was first evaluated there, before any pipe.
    pub at: Duration,
    /// The number of that evaluation, counted over all packets.
    pub number: u64,
    /// The direction at the interface.
    pub direction: Direction,
    /// The interface.
    pub over: Over,
    /// What pf decided.
    pub made: Made,
    /// The pipes that it went through there, in order; pf is evaluated again after each.
    pub pipes: Vec<PipePassage>,
    /// The packet before pf.
    pub bytes: Vec<u8>,
    /// The packet after pf, if pf changed it.
    pub now: Option<Vec<u8>>,
}

/// What pf decided about a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// Passed or blocked, by a rule, a state, or the default.
    Judged(Verdict),
    /// pf's own RST, which passes without a rule.
    Own,
    /// Lost in the last of its pipes, or sent into a pipe that does not exist.
    Swallowed,
}

/// A packet's passage through a pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipePassage {
    /// The rule that sent it there, and the pipe.
    pub shaping: Shaping,
    /// When it came out, and the number of the evaluation of pf that followed; `None` if it was lost.
    pub out: Option<(Duration, u64)>,
    /// The packet as it came out; empty if there is no observer.
    pub bytes: Vec<u8>,
}

/// The record of a packet on its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketTrace {
    /// When it was sent.
    pub at: Duration,
    /// The sending node; `mac` for an answer of the Mac's kernel.
    pub from: NodeId,
    /// The interface that it came in on, or would have left by if pf was never evaluated.
    pub over: Over,
    /// Its destination when it was sent.
    pub destination: Ipv4Addr,
    /// The packet as it was sent.
    pub bytes: Vec<u8>,
    /// The hooks where pf saw it, in order.
    pub hops: Vec<TracedHook>,
    /// Its outcome; `None` while it is on its path.
    pub fate: Option<PacketFate>,
}

/// A packet to hand to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The receiving node.
    pub to: NodeId,
    /// The earliest time of delivery.
    pub at: Duration,
    /// The packet; `None` if it is the received one, which was changed in the caller's buffer.
    pub bytes: Option<Vec<u8>>,
    /// The length of the packet in bytes.
    pub length: usize,
    /// Checksum and segmentation work left to the receiving device.
    pub offload: Offload,
}
